//! Structured logs on standard error: JSON, or lines for people on a terminal. Bodies, credentials and headers are never
//! logged, at any level.

use std::io::IsTerminal as _;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// For people when standard error is a terminal, JSON otherwise.
    Auto,
}

/// Starts logging. `level` is a level or a filter as in `RUST_LOG`, which it overrides; with neither, `info`.
pub fn init(format: LogFormat, level: Option<&str>) -> Result<(), ParseError> {
    let from_environment = std::env::var(EnvFilter::DEFAULT_ENV).ok();
    let directives = level.map(str::to_owned).or(from_environment).unwrap_or_else(|| "info".to_owned());
    let filter = EnvFilter::builder().parse(directives)?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second subscriber in one process, as in tests, is refused: the first one goes on.
    let _ = match format {
        LogFormat::Auto if std::io::stderr().is_terminal() => builder.with_target(false).compact().try_init(),
        _ => builder.json().with_current_span(false).with_span_list(false).try_init(),
    };
    Ok(())
}
