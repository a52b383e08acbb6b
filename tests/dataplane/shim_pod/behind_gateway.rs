//! A pod behind a gateway whose replicas come and go.

use super::*;
use crate::support::generation::{generation, id};
use crate::support::replicas::Replicas;
use crate::support::upstream::McpServer;
use mcp_gateway_operator::ir::generation::Generation;
use mcp_gateway_operator::ir::snapshot::Target;

/// A gateway in front of a pod and of a server that is none.
fn in_front_of(pod: &Pod, other: &McpServer) -> Generation {
    let mut generation = generation(&[("shell", pod.address), ("search", other.address)]);
    let backend = generation.snapshot.backends.get_mut(&id("shell")).unwrap();
    let Target::Http { shim, .. } = &mut backend.target else { panic!("{backend:?}") };
    *shim = true;
    generation
}

#[tokio::test]
async fn a_sessions_process_outlives_the_replica_that_opened_it() {
    let (pod, other) = (Pod::start(&[]).await, McpServer::start("search").await);
    let mut replicas = Replicas::start(2, &mut in_front_of(&pod, &other)).await;
    let mut client = LegacyClient::connect(replicas.all[0].address, "/mcp").await;
    let process = call_for_pid(&mut client, "shell_pid").await;
    let mut stranger = LegacyClient::connect(replicas.all[1].address, "/mcp").await;
    let strange = call_for_pid(&mut stranger, "shell_pid").await;
    assert_ne!(strange, process);

    replicas.all[0].kill().await;
    let mut elsewhere = client.over(replicas.all[1].address).await;
    assert_eq!(call_for_pid(&mut elsewhere, "shell_pid").await, process);
    assert_eq!(call_for_pid(&mut stranger, "shell_pid").await, strange, "another session keeps its own");
    pod.metric_is("mcp_shim_sessions_open", 2).await;

    assert_eq!(elsewhere.delete().await.unwrap().status, 204);
    pod.family_is("the process ends with its session", |family| !family.contains(&process)).await;
    let told = other.received().into_iter().filter(|received| received.header("mcp-gateway-session").is_some());
    assert_eq!(told.count(), 0, "nobody else hears the name");
}
