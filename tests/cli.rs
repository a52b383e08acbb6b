//! `kubectl mcp` as a process, and the verdicts of `lint` on a table of manifests.

// A test fails by panicking, helpers included.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "cli/commands.rs"]
mod commands;
#[cfg(feature = "operator")]
#[path = "cli/status.rs"]
mod status;
#[path = "cli/verdicts.rs"]
mod verdicts;

use std::io::Write;
use std::process::{Command, Output, Stdio};

/// Runs `kubectl mcp` in the project's directory.
fn kubectl_mcp(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_kubectl-mcp"))
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that reads no input may be gone already.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}
