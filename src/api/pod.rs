//! Environment variables, resources, volumes and the pod overlay: trimmed forms of core/v1 types.

use super::common::{ConfigMapKeySelector, SecretKeySelector};
use super::patterns::{DNS_LABEL, DNS_SUBDOMAIN, ENV_NAME, MOUNT_PATH, RELATIVE_PATH};
use super::schema;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One environment variable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!(has(self.value) && has(self.valueFrom))").message(
        "env[].value and env[].valueFrom exclude each other: keep one, and valueFrom for anything secret"
    )
)]
pub struct EnvVar {
    /// The variable's name.
    #[schemars(length(min = 1, max = 253), regex(pattern = ENV_NAME))]
    pub name: String,
    /// The value itself. Not for secrets: everyone who may read this object sees it. Default: empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8192))]
    pub value: Option<String>,
    /// Where the value is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_from: Option<EnvVarSource>,
}

/// Where an environment variable's value is: exactly one of the fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.secretKeyRef) != has(self.configMapKeyRef)").message(
        "env[].valueFrom takes exactly one of secretKeyRef and configMapKeyRef"
    )
)]
pub struct EnvVarSource {
    /// A key of a Secret in the object's own namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<SecretKeySelector>,
    /// A key of a ConfigMap in the object's own namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<ConfigMapKeySelector>,
}

/// A whole Secret or `ConfigMap` as environment variables: exactly one of the references.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.secretRef) != has(self.configMapRef)").message(
        "envFrom[] takes exactly one of secretRef and configMapRef"
    )
)]
pub struct EnvFromSource {
    /// Put before each key to make the variable's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253), regex(pattern = ENV_NAME))]
    pub prefix: Option<String>,
    /// Every key of a Secret in the object's own namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<EnvSourceRef>,
    /// Every key of a ConfigMap in the object's own namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_ref: Option<EnvSourceRef>,
}

/// A Secret or `ConfigMap` whose keys become environment variables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnvSourceRef {
    /// The object's name, in the same namespace.
    #[schemars(length(min = 1, max = 253), regex(pattern = DNS_SUBDOMAIN))]
    pub name: String,
    /// Whether it may be missing. Default: false.
    #[serde(default)]
    pub optional: bool,
}

/// What a container may use, and what a node sets aside for it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Resources {
    /// The most it may use, by resource: cpu, memory, ephemeral-storage. Default: no limit.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::quantities")]
    pub limits: BTreeMap<String, Quantity>,
    /// What is set aside for it, by resource. Default: the limits.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::quantities")]
    pub requests: BTreeMap<String, Quantity>,
}

/// A volume of the pods, with the fields of core/v1 but for hostPath. Kept as it is written, and read when it is translated: the
/// real schema alone is larger than all of ours.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Volume(pub serde_json::Map<String, serde_json::Value>);

impl schemars::JsonSchema for Volume {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Volume".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schema::volume(generator)
    }
}

impl Volume {
    /// The Secret without which no pod starts, if this is one.
    pub fn secret(&self) -> Option<&str> {
        self.required("secret", "secretName")
    }

    /// The `ConfigMap` without which no pod starts, if this is one.
    pub fn config_map(&self) -> Option<&str> {
        self.required("configMap", "name")
    }

    fn required(&self, kind: &str, key: &str) -> Option<&str> {
        let source = self.0.get(kind)?;
        source.get(key)?.as_str().filter(|_| source.get("optional") != Some(&true.into()))
    }
}

/// Where the container sees a volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct VolumeMount {
    /// The volume's name, one of `volumes`.
    #[schemars(length(min = 1, max = 63), regex(pattern = DNS_LABEL))]
    pub name: String,
    /// The directory, or with subPath the file, where it is seen.
    #[schemars(length(min = 2, max = 1024), regex(pattern = MOUNT_PATH))]
    pub mount_path: String,
    /// The directory or file of the volume that is seen. Default: all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024), regex(pattern = RELATIVE_PATH))]
    pub sub_path: Option<String>,
    /// Whether it can only be read. Default: false.
    #[serde(default)]
    pub read_only: bool,
}

/// Changes to the generated pods: labels, annotations and fields of their spec, merged as `kubectl apply` merges.
/// It may not set a service account, nor share the node's namespaces or files, nor weaken the `restricted` Pod Security
/// Standard.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PodTemplate(pub serde_json::Map<String, serde_json::Value>);

impl schemars::JsonSchema for PodTemplate {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PodTemplate".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schema::pod_template(generator)
    }
}
