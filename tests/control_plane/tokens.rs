//! Tokens of stdio backends: made once, shown to servers by gateways, made again where there is none, and never somebody else's.
//! The servers in the pods of these tests refuse whoever does not show what is in the Secret.

use crate::stage::{Stage, backend, gateway, open, route};
use crate::support::mcp::LegacyClient;
use serde_json::{Value, json};

const SECRET: &str = "mcpbe-files";

async fn token(stage: &Stage) -> Option<Value> {
    Some(stage.get("v1/Secret", SECRET).await?["data"]["token"].clone())
}

async fn answers(stage: &Stage) {
    stage
        .until_some("the server answers", async || {
            let address = *stage.addresses("tools").first()?;
            LegacyClient::connect(address, "/tools").await.call("echo", json!({})).await.ok()
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stdio_server_is_called_with_a_token_that_is_made_once() {
    let stage = Stage::new("tokens").await;
    // Somebody else's: it is left alone, and no server ever sees it.
    let theirs =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": SECRET}, "stringData": {"token": "a"}});
    stage.apply(&theirs).await;
    stage.apply(&open("tools")).await;
    stage.apply(&gateway("tools", json!({"replicas": 1}))).await;
    let mut files = backend("files", "files");
    files["spec"] = json!({"stdio": {"image": "files:1", "command": ["files-mcp"]}});
    stage.apply(&files).await;
    stage.apply(&route("tools", "tools", &["files"])).await;
    let message = stage.until("MCPBackend", "files", "Available=False ObjectConflict").await;
    assert!(message.contains("Secret mcpbe-files exists"), "{message}");
    stage.until("MCPBackend", "files", "ResolvedRefs=False SecretNotFound").await;
    assert!(stage.get("apps/v1/Deployment", SECRET).await.is_none(), "no pod waits for what is not there");
    assert_eq!(token(&stage).await, Some(json!("YQ==")));

    // Ours.
    stage.delete("v1/Secret", SECRET).await;
    stage.until("MCPBackend", "files", "Verified=True Verified").await;
    answers(&stage).await;
    let first = token(&stage).await;
    let kept = stage.get("v1/Secret", "mcpgw-tools").await.unwrap();
    let config = stage.get("v1/ConfigMap", "mcpgw-tools").await.unwrap().to_string();
    assert!(kept["data"]["credentials.json"].is_string(), "{:?}", kept["data"].as_object().map(|data| data.keys()));
    assert!(!config.contains(first.as_ref().unwrap().as_str().unwrap()));
    stage.patch("MCPBackend", "files", json!({"spec": {"replicas": 2}})).await;
    stage
        .until_some("two pods are ready", async || {
            let status = stage.get("MCPBackend", "files").await?["status"].clone();
            (status["endpoints"]["ready"] == 2).then_some(())
        })
        .await;
    assert_eq!(token(&stage).await, first);

    // Gone: another one is made, which new pods have.
    stage.delete("v1/Secret", SECRET).await;
    stage
        .until_some("another token is made", async || {
            token(&stage).await.filter(|token| Some(token) != first.as_ref() && token.is_string())
        })
        .await;
    let again = json!({"metadata": {"annotations": {"gateway.mcp-operator.dev/restartedAt": "now"}}});
    stage.patch("MCPBackend", "files", again).await;
    answers(&stage).await;
    stage.until("MCPBackend", "files", "Verified=True Verified").await;
}
