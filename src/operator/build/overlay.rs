//! A person's changes to a pod template, merged as `kubectl apply` merges: fields by fields, and lists by the keys that
//! Kubernetes gives them, containers by their names for example.

use k8s_openapi::DeepMerge;
use k8s_openapi::api::core::v1::{Container, Lifecycle, PodSpec, PodTemplateSpec, Probe, Volume};

/// Merges `overlay` over `template`.
pub(super) fn merge(template: &mut PodTemplateSpec, mut overlay: PodTemplateSpec) {
    if let (Some(ours), Some(theirs)) = (&mut template.spec, &mut overlay.spec) {
        give_way(ours, theirs);
        keep_sysctls(ours, theirs);
    }
    template.merge_from(overlay);
}

/// Takes out of `ours` what `theirs` says in another way: of a volume, a variable or a probe there can be one kind only, and
/// merging would leave two.
fn give_way(ours: &mut PodSpec, theirs: &PodSpec) {
    let said = |volume: &Volume| theirs.volumes.iter().flatten().any(|other| other.name == volume.name);
    if let Some(volumes) = &mut ours.volumes {
        volumes.retain(|volume| !said(volume));
    }
    let containers = ours.containers.iter_mut().chain(ours.init_containers.iter_mut().flatten());
    let others: Vec<&Container> = theirs.containers.iter().chain(theirs.init_containers.iter().flatten()).collect();
    for container in containers {
        if let Some(other) = others.iter().find(|other| other.name == container.name) {
            container_gives_way(container, other);
        }
    }
}

/// Sysctls are one list to Kubernetes, and ours is there because the pod does not work without it.
fn keep_sysctls(ours: &PodSpec, theirs: &mut PodSpec) {
    let ours = ours.security_context.iter().flat_map(|context| context.sysctls.iter().flatten());
    if let Some(theirs) = theirs.security_context.as_mut().and_then(|context| context.sysctls.as_mut()) {
        for sysctl in ours {
            if theirs.iter().all(|other| other.name != sysctl.name) {
                theirs.push(sysctl.clone());
            }
        }
    }
}

fn container_gives_way(ours: &mut Container, theirs: &Container) {
    if let Some(env) = &mut ours.env {
        env.retain(|variable| !theirs.env.iter().flatten().any(|other| other.name == variable.name));
    }
    probe_gives_way(&mut ours.liveness_probe, theirs.liveness_probe.as_ref());
    probe_gives_way(&mut ours.readiness_probe, theirs.readiness_probe.as_ref());
    probe_gives_way(&mut ours.startup_probe, theirs.startup_probe.as_ref());
    if let (Some(ours), Some(theirs)) = (&mut ours.lifecycle, &theirs.lifecycle) {
        let Lifecycle { post_start, pre_stop, stop_signal: _ } = theirs;
        ours.post_start.take_if(|_| post_start.is_some());
        ours.pre_stop.take_if(|_| pre_stop.is_some());
    }
}

/// Our timing stays, with their way of asking.
fn probe_gives_way(ours: &mut Option<Probe>, theirs: Option<&Probe>) {
    let asks = |probe: &Probe| {
        probe.exec.is_some() || probe.grpc.is_some() || probe.http_get.is_some() || probe.tcp_socket.is_some()
    };
    if let (Some(ours), true) = (ours, theirs.is_some_and(asks)) {
        (ours.exec, ours.grpc, ours.http_get, ours.tcp_socket) = (None, None, None, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn merged(ours: Value, theirs: Value) -> Value {
        let mut template: PodTemplateSpec = serde_json::from_value(ours).unwrap();
        merge(&mut template, serde_json::from_value(theirs).unwrap());
        serde_json::to_value(template).unwrap()
    }

    #[test]
    fn lists_are_merged_by_their_keys() {
        let ours = json!({ "spec": {
            "containers": [{
                "name": "a",
                "image": "a:1",
                "env": [{ "name": "A", "value": "1" }, { "name": "B", "value": "1" }],
                "ports": [{ "containerPort": 1, "name": "one" }],
                "volumeMounts": [{ "name": "v", "mountPath": "/v" }],
            }],
            "volumes": [{ "name": "v", "emptyDir": {} }],
            "tolerations": [{ "key": "a" }],
        } });
        let theirs = json!({ "spec": {
            "containers": [
                { "name": "b", "image": "b:1" },
                {
                    "name": "a",
                    "env": [{ "name": "B", "value": "2" }, { "name": "C", "value": "2" }],
                    "ports": [{ "containerPort": 2 }],
                    "volumeMounts": [{ "name": "w", "mountPath": "/w" }],
                },
            ],
            "volumes": [{ "name": "w", "configMap": { "name": "w" } }],
            "tolerations": [{ "key": "b" }],
        } });
        let expected = json!({ "spec": {
            "containers": [
                {
                    "name": "a",
                    "image": "a:1",
                    "env": [{ "name": "A", "value": "1" }, { "name": "B", "value": "2" }, { "name": "C", "value": "2" }],
                    "ports": [{ "containerPort": 1, "name": "one" }, { "containerPort": 2 }],
                    "volumeMounts": [{ "name": "v", "mountPath": "/v" }, { "name": "w", "mountPath": "/w" }],
                },
                { "name": "b", "image": "b:1" },
            ],
            "volumes": [{ "name": "v", "emptyDir": {} }, { "name": "w", "configMap": { "name": "w" } }],
            "tolerations": [{ "key": "b" }],
        } });
        assert_eq!(merged(ours, theirs), expected);
    }

    #[test]
    fn sysctls_add_up() {
        let with = |sysctls: Value| json!({ "spec": { "containers": [], "securityContext": { "sysctls": sysctls } } });
        let ours = with(json!([{ "name": "a", "value": "0" }, { "name": "b", "value": "0" }]));
        let theirs = with(json!([{ "name": "c", "value": "1" }, { "name": "a", "value": "1" }]));
        let expected =
            with(json!([{ "name": "c", "value": "1" }, { "name": "a", "value": "1" }, { "name": "b", "value": "0" }]));
        assert_eq!(merged(ours, theirs), expected);
    }

    #[test]
    fn of_what_can_be_one_kind_only_theirs_is_it() {
        let ours = json!({ "spec": {
            "containers": [{
                "name": "a",
                "env": [{ "name": "A", "value": "1" }],
                "readinessProbe": { "tcpSocket": { "port": 1 }, "periodSeconds": 5 },
                "livenessProbe": { "tcpSocket": { "port": 1 }, "periodSeconds": 5 },
                "lifecycle": { "preStop": { "sleep": { "seconds": 1 } } },
            }],
            "volumes": [{ "name": "v", "emptyDir": {} }],
        } });
        let theirs = json!({ "spec": {
            "containers": [{
                "name": "a",
                "env": [{ "name": "A", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } }],
                "readinessProbe": { "httpGet": { "port": 2 } },
                "livenessProbe": { "periodSeconds": 9 },
                "lifecycle": { "preStop": { "exec": { "command": ["true"] } } },
            }],
            "volumes": [{ "name": "v", "persistentVolumeClaim": { "claimName": "v" } }],
        } });
        let expected = json!({ "spec": {
            "containers": [{
                "name": "a",
                "env": [{ "name": "A", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } }],
                "readinessProbe": { "httpGet": { "port": 2 }, "periodSeconds": 5 },
                "livenessProbe": { "tcpSocket": { "port": 1 }, "periodSeconds": 9 },
                "lifecycle": { "preStop": { "exec": { "command": ["true"] } } },
            }],
            "volumes": [{ "name": "v", "persistentVolumeClaim": { "claimName": "v" } }],
        } });
        assert_eq!(merged(ours, theirs), expected);
    }
}
