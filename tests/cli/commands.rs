//! The commands: what they print, where, and with which exit code.

use super::{kubectl_mcp, text};
use serde_json::Value;

const GATEWAY: &str = "apiVersion: gateway.mcp-operator.dev/v1alpha1
kind: MCPGateway
metadata:
  name: tools
spec:
  listeners:
  - name: http
    port: 8080
    protocol: HTTP
";

#[test]
fn every_sample_passes_lint() {
    let directory = format!("{}/deploy/samples", env!("CARGO_MANIFEST_DIR"));
    let mut samples: Vec<String> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .map(|path| path.into_os_string().into_string().unwrap())
        .collect();
    samples.sort_unstable();
    assert!(samples.len() >= 5, "{samples:?}");
    for sample in samples {
        let output = kubectl_mcp(&["lint", &sample], "");
        assert!(output.status.success(), "{sample}\n{}{}", text(&output.stdout), text(&output.stderr));
        assert!(!text(&output.stdout).contains("error: "), "{}", text(&output.stdout));
    }
}

#[test]
fn ready_samples_need_no_image_but_ours() {
    let ready = std::fs::read_to_string("deploy/samples/ready.txt").unwrap();
    assert!(ready.lines().count() >= 4, "{ready}");
    let ours = format!("ghcr.io/mcp-gateway-operator/demo-mcp-server:{}", env!("CARGO_PKG_VERSION"));
    for name in ready.lines() {
        let sample = std::fs::read_to_string(format!("deploy/samples/{name}")).expect(name);
        let images: Vec<&str> = sample.lines().filter_map(|line| line.trim().strip_prefix("image: ")).collect();
        assert!(!images.is_empty() && images.iter().all(|image| *image == ours), "{name}: {images:?}");
    }
}

#[test]
fn lint_tells_file_line_field_and_the_way_out() {
    let input =
        GATEWAY.replace("protocol: HTTP", "protocol: HTTPS").replace("  listeners:", "  listners: []\n  listeners:");
    let output = kubectl_mcp(&["lint", "-"], &input);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        text(&output.stdout),
        "standard input:6:3: error: spec.listners: unknown field; did you mean listeners?\n"
    );
    let output = kubectl_mcp(&["lint", "-"], &GATEWAY.replace("protocol: HTTP", "protocol: HTTPS"));
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        text(&output.stdout),
        "standard input:7:5: error: spec.listeners[0]: spec.listeners[].tls is required with protocol HTTPS: name a kubernetes.io/tls Secret in tls.certificateRefs\n"
    );
}

#[test]
fn lint_prints_json_for_programs() {
    let output = kubectl_mcp(&["lint", "--output", "json", "-"], &GATEWAY.replace("8080", "0"));
    let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
    let finding = &printed["findings"][0];
    assert_eq!(finding["severity"], "error");
    assert_eq!((finding["line"].as_u64(), finding["field"].as_str()), (Some(8), Some("spec.listeners[0].port")));
    let output = kubectl_mcp(&["lint", "--output", "json", "-"], GATEWAY);
    assert_eq!(serde_json::from_slice::<Value>(&output.stdout).unwrap(), serde_json::json!({ "findings": [] }));
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn lint_minds_a_pod_as_root_and_not_a_pause() {
    let paused = "  name: tools\n  annotations: {gateway.mcp-operator.dev/paused: \"true\"}\n";
    let output = kubectl_mcp(&["lint", "-"], &GATEWAY.replace("  name: tools\n", paused));
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), text(b"")));
    let root = "  podTemplate: {spec: {securityContext: {runAsUser: 0}}}\n";
    let output = kubectl_mcp(&["lint", "-"], &format!("{GATEWAY}{root}"));
    assert_eq!(output.status.code(), Some(1));
    let told = text(&output.stdout);
    assert!(told.contains("spec.podTemplate.spec.securityContext.runAsUser may not be set"), "{told}");
}

#[test]
fn lint_warns_of_a_server_that_is_given_all_files() {
    let backend = |args: &str| {
        format!(
            "apiVersion: gateway.mcp-operator.dev/v1alpha1
kind: MCPBackend
metadata: {{name: files}}
spec: {{stdio: {{image: node, command: [npx], args: [{args}]}}}}
"
        )
    };
    let output = kubectl_mcp(&["lint", "-"], &backend("-y, '@modelcontextprotocol/server-filesystem', /"));
    assert_eq!(output.status.code(), Some(0));
    let told = text(&output.stdout);
    assert!(told.contains("warning: spec.stdio.args[2]: gives a server of files the whole file system"), "{told}");
    for args in ["-y, '@modelcontextprotocol/server-filesystem', /srv", "-y, some-server, /"] {
        assert_eq!(text(&kubectl_mcp(&["lint", "-"], &backend(args)).stdout), "");
    }
}

#[test]
fn lint_looks_at_objects_together() {
    let route = "---
apiVersion: gateway.mcp-operator.dev/v1alpha1
kind: MCPRoute
metadata: {name: tools}
spec:
  parentRefs: [{name: tools}]
  servers: [{name: a, backendRefs: [{name: missing}]}]
";
    let whole = kubectl_mcp(&["lint", "-"], &format!("{GATEWAY}{route}"));
    assert_eq!(whole.status.code(), Some(1));
    let told = text(&whole.stdout);
    assert!(told.contains("standard input:11: error: ") && told.contains("missing"), "{told}");
    // Without a gateway the file is a part of something, and the rest may be elsewhere.
    let part = kubectl_mcp(&["lint", "-"], route);
    assert_eq!(part.status.code(), Some(0), "{}", text(&part.stdout));
    assert!(text(&part.stdout).contains("warning: "), "{}", text(&part.stdout));
    let twice = kubectl_mcp(&["lint", "-"], &format!("{GATEWAY}---\n{GATEWAY}"));
    assert!(
        text(&twice.stdout)
            .contains("standard input:11: error: metadata.name: MCPGateway default/tools is defined twice")
    );
}

#[test]
fn lint_warns_of_a_secret_and_does_not_print_it() {
    let input = "apiVersion: gateway.mcp-operator.dev/v1alpha1
kind: MCPBackend
metadata: {name: a}
spec: {stdio: {image: a, command: [a], env: [{name: API_TOKEN, value: hunter2hunter2}]}}
";
    let output = kubectl_mcp(&["lint", "-"], input);
    let told = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert!(told.contains("warning: spec.stdio.env[0].value: API_TOKEN looks like a secret"), "{told}");
    assert!(!told.contains("hunter2") && !text(&output.stderr).contains("hunter2"));
}

#[test]
fn wrong_flags_and_missing_files_have_their_own_exit_codes() {
    for arguments in [&["lint"][..], &["lint", "--nonsense", "-"], &["nonsense"], &["client-config"]] {
        let output = kubectl_mcp(arguments, "");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert_eq!(text(&output.stderr).lines().count(), 1, "{}", text(&output.stderr));
        assert!(output.stdout.is_empty());
    }
    let output = kubectl_mcp(&["lint", "no-such-file.yaml"], "");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).starts_with("error: cannot read no-such-file.yaml"), "{}", text(&output.stderr));
}

#[test]
fn crds_prints_what_crds_holds() {
    let printed = kubectl_mcp(&["crds"], "");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("new").into_os_string().into_string().unwrap();
    assert!(kubectl_mcp(&["crds", "--output-dir", &path], "").status.success());
    let mut kinds = 0;
    for entry in std::fs::read_dir(format!("{}/crds", env!("CARGO_MANIFEST_DIR"))).unwrap() {
        let entry = entry.unwrap();
        let kept = std::fs::read_to_string(entry.path()).unwrap();
        assert!(text(&printed.stdout).contains(&kept), "{:?}", entry.file_name());
        assert_eq!(std::fs::read_to_string(std::path::Path::new(&path).join(entry.file_name())).unwrap(), kept);
        kinds += 1;
    }
    assert_eq!(kinds, 4);
}

#[test]
fn client_config_follows_listeners_and_routes() {
    let output = kubectl_mcp(&["client-config", "deploy/samples/quickstart.yaml", "--client", "claude"], "");
    let config: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(config["mcpServers"]["quickstart"]["url"], "http://localhost:8080/mcp");
    let output = kubectl_mcp(&["client-config", "deploy/samples/exposed.yaml", "--client", "vscode"], "");
    let config: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(config["servers"]["exposed"]["url"], "https://public.mcp.example.com:8443/mcp");
    let output = kubectl_mcp(&["client-config", "deploy/samples/shared-gateway.yaml", "--client", "vscode"], "");
    let config: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(config["servers"]["payments"]["url"], "http://payments.mcp.example.com:8080/mcp");
    let output = kubectl_mcp(&["client-config", "--url", "https://a.example/mcp"], "");
    let told = text(&output.stdout);
    for client in ["# Claude Code", "# Claude Desktop", "# Cursor", "# Visual Studio Code", "# Zed", "# Continue"] {
        assert!(told.contains(client), "{client}\n{told}");
    }
    assert_eq!(kubectl_mcp(&["client-config", "--url", "ftp://a.example"], "").status.code(), Some(2));
}

#[test]
fn an_import_passes_lint_and_shows_no_secret() {
    let file = r#"{"mcpServers": {
        "git hub": {"command": "npx", "args": ["-y", "x", "--token", "ghp_abcdefghijklmnopqrst"], "env": {"GITHUB_TOKEN": "hunter2hunter2"}},
        "linear": {"url": "https://mcp.linear.app/sse", "headers": {"Authorization": "Bearer hunter3hunter3"}}
    }}"#;
    let imported = kubectl_mcp(&["import", "-", "--namespace", "team"], file);
    assert!(imported.status.success(), "{}", text(&imported.stderr));
    let (manifests, warnings) = (text(&imported.stdout), text(&imported.stderr));
    for secret in ["ghp_abc", "hunter2", "hunter3"] {
        assert!(!manifests.contains(secret) && !warnings.contains(secret), "{secret}\n{manifests}\n{warnings}");
    }
    assert!(warnings.lines().all(|line| line.starts_with("warning: ")), "{warnings}");
    assert!(warnings.contains("GITHUB_TOKEN is taken from Secret git-hub-credentials"), "{warnings}");
    let linted = kubectl_mcp(&["lint", "-"], manifests);
    assert_eq!(linted.status.code(), Some(0), "{}\n{manifests}", text(&linted.stdout));
    assert!(!text(&linted.stdout).contains("error"), "{}", text(&linted.stdout));

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    assert!(kubectl_mcp(&["import", "-", "--output-dir", path], file).status.success());
    let mut names: Vec<String> =
        std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "access.yaml",
            "mcpbackend-git-hub.yaml",
            "mcpbackend-linear.yaml",
            "mcpgateway-mcp.yaml",
            "mcproute-mcp.yaml",
            "secrets.yaml"
        ]
    );

    let refused = kubectl_mcp(&["import", "-"], r#"{"mcpServers": {"a": {"env": {"TOKEN": hunter2}}}}"#);
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(text(&refused.stderr), "error: - is not JSON: a mistake at line 1, column 40\n");
}
