//! All worlds, one after the other.

use super::{Tally, world};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[test]
fn no_invariant_breaks_in_any_world() {
    let mut tally = Tally::default();
    let seeds = match number("MCP_BALANCE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("MCP_BALANCE_SEEDS").unwrap_or(10_000),
    };
    let all = seeds.end - seeds.start;
    for seed in seeds {
        if let Err(broken) = catch_unwind(AssertUnwindSafe(|| world::run(seed, &mut tally))) {
            eprintln!("world {seed} broke: MCP_BALANCE_SEED={seed} shows it again");
            resume_unwind(broken);
        }
    }
    println!("{all} worlds: {tally:?}");
    if all >= 100 {
        let Tally {
            calls,
            answered,
            saved,
            retries,
            ejections,
            probes,
            last_resorts,
            failovers,
            returns,
            overloads,
            unhealthy,
            cancelled,
            budget_stops,
            unsafe_stops,
            guaranteed,
        } = tally;
        let happened = [
            calls,
            answered,
            saved,
            retries,
            ejections,
            probes,
            last_resorts,
            failovers,
            returns,
            overloads,
            unhealthy,
            cancelled,
            budget_stops,
            unsafe_stops,
            guaranteed,
        ];
        assert!(happened.iter().all(|count| *count > 0), "the worlds leave something out");
    }
}
