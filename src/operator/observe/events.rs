//! What is worth a Kubernetes Event: a condition that turned, told once.

use crate::api::conditions::{Reason, cut};
use crate::api::route::RouteParentStatus;
use crate::api::{McpAuthPolicyStatus, McpBackendStatus, McpGatewayStatus, McpRouteStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// The API server refuses an Event whose note is longer than 1 kB.
const MAX_NOTE_BYTES: usize = 1024;

/// What follows from another condition, which has an Event of its own.
const SEE_ACCEPTED: &str = "see Accepted";

/// What passes by itself, in the usual course of things.
const PASSING: &[Reason] = &[Reason::Pending, Reason::PodsStarting, Reason::ReplicasOutdated, Reason::NotAttached];

/// Whether an Event is good or bad news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::operator) enum EventType {
    /// Something is as it should be again.
    Normal,
    /// Something is not.
    Warning,
}

/// An Event to emit, cut to size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::operator) struct EventNote {
    /// Good or bad news.
    pub type_: EventType,
    /// The condition's reason.
    pub reason: String,
    /// For people, at most 1 kB.
    pub note: String,
    /// What the operator was about.
    pub action: &'static str,
}

/// What turned at a gateway.
pub(in crate::operator) fn of_gateway(before: &McpGatewayStatus, after: &McpGatewayStatus) -> Vec<EventNote> {
    turned(&before.conditions, &after.conditions, "")
}

/// What turned at a backend.
pub(in crate::operator) fn of_backend(before: &McpBackendStatus, after: &McpBackendStatus) -> Vec<EventNote> {
    turned(&before.conditions, &after.conditions, "")
}

/// What turned at a policy.
pub(in crate::operator) fn of_policy(before: &McpAuthPolicyStatus, after: &McpAuthPolicyStatus) -> Vec<EventNote> {
    turned(&before.conditions, &after.conditions, "")
}

/// What turned at a route, at each of its gateways.
pub(in crate::operator) fn of_route(before: &McpRouteStatus, after: &McpRouteStatus) -> Vec<EventNote> {
    let at = |parent: &RouteParentStatus| {
        let earlier = before.parents.iter().find(|earlier| earlier.parent_ref == parent.parent_ref);
        let earlier = earlier.map(|earlier| earlier.conditions.as_slice()).unwrap_or_default();
        turned(earlier, &parent.conditions, &format!(" at MCPGateway {}", parent.parent_ref.name))
    };
    after.parents.iter().flat_map(at).collect()
}

fn turned(before: &[Condition], after: &[Condition], place: &str) -> Vec<EventNote> {
    let mut notes: Vec<EventNote> = Vec::new();
    let mut told: Vec<(&str, &str)> = Vec::new();
    for condition in after {
        let earlier = before.iter().find(|earlier| earlier.type_ == condition.type_);
        let Some(type_) = event_type(earlier, condition) else { continue };
        // One cause breaks several conditions, and is told once.
        let cause = (condition.reason.as_str(), condition.message.as_str());
        let is_told = told.contains(&cause) || condition.message.ends_with(SEE_ACCEPTED);
        if type_ == EventType::Warning && is_told {
            continue;
        }
        told.push(cause);
        let state =
            if type_ == EventType::Normal { condition.type_.clone() } else { format!("not {}", condition.type_) };
        let why = if condition.message.is_empty() { String::new() } else { format!(": {}", condition.message) };
        notes.push(EventNote {
            type_,
            reason: condition.reason.clone(),
            note: cut(format!("{state}{place}{why}"), MAX_NOTE_BYTES),
            action: action(&condition.type_),
        });
    }
    notes
}

/// Bad news is a condition that is False for a reason that it was not False for; good news is one that is True and was not.
/// What passes by itself is no news, nor is that a new object makes sense.
fn event_type(before: Option<&Condition>, after: &Condition) -> Option<EventType> {
    let was = |condition: &&Condition| condition.status == after.status;
    match after.status.as_str() {
        "False" if before.filter(was).is_none_or(|before| before.reason != after.reason) => {
            let passes = Reason::parse(&after.reason).is_some_and(|reason| PASSING.contains(&reason));
            (!passes).then_some(EventType::Warning)
        }
        "True" if !before.as_ref().is_some_and(was) => {
            let was_broken = before.is_some_and(|before| before.status == "False");
            // One generation after the other goes out, which is the usual course.
            if before.is_some_and(|before| before.reason == Reason::ReplicasOutdated.as_str()) {
                return None;
            }
            let is_an_achievement = matches!(after.type_.as_str(), "Programmed" | "Verified");
            (was_broken || is_an_achievement).then_some(EventType::Normal)
        }
        _ => None,
    }
}

fn action(condition: &str) -> &'static str {
    match condition {
        "Accepted" | "ResolvedRefs" => "Translate",
        "Programmed" => "Program",
        _ => "Observe",
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::condition;
    use super::*;

    fn told(before: &[Condition], after: &[Condition]) -> Vec<String> {
        let notes = turned(before, after, "");
        notes.iter().map(|note| format!("{:?} {} {} {}", note.type_, note.reason, note.action, note.note)).collect()
    }

    #[test]
    fn a_cause_is_told_once() {
        let broken = [
            condition("Programmed", "False", "ImagePullFailed", "pod a"),
            condition("Ready", "False", "ImagePullFailed", "pod a"),
        ];
        assert_eq!(told(&[], &broken), ["Warning ImagePullFailed Program not Programmed: pod a"]);
        assert_eq!(told(&broken, &broken), Vec::<String>::new());
        let refused = [
            condition("Accepted", "False", "Invalid", "no"),
            condition("Programmed", "False", "Invalid", "the gateway is not accepted; see Accepted"),
        ];
        assert_eq!(told(&[], &refused), ["Warning Invalid Translate not Accepted: no"]);
    }

    #[test]
    fn another_reason_is_news_and_another_message_is_not() {
        let before = [condition("Ready", "False", "PodsNotScheduled", "pod a")];
        let other = [condition("Ready", "False", "PodsNotScheduled", "pods a and b")];
        assert_eq!(told(&before, &other), Vec::<String>::new());
        let worse = [condition("Ready", "False", "ContainersCrashing", "pod a")];
        assert_eq!(told(&before, &worse), ["Warning ContainersCrashing Observe not Ready: pod a"]);
    }

    #[test]
    fn recovery_is_good_news_and_passing_states_are_none() {
        let before = [condition("PrimaryActive", "False", "FailedOver", "x")];
        let after = [condition("PrimaryActive", "True", "PrimaryActive", "")];
        assert_eq!(told(&before, &after), ["Normal PrimaryActive Observe PrimaryActive"]);
        let programmed = [condition("Programmed", "True", "Programmed", "")];
        let pushing = [condition("Programmed", "False", "ReplicasOutdated", "x")];
        assert_eq!(told(&programmed, &pushing), Vec::<String>::new());
        assert_eq!(told(&pushing, &programmed), Vec::<String>::new());
        assert_eq!(told(&[], &[condition("Accepted", "True", "Accepted", "")]), Vec::<String>::new());
        assert_eq!(told(&[], &programmed), ["Normal Programmed Program Programmed"]);
        assert_eq!(told(&programmed, &[condition("Programmed", "Unknown", "Pending", "")]), Vec::<String>::new());
    }

    #[test]
    fn a_note_fits_into_an_event() {
        let after = [condition("Accepted", "False", "Invalid", &"ü".repeat(2000))];
        let notes = turned(&[], &after, " at MCPGateway tools");
        assert!(
            notes[0].note.len() <= MAX_NOTE_BYTES && notes[0].note.starts_with("not Accepted at MCPGateway tools: ü")
        );
    }
}
