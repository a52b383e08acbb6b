//! The orchestrator: starts everything, lets the cases take turns, and takes medians over the rounds.
//!
//! Turns matter on a shared machine: whatever slows it down for a while slows every case of that round alike.

use crate::bars::{self, Starts};
use crate::gateway::{self, Gateway};
use crate::load::Measured;
use crate::mcp::{ANSWER_BYTES, Era};
use crate::process::Process;
use crate::report::{self, Row};
use crate::{Result, default_out};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// MCP servers behind the gateway with several.
const FAN_OUT: usize = 3;
/// An idle gateway is looked at after this long without a call.
const IDLE: Duration = Duration::from_secs(1);

/// How to measure.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// The gateway's binary, a release build
    #[arg(long, default_value = "target/release/mcp-gateway")]
    gateway: PathBuf,
    /// Directory for summary.json and the gateways' logs
    #[arg(long, default_value_os_t = default_out())]
    out: PathBuf,
    /// Rounds to take the median of
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long each case is measured in each round, in ms
    #[arg(long, default_value_t = 2000)]
    millis: u64,
    /// Numbers of clients
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64])]
    clients: Vec<usize>,
    /// Eras that the clients speak
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Era::Legacy, Era::Modern])]
    eras: Vec<Era>,
    /// Measure direct and hop only
    #[arg(long)]
    without_gateway: bool,
    /// One short round: proves that it runs, measures nothing worth reading
    #[arg(long)]
    quick: bool,
}

/// What stands between the load and the MCP server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Case {
    /// Nothing; CPU and memory are the MCP server's own.
    Direct,
    /// The bare proxy.
    Hop,
    /// The gateway.
    Gateway,
}

/// Everything that runs while the load is on.
struct Stage {
    upstreams: Vec<Server>,
    hop: Server,
    gateways: Vec<Gateway>,
}

/// A process of our own with the address it serves.
struct Server {
    process: Process,
    address: SocketAddr,
}

/// One case, ready to be called.
struct Contender<'a> {
    case: Case,
    upstreams: usize,
    address: SocketAddr,
    process: &'a Process,
}

/// Measures everything, prints the report and writes the summaries. A signal ends it, and every process with it.
pub(crate) async fn run(options: &Options) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        done = measure_all(options) => done,
        _ = terminate.recv() => Err("terminated".into()),
        _ = tokio::signal::ctrl_c() => Err("interrupted".into()),
    }
}

async fn measure_all(options: &Options) -> Result<()> {
    let mut options = options.clone();
    if options.quick {
        (options.rounds, options.millis) = (1, 200);
    }
    std::fs::create_dir_all(&options.out)?;
    let (stage, starts) = Stage::set(&options).await?;
    let contenders = stage.contenders();
    report::print_machine(options.rounds, options.millis);
    for era in &options.eras {
        let rows = measure_era(&options, *era, &contenders).await?;
        report::print_table(*era, &rows);
        report::write_summary(&options.out, *era, &rows)?;
        // A short round of a development build says nothing about the bars.
        if !options.quick {
            bars::print(&rows, starts.as_ref());
        }
    }
    stage.clear().await
}

impl Stage {
    async fn set(options: &Options) -> Result<(Self, Option<Starts>)> {
        let mut upstreams = Vec::new();
        for _ in 0..FAN_OUT {
            upstreams.push(Server::start(&["upstream"]).await?);
        }
        let addresses: Vec<SocketAddr> = upstreams.iter().map(|server| server.address).collect();
        let hop = Server::start(&["hop", "--to", &addresses[0].to_string()]).await?;
        if options.without_gateway {
            return Ok((Self { upstreams, hop, gateways: Vec::new() }, None));
        }
        let starts = measure_starts(options, &addresses[..1]).await?;
        let mut gateways = Vec::new();
        for count in [1, FAN_OUT] {
            gateways.push(start_gateway(options, &addresses[..count]).await?);
        }
        Ok((Self { upstreams, hop, gateways }, Some(starts)))
    }

    fn contenders(&self) -> Vec<Contender<'_>> {
        let (direct, hop) = (&self.upstreams[0], &self.hop);
        let mut contenders = vec![
            Contender { case: Case::Direct, upstreams: 1, address: direct.address, process: &direct.process },
            Contender { case: Case::Hop, upstreams: 1, address: hop.address, process: &hop.process },
        ];
        contenders.extend(self.gateways.iter().map(|gateway| Contender {
            case: Case::Gateway,
            upstreams: gateway.upstreams,
            address: gateway.address,
            process: &gateway.process,
        }));
        contenders
    }

    /// Ends everything, clients' side first.
    async fn clear(self) -> Result<()> {
        for gateway in self.gateways {
            gateway.process.stop().await?;
        }
        self.hop.process.finished().await?;
        for upstream in self.upstreams {
            upstream.process.finished().await?;
        }
        Ok(())
    }
}

impl Server {
    async fn start(arguments: &[&str]) -> Result<Self> {
        let mut process = Process::start_self(arguments)?;
        let address = process.line().await?.parse()?;
        Ok(Self { process, address })
    }
}

/// Starts a gateway several times, to see how long that takes and what it needs when nobody calls.
async fn measure_starts(options: &Options, upstreams: &[SocketAddr]) -> Result<Starts> {
    let mut starts = Starts::default();
    for _ in 0..options.rounds {
        let gateway = start_gateway(options, upstreams).await?;
        tokio::time::sleep(IDLE).await;
        starts.first_call_ms.push(gateway.first_call_ms);
        starts.idle_rss_mib.push(gateway.process.rss_mib()?);
        gateway.process.stop().await?;
    }
    Ok(starts)
}

async fn start_gateway(options: &Options, upstreams: &[SocketAddr]) -> Result<Gateway> {
    let log = options.out.join(format!("gateway-{}.log", upstreams.len()));
    Gateway::start(&options.gateway, upstreams, &log).await
}

async fn measure_era(options: &Options, era: Era, contenders: &[Contender<'_>]) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for bytes in ANSWER_BYTES {
        for &clients in &options.clients {
            let mut samples = vec![Vec::new(); contenders.len()];
            for round in 0..options.rounds {
                for turn in 0..contenders.len() {
                    // Each round begins with another case, so that none is always first after a pause.
                    let index = (round + turn) % contenders.len();
                    samples[index].push(measure(options.millis, era, clients, bytes, &contenders[index]).await?);
                }
            }
            rows.extend(samples.iter().map(|samples| Row::median(samples)));
            eprintln!("measured: {}, {bytes} B, {clients} clients", era.word());
        }
    }
    Ok(rows)
}

/// One turn of one case.
async fn measure(millis: u64, era: Era, clients: usize, bytes: usize, contender: &Contender<'_>) -> Result<Row> {
    let (to, millis) = (contender.address.to_string(), millis.to_string());
    let (count, size) = (clients.to_string(), bytes.to_string());
    let prefixes: Vec<String> =
        gateway::prefixes(contender.upstreams).iter().map(|prefix| format!("--prefix={prefix}")).collect();
    let mut arguments = vec!["load", "--wait", "--to", &to, "--era", era.word(), "--millis", &millis];
    arguments.extend(["--clients", &count, "--bytes", &size]);
    arguments.extend(prefixes.iter().map(String::as_str));
    let mut load = Process::start_self(&arguments)?;
    let warm = load.line().await?;
    if warm != "warm" {
        return Err(format!("load said {warm:?} where it should be warm").into());
    }
    let cpu_before = contender.process.cpu_us()?;
    load.go().await?;
    let measured: Measured = serde_json::from_str(&load.line().await?)?;
    let cpu_us = contender.process.cpu_us()? - cpu_before;
    load.finished().await?;
    #[allow(clippy::cast_precision_loss)] // counts of a few seconds
    let (calls, cpu_us) = (measured.calls.max(1) as f64, cpu_us as f64);
    Ok(Row {
        case: contender.case,
        upstreams: contender.upstreams,
        clients,
        bytes,
        calls_per_s: calls / measured.seconds,
        p50_us: measured.p50_us,
        p99_us: measured.p99_us,
        cpu_us_per_call: cpu_us / calls,
        rss_mib: contender.process.rss_mib()?,
    })
}
