//! A server as a child process: one message per line.

use std::process::Stdio;

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, ChildStdin, Command},
    sync::mpsc::UnboundedSender,
    time::timeout,
};

use super::{Message, PATIENCE};

pub(super) struct StdioLink {
    child: Child,
    stdin: ChildStdin,
}

impl StdioLink {
    pub(super) fn spawn(command: &[String], outbox: UnboundedSender<Message>) -> Self {
        let mut child = Command::new(&command[0])
            .args(&command[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let stdin = child.stdin.take().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                if outbox.send(Message(line)).is_err() {
                    return;
                }
            }
        });
        Self { child, stdin }
    }

    pub(super) async fn send(&mut self, message: &Value) {
        self.stdin.write_all(format!("{message}\n").as_bytes()).await.expect("the server reads its stdin");
        self.stdin.flush().await.expect("the server reads its stdin");
    }

    pub(super) async fn close(self) {
        let Self { mut child, stdin } = self;
        drop(stdin);
        // Some servers do not end with their stdin; the child is killed on drop then.
        let _ = timeout(PATIENCE / 10, child.wait()).await;
    }
}
