//! The API group, named once.

/// Hands the group's name to another macro, as its first tokens: a derive's attributes take literals only, so a
/// constant would not do.
macro_rules! with_group {
    ($callback:ident { $($arguments:tt)* }) => {
        $callback! { "gateway.mcp-operator.dev" $($arguments)* }
    };
}

/// Declares a custom resource's spec, with what all kinds have in common.
macro_rules! custom_resource {
    (kube($($kube:tt)*) $($item:tt)*) => {
        with_group! { custom_resource_in { kube($($kube)*) $($item)* } }
    };
}

macro_rules! custom_resource_in {
    ($group:literal kube($($kube:tt)*) $($item:tt)*) => {
        #[derive(
            ::kube::CustomResource, ::kube::KubeSchema, Clone, Debug, PartialEq, ::serde::Serialize, ::serde::Deserialize,
        )]
        #[kube(
            group = $group,
            version = "v1alpha1",
            namespaced,
            category = "mcp",
            derive = "PartialEq",
            $($kube)*
        )]
        #[serde(rename_all = "camelCase")]
        $($item)*
    };
}

macro_rules! group_constants {
    ($group:literal) => {
        /// The API group of all kinds.
        pub const GROUP: &str = $group;

        /// `apiVersion` of all kinds.
        pub const API_VERSION: &str = concat!($group, "/v1alpha1");

        /// Annotation of a gateway or a backend: `true` leaves what is deployed for it as it is.
        pub const PAUSED_ANNOTATION: &str = concat!($group, "/paused");

        /// Annotation of a gateway or a backend: its pods are replaced whenever the value changes.
        pub const RESTARTED_AT_ANNOTATION: &str = concat!($group, "/restartedAt");

        /// Annotation of a gateway: its keys, certificate and tokens are replaced whenever the value changes.
        pub const ROTATE_KEYS_ANNOTATION: &str = concat!($group, "/rotate-keys");

        /// Annotation of what holds a generation: the generation's hash.
        pub const GENERATION_ANNOTATION: &str = concat!($group, "/generation");

        /// Label of what is deployed for a gateway: whose it is.
        pub const GATEWAY_LABEL: &str = concat!($group, "/gateway");

        /// Label of what is deployed for a backend: whose it is.
        pub const BACKEND_LABEL: &str = concat!($group, "/backend");

        /// Who writes the statuses of routes, as `controllerName`.
        pub const CONTROLLER_NAME: &str = concat!($group, "/mcp-operator");
    };
}

with_group! { group_constants {} }

/// The version of all kinds.
pub const VERSION: &str = "v1alpha1";

/// `kubectl get mcp` lists every kind.
pub const CATEGORY: &str = "mcp";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{McpAuthPolicy, McpBackend, McpGateway, McpRoute};
    use kube::Resource;

    #[test]
    fn every_kind_is_in_the_group() {
        for version in [
            McpGateway::api_version(&()),
            McpBackend::api_version(&()),
            McpRoute::api_version(&()),
            McpAuthPolicy::api_version(&()),
        ] {
            assert_eq!(version, API_VERSION);
        }
        assert_eq!(API_VERSION, format!("{GROUP}/{VERSION}"));
    }
}
