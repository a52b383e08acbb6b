//! The servers of files, git and time, over stdio.

use serde_json::json;

use super::{
    blur::Blur,
    cases::{Case, Subject, Volatile},
};
use crate::workspace::Workspace;

const FILE_TIMES: &[Volatile] = &[
    (Blur::Line("created: "), "each run has its own copy of the files"),
    (Blur::Line("modified: "), "each run has its own copy of the files"),
    (Blur::Line("accessed: "), "reading a file changes it"),
];

pub(crate) fn filesystem(workspace: &Workspace) -> Subject {
    let path = |name: &str| format!("{}/{name}", workspace.files());
    let tool = Case::tool;
    let cases = vec![
        tool("list_allowed_directories", json!({})),
        tool("read_file", json!({ "path": path("hello.txt") })),
        tool("read_text_file", json!({ "path": path("lines.txt"), "head": 2 })),
        tool("read_text_file", json!({ "path": path("no such file") })),
        tool("read_text_file", json!({ "path": "/etc/hostname" })),
        tool("read_media_file", json!({ "path": path("pixel.png") })),
        tool("read_multiple_files", json!({ "paths": [path("hello.txt"), path("lines.txt"), path("missing")] })),
        tool("list_directory", json!({ "path": path("") })),
        tool("list_directory_with_sizes", json!({ "path": path(""), "sortBy": "size" })),
        tool("directory_tree", json!({ "path": path("") })),
        tool("search_files", json!({ "path": path(""), "pattern": "**/*.txt" })),
        tool("get_file_info", json!({ "path": path("hello.txt") })).volatile(FILE_TIMES),
        tool("write_file", json!({ "path": path("new.txt"), "content": "new \u{e9}\u{2028}\n" })),
        tool("read_text_file", json!({ "path": path("new.txt") })),
        tool(
            "edit_file",
            json!({ "path": path("lines.txt"), "edits": [{ "oldText": "two", "newText": "2" }], "dryRun": false }),
        ),
        tool("create_directory", json!({ "path": path("made") })),
        tool("move_file", json!({ "source": path("new.txt"), "destination": path("made/moved.txt") })),
        tool("directory_tree", json!({ "path": path("") })),
    ];
    Subject { name: "filesystem", volatile: &[], cases }
}

pub(crate) fn git(workspace: &Workspace) -> Subject {
    let repo = workspace.repository();
    let tool = Case::tool;
    let cases = vec![
        tool("git_status", json!({ "repo_path": repo })),
        tool("git_diff_unstaged", json!({ "repo_path": repo })),
        tool("git_add", json!({ "repo_path": repo, "files": ["file.txt"] })),
        tool("git_diff_staged", json!({ "repo_path": repo, "context_lines": 1 })),
        tool("git_reset", json!({ "repo_path": repo })),
        tool("git_add", json!({ "repo_path": repo, "files": ["file.txt"] })),
        tool("git_commit", json!({ "repo_path": repo, "message": "Change it: \u{e9}" })),
        tool("git_log", json!({ "repo_path": repo, "max_count": 5 })),
        tool("git_show", json!({ "repo_path": repo, "revision": "HEAD" })),
        tool("git_diff", json!({ "repo_path": repo, "target": "HEAD~1" })),
        tool("git_create_branch", json!({ "repo_path": repo, "branch_name": "other" })),
        tool("git_checkout", json!({ "repo_path": repo, "branch_name": "other" })),
        tool("git_branch", json!({ "repo_path": repo, "branch_type": "local" })),
        tool("git_checkout", json!({ "repo_path": repo, "branch_name": "no-such-branch" })),
        tool("git_status", json!({ "repo_path": "/nowhere" })),
    ];
    Subject { name: "git", volatile: &[], cases }
}

const NOW: &[Volatile] = &[
    (Blur::Timestamp, "tells the time, or a time of today"),
    (Blur::Line("\\\"day_of_week\\\": "), "the run may go past midnight"),
];

pub(crate) fn time() -> Subject {
    let convert = |from: &str, time: &str, to: &str| {
        let arguments = json!({ "source_timezone": from, "time": time, "target_timezone": to });
        Case::tool("convert_time", arguments)
    };
    let cases = vec![
        Case::tool("get_current_time", json!({ "timezone": "UTC" })),
        Case::tool("get_current_time", json!({ "timezone": "Not/A_Zone" })),
        convert("Asia/Tokyo", "12:30", "Asia/Kolkata"),
        convert("UTC", "25:99", "Asia/Kolkata"),
    ];
    Subject { name: "time", volatile: NOW, cases }
}
