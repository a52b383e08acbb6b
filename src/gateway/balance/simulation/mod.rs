//! Random worlds from seeds, in which the real code is driven as the dispatcher does, in virtual time.
//!
//! `MCP_BALANCE_SEED=7 cargo test --lib simulation` runs one world; `MCP_BALANCE_SEEDS` says how many there are instead of 10,000.

mod dispatch;
mod shadow;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// What happened in worlds, to show that they are not idle.
#[derive(Debug, Default)]
struct Tally {
    calls: u64,
    answered: u64,
    saved: u64,
    retries: u64,
    ejections: u64,
    probes: u64,
    last_resorts: u64,
    failovers: u64,
    returns: u64,
    overloads: u64,
    unhealthy: u64,
    cancelled: u64,
    budget_stops: u64,
    unsafe_stops: u64,
    guaranteed: u64,
}

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
