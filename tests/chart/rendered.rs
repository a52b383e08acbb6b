//! Golden pairs.

use crate::helm::{CASES, CHART, helm, render, values_of};
use std::fs;

/// Why `deploy/install.yaml` is as it is, for whoever opens it.
const HEADER: &str = "# The chart with its default values, for kubectl apply --server-side. Generated: change the chart and run `make generate`.\n";

const NAMESPACE: &str = "---
apiVersion: v1
kind: Namespace
metadata:
  name: mcp-system
  labels:
    pod-security.kubernetes.io/enforce: restricted
";

#[test]
fn the_chart_has_nothing_to_criticise() {
    let output = helm(&["lint", "--strict", CHART, "--kube-version", "1.33.0"]);
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
    assert!(output.status.success(), "{said}");
    // It has no icon, and says so once.
    assert_eq!(said.matches("[INFO]").count(), 1, "{said}");
    assert!(!said.contains("[WARNING]"), "{said}");
}

#[test]
fn each_case_is_rendered_as_it_was() {
    for case in CASES {
        golden(&format!("tests/chart/cases/{case}/out.yaml"), &render(&["--values", &values_of(case)]));
    }
}

#[test]
fn the_manifest_without_helm_is_fresh() {
    let text = render(&["--no-hooks"]);
    // No Helm looks after what it makes, and no Helm heeds its policy.
    let kept = |line: &&str| !line.contains("app.kubernetes.io/managed-by") && !line.contains("helm.sh/");
    let lines = text.split_inclusive('\n').filter(kept).collect::<String>();
    let lines = lines.replace("  annotations:\n  name:", "  name:");
    golden("deploy/install.yaml", &[HEADER, NAMESPACE, &lines].concat());
}

fn golden(path: &str, text: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(path, text).unwrap();
    }
    let before = fs::read_to_string(path).unwrap_or_default();
    assert!(before == text, "{path} is stale: run `make generate`, and read the difference");
}
