//! Clients of the modern era (2026-07-28): every request stands for itself, so all of them share one child, unless each has
//! its own (`PerRequest`). A server that asks for a process per session gets one child for this era, too: here are no sessions.
//!
//! Whether the server speaks this era is found out once, by `server/discover` on a child that then serves it. Any other
//! answer than a list of versions that has a modern one, or silence, says that it does not; the child is ended, since some old
//! servers are stuck after a request before `initialize`.

use super::link::Link;
use super::message::{self, FIRST_MODERN, Kind, LEGACY_VERSIONS, Message};
use super::reply::{self, Hold, Reply};
use super::routes::{Audience, Hears};
use super::session::{Activity, Call};
use super::{Shim, ShimError};
use crate::gateway::mcp::splice::json_string;
use crate::ir::snapshot::Isolation;
use bytes::Bytes;
use http::StatusCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The code of "this version is not supported", with the supported ones in `data`.
const UNSUPPORTED_VERSION: i32 = -32022;

/// Requests of this era belong to no client.
const NOBODY: u64 = 0;

/// What is known of the server, and its child for this era. Locked while it is found out, so that it is probed once.
#[derive(Default)]
pub(super) struct Modern {
    verdict: tokio::sync::Mutex<Verdict>,
}

#[derive(Default)]
enum Verdict {
    #[default]
    Unknown,
    /// It speaks this era; its child, unless it was ended.
    Speaks(Option<Shared>),
    /// It does not; not asked again before then.
    Legacy { until: Instant },
}

#[derive(Clone)]
struct Shared {
    link: Arc<Link>,
    activity: Arc<Activity>,
}

enum Failure {
    Legacy,
    Shim(ShimError),
}

impl From<ShimError> for Failure {
    fn from(error: ShimError) -> Self {
        Self::Shim(error)
    }
}

impl Modern {
    /// Whether there is a child for this era, or one is just being started.
    pub(super) fn runs(&self) -> bool {
        self.verdict.try_lock().map_or(true, |verdict| matches!(&*verdict, Verdict::Speaks(Some(_))))
    }

    pub(super) async fn clear(&self) {
        *self.verdict.lock().await = Verdict::Unknown;
    }

    /// Ends the child when nothing has been in flight for too long.
    pub(super) fn sweep(&self, idle_timeout: Duration) {
        // While it is being started it is not idle.
        if let Ok(mut verdict) = self.verdict.try_lock()
            && let Verdict::Speaks(shared) = &mut *verdict
        {
            shared.take_if(|shared| shared.link.is_gone() || shared.activity.is_idle_for(idle_timeout));
        }
    }
}

/// Answers one request.
pub(super) async fn handle(shim: &Arc<Shim>, request: Message) -> Reply {
    if request.kind != Kind::Request {
        // Over HTTP this era has no notifications or answers from clients; they ask for nothing.
        return reply::empty(StatusCode::ACCEPTED);
    }
    match call(shim, &request).await {
        Ok(call) => relay(&request, call).await,
        Err(Failure::Legacy) => legacy_only(&request),
        Err(Failure::Shim(error)) => reply::unavailable(request.id(), &error),
    }
}

async fn relay(request: &Message, call: Call) -> Reply {
    reply::relay(request.id(), call, |answer| status_of(answer.error_code())).await
}

/// The HTTP status that goes with an answer before which nothing was streamed.
fn status_of(error: Option<i64>) -> StatusCode {
    match error {
        Some(-32601) => StatusCode::NOT_FOUND,
        Some(-32022..=-32020) => StatusCode::BAD_REQUEST,
        _ => StatusCode::OK,
    }
}

async fn call(shim: &Arc<Shim>, request: &Message) -> Result<Call, Failure> {
    let in_flight = shim.calls.token();
    // On its own, so that a client that gives up does not interrupt the probe that others wait for.
    let finding = tokio::spawn(child(Arc::clone(shim)));
    let Shared { link, activity } = finding.await.unwrap_or(Err(Failure::Shim(ShimError::Closing)))?;
    let in_use = activity.begin();
    let listens = request.method == "subscriptions/listen";
    let hears = if listens { Hears::Subscription } else { Hears::All };
    // A subscription has no end of its own, so nothing waits for it.
    let in_flight = (!listens).then_some(in_flight);
    let (number, inlet) = link.request(NOBODY, request, hears).await.map_err(ShimError::from)?;
    let hold: Hold = Box::new((Abandon { link, number }, in_use, in_flight));
    Ok(Call { inlet, hold })
}

/// Tells the child when the client disconnects before the answer, which is how this era cancels.
struct Abandon {
    link: Arc<Link>,
    number: u64,
}

impl Drop for Abandon {
    fn drop(&mut self) {
        self.link.abandon(self.number);
    }
}

/// Whether the server speaks this era.
pub(super) async fn speaks(shim: &Arc<Shim>) -> Result<bool, ShimError> {
    match child(Arc::clone(shim)).await {
        Ok(_) => Ok(true),
        Err(Failure::Legacy) => Ok(false),
        Err(Failure::Shim(error)) => Err(error),
    }
}

/// A child that speaks this era.
async fn child(shim: Arc<Shim>) -> Result<Shared, Failure> {
    let mut verdict = shim.modern.verdict.lock().await;
    match &*verdict {
        Verdict::Speaks(Some(shared)) if !shared.link.is_gone() => return Ok(shared.clone()),
        Verdict::Legacy { until } if Instant::now() < *until => return Err(Failure::Legacy),
        Verdict::Speaks(_) => {}
        Verdict::Unknown | Verdict::Legacy { .. } => {
            *verdict = Verdict::Unknown;
            let link = start(&shim).await?;
            if !probe(&shim, &link).await? {
                tracing::info!("a stdio server speaks the legacy era only");
                *verdict = Verdict::Legacy { until: Instant::now() + shim.limits.verdict };
                return Err(Failure::Legacy);
            }
            let shared = Shared { link, activity: Activity::new() };
            // The probed child has served nobody yet, so it may serve one request of its own.
            let kept = (shim.isolation != Isolation::PerRequest).then(|| shared.clone());
            *verdict = Verdict::Speaks(kept);
            return Ok(shared);
        }
    }
    if shim.isolation == Isolation::PerRequest {
        drop(verdict);
        return Ok(Shared { link: start(&shim).await?, activity: Activity::new() });
    }
    let shared = Shared { link: start(&shim).await?, activity: Activity::new() };
    *verdict = Verdict::Speaks(Some(shared.clone()));
    Ok(shared)
}

async fn start(shim: &Shim) -> Result<Arc<Link>, ShimError> {
    let ready = shim.pool.take().await?;
    Ok(Link::new(ready, Audience::Modern, shim.limits.in_flight, shim.pool.tasks()))
}

/// Whether the child speaks this era. A child that dies of the question does not; one that was stopped gave no verdict.
async fn probe(shim: &Shim, link: &Link) -> Result<bool, ShimError> {
    // A launcher may still be downloading; one that has been running for a while answers at once or never.
    let limit = shim.limits.probe.max(shim.limits.probe_young.saturating_sub(link.age()));
    let params = format!(
        concat!(
            r#"{{"_meta":{{"io.modelcontextprotocol/protocolVersion":"{}","#,
            r#""io.modelcontextprotocol/clientInfo":{{"name":"mcp-gateway","version":"{}"}},"#,
            r#""io.modelcontextprotocol/clientCapabilities":{{}}}}}}"#
        ),
        FIRST_MODERN,
        env!("CARGO_PKG_VERSION"),
    );
    let discover = format!(r#"{{"jsonrpc":"2.0","id":0,"method":"server/discover","params":{params}}}"#);
    let discover = Message::decode(Bytes::from(discover)).map_err(|_| ShimError::Gone)?;
    match link.ask(NOBODY, &discover, limit).await {
        Ok(answer) => Ok(answer.supported_versions().iter().any(|version| version.as_str() >= FIRST_MODERN)),
        Err(ShimError::Closing) => Err(ShimError::Closing),
        Err(_) if shim.pool.closing().is_cancelled() => Err(ShimError::Closing),
        Err(_) => Ok(false),
    }
}

/// What a server of the legacy era answers over HTTP, so that the client begins with `initialize`.
fn legacy_only(request: &Message) -> Reply {
    let supported = LEGACY_VERSIONS.map(json_string).join(",");
    let requested = json_string(request.version.as_deref().unwrap_or(FIRST_MODERN));
    let data = format!(r#"{{"supported":[{supported}],"requested":{requested}}}"#);
    let text = "this server speaks the legacy era only: begin with initialize";
    reply::json(StatusCode::BAD_REQUEST, message::error(request.id(), UNSUPPORTED_VERSION, text, Some(&data)))
}
