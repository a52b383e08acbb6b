//! How this replica and the others find each other.

use super::{Peers, server};
use crate::gateway::state::Gateway;
use crate::ir::secrets::Channels;
use crate::ir::snapshot::Endpoint;
use crate::net::socket::{self, Bind};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::net::lookup_host;

/// How often the names of peers are looked up again: about as long as a headless Service takes to follow its pods.
const LOOK_UP_EVERY: Duration = Duration::from_secs(5);

/// Addresses of one name that are taken: far more replicas than a gateway has.
const MAX_ADDRESSES: usize = 256;

/// Where this replica is found, and where it looks for the others.
#[derive(Clone, Debug)]
pub struct Peering {
    /// Where it listens for the others.
    pub bind: SocketAddr,
    /// What the others reach that by.
    pub advertise: SocketAddr,
    /// Where the others are: addresses, or names that stand for several, until they are [told](Gateway::set_peers).
    pub peers: Vec<PeerName>,
}

/// `host:port`, as it is looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerName(String);

impl FromStr for PeerName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (host, port) = text.rsplit_once(':').ok_or("a peer is host:port")?;
        if host.is_empty() || port.parse::<u16>().is_err() {
            return Err("a peer is host:port");
        }
        Ok(Self(text.to_owned()))
    }
}

/// `IP` or `IP:port`, as others reach this replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advertise {
    ip: IpAddr,
    port: Option<u16>,
}

impl Advertise {
    /// The address with the port of the peer port, unless it says another one.
    pub fn with_port(self, port: u16) -> SocketAddr {
        SocketAddr::new(self.ip, self.port.unwrap_or(port))
    }
}

impl FromStr for Advertise {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(ip) = text.parse() {
            return Ok(Self { ip, port: None });
        }
        let address: SocketAddr = text.parse().map_err(|_| "not an IP address, nor one with a port")?;
        Ok(Self { ip: address.ip(), port: Some(address.port()) })
    }
}

/// Why a replica cannot join the others.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The port cannot be had.
    #[error("the peer port {address} cannot be had: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The channel cannot be secured.
    #[error(transparent)]
    Channel(#[from] super::GatewayError),
}

/// What has been made of a [`Peering`].
pub(in crate::gateway) struct Joined {
    pub(in crate::gateway) peers: Arc<Peers>,
    bind: SocketAddr,
    /// The task that accepts the others, once there is what secures the channel.
    listening: Mutex<bool>,
    /// Whether somebody tells who the others are, so that names count no more.
    told: AtomicBool,
}

impl Joined {
    /// Opens the peer port if `channels` can secure it, and looks for the others from now on.
    pub(in crate::gateway) fn new(
        peering: Peering,
        channels: Option<&Channels>,
        gateway: &Arc<Gateway>,
    ) -> Result<Arc<Self>, JoinError> {
        let Peering { bind, advertise, peers: names } = peering;
        let peers = Arc::new(Peers::new(advertise, Arc::clone(&gateway.metrics))?);
        let joined = Arc::new(Self { peers, bind, listening: Mutex::new(false), told: AtomicBool::new(false) });
        joined.secure(channels, gateway)?;
        if !names.is_empty() {
            tokio::spawn(look_up(Arc::downgrade(&joined), names));
        }
        Ok(joined)
    }

    /// Takes what secures the channel from a generation, and opens the port when there is something for the first time.
    pub(in crate::gateway) fn secure(
        &self,
        channels: Option<&Channels>,
        gateway: &Arc<Gateway>,
    ) -> Result<(), JoinError> {
        let mut listening = self.listening.lock();
        if channels.is_some() && !*listening {
            let bind_failed = |source| JoinError::Bind { address: self.bind, source };
            let socket = socket::listen(Bind::from(self.bind.ip()), self.bind.port()).map_err(bind_failed)?;
            self.peers.secure(channels)?;
            if let Ok(address) = socket.local_addr() {
                tracing::info!(listener = "peer", %address, tls = true, owner = %self.peers.me(), "listening");
            }
            tokio::spawn(server::serve(socket, Arc::downgrade(gateway), Arc::clone(&self.peers)));
            *listening = true;
        } else {
            self.peers.secure(channels)?;
        }
        Ok(())
    }

    /// These are the others; names are not looked up any more. Only addresses count: whoever tells has them.
    pub(in crate::gateway) fn tell(&self, endpoints: &BTreeSet<Endpoint>) {
        self.told.store(true, Ordering::Relaxed);
        let address = |endpoint: &Endpoint| Some(SocketAddr::new(endpoint.host.parse().ok()?, endpoint.port));
        self.peers.list(endpoints.iter().filter_map(address).collect());
    }
}

/// Keeps looking the others' names up. A name that cannot be resolved keeps what it stood for.
async fn look_up(joined: Weak<Joined>, names: Vec<PeerName>) {
    let mut known: Vec<Vec<SocketAddr>> = vec![Vec::new(); names.len()];
    loop {
        for (name, known) in names.iter().zip(&mut known) {
            match lookup_host(&name.0).await {
                Ok(found) => *known = found.take(MAX_ADDRESSES).collect(),
                Err(error) => tracing::debug!(name = name.0, %error, "a peer's name cannot be resolved"),
            }
        }
        let Some(joined) = joined.upgrade() else { return };
        if joined.told.load(Ordering::Relaxed) {
            return;
        }
        joined.peers.list(known.iter().flatten().copied().collect());
        drop(joined);
        tokio::time::sleep(LOOK_UP_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_names_are_read_as_people_write_them() {
        let advertised = |text: &str| text.parse::<Advertise>().unwrap().with_port(9903).to_string();
        assert_eq!(advertised("10.0.0.7"), "10.0.0.7:9903");
        assert_eq!(advertised("10.0.0.7:1234"), "10.0.0.7:1234");
        assert_eq!(advertised("fd00::7"), "[fd00::7]:9903");
        assert_eq!(advertised("[fd00::7]:1234"), "[fd00::7]:1234");
        assert!("pod-0".parse::<Advertise>().is_err());
        for good in ["peers.team.svc:9903", "10.0.0.7:9903", "[fd00::7]:9903"] {
            assert!(good.parse::<PeerName>().is_ok(), "{good}");
        }
        for bad in ["peers.team.svc", ":9903", "peers:http", ""] {
            assert!(bad.parse::<PeerName>().is_err(), "{bad}");
        }
    }
}
