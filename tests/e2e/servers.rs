//! Real MCP servers on standard input and output, in pods: Node.js, Python, and a static program, together as one.

use crate::stage::{EVERYTHING, PYTHON, Stage, demo, script};
use crate::support::mcp::{LegacyClient, ModernClient, text};
use crate::support::objects::{gateway, open};
use serde_json::{Value, json};

const GROUP: &str = "gateway.mcp-operator.dev/v1alpha1";

fn stdio(name: &str, image: &str, command: &[&str]) -> Value {
    json!({
        "apiVersion": GROUP, "kind": "MCPBackend", "metadata": {"name": name},
        "spec": {"stdio": {"image": image, "command": command}},
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_of_npm_and_of_pypi_and_a_static_one_are_one_server() {
    let stage = Stage::new("servers").await;
    stage.apply(&open("tools")).await;
    stage.apply(&gateway("tools", json!({"replicas": 2}))).await;
    stage.apply(&stdio("everything", EVERYTHING, &["mcp-server-everything"])).await;
    stage.apply(&stdio("time", PYTHON, &["mcp-server-time", "--local-timezone", "UTC"])).await;
    stage.apply(&stdio("git", PYTHON, &["mcp-server-git", "--repository", "/srv/repository"])).await;
    stage.apply(&demo("demo")).await;
    let server = |name: &str, prefix: &str| json!({"name": name, "prefix": prefix, "backendRefs": [{"name": name}]});
    let servers =
        [server("everything", "es_"), server("time", "time_"), server("git", "git_"), server("demo", "demo_")];
    stage
        .apply(&json!({
            "apiVersion": GROUP, "kind": "MCPRoute", "metadata": {"name": "all"},
            "spec": {"parentRefs": [{"name": "tools"}], "servers": servers},
        }))
        .await;
    for name in ["everything", "time", "git", "demo"] {
        stage.until("MCPBackend", name, "Verified=True Verified").await;
    }
    stage.until("MCPRoute", "all", "Ready=True Ready").await;

    let address = stage.service("tools").await;
    let url = format!("http://{address}/mcp");
    // The SDK checks all that the reference server offers: tools, progress, prompts, resources, completion, sampling.
    script("sdk_v1.mjs", &[&url, "http", "everything:es_"]);
    script("client_v2.mjs", &[&url, "legacy", "everything:es_"]);

    let mut client = LegacyClient::connect(address, "/mcp").await;
    let reply = client.call("time_get_current_time", json!({"timezone": "Asia/Tokyo"})).await.unwrap();
    assert!(text(&reply).contains("Asia/Tokyo"), "{reply}");
    let reply = client.call("git_git_log", json!({"repo_path": "/srv/repository", "max_count": 1})).await.unwrap();
    assert!(text(&reply).contains("Add a README"), "{reply}");
    let reply = client.call("demo_add", json!({"a": 2, "b": 40})).await.unwrap();
    assert_eq!(text(&reply), "42");
    // Whoever listed made it known that nothing is missing; a modern client misses the server of npm, which is of the era before.
    stage.until("MCPRoute", "all", "CatalogComplete=True CatalogComplete").await;
    let mut modern = ModernClient::connect(address, "/mcp").await;
    let reply = modern.call("demo_add", json!({"a": 2, "b": 40})).await.unwrap();
    assert_eq!(text(&reply), "42");
    stage.end().await;
}
