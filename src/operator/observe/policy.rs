//! The status of an `MCPAuthPolicy`: all of it is translation's.

use super::text::summary;
use super::{Stamp, find};
use crate::api::McpAuthPolicyStatus;
use crate::api::conditions::{ConditionStatus, ConditionType};
use crate::translate::PolicyPlan;

/// The whole status of a policy.
pub(in crate::operator) fn policy_status(
    plan: &PolicyPlan,
    before: &McpAuthPolicyStatus,
    stamp: &Stamp,
) -> McpAuthPolicyStatus {
    let accepted = find(&plan.conditions, ConditionType::Accepted);
    let sentence = accepted.map(|accepted| match (accepted.status, accepted.message.as_str()) {
        (ConditionStatus::True, "") => "In force".to_owned(),
        (ConditionStatus::True, message) => format!("In force in part: {message}"),
        (_, message) => format!("Not in force: {message}"),
    });
    McpAuthPolicyStatus {
        summary: sentence.map(summary),
        conditions: stamp.conditions(plan.conditions.clone(), &before.conditions),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::stamp;
    use super::*;
    use crate::api::conditions::{Finding, Reason};

    #[test]
    fn a_policy_says_what_translation_says() {
        let told = |finding: Finding| {
            let status =
                policy_status(&PolicyPlan { conditions: vec![finding] }, &McpAuthPolicyStatus::default(), &stamp(1));
            (status.summary.unwrap(), status.conditions[0].status.clone())
        };
        let of = |finding: fn(ConditionType, Reason, String) -> Finding, reason, message: &str| {
            finding(ConditionType::Accepted, reason, message.to_owned())
        };
        assert_eq!(told(of(Finding::good, Reason::Accepted, "")), ("In force".into(), "True".into()));
        assert_eq!(
            told(of(Finding::good, Reason::PartiallyInvalid, "x")),
            ("In force in part: x".into(), "True".into())
        );
        assert_eq!(told(of(Finding::bad, Reason::TargetNotFound, "x")), ("Not in force: x".into(), "False".into()));
    }
}
