//! Files and a repository for the servers that serve such: the same ones for each run, at the same place.

use std::{fs, path::Path, process::Command};

use tempfile::TempDir;

/// A pixel, so that there is a file that is no text.
const PNG: &[u8] = &[
    0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a, 0, 0, 0, 0x0d, b'I', b'H', b'D', b'R', 0, 0, 0, 1, 0, 0, 0, 1, 8,
    2, 0, 0, 0, 0x90, 0x77, 0x53, 0xde,
];

/// Makes commits the same in every run.
pub(crate) const GIT_ENVIRONMENT: &[(&str, &str)] = &[
    ("GIT_AUTHOR_NAME", "Ada"),
    ("GIT_AUTHOR_EMAIL", "ada@example.com"),
    ("GIT_AUTHOR_DATE", "2026-01-02T03:04:05+00:00"),
    ("GIT_COMMITTER_NAME", "Ada"),
    ("GIT_COMMITTER_EMAIL", "ada@example.com"),
    ("GIT_COMMITTER_DATE", "2026-01-02T03:04:05+00:00"),
    ("GIT_CONFIG_NOSYSTEM", "1"),
];

/// A directory that is removed at the end.
pub(crate) struct Workspace {
    root: TempDir,
}

impl Workspace {
    pub(crate) fn new() -> Self {
        let workspace = Self { root: TempDir::new().unwrap() };
        fs::create_dir(workspace.home()).unwrap();
        workspace.reset();
        workspace
    }

    /// A home directory for child processes, empty.
    pub(crate) fn home(&self) -> String {
        self.path("home")
    }

    /// Where the files are and the repository is; the client's root.
    pub(crate) fn root(&self) -> String {
        self.path("work")
    }

    pub(crate) fn files(&self) -> String {
        self.path("work/files")
    }

    pub(crate) fn repository(&self) -> String {
        self.path("work/repository")
    }

    /// Puts everything back as it was.
    pub(crate) fn reset(&self) {
        let _ = fs::remove_dir_all(self.root());
        let files = self.files();
        fs::create_dir_all(format!("{files}/directory/deeper")).unwrap();
        for (name, content) in [
            ("hello.txt", "Hello \u{e9}\u{2028}\n"),
            ("lines.txt", "one\ntwo\nthree\n"),
            ("directory/deeper/leaf.txt", "leaf\n"),
        ] {
            fs::write(format!("{files}/{name}"), content).unwrap();
        }
        fs::write(format!("{files}/pixel.png"), PNG).unwrap();

        let repository = self.repository();
        fs::create_dir(&repository).unwrap();
        self.git(&["init", "--quiet", "--initial-branch=main", "."]);
        fs::write(format!("{repository}/file.txt"), "first\n").unwrap();
        self.git(&["add", "file.txt"]);
        self.git(&["commit", "--quiet", "--message", "Begin"]);
        fs::write(format!("{repository}/file.txt"), "first\nsecond\n").unwrap();
    }

    fn git(&self, arguments: &[&str]) {
        let status = Command::new("git")
            .args(arguments)
            .current_dir(Path::new(&self.repository()))
            .env("HOME", self.home())
            .envs(GIT_ENVIRONMENT.iter().copied())
            .status()
            .expect("git is installed");
        assert!(status.success(), "git {arguments:?}");
    }

    fn path(&self, name: &str) -> String {
        // The servers resolve symbolic links, and on some systems the temporary directory is behind one.
        self.root.path().canonicalize().unwrap().join(name).to_str().unwrap().to_owned()
    }
}
