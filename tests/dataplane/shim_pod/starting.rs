//! From the program in another image to a pod that is ready, or says why it is not.

use super::*;
use crate::support::process::run_to_end;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

#[tokio::test]
async fn the_program_installs_itself() {
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("mcp-gateway");
    std::fs::write(&target, "an older one").unwrap();
    let output = run_to_end(&["shim", "--install", target.to_str().unwrap()]).await;
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    assert_eq!(target.metadata().unwrap().permissions().mode() & 0o7777, 0o755);
    let version = Command::new(&target).arg("--version").output().unwrap();
    assert!(String::from_utf8(version.stdout).unwrap().starts_with("mcp-gateway "));
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is left beside it");

    let output = run_to_end(&["shim", "--install", "/no/such/directory/mcp-gateway"]).await;
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), message.lines().count()), (Some(1), 1), "{message}");
    assert!(message.starts_with("error: cannot install to /no/such/directory/mcp-gateway: "), "{message}");
}

#[tokio::test]
async fn a_pod_is_ready_once_its_server_has_answered_a_handshake() {
    let directory = tempfile::tempdir().unwrap();
    let sign = directory.path().join("sign");
    let pod = Pod::spawn(&[], &[("SERVER_WAITS_FOR", sign.to_str().unwrap())]).await;
    let answer = pod.page("/readyz").await;
    assert_eq!((answer.status, answer.text().as_str()), (503, "waiting for the server's first handshake\n"));
    assert_eq!(pod.page("/healthz").await.status, 200);
    std::fs::write(sign, "").unwrap();
    pod.ready().await;

    let mut client = pod.client().await;
    // It ends instead of an answer, and that is this client's error alone.
    let lost = client.call("crash", json!({})).await.unwrap();
    assert_eq!(lost["error"]["code"], -32011, "{lost}");
    pod.metric_is("mcp_shim_process_crashes_total", 1).await;
    assert_eq!(pod.page("/readyz").await.status, 200);
}

#[tokio::test]
async fn a_server_of_the_modern_era_makes_a_pod_ready_too() {
    let pod = Pod::start_with(&["--isolation", "Shared"], &[("SERVER_MODERN", "yes")]).await;
    // One refused `initialize`, the other is the one that serves this era.
    pod.metric_is(r#"mcp_shim_processes{state="running"}"#, 1).await;
    assert_eq!(pod.metric("mcp_shim_handshake_failures_total").await, 1);
}

/// Runs a command that is no server, and gives the exit code and the termination message.
async fn hopeless(arguments: &[&str], command: &[&str]) -> (i32, String) {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("termination-log");
    std::fs::write(&log, "").unwrap();
    let own = ["--listen", "127.0.0.1:0", "--termination-log", log.to_str().unwrap()];
    let mut process = shim(&[&own, arguments].concat(), command, &[("SERVER_PASSWORD", "hunter2-hunter2")]);
    let status = process.ended().await;
    let message = std::fs::read_to_string(&log).unwrap();
    let told = process.log().into_iter().filter(|line| line.starts_with("error: ")).collect::<Vec<_>>();
    assert_eq!(told, [format!("error: {}", message.trim_end())]);
    (status.code().unwrap(), message)
}

#[tokio::test]
async fn a_command_that_cannot_be_run_is_named_at_once() {
    let (code, message) = hopeless(&[], &["no-such-mcp-server", "--port"]).await;
    assert_eq!(code, 127);
    assert_eq!(message, "the command \"no-such-mcp-server\" was not found: install it, or give its full path\n");

    let directory = tempfile::tempdir().unwrap();
    let plain = directory.path().join("server.py");
    std::fs::write(&plain, "").unwrap();
    std::fs::set_permissions(&plain, std::fs::Permissions::from_mode(0o644)).unwrap();
    let (code, message) = hopeless(&[], &[plain.to_str().unwrap()]).await;
    assert_eq!((code, message), (126, format!("the command {plain:?} is not executable\n")));
}

#[tokio::test]
async fn a_command_that_keeps_ending_is_named_with_its_last_words() {
    let script = "echo \"Error: no database for $SERVER_PASSWORD\" >&2; echo '    at main (x.js:1)' >&2; exit 5";
    let (code, message) = hopeless(&["--pool-min", "0"], &["sh", "-c", script]).await;
    assert_eq!(code, 1);
    assert_eq!(
        message,
        "the command \"sh\" does not work as a stdio MCP server: the server's process exited with status 5; it wrote: Error: no database for ****\n"
    );
}

#[tokio::test]
async fn a_command_that_never_answers_is_named_with_what_it_said() {
    let script = "echo 'listening on port 3000'; sleep 1000";
    let (code, message) = hopeless(&["--handshake-timeout", "1s"], &["sh", "-c", script]).await;
    assert_eq!(code, 1);
    assert_eq!(
        message,
        "the command \"sh\" does not work as a stdio MCP server: the server did not answer the handshake within 1 s; it wrote: listening on port 3000\n"
    );
}

#[tokio::test]
async fn what_cannot_work_is_refused_before_anything_starts() {
    let missing = "/no/such/token";
    for (arguments, code, message) in [
        (&["--listen", "127.0.0.1:0"][..], 2, "required arguments were not provided: <COMMAND>"),
        (&["--listen", "127.0.0.1:0", "--pool-min", "3", "--pool-max", "2", "--", "x"], 2, "--pool-min 3 is more"),
        (&["--listen", "127.0.0.1:0", "--pool-max", "0", "--", "x"], 2, "--pool-max"),
        (&["--listen", "127.0.0.1:0", "--isolation", "shared", "--", "x"], 2, "--isolation"),
        (&["--listen", "0.0.0.0:0", "--", "x"], 2, "give a --token-file, or listen on a loopback address"),
        (
            &["--listen", "[::]:0", "--token-file", missing, "--", "x"],
            1,
            "the token file /no/such/token cannot be read",
        ),
        (&["--listen", "[::]:0", "--token-file", "/dev/null", "--", "x"], 1, "the token file /dev/null is empty"),
        (&["--install", "a", "--listen", "127.0.0.1:0"], 2, "--install"),
    ] {
        let output = run_to_end(&[&["shim"], arguments].concat()).await;
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), told.lines().count()), (Some(code), 1), "{arguments:?}: {told}");
        assert!(told.starts_with("error: ") && told.contains(message), "{arguments:?}: {told}");
    }
    assert!(!Path::new("a").exists());
}
