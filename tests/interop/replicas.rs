//! Two replicas of a gateway behind a balancer without affinity, in front of given servers.

use mcp_gateway_operator::ir::generation::Generation;
use mcp_gateway_operator::ir::snapshot::{
    Backend, Endpoint, Isolation, Process, ProcessPool, Server as RouteServer, Target, Transport,
};
use url::Url;

use crate::{
    gateway::Route,
    support::{
        generation::{backend, generation, id, route, server},
        replicas::Replicas,
    },
    wire::Address,
};

/// Processes per stdio server at the most: as many sessions as one client has.
const PROCESSES: ProcessPool = ProcessPool { min: 0, max: 8, idle_timeout_ms: 600_000 };

/// Two running replicas, which end with this value.
pub(crate) struct Replicated(Replicas);

impl Replicated {
    pub(crate) async fn start(routes: &[Route<'_>]) -> Self {
        Self(Replicas::start(2, &mut served(routes)).await)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.0.address())
    }

    /// What the replicas logged so far: for the message of a failure.
    pub(crate) fn log(&self) -> String {
        let lines = self.0.all.iter().flat_map(|replica| {
            let log = replica.gateway.process.log();
            log[log.len().saturating_sub(30)..].to_vec()
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Fails if the balancer has spared a replica: then nothing was proved.
    pub(crate) async fn assert_both_worked(&self) {
        for replica in &self.0.all {
            let connections = r#"mcp_gateway_connections_total{listener="http",outcome="accepted"}"#;
            assert!(replica.gateway.metric(connections).await > 0.0, "a replica was not reached");
        }
        let mut sent_on = 0.0;
        for replica in &self.0.all {
            sent_on += replica.gateway.metric(r#"mcp_gateway_peer_requests_total{outcome="ok"}"#).await;
        }
        assert!(sent_on > 0.0, "no request reached another replica than its session's owner");
    }
}

fn served(routes: &[Route<'_>]) -> Generation {
    let mut generation = generation(&[]);
    generation.snapshot.routes.clear();
    for (number, wanted) in routes.iter().enumerate() {
        let mut served = route(&format!("r{number}"), wanted.path);
        for (index, (prefix, address)) in wanted.servers.iter().enumerate() {
            let name = format!("r{number}-s{index}");
            generation.snapshot.backends.insert(id(&name), reached_at(address));
            let prefix = (!prefix.is_empty()).then(|| (*prefix).to_owned());
            served.servers.push(RouteServer { prefix, required: true, ..server(&name) });
        }
        generation.snapshot.routes.push(served);
    }
    generation
}

fn reached_at(address: &Address) -> Backend {
    let (url, transport) = match address {
        Address::Http(url) => (url, Transport::StreamableHttp),
        Address::Sse(url) => (url, Transport::Sse),
        Address::Stdio(command) => {
            let process = Process {
                command: command.clone(),
                args: Vec::new(),
                env: Vec::new(),
                working_dir: None,
                isolation: Isolation::PerSession,
                pool: PROCESSES,
            };
            return Backend::new(Target::Process(process), None);
        }
    };
    let url = Url::parse(url).unwrap();
    let mut reached = backend(([127, 0, 0, 1], 1).into());
    if let Target::Http { endpoints, path, transport: kind, .. } = &mut reached.target {
        let (host, port) = (url.host_str().unwrap().to_owned(), url.port_or_known_default().unwrap());
        *endpoints = vec![Endpoint { host, port }];
        url.path().clone_into(path);
        *kind = transport;
    }
    reached
}
