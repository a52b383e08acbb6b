//! The programs of a control plane, as `scripts/control-plane.sh` starts them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{LazyLock, Mutex, mpsc};

/// Starts and configures the programs.
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/control-plane.sh");

/// The store.
pub(super) const ETCD: &str = "etcd";
/// What tests talk to.
pub(super) const API_SERVER: &str = "kube-apiserver";
/// Garbage collection, Deployments, service accounts.
pub(super) const CONTROLLER_MANAGER: &str = "kube-controller-manager";

/// The programs are there: built or fetched, when nobody has before.
static TOOLS: LazyLock<()> = LazyLock::new(|| {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/cluster-tools.sh");
    let status = Command::new(script).stdout(Stdio::null()).status().expect("the script runs");
    assert!(status.success(), "{script} failed: see above");
});

/// One control plane's programs and files. They end with this value, and with the test's process however that ends.
pub(super) struct Programs {
    directory: PathBuf,
    port: u16,
    running: Mutex<BTreeMap<&'static str, Child>>,
}

impl Programs {
    /// Writes keys and configuration; nothing runs yet.
    pub(super) fn prepare() -> Self {
        LazyLock::force(&TOOLS);
        let programs = Self { directory: new_directory(), port: free_port(), running: Mutex::default() };
        let status = programs.script("prepare").status().expect("the script runs");
        assert!(status.success(), "{SCRIPT} prepare failed: see above");
        programs
    }

    /// Where keys, data and logs are.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Starts a program.
    pub(super) fn start(&self, program: &'static str) {
        let log = File::options().create(true).append(true).open(self.log_path(program)).unwrap();
        let script = self.script(program);
        // The kernel kills it when the thread that started it ends, so that one may not be a test's.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", SCRIPT, program]);
        for (name, value) in script.get_envs() {
            command.env(name, value.expect("all are set"));
        }
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let before = self.running.lock().unwrap().insert(program, spawn(command));
        assert!(before.is_none(), "{program} runs already");
    }

    /// Kills a program.
    pub(super) fn kill(&self, program: &str) {
        if let Some(mut child) = self.running.lock().unwrap().remove(program) {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// The end of a program's log, when it ended by itself.
    pub(super) fn failure(&self, program: &str) -> Option<String> {
        let mut running = self.running.lock().unwrap();
        let status = running.get_mut(program)?.try_wait().unwrap()?;
        let log = fs::read_to_string(self.log_path(program)).unwrap();
        let last: Vec<&str> = log.lines().rev().take(20).collect();
        Some(format!("{program} ended with {status}:\n{}", last.into_iter().rev().collect::<Vec<_>>().join("\n")))
    }

    fn log_path(&self, program: &str) -> PathBuf {
        self.directory.join(format!("{program}.log"))
    }

    fn script(&self, step: &str) -> Command {
        let mut command = Command::new(SCRIPT);
        command.arg(step).env("CONTROL_PLANE_DIR", &self.directory).env("CONTROL_PLANE_PORT", self.port.to_string());
        command
    }
}

impl Drop for Programs {
    fn drop(&mut self) {
        for program in [CONTROLLER_MANAGER, API_SERVER, ETCD] {
            self.kill(program);
        }
        if std::thread::panicking() {
            eprintln!("the control plane's logs are in {}", self.directory.display());
        } else {
            fs::remove_dir_all(&self.directory).unwrap();
        }
    }
}

/// Starts a process from a thread that lives as long as this process does.
fn spawn(command: Command) -> Child {
    type Order = (Command, mpsc::Sender<std::io::Result<Child>>);
    static ORDERS: LazyLock<mpsc::Sender<Order>> = LazyLock::new(|| {
        let (sender, orders) = mpsc::channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, answer) in orders {
                // Whoever ordered it may have panicked.
                let _ = answer.send(command.spawn());
            }
        });
        sender
    });
    let (answer, child) = mpsc::channel();
    ORDERS.send((command, answer)).unwrap();
    child.recv().unwrap().expect("setpriv runs (Debian: util-linux)")
}

/// A directory named after this process. The shared control plane never gets to remove its own, so that those of processes
/// that are gone are removed here.
pub(super) fn new_directory() -> PathBuf {
    const PREFIX: &str = "control-plane-";
    static NUMBER: AtomicU16 = AtomicU16::new(0);
    let all = Path::new(env!("CARGO_TARGET_TMPDIR"));
    for entry in fs::read_dir(all).unwrap() {
        let name = entry.unwrap().file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split('-').next());
        if process.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            // Another test may be removing it too.
            let _ = fs::remove_dir_all(all.join(&name));
        }
    }
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    all.join(format!("{PREFIX}{}-{number}", std::process::id()))
}

/// A port for an API server. It is below those that clients are given, so that none of them takes it during a restart.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(16443);
    loop {
        let port = NEXT.fetch_add(1, Ordering::Relaxed);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
