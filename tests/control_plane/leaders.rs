//! Several operators, of which one leads: never two writers, and never none for long.

use crate::cluster::ControlPlane;
use crate::kubelet::Fault;
use crate::operator::Operator;
use crate::stage::{Stage, gateway};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// What the issue asks for.
const TAKEOVER: Duration = Duration::from_secs(20);

/// Two operators, each with a service account of its own: so the audit log says who wrote.
struct Two {
    stage: Stage,
    accounts: [PathBuf; 2],
}

impl Two {
    async fn new(prefix: &str) -> Self {
        let cluster: &'static ControlPlane = Box::leak(Box::new(ControlPlane::private().await));
        let stage = Stage::without_operator(cluster, prefix).await;
        let accounts = [stage.operator_account("one").await, stage.operator_account("two").await];
        Self { stage, accounts }
    }

    fn start(&self, which: usize) -> Operator {
        let namespace = &self.stage.namespace;
        let arguments = ["--watch-namespace", namespace, "--namespace", namespace, "--identity", NAMES[which]];
        Operator::start(&self.accounts[which], &arguments)
    }

    /// Waits until this one has the lease.
    async fn leads(&self, which: usize) {
        let stage = &self.stage;
        stage
            .until_some(&format!("{} leads", NAMES[which]), async || {
                let lease = stage.get("coordination.k8s.io/v1/Lease", "mcp-operator").await?;
                (lease["spec"]["holderIdentity"] == NAMES[which]).then_some(())
            })
            .await;
    }

    async fn scale(&self, replicas: u32) {
        self.stage.patch("MCPGateway", "tools", json!({"spec": {"replicas": replicas}})).await;
    }

    /// Writes of this one that the API server took, but for those of its lease, since this moment.
    fn writes(&self, which: usize, since: &str) -> Vec<Value> {
        let user = format!("system:serviceaccount:{}:{}", self.stage.namespace, NAMES[which]);
        let is_write = |event: &Value| matches!(event["verb"].as_str(), Some("create" | "update" | "patch" | "delete"));
        let events = self.stage.cluster.audit().into_iter().filter(is_write);
        events
            .filter(|event| event["user"]["username"] == *user && event["objectRef"]["resource"] != "leases")
            .filter(|event| event["responseStatus"]["code"].as_u64().is_some_and(|code| code < 400))
            .filter(|event| event["requestReceivedTimestamp"].as_str().unwrap() > since)
            .collect()
    }
}

/// Gateways that keep an operator busy for some seconds; each has more than ten objects.
const MANY: usize = 40;

const NAMES: [&str; 2] = ["one", "two"];

/// Its exit code once it has ended.
async fn ended(stage: &Stage, operator: &mut Operator) -> Option<i32> {
    stage.until_some("the operator ends", async || operator.ended()).await.code()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_was_stopped_writes_nothing_once_another_leads() {
    let two = Two::new("fenced").await;
    let mut first = two.start(0);
    two.leads(0).await;
    two.stage.apply(&gateway("tools", json!({"replicas": 1}))).await;
    two.stage.programmed("tools", 1).await;
    assert!(
        !two.writes(0, "").is_empty(),
        "it wrote what there is, with the roles of the chart for single namespaces alone"
    );
    let _second = two.start(1);

    // It is stopped with its hands full: many calls are on their way, each to be followed by the next one.
    let begun = two.writes(0, "").len();
    for number in 0..MANY {
        two.stage.apply(&gateway(&format!("g{number}"), json!({"replicas": 0}))).await;
    }
    two.stage.until_some("it writes", async || (two.writes(0, "").len() > begun + MANY).then_some(())).await;
    first.signal(Signal::STOP);
    let written = two.writes(0, "").len();
    assert!(written < begun + 10 * MANY, "it was done before it was stopped: {written} writes");
    two.scale(2).await;
    two.leads(1).await;
    two.stage.programmed("tools", 2).await;
    two.scale(3).await;
    let lease = two.stage.get("coordination.k8s.io/v1/Lease", "mcp-operator").await.unwrap();
    let since = lease["spec"]["acquireTime"].as_str().unwrap();
    first.signal(Signal::CONT);
    assert_eq!(ended(&two.stage, &mut first).await, Some(1), "it has to begin anew");
    two.stage.programmed("tools", 3).await;
    assert_eq!(two.writes(0, since), Vec::<Value>::new());
    assert!(!two.writes(1, since).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn another_takes_over_when_the_leader_is_killed_and_at_once_when_it_leaves() {
    let two = Two::new("takeover").await;
    let first = two.start(0);
    two.leads(0).await;
    let mut second = two.start(1);
    two.stage.apply(&gateway("tools", json!({"replicas": 1}))).await;
    two.stage.programmed("tools", 1).await;

    first.signal(Signal::KILL);
    let killed = Instant::now();
    two.scale(2).await;
    two.stage
        .until_some("the change is made", async || {
            let deployment = two.stage.get("apps/v1/Deployment", "mcpgw-tools").await?;
            (deployment["spec"]["replicas"] == 2).then_some(())
        })
        .await;
    let took = killed.elapsed();
    println!("takeover after kill -9: {:.1} s", took.as_secs_f64());
    assert!(took < TAKEOVER, "{took:?}");
    two.stage.programmed("tools", 2).await;

    let _third = two.start(0);
    second.signal(Signal::TERM);
    assert_eq!(ended(&two.stage, &mut second).await, Some(0));
    let left = Instant::now();
    two.leads(0).await;
    println!("takeover after SIGTERM: {:.1} s", left.elapsed().as_secs_f64());
    // A lease that nobody gives back lasts for longer.
    assert!(left.elapsed() < Duration::from_secs(10));
    two.scale(1).await;
    two.stage.programmed("tools", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_version_replaces_the_pods_of_a_few_gateways_at_a_time() {
    let stage = Stage::new("upgrade").await;
    for number in 0..7 {
        stage.apply(&gateway(&format!("g{number}"), json!({"replicas": 1}))).await;
    }
    for number in 0..7 {
        stage.until("MCPGateway", &format!("g{number}"), "Programmed=True Programmed").await;
    }
    let mut stage = stage;
    let mut old = stage.operator.take().unwrap();
    old.signal(Signal::TERM);
    assert_eq!(ended(&stage, &mut old).await, Some(0));

    // Its image cannot be pulled: that shows at the first few, and the others go on as they are.
    stage.kubelet.fault("new:2", Some(Fault::ImagePull));
    let namespace = stage.namespace.clone();
    let arguments = ["--watch-namespace", &namespace, "--namespace", &namespace, "--gateway-image", "new:2"];
    stage.operator = Some(Operator::start(stage.cluster.kubeconfig(), &arguments));
    let renewed = async || {
        let mut renewed = 0;
        for number in 0..7 {
            let deployment = stage.get("apps/v1/Deployment", &format!("mcpgw-g{number}")).await.unwrap();
            renewed += usize::from(deployment["spec"]["template"]["spec"]["containers"][0]["image"] == "new:2");
        }
        renewed
    };
    stage.until_some("some are renewed", async || (renewed().await >= 5).then_some(())).await;
    // Longer than the operator waits before it looks again.
    tokio::time::sleep(Duration::from_secs(7)).await;
    assert_eq!(renewed().await, 5);

    stage.kubelet.fault("new:2", None);
    stage.until_some("all are renewed", async || (renewed().await == 7).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_comes_back_is_followed_again() {
    let two = Two::new("restart").await;
    let mut operator = two.start(0);
    two.stage.apply(&gateway("tools", json!({"replicas": 1}))).await;
    two.stage.programmed("tools", 1).await;
    two.stage.cluster.restart_apiserver().await;
    two.scale(2).await;
    two.stage.programmed("tools", 2).await;

    // One that stays away for longer than an operator may lead without it.
    two.stage.cluster.stop_apiserver();
    assert_eq!(tokio::task::spawn_blocking(move || operator.wait()).await.unwrap(), Some(1));
    let address = two.stage.addresses("tools")[0];
    assert!(tokio::net::TcpStream::connect(address).await.is_ok(), "gateways go on without");
    two.stage.cluster.start_apiserver().await;
    // As its pod would.
    let _operator = two.start(0);
    two.scale(3).await;
    two.stage.programmed("tools", 3).await;
}
