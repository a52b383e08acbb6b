//! `mcp-gateway shim`: a stdio MCP server behind a port, as in a pod.

use super::Failure;
use crate::gateway::telemetry::{self, LogFormat};
use crate::ir::snapshot::{Isolation, Process, ProcessPool};
use crate::shim::ShimLimits;
use crate::shim::pod::{Options, PodError, serve};
use crate::translate::naming::SHIM_PATH;
use clap::builder::PossibleValuesParser;
use clap::builder::TypedValueParser as _;
use std::fs;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Serves a stdio MCP server on a port, with as many processes of it as its clients need.
#[derive(Debug, clap::Args)]
pub struct ShimArgs {
    /// Copy this program there, for a container that has none of it, and end
    #[arg(long, value_name = "PATH", exclusive = true)]
    install: Option<PathBuf>,
    /// Address to accept gateways on; [::] means all, IPv4 too
    #[arg(long, value_name = "ADDRESS", required_unless_present = "install")]
    listen: Option<SocketAddr>,
    /// Who shares a process: all clients, the requests of a session, or nobody
    #[arg(
        long,
        value_name = "ISOLATION",
        default_value = "PerSession",
        value_parser = PossibleValuesParser::new(["Shared", "PerSession", "PerRequest"]).map(|name| isolation(&name)),
    )]
    isolation: Isolation,
    /// Processes that are kept ready
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pool_min: u32,
    /// Processes at the most
    #[arg(long, value_name = "NUMBER", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    pool_max: u32,
    /// When a session that nobody uses, or a shared process, is ended
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = humantime::parse_duration)]
    pool_idle_timeout: Duration,
    /// File with the token that callers must know; without it, ADDRESS must be a loopback address
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// How long the server has for its first answer; package launchers download first
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = humantime::parse_duration)]
    handshake_timeout: Duration,
    /// From the signal to leave to the end: calls in flight may end until shortly before
    #[arg(long, value_name = "DURATION", default_value = "25s", value_parser = humantime::parse_duration)]
    drain_timeout: Duration,
    /// Where to write why it ended, if that file is there
    #[arg(long, value_name = "FILE", default_value = "/dev/termination-log")]
    termination_log: PathBuf,
    /// What to log: error, warn, info, debug, trace, or a filter of tracing-subscriber
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log_level: String,
    /// The server's command and its arguments, after --
    #[arg(last = true, value_name = "COMMAND", required_unless_present = "install")]
    command: Vec<String>,
}

fn isolation(name: &str) -> Isolation {
    match name {
        "Shared" => Isolation::Shared,
        "PerRequest" => Isolation::PerRequest,
        _ => Isolation::PerSession,
    }
}

/// Serves until a signal asks to leave, or copies the program.
pub fn shim(args: ShimArgs) -> Result<ExitCode, Failure> {
    if let Some(path) = &args.install {
        install(path).map_err(|error| Failure::new(format!("cannot install to {}: {error}", path.display())))?;
        return Ok(ExitCode::SUCCESS);
    }
    let Some(listen) = args.listen else { return Err(Failure::usage("--listen is required")) };
    if args.pool_min > args.pool_max {
        let (min, max) = (args.pool_min, args.pool_max);
        return Err(Failure::usage(format!("--pool-min {min} is more than --pool-max {max}")));
    }
    // RUST_LOG is the server's here, as the whole environment is.
    telemetry::init(LogFormat::Json, Some(&args.log_level))
        .map_err(|error| Failure::usage(format!("--log-level: {error}")))?;
    let idle_timeout_ms = u64::try_from(args.pool_idle_timeout.as_millis()).unwrap_or(u64::MAX);
    let process = Process {
        command: args.command,
        args: Vec::new(),
        env: Vec::new(),
        working_dir: None,
        isolation: args.isolation,
        pool: ProcessPool { min: args.pool_min, max: args.pool_max, idle_timeout_ms },
    };
    let limits = ShimLimits { handshake: args.handshake_timeout, ..ShimLimits::default() };
    let (token_file, drain_timeout) = (args.token_file, args.drain_timeout);
    let options = Options { listen, path: SHIM_PATH, process, token_file, drain_timeout, limits };

    let threads = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("cannot start threads: {error}")))?;
    let served = threads.block_on(serve(options));
    // Nothing is left that would have to be waited for.
    threads.shutdown_background();
    match served {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => Err(failed(&error, &args.termination_log)),
    }
}

/// Tells Kubernetes, too.
fn failed(error: &PodError, termination_log: &Path) -> Failure {
    let told = fs::OpenOptions::new().write(true).truncate(true).open(termination_log);
    // Where Kubernetes does not want to know, the file is not there.
    let _ = told.and_then(|mut file| writeln!(file, "{error}"));
    Failure::with_code(error, error.exit_code())
}

/// Copies the running program. Whoever looks finds the old file or the new one, whole.
fn install(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let name = path.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "it names no file"))?;
    let aside = directory.join(format!(".{}.{}", name.to_string_lossy(), std::process::id()));
    let copied = copy(&aside).and_then(|()| fs::rename(&aside, path));
    if copied.is_err() {
        // It may not be there, and then nothing is left either.
        let _ = fs::remove_file(&aside);
    }
    copied
}

fn copy(aside: &Path) -> io::Result<()> {
    let mut own = fs::File::open(std::env::current_exe()?)?;
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o755).open(aside)?;
    io::copy(&mut own, &mut file)?;
    // Whatever the umask takes away: everyone in the other container is to run it.
    file.set_permissions(fs::Permissions::from_mode(0o755))?;
    file.sync_all()
}
