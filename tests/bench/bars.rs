//! What the gateway is held to. The benchmark says whether the bars hold; it never fails over them, since a busy machine is
//! no mistake in the code.

use crate::report::{Row, median};
use crate::rounds::Case;

/// CPU per call, as a multiple of the bare hop's in the same run.
const CPU_OVER_HOP: f64 = 2.0;
/// Clients for which that holds, with short answers and one MCP server.
const CPU_CLIENTS: [usize; 2] = [16, 64];
/// Memory of a gateway that serves nobody, in MiB.
const IDLE_RSS_MIB: f64 = 15.0;
/// From the start of the process to the end of the first answered call, in ms.
const FIRST_CALL_MS: f64 = 100.0;

/// What starting the gateway several times showed.
#[derive(Debug, Default)]
pub(crate) struct Starts {
    pub(crate) first_call_ms: Vec<f64>,
    pub(crate) idle_rss_mib: Vec<f64>,
}

/// One bar and what was measured against it.
#[derive(Debug)]
struct Bar {
    what: String,
    unit: &'static str,
    measured: f64,
    limit: f64,
}

/// Prints each bar that these measurements say something about.
pub(crate) fn print(rows: &[Row], starts: Option<&Starts>) {
    println!();
    for bar in bars(rows, starts) {
        let verdict = if bar.measured <= bar.limit { "holds" } else { "MISSED" };
        println!("* {}: {:.2}{unit} (bar: {:.2}{unit}): {verdict}", bar.what, bar.measured, bar.limit, unit = bar.unit);
    }
}

fn bars(rows: &[Row], starts: Option<&Starts>) -> Vec<Bar> {
    let mut bars = Vec::new();
    let short = rows.iter().map(|row| row.bytes).min();
    let held_to = |row: &&Row| {
        row.case == Case::Gateway
            && row.upstreams == 1
            && Some(row.bytes) == short
            && CPU_CLIENTS.contains(&row.clients)
    };
    for row in rows.iter().filter(held_to) {
        if let Some(measured) = row.cpu_over_hop(rows) {
            let what = format!("CPU per call ÷ the hop's, {} clients, {} B", row.clients, row.bytes);
            bars.push(Bar { what, unit: " ×", measured, limit: CPU_OVER_HOP });
        }
    }
    if let Some(starts) = starts {
        let (rss, first) = (median(&starts.idle_rss_mib), median(&starts.first_call_ms));
        bars.push(Bar { what: "idle RSS".into(), unit: " MiB", measured: rss, limit: IDLE_RSS_MIB });
        bars.push(Bar {
            what: "start to first served call".into(),
            unit: " ms",
            measured: first,
            limit: FIRST_CALL_MS,
        });
    }
    bars
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::row;

    #[test]
    fn only_the_loads_named_in_the_bar_count() {
        let rows = [
            row(Case::Hop, 1, 10.0),
            row(Case::Gateway, 1, 90.0),
            row(Case::Hop, 16, 10.0),
            row(Case::Gateway, 16, 25.0),
            Row { upstreams: 3, ..row(Case::Gateway, 16, 99.0) },
        ];
        let bars = bars(&rows, None);
        assert_eq!(bars.len(), 1, "{bars:?}");
        assert!((bars[0].measured - 2.5).abs() < f64::EPSILON && bars[0].measured > bars[0].limit);
    }

    #[test]
    fn starts_are_judged_by_their_medians() {
        let starts = Starts { first_call_ms: vec![900.0, 20.0, 30.0], idle_rss_mib: vec![8.0] };
        let bars = bars(&[], Some(&starts));
        assert!(bars.iter().all(|bar| bar.measured <= bar.limit), "{bars:?}");
    }
}
