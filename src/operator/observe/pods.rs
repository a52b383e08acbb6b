//! What a pod's own status says of it.

use super::Problem;
use super::text::{pods, quote};
use crate::api::conditions::Reason;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod};

/// Waiting reasons of a container whose image is the trouble.
const PULL: &[&str] = &[
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "ImageInspectError",
    "RegistryUnavailable",
];

/// Waiting reasons of a container that cannot be made.
const CREATE: &[&str] =
    &["CreateContainerConfigError", "CreateContainerError", "RunContainerError", "PostStartHookError"];

/// Why a container ended that used more memory than its limit.
const OUT_OF_MEMORY: &str = "OOMKilled";

/// Troubles in the order in which they are told: what no waiting will cure comes first.
const ORDER: &[Reason] = &[
    Reason::ImagePullFailed,
    Reason::ContainersNotCreated,
    Reason::ContainersCrashing,
    Reason::PodsNotScheduled,
    Reason::PodsStarting,
];

/// How a pod is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It is being deleted, or is over: it counts no more.
    Leaving,
    /// It takes connections.
    Ready,
    /// It does not, with one of [`ORDER`] and the details.
    NotReady(Reason, String),
}

pub(super) fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

/// Whether a pod takes connections.
pub(in crate::operator) fn is_ready(pod: &Pod) -> bool {
    state(pod) == State::Ready
}

pub(super) fn state(pod: &Pod) -> State {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    if pod.metadata.deletion_timestamp.is_some() || matches!(phase, Some("Failed" | "Succeeded")) {
        return State::Leaving;
    }
    let Some(status) = pod.status.as_ref() else {
        return State::NotReady(Reason::PodsStarting, String::new());
    };
    let condition = |type_: &str| status.conditions.iter().flatten().find(|condition| condition.type_ == type_);
    if condition("Ready").is_some_and(|ready| ready.status == "True") {
        return State::Ready;
    }
    if let Some(scheduled) = condition("PodScheduled").filter(|scheduled| scheduled.status == "False") {
        return State::NotReady(Reason::PodsNotScheduled, quote(scheduled.message.as_deref().unwrap_or_default()));
    }
    let containers = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    let trouble =
        containers.filter_map(|container| in_container(pod, container)).min_by_key(|(reason, _)| rank(*reason));
    trouble.map_or(State::NotReady(Reason::PodsStarting, String::new()), |(reason, detail)| {
        State::NotReady(reason, detail)
    })
}

fn rank(reason: Reason) -> usize {
    ORDER.iter().position(|known| *known == reason).unwrap_or(ORDER.len())
}

fn in_container(pod: &Pod, container: &ContainerStatus) -> Option<(Reason, String)> {
    let waiting = container.state.as_ref().and_then(|state| state.waiting.as_ref());
    let why = waiting.and_then(|waiting| waiting.reason.as_deref()).unwrap_or_default();
    let text = waiting.and_then(|waiting| waiting.message.as_deref()).unwrap_or_default();
    if PULL.contains(&why) {
        return Some((Reason::ImagePullFailed, pull_detail(pod, container, text)));
    }
    if CREATE.contains(&why) {
        return Some((Reason::ContainersNotCreated, format!("container {}: {}", container.name, quote(text))));
    }
    let ended = last_end(container).filter(|_| !container.ready)?;
    Some((Reason::ContainersCrashing, format!("container {} {}", container.name, how(ended))))
}

/// The image and why it does not come. The kubelet goes to and fro between the error and its wait before the next try, and
/// says the error in both; without that, the message would go to and fro as well.
fn pull_detail(pod: &Pod, container: &ContainerStatus, text: &str) -> String {
    let image = image(pod, &container.name).unwrap_or(&container.image);
    let error = text.split_once("ErrImagePull: ").map_or(text, |(_, error)| error);
    if error.is_empty() || error.starts_with("Back-off") {
        return image.to_owned();
    }
    format!("{image}: {}", quote(error))
}

fn image<'a>(pod: &'a Pod, container: &str) -> Option<&'a str> {
    let spec = pod.spec.as_ref()?;
    let mut all = spec.init_containers.iter().flatten().chain(&spec.containers);
    all.find(|candidate| candidate.name == container)?.image.as_deref()
}

/// How the container's last run ended, whether it waits for the next one or is in it.
fn last_end(container: &ContainerStatus) -> Option<&ContainerStateTerminated> {
    let now = container.state.as_ref().and_then(|state| state.terminated.as_ref());
    let before = container.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    // An init container that succeeded is done.
    now.filter(|ended| ended.exit_code != 0).or_else(|| before.filter(|_| container.restart_count > 0))
}

/// The exit code, what Kubernetes makes of it, and the termination message: our shim says there why a command does not work.
fn how(ended: &ContainerStateTerminated) -> String {
    if ended.reason.as_deref() == Some(OUT_OF_MEMORY) {
        return "ended for want of memory (OOMKilled): raise its resources.limits.memory, or have it use less"
            .to_owned();
    }
    let reason = ended.reason.as_deref().filter(|reason| !reason.is_empty() && *reason != "Error");
    let reason = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
    let words = ended.message.as_deref().and_then(last_words).map(|words| format!(": {words}")).unwrap_or_default();
    format!("ended with exit code {}{reason}{words}", ended.exit_code)
}

/// The line that tells most of what a container said last. That may be the end of its log: what comes after the error there is where
/// in the program it happened.
fn last_words(text: &str) -> Option<String> {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty()).rev();
    let last = lines.clone().next()?;
    let tells = |line: &&str| {
        let line = line.to_ascii_lowercase();
        ["error", "panic", "fatal"].iter().any(|word| line.contains(word))
    };
    Some(quote(lines.find(tells).unwrap_or(last)))
}

/// All that is wrong with some pods: the reason is that of the worst, the message tells of all, by kind.
pub(super) fn problem(troubles: &[(&str, Reason, String)]) -> Option<Problem> {
    let mut told = Vec::new();
    let mut worst = None;
    for reason in ORDER {
        let these: Vec<&(&str, Reason, String)> = troubles.iter().filter(|(_, kind, _)| kind == reason).collect();
        let names: Vec<&str> = these.iter().map(|(name, ..)| *name).collect();
        let Some((first, _, detail)) = these.first() else { continue };
        worst = worst.or(Some(*reason));
        told.push(sentence(*reason, &pods(&names), first, detail));
    }
    Some(Problem::new(worst?, told.join("; ")))
}

/// What is wrong with pods of one kind of trouble; the details are those of the first.
fn sentence(reason: Reason, who: &str, first: &str, detail: &str) -> String {
    match reason {
        Reason::ImagePullFailed => format!(
            "{who}: the image cannot be pulled ({detail}); correct its name, or name a pull secret in spec.podTemplate.spec.imagePullSecrets"
        ),
        Reason::ContainersNotCreated => {
            format!("{who}: a container cannot be created ({detail}); create what it names, or correct the spec")
        }
        Reason::ContainersCrashing => {
            format!("{who}: {detail}; it is started again, and its log says more: kubectl logs --previous {first}")
        }
        Reason::PodsNotScheduled => {
            format!("{who}: no node takes it ({detail}); add nodes, or ask for less")
        }
        _ => format!("{who}: not ready yet"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_that_tells_most_is_told() {
        let of = |text: &str| last_words(text);
        assert_eq!(of(" \n"), None);
        assert_eq!(of("the command cannot be run: no such file\n").unwrap(), "the command cannot be run: no such file");
        let python =
            "Traceback (most recent call last):\n  File \"a.py\", line 1\nModuleNotFoundError: No module named 'b'\n";
        assert_eq!(of(python).unwrap(), "ModuleNotFoundError: No module named 'b'");
        let node = "node:internal/modules:1228\n  throw err;\n\nError: Cannot find module '/a'\n    at Module._load\n\nNode.js v22.1.0";
        assert_eq!(of(node).unwrap(), "Error: Cannot find module '/a'");
        assert!(of(&"x".repeat(5000)).unwrap().len() <= 300);
    }
}
