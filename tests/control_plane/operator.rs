//! The operator as a process.

use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use tempfile::TempDir;

/// A running operator; it ends with this value.
pub struct Operator {
    child: Child,
    home: TempDir,
}

impl Operator {
    /// Starts one against this cluster.
    pub fn start(kubeconfig: &Path, arguments: &[&str]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let log = File::create(log_path(&home)).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_mcp-operator"))
            .args(["run", "--health", "127.0.0.1:0", "--log-level", "info,mcp_gateway_operator=debug"])
            .args(arguments)
            .env_clear()
            .env("KUBECONFIG", kubeconfig)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { child, home }
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap()
    }

    /// Waits for its end, and gives its exit code.
    pub fn wait(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// The most memory that it ever had, in KiB, and the time that it has computed, in ms.
    pub fn cost(&self) -> (u64, u64) {
        let read = |file: &str| fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).unwrap();
        let memory = read("status")
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.trim().parse().ok());
        // Fields 14 and 15, counted after the name in brackets; in hundredths of a second.
        let stat = read("stat");
        let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        (memory.unwrap(), ticks * 10)
    }

    /// Where it tells how it is, once it does.
    pub fn health(&self) -> Option<String> {
        let log = self.log();
        let started = log.lines().find(|line| line.contains("\"message\":\"started\""))?;
        let line: serde_json::Value = serde_json::from_str(started).unwrap();
        Some(line["address"].as_str().unwrap().to_owned())
    }

    pub fn log(&self) -> String {
        fs::read_to_string(log_path(&self.home)).unwrap()
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the operator's log\n{}", self.log());
        }
    }
}

fn log_path(home: &TempDir) -> PathBuf {
    home.path().join("log")
}
