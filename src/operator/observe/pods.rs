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
    Some((Reason::ContainersCrashing, format!("container {} ended {}", container.name, how(ended))))
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
    let reason = ended.reason.as_deref().filter(|reason| !reason.is_empty() && *reason != "Error").map(str::to_owned);
    let message = ended.message.as_deref().map(quote).filter(|message| !message.is_empty());
    let details: Vec<String> = reason.into_iter().chain(message).collect();
    let code = ended.exit_code;
    if details.is_empty() {
        format!("with exit code {code}")
    } else {
        format!("with exit code {code} ({})", details.join(": "))
    }
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
            format!(
                "{who}: a container cannot be created ({detail}); create what it names, or correct spec.podTemplate"
            )
        }
        Reason::ContainersCrashing => {
            format!("{who}: {detail} and is started again; its log says why: kubectl logs --previous {first}")
        }
        Reason::PodsNotScheduled => {
            format!("{who}: no node takes it ({detail}); add nodes, or ask for less in spec.podTemplate")
        }
        _ => format!("{who}: not ready yet"),
    }
}
