//! Plays the kubelet: runs the gateways of pods as processes of this machine, and the MCP servers of others in this process, and
//! sets the pods' status.
//!
//! All processes share the test's network namespace, so that each pod has an address of its own there and what a pod would
//! bind to any address is bound to that one.

mod pod;
mod volumes;

pub use pod::Running;

use crate::support::upstream::{McpServer, Received, Reply, with_body};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use mcp_gateway_operator::api::BACKEND_LABEL;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;

/// Pods have addresses from here on; the test's namespace owns the whole range.
static NEXT_ADDRESS: AtomicU16 = AtomicU16::new(256);

/// The one node that there is.
const NODE: &str = "node";

/// What happens to a pod instead of running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No node has room.
    Unschedulable,
    /// Its image is not to be had.
    ImagePull,
    /// A container cannot be created: it names a Secret that there is not.
    Create,
    /// Its process ends as soon as it starts.
    Crash,
}

/// The kubelet of one namespace.
pub struct Kubelet {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    client: Client,
    namespace: String,
    running: Mutex<BTreeMap<String, Running>>,
    /// Pods of backends, whatever their image.
    servers: Mutex<BTreeMap<String, (String, McpServer)>>,
    /// By a part of the pod's name, or of its image.
    faults: Mutex<BTreeMap<String, Fault>>,
    /// Pods that are not looked at, as if the kubelet had not come to it yet.
    frozen: Mutex<BTreeSet<String>>,
}

impl Kubelet {
    /// Looks after the pods of a namespace from now on.
    pub fn start(client: &Client, namespace: &str) -> Self {
        let shared = Arc::new(Shared {
            client: client.clone(),
            namespace: namespace.to_owned(),
            running: Mutex::default(),
            servers: Mutex::default(),
            faults: Mutex::default(),
            frozen: Mutex::default(),
        });
        let task = tokio::spawn(Arc::clone(&shared).run());
        Self { shared, task }
    }

    /// Looks after no pod any more: those to come stay pending.
    pub fn stop(&self) {
        self.task.abort();
    }

    /// Has pods whose name or image contains `part` go wrong from now on; `None`: no more.
    pub fn fault(&self, part: &str, fault: Option<Fault>) {
        let mut faults = self.shared.faults.lock();
        match fault {
            Some(fault) => faults.insert(part.to_owned(), fault),
            None => faults.remove(part),
        };
    }

    /// The running pods whose name contains `part`: name and address.
    pub fn pods(&self, part: &str) -> Vec<(String, String)> {
        let running = self.shared.running.lock();
        let named = running.iter().filter(|(name, _)| name.contains(part));
        named.map(|(name, pod)| (name.clone(), pod.address.clone())).collect()
    }

    /// Sends a signal to a pod's process.
    pub fn signal(&self, name: &str, signal: rustix::process::Signal) {
        let pid = self.shared.running.lock().get(name).and_then(Running::pid).expect("the pod runs");
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Process ids by pod, to see that none was started again.
    pub fn pids(&self, part: &str) -> BTreeMap<String, Option<i32>> {
        let running = self.shared.running.lock();
        let named = running.iter().filter(|(name, _)| name.contains(part));
        named.map(|(name, pod)| (name.clone(), pod.pid().map(|pid| pid.as_raw_nonzero().get()))).collect()
    }

    /// What the processes of these pods have logged.
    pub fn logs(&self, part: &str) -> String {
        let running = self.shared.running.lock();
        let named = running.iter().filter(|(name, _)| name.contains(part));
        named.map(|(name, pod)| format!("--- {name}\n{}", pod.log())).collect::<Vec<_>>().concat()
    }

    /// Whether pods whose name contains `part` are left alone, and so stay what they were last seen to be.
    pub fn freeze(&self, part: &str, frozen: bool) {
        let mut parts = self.shared.frozen.lock();
        if frozen {
            parts.insert(part.to_owned())
        } else {
            parts.remove(part)
        };
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.task.abort();
        // Processes end with their `Running`.
        self.shared.running.lock().clear();
    }
}

impl Shared {
    async fn run(self: Arc<Self>) {
        self.register().await;
        loop {
            if let Err(error) = self.look().await {
                eprintln!("kubelet of {}: {error}", self.namespace);
            }
            // A kubelet looks once a second too.
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn look(&self) -> Result<(), kube::Error> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let pods = api.list(&kube::api::ListParams::default()).await?.items;
        let names: BTreeSet<String> = pods.iter().map(ResourceExt::name_any).collect();
        // Gone without having been asked to leave: a forced deletion.
        self.running.lock().retain(|name, _| names.contains(name));
        self.servers.lock().retain(|name, _| names.contains(name));
        for pod in pods {
            let name = pod.name_any();
            if self.frozen.lock().iter().any(|part| name.contains(part.as_str())) {
                continue;
            }
            if pod.metadata.deletion_timestamp.is_some() {
                self.leave(&api, &name).await?;
                continue;
            }
            let fault = self.fault_of(&pod);
            if fault != Some(Fault::Unschedulable) {
                self.bind(&api, &pod).await?;
            }
            if let Some(fault) = fault {
                self.running.lock().remove(&name);
                let container = &pod.spec.as_ref().unwrap().containers[0].name;
                set_status(&api, &pod, &fault_status(fault, container)).await?;
            } else if pod.labels().contains_key(BACKEND_LABEL) {
                self.keep_serving(&api, &pod, &name).await?;
            } else {
                self.keep_running(&api, &pod, &name).await?;
            }
        }
        Ok(())
    }

    /// There has to be a node: addresses of pods without one are in no EndpointSlice, and such pods are gone as soon as they are deleted.
    async fn register(&self) {
        let node =
            Node { metadata: ObjectMeta { name: Some(NODE.to_owned()), ..ObjectMeta::default() }, ..Node::default() };
        match Api::all(self.client.clone()).create(&PostParams::default(), &node).await {
            Err(kube::Error::Api(status)) if status.is_already_exists() => {}
            created => drop(created.unwrap()),
        }
    }

    /// What the scheduler does.
    async fn bind(&self, api: &Api<Pod>, pod: &Pod) -> Result<(), kube::Error> {
        if pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some()) {
            return Ok(());
        }
        let name = pod.name_any();
        let binding = json!({
            "apiVersion": "v1", "kind": "Binding", "metadata": {"name": name},
            "target": {"apiVersion": "v1", "kind": "Node", "name": NODE},
        });
        let bound: Result<Value, kube::Error> =
            api.create_subresource("binding", &name, &PostParams::default(), &binding).await;
        match bound {
            // It is gone, or bound by now.
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
            bound => bound.map(drop),
        }
    }

    fn fault_of(&self, pod: &Pod) -> Option<Fault> {
        let image = pod.spec.as_ref().and_then(|spec| spec.containers[0].image.clone()).unwrap_or_default();
        let name = pod.name_any();
        self.faults
            .lock()
            .iter()
            .find(|(part, _)| name.contains(*part) || image.contains(*part))
            .map(|(_, fault)| *fault)
    }

    /// SIGTERM, and when the process is gone, so is the pod.
    async fn leave(&self, api: &Api<Pod>, name: &str) -> Result<(), kube::Error> {
        let gone = {
            let mut running = self.running.lock();
            let gone = running.get_mut(name).is_none_or(|pod| {
                pod.terminate();
                pod.has_ended()
            });
            if gone {
                running.remove(name);
                self.servers.lock().remove(name);
            }
            gone
        };
        if gone {
            match api.delete(name, &DeleteParams::default().grace_period(0)).await {
                Err(kube::Error::Api(status)) if status.is_not_found() => {}
                deleted => drop(deleted?),
            }
        }
        Ok(())
    }

    async fn keep_serving(&self, api: &Api<Pod>, pod: &Pod, name: &str) -> Result<(), kube::Error> {
        let Some(volumes) = volumes::fetch(&self.client, &self.namespace, pod).await? else { return Ok(()) };
        let known = self.servers.lock().get(name).map(|(address, _)| address.clone());
        let address = known.unwrap_or_else(new_address);
        if !self.servers.lock().contains_key(name) {
            let ports = pod.spec.iter().flat_map(|spec| spec.containers[0].ports.iter().flatten());
            let port = u16::try_from(ports.last().expect("a port").container_port).unwrap();
            let place = SocketAddr::new(address.parse().unwrap(), port);
            let token = token(pod, &volumes);
            let server = McpServer::scripted_at(name, place, move |received| ask_for(token.as_deref(), received)).await;
            self.servers.lock().insert(name.to_owned(), (address.clone(), server));
        }
        set_status(api, pod, &running_status(&address, true, 0)).await
    }

    async fn keep_running(&self, api: &Api<Pod>, pod: &Pod, name: &str) -> Result<(), kube::Error> {
        let volumes = volumes::fetch(&self.client, &self.namespace, pod).await?;
        let Some(volumes) = volumes else { return Ok(()) };
        let (address, probe, restarts, started) = {
            let mut running = self.running.lock();
            let entry = running.entry(name.to_owned());
            let started = matches!(entry, std::collections::btree_map::Entry::Vacant(_));
            let running = entry.or_insert_with(|| Running::new(pod, new_address()));
            running.mount(&volumes);
            running.keep_alive();
            (running.address.clone(), running.probe(), running.restarts, started)
        };
        let ready = !started && pod::is_ready(probe).await;
        set_status(api, pod, &running_status(&address, ready, restarts)).await
    }
}

/// What the shim of a pod asks its callers for: the file that its arguments name. A server without a shim asks for nothing.
fn token(pod: &Pod, volumes: &BTreeMap<String, volumes::Files>) -> Option<String> {
    let arguments = pod.spec.as_ref().unwrap().containers[0].args.iter().flatten();
    let file = arguments.skip_while(|word| *word != "--token-file").nth(1)?;
    let (directory, name) = file.rsplit_once('/').unwrap();
    Some(String::from_utf8(volumes[directory][name].clone()).unwrap())
}

fn ask_for(token: Option<&str>, received: &Received) -> Reply {
    match token {
        Some(token) if received.header("authorization") != Some(&format!("Bearer {token}")) => {
            Reply::Bytes(with_body("401 Unauthorized", "", b""))
        }
        _ => Reply::Default,
    }
}

fn new_address() -> String {
    let number = NEXT_ADDRESS.fetch_add(1, Ordering::Relaxed);
    format!("10.123.{}.{}", number / 256, number % 256)
}

fn condition(type_: &str, holds: bool, reason: &str, message: &str) -> Value {
    json!({"type": type_, "status": if holds { "True" } else { "False" }, "reason": reason, "message": message})
}

fn fault_status(fault: Fault, container: &str) -> Value {
    let waiting = |reason: &str, message: &str, restarts: u32| {
        let last = if restarts > 0 { json!({"terminated": {"exitCode": 2, "reason": "Error"}}) } else { json!({}) };
        json!({
            "phase": "Pending",
            "conditions": [condition("PodScheduled", true, "", ""), condition("Ready", false, "ContainersNotReady", "")],
            "containerStatuses": [{
                "name": container, "ready": false, "restartCount": restarts, "image": "", "imageID": "",
                "state": {"waiting": {"reason": reason, "message": message}},
                "lastState": last,
            }],
        })
    };
    match fault {
        Fault::Unschedulable => json!({
            "phase": "Pending",
            "conditions": [condition("PodScheduled", false, "Unschedulable", "0/1 nodes are available: 1 Insufficient cpu.")],
        }),
        Fault::ImagePull => waiting("ImagePullBackOff", "Back-off pulling image \"nowhere/none:1\"", 0),
        Fault::Create => waiting("CreateContainerConfigError", "secret \"settings\" not found", 0),
        Fault::Crash => waiting("CrashLoopBackOff", "back-off 10s restarting failed container", 3),
    }
}

fn running_status(address: &str, ready: bool, restarts: u32) -> Value {
    json!({
        "phase": "Running", "podIP": address, "podIPs": [{"ip": address}],
        "conditions": [
            condition("PodScheduled", true, "", ""), condition("Initialized", true, "", ""),
            condition("ContainersReady", ready, "", ""), condition("Ready", ready, "", ""),
        ],
        "containerStatuses": [{
            "name": "gateway", "ready": ready, "restartCount": restarts, "image": "", "imageID": "", "started": true,
            "state": {"running": {}},
        }],
    })
}

/// Writes a pod's status unless it stands there already.
async fn set_status(api: &Api<Pod>, pod: &Pod, status: &Value) -> Result<(), kube::Error> {
    let standing = serde_json::to_value(&pod.status).unwrap();
    if holds(&standing, status) {
        return Ok(());
    }
    let patch = json!({"status": status});
    match api.patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        patched => patched.map(drop),
    }
}

/// Whether all of `wanted` is in `standing`.
fn holds(standing: &Value, wanted: &Value) -> bool {
    match (standing, wanted) {
        (Value::Object(standing), Value::Object(wanted)) => wanted.iter().all(|(key, value)| {
            // The API server leaves empty texts out.
            standing.get(key).map_or(value == "", |standing| holds(standing, value))
        }),
        (Value::Array(standing), Value::Array(wanted)) => {
            standing.len() == wanted.len()
                && standing.iter().zip(wanted).all(|(standing, wanted)| holds(standing, wanted))
        }
        _ => standing == wanted,
    }
}
