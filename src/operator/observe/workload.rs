//! A Deployment and its pods, as far as both gateways and backends are told of them.

use super::Problem;
use super::pods::{self, State};
use super::seen::{Apply, Workload};
use super::text::quote;
use crate::api::conditions::Reason;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use std::sync::Arc;

impl Workload {
    /// Pods that take connections.
    pub(super) fn ready(&self) -> Vec<&Pod> {
        self.pods.iter().map(Arc::as_ref).filter(|pod| pods::state(pod) == State::Ready).collect()
    }

    /// Pods that count: all but those that leave.
    pub(super) fn live(&self) -> usize {
        self.pods.iter().filter(|pod| pods::state(pod) != State::Leaving).count()
    }

    /// For the scale subresource.
    pub(super) fn replicas(&self) -> Option<u32> {
        let status = self.deployment.as_ref()?.status.as_ref();
        let replicas = status.and_then(|status| status.replicas).unwrap_or_default();
        Some(u32::try_from(replicas).unwrap_or_default())
    }

    /// For the scale subresource.
    pub(super) fn selector(&self) -> Option<String> {
        let labels = self.deployment.as_ref()?.spec.as_ref()?.selector.match_labels.as_ref()?;
        let terms: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        Some(terms.join(","))
    }

    /// Why not all the pods that should be there are ready.
    pub(super) fn problem(&self) -> Option<Problem> {
        let troubles: Vec<(&str, Reason, String)> = self
            .pods
            .iter()
            .filter_map(|pod| match pods::state(pod) {
                State::NotReady(reason, detail) => Some((pods::name(pod), reason, detail)),
                State::Leaving | State::Ready => None,
            })
            .collect();
        pods::problem(&troubles).or_else(|| self.missing())
    }

    /// Why there are no pods, or fewer than there should be.
    fn missing(&self) -> Option<Problem> {
        let Some(deployment) = &self.deployment else {
            return Some(Problem::pending("its pods are not deployed yet"));
        };
        let wanted = wanted(deployment);
        if wanted == 0 {
            return Some(Problem::new(Reason::NoPods, "it is scaled to 0 pods; raise spec.replicas"));
        }
        if self.live() >= wanted {
            return None;
        }
        if let Some(why) = replica_failure(deployment) {
            return Some(Problem::new(Reason::ReplicaFailure, format!("pods cannot be created: {}", quote(why))));
        }
        Some(Problem::new(Reason::PodsStarting, format!("{} of {wanted} pods are there", self.live())))
    }
}

fn wanted(deployment: &Deployment) -> usize {
    let replicas = deployment.spec.as_ref().and_then(|spec| spec.replicas);
    // The API server's default.
    usize::try_from(replicas.unwrap_or(1)).unwrap_or_default()
}

fn replica_failure(deployment: &Deployment) -> Option<&str> {
    let conditions = deployment.status.as_ref()?.conditions.as_ref()?;
    let failure =
        conditions.iter().find(|condition| condition.type_ == "ReplicaFailure" && condition.status == "True")?;
    Some(failure.message.as_deref().unwrap_or_default())
}

impl Apply {
    /// What somebody has to put right before the objects can be as they should be.
    pub(super) fn problem(&self) -> Option<Problem> {
        let (reason, message) = match self {
            Self::Pending | Self::Done | Self::Paused | Self::Failed(_) => return None,
            Self::Conflict(message) => (Reason::ObjectConflict, message),
            Self::PodTemplate(message) => (Reason::PodTemplateInvalid, message),
            Self::Invalid(message) => (Reason::Invalid, message),
            Self::Forbidden(message) => (Reason::Forbidden, message),
            Self::TooLarge(message) => (Reason::TooLarge, message),
        };
        Some(Problem::new(reason, message.clone()))
    }

    /// Says why what should come does not come, where that is why.
    pub(super) fn explain(&self, problem: Problem) -> Problem {
        let waits = matches!(
            problem.reason,
            Reason::Pending | Reason::NoPods | Reason::PodsStarting | Reason::ReplicasOutdated
        );
        match self {
            Self::Paused if waits => {
                Problem::new(Reason::Paused, format!("the operator is told to leave it alone, and {}", problem.message))
            }
            Self::Failed(message) if waits => Problem::new(Reason::ApplyFailed, message.clone()),
            _ => problem,
        }
    }
}
