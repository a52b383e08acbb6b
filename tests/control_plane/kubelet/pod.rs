//! One pod as a process.

use super::volumes::Files;
use k8s_openapi::api::core::v1::{EnvVar, Pod};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A pod that runs.
pub struct Running {
    pub address: String,
    pub restarts: u32,
    home: TempDir,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    mounts: BTreeMap<String, PathBuf>,
    mounted: BTreeMap<String, Files>,
    probe: (u16, String),
    child: Option<Child>,
    terminated: bool,
}

impl Running {
    pub fn new(pod: &Pod, address: String) -> Self {
        let container = &pod.spec.as_ref().unwrap().containers[0];
        let home = tempfile::tempdir().unwrap();
        let mounts: BTreeMap<String, PathBuf> = container
            .volume_mounts
            .iter()
            .flatten()
            .enumerate()
            .map(|(index, mount)| (mount.mount_path.clone(), home.path().join(format!("mount-{index}"))))
            .collect();
        let value = |variable: &EnvVar| match &variable.value_from {
            Some(source) => match source.field_ref.as_ref().expect("a field").field_path.as_str() {
                "status.podIP" => address.clone(),
                "metadata.name" => pod.name_any(),
                "metadata.namespace" => pod.namespace().unwrap(),
                other => panic!("the downward API gives {other} too, the test does not"),
            },
            None => variable.value.clone().unwrap_or_default(),
        };
        let environment: Vec<(String, String)> =
            container.env.iter().flatten().map(|variable| (variable.name.clone(), value(variable))).collect();
        let words = container.command.iter().flatten().chain(container.args.iter().flatten());
        let arguments = words.map(|word| argument(word, &address, &environment, &mounts)).collect();
        let probe =
            container.readiness_probe.as_ref().and_then(|probe| probe.http_get.as_ref()).expect("a readiness probe");
        let port = match &probe.port {
            IntOrString::Int(port) => u16::try_from(*port).unwrap(),
            IntOrString::String(name) => {
                let mut ports = container.ports.iter().flatten();
                let named = ports.find(|port| port.name.as_ref() == Some(name)).expect("the named port");
                u16::try_from(named.container_port).unwrap()
            }
        };
        let probe = (port, probe.path.clone().unwrap_or_default());
        let (mounted, child) = (BTreeMap::new(), None);
        Self { address, restarts: 0, home, arguments, environment, mounts, mounted, probe, child, terminated: false }
    }

    /// Writes the files as the kubelet does: into a new directory, to which a link is swapped.
    pub fn mount(&mut self, volumes: &BTreeMap<String, Files>) {
        for (path, files) in volumes {
            if self.mounted.get(path) == Some(files) {
                continue;
            }
            let directory = &self.mounts[path];
            fs::create_dir_all(directory).unwrap();
            let version = tempfile::Builder::new().prefix("..version").tempdir_in(directory).unwrap().keep();
            for (name, content) in files {
                fs::write(version.join(name), content).unwrap();
                let link = directory.join(name);
                if !link.is_symlink() {
                    symlink(PathBuf::from("..data").join(name), link).unwrap();
                }
            }
            symlink(version.file_name().unwrap(), directory.join("..data_tmp")).unwrap();
            fs::rename(directory.join("..data_tmp"), directory.join("..data")).unwrap();
            self.mounted.insert(path.clone(), files.clone());
        }
    }

    /// Starts the process, again if it has ended.
    pub fn keep_alive(&mut self) {
        if self.child.is_some() && !self.has_ended() {
            return;
        }
        if self.child.is_some() {
            self.restarts += 1;
        }
        let log = File::options().create(true).append(true).open(self.home.path().join("log")).unwrap();
        // The image's entry point is the gateway, whether the pod names it or not.
        let words = self.arguments.iter().skip_while(|word| word.ends_with("mcp-gateway"));
        let child = Command::new(env!("CARGO_BIN_EXE_mcp-gateway"))
            .args(words)
            .env_clear()
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    pub fn pid(&self) -> Option<Pid> {
        Pid::from_raw(i32::try_from(self.child.as_ref()?.id()).unwrap())
    }

    /// Asks the process to leave, once.
    pub fn terminate(&mut self) {
        if !std::mem::replace(&mut self.terminated, true)
            && let Some(pid) = self.pid()
        {
            let _ = kill_process(pid, Signal::TERM);
        }
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.as_mut().is_none_or(|child| child.try_wait().unwrap().is_some())
    }

    pub fn probe(&self) -> (String, String) {
        let (port, path) = &self.probe;
        (format!("{}:{port}", self.address), path.clone())
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.home.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// An argument as it is on this machine: variables expanded, mounts where they are, any address narrowed to the pod's.
fn argument(word: &str, address: &str, environment: &[(String, String)], mounts: &BTreeMap<String, PathBuf>) -> String {
    let mut word = word.to_owned();
    for (name, value) in environment {
        word = word.replace(&format!("$({name})"), value);
    }
    for (path, directory) in mounts {
        if word.starts_with(path.as_str()) {
            word = word.replacen(path.as_str(), directory.to_str().unwrap(), 1);
        }
    }
    for any in ["[::]", "0.0.0.0", "::"] {
        for (prefix, replaced) in [(any.to_owned(), address.to_owned()), (format!("={any}"), format!("={address}"))] {
            if word == prefix || word.starts_with(&format!("{prefix}:")) && any != "::" {
                word = word.replacen(&prefix, &replaced, 1);
            }
        }
    }
    word
}

/// Asks a readiness probe.
pub async fn is_ready((address, path): (String, String)) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(&address).await.ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        Some(answer.starts_with("HTTP/1.1 200"))
    };
    tokio::time::timeout(std::time::Duration::from_secs(1), ask).await.ok().flatten().unwrap_or(false)
}
