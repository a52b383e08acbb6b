//! `mcp-gateway` as a process, and what it logs.

use super::generation;
use super::http::{self, Answer};
use super::{PATIENCE, within};
use mcp_gateway_operator::ir::generation::{
    CREDENTIALS_FILE, Generation, SNAPSHOT_FILE, encode_credentials, encode_snapshot,
};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::Value;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::watch;

/// The program under test.
pub const GATEWAY: &str = env!("CARGO_BIN_EXE_mcp-gateway");

/// A process in a group of its own, which is killed with everything it started when this is dropped.
pub struct Process {
    child: Child,
    log: watch::Receiver<Vec<String>>,
    stdout: watch::Receiver<Vec<String>>,
}

impl Process {
    pub fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("the program starts");
        let log = collect(child.stderr.take().unwrap());
        let stdout = collect(child.stdout.take().unwrap());
        Self { child, log, stdout }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The lines of standard error so far.
    pub fn log(&self) -> Vec<String> {
        self.log.borrow().clone()
    }

    /// The lines of standard output so far.
    pub fn stdout(&self) -> Vec<String> {
        self.stdout.borrow().clone()
    }

    /// Waits for a line of standard error, and gives what was made of it.
    pub async fn logged<T>(&self, what: &str, find: impl Fn(&str) -> Option<T>) -> T {
        wait_for_line(self.log.clone(), what, find).await
    }

    /// Waits for a line of standard output, and gives what was made of it.
    pub async fn printed<T>(&self, what: &str, find: impl Fn(&str) -> Option<T>) -> T {
        wait_for_line(self.stdout.clone(), what, find).await
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.rustix_pid(), signal).unwrap();
    }

    /// Waits for the end of the process.
    pub async fn ended(&mut self) -> ExitStatus {
        within("the process ends", async {
            loop {
                if let Some(status) = self.child.try_wait().unwrap() {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
    }

    fn rustix_pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may be gone, with or without its group.
        let _ = kill_process_group(self.rustix_pid(), Signal::KILL);
        let _ = self.child.wait();
    }
}

fn collect(stream: impl std::io::Read + Send + 'static) -> watch::Receiver<Vec<String>> {
    let (sender, receiver) = watch::channel(Vec::new());
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            sender.send_modify(|lines| lines.push(line));
        }
    });
    receiver
}

async fn wait_for_line<T>(mut lines: watch::Receiver<Vec<String>>, what: &str, find: impl Fn(&str) -> Option<T>) -> T {
    let waited = tokio::time::timeout(PATIENCE, async {
        loop {
            if let Some(found) = lines.borrow_and_update().iter().find_map(|line| find(line)) {
                return Some(found);
            }
            // The process closed its end: nothing more will come.
            if lines.changed().await.is_err() {
                return lines.borrow().iter().find_map(|line| find(line));
            }
        }
    });
    match waited.await {
        Ok(Some(found)) => found,
        _ => panic!("{what}: not among\n{}", lines.borrow().join("\n")),
    }
}

/// A gateway that serves a generation from directories, as in a pod.
pub struct Gateway {
    pub process: Process,
    home: TempDir,
    admin: SocketAddr,
}

impl Gateway {
    /// Starts it with a first generation, and waits until it listens.
    pub async fn serve(generation: &Generation) -> Self {
        Self::serve_with(generation, &[]).await
    }

    /// As [`serve`](Self::serve), with more arguments.
    pub async fn serve_with(generation: &Generation, arguments: &[&str]) -> Self {
        let home = tempfile::tempdir().unwrap();
        write(home.path(), generation);
        let mut command = Command::new(GATEWAY);
        command.arg("serve").args(["--bind", "127.0.0.1", "--admin", "127.0.0.1:0"]);
        command.arg("--snapshot-dir").arg(home.path().join("snapshot"));
        command.arg("--credentials-dir").arg(home.path().join("credentials"));
        command.args(arguments).env_remove("RUST_LOG");
        let process = Process::start(&mut command);
        let admin = process.logged("the admin port listens", |line| listening(line, "admin")).await;
        Self { process, home, admin }
    }

    /// The address of a listener.
    pub async fn address(&self, listener: &str) -> SocketAddr {
        let what = format!("{listener} listens");
        self.process.logged(&what, |line| listening(line, listener)).await
    }

    /// Where the admin port is.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Writes a generation as the kubelet does: aside first, then in place by swapping a link.
    pub fn write(&self, generation: &Generation) {
        write(self.home.path(), generation);
    }

    /// Writes the two files of a generation as they are.
    pub fn write_files(&self, snapshot: &[u8], credentials: &[u8]) {
        write_files(self.home.path(), snapshot, credentials);
    }

    /// Writes a generation and waits until it is served.
    pub async fn apply(&self, generation: &Generation) {
        self.write(generation);
        let hash = generation.hash();
        self.status_where("the generation is applied", |status| status["generation"] == hash.as_str()).await;
    }

    /// A page of the admin port.
    pub async fn page(&self, path: &str) -> Answer {
        http::get(self.admin, path).await
    }

    /// The status page.
    pub async fn status(&self) -> Value {
        self.page("/status").await.json()
    }

    /// The status, as soon as it is as wanted.
    pub async fn status_where(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        within(what, async {
            loop {
                let status = self.status().await;
                if wanted(&status) {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
    }

    /// The value of one series of the metrics page, 0 when it is not there.
    pub async fn metric(&self, series: &str) -> f64 {
        let page = self.page("/metrics").await.text();
        let value = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.parse().unwrap())
    }
}

/// The address in a log line that says that this listener listens.
fn listening(line: &str, listener: &str) -> Option<SocketAddr> {
    let line: Value = serde_json::from_str(line).ok()?;
    let fields = &line["fields"];
    let is_it = fields["message"] == "listening" && fields["listener"] == listener;
    if is_it { fields["address"].as_str()?.parse().ok() } else { None }
}

fn write(home: &Path, generation: &Generation) {
    let snapshot = encode_snapshot(&generation.snapshot).unwrap();
    write_files(home, &snapshot, &encode_credentials(&generation.credentials).unwrap());
}

fn write_files(home: &Path, snapshot: &[u8], credentials: &[u8]) {
    swap_in(&home.join("credentials"), CREDENTIALS_FILE, credentials);
    swap_in(&home.join("snapshot"), SNAPSHOT_FILE, snapshot);
}

/// A volume as the kubelet makes it: files are links into `..data`, which is a link to a directory.
fn swap_in(volume: &Path, file: &str, content: &[u8]) {
    fs::create_dir_all(volume).unwrap();
    let fresh = tempfile::Builder::new().prefix("..version_").tempdir_in(volume).unwrap().keep();
    fs::write(fresh.join(file), content).unwrap();
    let data = volume.join("..data");
    let before = fs::read_link(&data).ok();
    symlink(&fresh, volume.join("..data_tmp")).unwrap();
    fs::rename(volume.join("..data_tmp"), &data).unwrap();
    if !volume.join(file).exists() {
        symlink(Path::new("..data").join(file), volume.join(file)).unwrap();
    }
    if let Some(before) = before {
        fs::remove_dir_all(before).unwrap();
    }
}

/// Runs the program to its end. It is killed if it does not end.
pub async fn run_to_end(arguments: &[&str]) -> Output {
    let mut command = tokio::process::Command::new(GATEWAY);
    command.args(arguments).env_remove("RUST_LOG").stdin(Stdio::null()).kill_on_drop(true);
    within("the program ends", command.output()).await.unwrap()
}

/// A gateway in front of these servers, by name.
pub async fn gateway(servers: &[(&str, SocketAddr)]) -> Gateway {
    Gateway::serve(&generation::generation(servers)).await
}
