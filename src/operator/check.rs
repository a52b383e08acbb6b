//! Whether an operator is well, seen from beside it: `mcp-operator check`, which `helm test` runs.

use super::client::{ApiError, within};
use super::lease::RENEW;
use super::scope::{Scope, api};
use crate::api::{McpAuthPolicy, McpBackend, McpGateway, McpRoute};
use http::Uri;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::rt::TokioExecutor;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::api::ListParams;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// How soon to ask again.
const AGAIN: Duration = Duration::from_secs(1);

/// For an answer of the operator itself.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// A leader renews at least once within it.
const RENEWS_WITHIN: Duration = RENEW.saturating_mul(2);

/// The most of an answer that is read: it is a line.
const MAX_ANSWER: usize = 4096;

/// What to look at.
#[derive(Clone, Debug)]
pub struct Check {
    /// What the operator looks after.
    pub scope: Scope,
    /// Its own namespace, and that of its lease.
    pub namespace: String,
    /// The lease that says which replica leads.
    pub lease: String,
    /// Where it tells whether it is ready.
    pub health: Uri,
    /// How long it may take to get well.
    pub patience: Duration,
}

/// Why it is not known to be well.
#[derive(Debug, thiserror::Error)]
pub enum NotWell {
    /// There is no way to the API server.
    #[error("no API server is known: run it in a pod, or set KUBECONFIG ({0})")]
    Client(#[from] kube::Error),
    /// These things are wrong: a line for each.
    #[error("{}", .0.join("\n"))]
    Findings(Vec<String>),
}

/// A line about what is well, or about what is not.
type Finding = Result<String, String>;

impl Check {
    /// Asks until all is well, but not for ever. What it found, a line for each.
    pub async fn run(&self) -> Result<Vec<String>, NotWell> {
        let client = Client::try_default().await?;
        let deadline = Instant::now() + self.patience;
        let mut wrong = vec!["nothing answered in time".to_owned()];
        loop {
            let looks = async { tokio::join!(self.definitions(&client), self.readiness(), self.leader(&client)) };
            let Ok((definitions, readiness, leader)) = timeout_at(deadline, looks).await else { break };
            let (well, not): (Vec<Finding>, Vec<Finding>) =
                [definitions, readiness, leader].into_iter().partition(Result::is_ok);
            if not.is_empty() {
                return Ok(well.into_iter().filter_map(Result::ok).collect());
            }
            wrong = not.into_iter().filter_map(Result::err).collect();
            if timeout_at(deadline, sleep(AGAIN)).await.is_err() {
                break;
            }
        }
        Err(NotWell::Findings(wrong))
    }

    /// The API server knows our kinds, and whoever asks may list them.
    async fn definitions(&self, client: &Client) -> Finding {
        for namespace in self.scope.namespaces() {
            let namespace = namespace.as_deref();
            list::<McpGateway>(client, namespace).await?;
            list::<McpBackend>(client, namespace).await?;
            list::<McpRoute>(client, namespace).await?;
            list::<McpAuthPolicy>(client, namespace).await?;
        }
        Ok("definitions: all kinds are served".to_owned())
    }

    /// A replica has listed everything that there is.
    async fn readiness(&self) -> Finding {
        let said = |text: &str| format!("readiness: {}: {text}", self.health);
        let http = HttpClient::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
        let answer = timeout(ANSWERS_WITHIN, http.get(self.health.clone())).await;
        let answer = answer.map_err(|_| said("no answer"))?.map_err(|error| said(&error.to_string()))?;
        let status = answer.status();
        let body = timeout(ANSWERS_WITHIN, Limited::new(answer.into_body(), MAX_ANSWER).collect()).await;
        let body = body.ok().and_then(Result::ok).map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let text = String::from_utf8_lossy(&body);
        let text = said(&format!("{} {}", status.as_u16(), text.trim()));
        if status.is_success() { Ok(text) } else { Err(text) }
    }

    /// A replica holds the lease, and renews it: clocks of others are not compared with ours.
    async fn leader(&self, client: &Client) -> Finding {
        let leases: Api<Lease> = Api::namespaced(client.clone(), &self.namespace);
        let said = |text: &str| format!("leader: lease {}/{}: {text}", self.namespace, self.lease);
        let look = async || -> Result<(String, LeaseSpec), String> {
            let lease = within(leases.get_opt(&self.lease)).await.map_err(|error| said(&error.to_string()))?;
            let spec = lease.ok_or_else(|| said("there is none"))?.spec.unwrap_or_default();
            let holder = spec.holder_identity.clone().filter(|holder| !holder.is_empty());
            Ok((holder.ok_or_else(|| said("nobody holds it"))?, spec))
        };
        let (_, before) = look().await?;
        let give_up = Instant::now() + RENEWS_WITHIN;
        loop {
            sleep(AGAIN).await;
            let (holder, now) = look().await?;
            if now.renew_time != before.renew_time {
                return Ok(said(&format!("{holder} renews it")));
            }
            if Instant::now() >= give_up {
                return Err(said(&format!("{holder} holds it and does not renew it")));
            }
        }
    }
}

async fn list<K>(client: &Client, namespace: Option<&str>) -> Result<(), String>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
{
    let params = ListParams::default().limit(1);
    // Of what is listed nothing is read: an object that cannot be is no matter here.
    let listed: Result<_, ApiError> = within(api::<K>(client, namespace).list_metadata(&params)).await;
    listed.map(drop).map_err(|error| format!("definitions: {}: {error}", K::kind(&())))
}
