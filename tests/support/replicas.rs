//! Several replicas of one gateway, as processes that know each other, with a balancer in front of them.

use super::balancer::Balancer;
use super::process::Gateway;
use mcp_gateway_operator::ir::channel::SERVER_NAME;
use mcp_gateway_operator::ir::generation::Generation;
use mcp_gateway_operator::ir::secrets::{Channels, PrivateBytes};
use rustix::process::Signal;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU8, Ordering};

/// What secures the channels of a gateway under test.
pub fn channels() -> Channels {
    let issued = rcgen::generate_simple_self_signed(vec![SERVER_NAME.to_owned()]).unwrap();
    Channels {
        certificate: PrivateBytes::new(issued.cert.pem()),
        private_key: PrivateBytes::new(issued.signing_key.serialize_pem()),
        admin_token: PrivateBytes::new(*b"the operator's token"),
        peer_token: PrivateBytes::new(*b"a replica's token"),
    }
}

/// A peer port of its own: the loopback has sixteen million addresses, and nobody else listens on this one.
pub fn peer_address() -> SocketAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let process = std::process::id();
    let part = |number: u32| u8::try_from(number % 250 + 2).unwrap();
    let address = Ipv4Addr::new(127, part(process / 250), part(process), NEXT.fetch_add(1, Ordering::Relaxed));
    SocketAddr::new(address.into(), 9903)
}

/// A replica, and where the others find it.
pub struct Replica {
    pub gateway: Gateway,
    /// Its listener `http`.
    pub address: SocketAddr,
    pub peer: SocketAddr,
}

impl Replica {
    /// Starts a replica that knows the others by their addresses.
    pub async fn start(generation: &Generation, peer: SocketAddr, all: &[SocketAddr]) -> Self {
        let (own, all) = (peer.to_string(), all.iter().map(ToString::to_string).collect::<Vec<_>>().join(","));
        let arguments = ["--peer", &own, "--advertise", &own, "--peers", &all];
        let gateway = Gateway::serve_with(generation, &arguments).await;
        let address = gateway.address("http").await;
        Self { gateway, address, peer }
    }

    /// Ends it without a word.
    pub async fn kill(&mut self) {
        self.gateway.process.signal(Signal::KILL);
        self.gateway.process.ended().await;
    }

    /// The value of a metric without labels.
    pub async fn count(&self, metric: &str) -> f64 {
        self.gateway.metric(metric).await
    }
}

/// Replicas behind a balancer.
pub struct Replicas {
    pub all: Vec<Replica>,
    pub balancer: Balancer,
}

impl Replicas {
    /// Starts so many replicas of one generation, which gets its channels secured, and waits until all know all.
    pub async fn start(count: usize, generation: &mut Generation) -> Self {
        generation.credentials.channels.get_or_insert_with(channels);
        let peers: Vec<SocketAddr> = (0..count).map(|_| peer_address()).collect();
        let mut all = Vec::new();
        for peer in &peers {
            all.push(Replica::start(generation, *peer, &peers).await);
        }
        for replica in &all {
            super::within("the replicas know each other", async {
                while (replica.count("mcp_gateway_peers").await - (count as f64 - 1.0)).abs() > 0.1 {
                    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                }
            })
            .await;
        }
        let addresses: Vec<_> = all.iter().map(|replica| replica.address).collect();
        Self { all, balancer: Balancer::start(&addresses).await }
    }

    /// Where clients go.
    pub fn address(&self) -> SocketAddr {
        self.balancer.address
    }
}
