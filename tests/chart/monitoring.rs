//! Alerts, dashboards and scrapes: they ask for what docs/metrics.md has, which the programs are compared with elsewhere.

use crate::helm::{items, objects, of_kind, text};
use regex::Regex;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

/// Labels that Prometheus adds, or the chart's `PodMonitor`.
const OF_TARGETS: [&str; 4] = ["namespace", "pod", "gateway", "le"];

const RUNBOOK: &str = "https://github.com/mcp-gateway-operator/mcp-gateway-operator/blob/main/docs/operations.md#";

/// What is counted: the labels of each metric, and its type.
struct Metrics(BTreeMap<String, (String, BTreeSet<String>)>);

#[test]
fn alerts_ask_for_what_is_counted() {
    let metrics = Metrics::documented();
    let alerts = alerts();
    assert!(alerts.len() > 10, "only {} alerts", alerts.len());
    for alert in &alerts {
        let wrong = metrics.wrong(text(alert, "/expr"));
        assert_eq!(wrong, Vec::<String>::new(), "{}", text(alert, "/alert"));
    }
}

#[test]
fn alerts_say_what_is_wrong_and_what_to_do() {
    let operations = fs::read_to_string("docs/operations.md").unwrap();
    let headings: BTreeSet<&str> = operations.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    let alerts = alerts();
    let names: BTreeSet<&str> = alerts.iter().map(|alert| text(alert, "/alert")).collect();
    assert_eq!(names.len(), alerts.len(), "two alerts have one name");
    for alert in &alerts {
        let name = text(alert, "/alert");
        assert!(["warning", "critical"].contains(&text(alert, "/labels/severity")), "{name}");
        assert!(text(alert, "/annotations/summary").ends_with('.'), "{name} has no summary");
        assert_eq!(text(alert, "/annotations/runbook_url"), format!("{RUNBOOK}{}", name.to_lowercase()));
        assert!(headings.contains(name), "docs/operations.md has no entry about {name}");
    }
    let of_alerts =
        headings.into_iter().filter(|heading| heading.starts_with("MCPOperator") || heading.starts_with("MCPGateway"));
    assert_eq!(
        of_alerts.collect::<BTreeSet<_>>(),
        names,
        "docs/operations.md has entries about alerts that are not there"
    );
}

#[test]
fn the_dashboard_asks_for_what_is_counted() {
    let metrics = Metrics::documented();
    let dashboard = dashboard();
    let mut shown = String::new();
    for panel in items(&dashboard, "/panels").filter(|panel| panel["type"] != "row") {
        let title = text(panel, "/title");
        assert!(text(panel, "/description").ends_with('.'), "{title} is not described");
        for target in items(panel, "/targets") {
            let expression = text(target, "/expr");
            assert_eq!(metrics.wrong(expression), Vec::<String>::new(), "{title}");
            shown.push_str(expression);
        }
    }
    for variable in items(&dashboard, "/templating/list").filter(|variable| variable["type"] == "query") {
        assert_eq!(metrics.wrong(text(variable, "/query/query")), Vec::<String>::new(), "{}", variable["name"]);
    }
    let missing = metrics.0.keys().filter(|name| !shown.contains(name.as_str()) && !NOT_SHOWN.contains(&name.as_str()));
    assert_eq!(missing.collect::<Vec<_>>(), Vec::<&String>::new(), "on no panel");
}

/// These change never, or say the same as one that is shown.
const NOT_SHOWN: [&str; 4] =
    ["process_max_fds", "process_start_time_seconds", "mcp_gateway_sessions_total", "mcp_gateway_peers"];

#[test]
fn panels_do_not_overlap() {
    let dashboard = dashboard();
    let mut taken = BTreeSet::new();
    for panel in items(&dashboard, "/panels") {
        let [x, y, width, height] = ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap());
        assert!(x + width <= 24);
        for place in (x..x + width).flat_map(|x| (y..y + height).map(move |y| (x, y))) {
            assert!(taken.insert(place), "{} overlaps another", panel["title"]);
        }
    }
}

#[test]
fn scrapes_go_where_metrics_are() {
    let everything = objects(Some("everything"));
    let endpoint = |kind: &str, list: &str| of_kind(&everything, kind)[0]["spec"][list][0].clone();
    let operator = endpoint("ServiceMonitor", "endpoints");
    assert_eq!((text(&operator, "/port"), text(&operator, "/path")), ("health", "/metrics"));
    assert_eq!(of_kind(&everything, "Service")[0]["spec"]["ports"][0]["name"], "health");
    let selected = &of_kind(&everything, "ServiceMonitor")[0]["spec"]["selector"]["matchLabels"];
    for (label, value) in selected.as_object().unwrap() {
        assert_eq!(of_kind(&everything, "Service")[0]["metadata"]["labels"][label], *value);
    }
    let gateway = endpoint("PodMonitor", "podMetricsEndpoints");
    assert_eq!((text(&gateway, "/port"), text(&gateway, "/path")), ("admin", "/metrics"));
    let single = objects(Some("namespaced"));
    let selector = &of_kind(&single, "PodMonitor")[0]["spec"]["namespaceSelector"];
    assert_eq!(*selector, json!({"matchNames": ["team-a", "team-b"]}));
}

#[test]
fn each_mistake_is_found() {
    let metrics = Metrics::documented();
    let wrong = |expression: &str| metrics.wrong(expression);
    assert_eq!(wrong("rate(mcp_gateway_request_total[5m])"), ["mcp_gateway_request_total is not counted"]);
    assert_eq!(
        wrong("sum by (tool) (mcp_gateway_requests_total{outcom=\"ok\"})"),
        ["mcp_gateway_requests_total has no label outcom", "no metric here has the label tool"]
    );
    assert_eq!(wrong("mcp_gateway_requests_total_bucket"), ["mcp_gateway_requests_total_bucket is not counted"]);
    assert_eq!(wrong("mcp_gateway_peers_total"), ["mcp_gateway_peers_total is not counted"]);
    assert_eq!(wrong("mcp_gateway_request_duration_seconds_bucket{le=\"1\",route=\"a\"}"), Vec::<String>::new());
}

fn alerts() -> Vec<Value> {
    let objects = objects(Some("everything"));
    let groups = items(of_kind(&objects, "PrometheusRule")[0], "/spec/groups").cloned().collect::<Vec<_>>();
    groups.iter().flat_map(|group| items(group, "/rules").cloned()).collect()
}

fn dashboard() -> Value {
    let objects = objects(Some("everything"));
    serde_json::from_str(text(of_kind(&objects, "ConfigMap")[0], "/data/mcp-gateways.json")).unwrap()
}

impl Metrics {
    /// From the tables: `| name | type | labels | meaning |`.
    fn documented() -> Self {
        let document = fs::read_to_string("docs/metrics.md").unwrap();
        let rows = document.lines().filter(|line| line.starts_with("| `"));
        let row = |row: &str| {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            let words = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<BTreeSet<_>>();
            (words(cells[1]).pop_first().unwrap(), (cells[2].to_owned(), words(cells[3])))
        };
        let metrics: BTreeMap<_, _> = rows.map(row).collect();
        assert!(metrics.len() > 30, "the tables were not found");
        Self(metrics)
    }

    /// What an expression asks for that there is not.
    fn wrong(&self, expression: &str) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut labels: BTreeSet<&str> = OF_TARGETS.into();
        let metric = Regex::new(r"\b((?:mcp|process)_[a-z0-9_]+)(?:\{([^}]*)\})?").unwrap();
        let matcher = Regex::new(r"([a-z_]+)\s*(?:=~|!~|!=|=)").unwrap();
        for found in metric.captures_iter(expression) {
            let name = &found[1];
            let Some(own) = self.labels(name) else {
                wrong.push(format!("{name} is not counted"));
                continue;
            };
            for label in matcher.captures_iter(found.get(2).map_or("", |labels| labels.as_str())) {
                let label = label.get(1).unwrap().as_str();
                if !own.contains(label) && !OF_TARGETS.contains(&label) {
                    wrong.push(format!("{name} has no label {label}"));
                }
            }
            labels.extend(own.iter().map(String::as_str));
        }
        let grouping = Regex::new(r"\b(?:by|on)\s*\(([^)]*)\)").unwrap();
        for group in grouping.captures_iter(expression) {
            let unknown = group[1].split(',').map(str::trim).filter(|label| !labels.contains(label));
            wrong.extend(unknown.map(|label| format!("no metric here has the label {label}")));
        }
        wrong
    }

    /// The labels of a metric, or of a series of a histogram.
    fn labels(&self, name: &str) -> Option<&BTreeSet<String>> {
        let of_histogram = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| {
            let (kind, labels) = self.0.get(name.strip_suffix(suffix)?)?;
            (kind == "histogram").then_some(labels)
        });
        let plain = self.0.get(name).filter(|(kind, _)| kind != "histogram").map(|(_, labels)| labels);
        plain.or(of_histogram)
    }
}
