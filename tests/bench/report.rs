//! What was measured, for people (a Markdown table) and for programs (`summary.json`).

use crate::Result;
use crate::mcp::Era;
use crate::rounds::Case;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// One line of the report, and one element of `summary.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) case: Case,
    /// MCP servers behind it.
    pub(crate) upstreams: usize,
    pub(crate) clients: usize,
    /// Size of each answer's result.
    pub(crate) bytes: usize,
    pub(crate) calls_per_s: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    /// Of the process named by `case`; for `direct` the MCP server's own.
    pub(crate) cpu_us_per_call: f64,
    /// Of the same process, right after the load.
    pub(crate) rss_mib: f64,
}

impl Row {
    /// The same case measured in several rounds: each figure's median.
    pub(crate) fn median(samples: &[Self]) -> Self {
        let of = |figure: fn(&Self) -> f64| rounded(median(&samples.iter().map(figure).collect::<Vec<_>>()));
        Self {
            calls_per_s: of(|row| row.calls_per_s),
            p50_us: of(|row| row.p50_us),
            p99_us: of(|row| row.p99_us),
            cpu_us_per_call: of(|row| row.cpu_us_per_call),
            rss_mib: of(|row| row.rss_mib),
            ..samples[0].clone()
        }
    }

    /// The row of `case` that was called in the same way as this one.
    fn peer<'a>(&self, case: Case, rows: &'a [Self]) -> Option<&'a Self> {
        rows.iter().find(|row| row.case == case && row.clients == self.clients && row.bytes == self.bytes)
    }

    /// CPU per call as a multiple of the bare hop's.
    pub(crate) fn cpu_over_hop(&self, rows: &[Self]) -> Option<f64> {
        self.peer(Case::Hop, rows).map(|hop| self.cpu_us_per_call / hop.cpu_us_per_call)
    }

    /// Calls per second as a share of what is reached without any proxy.
    fn rate_over_direct(&self, rows: &[Self]) -> Option<f64> {
        self.peer(Case::Direct, rows).map(|direct| self.calls_per_s / direct.calls_per_s)
    }
}

/// The middle of the values, or the mean of the two middle ones; 0 where there are none.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => 0.0,
        length if length % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

/// Two decimals: more would claim a precision that the rounds do not have.
fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

/// Says where and how the numbers came about.
pub(crate) fn print_machine(rounds: usize, millis: u64) {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let cpu = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    // What follows the version names a distribution's or a host's build, which explains no figure.
    let kernel = read("/proc/sys/kernel/osrelease");
    let kernel = kernel.split(['-', '\n']).next().unwrap_or_default();
    println!(
        "Machine: {}, {cores} cores, Linux {kernel}; medians of {rounds} interleaved rounds of {millis} ms per case.",
        cpu.trim_start_matches([' ', '\t', ':'])
    );
}

/// Prints the rows as a Markdown table.
pub(crate) fn print_table(era: Era, rows: &[Row]) {
    println!("\n### Clients of the {} era ({})\n", era.word(), era.version());
    println!(
        "| case | servers | clients | answer, B | calls/s | p50, µs | p99, µs | CPU/call, µs | RSS, MiB | CPU ÷ hop | calls/s ÷ direct |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|");
    for row in rows {
        let over_hop = row.cpu_over_hop(rows).filter(|_| row.case == Case::Gateway);
        println!(
            "| {} | {} | {} | {} | {:.0} | {:.0} | {:.0} | {:.1} | {:.1} | {} | {} |",
            word(row.case),
            row.upstreams,
            row.clients,
            row.bytes,
            row.calls_per_s,
            row.p50_us,
            row.p99_us,
            row.cpu_us_per_call,
            row.rss_mib,
            ratio(over_hop),
            ratio(row.rate_over_direct(rows)),
        );
    }
}

fn word(case: Case) -> &'static str {
    match case {
        Case::Direct => "direct",
        Case::Hop => "hop",
        Case::Gateway => "gateway",
    }
}

fn ratio(value: Option<f64>) -> String {
    value.map_or_else(String::new, |value| format!("{value:.2}"))
}

/// Writes the rows as JSON: `summary.json` for the legacy era, which most clients speak today, and a file of its own for
/// the modern one, so that a reader of either never mixes the two.
pub(crate) fn write_summary(out: &Path, era: Era, rows: &[Row]) -> Result<()> {
    let file = match era {
        Era::Legacy => "summary.json",
        Era::Modern => "summary-modern.json",
    };
    std::fs::write(out.join(file), serde_json::to_string_pretty(rows)? + "\n")?;
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn row(case: Case, clients: usize, cpu_us_per_call: f64) -> Row {
        Row {
            case,
            upstreams: 1,
            clients,
            bytes: 200,
            calls_per_s: 1000.0,
            p50_us: 1.0,
            p99_us: 2.0,
            cpu_us_per_call,
            rss_mib: 1.0,
        }
    }

    #[test]
    fn a_median_ignores_the_order_and_one_outlier() {
        assert!((median(&[9.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((median(&[4.0, 1.0]) - 2.5).abs() < f64::EPSILON);
        assert!(median(&[]).abs() < f64::EPSILON);
        let samples = [10.0, 1000.0, 12.0].map(|cpu| row(Case::Hop, 16, cpu));
        assert!((Row::median(&samples).cpu_us_per_call - 12.0).abs() < f64::EPSILON);
    }

    #[test]
    fn ratios_compare_with_the_hop_under_the_same_load() {
        let rows = [row(Case::Hop, 1, 99.0), row(Case::Hop, 16, 20.0), row(Case::Gateway, 16, 30.0)];
        assert!((rows[2].cpu_over_hop(&rows).unwrap() - 1.5).abs() < f64::EPSILON);
        assert!(row(Case::Gateway, 64, 30.0).cpu_over_hop(&rows).is_none());
    }

    #[test]
    fn the_summary_has_the_fields_that_readers_know() {
        let json = serde_json::to_value(row(Case::Gateway, 16, 30.0)).unwrap();
        let fields: Vec<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
        let expected =
            ["case", "upstreams", "clients", "bytes", "calls_per_s", "p50_us", "p99_us", "cpu_us_per_call", "rss_mib"];
        assert_eq!(fields, expected);
        assert_eq!(json["case"], "gateway");
    }
}
