//! Taking, renewing and giving back the lease.

use super::{CALL, LEASE, LOOK, Leadership, RENEW};
use crate::operator::client::{ApiError, within_time};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use std::sync::Arc;
use tokio::time::{Instant, sleep};

/// This replica led, and does not any more: another may.
#[derive(Debug)]
pub(in crate::operator) struct Lost;

/// This replica's part in the election.
pub(in crate::operator) struct Election {
    api: Api<Lease>,
    name: String,
    identity: String,
    leadership: Arc<Leadership>,
    /// The lease of another as it was seen last, and when it was first seen so. Clocks of others are not compared with ours.
    seen: Option<(Sighting, Instant)>,
}

/// What changes whenever a lease is renewed.
#[derive(Clone, Debug, PartialEq)]
struct Sighting {
    holder: Option<String>,
    resource_version: Option<String>,
}

impl Election {
    /// `client` is not fenced: what it writes is the lease.
    pub(in crate::operator) fn new(
        client: Client,
        namespace: &str,
        name: &str,
        identity: &str,
        leadership: Arc<Leadership>,
    ) -> Self {
        let api = Api::namespaced(client, namespace);
        Self { api, name: name.to_owned(), identity: identity.to_owned(), leadership, seen: None }
    }

    /// Stands for election, leads, and returns once it does not lead any more.
    pub(in crate::operator) async fn run(&mut self) -> Lost {
        let mut led = false;
        loop {
            let sent = Instant::now();
            let done = self.attempt(sent).await;
            // Checked before it is extended: a renewal that came too late is no renewal.
            if led && !self.leadership.leads() {
                self.leadership.end();
                return Lost;
            }
            match done {
                Ok(true) => {
                    if !led {
                        tracing::info!(identity = self.identity, "this replica leads");
                    }
                    led = true;
                    self.leadership.extend(sent);
                    sleep(RENEW).await;
                }
                Ok(false) if led => {
                    self.leadership.end();
                    return Lost;
                }
                Ok(false) => sleep(LOOK).await,
                Err(error) => {
                    tracing::warn!(%error, "the lease could not be looked at");
                    sleep(if led { LOOK / 2 } else { LOOK }).await;
                }
            }
        }
    }

    /// Gives the lease back, so that nobody has to wait for its end.
    pub(in crate::operator) async fn release(&self) -> Result<(), ApiError> {
        if !self.leadership.leads() {
            return Ok(());
        }
        self.leadership.end();
        let Some(mut lease) = within_time(CALL, self.api.get_opt(&self.name)).await? else { return Ok(()) };
        let spec = lease.spec.get_or_insert_default();
        if spec.holder_identity.as_ref() != Some(&self.identity) {
            return Ok(());
        }
        spec.holder_identity = None;
        within_time(CALL, self.api.replace(&self.name, &PostParams::default(), &lease)).await.map(drop)
    }

    /// Takes or renews the lease; false when another has it.
    async fn attempt(&mut self, now: Instant) -> Result<bool, ApiError> {
        let Some(mut lease) = within_time(CALL, self.api.get_opt(&self.name)).await? else {
            return settle(within_time(CALL, self.api.create(&PostParams::default(), &self.first())).await);
        };
        let spec = lease.spec.clone().unwrap_or_default();
        let holder = spec.holder_identity.clone().filter(|holder| !holder.is_empty());
        let is_ours = holder.as_ref() == Some(&self.identity);
        let sighting = Sighting { holder: holder.clone(), resource_version: lease.metadata.resource_version.clone() };
        let since = match &self.seen {
            Some((before, since)) if *before == sighting => *since,
            _ => now,
        };
        self.seen = Some((sighting, since));
        if holder.is_some() && !is_ours && now.duration_since(since) < LEASE {
            return Ok(false);
        }
        lease.spec = Some(self.claim(&spec, is_ours));
        // With the version that was read: of two who try, one succeeds.
        settle(within_time(CALL, self.api.replace(&self.name, &PostParams::default(), &lease)).await)
    }

    fn first(&self) -> Lease {
        let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
        Lease { metadata, spec: Some(self.claim(&LeaseSpec::default(), false)) }
    }

    fn claim(&self, before: &LeaseSpec, is_ours: bool) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        let transitions = before.lease_transitions.unwrap_or(0);
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(LEASE.as_secs()).ok(),
            acquire_time: before.acquire_time.clone().filter(|_| is_ours).or_else(|| Some(now.clone())),
            renew_time: Some(now),
            lease_transitions: Some(if is_ours || before.acquire_time.is_none() {
                transitions
            } else {
                transitions + 1
            }),
            ..before.clone()
        }
    }
}

/// A lost race is no error: another has it.
fn settle(done: Result<Lease, ApiError>) -> Result<bool, ApiError> {
    match done {
        Ok(_) => Ok(true),
        Err(error) if error.status().is_some_and(|status| status.is_conflict() || status.is_already_exists()) => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::super::LEADS;
    use super::*;
    use http::{Method, Request, Response};
    use http_body_util::BodyExt as _;
    use kube::client::Body;
    use parking_lot::Mutex;
    use serde_json::{Value, json};
    use std::convert::Infallible;
    use std::time::Duration;
    use tower::service_fn;

    /// An API server with one lease, or none; `None` inside: it does not answer.
    type Server = Arc<Mutex<Option<Option<Value>>>>;

    fn client(server: &Server) -> Client {
        let server = Arc::clone(server);
        let service = service_fn(move |request: Request<Body>| {
            let server = Arc::clone(&server);
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                if server.lock().is_none() {
                    std::future::pending::<()>().await;
                }
                Ok::<_, Infallible>(answer(server.lock().as_mut().unwrap(), &parts.method, &body))
            }
        });
        Client::new(service, "default")
    }

    fn answer(lease: &mut Option<Value>, method: &Method, body: &[u8]) -> Response<Body> {
        let status = |code: u16, reason: &str| {
            let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": reason});
            (code, status)
        };
        let version =
            |value: &Value| value["metadata"]["resourceVersion"].as_str().unwrap_or("0").parse::<u64>().unwrap();
        let standing = lease.clone();
        let mut accept = |mut new: Value, number: u64| {
            new["metadata"]["resourceVersion"] = (number + 1).to_string().into();
            *lease = Some(new.clone());
            (200, new)
        };
        let (code, value) = match (method, standing) {
            (&Method::GET, Some(lease)) => (200, lease),
            (&Method::GET, None) => status(404, "NotFound"),
            (&Method::POST, None) => accept(serde_json::from_slice(body).unwrap(), 0),
            (&Method::POST, Some(_)) => status(409, "AlreadyExists"),
            (&Method::PUT, Some(old)) => {
                let new: Value = serde_json::from_slice(body).unwrap();
                if version(&new) == version(&old) { accept(new, version(&old)) } else { status(409, "Conflict") }
            }
            other => panic!("{other:?}"),
        };
        Response::builder().status(code).body(Body::from(serde_json::to_vec(&value).unwrap())).unwrap()
    }

    fn candidate(server: &Server, identity: &str) -> (Election, Arc<Leadership>) {
        let leadership = Arc::new(Leadership::default());
        (Election::new(client(server), "ns", "lease", identity, Arc::clone(&leadership)), leadership)
    }

    fn holder(server: &Server) -> Value {
        server.lock().as_ref().unwrap().as_ref().unwrap()["spec"]["holderIdentity"].clone()
    }

    #[tokio::test(start_paused = true)]
    async fn one_leads_and_the_other_follows_when_it_is_gone() {
        let server = Server::new(Mutex::new(Some(None)));
        let (mut one, first) = candidate(&server, "one");
        let leading = tokio::spawn(async move { one.run().await });
        first.acquired().await;
        let (mut two, second) = candidate(&server, "two");
        tokio::spawn(async move { two.run().await });
        sleep(LEASE * 4).await;
        assert!(first.leads() && !second.leads());

        // Killed, without a word.
        leading.abort();
        let since = Instant::now();
        second.acquired().await;
        assert!(!first.leads(), "the first one's deadline is past before the second one leads");
        let took = since.elapsed();
        assert!(took + RENEW >= LEASE && took < Duration::from_secs(20), "{took:?}");
        assert_eq!(holder(&server), "two");
    }

    #[tokio::test(start_paused = true)]
    async fn without_an_answer_leadership_ends_before_the_lease_does() {
        let server = Server::new(Mutex::new(Some(None)));
        let (mut one, leadership) = candidate(&server, "one");
        let leading = tokio::spawn(async move { one.run().await });
        leadership.acquired().await;
        let lease = server.lock().take();
        let since = Instant::now();
        sleep(LEADS).await;
        assert!(!leadership.leads());
        leading.await.unwrap();
        // A call that hangs is given up.
        assert!(since.elapsed() < LEADS * 3, "{:?}", since.elapsed());
        *server.lock() = lease;
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewal_that_comes_too_late_is_none() {
        let server = Server::new(Mutex::new(Some(None)));
        let (mut one, leadership) = candidate(&server, "one");
        let leading = tokio::spawn(async move { one.run().await });
        leadership.acquired().await;
        // Stopped: no timer fires, and then all of them at once.
        tokio::time::advance(LEADS + Duration::from_millis(1)).await;
        assert!(!leadership.leads());
        leading.await.unwrap();
        assert!(!leadership.leads());
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_is_given_back_is_taken_at_once() {
        let server = Server::new(Mutex::new(Some(None)));
        let (mut one, first) = candidate(&server, "one");
        tokio::select! { _ = one.run() => panic!("lost"), () = first.acquired() => {} }
        let (mut two, second) = candidate(&server, "two");
        tokio::spawn(async move { two.run().await });
        sleep(LOOK * 2).await;
        one.release().await.unwrap();
        assert!(!first.leads());
        let since = Instant::now();
        second.acquired().await;
        assert!(since.elapsed() <= LOOK);
    }

    #[tokio::test(start_paused = true)]
    async fn of_two_who_try_at_once_one_succeeds() {
        let server = Server::new(Mutex::new(Some(None)));
        let (mut one, _) = candidate(&server, "one");
        let (mut two, _) = candidate(&server, "two");
        let now = Instant::now();
        let (a, b) = tokio::join!(one.attempt(now), two.attempt(now));
        assert_ne!(a.unwrap(), b.unwrap());
    }
}
