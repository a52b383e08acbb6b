//! Observe (no client): what translation decided and what is seen of the cluster, put together to whole statuses.
//!
//! Nothing here does I/O or reads a clock. The publisher gathers what is [seen](seen), asks for a status, and writes it if it
//! [is news](is_news). Three rules hold throughout:
//!
//! * `Programmed`, `Verified` and their like are said of what pods reported, never of what was sent to them.
//! * The reason is the most telling one word; the message names the pods, a few of them, and the way out.
//! * Until each ready pod of a gateway was looked at once, what was said of it before stands: a restarted operator has
//!   nothing to tell yet. What was said of an earlier `metadata.generation` does not, and nothing stands where nobody will look.

mod addresses;
mod backend;
pub(super) mod events;
mod gateway;
mod pods;
mod policy;
mod programmed;
mod route;
pub(super) mod seen;
mod servers;
mod text;
mod unreadable;
mod workload;

pub(super) use addresses::{of_http_route, of_ingress, of_service};
pub(super) use backend::backend_status;
pub(super) use gateway::gateway_status;
pub(super) use pods::is_ready;
pub(super) use policy::policy_status;
pub(super) use route::route_status;
pub(super) use unreadable::Unreadable;

use crate::api::conditions::{ConditionStatus, ConditionType, Finding, Reason};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// What goes into each condition besides the finding.
#[derive(Clone, Debug)]
pub(super) struct Stamp {
    generation: Option<i64>,
    now: Time,
}

impl Stamp {
    /// The object's `metadata.generation`, and the time now, of which whole seconds count: statuses hold no more.
    pub(super) fn new(generation: Option<i64>, now: &Time) -> Self {
        let second = k8s_openapi::jiff::Timestamp::from_second(now.0.as_second());
        Self { generation, now: second.map_or_else(|_| now.clone(), Time) }
    }

    /// What stands in a status already, if it was said of the object as it is now.
    fn standing(&self, type_: ConditionType, before: &[Condition]) -> Option<Finding> {
        let is_of_now = |condition: &Condition| condition.observed_generation == self.generation;
        let condition = before.iter().find(|condition| condition.type_ == type_.as_str())?;
        Finding::standing(type_, before).filter(|_| is_of_now(condition))
    }

    fn conditions(&self, findings: Vec<Finding>, before: &[Condition]) -> Vec<Condition> {
        crate::api::conditions::conditions(findings, before, self.generation, &self.now)
    }
}

/// Whether a status is to be written. Times move with what they are about only, so that an unchanged world is no news.
pub(super) fn is_news<S: PartialEq>(before: &S, after: &S) -> bool {
    before != after
}

/// Why something is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Problem {
    reason: Reason,
    message: String,
}

impl Problem {
    fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }

    fn pending(message: impl Into<String>) -> Self {
        Self::new(Reason::Pending, message)
    }

    /// Pods come and go; that alone is nothing to look at while others serve.
    fn is_usual(&self) -> bool {
        matches!(self.reason, Reason::PodsStarting | Reason::NoPods | Reason::Pending)
    }

    /// The condition does not hold; nobody knows yet, if that is the problem.
    fn finding(self, type_: ConditionType) -> Finding {
        match self.reason {
            Reason::Pending => Finding::unknown(type_, self.reason, self.message),
            _ => Finding::bad(type_, self.reason, self.message),
        }
    }
}

fn find(findings: &[Finding], type_: ConditionType) -> Option<&Finding> {
    findings.iter().find(|finding| finding.type_ == type_)
}

/// The finding of this type if it says False.
fn broken(findings: &[Finding], type_: ConditionType) -> Option<&Finding> {
    find(findings, type_).filter(|finding| finding.status == ConditionStatus::False)
}

#[cfg(test)]
mod backend_tests;
#[cfg(test)]
mod gateway_tests;
#[cfg(test)]
mod route_tests;
#[cfg(test)]
mod testing;
