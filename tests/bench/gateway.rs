//! The gateway under measurement: its configuration, its process, its start.

use crate::load::{self, Client};
use crate::mcp::{ANSWER_BYTES, Era};
use crate::process::Process;
use crate::{Result, mcp};
use mcp_gateway_operator::ir::generation::{CREDENTIALS_FILE, SNAPSHOT_FILE, encode_credentials, encode_snapshot};
use mcp_gateway_operator::ir::ids::ObjectId;
use mcp_gateway_operator::ir::secrets::{Credentials, PrivateBytes};
use mcp_gateway_operator::ir::snapshot as ir;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::process::Command;

/// A gateway that does not serve after this long never will.
const START_LIMIT: Duration = Duration::from_secs(10);
/// Between two attempts to reach a starting gateway: a hundredth of what it may take.
const START_POLL: Duration = Duration::from_millis(1);
/// The namespace of everything here.
const NAMESPACE: &str = "bench";

/// A running gateway.
pub(crate) struct Gateway {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
    /// How many MCP servers stand behind it.
    pub(crate) upstreams: usize,
    /// From the start of the process to the end of the first answered call, in ms.
    pub(crate) first_call_ms: f64,
    _generation: TempDir,
}

impl Gateway {
    /// Starts `binary` in front of `upstreams`, as a pod would: from a generation on disk. Its logs go to `log`.
    pub(crate) async fn start(binary: &Path, upstreams: &[SocketAddr], log: &Path) -> Result<Self> {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port().await?));
        let generation = tempfile::tempdir()?;
        write_generation(generation.path(), address.port(), upstreams)?;
        let mut command = Command::new(binary);
        command
            .arg("serve")
            .arg("--snapshot-dir")
            .arg(generation.path())
            .arg("--credentials-dir")
            .arg(generation.path());
        command.args(["--bind", "127.0.0.1", "--admin", "127.0.0.1:0"]);
        let start = Instant::now();
        let process = Process::start_logged(command, "mcp-gateway", log)?;
        first_call(address, upstreams.len(), start).await.map_err(|error| format!("{error}; see {}", log.display()))?;
        let first_call_ms = start.elapsed().as_secs_f64() * 1000.0;
        Ok(Self { process, address, upstreams: upstreams.len(), first_call_ms, _generation: generation })
    }
}

/// Prefixes that the gateway puts before the tools of so many upstreams: none where there is only one.
pub(crate) fn prefixes(upstreams: usize) -> Vec<String> {
    if upstreams == 1 { vec![String::new()] } else { (0..upstreams).map(|index| format!("s{index}_")).collect() }
}

async fn first_call(to: SocketAddr, upstreams: usize, start: Instant) -> Result<()> {
    let options = load::Options {
        to,
        clients: 1,
        bytes: ANSWER_BYTES[0],
        era: Era::Legacy,
        prefixes: prefixes(upstreams),
        millis: 0,
        warm_up_millis: 0,
        wait: false,
    };
    loop {
        let called = async {
            let mut client = Client::connect(&options).await?;
            client.call().await?;
            client.leave().await
        };
        match called.await {
            Ok(()) => return Ok(()),
            Err(error) if start.elapsed() > START_LIMIT => {
                return Err(format!("no call was served within {} s: {error}", START_LIMIT.as_secs()).into());
            }
            Err(_) => tokio::time::sleep(START_POLL).await,
        }
    }
}

/// A generation names its ports, so one that is free right now is taken; nothing else here opens listeners meanwhile.
async fn free_port() -> Result<u16> {
    Ok(tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?.local_addr()?.port())
}

fn write_generation(dir: &Path, port: u16, upstreams: &[SocketAddr]) -> Result<()> {
    let write = |file: &str, bytes: Vec<u8>| std::fs::write(PathBuf::from(dir).join(file), bytes);
    write(SNAPSHOT_FILE, encode_snapshot(&snapshot(port, upstreams))?)?;
    // Sessions of a benchmark are worth no secret.
    let keyring = vec![PrivateBytes::new([7; 32])];
    write(CREDENTIALS_FILE, encode_credentials(&Credentials { keyring, ..Credentials::default() })?)?;
    Ok(())
}

fn snapshot(port: u16, upstreams: &[SocketAddr]) -> ir::Snapshot {
    let id = |index: usize| ObjectId::new(NAMESPACE, format!("s{index}"));
    let prefixes = prefixes(upstreams.len());
    let servers = prefixes.iter().enumerate().map(|(index, prefix)| ir::Server {
        name: format!("s{index}"),
        prefix: Some(prefix.clone()).filter(|prefix| !prefix.is_empty()),
        matches: Vec::new(),
        tools: ir::ToolPolicy::default(),
        tiers: vec![ir::Tier { priority: 0, backends: vec![ir::WeightedBackend { backend: id(index), weight: 1 }] }],
        failover: ir::Failover::default(),
        load_balancing: ir::LoadBalancing::default(),
        timeouts: None,
        fallback: None,
        required: true,
    });
    let backends = upstreams.iter().enumerate().map(|(index, address)| (id(index), backend(*address)));
    ir::Snapshot {
        version: ir::SNAPSHOT_VERSION,
        gateway: ObjectId::new(NAMESPACE, "gateway"),
        listeners: vec![ir::Listener { name: "http".into(), port, hostname: None, tls: None }],
        routes: vec![ir::Route {
            id: ObjectId::new(NAMESPACE, "route"),
            listeners: vec!["http".into()],
            hostnames: Vec::new(),
            matches: vec![ir::HttpMatch {
                path: ir::PathMatch::Exact("/mcp".into()),
                headers: Vec::new(),
                query_params: Vec::new(),
            }],
            access: ir::Access::Anonymous,
            servers: servers.collect(),
            timeouts: ir::Timeouts::default(),
        }],
        backends: backends.collect(),
        protocol: ir::Protocol {
            versions: ["2024-11-05", "2025-03-26", "2025-06-18", mcp::LEGACY_VERSION, mcp::MODERN_VERSION]
                .map(str::to_owned)
                .into(),
            legacy_sse: false,
        },
        sessions: ir::Sessions { idle_timeout_ms: 30 * 60 * 1000 },
        timeouts: ir::Timeouts::default(),
        drain: ir::Drain { min_duration_ms: 0, timeout_ms: 1_000 },
        limits: ir::Limits::default(),
        tracing: None,
    }
}

fn backend(address: SocketAddr) -> ir::Backend {
    let target = ir::Target::Http {
        transport: ir::Transport::StreamableHttp,
        endpoints: vec![ir::Endpoint { host: address.ip().to_string(), port: address.port() }],
        path: "/mcp".into(),
        host: None,
        tls: None,
        addresses: ir::AddressPolicy::Any,
        shim: false,
    };
    ir::Backend::new(target, None)
}
