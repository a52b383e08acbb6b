//! Helm as a process.

use serde_json::Value;
use std::process::{Command, Output};

pub(crate) const CHART: &str = "charts/mcp-gateway-operator";

/// The cases, each a folder with values.
pub(crate) const CASES: [&str; 3] = ["namespaced", "everything", "minimal"];

/// The release that the documents name.
const RELEASE: [&str; 3] = ["mcp-gateway-operator", "--namespace", "mcp-system"];

/// The oldest Kubernetes that is supported.
const KUBERNETES: &str = "1.33.0";

pub(crate) fn helm(arguments: &[&str]) -> Output {
    let program = std::env::var("HELM").unwrap_or_else(|_| "helm".to_owned());
    let output = Command::new(&program).args(arguments).env_remove("KUBECONFIG").output();
    output.unwrap_or_else(|error| panic!("{program}: {error}; `make chart` fetches Helm, or name yours in HELM"))
}

/// What `helm template` makes of the chart with these arguments more.
pub(crate) fn template(arguments: &[&str]) -> Output {
    helm(&[&["template"], &RELEASE[..], &[CHART, "--kube-version", KUBERNETES], arguments].concat())
}

/// The same, as text.
pub(crate) fn render(arguments: &[&str]) -> String {
    let output = template(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn values_of(case: &str) -> String {
    format!("tests/chart/cases/{case}/values.yaml")
}

/// The objects of a case; of none, those of the chart as it is.
pub(crate) fn objects(case: Option<&str>) -> Vec<Value> {
    let values = case.map(values_of);
    let arguments: Vec<&str> = values.iter().flat_map(|values| ["--values", values]).collect();
    documents(&render(&arguments))
}

/// The objects of every case.
pub(crate) fn all_objects() -> Vec<Value> {
    std::iter::once(None).chain(CASES.map(Some)).flat_map(objects).collect()
}

/// The documents of a YAML stream.
pub(crate) fn documents(text: &str) -> Vec<Value> {
    let documents =
        text.split("---\n").filter(|text| text.lines().any(|line| !line.is_empty() && !line.starts_with('#')));
    documents.map(|text| serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))).collect()
}

pub(crate) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Those of a kind, of which there must be some.
pub(crate) fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    let found: Vec<&Value> = objects.iter().filter(|object| object["kind"] == kind).collect();
    assert!(!found.is_empty(), "there is no {kind}");
    found
}

/// The items of a list, which may not be there.
pub(crate) fn items<'a>(object: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    object.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}
