//! The `restricted` Pod Security Standard, over a whole pod: what the namespace's admission would say.

use k8s_openapi::api::core::v1::{Container, PodSecurityContext, PodSpec, PodTemplateSpec, SecurityContext};

/// The kinds of volume that the standard allows.
const ALLOWED: [&str; 9] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

/// Every way in which a pod falls short; also of what we ask beyond the standard.
pub(crate) fn violations(template: &PodTemplateSpec) -> Vec<String> {
    let Some(spec) = &template.spec else { return vec!["there is no pod".to_owned()] };
    let mut found = Vec::new();
    let mut must = |holds: bool, what: String| {
        if !holds {
            found.push(what);
        }
    };
    must(spec.automount_service_account_token == Some(false), "a token is mounted".to_owned());
    must(spec.service_account_name.is_some(), "no account of its own".to_owned());
    let of_node = [spec.host_network, spec.host_pid, spec.host_ipc];
    must(!of_node.contains(&Some(true)), "the node's namespaces".to_owned());
    must(spec.ephemeral_containers.is_none(), "ephemeral containers".to_owned());
    for volume in spec.volumes.iter().flatten() {
        let fields = serde_json::to_value(volume).unwrap();
        let kinds: Vec<&String> = fields.as_object().unwrap().keys().filter(|key| *key != "name").collect();
        must(kinds.len() == 1 && ALLOWED.contains(&kinds[0].as_str()), format!("volume {}: {kinds:?}", volume.name));
    }
    let default = PodSecurityContext::default();
    let pod = spec.security_context.as_ref().unwrap_or(&default);
    for sysctl in pod.sysctls.iter().flatten() {
        must(sysctl.name == "net.ipv4.ip_unprivileged_port_start", format!("sysctl {}", sysctl.name));
    }
    must(pod.run_as_user != Some(0), "root".to_owned());
    for container in containers(spec) {
        for what in of_container(container, pod) {
            must(false, format!("{}: {what}", container.name));
        }
    }
    found
}

fn containers(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    spec.containers.iter().chain(spec.init_containers.iter().flatten())
}

fn of_container(container: &Container, pod: &PodSecurityContext) -> Vec<&'static str> {
    let default = SecurityContext::default();
    let own = container.security_context.as_ref().unwrap_or(&default);
    let seccomp = own.seccomp_profile.as_ref().or(pod.seccomp_profile.as_ref()).map(|profile| profile.type_.as_str());
    let capabilities = own.capabilities.clone().unwrap_or_default();
    let adds = capabilities.add.unwrap_or_default();
    let rules = [
        (own.run_as_non_root.or(pod.run_as_non_root) == Some(true), "may be root"),
        (own.run_as_user != Some(0), "is root"),
        (matches!(seccomp, Some("RuntimeDefault" | "Localhost")), "no seccomp profile"),
        (own.allow_privilege_escalation == Some(false), "may escalate"),
        (own.privileged != Some(true), "is privileged"),
        (capabilities.drop.unwrap_or_default().iter().any(|name| name == "ALL"), "keeps capabilities"),
        (adds.iter().all(|name| name == "NET_BIND_SERVICE"), "adds capabilities"),
        (own.proc_mount.as_ref().is_none_or(|mount| mount == "Default"), "sees /proc"),
        (container.ports.iter().flatten().all(|port| port.host_port.is_none()), "takes a port of the node"),
    ];
    rules.into_iter().filter(|(holds, _)| !holds).map(|(_, what)| what).collect()
}

#[test]
fn a_bare_pod_falls_short() {
    let template: PodTemplateSpec = serde_json::from_value(serde_json::json!({ "spec": {
        "hostNetwork": true,
        "containers": [{ "name": "a", "ports": [{ "containerPort": 1, "hostPort": 1 }] }],
        "volumes": [{ "name": "b", "hostPath": { "path": "/" } }],
    } }))
    .unwrap();
    let found = violations(&template).join("; ");
    for what in ["token", "namespaces", "hostPath", "root", "seccomp", "escalate", "capabilities", "port of the node"] {
        assert!(found.contains(what), "{what}: {found}");
    }
}
