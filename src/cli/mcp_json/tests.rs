use super::*;
use crate::cli::manifests;
use proptest::prelude::*;

fn import(text: &str) -> Imported {
    manifests_from_mcp_json(text, &ImportOptions::new(Purpose::Cluster)).unwrap()
}

fn run(text: &str, variables: &[(&str, &str)]) -> Imported {
    let lookup = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
    manifests_from_mcp_json(text, &ImportOptions::new(Purpose::Laptop(&lookup))).unwrap()
}

/// The spec of the only backend.
fn spec(imported: &Imported) -> &Value {
    &imported.objects[1]["spec"]
}

fn warnings(imported: &Imported) -> String {
    imported.warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn assert_good(imported: &Imported) {
    let loaded = manifests::check("import.yaml", &imported.yaml());
    assert!(loaded.mistakes.is_empty(), "{:?}\n{}", loaded.mistakes, imported.yaml());
    assert_eq!(loaded.manifests.len(), imported.objects.len());
}

const MANY: &str = r#"{
  "mcpServers": {
    "GitHub Server": {
      "command": "docker",
      "args": ["run", "-i", "--rm", "-e", "GITHUB_PERSONAL_ACCESS_TOKEN", "-e", "GITHUB_HOST=https://github.com",
               "-v", "/home/me:/data", "ghcr.io/github/github-mcp-server", "stdio"],
      "env": {"GITHUB_PERSONAL_ACCESS_TOKEN": "ghp_abcdefghijklmnopqrstuvwxyz0123456789"}
    },
    "files": {"command": "npx", "args": ["-y", "@modelcontextprotocol/server-filesystem", "/home/me"]},
    "time": {"command": "/usr/local/bin/uvx", "args": ["mcp-server-time"], "env": {"TZ": "UTC", "RETRIES": 3}},
    "search": {"command": "./bin/search", "args": ["--api-key", "sk-abcdefghijklmnop", "--token=abcdefgh", "--depth", "3"]},
    "linear": {"type": "sse", "url": "https://mcp.linear.app/sse", "headers": {"Authorization": "Bearer lin_secretsecret", "X-Team": "a"}},
    "docs": {"url": "https://docs.example.com/mcp?apiKey=abcdefgh123"},
    "off": {"command": "x", "disabled": true},
    "broken": {"command": 5}
  }
}"#;

/// Every secret in [`MANY`].
const SECRETS: [&str; 5] = ["ghp_abc", "sk-abc", "abcdefgh", "lin_secret", "abcdefgh123"];

#[test]
fn an_import_is_good_and_shows_no_secret() {
    let imported = import(MANY);
    assert_good(&imported);
    let everything = format!("{}\n{}\n{imported:?}", imported.yaml(), warnings(&imported));
    for secret in SECRETS {
        assert!(!everything.contains(secret), "{secret} is in\n{everything}");
    }
    let names: Vec<&str> = imported.objects.iter().filter_map(|object| object["metadata"]["name"].as_str()).collect();
    assert_eq!(names, ["mcp", "github-server", "files", "time", "search", "linear", "docs", "mcp"]);
    let told = warnings(&imported);
    for words in [
        "server \"GitHub Server\": is named github-server",
        "GITHUB_PERSONAL_ACCESS_TOKEN is taken from Secret github-server-credentials",
        "docker's -v is not carried over",
        "docker inspect",
        "server \"files\": an argument is a path of your machine",
        "server \"search\": argument 2 looks like a secret",
        "server \"search\": argument 3 looks like a secret",
        "server \"search\": spec.stdio.image is",
        "server \"linear\": header X-Team is not carried over",
        "server \"docs\": a parameter of its url looks like a secret",
        "server \"off\": is left out: it is disabled",
        "server \"broken\": is left out",
    ] {
        assert!(told.contains(words), "{words:?} is not in\n{told}");
    }
}

#[test]
fn launchers_choose_images() {
    let imported = import(MANY);
    let backend = |name: &str| imported.objects.iter().find(|object| object["metadata"]["name"] == name).unwrap();
    assert_eq!(backend("files")["spec"]["stdio"]["image"], "docker.io/library/node:24");
    let time = &backend("time")["spec"]["stdio"];
    assert_eq!((&time["command"], &time["args"]), (&json!(["uvx"]), &json!(["mcp-server-time"])));
    assert_eq!(time["env"], json!([{ "name": "TZ", "value": "UTC" }, { "name": "RETRIES", "value": "3" }]));
    let github = &backend("github-server")["spec"]["stdio"];
    assert_eq!(github["image"], "ghcr.io/github/github-mcp-server");
    assert_eq!((&github["command"], &github["args"]), (&json!(["REPLACE-ME"]), &json!(["stdio"])));
    assert_eq!(
        github["env"],
        json!([
            { "name": "GITHUB_PERSONAL_ACCESS_TOKEN", "valueFrom": { "secretKeyRef": {
                "name": "github-server-credentials", "key": "GITHUB_PERSONAL_ACCESS_TOKEN" } } },
            { "name": "GITHUB_HOST", "value": "https://github.com" },
        ])
    );
}

#[test]
fn windows_wrappers_are_taken_off() {
    let imported = import(r#"{"mcpServers": {"a": {"command": "cmd", "args": ["/c", "npx.cmd", "-y", "x"]}}}"#);
    assert_eq!(spec(&imported)["stdio"]["command"], json!(["npx"]));
}

#[test]
fn several_servers_have_prefixes_and_one_has_none() {
    let route = |imported: &Imported| imported.objects.last().unwrap()["spec"]["servers"].clone();
    let servers = route(&import(MANY));
    assert_eq!(
        servers[0],
        json!({ "name": "github-server", "prefix": "github_server_", "backendRefs": [{ "name": "github-server" }] })
    );
    let one = route(&import(r#"{"servers": {"a": {"url": "https://a.example.com/mcp"}}}"#));
    assert_eq!(one, json!([{ "name": "a", "backendRefs": [{ "name": "a" }] }]));
}

#[test]
fn a_header_becomes_a_reference() {
    let imported = import(
        r#"{"servers": {"a": {"type": "http", "url": "https://a.example.com/mcp",
        "headers": {"X-Trace": "on", "authorization": "Bearer ${input:token}"}}}}"#,
    );
    assert_eq!(
        spec(&imported)["auth"],
        json!({ "type": "Header", "header": { "name": "authorization", "prefix": "Bearer ",
            "valueFrom": { "secretKeyRef": { "name": "a-credentials", "key": "authorization" } } } })
    );
    assert!(spec(&imported)["remote"].get("transport").is_none());
    assert_good(&imported);
}

#[test]
fn variables_become_references_in_a_cluster_and_values_on_a_laptop() {
    let text = r#"{"mcpServers": {"a": {"command": "${BIN:-npx}", "args": ["--home", "${HOME}"],
        "env": {"API_TOKEN": "${GH}", "LEVEL": "${LEVEL:-info}", "OTHER": "${UNSET}"}, "cwd": "${HOME}/x"}}}"#;
    let cluster = import(text);
    assert!(spec(&cluster)["stdio"]["env"][1]["valueFrom"].is_object());
    assert!(warnings(&cluster).contains("argument 2 has a variable"), "{}", warnings(&cluster));
    assert!(cluster.secrets.iter().all(|secret| secret.value.is_none()));

    let laptop = run(text, &[("HOME", "/root"), ("GH", "hunter2")]);
    assert_eq!(
        spec(&laptop)["stdio"],
        json!({ "image": "local", "command": ["npx"], "args": ["--home", "/root"], "workingDir": "/root/x",
            "env": [
                { "name": "API_TOKEN", "valueFrom": { "secretKeyRef": { "name": "a-credentials", "key": "API_TOKEN" } } },
                { "name": "LEVEL", "valueFrom": { "secretKeyRef": { "name": "a-credentials", "key": "LEVEL" } } },
            ] })
    );
    assert_eq!(laptop.secrets[0].value.as_ref().map(PrivateBytes::expose), Some(&b"hunter2"[..]));
    assert_eq!(warnings(&laptop), "server \"a\": environment variable OTHER is left out: UNSET is not set here");
    assert_good(&laptop);
}

#[test]
fn a_laptop_runs_what_the_file_says() {
    let laptop = run(MANY, &[]);
    assert_good(&laptop);
    let github = &laptop.objects[1]["spec"]["stdio"];
    assert_eq!(github["command"], json!(["docker"]));
    assert_eq!(github["args"].as_array().map(Vec::len), Some(11));
    let search = &laptop.objects[4]["spec"]["stdio"];
    assert_eq!(search["args"][1], "sk-abcdefghijklmnop");
}

#[test]
fn a_manifest_in_json_is_no_mcp_json() {
    assert!(is_mcp_json(r#"{"mcpServers": {}}"#) && is_mcp_json("{ // comment\n}") && is_mcp_json("{"));
    assert!(!is_mcp_json(r#"{"apiVersion": "gateway.mcp-operator.dev/v1alpha1"}"#));
}

#[test]
fn zed_has_its_own_place() {
    let imported = import(
        r#"{"context_servers": {"a": {"source": "custom", "command": {"path": "uvx", "args": ["x"], "env": {"A": "b"}}}}}"#,
    );
    assert_eq!(spec(&imported)["stdio"]["command"], json!(["uvx"]));
    assert_eq!(spec(&imported)["stdio"]["env"], json!([{ "name": "A", "value": "b" }]));
}

#[test]
fn names_are_labels_and_differ() {
    let imported = import(
        r#"{"mcpServers": {"a b": {"url": "https://x.example/mcp"}, "A_B": {"url": "https://y.example/mcp"}, "ß": {"url": "https://z.example/mcp"}}}"#,
    );
    let names: Vec<&str> =
        imported.objects[1..4].iter().filter_map(|object| object["metadata"]["name"].as_str()).collect();
    assert_eq!(names, ["a-b", "a-b-2", "server"]);
    assert_good(&imported);
}

#[test]
fn passwords_do_not_stay_in_urls() {
    let imported = import(r#"{"servers": {"a": {"url": "https://me:hunter2@a.example.com/mcp#x"}}}"#);
    assert_eq!(spec(&imported)["remote"]["url"], "https://a.example.com/mcp");
    assert!(warnings(&imported).contains("user and password are taken out"));
}

#[test]
fn a_file_with_nothing_to_serve_is_refused() {
    let refused = |text: &str| manifests_from_mcp_json(text, &ImportOptions::new(Purpose::Cluster)).unwrap_err();
    assert_eq!(refused(r#"{"mcpServers": {"a": {"disabled": true, "command": "x"}}}"#), McpJsonError::NoServers);
    let many: Vec<String> = (0..65).map(|index| format!(r#""s{index}": {{"command": "x"}}"#)).collect();
    let text = format!("{{\"mcpServers\": {{{}}}}}", many.join(","));
    assert_eq!(refused(&text), McpJsonError::TooMany { found: 65, most: 64 });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn whatever_is_imported_is_good(
        name in "\\PC{0,50}",
        command in "[a-z./ -]{1,20}",
        args in proptest::collection::vec("\\PC{0,20}", 0..4),
        variable in "[A-Za-z_ 0-9]{1,10}",
        value in "\\PC{0,30}",
        is_laptop in proptest::bool::ANY,
    ) {
        let text = json!({ "mcpServers": { name: { "command": command, "args": args, "env": { variable: value } } } }).to_string();
        let nothing = |_: &str| None;
        let purpose = if is_laptop { Purpose::Laptop(&nothing) } else { Purpose::Cluster };
        if let Ok(imported) = manifests_from_mcp_json(&text, &ImportOptions::new(purpose)) {
            assert_good(&imported);
        }
    }
}
