//! What is in a cluster, for people who look at it: our objects with their statuses, read once and with their own rights.

use super::client::{ApiError, DEADLINE, within};
use super::scope::dynamic_api;
use crate::api::{GROUP, McpAuthPolicy, McpBackend, McpGateway, McpRoute};
use crate::ir::ids::ObjectId;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DynamicObject, ListParams};
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::core::{ApiResource, NamespaceResourceScope};
use kube::{Client, Config, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use std::error::Error;
use std::io;
use std::path::PathBuf;

/// Objects per answer, so that each comes within its deadline; as many as `kubectl` asks for.
const PAGE: u32 = 500;

/// Where to look.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// The kubeconfig. Default: the files of `$KUBECONFIG`, else `~/.kube/config`, else the account of the pod this runs in.
    pub kubeconfig: Option<PathBuf>,
    /// A context of the kubeconfig. Default: its current one.
    pub context: Option<String>,
    /// Whose objects to list.
    pub namespaces: Namespaces,
}

/// Whose objects to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Namespaces {
    /// Those of the context's namespace.
    #[default]
    Current,
    /// Those of this namespace.
    One(String),
    /// All.
    All,
}

/// What there is.
#[derive(Clone, Debug, Default)]
pub struct Inspected {
    /// Where it was looked for; absent: everywhere.
    pub namespace: Option<String>,
    /// Every `MCPGateway` there.
    pub gateways: Vec<Listed<McpGateway>>,
    /// Every `MCPBackend` there.
    pub backends: Vec<Listed<McpBackend>>,
    /// Every `MCPRoute` there.
    pub routes: Vec<Listed<McpRoute>>,
    /// Every `MCPAuthPolicy` there.
    pub auth_policies: Vec<Listed<McpAuthPolicy>>,
}

/// One object, or what can be said of it without reading it.
#[derive(Clone, Debug)]
pub struct Listed<K> {
    /// Its name.
    pub id: ObjectId,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// When something other than its status was last written.
    pub changed: Option<Timestamp>,
    /// `metadata.generation`: counts changes of the spec.
    pub generation: Option<i64>,
    /// The object; or why it cannot be read, in one line.
    pub object: Result<K, String>,
}

/// Why a cluster cannot be looked at, in one line.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InspectError {
    /// Nothing says which cluster.
    #[error("there is no kubeconfig at {0}: name one with --kubeconfig or $KUBECONFIG")]
    NoKubeconfig(String),
    /// What says it, cannot be used.
    #[error("cannot use the kubeconfig: {0}")]
    Kubeconfig(String),
    /// The way to it is closed.
    #[error("the API server at {server} cannot be reached: {why}")]
    Unreachable {
        /// Scheme, host and port.
        server: String,
        /// The innermost cause.
        why: String,
    },
    /// It stays silent.
    #[error("the API server at {server} did not answer within {} s", DEADLINE.as_secs())]
    Silent {
        /// Scheme, host and port.
        server: String,
    },
    /// The definitions are missing.
    #[error(
        "the cluster has no {0}: install the definitions first, with `kubectl mcp crds | kubectl apply --server-side -f -`"
    )]
    NotInstalled(String),
    /// A permission is missing.
    #[error("you lack the permission to list {resource} {place}: {why}")]
    Forbidden {
        /// Plural and group.
        resource: String,
        /// The namespace, or all.
        place: String,
        /// What the API server says.
        why: String,
    },
    /// It does not know who asks.
    #[error("the API server at {server} does not accept the credentials: {why}")]
    Unauthorized {
        /// Scheme, host and port.
        server: String,
        /// What is known of why.
        why: String,
    },
    /// Something else.
    #[error("cannot list {resource}: {why}")]
    Other {
        /// Plural and group.
        resource: String,
        /// What the API server, or the client, says.
        why: String,
    },
}

/// Reads everything once. Each call has its deadline.
pub async fn collect(query: &Query) -> Result<Inspected, InspectError> {
    let config = config(query).await?;
    let namespace = match &query.namespaces {
        Namespaces::Current => Some(config.default_namespace.clone()),
        Namespaces::One(name) => Some(name.clone()),
        Namespaces::All => None,
    };
    let server = address(&config.cluster_url);
    let client = Client::try_from(config).map_err(|error| InspectError::Kubeconfig(innermost(&error)))?;
    Box::pin(Lists { client, server, namespace }.all()).await
}

async fn config(query: &Query) -> Result<Config, InspectError> {
    let options = KubeConfigOptions { context: query.context.clone(), ..KubeConfigOptions::default() };
    let loaded = match &query.kubeconfig {
        Some(path) => match Kubeconfig::read_from(path) {
            Ok(kubeconfig) => Config::from_custom_kubeconfig(kubeconfig, &options).await,
            Err(error) => Err(error),
        },
        None => Config::from_kubeconfig(&options).await,
    };
    loaded.or_else(|error| {
        let absent = match &error {
            KubeconfigError::FindPath => "~/.kube/config".to_owned(),
            KubeconfigError::ReadConfig(why, path) if why.kind() == io::ErrorKind::NotFound => {
                path.display().to_string()
            }
            _ => return Err(InspectError::Kubeconfig(unusable(&error))),
        };
        let is_named = query.kubeconfig.is_some() || query.context.is_some();
        // In a pod there is none, and none is needed.
        let of_the_pod = if is_named { None } else { Config::incluster().ok() };
        of_the_pod.ok_or(InspectError::NoKubeconfig(absent))
    })
}

/// Why a kubeconfig cannot be used. It holds credentials, so nothing is quoted from its text.
fn unusable(error: &KubeconfigError) -> String {
    match error {
        KubeconfigError::CurrentContextNotSet => "it has no current context: choose one with --context".to_owned(),
        KubeconfigError::LoadContext(name) => format!("it has no context {name}"),
        KubeconfigError::Parse(error) => error.location().map_or_else(
            || "it cannot be parsed".to_owned(),
            |place| format!("it cannot be parsed at line {}, column {}", place.line(), place.column()),
        ),
        _ => one_line(&error.to_string()),
    }
}

/// Lists of one cluster.
struct Lists {
    client: Client,
    server: String,
    namespace: Option<String>,
}

impl Lists {
    async fn all(self) -> Result<Inspected, InspectError> {
        let (gateways, backends, routes, auth_policies) =
            tokio::try_join!(self.list(), self.list(), self.list(), self.list())?;
        Ok(Inspected { namespace: self.namespace, gateways, backends, routes, auth_policies })
    }

    async fn list<K>(&self) -> Result<Vec<Listed<K>>, InspectError>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + DeserializeOwned,
    {
        let kind = ApiResource::erase::<K>(&());
        let api = dynamic_api(&self.client, self.namespace.as_deref(), &kind);
        let mut params = ListParams::default().limit(PAGE);
        let mut listed = Vec::new();
        loop {
            let page = within(api.list(&params)).await.map_err(|error| self.explain::<K>(&error))?;
            listed.extend(page.items.into_iter().map(Listed::new));
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => return Ok(listed),
            }
        }
    }

    fn explain<K: Resource<DynamicType = ()>>(&self, error: &ApiError) -> InspectError {
        let server = self.server.clone();
        let resource = format!("{}.{GROUP}", K::plural(&()));
        if let Some(status) = error.status() {
            let why = one_line(&status.message);
            return match status.code {
                401 => InspectError::Unauthorized { server, why },
                403 => {
                    let place = self.namespace.as_ref().map_or_else(
                        || "in all namespaces".to_owned(),
                        |namespace| format!("in namespace {namespace}"),
                    );
                    InspectError::Forbidden { resource, place, why }
                }
                404 => InspectError::NotInstalled(K::kind(&()).into_owned()),
                _ => InspectError::Other { resource, why },
            };
        }
        match error {
            ApiError::Deadline(_) => InspectError::Silent { server },
            ApiError::Kube(error @ (kube::Error::Service(_) | kube::Error::HyperError(_))) => {
                InspectError::Unreachable { server, why: innermost(error) }
            }
            ApiError::Kube(error @ kube::Error::Auth(_)) => {
                InspectError::Unauthorized { server, why: innermost(error) }
            }
            ApiError::Kube(error) => InspectError::Other { resource, why: innermost(error) },
        }
    }
}

impl<K: DeserializeOwned> Listed<K> {
    /// Reads an object, or says which field is in the way.
    fn new(object: DynamicObject) -> Self {
        let metadata = &object.metadata;
        Self {
            id: ObjectId::new(metadata.namespace.clone().unwrap_or_default(), object.name_any()),
            created: metadata.creation_timestamp.as_ref().map(|time| time.0),
            changed: changed(metadata),
            generation: metadata.generation,
            object: read(object),
        }
    }
}

fn read<K: DeserializeOwned>(object: DynamicObject) -> Result<K, String> {
    let value = serde_json::to_value(object).map_err(|error| one_line(&error.to_string()))?;
    serde_path_to_error::deserialize(value).map_err(|error| one_line(&error.to_string()))
}

fn changed(metadata: &ObjectMeta) -> Option<Timestamp> {
    let writes = metadata.managed_fields.iter().flatten();
    let of_spec = writes.filter(|entry| entry.subresource.as_deref().unwrap_or_default() != "status");
    of_spec.filter_map(|entry| entry.time.as_ref().map(|time| time.0)).max()
}

/// Without a path, and without the name and password that a URL may hold.
fn address(url: &http::Uri) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}", url.scheme_str().unwrap_or("https"), url.host().unwrap_or_default())
}

/// The last of the causes: those before it say that something went wrong, this one says what.
fn innermost(error: &dyn Error) -> String {
    let mut last = error;
    while let Some(cause) = last.source() {
        last = cause;
    }
    one_line(&last.to_string())
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{Request, Response};
    use kube::client::Body;
    use serde_json::{Value, json};
    use std::convert::Infallible;
    use std::sync::Arc;

    /// Lists of an API server that answers so.
    fn lists(namespace: Option<&str>, answer: impl Fn(&str) -> (u16, Value) + Send + Sync + 'static) -> Lists {
        let answer = Arc::new(answer);
        let service = tower::service_fn(move |request: Request<Body>| {
            let answer = Arc::clone(&answer);
            async move {
                let (status, body) = answer(&request.uri().to_string());
                let body = Body::from(body.to_string().into_bytes());
                Ok::<_, Infallible>(Response::builder().status(status).body(body).unwrap())
            }
        });
        Lists {
            client: Client::new(service, "default"),
            server: "https://api.example:6443".to_owned(),
            namespace: namespace.map(str::to_owned),
        }
    }

    fn list_of(kind: &str, items: &Value, next: &str) -> Value {
        let api_version = crate::api::API_VERSION;
        json!({"apiVersion": api_version, "kind": format!("{kind}List"), "metadata": {"continue": next}, "items": items})
    }

    fn failure(code: u16, message: &str) -> (u16, Value) {
        let status = json!({"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code, "message": message, "reason": "x"});
        (code, status)
    }

    #[tokio::test]
    async fn lists_are_read_page_by_page_and_past_what_is_malformed() {
        let policy = |name: &str, spec: &Value| {
            let fields = json!([
                {"manager": "a", "time": "2026-01-01T00:00:05Z"},
                {"manager": "b", "time": "2026-01-01T00:00:09Z", "subresource": "status"},
            ]);
            json!({"metadata": {"name": name, "namespace": "team", "generation": 2, "managedFields": fields}, "spec": spec})
        };
        let lists = lists(Some("team"), move |uri| {
            assert!(uri.starts_with(&format!("/apis/{}/namespaces/team/mcp", crate::api::API_VERSION)), "{uri}");
            let good = json!({"targetRefs": [{"kind": "MCPGateway", "name": "tools"}]});
            let page = match (uri.contains("mcpauthpolicies"), uri.contains("continue=more")) {
                (false, _) => list_of("X", &json!([]), ""),
                (true, false) => list_of("MCPAuthPolicy", &json!([policy("a", &good)]), "more"),
                (true, true) => list_of("MCPAuthPolicy", &json!([policy("b", &json!({"targetRefs": 1}))]), ""),
            };
            (200, page)
        });
        let seen = Box::pin(lists.all()).await.unwrap();
        let policies: Vec<(String, bool)> =
            seen.auth_policies.iter().map(|policy| (policy.id.to_string(), policy.object.is_ok())).collect();
        assert_eq!(policies, [("team/a".to_owned(), true), ("team/b".to_owned(), false)]);
        let malformed = &seen.auth_policies[1];
        assert_eq!(
            malformed.object.as_ref().unwrap_err(),
            "spec.targetRefs: invalid type: integer `1`, expected a sequence"
        );
        let of_spec: Timestamp = "2026-01-01T00:00:05Z".parse().unwrap();
        assert_eq!((malformed.generation, malformed.changed), (Some(2), Some(of_spec)));
        assert!(seen.gateways.is_empty() && seen.backends.is_empty() && seen.routes.is_empty());
    }

    #[tokio::test]
    async fn each_failure_is_one_line_that_says_what_to_do() {
        let told = |namespace, (code, message): (u16, &'static str)| async move {
            lists(namespace, move |_| failure(code, message)).list::<McpRoute>().await.unwrap_err().to_string()
        };
        let forbidden = (403, "mcproutes.x is forbidden:\nUser \"jo\" cannot list");
        assert_eq!(
            told(Some("team"), forbidden).await,
            format!(
                "you lack the permission to list mcproutes.{GROUP} in namespace team: mcproutes.x is forbidden: User \"jo\" cannot list"
            )
        );
        assert!(told(None, forbidden).await.contains(" in all namespaces: "));
        assert!(told(None, (404, "not found")).await.starts_with("the cluster has no MCPRoute: install "));
        assert_eq!(
            told(None, (401, "Unauthorized")).await,
            "the API server at https://api.example:6443 does not accept the credentials: Unauthorized"
        );
        assert_eq!(told(None, (500, "etcd is gone")).await, format!("cannot list mcproutes.{GROUP}: etcd is gone"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_server_is_given_up() {
        let service =
            tower::service_fn(|_: Request<Body>| std::future::pending::<Result<Response<Body>, Infallible>>());
        let lists = Lists { client: Client::new(service, "default"), server: "https://a".into(), namespace: None };
        assert!(matches!(Box::pin(lists.all()).await, Err(InspectError::Silent { .. })));
    }

    #[tokio::test]
    async fn a_kubeconfig_is_never_quoted() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config");
        let told = |text: &'static str, context: Option<&'static str>| {
            std::fs::write(&path, text).unwrap();
            let query =
                Query { kubeconfig: Some(path.clone()), context: context.map(str::to_owned), ..Query::default() };
            async move { Box::pin(collect(&query)).await.unwrap_err().to_string() }
        };
        let malformed = told("apiVersion: v1\nusers: [{name: a, user: {token: s3cret]\n", None).await;
        assert!(malformed.starts_with("cannot use the kubeconfig: it cannot be parsed at line "), "{malformed}");
        assert!(!malformed.contains("s3cret"), "{malformed}");
        let no_context = "cannot use the kubeconfig: it has no current context: choose one with --context";
        assert_eq!(told("", None).await, no_context);
        assert_eq!(told("", Some("a")).await, "cannot use the kubeconfig: it has no context a");
        std::fs::remove_file(&path).unwrap();
        let query = Query { kubeconfig: Some(path.clone()), ..Query::default() };
        assert_eq!(collect(&query).await.unwrap_err(), InspectError::NoKubeconfig(path.display().to_string()));
    }

    #[test]
    fn an_address_holds_no_password() {
        assert_eq!(address(&"https://jo:pw@api.example:6443/k8s".parse().unwrap()), "https://api.example:6443");
    }
}
