//! Who is called next, and whether again: balancing, ejection, tiers and repetition, without a socket or a clock.
//!
//! A [`Backend`] knows what became of its endpoints, for all servers that use it. A [`Balancer`] is one server of a route: it has the tiers,
//! the policy and the retry budget. A call is a [`Walk`] over its endpoints; each of its [`Attempt`]s ends in an answer or a failure, which
//! is what the backend learns from. Time and randomness come in as arguments, and each change of a state goes out as a [`Transition`].

mod attempt;
mod backend;
mod balancer;
mod budget;
mod ejection;
mod endpoint;
mod hash;
mod latency;
mod limit;
mod policy;
mod repetition;
mod schedule;
#[cfg(test)]
mod simulation;
mod time;
mod transition;
mod view;
mod walk;
mod window;

pub use attempt::{Attempt, Offer};
pub use backend::Backend;
pub use balancer::Balancer;
pub use ejection::EjectionState;
pub use endpoint::Endpoint;
pub use hash::stable_hash;
pub use limit::{Limit, Permit};
pub use repetition::{Decision, Failure, Safety, Stop};
pub use schedule::next_check_ms;
pub use time::Moment;
pub use transition::{Cause, State, TierChange, Transition};
pub use view::Tiers;
pub use walk::{Refusal, Walk};
