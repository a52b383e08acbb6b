use super::kinds::{Section, sections};
use super::text::Screen;
use super::*;
use crate::api::{McpAuthPolicy, McpBackend, McpGateway, McpRoute};
use crate::ir::ids::ObjectId;
use crate::operator::inspect::Listed;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// The second at which the screen is printed; conditions are so many seconds older.
const NOW: i64 = 1_790_000_000;

fn at(ago: i64) -> Timestamp {
    Timestamp::from_second(NOW - ago).unwrap()
}

fn listed<K: DeserializeOwned>(id: &str, generation: i64, spec: &Value, status: &Value) -> Listed<K> {
    let id: ObjectId = id.parse().unwrap();
    let object = json!({
        "apiVersion": crate::api::API_VERSION,
        "kind": "",
        "metadata": {"name": id.name, "namespace": id.namespace},
        "spec": spec,
        "status": status,
    });
    Listed {
        id,
        created: Some(at(7200)),
        changed: Some(at(20)),
        generation: Some(generation),
        object: Ok(serde_json::from_value(object).unwrap()),
    }
}

fn malformed<K>(id: &str, why: &str) -> Listed<K> {
    Listed {
        id: id.parse().unwrap(),
        created: Some(at(86_400)),
        changed: None,
        generation: Some(1),
        object: Err(why.to_owned()),
    }
}

/// `Type=Status Reason Seconds message`
fn conditions(generation: i64, lines: &[&str]) -> Value {
    let condition = |line: &&str| {
        let (head, message) = line.split_once(": ").unwrap_or((line, ""));
        let words: Vec<&str> = head.split(['=', ' ']).collect();
        let [type_, status, reason, ago] = words[..] else { panic!("{line}") };
        let since = at(ago.parse().unwrap()).to_string();
        json!({
            "type": type_, "status": status, "reason": reason, "message": message,
            "lastTransitionTime": since, "observedGeneration": generation,
        })
    };
    lines.iter().map(condition).collect()
}

fn gateway(id: &str, generation: i64, status: &Value) -> Listed<McpGateway> {
    let spec = json!({"listeners": [{"name": "http", "port": 8080, "protocol": "HTTP"}]});
    listed(id, generation, &spec, status)
}

fn backend(id: &str, status: &Value) -> Listed<McpBackend> {
    listed(id, 1, &json!({"remote": {"url": "https://mcp.example/mcp"}}), status)
}

/// A route at these gateways, to one backend of its own namespace, that says the same of each gateway.
fn route(
    id: &str,
    gateways: &[&str],
    backend: &str,
    summary: &str,
    servers: &Value,
    lines: &[&str],
) -> Listed<McpRoute> {
    let refs: Vec<Value> = gateways.iter().map(|name| json!({"name": name})).collect();
    let parent = |parent: &Value| {
        json!({
            "parentRef": parent, "controllerName": crate::api::CONTROLLER_NAME,
            "conditions": conditions(1, lines), "servers": servers,
        })
    };
    let spec = json!({"parentRefs": refs, "servers": [{"name": "a", "backendRefs": [{"name": backend}]}]});
    let parents: Vec<Value> = refs.iter().map(parent).collect();
    listed(id, 1, &spec, &json!({"summary": summary, "parents": parents}))
}

fn policy(id: &str, status: &Value) -> Listed<McpAuthPolicy> {
    let spec = json!({"targetRefs": [{"kind": "MCPGateway", "name": "tools"}, {"kind": "MCPRoute", "name": "files"}], "anonymous": "Allow"});
    listed(id, 1, &spec, status)
}

const GOOD_GATEWAY: [&str; 4] = [
    "Accepted=True Accepted 3600",
    "ResolvedRefs=True ResolvedRefs 3600",
    "Programmed=True Programmed 500",
    "Ready=True Ready 3500",
];

const GOOD_ROUTE: [&str; 6] = [
    "Accepted=True Accepted 3600",
    "ResolvedRefs=True ResolvedRefs 3600",
    "Programmed=True Programmed 500",
    "Ready=True Ready 3500",
    "PrimaryActive=True PrimaryActive 3500",
    "CatalogComplete=Unknown Pending 3500: no client was there to list for yet",
];

fn good_gateway(id: &str) -> Listed<McpGateway> {
    let status = json!({
        "summary": "Serving 2 routes on 2 pods", "replicas": 2, "programmedReplicas": 2, "attachedRoutes": 2,
        "addresses": [{"type": "Hostname", "value": "tools.team.svc"}], "conditions": conditions(1, &GOOD_GATEWAY),
    });
    gateway(id, 1, &status)
}

fn good_backend(id: &str) -> Listed<McpBackend> {
    let lines = [
        "Accepted=True Accepted 90000",
        "ResolvedRefs=True ResolvedRefs 90000",
        "Available=True Available 90000",
        "Verified=True Verified 90000",
        "Ready=True Ready 90000",
    ];
    let status = json!({
        "summary": "files-server answers at 2 endpoints with 12 tools", "serverInfo": {"name": "files-server", "version": "1.2"},
        "tools": 12, "endpoints": {"ready": 2}, "conditions": conditions(1, &lines),
    });
    backend(id, &status)
}

fn good_route(id: &str) -> Listed<McpRoute> {
    let servers = json!([{"name": "a", "activePriority": 0, "healthy": 1, "total": 1, "tools": 12, "reporting": 2}]);
    route(id, &["tools"], "files", "Served by 2 pods: 12 tools of 1 server", &servers, &GOOD_ROUTE)
}

/// Something of every state.
fn mixed() -> Inspected {
    let refused =
        "generation 5f1c is live on 1 of 2 pods: pod edge-7d9f refuses it: listener https: the certificate has expired";
    let edge = json!({
        "summary": format!("Serving, but not everywhere as it should: {refused}"),
        "replicas": 2, "programmedReplicas": 1, "attachedRoutes": 1,
        "addresses": [{"type": "Hostname", "value": "mcp.example"}, {"type": "IPAddress", "value": "192.0.2.1"}],
        "conditions": conditions(3, &[
            "Accepted=True Accepted 3600", "ResolvedRefs=True ResolvedRefs 3600",
            &format!("Programmed=False GenerationRefused 192: {refused}"), "Ready=True Ready 3500",
        ]),
    });
    let older = json!({"summary": "Serving 0 routes on 2 pods", "conditions": conditions(1, &GOOD_GATEWAY)});
    let failed_over = [
        "Accepted=True Accepted 3600",
        "ResolvedRefs=True ResolvedRefs 3600",
        "Programmed=True Programmed 500",
        "Ready=True Ready 3500",
        "PrimaryActive=False FailedOver 45: server a is served by priority 1 instead of 0",
        "CatalogComplete=True CatalogComplete 3500",
    ];
    let servers = json!([
        {"name": "a", "activePriority": 1, "healthy": 1, "total": 2, "tools": 7, "reporting": 2},
        {"name": "b", "healthy": 0, "total": 1, "reporting": 2},
    ]);
    let nowhere = [
        "Accepted=False NoMatchingParent 30: spec.parentRefs[0]: there is no MCPGateway tols in team",
        "ResolvedRefs=True ResolvedRefs 30",
        "Programmed=False NoMatchingParent 30: the route is not accepted; see Accepted",
        "Ready=False NoMatchingParent 30: the route is not accepted; see Accepted",
        "PrimaryActive=Unknown NotAttached 30: the route is not accepted; see Accepted",
        "CatalogComplete=Unknown NotAttached 30: the route is not accepted; see Accepted",
    ];
    let down = json!({
        "summary": "Not ready: it has no ready address", "endpoints": {"ready": 0},
        "conditions": conditions(1, &[
            "Accepted=True Accepted 3600", "ResolvedRefs=True ResolvedRefs 3600",
            "Available=False NoEndpoints 60: it has no ready address",
            "Verified=False Unavailable 50: the MCP handshake fails: connection refused",
            "Ready=False NoEndpoints 60: it has no ready address",
        ]),
    });
    let idle = json!({
        "summary": "Not in use: no accepted route names it",
        "conditions": conditions(1, &[
            "Accepted=True Accepted 3600", "ResolvedRefs=True ResolvedRefs 3600",
            "Available=Unknown NotAttached 3600: no accepted route names it, so nobody tried",
            "Verified=Unknown NotAttached 3600: no accepted route names it, so nobody tried",
            "Ready=Unknown NotAttached 3600: no accepted route names it, so nobody tried",
        ]),
    });
    let partly = json!({
        "summary": "In force in part: spec.targetRefs[1]: there is no MCPRoute files",
        "conditions": conditions(1, &["Accepted=True PartiallyInvalid 9000: spec.targetRefs[1]: there is no MCPRoute files"]),
    });
    let no_servers = json!([]);
    Inspected {
        namespace: Some("team".to_owned()),
        gateways: vec![gateway("team/edge", 3, &edge), gateway("team/new", 2, &older), good_gateway("team/tools")],
        routes: vec![
            good_route("team/files"),
            route(
                "team/lost",
                &["tols"],
                "idle",
                "Not accepted: spec.parentRefs[0]: there is no MCPGateway tols in team",
                &no_servers,
                &nowhere,
            ),
            route(
                "team/search",
                &["tools", "edge"],
                "down",
                "At team/tools: Served, but failed over: server a is served by priority 1 instead of 0",
                &servers,
                &failed_over,
            ),
        ],
        backends: vec![
            backend("team/down", &down),
            good_backend("team/files"),
            backend("team/fresh", &Value::Null),
            backend("team/idle", &idle),
            malformed("team/old", "spec.remote: missing field `url`"),
        ],
        auth_policies: vec![policy("team/open", &partly)],
    }
}

fn screen(width: usize, height: Option<usize>) -> Screen {
    Screen { width, height, full: false }
}

fn told(seen: &Inspected, screen: &Screen) -> String {
    text::overview(&sections(seen), seen.namespace.as_deref(), at(0), screen)
}

#[track_caller]
fn assert_told(told: &str, expected: &str) {
    assert_eq!(told, expected, "\n{told}");
}

#[test]
fn one_screen_tells_what_is_there_and_what_is_wrong() {
    assert_told(&told(&mixed(), &screen(120, None)), include_str!("golden/mixed.txt"));
}

#[test]
fn a_narrow_screen_keeps_names_times_and_states() {
    assert_told(&told(&mixed(), &screen(60, None)), include_str!("golden/narrow.txt"));
}

/// Many objects, two of them bad.
fn many() -> Inspected {
    let names =
        |what: &str| (0..1000).map(|number| format!("team-{}/{what}-{number:03}", number % 3)).collect::<Vec<_>>();
    let mixed = mixed();
    let mut seen = Inspected {
        namespace: None,
        gateways: names("gateway").iter().map(|id| good_gateway(id)).collect(),
        routes: names("route").iter().map(|id| good_route(id)).collect(),
        backends: names("backend").iter().map(|id| good_backend(id)).collect(),
        auth_policies: Vec::new(),
    };
    seen.gateways.extend(mixed.gateways);
    seen.backends.extend(mixed.backends);
    seen
}

#[test]
fn many_objects_make_room_for_what_is_wrong() {
    assert_told(&told(&many(), &screen(100, Some(40))), include_str!("golden/many.txt"));
}

#[test]
fn a_screen_holds_as_much_as_fits() {
    let seen = many();
    let sections = sections(&seen);
    let lines = |screen: Screen| text::overview(&sections, None, at(0), &screen).lines().count();
    for height in 40..60 {
        let used = lines(screen(100, Some(height)));
        assert!(used < height && used + 8 > height, "{used} of {height}");
    }
    assert!(lines(screen(100, Some(10))) > 10, "a few of each, however low the screen");
    assert!(lines(Screen { width: 100, height: Some(40), full: true }) > 3000);
}

#[test]
fn nothing_wrong_and_nothing_there_are_told_too() {
    let good = Inspected {
        namespace: Some("team".to_owned()),
        gateways: vec![good_gateway("team/tools")],
        ..Inspected::default()
    };
    assert_told(&told(&good, &screen(80, None)), include_str!("golden/good.txt"));
    assert!(sections(&good).iter().all(Section::is_good));
    assert!(!sections(&mixed()).iter().all(Section::is_good));
    let nothing = Inspected { gateways: Vec::new(), ..good };
    assert_told(
        &told(&nothing, &screen(80, None)),
        "There are no MCP gateways, routes, backends or policies in namespace team.\n",
    );
}

#[test]
fn a_gateway_comes_with_what_belongs_to_it() {
    let names = |seen: &Inspected| {
        let ids = sections(seen).into_iter().flat_map(|section| section.entries).map(|entry| entry.id.name);
        ids.collect::<Vec<_>>().join(" ")
    };
    let mut seen = mixed();
    seen.routes.push(malformed("team/riddle", "spec.servers: missing"));
    let of = |gateway: &str| {
        let mut seen = seen.clone();
        select::only_of_gateway(&mut seen, gateway).then(|| names(&seen))
    };
    assert_eq!(of("edge").unwrap(), "edge riddle search down");
    assert_eq!(of("tools").unwrap(), "tools riddle search files down files open");
    assert_eq!(of("tols"), None);
}

#[test]
fn programs_get_all_of_it() {
    let seen = mixed();
    let told: Value = serde_json::from_str(&json::overview(&sections(&seen), seen.namespace.as_deref())).unwrap();
    assert_eq!(told["namespace"], "team");
    let states = |kind: &str| {
        let told = told[kind].as_array().unwrap().iter();
        told.map(|entry| format!("{} {}", entry["name"].as_str().unwrap(), entry["state"].as_str().unwrap()))
            .collect::<Vec<_>>()
    };
    assert_eq!(states("gateways"), ["edge degraded", "new waiting", "tools good"]);
    assert_eq!(states("routes"), ["lost broken", "search degraded", "files good"]);
    assert_eq!(states("backends"), ["down broken", "old broken", "fresh waiting", "files good", "idle good"]);
    assert_eq!(states("authPolicies"), ["open degraded"]);
    assert_eq!(told["gateways"][0]["status"]["programmedReplicas"], 1);
    assert_eq!(told["backends"][1]["status"], Value::Null);
    let problems = told["problems"].as_array().unwrap();
    let failed_over = problems.iter().find(|problem| problem["reason"] == "FailedOver").unwrap();
    let expected = json!({
        "kind": "MCPRoute", "namespace": "team", "name": "search", "state": "degraded",
        "conditions": ["PrimaryActive"], "status": "False", "reason": "FailedOver",
        "message": "server a is served by priority 1 instead of 0", "at": ["tools", "edge"],
        "since": at(45).to_string(),
    });
    assert_eq!(*failed_over, expected);
}

#[test]
fn what_is_not_wrong_is_not_told() {
    let levels = |lines: &[&str]| {
        let status = json!({"summary": "", "conditions": conditions(1, lines)});
        let seen = Inspected { gateways: vec![gateway("team/a", 1, &status)], ..Inspected::default() };
        let [entry] = &sections(&seen)[0].entries[..] else { panic!() };
        format!("{:?}", entry.state.level)
    };
    for (expected, line) in [
        ("Good", "Ready=True PodsStarting 1: 1 of 2 pods are there"),
        ("Degraded", "Ready=True ImagePullFailed 1: 1 of 2 pods ready"),
        ("Broken", "Ready=False PodsStarting 1: 0 of 2 pods are there"),
        ("Good", "CatalogComplete=Unknown Pending 1: no client was there to list for yet"),
        ("Waiting", "Programmed=Unknown Pending 1: pod a was not looked at yet"),
        ("Degraded", "PrimaryActive=Unknown ChannelUnreachable 1: no route to host"),
        ("Good", "Verified=Unknown NotAttached 1: nobody tried"),
        // Of a newer operator.
        ("Degraded", "Tidy=False Untidy 1: a mess"),
    ] {
        assert_eq!(levels(&[line]), expected, "{line}");
    }
}
