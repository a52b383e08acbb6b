//! Whether the pods of a gateway serve the generation that they should: what they report, and nothing else, counts.

use super::Problem;
use super::pods;
use super::seen::SeenGateway;
use super::text::{self, quote};
use crate::api::conditions::{ConditionType, Finding, Reason};
use crate::ir::channel::Report;
use crate::operator::push::ChannelState;

/// Says what one pod has against it, if that is of the kind that this tells of.
type Phrase = fn(&Obstacle<'_>) -> Option<String>;

/// What one pod has against the generation being live there.
enum Obstacle<'a> {
    Refused(&'a str),
    Unreachable(String),
    Outdated(&'a str),
    NotLookedAt,
}

impl SeenGateway {
    /// Ready pods that do not take their leave, with what is known of each over its channel.
    pub(super) fn serving(&self) -> Vec<(&str, &ChannelState)> {
        let ready = self.workload.ready();
        let with_channel = ready.into_iter().map(|pod| (pods::name(pod), self.channel(pods::name(pod))));
        with_channel
            .filter(|(_, channel)| !matches!(channel, ChannelState::Reached(report) if report.draining))
            .collect()
    }

    /// What the serving pods report.
    pub(super) fn reports<'a>(&'a self) -> Vec<(&'a str, &'a Report)> {
        let reached = |(name, channel): (_, &'a ChannelState)| match channel {
            ChannelState::Reached(report) => Some((name, report.as_ref())),
            ChannelState::Connecting | ChannelState::Failed(_) => None,
        };
        self.serving().into_iter().filter_map(reached).collect()
    }

    /// Whether a serving pod was not looked at yet. What was said before stands until it was.
    pub(super) fn is_first_look(&self) -> bool {
        self.serving().iter().any(|(_, channel)| matches!(channel, ChannelState::Connecting))
    }

    /// Serving pods that report the generation.
    pub(super) fn programmed_pods(&self) -> usize {
        let has_it = |(_, report): &(_, &Report)| self.generation.as_ref() == Some(&report.generation);
        self.reports().iter().filter(|pod| has_it(pod)).count()
    }

    /// `Programmed`, as far as the pods are concerned.
    pub(super) fn programmed(&self) -> Finding {
        match self.obstacle() {
            None => Finding::good(ConditionType::Programmed, Reason::Programmed, ""),
            Some(problem) => self.workload.apply.explain(problem).finding(ConditionType::Programmed),
        }
    }

    fn obstacle(&self) -> Option<Problem> {
        let Some(generation) = self.generation.as_deref() else {
            return Some(Problem::pending("its generation is not made yet"));
        };
        let serving = self.serving();
        if serving.is_empty() {
            return Some(self.refused_at_start(generation).unwrap_or_else(|| self.no_ready_pod()));
        }
        let obstacles: Vec<(&str, Obstacle<'_>)> =
            serving.iter().filter_map(|(name, channel)| Some((*name, obstacle(channel, generation)?))).collect();
        (!obstacles.is_empty()).then(|| tell(&obstacles, serving.len(), generation))
    }

    /// Why no pod is ready.
    pub(super) fn no_ready_pod(&self) -> Problem {
        self.workload.problem().unwrap_or_else(|| Problem::new(Reason::PodsStarting, "no pod is ready"))
    }

    /// A new pod that refuses the generation it finds is never ready, and says so over its channel.
    fn refused_at_start(&self, generation: &str) -> Option<Problem> {
        let obstacles: Vec<(&str, Obstacle<'_>)> = self
            .channels
            .iter()
            .filter_map(|(name, channel)| Some((name.as_str(), obstacle(channel, generation)?)))
            .filter(|(name, obstacle)| {
                matches!(obstacle, Obstacle::Refused(_))
                    && self.workload.pods.iter().any(|pod| pods::name(pod) == *name)
            })
            .collect();
        (!obstacles.is_empty()).then(|| tell(&obstacles, self.workload.live(), generation))
    }

    fn channel(&self, pod: &str) -> &ChannelState {
        self.channels.get(pod).unwrap_or(&ChannelState::Connecting)
    }
}

fn obstacle<'a>(channel: &'a ChannelState, generation: &str) -> Option<Obstacle<'a>> {
    let report = match channel {
        ChannelState::Connecting => return Some(Obstacle::NotLookedAt),
        ChannelState::Failed(why) => return Some(Obstacle::Unreachable(why.to_string())),
        ChannelState::Reached(report) => report,
    };
    if report.generation == generation {
        return None;
    }
    let refused = report.refused.as_ref().filter(|refused| {
        // One that could not be read has no name, and is the one that was sent.
        refused.generation.as_deref().is_none_or(|refused| refused == generation)
    });
    Some(refused.map_or(Obstacle::Outdated(&report.generation), |refused| Obstacle::Refused(&refused.reason)))
}

/// The worst obstacle is the reason; each kind is told of, with a few of its pods and the details of the first.
fn tell(obstacles: &[(&str, Obstacle<'_>)], pods: usize, generation: &str) -> Problem {
    let kinds: [(Reason, Phrase); 4] = [
        (Reason::GenerationRefused, |obstacle| match obstacle {
            Obstacle::Refused(why) => Some(format!("refuses it: {}", quote(why))),
            _ => None,
        }),
        (Reason::ChannelUnreachable, |obstacle| match obstacle {
            Obstacle::Unreachable(why) => Some(format!("its admin channel cannot be reached: {}", quote(why))),
            _ => None,
        }),
        (Reason::ReplicasOutdated, |obstacle| match obstacle {
            Obstacle::Outdated("") => Some("serves none yet".to_owned()),
            Obstacle::Outdated(hash) => Some(format!("is still on {hash}")),
            _ => None,
        }),
        (Reason::Pending, |obstacle| match obstacle {
            Obstacle::NotLookedAt => Some("was not looked at yet".to_owned()),
            _ => None,
        }),
    ];
    let mut reason = None;
    let mut told = Vec::new();
    for (kind, phrase) in kinds {
        let these: Vec<(&str, String)> =
            obstacles.iter().filter_map(|(name, obstacle)| Some((*name, phrase(obstacle)?))).collect();
        let Some((_, first)) = these.first() else { continue };
        let names: Vec<&str> = these.iter().map(|(name, _)| *name).collect();
        reason = reason.or(Some(kind));
        told.push(format!("{} {first}", text::pods(&names)));
    }
    let live = pods.saturating_sub(obstacles.len());
    let message =
        format!("generation {generation} is live on {live} of {}: {}", text::count(pods, "pod"), told.join("; "));
    Problem::new(reason.unwrap_or(Reason::Pending), message)
}
