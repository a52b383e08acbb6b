//! What rotates, rotates live: on every replica, and with no connection dropped.

use crate::stage::{Stage, backend, gateway, open, route};
use crate::support::http::Connection;
use crate::support::mcp::{LegacyClient, text};
use crate::support::upstream::McpServer;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Two replicas that serve a route, and a client at each with an open session, an open stream and a call in flight.
struct Served {
    stage: Stage,
    server: McpServer,
    addresses: Vec<SocketAddr>,
    pids: BTreeMap<String, Option<i32>>,
    clients: Vec<LegacyClient>,
    streams: Vec<Connection>,
    /// Further connections in the same sessions, each with a call that the server has not answered yet.
    calls: Vec<LegacyClient>,
}

fn secret(name: &str, kind: &str, values: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "type": kind, "metadata": {"name": name}, "stringData": values})
}

impl Served {
    async fn new(prefix: &str, listeners: Value) -> Self {
        let stage = Stage::new(prefix).await;
        let server = stage.server("tools").await;
        stage.apply(&secret("token", "Opaque", &json!({"token": "first-value"}))).await;
        let mut with_token = backend("tools", "tools");
        let reference = json!({"secretKeyRef": {"name": "token", "key": "token"}});
        with_token["spec"]["auth"] =
            json!({"type": "Header", "header": {"name": "X-Token", "prefix": "Bearer ", "valueFrom": reference}});
        stage.apply(&open("tools")).await;
        stage.apply(&gateway("tools", json!({"replicas": 2, "listeners": listeners}))).await;
        stage.apply(&with_token).await;
        stage.apply(&route("tools", "tools", &["tools"])).await;
        stage.until("MCPRoute", "tools", "Programmed=True Programmed").await;
        stage.until("MCPRoute", "tools", "Ready=True Ready").await;
        stage.programmed("tools", 2).await;
        let (addresses, pids) = (stage.addresses("tools"), stage.kubelet.pids("mcpgw-tools-"));
        assert_eq!(addresses.len(), 2);
        let (mut clients, mut streams) = (Vec::new(), Vec::new());
        for &address in &addresses {
            let client = LegacyClient::connect(address, "/tools").await;
            let mut stream = Connection::open(address).await.unwrap();
            stream.send(client.stream_request(None)).await.unwrap();
            assert_eq!(stream.head().await.unwrap().status, 200);
            clients.push(client);
            streams.push(stream);
        }
        let mut this = Self { stage, server, addresses, pids, clients, streams, calls: Vec::new() };
        this.begin_calls().await;
        this
    }

    /// Calls through each replica, and sees the server get the calls.
    async fn begin_calls(&mut self) {
        let waiting = |server: &McpServer| server.received().iter().filter(|it| it.tool() == "wait").count();
        let before = waiting(&self.server);
        for (client, &address) in self.clients.iter().zip(&self.addresses) {
            let mut call = client.over(address).await;
            let message = call.message("tools/call", json!({"name": "wait", "arguments": {}}));
            call.send(&message).await.unwrap();
            self.calls.push(call);
        }
        let all = before + self.calls.len();
        let arrived = async || (waiting(&self.server) == all).then_some(());
        self.stage.until_some("the calls are with the server", arrived).await;
    }

    async fn generation(&self) -> Value {
        self.stage.get("MCPGateway", "tools").await.unwrap()["status"]["generation"].clone()
    }

    /// Waits until both replicas serve another generation than this.
    async fn serves_another(&self, before: &Value) {
        let stage = &self.stage;
        stage
            .until_some("another generation is live on both replicas", async || {
                let status = stage.get("MCPGateway", "tools").await?["status"].clone();
                (status["generation"] != *before && status["programmedReplicas"] == 2).then_some(())
            })
            .await;
    }

    /// Everything that was open before is open still, what was in flight is answered, and no process has begun anew.
    async fn nothing_was_dropped(&mut self) {
        assert_eq!(self.stage.kubelet.pids("mcpgw-tools-"), self.pids);
        self.server.release(self.calls.len());
        for mut call in std::mem::take(&mut self.calls) {
            let answer = call.connection.answer().await.unwrap();
            assert_eq!(text(&answer.messages()[0]), "tools {}");
        }
        for (client, stream) in self.clients.iter_mut().zip(&mut self.streams) {
            // Over the connection that it has had from the start, in the session of the start.
            client.call("echo", json!({})).await.unwrap();
            let still_open = tokio::time::timeout(std::time::Duration::from_millis(200), stream.closed()).await;
            assert!(still_open.is_err(), "the stream has ended");
        }
        self.begin_calls().await;
    }

    /// None of these words is in a log, in an Event, or in one of our objects.
    async fn nobody_says(&self, secrets: &[&str]) {
        let mut said = self.stage.operator.as_ref().unwrap().log() + &self.stage.kubelet.logs("");
        for kind in ["v1/Event", "MCPGateway", "MCPBackend", "MCPRoute"] {
            for name in self.stage.names(kind).await {
                said += &self.stage.get(kind, &name).await.unwrap_or_default().to_string();
            }
        }
        for secret in secrets {
            assert!(!said.contains(secret), "a secret is told: {secret}");
        }
    }
}

fn plain() -> Value {
    json!([{"name": "http", "port": 8080, "protocol": "HTTP"}])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_credential_is_shown_by_every_replica() {
    let mut served = Served::new("credential", plain()).await;
    let shown = |server: &McpServer| {
        let calls: Vec<_> = server.received().into_iter().filter(|received| received.tool() == "echo").collect();
        calls.into_iter().map(|received| received.header("x-token").unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    served.nothing_was_dropped().await;
    assert_eq!(shown(&served.server), ["Bearer first-value", "Bearer first-value"]);

    let before = served.generation().await;
    served.stage.apply(&secret("token", "Opaque", &json!({"token": "second-value"}))).await;
    served.serves_another(&before).await;
    served.nothing_was_dropped().await;
    assert_eq!(shown(&served.server)[2..], ["Bearer second-value", "Bearer second-value"]);
    served.nobody_says(&["first-value", "second-value"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_certificate_is_shown_by_every_replica() {
    let pair = || rcgen::generate_simple_self_signed(vec!["mcp.example.com".to_owned()]).unwrap();
    let (old, new) = (pair(), pair());
    let as_secret = |pair: &rcgen::CertifiedKey<rcgen::KeyPair>| {
        let values = json!({"tls.crt": pair.cert.pem(), "tls.key": pair.signing_key.serialize_pem()});
        secret("tls", "kubernetes.io/tls", &values)
    };
    let stage_listeners = json!([
        {"name": "http", "port": 8080, "protocol": "HTTP"},
        {"name": "https", "port": 8443, "protocol": "HTTPS", "tls": {"certificateRefs": [{"name": "tls"}]}},
    ]);
    // The Secret comes later than the gateway that names it.
    let mut served = Served::new("certificate", stage_listeners).await;
    let before = served.generation().await;
    served.stage.apply(&as_secret(&old)).await;
    served.serves_another(&before).await;

    let secure: Vec<SocketAddr> = served.addresses.iter().map(|address| SocketAddr::new(address.ip(), 8443)).collect();
    let ping = |text: &'static str| format!("GET /nowhere?{text} HTTP/1.1\r\nhost: mcp.example.com\r\n\r\n");
    let mut open = Vec::new();
    for &address in &secure {
        let mut connection = Connection::open_tls(address, old.cert.der(), "mcp.example.com").await.unwrap();
        assert_eq!(connection.exchange(ping("1")).await.unwrap().status, 404);
        open.push(connection);
    }
    let before = served.generation().await;
    served.stage.apply(&as_secret(&new)).await;
    served.serves_another(&before).await;
    for (connection, &address) in open.iter_mut().zip(&secure) {
        assert_eq!(connection.exchange(ping("2")).await.unwrap().status, 404, "opened with the old one");
        let mut fresh = Connection::open_tls(address, new.cert.der(), "mcp.example.com").await.unwrap();
        assert_eq!(fresh.exchange(ping("3")).await.unwrap().status, 404);
        assert!(Connection::open_tls(address, old.cert.der(), "mcp.example.com").await.is_err());
    }
    served.nothing_was_dropped().await;
    let keys = [&old, &new].map(|pair| pair.signing_key.serialize_pem().lines().nth(1).unwrap().to_owned());
    served.nobody_says(&keys.each_ref().map(String::as_str)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rotated_keys_log_nobody_out_and_lose_no_channel() {
    let mut served = Served::new("keys", plain()).await;
    let secrets: Api<Secret> = Api::namespaced(served.stage.cluster.client(), &served.stage.namespace);
    let kept = async || secrets.get("mcpkeys-tools").await.unwrap().data.unwrap()["keys.json"].0.clone();
    let keys = async || -> Value { serde_json::from_slice(&kept().await).unwrap() };
    let before = keys().await;
    assert_eq!(before["ring"].as_array().unwrap().len(), 1);
    let generation = served.generation().await;
    let request = json!({"metadata": {"annotations": {"gateway.mcp-operator.dev/rotate-keys": "1"}}});
    served.stage.patch("MCPGateway", "tools", request).await;
    served
        .stage
        .until_some("the new key seals, and no pod needs the channels before any more", async || {
            let now = keys().await;
            let roles: Vec<&str> = now["ring"].as_array()?.iter().filter_map(|key| key["role"].as_str()).collect();
            (roles == ["Retired", "Active"] && now["previousChannels"].is_null()).then_some(())
        })
        .await;
    served.serves_another(&generation).await;
    let after = keys().await;
    assert_ne!(before["channels"]["adminToken"], after["channels"]["adminToken"]);
    assert_ne!(before["channels"]["certificate"], after["channels"]["certificate"]);
    assert_eq!(before["ring"][0]["bytes"], after["ring"][0]["bytes"], "it opens what it sealed");

    served.nothing_was_dropped().await;
    // A session that began before goes on at the other replica, too.
    let mut elsewhere = served.clients[0].over(served.addresses[1]).await;
    elsewhere.call("echo", json!({})).await.unwrap();
    let fresh = LegacyClient::connect(served.addresses[0], "/tools").await;
    fresh.over(served.addresses[1]).await.call("echo", json!({})).await.unwrap();
    // The channel works with what is new.
    let generation = served.generation().await;
    served.stage.apply(&secret("token", "Opaque", &json!({"token": "another-value"}))).await;
    served.serves_another(&generation).await;
    let mut secrets = Vec::new();
    for keys in [before, after] {
        let channels = ["adminToken", "peerToken", "privateKey"].map(|name| keys["channels"][name].clone());
        let ring = keys["ring"].as_array().unwrap().iter().map(|key| key["bytes"].clone());
        for kept in channels.into_iter().chain(ring) {
            // As it is kept, and what that stands for: a key of the ring is bytes, of a private key one line will do.
            let kept = kept.as_str().unwrap().to_owned();
            let plain = String::from_utf8(STANDARD.decode(&kept).unwrap()).unwrap_or_default();
            secrets.extend(plain.lines().find(|line| !line.starts_with("---")).map(str::to_owned));
            secrets.push(kept);
        }
    }
    served.nobody_says(&secrets.iter().map(String::as_str).collect::<Vec<_>>()).await;
}
