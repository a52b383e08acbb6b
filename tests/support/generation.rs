//! Generations, piece by piece.

use mcp_gateway_operator::ir::generation::Generation;
use mcp_gateway_operator::ir::ids::{ObjectId, SecretKey};
use mcp_gateway_operator::ir::secrets::{Credentials, PrivateBytes};
use mcp_gateway_operator::ir::snapshot::{
    Access, AddressPolicy, Backend, CertificateRef, Drain, Endpoint, Failover, HttpMatch, Limits, Listener,
    ListenerTls, LoadBalancing, PathMatch, Protocol, Route, SNAPSHOT_VERSION, Server, Sessions, Snapshot, Target, Tier,
    Timeouts, ToolPolicy, Transport, WeightedBackend,
};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// The namespace of everything in tests.
pub const NAMESPACE: &str = "team";

/// A generation with one listener `http` on a free port, and a route at `/mcp` for every version, to these servers by name.
/// Tools keep their names with one server, and get `<name>_` before them with several.
pub fn generation(servers: &[(&str, SocketAddr)]) -> Generation {
    let mut snapshot = Snapshot {
        version: SNAPSHOT_VERSION,
        gateway: id("gateway"),
        listeners: vec![listener("http")],
        routes: vec![route("tools", "/mcp")],
        backends: BTreeMap::new(),
        protocol: Protocol {
            versions: ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28"].map(str::to_owned).into(),
            legacy_sse: true,
        },
        sessions: Sessions { idle_timeout_ms: 30 * 60 * 1000 },
        timeouts: Timeouts::default(),
        drain: Drain { min_duration_ms: 0, timeout_ms: 10_000 },
        limits: Limits::default(),
        tracing: None,
    };
    for (name, address) in servers {
        let prefix = (servers.len() > 1).then(|| format!("{name}_"));
        snapshot.routes[0].servers.push(Server { prefix, ..server(name) });
        snapshot.backends.insert(id(name), backend(*address));
    }
    let credentials = Credentials { keyring: vec![PrivateBytes::new([7; 32])], ..Credentials::default() };
    Generation { snapshot, credentials }
}

/// An object of the tests' namespace.
pub fn id(name: &str) -> ObjectId {
    ObjectId::new(NAMESPACE, name)
}

/// A plain listener on a free port.
pub fn listener(name: &str) -> Listener {
    Listener { name: name.to_owned(), port: 0, hostname: None, tls: None }
}

/// An open route of the listener `http` at an exact path, without servers yet.
pub fn route(name: &str, path: &str) -> Route {
    Route {
        id: id(name),
        listeners: vec!["http".to_owned()],
        hostnames: Vec::new(),
        matches: vec![HttpMatch {
            path: PathMatch::Exact(path.to_owned()),
            headers: Vec::new(),
            query_params: Vec::new(),
        }],
        access: Access::Anonymous,
        servers: Vec::new(),
        timeouts: Timeouts::default(),
    }
}

/// A server with the one backend of its name.
pub fn server(name: &str) -> Server {
    Server {
        name: name.to_owned(),
        prefix: None,
        matches: Vec::new(),
        tools: ToolPolicy::default(),
        tiers: vec![tier(0, &[(name, 1)])],
        failover: Failover::default(),
        load_balancing: LoadBalancing::default(),
        timeouts: None,
        fallback: None,
        required: false,
    }
}

/// A tier of backends with their weights.
pub fn tier(priority: u32, backends: &[(&str, u32)]) -> Tier {
    let backends = backends.iter().map(|(name, weight)| WeightedBackend { backend: id(name), weight: *weight });
    Tier { priority, backends: backends.collect() }
}

/// A backend that speaks Streamable HTTP at `/mcp`.
pub fn backend(address: SocketAddr) -> Backend {
    let target = Target::Http {
        transport: Transport::StreamableHttp,
        endpoints: vec![Endpoint { host: address.ip().to_string(), port: address.port() }],
        path: "/mcp".to_owned(),
        host: None,
        tls: None,
        addresses: AddressPolicy::Any,
        shim: false,
    };
    Backend::new(target, None)
}

/// A certificate for these hosts that its client must trust, put among the credentials under a name.
pub fn issue(credentials: &mut Credentials, name: &str, hosts: &[&str]) -> Vec<u8> {
    let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let issued = rcgen::generate_simple_self_signed(hosts).unwrap();
    let reference = certificate(name);
    credentials.values.insert(reference.chain, PrivateBytes::new(issued.cert.pem()));
    credentials.values.insert(reference.key, PrivateBytes::new(issued.signing_key.serialize_pem()));
    issued.cert.der().to_vec()
}

/// Where [`issue`] puts a certificate.
pub fn certificate(name: &str) -> CertificateRef {
    CertificateRef {
        chain: SecretKey::new(NAMESPACE, name, "tls.crt"),
        key: SecretKey::new(NAMESPACE, name, "tls.key"),
    }
}

/// Makes a listener an HTTPS one.
pub fn with_tls(listener: Listener, certificates: &[&str]) -> Listener {
    let certificates = certificates.iter().map(|name| certificate(name)).collect();
    Listener { tls: Some(ListenerTls { certificates }), ..listener }
}
