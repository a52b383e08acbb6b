//! Two tenants, and what neither gets of the other; what nobody gets at all.

use crate::stage::{Stage, demo};
use crate::support::http::{Connection, post};
use crate::support::mcp::ModernClient;
use crate::support::objects::{CLIENT_PORT, gateway, open, route};
use serde_json::{Value, json};
use std::net::SocketAddr;

const OURS: &str = "gateway.mcp-operator.dev/v1alpha1";

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_uses_nothing_of_another_without_consent() {
    let (owner, guest) = (Stage::new("owner").await, Stage::new("guest").await);
    owner.apply(&open("tools")).await;
    owner.apply(&gateway("tools", json!({"replicas": 1}))).await;
    owner.apply(&demo("docs")).await;
    guest.apply(&open("own")).await;
    guest.apply(&gateway("own", json!({"replicas": 1}))).await;

    // A gateway of another.
    let mut there = route("there", "tools", &["docs"]);
    there["spec"]["parentRefs"][0]["namespace"] = json!(owner.namespace);
    there["spec"]["servers"][0]["backendRefs"][0]["namespace"] = json!(owner.namespace);
    guest.apply(&there).await;
    let message = guest.until("MCPRoute", "there", "Accepted=False NotAllowedByListeners").await;
    assert!(message.contains("allowedRoutes"), "{message}");

    // A backend of another, on a gateway of its own.
    let mut theirs = route("theirs", "own", &["docs"]);
    theirs["spec"]["servers"][0]["backendRefs"][0]["namespace"] = json!(owner.namespace);
    guest.apply(&theirs).await;
    let message = guest.until("MCPRoute", "theirs", "ResolvedRefs=False RefNotPermitted").await;
    assert!(message.contains("allowedRoutes") && message.contains(&owner.namespace), "{message}");

    // A Secret of another: there is no field to name it by.
    let secret =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "key"}, "stringData": {"token": "hunter2"}});
    owner.apply(&secret).await;
    let stealing = json!({
        "apiVersion": OURS, "kind": "MCPBackend", "metadata": {"name": "stealing"},
        "spec": {
            "remote": {"url": "https://mcp.example.com/mcp"},
            "auth": {"type": "Header", "header": {"name": "X-Key", "valueFrom": {"secretKeyRef": {"name": "key", "key": "token"}}}},
        },
    });
    guest.apply(&stealing).await;
    guest.until("MCPBackend", "stealing", "ResolvedRefs=False SecretNotFound").await;

    // With the owner's consent the backend is there, and its credentials with it.
    owner.patch("MCPBackend", "docs", json!({"spec": {"allowedRoutes": {"namespaces": {"from": "All"}}}})).await;
    guest.until("MCPRoute", "theirs", "Ready=True Ready").await;
    let mut client = ModernClient::connect(guest.service("own").await, "/theirs").await;
    assert!(client.tools().await.contains(&"whoami".to_owned()));

    // And is gone when it is taken back.
    owner.patch("MCPBackend", "docs", json!({"spec": {"allowedRoutes": {"namespaces": {"from": "Same"}}}})).await;
    guest.until("MCPRoute", "theirs", "ResolvedRefs=False RefNotPermitted").await;
    guest
        .until_some("the backend's token is no longer the guest's", async || {
            let secret = guest.get("v1/Secret", "mcpgw-own").await?;
            let credentials = secret["data"]["credentials.json"].as_str()?.to_owned();
            let token = owner.get("v1/Secret", "mcpbe-docs").await?["data"]["token"].as_str()?.to_owned();
            (!decoded(&credentials).contains(&token)).then_some(())
        })
        .await;
    owner.end().await;
    guest.end().await;
}

fn decoded(base64: &str) -> String {
    use base64::Engine as _;
    String::from_utf8(base64::engine::general_purpose::STANDARD.decode(base64).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_answers_only_who_knows_its_token() {
    let stage = Stage::new("token").await;
    stage.apply(&open("tools")).await;
    stage.apply(&gateway("tools", json!({"replicas": 1}))).await;
    stage.apply(&demo("docs")).await;
    stage.apply(&route("docs", "tools", &["docs"])).await;
    stage.until("MCPRoute", "docs", "Ready=True Ready").await;
    let pod = stage.pods("gateway.mcp-operator.dev/backend=docs").await.remove(0);
    let port = pod["spec"]["containers"][0]["ports"][0]["containerPort"].as_u64().unwrap();
    let address = SocketAddr::new(Stage::address(&pod), port.try_into().unwrap());
    let initialize = json!({
        "jsonrpc": "2.0", "id": 1, "method": "initialize",
        "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "x", "version": "0"}},
    });
    for authorization in [None, Some("Bearer"), Some("Bearer x"), Some("Basic eDp4")] {
        let mut headers = vec![("content-type", "application/json"), ("accept", "application/json, text/event-stream")];
        headers.extend(authorization.map(|value| ("authorization", value)));
        let request = post("/mcp", &headers, initialize.to_string().as_bytes());
        let answer = Connection::open(address).await.unwrap().exchange(request).await.unwrap();
        assert_eq!(answer.status, 401, "{authorization:?}: {answer:?}");
    }
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).to_string();
    let answer = Connection::open(address).await.unwrap().exchange(post("/mcp", &[], list.as_bytes())).await.unwrap();
    assert_eq!(answer.status, 401, "{answer:?}");

    let spec = &pod["spec"];
    assert_eq!(spec["automountServiceAccountToken"], false);
    let volumes = spec["volumes"].as_array().unwrap();
    assert!(volumes.iter().all(|volume| volume.get("projected").is_none()), "{volumes:?}");
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_remote_server_is_never_the_api_server_nor_the_metadata_of_the_node() {
    let stage = Stage::new("remote").await;
    stage.apply(&open("tools")).await;
    stage.apply(&gateway("tools", json!({"replicas": 1}))).await;
    let hosts = [
        ("by-address", "https://10.96.0.1/mcp"),
        ("by-name", "https://kubernetes.default.svc/mcp"),
        ("metadata", "http://169.254.169.254/latest/meta-data"),
        ("loopback", "http://127.0.0.1:9901/config"),
        ("mapped", "http://[::ffff:169.254.169.254]/latest/meta-data"),
    ];
    for (name, url) in hosts {
        let remote = json!({
            "apiVersion": OURS, "kind": "MCPBackend", "metadata": {"name": name}, "spec": {"remote": {"url": url}},
        });
        stage.apply(&remote).await;
        stage.apply(&route(name, "tools", &[name])).await;
    }
    for (name, url) in hosts {
        let object = stage
            .until_some(&format!("{url} is refused"), async || {
                let object = stage.get("MCPBackend", name).await?;
                let conditions = object["status"]["conditions"].as_array()?.clone();
                let refused = |condition: &&Value| {
                    condition["status"] == "False"
                        && condition["message"].as_str().is_some_and(|message| message.contains("public"))
                };
                conditions.iter().find(refused).cloned()
            })
            .await;
        eprintln!("{url}: {}", object["message"]);
    }
    // Nothing of it is to be had through the gateway either.
    let address = SocketAddr::new(Stage::address(&stage.gateway_pods("tools").await[0]), CLIENT_PORT);
    let mut client = ModernClient::connect(address, "/metadata").await;
    assert_eq!(client.tools().await, Vec::<String>::new());
    stage.end().await;
}
