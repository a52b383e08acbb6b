//! What state an object is in, from the conditions of its status: how bad it is, since when, and every problem it has.

use crate::api::conditions::{ConditionType, Reason};
use crate::operator::inspect::Listed;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;
use serde::Serialize;

/// How bad it is; the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// It does not do what it is for.
    Broken,
    /// It does, but not wholly as it should.
    Degraded,
    /// That is not known yet.
    Waiting,
    /// All is well.
    Good,
}

/// What state an object is in.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct State {
    pub(super) level: Level,
    /// Since when it is so, as far as is known.
    pub(super) since: Option<Timestamp>,
    /// The state in one sentence.
    pub(super) sentence: String,
    /// What is wrong or waited for; the worst first.
    pub(super) problems: Vec<Problem>,
}

/// One thing that is wrong with an object, or waited for.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Problem {
    #[serde(rename = "state")]
    pub(super) level: Level,
    /// Conditions that tell of it, all in the same words; none if no condition does.
    pub(super) conditions: Vec<String>,
    /// What these conditions are: True, False or Unknown.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) status: &'static str,
    /// In one word, for programs.
    pub(super) reason: String,
    /// For people.
    pub(super) message: String,
    /// Where it is so, of the gateways of a route that has several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) at: Vec<String>,
    /// Since when.
    pub(super) since: Option<Timestamp>,
}

/// The conditions of an object; of a route, those at one of its gateways.
pub(super) struct Told<'a> {
    /// The gateway, for a route that has several.
    pub(super) at: Option<String>,
    pub(super) conditions: &'a [Condition],
}

impl State {
    /// The state of an object that has this summary and these conditions.
    pub(super) fn of<K>(listed: &Listed<K>, summary: Option<&str>, told: &[Told<'_>]) -> Self {
        if let Some(problem) = not_looked_at(listed, told) {
            return Self::with("Not yet looked at".to_owned(), vec![problem]);
        }
        let problems = merged(told.iter().flat_map(problems));
        let sentence = summary.unwrap_or_default().to_owned();
        if problems.is_empty() {
            return Self { level: Level::Good, since: good_since(told), sentence, problems };
        }
        Self::with(sentence, problems)
    }

    /// The state of an object that cannot be read.
    pub(super) fn malformed<K>(listed: &Listed<K>, why: &str) -> Self {
        let message = format!("{why}: correct the object, or apply the definitions of this version");
        let since = listed.changed.or(listed.created);
        let problem = Problem::of_object(Level::Broken, "Malformed", message, since);
        Self::with(format!("Malformed: {why}"), vec![problem])
    }

    fn with(sentence: String, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| problem.level);
        let worst = problems.first();
        let (level, since) = worst.map_or((Level::Good, None), |worst| (worst.level, worst.since));
        Self { level, since, sentence, problems }
    }
}

/// What is said of an older generation is not said of the object as it is.
fn not_looked_at<K>(listed: &Listed<K>, told: &[Told<'_>]) -> Option<Problem> {
    let is_untold = told.is_empty() || told.iter().any(|told| told.conditions.is_empty());
    let observed = told.iter().flat_map(|told| told.conditions).filter_map(|condition| condition.observed_generation);
    let outdated = observed.min().zip(listed.generation).filter(|(observed, generation)| observed < generation);
    let (what, since) = match outdated {
        Some((observed, generation)) => {
            (format!("its status is of generation {observed}, the object is at {generation}"), listed.changed)
        }
        None if is_untold => ("it has no status".to_owned(), listed.changed.or(listed.created)),
        None => return None,
    };
    let message = format!("{what}; if that lasts, see whether the operator runs and watches this namespace");
    Some(Problem::of_object(Level::Waiting, "NotLookedAt", message, since))
}

/// What several gateways tell in the same words is one problem.
fn merged(all: impl Iterator<Item = Problem>) -> Vec<Problem> {
    let mut problems: Vec<Problem> = Vec::new();
    for problem in all {
        match problems.iter_mut().find(|known| known.conditions == problem.conditions && known.says_what(&problem)) {
            Some(known) => {
                known.since = known.since.min(problem.since);
                known.at.extend(problem.at);
            }
            None => problems.push(problem),
        }
    }
    problems
}

/// The problems that one list of conditions tells of; conditions in the same words are one.
fn problems(told: &Told<'_>) -> Vec<Problem> {
    let is_refused = told.conditions.iter().any(|condition| is(condition, ConditionType::Accepted, "False"));
    // What is not accepted is nothing else either: that goes without saying.
    let goes_without_saying = |condition: &Condition| {
        is_refused
            && !matches!(
                ConditionType::parse(&condition.type_),
                Some(ConditionType::Accepted | ConditionType::ResolvedRefs)
            )
    };
    let mut problems: Vec<Problem> = Vec::new();
    for condition in told.conditions.iter().filter(|condition| !goes_without_saying(condition)) {
        let Some(problem) = Problem::of(condition, told.at.as_ref()) else { continue };
        match problems.iter_mut().find(|known| known.says_what(&problem)) {
            Some(known) => {
                known.level = known.level.min(problem.level);
                known.since = known.since.min(problem.since);
                known.conditions.extend(problem.conditions);
            }
            None => problems.push(problem),
        }
    }
    problems
}

impl Problem {
    /// None if the condition is as it should be.
    fn of(condition: &Condition, at: Option<&String>) -> Option<Self> {
        let level = level(condition);
        (level != Level::Good).then(|| Self {
            level,
            conditions: vec![condition.type_.clone()],
            status: match condition.status.as_str() {
                "True" => "True",
                "False" => "False",
                _ => "Unknown",
            },
            reason: condition.reason.clone(),
            message: condition.message.clone(),
            at: Vec::from_iter(at.cloned()),
            since: Some(condition.last_transition_time.0),
        })
    }

    /// Without a condition: it is the state of the object itself.
    fn of_object(level: Level, reason: &str, message: String, since: Option<Timestamp>) -> Self {
        Self { level, conditions: Vec::new(), status: "", reason: reason.to_owned(), message, at: Vec::new(), since }
    }

    fn says_what(&self, other: &Self) -> bool {
        (self.status, &self.reason, &self.message) == (other.status, &other.reason, &other.message)
    }
}

/// How bad one condition is.
fn level(condition: &Condition) -> Level {
    let type_ = ConditionType::parse(&condition.type_);
    let reason = Reason::parse(&condition.reason);
    match (condition.status.as_str(), type_, reason) {
        // Another reason names what is left out, or what is wrong with some pods.
        ("True", _, _) if condition.reason == condition.type_ || reason.is_some_and(comes_and_goes) => Level::Good,
        ("False", Some(ConditionType::Accepted | ConditionType::Ready), _) => Level::Broken,
        // What nobody uses has nothing to show, and nobody lists before there is a client.
        ("Unknown", _, Some(Reason::NotAttached))
        | ("Unknown", Some(ConditionType::CatalogComplete), Some(Reason::Pending)) => Level::Good,
        ("Unknown", _, Some(Reason::Pending)) => Level::Waiting,
        _ => Level::Degraded,
    }
}

/// What pods do all the time, and is nothing to look at as long as others are there.
fn comes_and_goes(reason: Reason) -> bool {
    matches!(reason, Reason::Pending | Reason::NoPods | Reason::PodsStarting)
}

fn is(condition: &Condition, type_: ConditionType, status: &str) -> bool {
    condition.type_ == type_.as_str() && condition.status == status
}

/// `Ready` sums up the other conditions, where there is one.
fn good_since(told: &[Told<'_>]) -> Option<Timestamp> {
    let conditions = || told.iter().flat_map(|told| told.conditions);
    let time = |condition: &Condition| condition.last_transition_time.0;
    let ready = conditions().filter(|condition| condition.type_ == ConditionType::Ready.as_str()).map(time).max();
    ready.or_else(|| conditions().map(time).max())
}
