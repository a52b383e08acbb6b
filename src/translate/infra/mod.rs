//! What to deploy in a cluster, and what of it cannot be.

mod backend;
mod destinations;
mod overlay;
mod security;
mod typed;
mod volumes;

pub(super) use backend::of_backend;
pub(super) use destinations::of_snapshot;

use super::facts::{Cluster, Mode};
use super::listeners::CheckedListener;
use super::problem::Problem;
use crate::api::conditions::{ConditionStatus, Finding, Reason};
use crate::api::gateway::{ExposeType, ListenerProtocol};
use crate::api::gateway_settings::{Drain, NetworkPolicyMode};
use crate::api::{McpGateway, McpGatewaySpec, PAUSED_ANNOTATION, RESTARTED_AT_ANNOTATION};
use crate::ir::ids::ObjectId;
use crate::ir::infra::{Expose, GatewayApiParent, GatewayInfra, ListenerPort, Rollout, Scale};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::{BTreeMap, BTreeSet};

/// How many pods a gateway has when nobody says: one may go away without anybody noticing.
const DEFAULT_REPLICAS: u32 = 2;

/// What a pod gets beyond its drain to end by itself, in milliseconds.
const GRACE_BEYOND_DRAIN_MS: u64 = 5_000;

/// What to deploy for a gateway, but for the destinations: they follow from what it serves.
pub(super) fn of_gateway(
    id: &ObjectId,
    gateway: &McpGateway,
    listeners: &[CheckedListener<'_>],
    cluster: &Cluster,
) -> Result<GatewayInfra, Problem> {
    let spec = &gateway.spec;
    let accepted: Vec<&CheckedListener<'_>> = listeners.iter().filter(|listener| listener.accepted.is_ok()).collect();
    Ok(GatewayInfra {
        gateway: id.clone(),
        image: spec.image.clone(),
        scale: scale(spec)?,
        ports: ports(&accepted),
        expose: expose(id, spec, &accepted, cluster)?,
        grace_seconds: grace_seconds(&spec.drain),
        destinations: (spec.network_policy.mode == NetworkPolicyMode::Restricted).then(BTreeSet::new),
        overlay: overlay::check(spec.pod_template.as_ref())?,
        rollout: rollout(&gateway.metadata),
    })
}

/// What a gateway refers to and the cluster has not.
pub(super) fn missing(spec: &McpGatewaySpec, mode: &Mode) -> Option<Problem> {
    let lacks_gateway_api = matches!(mode, Mode::Cluster(Cluster { gateway_api: false, .. }));
    (lacks_gateway_api && spec.expose.type_ == ExposeType::HTTPRoute).then(|| {
        Problem::new(
            Reason::InvalidKind,
            "spec.expose.type HTTPRoute: the cluster has no HTTPRoute of gateway.networking.k8s.io/v1 that the operator may use; install Gateway API or choose another type",
        )
    })
}

fn scale(spec: &McpGatewaySpec) -> Result<Scale, Problem> {
    match (spec.replicas, &spec.autoscaling) {
        (Some(_), Some(_)) => {
            Err(Problem::invalid("spec.replicas and spec.autoscaling exclude each other; remove one of them"))
        }
        (replicas, None) => Ok(Scale::Fixed { replicas: replicas.unwrap_or(DEFAULT_REPLICAS) }),
        (None, Some(auto)) if auto.min_replicas > auto.max_replicas || auto.min_replicas == 0 => Err(Problem::invalid(
            "spec.autoscaling.minReplicas (default 2) must be above 0 and not above maxReplicas; correct one of them",
        )),
        (None, Some(auto)) => Ok(Scale::Auto {
            min: auto.min_replicas,
            max: auto.max_replicas,
            cpu_percent: auto.target_cpu_utilization_percentage,
        }),
    }
}

/// Listeners of one port all speak the same protocol, so that each port is there once.
fn ports(accepted: &[&CheckedListener<'_>]) -> Vec<ListenerPort> {
    let ports: BTreeMap<u16, bool> =
        accepted.iter().map(|listener| (listener.spec.port, speaks_tls(listener))).collect();
    ports.into_iter().map(|(port, tls)| ListenerPort { port, tls }).collect()
}

fn speaks_tls(listener: &CheckedListener<'_>) -> bool {
    listener.spec.protocol == ListenerProtocol::HTTPS
}

fn expose(
    id: &ObjectId,
    spec: &McpGatewaySpec,
    accepted: &[&CheckedListener<'_>],
    cluster: &Cluster,
) -> Result<Expose, Problem> {
    match (spec.expose.type_, &spec.expose.http_route) {
        (ExposeType::ClusterIP, _) => Ok(Expose::ClusterIp),
        (ExposeType::LoadBalancer, _) => Ok(Expose::LoadBalancer),
        (ExposeType::NodePort, _) => Ok(Expose::NodePort),
        (ExposeType::HTTPRoute, None) => {
            Err(Problem::invalid("spec.expose.httpRoute is required with type HTTPRoute; name at least one parentRef"))
        }
        // `missing` says so.
        (ExposeType::HTTPRoute, Some(_)) if !cluster.gateway_api => Ok(Expose::ClusterIp),
        (ExposeType::HTTPRoute, Some(route)) => {
            let (port, hostnames) = plain_port(accepted)?;
            let parent = |parent: &crate::api::gateway::GatewayApiParentRef| GatewayApiParent {
                gateway: ObjectId::new(parent.namespace.as_ref().unwrap_or(&id.namespace), &parent.name),
                section_name: parent.section_name.clone(),
            };
            Ok(Expose::HttpRoute { parents: route.parent_refs.iter().map(parent).collect(), port, hostnames })
        }
        (ExposeType::Ingress, _) => {
            let (port, hostnames) = plain_port(accepted)?;
            let class = spec.expose.ingress.as_ref().and_then(|ingress| ingress.class_name.clone());
            Ok(Expose::Ingress { class, port, hostnames })
        }
    }
}

/// Where a proxy in front sends requests to, and for which hosts: it ends TLS itself, and knows one port.
fn plain_port(accepted: &[&CheckedListener<'_>]) -> Result<(u16, BTreeSet<String>), Problem> {
    let plain: Vec<&&CheckedListener<'_>> = accepted.iter().filter(|listener| !speaks_tls(listener)).collect();
    let ports: BTreeSet<u16> = plain.iter().map(|listener| listener.spec.port).collect();
    let mut ports = ports.into_iter();
    let (Some(port), None) = (ports.next(), ports.next()) else {
        return Err(Problem::new(
            Reason::UnsupportedValue,
            "spec.expose.type HTTPRoute and Ingress lead to one port that speaks plain HTTP; give the gateway listeners of protocol HTTP, all of one port",
        ));
    };
    let hostnames = plain.iter().map(|listener| listener.spec.hostname.clone()).collect::<Option<BTreeSet<String>>>();
    // A listener without a hostname answers for all of them.
    Ok((port, hostnames.unwrap_or_default()))
}

fn grace_seconds(drain: &Drain) -> u32 {
    let millis = drain.min_duration.as_millis() + drain.timeout.as_millis() + GRACE_BEYOND_DRAIN_MS;
    u32::try_from(millis.div_ceil(1000)).unwrap_or(u32::MAX)
}

fn rollout(metadata: &ObjectMeta) -> Rollout {
    let annotation = |key| metadata.annotations.as_ref().and_then(|annotations| annotations.get(key));
    Rollout {
        paused: annotation(PAUSED_ANNOTATION).is_some_and(|value| value == "true"),
        restarted_at: annotation(RESTARTED_AT_ANNOTATION).cloned(),
    }
}

/// Says of an accepted object that it is paused, if it is.
pub(super) fn or_paused(mut accepted: Finding, rollout: Option<&Rollout>) -> Finding {
    if accepted.status == ConditionStatus::True && rollout.is_some_and(|rollout| rollout.paused) {
        if !accepted.message.is_empty() {
            accepted.message.push_str("; ");
        }
        accepted.message.push_str("paused: what is deployed stays as it is until the annotation ");
        accepted.message.push_str(PAUSED_ANNOTATION);
        accepted.message.push_str(" is removed");
    }
    accepted
}
