use super::*;
use crate::api::gateway_settings::Drain;
use proptest::prelude::*;

const GATEWAY: &str = "apiVersion: gateway.mcp-operator.dev/v1alpha1
kind: MCPGateway
metadata: {name: tools, namespace: team}
spec:
  listeners:
  - {name: http, port: 8080, protocol: HTTP}
";

fn errors(text: &str) -> Vec<String> {
    parse("f.yaml", text).1.iter().map(ToString::to_string).collect()
}

#[test]
fn every_document_of_a_file_is_read() {
    let text = format!(
        "# a comment\n---\n{GATEWAY}---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: team}}\n---\n# nothing\n"
    );
    let (manifests, errors) = parse("f.yaml", &text);
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(manifests.iter().map(|manifest| manifest.line).collect::<Vec<_>>(), [3, 10]);
    assert!(matches!(&manifests[0].object, Object::Gateway(gateway) if gateway.spec.listeners[0].port == 8080));
    assert!(
        matches!(&manifests[1].object, Object::Foreign(namespace) if namespace.kind == "Namespace" && namespace.name == "team")
    );
}

#[test]
fn an_unknown_field_is_told_with_its_place_and_a_way_out() {
    let text = GATEWAY.replace("port:", "ports: 1, port:");
    assert_eq!(errors(&text), ["f.yaml:6:18: spec.listeners[0].ports: unknown field; did you mean port?"]);
    let text = GATEWAY.replace("spec:", "spec:\n  enabled: true");
    let found = errors(&text);
    assert!(found[0].starts_with("f.yaml:5:3: spec.enabled: unknown field; there are autoscaling, "), "{found:?}");
    let text = GATEWAY.replace("namespace:", "namespce:");
    assert_eq!(errors(&text), ["f.yaml:3:25: metadata.namespce: unknown field; did you mean namespace?"]);
    assert_eq!(errors(&format!("{GATEWAY}sepc: {{}}\n")), ["f.yaml:7:1: sepc: unknown field; did you mean spec?"]);
}

#[test]
fn a_wrong_value_is_told_with_its_field_and_line() {
    let text = format!("{GATEWAY}---\n{}", GATEWAY.replace("8080", "much"));
    assert_eq!(errors(&text), ["f.yaml:13:24: spec.listeners[0].port: expected a whole number"]);
    let found = errors(&GATEWAY.replace("protocol: HTTP", "protocol: UDP"));
    assert!(found[0].contains("spec.listeners[0].protocol: ") && found[0].contains("UDP"), "{found:?}");
}

#[test]
fn a_scalar_of_another_type_is_told_with_the_way_out() {
    for (before, after, words) in [
        ("name: http", "name: 80", "f.yaml:6:12: spec.listeners[0].name: expected text: put it in quotes"),
        ("name: http", "name: yes", "spec.listeners[0].name: expected text: put it in quotes"),
        ("port: 8080", "port: '8080'", "spec.listeners[0].port: expected a whole number"),
        ("port: 8080", "port: 8080.5", "spec.listeners[0].port: expected a whole number"),
        ("port: 8080", "port: 65536", "spec.listeners[0].port: 65536 is not between 1 and 65535"),
        ("port: 8080", "port: {}", "spec.listeners[0].port: expected a whole number"),
        ("port: 8080, ", "", "spec.listeners[0].port: is required"),
        ("port: 8080", "port: ", "spec.listeners[0].port: is required"),
        ("namespace: team", "labels: {version: 1}", "metadata.labels.version: expected text: put it in quotes"),
    ] {
        let found = errors(&GATEWAY.replace(before, after));
        assert!(found.len() == 1 && found[0].contains(words), "{after}: {found:?}");
    }
    assert!(errors(&GATEWAY.replace("8080", "8080.0")).is_empty());
    for after in ["'80'", "\"yes\"", "!!str 80", "|-\n      80"] {
        let text = GATEWAY.replace(
            "  - {name: http, port: 8080, protocol: HTTP}",
            &format!("  - port: 8080\n    protocol: HTTP\n    name: {after}"),
        );
        assert!(errors(&text).is_empty(), "{after}: {:?}", errors(&text));
    }
}

#[test]
fn a_null_is_as_good_as_absent_but_for_what_kubernetes_itself_reads() {
    let text =
        format!("{GATEWAY}  drain: {{timeout: null}}\n  image: ~\n  podTemplate: {{spec: {{priority: null}}}}\n");
    let (manifests, errors) = parse("f.yaml", &text);
    assert!(errors.is_empty(), "{errors:?}");
    let Object::Gateway(gateway) = &manifests[0].object else { panic!("{manifests:?}") };
    assert_eq!((gateway.spec.image.as_ref(), &gateway.spec.drain), (None, &Drain::default()));
    let overlay = &gateway.spec.pod_template.as_ref().unwrap().0;
    assert_eq!(serde_json::to_value(overlay).unwrap(), serde_json::json!({ "spec": { "priority": null } }));
}

#[test]
fn one_bad_document_spoils_no_other() {
    let (manifests, errors) = parse("f.yaml", &format!("{GATEWAY}---\n}}{{\n---\n{GATEWAY}"));
    assert_eq!((manifests.len(), errors.len()), (2, 1));
    assert_eq!(errors[0].line, 8);
}

#[test]
fn what_is_no_object_of_ours_is_refused_with_the_reason() {
    for (text, words) in [
        ("kind: MCPGateway\n", "apiVersion and kind are required"),
        ("just text\n", "f.yaml:1"),
        (
            "apiVersion: gateway.mcp-operator.dev/v9\nkind: MCPGateway\n",
            "this build reads gateway.mcp-operator.dev/v1alpha1",
        ),
        (
            "apiVersion: gateway.mcp-operator.dev/v1alpha1\nkind: MCPServer\nmetadata: {name: a}\n",
            "there are MCPGateway",
        ),
        ("apiVersion: gateway.mcp-operator.dev/v1alpha1\nkind: MCPGateway\nspec: {}\n", "metadata.name is required"),
    ] {
        let found = errors(text);
        assert!(found.len() == 1 && found[0].contains(words), "{found:?}");
    }
}

#[test]
fn a_key_said_twice_is_an_error() {
    let found = errors(&GATEWAY.replace("spec:", "metadata: {name: other}\nspec:"));
    assert!(found.len() == 1 && found[0].contains("metadata"), "{found:?}");
}

#[test]
fn markers_end_documents_however_they_are_written() {
    let lines = |text: &str| documents(text).iter().map(|document| document.line).collect::<Vec<_>>();
    assert_eq!(lines("a: 1\r\n---\r\nb: 2\r\n"), [1, 3]);
    assert_eq!(lines("--- {a: 1}\n--- # comment\n\nb: 2\n...\n%YAML 1.2\n---\nc: 3"), [1, 4, 8]);
    assert_eq!(lines("a: |\n  ---\n  text\n"), [1]);
    assert_eq!(lines("----\n"), [1]);
    assert!(lines("# only\n---\n---\n\n").is_empty());
    assert!(lines("").is_empty());
}

#[test]
fn a_file_beyond_the_bound_is_not_read() {
    let found = errors(&" ".repeat(MAX_FILE_BYTES + 1));
    assert!(found.len() == 1 && found[0].contains("is larger than"), "{found:?}");
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "(apiVersion: gateway.mcp-operator.dev/v1alpha1\nkind: MCPRoute\n)?[-a-z:{}\\[\\]&*!|>'\"%@` \n\t#0-9]{0,200}") {
        let _ = parse("f.yaml", &text);
    }

    #[test]
    fn every_error_names_a_line_of_the_file(prefix in 0_usize..5, broken in "[a-z{\\[: ]{1,20}") {
        let text = format!("{}---\n{broken}\n", "# filler\n".repeat(prefix));
        for error in parse("f.yaml", &text).1 {
            prop_assert!(error.line >= 1 && error.line <= prefix as u64 + 3, "{error}");
        }
    }
}
