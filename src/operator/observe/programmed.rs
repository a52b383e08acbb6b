//! Whether the pods of a gateway serve the generation that they should: what they report, and nothing else, counts.

use super::Problem;
use super::pods::{self, State};
use super::seen::{Apply, SeenGateway};
use super::text::{self, quote};
use crate::api::conditions::{ConditionType, Finding, Reason};
use crate::ir::channel::Report;
use crate::operator::push::ChannelState;
use k8s_openapi::api::core::v1::Pod;

/// What one pod has against the generation being live there.
enum Obstacle<'a> {
    Refused(&'a str),
    Unreachable(String),
    Outdated(&'a str),
    NotLookedAt,
}

/// Obstacles in the order in which they are told, the worst first.
const ORDER: [Reason; 4] =
    [Reason::GenerationRefused, Reason::ChannelUnreachable, Reason::ReplicasOutdated, Reason::Pending];

impl Obstacle<'_> {
    /// One of [`ORDER`].
    const fn reason(&self) -> Reason {
        match self {
            Self::Refused(_) => Reason::GenerationRefused,
            Self::Unreachable(_) => Reason::ChannelUnreachable,
            Self::Outdated(_) => Reason::ReplicasOutdated,
            Self::NotLookedAt => Reason::Pending,
        }
    }

    /// What follows the names of the pods, one or more, in a sentence.
    fn phrase(&self, is_one: bool) -> String {
        let verb = |one: &'static str, more: &'static str| if is_one { one } else { more };
        match self {
            Self::Refused(why) => format!("{} it: {}", verb("refuses", "refuse"), quote(why)),
            Self::Unreachable(why) => format!("cannot be reached over the admin channel: {}", quote(why)),
            Self::Outdated("") => format!("{} none yet", verb("serves", "serve")),
            Self::Outdated(hash) => format!("{} still on {hash}", verb("is", "are")),
            Self::NotLookedAt => format!("{} not looked at yet", verb("was", "were")),
        }
    }
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

    /// Whether a serving pod is yet to be looked at. What was said before stands until it was: not for ever, as a link that
    /// has tried once knows either a report or a failure. Links begin with a generation; where the making of one has come to
    /// nothing there are none.
    pub(super) fn is_first_look(&self) -> bool {
        let is_followed = self.generation.is_some() || self.workload.apply == Apply::Pending;
        is_followed && self.serving().iter().any(|(_, channel)| matches!(channel, ChannelState::Connecting))
    }

    /// Why serving pods that say nothing do not, if somebody can do something about it.
    pub(super) fn silence(&self) -> Option<Problem> {
        let serving = self.serving();
        let unreachable = serving.iter().find_map(|(pod, channel)| match channel {
            ChannelState::Failed(why) => Some(Problem::new(
                Reason::ChannelUnreachable,
                format!("gateway pod {pod} cannot be reached over the admin channel: {}", quote(&why.to_string())),
            )),
            ChannelState::Connecting | ChannelState::Reached(_) => None,
        });
        let unfollowed = || {
            let is_so = self.generation.is_none() && !serving.is_empty();
            is_so.then(|| self.in_the_way(Problem::pending("its pods cannot be asked yet")))
        };
        unreachable.or_else(unfollowed).filter(|problem| problem.reason != Reason::Pending)
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
            return Some(self.in_the_way(Problem::pending("its generation is not made yet")));
        };
        let serving = self.serving();
        if serving.is_empty() {
            return Some(self.refused_at_start(generation).unwrap_or_else(|| self.no_ready_pod()));
        }
        let obstacles: Vec<(&str, Obstacle<'_>)> =
            serving.iter().filter_map(|(name, channel)| Some((*name, obstacle(channel, generation)?))).collect();
        (!obstacles.is_empty()).then(|| self.tell(&obstacles, serving.len(), generation))
    }

    /// Why no pod is ready.
    pub(super) fn no_ready_pod(&self) -> Problem {
        let no_pod = || Problem::new(Reason::PodsStarting, "no pod is ready");
        self.in_the_way(self.workload.problem().unwrap_or_else(no_pod))
    }

    /// What is wrong with the objects, or else this.
    fn in_the_way(&self, problem: Problem) -> Problem {
        let apply = &self.workload.apply;
        apply.problem().unwrap_or_else(|| apply.explain(problem))
    }

    /// A new pod that refuses the generation it finds is never ready, and says so over its channel.
    fn refused_at_start(&self, generation: &str) -> Option<Problem> {
        let obstacles: Vec<(&str, Obstacle<'_>)> = self
            .channels
            .iter()
            .filter_map(|(name, channel)| Some((name.as_str(), obstacle(channel, generation)?)))
            .filter(|(name, obstacle)| {
                matches!(obstacle, Obstacle::Refused(_)) && self.workload.pods.iter().any(|pod| is_starting(pod, name))
            })
            .collect();
        (!obstacles.is_empty()).then(|| self.tell(&obstacles, self.workload.live(), generation))
    }

    /// The worst obstacle is the reason; each kind is told of, with a few of its pods and the details of the first.
    fn tell(&self, obstacles: &[(&str, Obstacle<'_>)], pods: usize, generation: &str) -> Problem {
        let mut reason = None;
        let mut told = Vec::new();
        for kind in ORDER {
            let these: Vec<&(&str, Obstacle<'_>)> =
                obstacles.iter().filter(|(_, obstacle)| obstacle.reason() == kind).collect();
            let Some((_, first)) = these.first() else { continue };
            let names: Vec<&str> = these.iter().map(|(name, _)| *name).collect();
            reason = reason.or(Some(kind));
            told.push(format!("{} {}", text::pods(&names), first.phrase(names.len() == 1)));
        }
        let (live, pods) = (self.programmed_pods(), text::count(pods, "pod"));
        let message = format!("generation {generation} is live on {live} of {pods}: {}", told.join("; "));
        Problem::new(reason.unwrap_or(Reason::Pending), message)
    }

    fn channel(&self, pod: &str) -> &ChannelState {
        self.channels.get(pod).unwrap_or(&ChannelState::Connecting)
    }
}

fn is_starting(pod: &Pod, name: &str) -> bool {
    pods::name(pod) == name && matches!(pods::state(pod), State::NotReady(..))
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
