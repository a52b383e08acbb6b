//! What an overlay, and a volume, may not say: it would take another account, reach the node, or weaken the `restricted` Pod Security
//! Standard. What it leaves out the operator supplies, also for containers that the overlay adds.

use crate::api::conditions::Reason;
use crate::api::{BACKEND_LABEL, GATEWAY_LABEL};
use crate::translate::naming::OWNER_ANNOTATION;
use crate::translate::problem::Problem;
use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, LifecycleHandler, PodSecurityContext, PodSpec, PodTemplateSpec, Probe,
    SELinuxOptions, SecurityContext, Volume,
};
use std::collections::BTreeMap;

/// A field and why it may not be so.
type Refusal = (String, &'static str);

const OWN_ACCOUNT: &str = "pods run under an account of the operator's making";
const NO_TOKEN: &str = "pods carry no service account token";
const NOT_THE_NODE: &str = "pods share nothing with the node";
const RESTRICTED: &str = "it would weaken the restricted Pod Security Standard";
const FINDS_PODS: &str = "the operator finds its pods by it";
const NEEDS_A_NAME: &str = "a name is required, it says what is meant";
const NOT_IN_TEMPLATES: &str = "it is for running pods only";

/// Labels that are the operator's.
const LABELS: [&str; 6] = [
    GATEWAY_LABEL,
    BACKEND_LABEL,
    "app.kubernetes.io/name",
    "app.kubernetes.io/instance",
    "app.kubernetes.io/component",
    "app.kubernetes.io/managed-by",
];

/// Sysctls that are a pod's own and that the standard allows.
const SYSCTLS: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
];

/// Refuses the first thing that may not be said. `field` is where the overlay stands.
pub(super) fn check(overlay: &PodTemplateSpec, field: &str) -> Result<(), Problem> {
    let metadata = overlay.metadata.as_ref();
    let labels = metadata.and_then(|metadata| metadata.labels.as_ref()).and_then(label);
    let annotations = metadata.and_then(|metadata| metadata.annotations.as_ref()).and_then(annotation);
    told(labels.or(annotations).or_else(|| overlay.spec.as_ref().and_then(pod)), field)
}

/// Refuses a volume that would reach the node or carry a token.
pub(super) fn check_volume(volume: &Volume, field: &str) -> Result<(), Problem> {
    told(of_volume(volume), field)
}

fn told(refusal: Option<Refusal>, field: &str) -> Result<(), Problem> {
    let problem =
        |(path, why)| Problem::new(Reason::UnsupportedValue, format!("{field}.{path} may not be set so: {why}"));
    refusal.map_or(Ok(()), |refusal| Err(problem(refusal)))
}

fn label(labels: &BTreeMap<String, String>) -> Option<Refusal> {
    let own = LABELS.into_iter().find(|own| labels.contains_key(*own))?;
    Some((format!("metadata.labels[{own}]"), FINDS_PODS))
}

fn annotation(annotations: &BTreeMap<String, String>) -> Option<Refusal> {
    if annotations.contains_key(OWNER_ANNOTATION) {
        return Some((format!("metadata.annotations[{OWNER_ANNOTATION}]"), FINDS_PODS));
    }
    let weakens = |(key, value): &(&String, &String)| {
        key.starts_with("container.apparmor.security.beta.kubernetes.io/")
            && *value != "runtime/default"
            && !value.starts_with("localhost/")
    };
    annotations.iter().find(weakens).map(|(key, _)| (format!("metadata.annotations[{key}]"), RESTRICTED))
}

/// Checks of a pod as a whole, in the order in which they are told.
const POD_CHECKS: &[fn(&PodSpec) -> Option<Refusal>] = &[
    account,    // whose account it takes
    token,      // what it may do at the API server
    namespaces, // what of the node it shares
    system,     // rules that hold for Linux only
    of_the_pod, // security settings of all containers
    volumes,    // what files it sees
    containers, // and each container
];

fn pod(spec: &PodSpec) -> Option<Refusal> {
    POD_CHECKS.iter().find_map(|check| check(spec)).map(|(path, why)| (format!("spec.{path}"), why))
}

fn refuse(refused: bool, path: impl Into<String>, why: &'static str) -> Option<Refusal> {
    refused.then(|| (path.into(), why))
}

fn account(spec: &PodSpec) -> Option<Refusal> {
    refuse(spec.service_account_name.is_some(), "serviceAccountName", OWN_ACCOUNT)
        .or_else(|| refuse(spec.service_account.is_some(), "serviceAccount", OWN_ACCOUNT))
}

fn token(spec: &PodSpec) -> Option<Refusal> {
    refuse(spec.automount_service_account_token == Some(true), "automountServiceAccountToken", NO_TOKEN)
}

fn namespaces(spec: &PodSpec) -> Option<Refusal> {
    refuse(spec.host_network.is_some(), "hostNetwork", NOT_THE_NODE)
        .or_else(|| refuse(spec.host_pid.is_some(), "hostPID", NOT_THE_NODE))
        .or_else(|| refuse(spec.host_ipc.is_some(), "hostIPC", NOT_THE_NODE))
}

fn system(spec: &PodSpec) -> Option<Refusal> {
    refuse(spec.os.as_ref().is_some_and(|os| os.name != "linux"), "os.name", "gateways and shims are Linux programs")
}

fn of_the_pod(spec: &PodSpec) -> Option<Refusal> {
    let context = spec.security_context.as_ref()?;
    let PodSecurityContext { run_as_non_root, run_as_user, se_linux_options, windows_options, sysctls, .. } = context;
    let profiles = (
        context.seccomp_profile.as_ref().map(|profile| profile.type_.as_str()),
        context.app_armor_profile.as_ref().map(|profile| profile.type_.as_str()),
    );
    let refusal = shared(*run_as_non_root, *run_as_user, se_linux_options.as_ref(), profiles)
        .or_else(|| refuse(windows_options.is_some(), "windowsOptions", RESTRICTED))
        .or_else(|| {
            let unsafe_at = sysctls.iter().flatten().position(|sysctl| !SYSCTLS.contains(&sysctl.name.as_str()))?;
            Some((format!("sysctls[{unsafe_at}]"), RESTRICTED))
        });
    refusal.map(|(path, why)| (format!("securityContext.{path}"), why))
}

/// What pods and containers say in the same words. Profiles are the types of seccomp's and `AppArmor`'s.
fn shared(
    run_as_non_root: Option<bool>,
    run_as_user: Option<i64>,
    se_linux: Option<&SELinuxOptions>,
    (seccomp, app_armor): (Option<&str>, Option<&str>),
) -> Option<Refusal> {
    refuse(run_as_non_root == Some(false), "runAsNonRoot", RESTRICTED)
        .or_else(|| refuse(run_as_user == Some(0), "runAsUser", RESTRICTED))
        .or_else(|| refuse(seccomp.is_some_and(unconfined), "seccompProfile.type", RESTRICTED))
        .or_else(|| refuse(app_armor.is_some_and(unconfined), "appArmorProfile.type", RESTRICTED))
        .or_else(|| refuse(se_linux.is_some_and(weakens_se_linux), "seLinuxOptions", RESTRICTED))
}

fn unconfined(profile: &str) -> bool {
    profile != "RuntimeDefault" && profile != "Localhost"
}

fn weakens_se_linux(options: &SELinuxOptions) -> bool {
    const TYPES: [&str; 4] = ["container_t", "container_init_t", "container_kvm_t", "container_engine_t"];
    let SELinuxOptions { user, role, type_, level: _ } = options;
    let is_set = |value: &Option<String>| value.as_ref().is_some_and(|value| !value.is_empty());
    is_set(user) || is_set(role) || (is_set(type_) && !TYPES.contains(&type_.as_deref().unwrap_or_default()))
}

fn volumes(spec: &PodSpec) -> Option<Refusal> {
    let (index, refusal) =
        spec.volumes.iter().flatten().enumerate().find_map(|(index, volume)| Some((index, of_volume(volume)?)))?;
    Some((format!("volumes[{index}].{}", refusal.0), refusal.1))
}

fn of_volume(volume: &Volume) -> Option<Refusal> {
    let own = [
        volume.config_map.is_some(),
        volume.csi.is_some(),
        volume.downward_api.is_some(),
        volume.empty_dir.is_some(),
        volume.ephemeral.is_some(),
        volume.image.is_some(),
        volume.persistent_volume_claim.is_some(),
        volume.projected.is_some(),
        volume.secret.is_some(),
    ];
    let mut projected = volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten());
    refuse(volume.name.is_empty(), "name", NEEDS_A_NAME)
        .or_else(|| refuse(volume.host_path.is_some(), "hostPath", NOT_THE_NODE))
        .or_else(|| refuse(!own.contains(&true), "type", RESTRICTED))
        .or_else(|| refuse(projected.any(|source| source.service_account_token.is_some()), "projected", NO_TOKEN))
}

fn containers(spec: &PodSpec) -> Option<Refusal> {
    let refusal = |list: &str, containers: &[Container]| {
        containers.iter().enumerate().find_map(|(index, container)| {
            of_container(container).map(|(path, why)| (format!("{list}[{index}].{path}"), why))
        })
    };
    refuse(spec.ephemeral_containers.is_some(), "ephemeralContainers", NOT_IN_TEMPLATES)
        .or_else(|| refusal("containers", &spec.containers))
        .or_else(|| refusal("initContainers", spec.init_containers.as_deref().unwrap_or_default()))
}

fn of_container(container: &Container) -> Option<Refusal> {
    let ports = container.ports.as_deref().unwrap_or_default();
    refuse(container.name.is_empty(), "name", NEEDS_A_NAME)
        .or_else(|| refuse(ports.iter().any(reaches_the_node), "ports[].hostPort", NOT_THE_NODE))
        .or_else(|| refuse(handlers_name_a_host(container), "*.host", RESTRICTED))
        .or_else(|| {
            let (path, why) = of_context(container.security_context.as_ref()?)?;
            Some((format!("securityContext.{path}"), why))
        })
}

fn reaches_the_node(port: &ContainerPort) -> bool {
    port.host_port.is_some_and(|port| port != 0) || port.host_ip.is_some()
}

/// A probe or a hook with a host of its own is a request of the node's to anywhere.
fn handlers_name_a_host(container: &Container) -> bool {
    let named = |host: Option<&String>| host.is_some_and(|host| !host.is_empty());
    let probe = |probe: &Probe| {
        named(probe.http_get.as_ref().and_then(|get| get.host.as_ref()))
            || named(probe.tcp_socket.as_ref().and_then(|socket| socket.host.as_ref()))
    };
    let hook = |hook: &LifecycleHandler| {
        named(hook.http_get.as_ref().and_then(|get| get.host.as_ref()))
            || named(hook.tcp_socket.as_ref().and_then(|socket| socket.host.as_ref()))
    };
    let probes = [&container.liveness_probe, &container.readiness_probe, &container.startup_probe];
    let hooks = container.lifecycle.iter().flat_map(|lifecycle| [&lifecycle.post_start, &lifecycle.pre_stop]);
    probes.into_iter().flatten().any(probe) || hooks.flatten().any(hook)
}

fn of_context(context: &SecurityContext) -> Option<Refusal> {
    let profiles = (
        context.seccomp_profile.as_ref().map(|profile| profile.type_.as_str()),
        context.app_armor_profile.as_ref().map(|profile| profile.type_.as_str()),
    );
    let SecurityContext { run_as_non_root, run_as_user, se_linux_options, .. } = context;
    let privileged = context.privileged == Some(true);
    let escalates = context.allow_privilege_escalation == Some(true);
    let mounts_proc = context.proc_mount.as_ref().is_some_and(|mount| mount != "Default");
    shared(*run_as_non_root, *run_as_user, se_linux_options.as_ref(), profiles)
        .or_else(|| refuse(privileged, "privileged", RESTRICTED))
        .or_else(|| refuse(escalates, "allowPrivilegeEscalation", RESTRICTED))
        .or_else(|| refuse(mounts_proc, "procMount", RESTRICTED))
        .or_else(|| refuse(context.windows_options.is_some(), "windowsOptions", RESTRICTED))
        .or_else(|| refuse(context.capabilities.as_ref().is_some_and(weakens), "capabilities", RESTRICTED))
}

fn weakens(capabilities: &Capabilities) -> bool {
    let adds = capabilities.add.iter().flatten().any(|capability| capability != "NET_BIND_SERVICE");
    // A list replaces ours, which drops all of them.
    adds || capabilities.drop.as_ref().is_some_and(|drop| !drop.iter().any(|capability| capability == "ALL"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn refused(overlay: Value) -> Option<String> {
        let overlay = serde_json::from_value(overlay).unwrap();
        check(&overlay, "spec.podTemplate").err().map(|problem| problem.message)
    }

    #[test]
    fn what_weakens_a_pod_is_refused_with_its_path() {
        let context = |context: Value| json!({ "spec": { "containers": [{ "name": "a" }, { "name": "b", "securityContext": context }] } });
        let pod = |context: Value| json!({ "spec": { "securityContext": context } });
        let volume = |volume: Value| json!({ "spec": { "volumes": [volume] } });
        let cases = [
            (
                json!({ "metadata": { "labels": { "app.kubernetes.io/name": "x" } } }),
                "metadata.labels[app.kubernetes.io/name]",
            ),
            (json!({ "metadata": { "annotations": { OWNER_ANNOTATION: "x" } } }), "metadata.annotations[gateway"),
            (
                json!({ "metadata": { "annotations": { "container.apparmor.security.beta.kubernetes.io/a": "unconfined" } } }),
                "metadata.annotations[container.apparmor",
            ),
            (json!({ "spec": { "serviceAccountName": "a" } }), "spec.serviceAccountName"),
            (json!({ "spec": { "serviceAccount": "a" } }), "spec.serviceAccount"),
            (json!({ "spec": { "automountServiceAccountToken": true } }), "spec.automountServiceAccountToken"),
            (json!({ "spec": { "hostNetwork": false } }), "spec.hostNetwork"),
            (json!({ "spec": { "hostPID": true } }), "spec.hostPID"),
            (json!({ "spec": { "hostIPC": true } }), "spec.hostIPC"),
            (json!({ "spec": { "os": { "name": "windows" } } }), "spec.os.name"),
            (json!({ "spec": { "ephemeralContainers": [] } }), "spec.ephemeralContainers"),
            (pod(json!({ "runAsNonRoot": false })), "spec.securityContext.runAsNonRoot"),
            (pod(json!({ "runAsUser": 0 })), "spec.securityContext.runAsUser"),
            (pod(json!({ "seccompProfile": { "type": "Unconfined" } })), "spec.securityContext.seccompProfile.type"),
            (pod(json!({ "appArmorProfile": { "type": "Unconfined" } })), "spec.securityContext.appArmorProfile.type"),
            (pod(json!({ "seLinuxOptions": { "type": "spc_t" } })), "spec.securityContext.seLinuxOptions"),
            (pod(json!({ "windowsOptions": {} })), "spec.securityContext.windowsOptions"),
            (pod(json!({ "sysctls": [{ "name": "kernel.msgmax", "value": "1" }] })), "spec.securityContext.sysctls[0]"),
            (volume(json!({ "name": "a", "hostPath": { "path": "/" } })), "spec.volumes[0].hostPath"),
            (volume(json!({ "name": "a", "nfs": { "server": "b", "path": "/" } })), "spec.volumes[0].type"),
            (volume(json!({ "emptyDir": {} })), "spec.volumes[0].name"),
            (
                volume(
                    json!({ "name": "a", "projected": { "sources": [{ "serviceAccountToken": { "path": "t" } }] } }),
                ),
                "spec.volumes[0].projected",
            ),
            (context(json!({ "privileged": true })), "spec.containers[1].securityContext.privileged"),
            (
                context(json!({ "allowPrivilegeEscalation": true })),
                "spec.containers[1].securityContext.allowPrivilegeEscalation",
            ),
            (context(json!({ "procMount": "Unmasked" })), "spec.containers[1].securityContext.procMount"),
            (context(json!({ "runAsUser": 0 })), "spec.containers[1].securityContext.runAsUser"),
            (
                context(json!({ "capabilities": { "add": ["SYS_ADMIN"] } })),
                "spec.containers[1].securityContext.capabilities",
            ),
            (context(json!({ "capabilities": { "drop": [] } })), "spec.containers[1].securityContext.capabilities"),
            (
                json!({ "spec": { "initContainers": [{ "name": "a", "securityContext": { "privileged": true } }] } }),
                "spec.initContainers[0]",
            ),
            (json!({ "spec": { "containers": [{ "image": "a" }] } }), "spec.containers[0].name"),
            (
                json!({ "spec": { "containers": [{ "name": "a", "ports": [{ "containerPort": 1, "hostPort": 1 }] }] } }),
                "spec.containers[0].ports[].hostPort",
            ),
            (
                json!({ "spec": { "containers": [{ "name": "a", "livenessProbe": { "httpGet": { "host": "10.0.0.1", "port": 80 } } }] } }),
                "spec.containers[0].*.host",
            ),
        ];
        for (overlay, path) in cases {
            let message = refused(overlay.clone()).unwrap_or_else(|| panic!("{overlay} is taken"));
            assert!(message.starts_with(&format!("spec.podTemplate.{path}")), "{overlay}: {message}");
        }
    }

    #[test]
    fn what_keeps_to_the_standard_is_taken() {
        let overlay = json!({
            "metadata": { "labels": { "team": "a" }, "annotations": { "container.apparmor.security.beta.kubernetes.io/a": "runtime/default" } },
            "spec": {
                "automountServiceAccountToken": false,
                "os": { "name": "linux" },
                "securityContext": {
                    "runAsNonRoot": true,
                    "runAsUser": 1000,
                    "fsGroup": 1000,
                    "seccompProfile": { "type": "Localhost", "localhostProfile": "a" },
                    "seLinuxOptions": { "level": "s0", "type": "container_t" },
                    "sysctls": [{ "name": "net.ipv4.tcp_keepalive_time", "value": "60" }],
                },
                "containers": [{
                    "name": "a",
                    "ports": [{ "containerPort": 80 }],
                    "livenessProbe": { "httpGet": { "port": 80 } },
                    "securityContext": { "capabilities": { "add": ["NET_BIND_SERVICE"], "drop": ["ALL"] } },
                }],
                "volumes": [{ "name": "a", "secret": { "secretName": "b" } }],
            },
        });
        assert_eq!(refused(overlay), None);
    }
}
