//! What to deploy: the pods of a gateway or of a backend, and what leads to them.
//!
//! Like a snapshot it is fully resolved: no default is left to supply and no rule to check. It says what there should be;
//! how that is written as Kubernetes objects is the operator's business.

use super::ids::ObjectId;
use super::snapshot::{Isolation, ProcessPool};
use k8s_openapi::api::core::v1::{PodTemplateSpec, ResourceRequirements, Volume, VolumeMount};
use k8s_openapi::api::networking::v1::NetworkPolicyEgressRule;
use serde::Serialize;
use std::collections::BTreeSet;

/// What to deploy for one `MCPGateway`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayInfra {
    /// The `MCPGateway`.
    pub gateway: ObjectId,
    /// The data plane's image; absent: the one of the operator's own version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// How many pods.
    pub scale: Scale,
    /// Ports that clients connect to, each once, in their order. Those of listeners whose certificate is missing are among
    /// them: a certificate that comes later changes no Service.
    pub ports: Vec<ListenerPort>,
    /// How clients reach the pods.
    pub expose: Expose,
    /// How long a pod may take to leave, in seconds.
    pub grace_seconds: u32,
    /// What the pods connect to, where they may connect to nothing else; absent: connections are not restricted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destinations: Option<BTreeSet<Destination>>,
    /// Changes to the pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overlay: Option<PodTemplateSpec>,
    /// What a person asked for by annotations.
    pub rollout: Rollout,
}

/// How many pods there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all_fields = "camelCase")]
pub enum Scale {
    /// As many as said.
    Fixed {
        /// Their number.
        replicas: u32,
    },
    /// As many as an autoscaler thinks right.
    Auto {
        /// The fewest.
        min: u32,
        /// The most.
        max: u32,
        /// Average CPU use to aim at, in percent of the request.
        cpu_percent: u32,
    },
}

impl Scale {
    /// The most pods there can be.
    pub fn most(self) -> u32 {
        match self {
            Self::Fixed { replicas } => replicas,
            Self::Auto { max, .. } => max,
        }
    }
}

/// A port that clients connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerPort {
    /// The TCP port, of the Service and of the pods alike.
    pub port: u16,
    /// Whether it speaks TLS.
    pub tls: bool,
}

/// How clients reach a gateway's pods.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all_fields = "camelCase")]
pub enum Expose {
    /// By a Service inside the cluster.
    ClusterIp,
    /// By a Service with the cloud's load balancer.
    LoadBalancer,
    /// By a Service with a port of every node.
    NodePort,
    /// By a Service inside the cluster, behind a Gateway of Gateway API.
    HttpRoute {
        /// What to attach to.
        parents: Vec<GatewayApiParent>,
        /// The one port that speaks plain HTTP.
        port: u16,
        /// Hosts of that port's listeners; empty: any.
        hostnames: BTreeSet<String>,
    },
    /// By a Service inside the cluster, behind an Ingress controller.
    Ingress {
        /// The `IngressClass`; absent: the cluster's default.
        #[serde(skip_serializing_if = "Option::is_none")]
        class: Option<String>,
        /// The one port that speaks plain HTTP.
        port: u16,
        /// Hosts of that port's listeners; empty: any.
        hostnames: BTreeSet<String>,
    },
}

/// A Gateway of Gateway API, or one of its listeners.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayApiParent {
    /// The Gateway.
    pub gateway: ObjectId,
    /// One of its listeners; absent: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub section_name: Option<String>,
}

/// Something that a gateway's pods connect to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "type", rename_all_fields = "camelCase")]
pub enum Destination {
    /// The pods of a backend that the operator runs.
    Backend {
        /// The `MCPBackend`.
        backend: ObjectId,
        /// The pods' port.
        port: u16,
    },
    /// The pods behind some Service of a namespace.
    Namespace {
        /// The namespace.
        namespace: String,
        /// The pods' ports; empty: not known, so any.
        ports: BTreeSet<u16>,
    },
    /// A server at a public address.
    Public {
        /// The server's port.
        port: u16,
    },
    /// A server that may be inside or outside.
    Anywhere {
        /// The server's port.
        port: u16,
    },
}

/// What to deploy for one `MCPBackend` of the kinds `stdio` and `http`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendInfra {
    /// The `MCPBackend`.
    pub backend: ObjectId,
    /// How many pods.
    pub replicas: u32,
    /// What runs in them.
    pub program: Program,
    /// Environment variables; they win over those from `env_from`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<Variable>,
    /// Secrets and `ConfigMap`s whose keys become environment variables.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env_from: Vec<VariableSource>,
    /// What its container may use, and what is set aside for it; absent: nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
    /// More volumes of the pods.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<Volume>,
    /// Where the server sees them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<VolumeMount>,
    /// What the pods connect to beside DNS and public addresses, where they may connect to nothing else; absent: connections that
    /// they make are not restricted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub egress: Option<Vec<NetworkPolicyEgressRule>>,
    /// Gateways that call it. Nobody else may connect to the pods.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub callers: BTreeSet<ObjectId>,
    /// Changes to the pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overlay: Option<PodTemplateSpec>,
    /// What a person asked for by annotations.
    pub rollout: Rollout,
}

/// What runs in a backend's pods.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all_fields = "camelCase")]
pub enum Program {
    /// A program that speaks MCP on its standard input and output, behind the shim.
    Stdio {
        /// The image that has the program.
        image: String,
        /// The program and its first arguments; never empty.
        command: Vec<String>,
        /// More arguments.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        args: Vec<String>,
        /// The working directory; absent: the image's own.
        #[serde(skip_serializing_if = "Option::is_none")]
        working_dir: Option<String>,
        /// Who shares a process with whom.
        isolation: Isolation,
        /// How many processes, and for how long.
        pool: ProcessPool,
    },
    /// An image that serves MCP over HTTP by itself.
    Http {
        /// The image.
        image: String,
        /// The TCP port it listens on.
        port: u16,
        /// Replaces the image's entry point; empty: it does not.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        command: Vec<String>,
        /// Replaces the image's arguments; empty: it does not.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        args: Vec<String>,
    },
}

/// One environment variable of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its value, or where the value is.
    pub value: VariableValue,
}

/// The value of a pod's environment variable. References are to the pod's own namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all_fields = "camelCase")]
pub enum VariableValue {
    /// The value itself.
    Literal {
        /// The value.
        value: String,
    },
    /// A key of a Secret.
    Secret {
        /// The Secret's name.
        name: String,
        /// The key inside its data.
        key: String,
    },
    /// A key of a `ConfigMap`.
    ConfigMap {
        /// The `ConfigMap`'s name.
        name: String,
        /// The key inside its data.
        key: String,
    },
}

/// An object of the pod's own namespace whose keys become environment variables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VariableSource {
    /// Put before each key to make the variable's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// What kind of object it is.
    pub kind: VariableSourceKind,
    /// The object's name.
    pub name: String,
    /// Whether it may be missing.
    pub optional: bool,
}

/// Kinds of object that hold environment variables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum VariableSourceKind {
    /// A Secret.
    Secret,
    /// A `ConfigMap`.
    ConfigMap,
}

/// What a person asked for by annotations, beside what should run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rollout {
    /// Leave what is deployed as it is.
    pub paused: bool,
    /// Any text: pods are replaced when it changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restarted_at: Option<String>,
}
