//! What all pods have in common: they meet the `restricted` Pod Security Standard, carry no token of a service account, spread over
//! nodes, and are replaced one by one.

use super::metadata::Subject;
use super::overlay;
use crate::api::RESTARTED_AT_ANNOTATION;
use crate::ir::infra::Rollout;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, EmptyDirVolumeSource, EnvVar, HTTPGetAction, PodSecurityContext, PodSpec,
    PodTemplateSpec, Probe, SeccompProfile, SecretVolumeSource, SecurityContext, TopologySpreadConstraint, Volume,
    VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// The user and the group of what has none of its own: `nonroot` of the usual minimal images.
const NOBODY: i64 = 65_532;

/// Old pod shapes to keep for `kubectl rollout undo`.
const REVISIONS: i32 = 3;

/// A Deployment around a pod. `replicas` is left to others where it is `None`.
pub(super) fn deployment(
    subject: &Subject<'_>,
    replicas: Option<i32>,
    pod: PodSpec,
    overlay: Option<PodTemplateSpec>,
    rollout: &Rollout,
) -> Deployment {
    // The new pod is ready before the old one goes, also where there is only one.
    let one_by_one =
        RollingUpdateDeployment { max_surge: Some(IntOrString::Int(1)), max_unavailable: Some(IntOrString::Int(0)) };
    Deployment {
        metadata: subject.metadata(),
        spec: Some(DeploymentSpec {
            replicas,
            selector: subject.selector(),
            strategy: Some(DeploymentStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: Some(one_by_one),
            }),
            revision_history_limit: Some(REVISIONS),
            template: template(subject, pod, overlay, rollout),
            ..DeploymentSpec::default()
        }),
        ..Deployment::default()
    }
}

fn template(
    subject: &Subject<'_>,
    mut pod: PodSpec,
    overlay: Option<PodTemplateSpec>,
    rollout: &Rollout,
) -> PodTemplateSpec {
    for container in pod.containers.iter_mut().chain(pod.init_containers.iter_mut().flatten()) {
        // The last that a container says before it crashes is told in a status.
        container.termination_message_policy = Some("FallbackToLogsOnError".to_owned());
    }
    let spec = PodSpec {
        service_account_name: Some(subject.name.clone()),
        automount_service_account_token: Some(false),
        // One variable per Service of the namespace is of no use to anybody here.
        enable_service_links: Some(false),
        topology_spread_constraints: Some(vec![over_nodes(subject)]),
        ..pod
    };
    let metadata = ObjectMeta {
        labels: Some(subject.labels()),
        annotations: Some(subject.pod_annotations()),
        ..ObjectMeta::default()
    };
    let mut template = PodTemplateSpec { metadata: Some(metadata), spec: Some(spec) };
    if let Some(overlay) = overlay {
        overlay::merge(&mut template, overlay);
    }
    // The key is our own, so that it does not fight with `kubectl rollout restart`.
    if let (Some(metadata), Some(value)) = (&mut template.metadata, &rollout.restarted_at) {
        metadata.annotations.get_or_insert_default().insert(RESTARTED_AT_ANNOTATION.to_owned(), value.clone());
    }
    if let Some(spec) = &mut template.spec {
        for constraint in spec.topology_spread_constraints.iter_mut().flatten() {
            // One that selects nothing does nothing.
            constraint.label_selector.get_or_insert_with(|| subject.selector());
        }
        spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()).for_each(restrict);
    }
    template
}

/// Where there are nodes to choose from; a cluster of one node runs all the same.
fn over_nodes(subject: &Subject<'_>) -> TopologySpreadConstraint {
    TopologySpreadConstraint {
        topology_key: "kubernetes.io/hostname".to_owned(),
        max_skew: 1,
        when_unsatisfiable: "ScheduleAnyway".to_owned(),
        label_selector: Some(subject.selector()),
        // During a rollout new pods are spread among themselves.
        match_label_keys: Some(vec!["pod-template-hash".to_owned()]),
        ..TopologySpreadConstraint::default()
    }
}

/// Supplies what the standard demands of a container and was not said, also for those that an overlay adds.
fn restrict(container: &mut Container) {
    let context: &mut SecurityContext = container.security_context.get_or_insert_default();
    context.allow_privilege_escalation.get_or_insert(false);
    let capabilities: &mut Capabilities = context.capabilities.get_or_insert_default();
    capabilities.drop.get_or_insert_with(|| vec!["ALL".to_owned()]);
}

/// The security of pods whose image may have a user of its own: it must only not be root.
pub(super) fn not_root() -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None }),
        ..PodSecurityContext::default()
    }
}

/// The security of pods that run as a user of our choice.
pub(super) fn as_nobody() -> PodSecurityContext {
    PodSecurityContext { run_as_user: Some(NOBODY), run_as_group: Some(NOBODY), fs_group: Some(NOBODY), ..not_root() }
}

/// A container that writes only to what is mounted.
pub(super) fn read_only() -> SecurityContext {
    SecurityContext { read_only_root_filesystem: Some(true), ..SecurityContext::default() }
}

/// An empty directory that lives as long as its pod and holds at the most `limit`.
pub(super) fn empty_dir(name: &str, limit: &str) -> Volume {
    Volume {
        name: name.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource { size_limit: Some(Quantity(limit.to_owned())), medium: None }),
        ..Volume::default()
    }
}

/// The keys of a Secret as files.
pub(super) fn secret(name: &str, secret: &str, mode: i32) -> Volume {
    let source = SecretVolumeSource {
        secret_name: Some(secret.to_owned()),
        default_mode: Some(mode),
        ..SecretVolumeSource::default()
    };
    Volume { name: name.to_owned(), secret: Some(source), ..Volume::default() }
}

/// A volume where a container sees it.
pub(super) fn mount(name: &str, path: &str, read_only: bool) -> VolumeMount {
    VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    }
}

/// A variable with its value.
pub(super) fn variable(name: &str, value: &str) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(value.to_owned()), value_from: None }
}

/// A port that a container listens on.
pub(super) fn container_port(name: &str, number: u16) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: number.into(),
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    }
}

/// A probe that asks for a path every `period` seconds and has as long for its answer.
pub(super) fn http_probe(path: &str, port: u16, period: i32, failures: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::Int(port.into()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period),
        timeout_seconds: Some(period),
        failure_threshold: Some(failures),
        ..Probe::default()
    }
}
