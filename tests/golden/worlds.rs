//! Worlds that nobody thought of: few names and few values, most of them good, so that references hit, miss and
//! collide, and that enough is served to be looked at.

use mcp_gateway_operator::api::API_VERSION;
use mcp_gateway_operator::ir::ids::ObjectId;
use mcp_gateway_operator::translate::Inputs;
use mcp_gateway_operator::translate::facts::{Cluster, Laptop, Mode};
use mcp_gateway_operator::translate::manifests::{Manifest, Object};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A world, with its objects in some order.
#[derive(Clone, Debug)]
pub(crate) struct World {
    mode: Mode,
    objects: Vec<Value>,
    unreadable_policies: BTreeMap<ObjectId, String>,
}

impl World {
    pub(crate) fn inputs(&self) -> Inputs {
        let mut inputs = Inputs {
            mode: self.mode.clone(),
            unreadable_policies: self.unreadable_policies.clone(),
            ..Inputs::default()
        };
        for object in &self.objects {
            inputs.insert(manifest(object)).unwrap();
        }
        inputs
    }

    /// The same world in any other order.
    pub(crate) fn shuffled(&self) -> impl Strategy<Value = Self> + use<> {
        let Self { mode, objects, unreadable_policies } = self.clone();
        let world =
            move |objects| Self { mode: mode.clone(), objects, unreadable_policies: unreadable_policies.clone() };
        Just(objects).prop_shuffle().prop_map(world)
    }

    /// The same world, and in it a newcomer that wants what the others may have.
    pub(crate) fn with_a_younger_route(&self) -> Self {
        let spec = json!({
            "parentRefs": [{ "name": "g0" }, { "name": "g1" }],
            "matches": [{ "path": { "value": "/mcp" } }, { "path": { "value": "/a" } }],
            "servers": [{ "name": "s", "backendRefs": [{ "name": "b0" }] }],
        });
        let mut world = self.clone();
        world.objects.push(object("MCPRoute", "young", "a", "2027-01-01T00:00:00Z", &spec));
        world
    }
}

fn manifest(object: &Value) -> Manifest {
    // Not by the reader of manifests: thousands of objects are made here, and reading strictly takes its time.
    let read = match object["kind"].as_str() {
        Some("MCPGateway") => serde_json::from_value(object.clone()).map(Box::new).map(Object::Gateway),
        Some("MCPBackend") => serde_json::from_value(object.clone()).map(Box::new).map(Object::Backend),
        Some("MCPRoute") => serde_json::from_value(object.clone()).map(Box::new).map(Object::Route),
        _ => serde_json::from_value(object.clone()).map(Box::new).map(Object::AuthPolicy),
    };
    Manifest { file: "world".to_owned(), line: 1, object: read.unwrap() }
}

fn object(kind: &str, name: &str, namespace: &str, created: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": API_VERSION,
        "kind": kind,
        "metadata": { "name": name, "namespace": namespace, "creationTimestamp": created },
        "spec": spec,
    })
}

/// Any world.
pub(crate) fn world() -> impl Strategy<Value = World> {
    let good_gateway = json!({ "listeners": [{ "name": "l0", "port": 8080, "protocol": "HTTP" }] });
    let good_backend = json!({ "remote": { "url": "https://example.com/mcp" } });
    let good_route = json!({
        "parentRefs": [{ "name": "g0" }],
        "servers": [{ "name": "s", "backendRefs": [{ "name": "b0" }] }],
    });
    let good_policy = json!({ "targetRefs": [{ "kind": "MCPGateway", "name": "g0" }], "anonymous": "Allow" });
    let objects = (
        some("MCPGateway", "g", gateway().boxed(), good_gateway),
        some("MCPBackend", "b", backend().boxed(), good_backend),
        some("MCPRoute", "r", route().boxed(), good_route),
        some("MCPAuthPolicy", "p", policy().boxed(), good_policy),
    )
        .prop_map(|(gateways, backends, routes, policies)| [gateways, backends, routes, policies].concat());
    let unreadable = prop_oneof![
        9 => Just(BTreeMap::new()),
        1 => namespace().prop_map(|namespace| BTreeMap::from([(ObjectId::new(namespace, "broken"), "why".to_owned())])),
    ];
    (mode(), objects, unreadable).prop_map(|(mode, objects, unreadable_policies)| World {
        mode,
        objects,
        unreadable_policies,
    })
}

fn mode() -> impl Strategy<Value = Mode> {
    prop_oneof![
        4 => proptest::bool::weighted(0.2).prop_map(|namespaced| Mode::Cluster(Cluster { namespaced, ..Cluster::default() })),
        1 => any::<bool>().prop_map(|bound_to_loopback| Mode::Laptop(Laptop { bound_to_loopback, ..Laptop::default() })),
    ]
}

/// Up to six objects of a kind, with names of their own; the first of namespace `a` is mostly a good one.
fn some(
    kind: &'static str,
    letter: &'static str,
    spec: BoxedStrategy<Value>,
    good: Value,
) -> impl Strategy<Value = Vec<Value>> {
    let created = select(vec!["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"]);
    let others = btree_map((number(), namespace()), (created, spec), 1..6);
    (others, proptest::bool::weighted(0.7)).prop_map(move |(mut objects, has_good)| {
        if has_good {
            objects.insert((0, "a"), ("2026-01-01T00:00:00Z", good.clone()));
        }
        let made = objects.into_iter().map(|((number, namespace), (created, spec))| {
            object(kind, &format!("{letter}{number}"), namespace, created, &spec)
        });
        made.collect()
    })
}

fn namespace() -> impl Strategy<Value = &'static str> {
    prop_oneof![4 => Just("a"), 1 => Just("b")]
}

fn number() -> impl Strategy<Value = u8> {
    prop_oneof![4 => Just(0_u8), 2 => Just(1), 1 => Just(2)]
}

/// `null` for no namespace; it is left out.
fn reference(letter: &'static str) -> impl Strategy<Value = Value> {
    (number(), prop_oneof![4 => Just(None), 1 => namespace().prop_map(Some)]).prop_map(move |(number, namespace)| {
        without_nulls(json!({ "name": format!("{letter}{number}"), "namespace": namespace }))
    })
}

fn without_nulls(mut object: Value) -> Value {
    if let Some(fields) = object.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    object
}

fn allowed_routes() -> impl Strategy<Value = Value> {
    select(vec![
        json!({ "namespaces": { "from": "Same" } }),
        json!({ "namespaces": { "from": "All" } }),
        json!({ "namespaces": { "from": "Selector", "selector": { "matchLabels": { "kubernetes.io/metadata.name": "b" } } } }),
    ])
}

fn host() -> impl Strategy<Value = &'static str> {
    select(vec!["a.example.com", "b.example.com", "*.example.com", "*.com", "bad..host"])
}

fn gateway() -> impl Strategy<Value = Value> {
    let listener = (
        number(),
        8080..8082_u16,
        prop_oneof![6 => Just("HTTP"), 1 => Just("HTTPS")],
        proptest::option::weighted(0.3, host()),
        allowed_routes(),
    );
    vec(listener, 1..4).prop_map(|listeners| {
        let listener = |(name, port, protocol, hostname, allowed_routes)| {
            without_nulls(json!({
                "name": format!("l{name}"),
                "port": port,
                "protocol": protocol,
                "hostname": hostname,
                "tls": (protocol == "HTTPS").then(|| json!({ "certificateRefs": [{ "name": "missing" }] })),
                "allowedRoutes": allowed_routes,
            }))
        };
        json!({ "listeners": listeners.into_iter().map(listener).collect::<Vec<_>>() })
    })
}

fn backend() -> impl Strategy<Value = Value> {
    let variant = select(vec![
        json!({ "stdio": { "image": "i", "command": ["c"] } }),
        json!({ "http": { "image": "i", "port": 80 } }),
        json!({ "service": { "name": "s", "port": 80 } }),
        json!({ "remote": { "url": "https://example.com/mcp" } }),
        json!({ "remote": { "url": "https://example.org/sse", "transport": "SSE" } }),
        json!({ "remote": { "url": "nonsense" } }),
        json!({}),
    ]);
    (variant, allowed_routes()).prop_map(|(mut spec, allowed_routes)| {
        spec["allowedRoutes"] = allowed_routes;
        spec
    })
}

fn route() -> impl Strategy<Value = Value> {
    let parent = (reference("g"), proptest::option::weighted(0.2, number())).prop_map(|(mut parent, section)| {
        parent["sectionName"] = json!(section.map(|number| format!("l{number}")));
        without_nulls(parent)
    });
    let path = (select(vec!["Exact", "PathPrefix"]), select(vec!["/mcp", "/mcp/", "/a", "/b", "/c", "/a/../b"]))
        .prop_map(|(kind, value)| json!({ "path": { "type": kind, "value": value } }));
    let backend_ref = (reference("b"), 0..2_u32, 0..4_u32).prop_map(|(mut reference, priority, weight)| {
        reference["priority"] = json!(priority);
        reference["weight"] = json!(weight);
        reference
    });
    let server = (0..8_u8, select(vec!["", "x_", "y_", "not a name"]), vec(backend_ref, 1..4), proptest::bool::weighted(0.2)).prop_map(
        |(name, prefix, backend_refs, required)| {
            json!({ "name": format!("s{name}"), "prefix": prefix, "backendRefs": backend_refs, "required": required })
        },
    );
    (vec(parent, 1..3), prop_oneof![3 => Just(Vec::new()), 1 => vec(host(), 1..3)], vec(path, 1..3), vec(server, 1..3)).prop_map(
        |(parents, hostnames, matches, servers)| {
            json!({ "parentRefs": parents, "hostnames": hostnames, "matches": matches, "servers": servers })
        },
    )
}

fn policy() -> impl Strategy<Value = Value> {
    let target = prop_oneof![
        number().prop_map(|number| json!({ "kind": "MCPGateway", "name": format!("g{number}") })),
        number().prop_map(|number| json!({ "kind": "MCPRoute", "name": format!("r{number}") })),
    ];
    (vec(target, 1..3), prop_oneof![4 => Just("Allow"), 1 => Just("Deny")], any::<bool>()).prop_map(|(targets, anonymous, may_override)| {
        json!({ "targetRefs": targets, "anonymous": anonymous, "allowRouteOverride": may_override })
    })
}
