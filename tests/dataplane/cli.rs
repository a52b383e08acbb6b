//! Wrong calls: one line that says what to do, and the right exit code.

use crate::support::process::run_to_end;
use std::process::Output;

fn error(output: &Output, code: i32) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{text}");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 1, "one line: {text}");
    lines[0].to_owned()
}

#[tokio::test]
async fn a_wrong_argument_is_exit_code_2() {
    for (arguments, message) in [
        (&["serve", "--snapshot", "x"][..], "unexpected argument '--snapshot'"),
        (&["serve"], "required arguments were not provided: --snapshot-dir"),
        (&["serv"], "unrecognized subcommand 'serv'"),
        (&["serve", "--snapshot-dir", "a", "--credentials-dir", "b", "--admin", "x"], "invalid value 'x' for '--admin"),
        (&["serve", "--snapshot-dir", "a", "--credentials-dir", "b", "--log-level", "a=b=c"], "--log-level"),
    ] {
        let line = error(&run_to_end(arguments).await, 2);
        assert!(line.starts_with("error: ") && line.contains(message), "{line}");
    }
}

#[tokio::test]
async fn a_generation_that_is_not_there_is_exit_code_1() {
    let line = error(&run_to_end(&["serve", "--snapshot-dir", "/nowhere", "--credentials-dir", "/nowhere"]).await, 1);
    assert!(line.contains("/nowhere/snapshot.json.gz: No such file"), "{line}");
}

#[tokio::test]
async fn an_admin_port_in_use_is_exit_code_1() {
    let server = crate::support::upstream::McpServer::start("search").await;
    let gateway = crate::support::process::gateway(&[("search", server.address)]).await;
    let home = tempfile::tempdir().unwrap();
    let generation = crate::support::generation::generation(&[]);
    let snapshot = mcp_gateway_operator::ir::generation::encode_snapshot(&generation.snapshot).unwrap();
    let credentials = mcp_gateway_operator::ir::generation::encode_credentials(&generation.credentials).unwrap();
    std::fs::write(home.path().join("snapshot.json.gz"), snapshot).unwrap();
    std::fs::write(home.path().join("credentials.json"), credentials).unwrap();
    let (home, admin) = (home.path().to_str().unwrap(), gateway.admin().to_string());
    let output = run_to_end(&["serve", "--snapshot-dir", home, "--credentials-dir", home, "--admin", &admin]).await;
    let line = error(&output, 1);
    assert!(line.contains(&admin) && line.contains("--admin"), "{line}");
}

#[tokio::test]
async fn help_and_version_are_no_errors() {
    for arguments in [&["--help"][..], &["--version"], &["serve", "--help"]] {
        let output = run_to_end(arguments).await;
        assert!(output.status.success() && !output.stdout.is_empty(), "{output:?}");
        assert!(!String::from_utf8_lossy(&output.stdout).contains("__exec"), "the hidden command is hidden");
    }
}
