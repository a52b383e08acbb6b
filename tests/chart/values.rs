//! What values do, and which are refused.

use crate::helm::{CASES, CHART, render, template, values_of};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;

/// A value, and what is said of it.
const WRONG: &[(&str, &str)] = &[
    ("replica=3", "additional properties 'replica' not allowed"),
    ("replicas=two", "at '/replicas': got string, want integer"),
    ("replicas=-1", "at '/replicas'"),
    ("image.tags=1", "at '/image': additional properties 'tags' not allowed"),
    ("image.repository=Upper/case", "at '/image/repository'"),
    ("image.tag=a b", "at '/image/tag'"),
    ("image.digest=sha256:12", "at '/image/digest'"),
    ("image.pullPolicy=Sometimes", "at '/image/pullPolicy'"),
    ("watchNamespaces=team-a", "at '/watchNamespaces'"),
    ("watchNamespaces={Team A}", "at '/watchNamespaces/0'"),
    ("serverKinds[0].kind=MCPServer", "at '/serverKinds/0': missing properties 'group', 'resource'"),
    ("logLevel=two words", "at '/logLevel'"),
    ("resources.requests.memory=1Gb", "at '/resources/requests/memory'"),
    ("resources.limit.memory=1Gi", "at '/resources': additional properties 'limit' not allowed"),
    ("tolerations[0].efect=NoSchedule", "at '/tolerations/0': additional properties 'efect' not allowed"),
    ("affinity.nodeAfinity.x=y", "at '/affinity': additional properties 'nodeAfinity' not allowed"),
    // The gateways' NetworkPolicies go by it.
    (r"podLabels.app\.kubernetes\.io/name=other", "at '/podLabels/app.kubernetes.io~1name': false schema"),
    ("podDisruptionBudget.maxUnavailable=half", "at '/podDisruptionBudget/maxUnavailable'"),
    ("networkPolicy.apiServer.cidrs={10.0.0.1}", "at '/networkPolicy/apiServer/cidrs/0'"),
    ("networkPolicy.apiServer.ports={0}", "at '/networkPolicy/apiServer/ports/0'"),
    ("metrics.serviceMonitor.interval=often", "at '/metrics/serviceMonitor/interval'"),
];

#[test]
fn a_wrong_value_is_refused_by_its_name() {
    for (value, said) in WRONG {
        let output = template(&["--set", value]);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{value} is taken");
        assert!(error.contains(said), "{value}: {error}");
    }
}

/// Nothing is made of the first; `rights` looks at the second, for whose sake no case has all definitions.
const NOT_IN_CASES: [&str; 2] = ["global", "crds.keep"];

#[test]
fn every_value_has_an_effect() {
    let mut effective = BTreeSet::new();
    let mut said = BTreeSet::new();
    for case in CASES {
        let values: Value = serde_saphyr::from_str(&fs::read_to_string(values_of(case)).unwrap()).unwrap();
        let whole = render_with(&values);
        for path in leaves(&values) {
            let mut less = values.clone();
            remove(&mut less, &path);
            if render_with(&less) != whole {
                effective.insert(path.clone());
            }
            said.insert(path);
        }
    }
    assert_eq!(
        said.difference(&effective).collect::<Vec<_>>(),
        Vec::<&Vec<String>>::new(),
        "values of cases do nothing"
    );
    let all: Value = serde_saphyr::from_str(&fs::read_to_string(format!("{CHART}/values.yaml")).unwrap()).unwrap();
    let unseen = leaves(&all).into_iter().filter(|path| {
        // A map may hold other keys than by default.
        let is_seen = effective.iter().any(|seen| seen.starts_with(path) || path.starts_with(seen));
        !is_seen && !NOT_IN_CASES.contains(&path.join(".").as_str())
    });
    assert_eq!(unseen.collect::<Vec<_>>(), Vec::<Vec<String>>::new(), "no case shows what these values do");
}

/// Definitions are large, and no value is about them but those that decide whether they are there.
fn render_with(values: &Value) -> String {
    let file = tempfile::Builder::new().suffix(".json").tempfile().unwrap();
    fs::write(file.path(), serde_json::to_vec(values).unwrap()).unwrap();
    render(&["--values", file.path().to_str().unwrap()])
}

/// The path of everything that is no map, or an empty one.
fn leaves(values: &Value) -> Vec<Vec<String>> {
    match values.as_object().filter(|fields| !fields.is_empty()) {
        None => vec![Vec::new()],
        Some(fields) => {
            let below = |(name, value): (&String, &Value)| {
                let name = name.clone();
                leaves(value).into_iter().map(move |path| [vec![name.clone()], path].concat())
            };
            fields.iter().flat_map(below).collect()
        }
    }
}

fn remove(values: &mut Value, path: &[String]) {
    let (last, groups) = path.split_last().unwrap();
    let group = groups.iter().fold(values, |value, name| &mut value[name]);
    group.as_object_mut().unwrap().shift_remove(last);
}
