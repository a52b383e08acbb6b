//! A request path that answers everything with 200, for tests of what surrounds it.

use super::runtime::{Engine, EngineReport};
use crate::gateway::downstream::body::ResponseBody;
use crate::gateway::error::{GatewayError, Kind};
use crate::gateway::listener::{ConnectionInfo, Handler};
use crate::gateway::metrics::Metrics;
use crate::gateway::peers::peering::{JoinError, Peering};
use crate::ir::channel::{BackendReport, SERVER_NAME};
use crate::ir::generation::Generation;
use crate::ir::ids::ObjectId;
use crate::ir::secrets::{Channels, Credentials, PrivateBytes};
use crate::ir::snapshot::{
    Drain, Endpoint, Limits, Listener, Protocol, SNAPSHOT_VERSION, Sessions, Snapshot, Timeouts,
};
use bytes::Bytes;
use hyper::body::Incoming;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Remembers what it was told. It refuses generations that have a listener named `refused`.
pub(crate) struct Fake {
    pub(crate) calls: Mutex<Vec<&'static str>>,
    /// How many addresses each backend has.
    known: Mutex<EngineReport>,
}

impl Handler for Fake {
    async fn handle(self: Arc<Self>, _: http::Request<Incoming>, _: &ConnectionInfo) -> http::Response<ResponseBody> {
        http::Response::new(ResponseBody::Full(Bytes::from_static(b"ok")))
    }
}

impl Engine for Fake {
    fn start(generation: &Generation, metrics: Arc<Metrics>) -> Result<Arc<Self>, GatewayError> {
        let fake = Self { calls: Mutex::default(), known: Mutex::default() };
        metrics.generation_applied(&fake.apply(generation)?);
        Ok(Arc::new(fake))
    }

    fn apply(&self, generation: &Generation) -> Result<String, GatewayError> {
        if generation.snapshot.listeners.iter().any(|listener| listener.name == "refused") {
            return Err(GatewayError::new(Kind::Internal, "no such backend"));
        }
        Ok(generation.hash())
    }

    fn join(&self, _: Peering) -> Result<(), JoinError> {
        Ok(())
    }

    fn set_peers(&self, _: &BTreeSet<Endpoint>) {}

    fn set_endpoints(&self, backends: &BTreeMap<ObjectId, BTreeSet<Endpoint>>) {
        self.known.lock().backends = backends.iter().map(|(id, addresses)| (id.clone(), known(addresses))).collect();
    }

    fn report(&self) -> EngineReport {
        let known = self.known.lock();
        EngineReport { backends: known.backends.clone(), routes: BTreeMap::new() }
    }

    fn status(&self) -> serde_json::Value {
        serde_json::json!([])
    }

    async fn drain(&self) {
        self.calls.lock().push("drain");
    }

    fn close_streams(&self) {
        self.calls.lock().push("close_streams");
    }

    async fn shutdown(&self) {
        self.calls.lock().push("shutdown");
    }
}

/// What secures the channels of a gateway.
pub(crate) fn channels(token: &str) -> Channels {
    let issued = rcgen::generate_simple_self_signed(vec![SERVER_NAME.to_owned()]).unwrap();
    Channels {
        certificate: PrivateBytes::new(issued.cert.pem()),
        private_key: PrivateBytes::new(issued.signing_key.serialize_pem()),
        admin_token: PrivateBytes::new(token.as_bytes()),
        peer_token: PrivateBytes::new(*b"peer"),
    }
}

fn known(addresses: &BTreeSet<Endpoint>) -> BackendReport {
    BackendReport { endpoints: u32::try_from(addresses.len()).unwrap(), ..BackendReport::default() }
}

/// A generation with these listeners, each on a free port.
pub(crate) fn generation(listeners: &[&str]) -> Generation {
    let listener = |name: &&str| Listener { name: (*name).to_owned(), port: 0, hostname: None, tls: None };
    let snapshot = Snapshot {
        version: SNAPSHOT_VERSION,
        gateway: ObjectId::new("team", "gw"),
        listeners: listeners.iter().map(listener).collect(),
        routes: Vec::new(),
        backends: BTreeMap::new(),
        protocol: Protocol { versions: vec!["2025-11-25".to_owned()], legacy_sse: true },
        sessions: Sessions { idle_timeout_ms: 1000 },
        timeouts: Timeouts::default(),
        drain: Drain { min_duration_ms: 0, timeout_ms: 1000 },
        limits: Limits::default(),
        tracing: None,
    };
    Generation {
        snapshot,
        credentials: Credentials { keyring: vec![PrivateBytes::new([7; 32])], ..Credentials::default() },
    }
}

/// One GET, answered to the end of the connection.
pub(crate) async fn get(address: SocketAddr, path: &str) -> io::Result<String> {
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}
