//! Two hundred gateways: quiet once they have settled, and a change of one concerns one.

use crate::cluster::ControlPlane;
use crate::operator::Operator;
use crate::stage::{Stage, backend, gateway, open, route};
use futures_util::stream::{self, StreamExt as _};
use kube::api::ListParams;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

const GATEWAYS: usize = 200;
const BACKENDS: usize = 1000;
const ROUTES: usize = 1000;

/// Gateways whose pods run; nobody runs those of the others.
const RUNNING: usize = 5;

/// Requests at a time while everything is created.
const WIDTH: usize = 32;

/// How long the operator may not write before it counts as settled.
const SETTLED: Duration = Duration::from_secs(10);

/// How long to wait for that.
const SETTLES_WITHIN: Duration = Duration::from_secs(300);

/// Pods of each gateway.
const REPLICAS: usize = 2;

/// What the issue asks for.
const QUIET: Duration = Duration::from_secs(60);

struct Scale {
    stage: Stage,
    /// Where nobody runs pods.
    idle: Stage,
    operator: Operator,
    user: String,
}

impl Scale {
    /// Writes of the operator, but for those of its lease, in the order of their arrival.
    fn writes(&self) -> Vec<Value> {
        let is_write = |event: &Value| {
            let verb = event["verb"].as_str();
            matches!(verb, Some("create" | "update" | "patch" | "delete" | "deletecollection"))
                && event["objectRef"]["resource"] != "leases"
        };
        self.stage.cluster.audit_of(&self.user).into_iter().filter(is_write).collect()
    }

    /// How often each running pod was given a generation, by the pod's name.
    fn applied(&self) -> BTreeMap<String, usize> {
        let pods = self.stage.kubelet.pods("mcpgw-");
        let times = |name: &str| self.stage.kubelet.logs(name).matches("generation applied").count();
        pods.into_iter().map(|(name, _)| (name.clone(), times(&name))).collect()
    }

    /// Waits until the operator has not written for a while, and gives the number of its writes.
    async fn settles(&self) -> usize {
        let start = Instant::now();
        let (mut last, mut since) = (0, Instant::now());
        while since.elapsed() < SETTLED || last == 0 {
            assert!(start.elapsed() < SETTLES_WITHIN, "it does not settle: {last} writes");
            tokio::time::sleep(Duration::from_millis(500)).await;
            let now = self.writes().len();
            if now != last {
                (last, since) = (now, Instant::now());
            }
        }
        last
    }

    /// The generation of every gateway.
    async fn generations(&self) -> BTreeMap<String, Value> {
        let mut all = BTreeMap::new();
        for stage in [&self.stage, &self.idle] {
            for object in
                stage.api("gateway.mcp-operator.dev/v1alpha1", "MCPGateway").list(&ListParams::default()).await.unwrap()
            {
                all.insert(object.metadata.name.unwrap(), object.data["status"]["generation"].clone());
            }
        }
        all
    }
}

fn remote(name: &str, number: usize) -> Value {
    json!({
        "apiVersion": "gateway.mcp-operator.dev/v1alpha1", "kind": "MCPBackend", "metadata": {"name": name},
        "spec": {"remote": {"url": format!("https://server-{number}.example.com/mcp")}},
    })
}

/// What a write was about, as `resource name`.
fn about(write: &Value) -> String {
    format!("{} {}", resource(write), write["objectRef"]["name"].as_str().unwrap_or_default())
}

fn resource(write: &Value) -> String {
    let object = &write["objectRef"];
    let part = object["subresource"].as_str().map(|part| format!("/{part}")).unwrap_or_default();
    format!("{}{part}", object["resource"].as_str().unwrap())
}

fn count_by_resource(writes: &[Value]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for write in writes {
        *counts.entry(resource(write)).or_default() += 1;
    }
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_gateways_are_quiet_and_a_change_of_one_route_concerns_one() {
    let cluster: &'static ControlPlane = Box::leak(Box::new(ControlPlane::private().await));
    let stage = Stage::without_operator(cluster, "scale").await;
    let idle = Stage::without_operator(cluster, "idle").await;
    idle.kubelet.stop();
    let kubeconfig = stage.cluster_operator_account("operator").await;
    let user = format!("system:serviceaccount:{}:operator", stage.namespace);

    let _server = stage.server("server").await;
    let mut objects = Vec::new();
    let place = |number: usize| if number % GATEWAYS < RUNNING { &stage } else { &idle };
    for number in 0..GATEWAYS {
        let name = format!("g{number}");
        objects.push((place(number), gateway(&name, json!({"replicas": REPLICAS}))));
        objects.push((place(number), open(&name)));
    }
    for number in 0..BACKENDS {
        let name = format!("b{number}");
        // One server of each running gateway answers; where the others should be, nobody is.
        let backend = if number < RUNNING { backend(&name, "server") } else { remote(&name, number) };
        objects.push((place(number), backend));
    }
    for number in 0..ROUTES {
        let (name, of) = (format!("r{number}"), format!("g{}", number % GATEWAYS));
        objects.push((place(number), route(&name, &of, &[&format!("b{number}")])));
    }
    let count = objects.len();
    let start = Instant::now();
    stream::iter(objects).for_each_concurrent(WIDTH, |(stage, object)| async move { stage.apply(&object).await }).await;
    println!("{count} objects created in {:.0} s", start.elapsed().as_secs_f64());

    let start = Instant::now();
    let operator = Operator::start(&kubeconfig, &["--namespace", &stage.namespace]);
    let scale = Scale { stage, idle, operator, user };
    let writes = scale.settles().await;
    let (memory, time) = scale.operator.cost();
    println!(
        "settled in {:.0} s with {writes} writes; the operator took {} MiB and {:.1} s of CPU time",
        start.elapsed().as_secs_f64() - SETTLED.as_secs_f64(),
        memory / 1024,
        Duration::from_millis(time).as_secs_f64()
    );
    println!("of these: {:?}", count_by_resource(&scale.writes()));
    for number in 0..RUNNING {
        scale.stage.until("MCPGateway", &format!("g{number}"), "Programmed=True Programmed").await;
        scale.stage.until("MCPRoute", &format!("r{number}"), "Ready=True Ready").await;
        scale.stage.until("MCPBackend", &format!("b{number}"), "Verified=True Verified").await;
    }
    for number in [RUNNING, GATEWAYS - 1] {
        scale.idle.until("MCPGateway", &format!("g{number}"), "Ready=False PodsStarting").await;
    }
    assert!(scale.generations().await.values().all(Value::is_string));

    let writes = scale.settles().await;
    let (_, before) = scale.operator.cost();
    tokio::time::sleep(QUIET).await;
    let (_, after) = scale.operator.cost();
    println!("a quiet minute took {} ms of CPU time", after - before);
    let since: Vec<String> = scale.writes()[writes..].iter().map(about).collect();
    assert!(since.is_empty(), "{} writes in a quiet minute: {since:?}", since.len());

    let (generations, applied) = (scale.generations().await, scale.applied());
    assert_eq!(applied.len(), RUNNING * REPLICAS);
    let other = json!([{"name": "other", "backendRefs": [{"name": "b0"}]}]);
    scale.stage.patch("MCPRoute", "r0", json!({"spec": {"servers": other}})).await;
    scale
        .stage
        .until_some("the change is live", async || {
            let status = scale.stage.get("MCPGateway", "g0").await?["status"].clone();
            (status["generation"] != generations["g0"] && status["programmedReplicas"] == REPLICAS).then_some(())
        })
        .await;
    scale.settles().await;
    println!("a change of one route took {:?}", count_by_resource(&scale.writes()[writes..]));
    let changed: BTreeSet<String> = scale.writes()[writes..].iter().map(about).collect();
    for write in &changed {
        let (resource, name) = write.split_once(' ').unwrap();
        let expected = match resource {
            "configmaps" | "secrets" => name == "mcpgw-g0",
            "mcpgateways/status" => name == "g0",
            // A server's new name begins a new life of it, and its verification.
            "mcproutes/status" => {
                name.strip_prefix('r').is_some_and(|number| number.parse::<usize>().unwrap() % GATEWAYS == 0)
            }
            "mcpbackends/status" => {
                name.strip_prefix('b').is_some_and(|number| number.parse::<usize>().unwrap() % GATEWAYS == 0)
            }
            _ => false,
        };
        assert!(expected, "{write}");
    }
    assert!(changed.contains("configmaps mcpgw-g0"));
    let mut now = scale.generations().await;
    assert_ne!(now["g0"], generations["g0"]);
    now.insert("g0".to_owned(), generations["g0"].clone());
    assert_eq!(now, generations, "another gateway has another generation");
    let pushed: BTreeMap<String, usize> =
        scale.applied().into_iter().map(|(pod, times)| (pod.clone(), times - applied[&pod])).collect();
    for (pod, times) in pushed {
        assert_eq!(times, usize::from(pod.starts_with("mcpgw-g0-")), "{pod}");
    }
    drop(scale);
    cluster.stop();
}
