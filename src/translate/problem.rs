//! A user's mistake as a value: born with the reason it will be published with.

use crate::api::conditions::{ConditionType, Finding, Reason};

/// Why something is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    /// The condition's reason.
    pub(super) reason: Reason,
    /// The condition's message, or a part of it: names the field and the way out.
    pub(super) message: String,
}

impl Problem {
    pub(super) fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(Reason::Invalid, message)
    }
}

/// `Accepted=True`.
pub(super) fn accepted() -> Finding {
    Finding::good(ConditionType::Accepted, Reason::Accepted, "")
}

/// `Accepted=False`.
pub(super) fn refused(problem: &Problem) -> Finding {
    Finding::bad(ConditionType::Accepted, problem.reason, problem.message.clone())
}

/// `Accepted=True`; with `reason` and the parts that are left out, if there are any.
pub(super) fn accepted_without(reason: Reason, left_out: &[Problem]) -> Finding {
    if left_out.is_empty() { accepted() } else { Finding::good(ConditionType::Accepted, reason, join(left_out)) }
}

/// `ResolvedRefs`: true, or false with the first problem's reason and every problem's message.
pub(super) fn resolved_refs(problems: &[Problem]) -> Finding {
    match problems.first() {
        None => Finding::good(ConditionType::ResolvedRefs, Reason::ResolvedRefs, ""),
        Some(first) => Finding::bad(ConditionType::ResolvedRefs, first.reason, join(problems)),
    }
}

/// All messages in one, in order and each once.
pub(super) fn join(problems: &[Problem]) -> String {
    let mut messages: Vec<&str> = Vec::new();
    for problem in problems {
        if !messages.contains(&problem.message.as_str()) {
            messages.push(&problem.message);
        }
    }
    messages.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::conditions::ConditionStatus;

    #[test]
    fn the_first_problem_names_the_reason_and_all_are_told_once() {
        let problems = [
            Problem::new(Reason::BackendNotFound, "a is missing"),
            Problem::new(Reason::RefNotPermitted, "b is forbidden"),
            Problem::new(Reason::BackendNotFound, "a is missing"),
        ];
        let finding = resolved_refs(&problems);
        assert_eq!((finding.status, finding.reason), (ConditionStatus::False, Reason::BackendNotFound));
        assert_eq!(finding.message, "a is missing; b is forbidden");
    }
}
