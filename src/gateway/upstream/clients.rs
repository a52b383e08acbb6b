//! The addresses of one backend, each with its connections. They may change while calls go on.

use super::super::error::{GatewayError, Kind};
use super::dial::{Dialer, Network};
use super::endpoint::{AuthHeader, EndpointClient};
use super::pool::{Bound, Pool};
use super::process::LocalProcess;
use super::tls::Tls;
use crate::ir::ids::ObjectId;
use crate::ir::secrets::Credentials;
use crate::ir::snapshot::{AddressPolicy, Backend, Endpoint, Target};
use arc_swap::{ArcSwap, Guard};
use http::{HeaderValue, Uri};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use url::Url;

/// Addresses of one backend that are used at most: each keeps connections, and no MCP server has as many pods.
const MAX_ADDRESSES: usize = 1024;

/// The addresses of one backend.
pub(super) struct Clients {
    /// Read without a lock by every call.
    current: ArcSwap<Vec<Arc<EndpointClient>>>,
    /// How other addresses are reached; `None` for a process, which has none.
    reach: Option<Reach>,
}

/// What is the same for all addresses of a backend.
struct Reach {
    backend: ObjectId,
    /// The addresses in the snapshot.
    own: Vec<Endpoint>,
    path: String,
    /// Value of the `Host` header; absent: the address itself.
    host: Option<String>,
    tls: Option<Tls>,
    auth: Option<AuthHeader>,
    policy: AddressPolicy,
    bound: Arc<Bound>,
}

impl Clients {
    /// The addresses that the snapshot names.
    pub(super) fn of_server(
        id: &ObjectId,
        backend: &Backend,
        credentials: &Credentials,
        bound: &Arc<Bound>,
    ) -> Result<Self, GatewayError> {
        let auth = backend.auth.as_ref().map(|auth| AuthHeader::new(id, auth, credentials)).transpose()?;
        let Target::Http { endpoints, path, host, tls, addresses, .. } = &backend.target else {
            return Ok(Self { current: ArcSwap::default(), reach: None });
        };
        let reach = Reach {
            backend: id.clone(),
            own: endpoints.clone(),
            path: path.clone(),
            host: host.clone(),
            tls: tls.as_ref().map(|tls| Tls::new(id, tls, credentials)).transpose()?,
            auth,
            policy: *addresses,
            bound: Arc::clone(bound),
        };
        let own = reach.own.iter().map(|endpoint| reach.client(endpoint, reach.own.len()));
        let current = ArcSwap::from_pointee(own.collect::<Result<_, _>>()?);
        Ok(Self { current, reach: Some(reach) })
    }

    /// The one address of a local process.
    pub(super) fn of_process(
        id: &ObjectId,
        process: &Arc<LocalProcess>,
        bound: &Arc<Bound>,
    ) -> Result<Self, GatewayError> {
        let pool = Pool::new(id.clone(), Dialer::Process(Arc::clone(process)), Arc::clone(bound), 1);
        let client = client(id, pool, "http", "localhost", "/mcp", None)?;
        Ok(Self { current: ArcSwap::from_pointee(vec![client]), reach: None })
    }

    /// The addresses as they are.
    pub(super) fn current(&self) -> Guard<Arc<Vec<Arc<EndpointClient>>>> {
        self.current.load()
    }

    /// What is at this address, if that is one of these, or may be behind a name among them.
    pub(super) fn find(&self, address: &Endpoint) -> Option<Arc<EndpointClient>> {
        let known = self.current.load();
        if let Some(client) = known.iter().find(|client| client.address() == Some(address)) {
            return Some(Arc::clone(client));
        }
        let server = SocketAddr::new(address.host.parse().ok()?, address.port);
        known.iter().find_map(|client| client.at(server))
    }

    /// Uses these addresses from now on, and those of the snapshot when there are none. What stays keeps its connections; what
    /// goes closes them as they become idle. Whether anything changed. One at a time may call this.
    pub(super) fn set(&self, told: Option<&BTreeSet<Endpoint>>) -> bool {
        let Some(reach) = &self.reach else { return false };
        let wanted: Vec<&Endpoint> = match told.filter(|told| !told.is_empty()) {
            Some(told) => told.iter().take(MAX_ADDRESSES).collect(),
            None => reach.own.iter().collect(),
        };
        let before = self.current.load_full();
        if before.iter().map(|client| client.address()).eq(wanted.iter().map(|endpoint| Some(*endpoint))) {
            return false;
        }
        let client = |endpoint: &&Endpoint| {
            let known = before.iter().find(|client| client.address() == Some(*endpoint));
            let made = known.map_or_else(|| reach.client(endpoint, wanted.len()), |known| Ok(Arc::clone(known)));
            // It may still be one of several.
            made.inspect_err(|error| tracing::warn!(%error, host = endpoint.host, "an address cannot be used")).ok()
        };
        let after: Vec<Arc<EndpointClient>> = wanted.iter().filter_map(client).collect();
        self.current.store(Arc::new(after.clone()));
        let stays = |client: &Arc<EndpointClient>| after.iter().any(|kept| Arc::ptr_eq(kept, client));
        before.iter().filter(|client| !stays(client)).for_each(|client| client.pool.shut());
        true
    }
}

impl Reach {
    fn client(&self, endpoint: &Endpoint, addresses: usize) -> Result<Arc<EndpointClient>, GatewayError> {
        let Self { backend, path, tls, auth, policy, bound, .. } = self;
        let scheme = if tls.is_some() { "https" } else { "http" };
        // A server is asked for by its own name, whichever of its pods is asked: some check it.
        let name = if self.own.contains(endpoint) { endpoint } else { self.own.first().unwrap_or(endpoint) };
        let authority = self.host.clone().unwrap_or_else(|| authority(name, scheme));
        let network = Network {
            backend: backend.clone(),
            endpoint: endpoint.clone(),
            name: name.host.clone(),
            policy: *policy,
            tls: tls.clone(),
        };
        let dialer = Dialer::Network(Box::new(network));
        let pool = Pool::new(backend.clone(), dialer, Arc::clone(bound), addresses);
        client(backend, pool, scheme, &authority, path, auth.as_ref())
    }
}

fn client(
    id: &ObjectId,
    pool: Arc<Pool>,
    scheme: &str,
    authority: &str,
    path: &str,
    auth: Option<&AuthHeader>,
) -> Result<Arc<EndpointClient>, GatewayError> {
    let invalid = |what: &str| GatewayError::new(Kind::Internal, format!("backend {id}: {what}"));
    let base = Url::parse(&format!("{scheme}://{authority}{path}")).map_err(|_| invalid("its address is not a URL"))?;
    let uri: Uri = path.parse().map_err(|_| invalid("its path cannot be requested"))?;
    let host = HeaderValue::from_str(authority).map_err(|_| invalid("its host cannot be requested"))?;
    Ok(Arc::new(EndpointClient::new(pool, base, &uri, &host, auth)))
}

/// The `Host` of an endpoint; the scheme's own port is not named.
fn authority(endpoint: &Endpoint, scheme: &str) -> String {
    let Endpoint { host, port } = endpoint;
    let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
    match (scheme, port) {
        ("http", 80) | ("https", 443) => host,
        _ => format!("{host}:{port}"),
    }
}
