//! The pods of a gateway.

use super::Context;
use super::metadata::{Subject, pairs};
use super::pod::{as_nobody, container_port, deployment as around, http_probe, mount, read_only};
use super::scaling::count;
use crate::ir::ids::ObjectId;
use crate::ir::infra::{GatewayInfra, Scale};
use crate::translate::naming::{
    ADMIN_PORT, CHANNEL_PORT, INITIAL_REPLICAS_ANNOTATION, PEER_PORT, gateway_peers_service, service_host,
};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{
    ConfigMapVolumeSource, Container, EnvVar, EnvVarSource, ObjectFieldSelector, PodSecurityContext, PodSpec,
    ResourceRequirements, SecretVolumeSource, Sysctl, Volume,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use std::collections::BTreeMap;

/// The name of the container, for overlays.
const CONTAINER: &str = "gateway";

const SNAPSHOT: &str = "snapshot";
const SNAPSHOT_DIR: &str = "/etc/mcp/snapshot";
const CREDENTIALS: &str = "credentials";
const CREDENTIALS_DIR: &str = "/etc/mcp/credentials";

/// The pods' user and group read their credentials, and nobody else.
const OWNER_AND_GROUP_READ: i32 = 0o440;

/// Ports below it take a privilege to listen on.
const FIRST_UNPRIVILEGED_PORT: u16 = 1024;

/// Takes the privilege away from the pod's own ports: one of the sysctls that the `restricted` standard allows.
const UNPRIVILEGED_PORTS: &str = "net.ipv4.ip_unprivileged_port_start";

/// The Deployment. Listeners' ports are not among the container's: a listener more needs no new pods.
pub(super) fn deployment(subject: &Subject<'_>, infra: &GatewayInfra, context: &Context) -> Deployment {
    let pod = PodSpec {
        containers: vec![container(subject.id, infra, context)],
        volumes: Some(volumes(subject)),
        security_context: Some(security(infra)),
        termination_grace_period_seconds: Some(infra.grace_seconds.into()),
        ..PodSpec::default()
    };
    match infra.scale {
        Scale::Fixed { replicas } => around(subject, Some(count(replicas)), pod, infra.overlay.clone(), &infra.rollout),
        Scale::Auto { min, .. } => {
            let mut deployment = around(subject, None, pod, infra.overlay.clone(), &infra.rollout);
            deployment.metadata.annotations = Some(pairs([(INITIAL_REPLICAS_ANNOTATION, &min.to_string())]));
            deployment
        }
    }
}

fn container(id: &ObjectId, infra: &GatewayInfra, context: &Context) -> Container {
    Container {
        name: CONTAINER.to_owned(),
        image: Some(infra.image.as_ref().unwrap_or(&context.gateway_image).clone()),
        command: Some(vec!["mcp-gateway".to_owned()]),
        args: Some(args(id)),
        env: Some(vec![of_the_pod("POD_NAME", "metadata.name"), of_the_pod("POD_IP", "status.podIP")]),
        ports: Some(vec![
            container_port("admin", ADMIN_PORT),
            container_port("channel", CHANNEL_PORT),
            container_port("peer", PEER_PORT),
        ]),
        // A minute to start; then out of the Services within 4 s, and started anew after half a minute without an answer.
        startup_probe: Some(http_probe("/healthz", ADMIN_PORT, 1, 60)),
        readiness_probe: Some(http_probe("/readyz", ADMIN_PORT, 2, 2)),
        liveness_probe: Some(http_probe("/healthz", ADMIN_PORT, 10, 3)),
        resources: Some(requests()),
        security_context: Some(read_only()),
        volume_mounts: Some(vec![mount(SNAPSHOT, SNAPSHOT_DIR, true), mount(CREDENTIALS, CREDENTIALS_DIR, true)]),
        ..Container::default()
    }
}

fn args(id: &ObjectId) -> Vec<String> {
    let peers = ObjectId::new(&id.namespace, gateway_peers_service(&id.name));
    let options = [
        ("--snapshot-dir", SNAPSHOT_DIR.to_owned()),
        ("--credentials-dir", CREDENTIALS_DIR.to_owned()),
        ("--bind", "::".to_owned()),
        ("--admin", format!("[::]:{ADMIN_PORT}")),
        ("--channel", format!("[::]:{CHANNEL_PORT}")),
        ("--peer", format!("[::]:{PEER_PORT}")),
        ("--advertise", "$(POD_IP)".to_owned()),
        ("--peers", format!("{}:{PEER_PORT}", service_host(&peers))),
    ];
    let options = options.into_iter().flat_map(|(name, value)| [name.to_owned(), value]);
    std::iter::once("serve".to_owned()).chain(options).collect()
}

fn of_the_pod(name: &str, field: &str) -> EnvVar {
    let field = ObjectFieldSelector { field_path: field.to_owned(), api_version: None };
    EnvVar {
        name: name.to_owned(),
        value: None,
        value_from: Some(EnvVarSource { field_ref: Some(field), ..EnvVarSource::default() }),
    }
}

/// What a quiet gateway needs; an autoscaler measures CPU by it.
fn requests() -> ResourceRequirements {
    let requests = [("cpu", "100m"), ("memory", "128Mi")];
    let requests = requests.into_iter().map(|(name, amount)| (name.to_owned(), Quantity(amount.to_owned())));
    ResourceRequirements { requests: Some(requests.collect::<BTreeMap<_, _>>()), ..ResourceRequirements::default() }
}

fn volumes(subject: &Subject<'_>) -> Vec<Volume> {
    let snapshot = ConfigMapVolumeSource { name: subject.name.clone(), ..ConfigMapVolumeSource::default() };
    let credentials = SecretVolumeSource {
        secret_name: Some(subject.name.clone()),
        default_mode: Some(OWNER_AND_GROUP_READ),
        ..SecretVolumeSource::default()
    };
    vec![
        Volume { name: SNAPSHOT.to_owned(), config_map: Some(snapshot), ..Volume::default() },
        Volume { name: CREDENTIALS.to_owned(), secret: Some(credentials), ..Volume::default() },
    ]
}

fn security(infra: &GatewayInfra) -> PodSecurityContext {
    let is_privileged = infra.ports.iter().any(|listener| listener.port < FIRST_UNPRIVILEGED_PORT);
    let any_port = Sysctl { name: UNPRIVILEGED_PORTS.to_owned(), value: "0".to_owned() };
    PodSecurityContext { sysctls: is_privileged.then(|| vec![any_port]), ..as_nobody() }
}
