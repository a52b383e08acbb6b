//! One running child process: its pipes, its supervision and its end.
//!
//! A [`Child`] is stopped when it is dropped. Its end always runs the same way: standard input closes, then SIGTERM to the
//! process group, then SIGKILL to the group, each after a grace period; the process is reaped and its death is announced
//! once both output pipes are read out. In a pod, what has left the group ends with it: see [`strays`].

use super::framing::{FramingError, Lines};
use super::spawn::{Launch, Spawned};
use super::stderr::{self, Redactor, Tail};
use super::strays;
use super::{Grace, ShimError};
use bytes::Bytes;
use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use std::fmt;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// Messages that wait for a child that reads slowly; senders wait beyond it.
const STDIN_QUEUE: usize = 16;

/// Lines read ahead of whoever routes them.
const STDOUT_QUEUE: usize = 8;

/// How long the pipes are read after the process has exited: another process may have inherited and kept them, and who reads
/// the answer may be slow.
const READ_OUT: Duration = Duration::from_secs(5);

/// How often a group is looked at while its last members leave; the kernel has no event for it.
const GROUP_POLL: Duration = Duration::from_millis(10);

/// Why a child is no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    /// By itself, or by somebody else's signal.
    Status(ExitStatus),
    /// Because we asked it to.
    Stopped,
    /// Because its output broke the rules.
    Unreadable(String),
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => match (status.code(), status.signal()) {
                (Some(code), _) => write!(f, "the server's process exited with status {code}"),
                (None, Some(signal)) => write!(f, "the server's process was killed by signal {signal}"),
                (None, None) => write!(f, "the server's process ended"),
            },
            Self::Stopped => write!(f, "the server's process was stopped"),
            Self::Unreadable(reason) => write!(f, "the server's process was stopped: {reason}"),
        }
    }
}

/// A handle on a running child.
pub(super) struct Child {
    stdin: mpsc::Sender<Bytes>,
    exit: watch::Receiver<Option<Exit>>,
    started: Instant,
    stop: DropGuard,
}

/// Told how a process ended and how long it lived.
pub(super) type OnExit = Box<dyn FnOnce(&Exit, Duration) + Send>;

/// What a child is started with, beyond its command.
pub(super) struct Supervision<'a> {
    pub(super) server: &'a str,
    pub(super) line_bytes: usize,
    pub(super) grace: Grace,
    pub(super) tail: Tail,
    /// Cancelled to stop every child at once.
    pub(super) closing: &'a CancellationToken,
    pub(super) tasks: &'a TaskTracker,
    /// Called once, when the process is reaped and read out.
    pub(super) on_exit: OnExit,
}

impl Child {
    /// Starts a process. The receiver yields its messages, and ends when the process is gone and read out.
    pub(super) async fn start(
        launch: &Launch,
        supervision: Supervision<'_>,
    ) -> Result<(Self, mpsc::Receiver<Bytes>), ShimError> {
        let Supervision { server, line_bytes, grace, tail, closing, tasks, on_exit } = supervision;
        let Spawned { mut process, own, mark } = launch.spawn().await?;
        let started = Instant::now();
        let broken = || ShimError::Spawn { command: launch.name(), source: std::io::Error::other("a pipe is missing") };
        let stdin = process.stdin.take().ok_or_else(broken)?;
        let stdout = process.stdout.take().ok_or_else(broken)?;
        let errors = process.stderr.take().ok_or_else(broken)?;
        let group = process.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)).ok_or_else(broken)?;

        let stop = closing.child_token();
        let (to_child, queue) = mpsc::channel(STDIN_QUEUE);
        let (lines, from_child) = mpsc::channel(STDOUT_QUEUE);
        let (announce, exit) = watch::channel(None);
        let unreadable = Unreadable { reason: Arc::default(), stop: stop.clone() };
        tasks.spawn(write(stdin, queue, stop.clone()));
        let chatter = Chatter { server: server.to_owned(), redactor: launch.redactor(), tail: tail.clone() };
        let read = tasks.spawn(read(stdout, line_bytes, chatter, lines, unreadable.clone()));
        let drained = tasks.spawn(drain(errors, server.to_owned(), launch, tail));
        tracing::debug!(server, pid = group.as_raw_nonzero().get(), "child started");

        let server = server.to_owned();
        let supervised = stop.clone();
        tasks.spawn(async move {
            let mut group = Group { id: group, gone: false };
            let status = wait(&mut process, &mut group, &supervised, grace).await;
            drop(own);
            if let Some(mark) = mark {
                strays::end(mark).await;
            }
            for reader in [read, drained] {
                let abort = reader.abort_handle();
                if timeout(READ_OUT, reader).await.is_err() {
                    abort.abort();
                }
            }
            let exit = match (unreadable.reason.lock().take(), status) {
                (Some(reason), _) => Exit::Unreadable(reason),
                (None, Some(status)) => Exit::Status(status),
                (None, None) => Exit::Stopped,
            };
            tracing::debug!(server, %exit, "child ended");
            on_exit(&exit, started.elapsed());
            announce.send_replace(Some(exit));
        });
        Ok((Self { stdin: to_child, exit, started, stop: stop.drop_guard() }, from_child))
    }

    /// Where to send messages for its standard input. Sending fails once it is gone.
    pub(super) fn stdin(&self) -> mpsc::Sender<Bytes> {
        self.stdin.clone()
    }

    /// How it ended, once it has.
    pub(super) fn exit(&self) -> watch::Receiver<Option<Exit>> {
        self.exit.clone()
    }

    /// Whether it is gone or going.
    pub(super) fn is_ending(&self) -> bool {
        self.stdin.is_closed() || self.exit.borrow().is_some()
    }

    /// How long it has been running.
    pub(super) fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// Cancelling this begins its end, as dropping it would.
    pub(super) fn stop_token(&self) -> &CancellationToken {
        self.stop.token()
    }
}

/// Tells why a child's output is not read any further, and ends the child for it.
#[derive(Clone)]
struct Unreadable {
    reason: Arc<Mutex<Option<String>>>,
    stop: CancellationToken,
}

impl Unreadable {
    fn because(&self, error: &FramingError) {
        *self.reason.lock() = Some(error.to_string());
        self.stop.cancel();
    }
}

/// Writes messages as lines until the child is to stop, which it learns from the closed pipe.
async fn write(mut stdin: ChildStdin, mut queue: mpsc::Receiver<Bytes>, stop: CancellationToken) {
    let write_all = async {
        while let Some(message) = queue.recv().await {
            stdin.write_all(&as_one_line(message)).await?;
            stdin.write_all(b"\n").await?;
        }
        std::io::Result::Ok(())
    };
    tokio::select! {
        () = stop.cancelled() => {}
        written = write_all => if let Err(error) = written {
            tracing::debug!(%error, "child closed its standard input");
        }
    }
}

/// Line ends inside a JSON text can only be whitespace between tokens; blanks are the same to JSON.
fn as_one_line(message: Bytes) -> Bytes {
    if memchr::memchr2(b'\n', b'\r', &message).is_none() {
        return message;
    }
    message.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }).collect()
}

/// What is done with the lines of standard output that are no messages.
struct Chatter {
    server: String,
    redactor: Redactor,
    tail: Tail,
}

impl Chatter {
    /// Many servers greet their users there. It is skipped, and kept where a user looks for why a server does not work: one that
    /// is no MCP server mostly says on this way what it is.
    fn skip(&self, line: &[u8]) {
        tracing::debug!(server = self.server, "child stdout is not JSON-RPC, skipped");
        self.tail.note(&self.redactor, line);
    }
}

/// Passes on the lines that can be messages.
async fn read(stdout: ChildStdout, limit: usize, chatter: Chatter, lines: mpsc::Sender<Bytes>, unreadable: Unreadable) {
    let mut source = Lines::new(stdout, limit);
    loop {
        match source.next().await {
            Ok(Some(line)) if line.trim_ascii_start().starts_with(b"{") => {
                if lines.send(line).await.is_err() {
                    return;
                }
            }
            Ok(Some(line)) => chatter.skip(&line),
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(server = chatter.server, %error, "child stdout is unreadable, stopping it");
                return unreadable.because(&error);
            }
        }
    }
}

fn drain(errors: ChildStderr, server: String, launch: &Launch, tail: Tail) -> impl Future<Output = ()> + use<> {
    stderr::drain(errors, server, launch.redactor(), tail)
}

/// Waits until the process is reaped and its group is empty. `None`: it ended because it was to stop.
async fn wait(
    process: &mut tokio::process::Child,
    group: &mut Group,
    stop: &CancellationToken,
    grace: Grace,
) -> Option<ExitStatus> {
    let status = tokio::select! {
        // First, so that a child that leaves because it was told to is not taken for crashed.
        biased;
        () = stop.cancelled() => None,
        status = process.wait() => Some(status.unwrap_or_default()),
    };
    if status.is_none() {
        end(process, group.id, grace).await;
    }
    // A crashed server's helpers work for nobody; those of one that was stopped have had their time.
    group.kill();
    status
}

/// Closed standard input (done by the writer on the same signal), SIGTERM, SIGKILL.
async fn end(process: &mut tokio::process::Child, group: Pid, grace: Grace) {
    if timeout(grace.after_stdin, process.wait()).await.is_ok() && test_kill_process_group(group).is_err() {
        return;
    }
    let _ = kill_process_group(group, Signal::TERM);
    let all_gone = async {
        let _ = process.wait().await;
        while test_kill_process_group(group).is_ok() {
            tokio::time::sleep(GROUP_POLL).await;
        }
    };
    if timeout(grace.after_term, all_gone).await.is_err() {
        let _ = kill_process_group(group, Signal::KILL);
        let _ = process.wait().await;
    }
}

/// A child's process group. Killed when dropped early, which is when the runtime ends under a running child.
struct Group {
    id: Pid,
    gone: bool,
}

impl Group {
    /// Kills whatever is left. Once only, directly after the leader was reaped: later the number could belong to others.
    fn kill(&mut self) {
        if !std::mem::replace(&mut self.gone, true) {
            let _ = kill_process_group(self.id, Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}
