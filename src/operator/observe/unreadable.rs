//! The status of an object that this version of the operator cannot read, whatever its kind.

use super::Stamp;
use super::text::{quote, summary};
use crate::api::conditions::{ConditionType, Finding, Reason};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde::{Deserialize, Serialize};

/// What all kinds' statuses can say. A route has no conditions of its own, only those at its parents, of which nothing is known.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::operator) struct Unreadable {
    summary: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    conditions: Vec<Condition>,
}

impl Unreadable {
    /// Says why the object cannot be read.
    pub(in crate::operator) fn new(error: &str, before: &Self, stamp: &Stamp, has_conditions: bool) -> Self {
        let message = format!("this version of the operator cannot read it: {}", quote(error));
        let accepted = Finding::bad(ConditionType::Accepted, Reason::Invalid, message.clone());
        let findings = if has_conditions { vec![accepted] } else { vec![] };
        Self {
            summary: summary(format!("Not accepted: {message}")),
            conditions: stamp.conditions(findings, &before.conditions),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{message, stamp, told};
    use super::*;

    #[test]
    fn it_says_what_is_wrong_and_says_it_once() {
        let first = Unreadable::new("missing field `listeners`", &Unreadable::default(), &stamp(1), true);
        assert_eq!(told(&first.conditions, "Accepted"), "False Invalid");
        assert!(message(&first.conditions, "Accepted").ends_with("cannot read it: missing field `listeners`"));
        let kept = serde_json::from_value(serde_json::to_value(&first).unwrap()).unwrap();
        assert_eq!(Unreadable::new("missing field `listeners`", &kept, &stamp(1), true), first);
        assert_eq!(Unreadable::new("x", &kept, &stamp(1), false).conditions, []);
    }
}
