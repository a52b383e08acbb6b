//! What translation must know of objects that are not ours: supplied by whoever gathers, never looked up here.

use crate::ir::ids::ObjectId;
use crate::ir::snapshot::Endpoint;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

/// Where the objects come from, and so which references can be followed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Mode {
    /// From an API server; servers run as pods.
    Cluster(Cluster),
    /// From files; stdio servers run as processes.
    Laptop(Laptop),
}

impl Default for Mode {
    fn default() -> Self {
        Self::Cluster(Cluster::default())
    }
}

/// How the operator runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Cluster {
    /// It sees single namespaces only, so nothing may reach across them.
    pub namespaced: bool,
    /// The kinds that a `serverRef` may name.
    pub server_kinds: BTreeSet<GroupKind>,
    /// The cluster has Gateway API, with `HTTPRoute` in its version v1.
    pub gateway_api: bool,
}

impl Default for Cluster {
    fn default() -> Self {
        let kubernetes_sigs = GroupKind { group: "mcp.x-k8s.io".to_owned(), kind: "MCPServer".to_owned() };
        Self { namespaced: false, server_kinds: BTreeSet::from([kubernetes_sigs]), gateway_api: true }
    }
}

/// What the person at the laptop said on the command line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Laptop {
    /// URLs for backends, by `--backend`; they go before the backend's own spec.
    pub backends: BTreeMap<ObjectId, String>,
    /// Only this machine can reach the gateway, so a route without a policy is open.
    pub bound_to_loopback: bool,
}

/// A kind of another API group, printed as `Kind.group`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupKind {
    /// The API group.
    pub group: String,
    /// The kind.
    pub kind: String,
}

impl fmt::Display for GroupKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.kind, self.group)
    }
}

/// The text is not `Kind.group`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not of the form Kind.group")]
pub struct NotAGroupKind(pub String);

impl FromStr for GroupKind {
    type Err = NotAGroupKind;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('.') {
            Some((kind, group)) if !kind.is_empty() && !group.is_empty() => {
                Ok(Self { group: group.to_owned(), kind: kind.to_owned() })
            }
            _ => Err(NotAGroupKind(text.to_owned())),
        }
    }
}

impl Serialize for GroupKind {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for GroupKind {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Facts about objects that ours refer to. What is not here does not exist.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Facts {
    /// Labels by namespace. Kubernetes' own name label need not be among them.
    pub namespaces: BTreeMap<String, BTreeMap<String, String>>,
    /// Secrets, without their values.
    pub secrets: BTreeMap<ObjectId, Secret>,
    /// Services that backends name.
    pub services: BTreeMap<ObjectId, Service>,
    /// Keys of `ConfigMap`s that backends name.
    pub config_maps: BTreeMap<ObjectId, BTreeSet<String>>,
    /// `stdio` backends whose token is there: what gateways show to their pods, made by the operator.
    pub tokens: BTreeSet<ObjectId>,
    /// Addresses of the ready pods that run `stdio` and `http` backends, by `MCPBackend`.
    pub pods: BTreeMap<ObjectId, BTreeSet<String>>,
    /// Servers of other operators: `Kind.group`, then the object.
    pub servers: BTreeMap<GroupKind, BTreeMap<ObjectId, Server>>,
}

/// A Secret, without its values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Secret {
    /// The keys it has, and what kind of thing their values are.
    pub keys: BTreeMap<String, Content>,
    /// Why `tls.crt` and `tls.key` do not belong together, if both are there and they do not.
    pub mismatch: Option<String>,
}

/// What a secret value can be used as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Content {
    /// PEM with at least one certificate.
    Certificates,
    /// PEM with a private key.
    PrivateKey,
    /// Anything else.
    #[default]
    Other,
}

impl Content {
    /// Looks at a value. Nothing of it is kept.
    pub fn of(value: &[u8]) -> Self {
        if matches!(CertificateDer::pem_slice_iter(value).next(), Some(Ok(_))) {
            Self::Certificates
        } else if PrivateKeyDer::from_pem_slice(value).is_ok() {
            Self::PrivateKey
        } else {
            Self::Other
        }
    }
}

/// A Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Service {
    /// Ready addresses behind each port, from its `EndpointSlice`s.
    pub ports: BTreeMap<u16, BTreeSet<Endpoint>>,
    /// Whether it is of type `ExternalName`: another name for a host outside, which anyone who may write Services chooses.
    pub is_external_name: bool,
}

/// A server of another operator.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Server {
    /// The address in its status.
    pub url: Option<String>,
}
