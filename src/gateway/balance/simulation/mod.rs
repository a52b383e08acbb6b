//! Random worlds from seeds, in which the real code is driven as the dispatcher does, in virtual time.
//!
//! `MCP_BALANCE_SEED=7 cargo test --lib simulation` runs one world; `MCP_BALANCE_SEEDS` says how many there are instead of 10,000.

mod dispatch;
mod shadow;
mod tests;
mod world;

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
