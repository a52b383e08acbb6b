//! What to deploy, as Kubernetes objects: pure functions, no client.
//!
//! [`gateway`] and [`backend`] say everything that there should be, and leave out what others own: a number of replicas that an
//! autoscaler chooses, addresses, statuses. The same infra always gives the same objects, and a generation is in none of the
//! pod templates, so that only a changed pod shape replaces pods.
//!
//! | file | its objects |
//! |---|---|
//! | `gateway_pods`, `backend_pods` | Deployments, and the pods in them |
//! | `pod`, `overlay` | what all pods have in common; what a person changes of them |
//! | `services`, `expose` | Services; what leads to them from outside: `HTTPRoute`, Ingress |
//! | `config` | the `ConfigMap` and the Secret of a generation; Secrets with keys and tokens |
//! | `scaling` | autoscalers and disruption budgets |
//! | `network` | `NetworkPolicies` |
//! | `metadata` | names, labels, owners; service accounts, which are nothing else |

mod backend_pods;
mod config;
mod expose;
mod gateway_pods;
mod metadata;
mod network;
mod overlay;
mod pod;
mod scaling;
mod services;

pub use config::Payload;
pub use expose::http_route_resource;

use crate::ir::ids::ObjectId;
use crate::ir::infra::{BackendInfra, GatewayInfra, Scale};
use crate::ir::secrets::PrivateBytes;
use k8s_openapi::ByteString;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::core::DynamicObject;
use metadata::Subject;
use std::collections::{BTreeMap, BTreeSet};

/// What the objects of all gateways and backends are made with, beside their own infra.
#[derive(Clone, Debug)]
pub struct Context {
    /// The `MCPGateway` or the `MCPBackend` as the owner of all of it.
    pub owner: OwnerReference,
    /// The data plane's image of the operator's own version; it has the shim, too.
    pub gateway_image: String,
    /// Who may connect to the gateways' admin ports.
    pub operator: OperatorPods,
    /// Namespaces whose pods may scrape the gateways' metrics.
    pub scrapers: BTreeSet<String>,
}

/// The operator's own pods, as a `NetworkPolicy` finds them.
#[derive(Clone, Debug)]
pub struct OperatorPods {
    /// Their namespace.
    pub namespace: String,
    /// Labels that they and no others there have.
    pub labels: BTreeMap<String, String>,
}

/// Everything that is deployed for a gateway. Whoever applies it destructures it without `..`; what is `None`, or not among the
/// policies, should not be there.
#[derive(Clone, Debug, PartialEq)]
pub struct GatewayObjects {
    /// The account that pods run under; it may do nothing.
    pub service_account: ServiceAccount,
    /// The snapshot.
    pub config_map: ConfigMap,
    /// The credentials.
    pub secret: Secret,
    /// For clients.
    pub service: Service,
    /// Headless, for the operator and the replicas themselves.
    pub peers_service: Service,
    /// One for each path that is needed.
    pub network_policies: Vec<NetworkPolicy>,
    /// The pods.
    pub deployment: Deployment,
    /// Where there can be more than one pod.
    pub disruption_budget: Option<PodDisruptionBudget>,
    /// Where nobody said how many pods there should be.
    pub autoscaler: Option<HorizontalPodAutoscaler>,
    /// Behind Gateway API: an `HTTPRoute`.
    pub http_route: Option<DynamicObject>,
    /// Behind an Ingress controller.
    pub ingress: Option<Ingress>,
}

/// Everything that is deployed for a backend, but for its token. Whoever applies it destructures it without `..`; what is `None` should not be
/// there.
#[derive(Clone, Debug, PartialEq)]
pub struct BackendObjects {
    /// The account that pods run under; it may do nothing.
    pub service_account: ServiceAccount,
    /// Headless, for gateways.
    pub service: Service,
    /// One for each path that is needed.
    pub network_policies: Vec<NetworkPolicy>,
    /// The pods.
    pub deployment: Deployment,
    /// Where there is more than one pod.
    pub disruption_budget: Option<PodDisruptionBudget>,
}

/// All objects of a gateway.
pub fn gateway(infra: &GatewayInfra, payload: &Payload, context: &Context) -> GatewayObjects {
    let subject = Subject::gateway(&infra.gateway, &context.owner);
    GatewayObjects {
        service_account: subject.service_account(),
        config_map: config::config_map(&subject, payload),
        secret: config::secret(&subject, payload),
        service: services::for_clients(&subject, infra),
        peers_service: services::for_peers(&subject),
        network_policies: network::of_gateway(&subject, infra, context),
        deployment: gateway_pods::deployment(&subject, infra, context),
        disruption_budget: scaling::disruption_budget(&subject, infra.scale),
        autoscaler: scaling::autoscaler(&subject, infra.scale),
        http_route: expose::http_route(&subject, &infra.expose),
        ingress: expose::ingress(&subject, &infra.expose),
    }
}

/// The Secret with what the operator made up for a gateway, to be kept as it is.
pub fn gateway_keys(gateway: &ObjectId, owner: &OwnerReference, data: BTreeMap<String, ByteString>) -> Secret {
    config::keys(&Subject::gateway(gateway, owner), data)
}

/// The Secret with the token of a `stdio` backend, to be kept as it is.
pub fn backend_token(backend: &ObjectId, owner: &OwnerReference, token: &PrivateBytes) -> Secret {
    config::token(&Subject::backend(backend, owner), token)
}

/// All objects of a backend, but for its token.
pub fn backend(infra: &BackendInfra, context: &Context) -> BackendObjects {
    let subject = Subject::backend(&infra.backend, &context.owner);
    let port = backend_pods::port(&infra.program);
    BackendObjects {
        service_account: subject.service_account(),
        service: services::for_gateways(&subject, port),
        network_policies: network::of_backend(&subject, infra, port),
        deployment: backend_pods::deployment(&subject, infra, context),
        disruption_budget: scaling::disruption_budget(&subject, Scale::Fixed { replicas: infra.replicas }),
    }
}
