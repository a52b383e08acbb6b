//! Where a session is: here, elsewhere, or to be taken up.
//!
//! A session that is here costs one look into the table, as with one replica. For any other: whoever turned out to hold it,
//! then the owner that its id names, then whoever says that it holds it, and when nobody does, its successor takes it up.
//! An owner that is there and does not know the session has seen its end, and that is final.

use super::adopt::adopt;
use super::forward::{Parcel, forwarded};
use super::protocol::{HOLDER, Intent, MAX_HOPS, Owner, REFUSED, Refusal};
use super::{Peers, Sent, SessionKey, lost, named_holder, unavailable};
use crate::gateway::downstream::body::ResponseBody;
use crate::gateway::downstream::{respond, sse_transport};
use crate::gateway::downstream::service::Inbound;
use crate::gateway::error::GatewayError;
use crate::gateway::session::inbound::session_gone;
use crate::gateway::session::live::Session;
use crate::gateway::session::seal::{Claims, OpenError};
use http::{HeaderValue, Response, StatusCode};
use std::net::SocketAddr;
use std::sync::Arc;

/// Where a request of a session is answered.
pub(crate) enum Place {
    /// By this session.
    Here(Arc<Session>),
    /// It was answered by another replica, or must be by another than this one.
    Answered(Response<ResponseBody>),
}

/// What came of one try.
enum Try {
    Done(Response<ResponseBody>),
    /// Not there: on to the next.
    Next,
}

/// Finds the session of a sealed id. What is elsewhere is answered there.
pub(crate) async fn place(parcel: &Parcel<'_>, sealed: &str) -> Result<Place, GatewayError> {
    let inbound = parcel.inbound;
    if let Some(session) = here(inbound, sealed) {
        return Ok(Place::Here(session));
    }
    let Some(peers) = inbound.gateway.peers() else { return Err(session_gone()) };
    let search = Search { peers, parcel, sealed, key: SessionKey::of(sealed) };
    match inbound.hop.map(|hop| hop.intent) {
        None => search.from_client().await,
        Some(intent) => search.from_peer(intent).await,
    }
}

/// Sends what belongs to a stream of the oldest clients to the replica that has it: it cannot be anywhere else.
pub(crate) async fn place_stream(parcel: &Parcel<'_>, sealed: &str) -> Result<Response<ResponseBody>, GatewayError> {
    let inbound = parcel.inbound;
    let peers = inbound.gateway.peers().filter(|_| inbound.hop.is_none()).ok_or_else(session_gone)?;
    let claims = inbound.running.keyring.open(&sse_transport::scope(inbound.route.id()), sealed)?;
    let owner = Owner::parse(&claims.owner).filter(|owner| owner != peers.me()).ok_or_else(session_gone)?;
    let search = Search { peers, parcel, sealed, key: SessionKey::of(sealed) };
    match search.send(owner.address, Intent::Own, Some(&owner)).await? {
        Try::Done(response) => Ok(response),
        Try::Next => Err(session_gone()),
    }
}

/// Lets another replica begin a session, if there is one that takes it: this one leaves.
pub(crate) async fn begin_elsewhere(parcel: &Parcel<'_>) -> Option<Response<ResponseBody>> {
    let inbound = parcel.inbound;
    let peers = inbound.gateway.peers().filter(|peers| peers.is_leaving() && inbound.hop.is_none())?;
    let anything = SessionKey::of(parcel.id.unwrap_or_default());
    for address in peers.successors(anything) {
        if let Sent::Answered(head, body) = peers.forward(address, Intent::Begin, None, parcel).await {
            return Some(forwarded(head, body, parcel.id));
        }
    }
    None
}

/// The session as this replica has it.
fn here(inbound: &Inbound<'_>, sealed: &str) -> Option<Arc<Session>> {
    let session = inbound.gateway.sessions.get(sealed).filter(|session| session.route() == inbound.route.id())?;
    session.touch();
    Some(session)
}

fn open(inbound: &Inbound<'_>, sealed: &str) -> Result<Claims, OpenError> {
    inbound.running.keyring.open(&inbound.route.id().to_string(), sealed)
}

struct Search<'a> {
    peers: &'a Arc<Peers>,
    parcel: &'a Parcel<'a>,
    sealed: &'a str,
    key: SessionKey,
}

impl Search<'_> {
    async fn from_client(&self) -> Result<Place, GatewayError> {
        let peers = self.peers;
        if peers.has_ended(self.key) {
            return Err(session_gone());
        }
        if let Some(holder) = peers.holder(self.key) {
            if let Try::Done(response) = self.send(holder, Intent::Hold, None).await? {
                return Ok(Place::Answered(response));
            }
            peers.forget_holder(self.key);
        }
        let claims = match open(self.parcel.inbound, self.sealed) {
            Ok(claims) => claims,
            Err(OpenError::UnknownKey) => return self.under_unknown_key().await,
            Err(error) => return Err(error.into()),
        };
        if let Some(owner) = Owner::parse(&claims.owner) {
            if owner == *peers.me() {
                return Err(session_gone());
            }
            if !peers.members.is_suspect(owner.address)
                && let Try::Done(response) = self.send(owner.address, Intent::Own, Some(&owner)).await?
            {
                return Ok(Place::Answered(response));
            }
        }
        if let Some(response) = self.whoever_holds_it().await? {
            return Ok(Place::Answered(response));
        }
        self.successor(&claims).await
    }

    /// Another replica sent this here.
    async fn from_peer(&self, intent: Intent) -> Result<Place, GatewayError> {
        let inbound = self.parcel.inbound;
        match intent {
            // It was this start of this replica that was meant: the session has ended.
            Intent::Own if self.peers.holder(self.key).is_none() => Err(session_gone()),
            _ if self.peers.has_ended(self.key) => Err(session_gone()),
            Intent::Adopt if self.peers.is_leaving() => Ok(refused(Refusal::Leaving)),
            Intent::Adopt => match open(inbound, self.sealed) {
                Ok(claims) => adopt(inbound, self.sealed, &claims).map(Place::Here),
                Err(_) => Ok(refused(Refusal::Behind)),
            },
            // It was handed over: one more step, and no further.
            Intent::Own | Intent::Hold => {
                let hops = inbound.hop.map_or(0, |hop| hop.count);
                if let Some(holder) = self.peers.holder(self.key).filter(|_| hops < MAX_HOPS)
                    && let Try::Done(response) = self.send(holder, Intent::Hold, None).await?
                {
                    return Ok(Place::Answered(response));
                }
                Ok(refused(Refusal::NotHere))
            }
            Intent::Begin | Intent::Former => Ok(refused(Refusal::NotHere)),
        }
    }

    /// The id may be of a replica that is ahead by a generation, or of a session that has outlived its key: whoever holds it
    /// knows it by its id.
    async fn under_unknown_key(&self) -> Result<Place, GatewayError> {
        let Ok(_search) = self.peers.searches.try_acquire() else { return Err(unavailable()) };
        self.whoever_holds_it().await?.map(Place::Answered).ok_or_else(session_gone)
    }

    async fn whoever_holds_it(&self) -> Result<Option<Response<ResponseBody>>, GatewayError> {
        let Some(holder) = self.peers.search(self.key, self.sealed).await else { return Ok(None) };
        match self.send(holder, Intent::Hold, None).await? {
            Try::Done(response) => Ok(Some(response)),
            Try::Next => {
                self.peers.forget_holder(self.key);
                Ok(None)
            }
        }
    }

    /// Nobody has it any more: the first of its successors that is there takes it up.
    async fn successor(&self, claims: &Claims) -> Result<Place, GatewayError> {
        let inbound = self.parcel.inbound;
        for address in self.peers.successors(self.key) {
            if address == self.peers.me().address {
                return adopt(inbound, self.sealed, claims).map(Place::Here);
            }
            if let Try::Done(response) = self.send(address, Intent::Adopt, None).await? {
                return Ok(Place::Answered(response));
            }
        }
        // This one leaves and is alone: better for a while than not at all.
        adopt(inbound, self.sealed, claims).map(Place::Here)
    }

    async fn send(&self, to: SocketAddr, intent: Intent, owner: Option<&Owner>) -> Result<Try, GatewayError> {
        match self.peers.forward(to, intent, owner, self.parcel).await {
            Sent::Answered(head, body) => {
                // Whoever holds it is asked first the next time, without the detour.
                let holder = named_holder(&head.headers).unwrap_or(to);
                self.peers.note_holder(self.key, holder);
                let mut response = forwarded(head, body, self.parcel.id);
                if self.parcel.inbound.hop.is_some()
                    && let Ok(holder) = HeaderValue::from_str(&holder.to_string())
                {
                    response.headers_mut().insert(HOLDER, holder);
                }
                Ok(Try::Done(response))
            }
            Sent::Refused(Refusal::Behind) => Err(unavailable()),
            Sent::Refused(_) | Sent::Gone => Ok(Try::Next),
            Sent::Lost if self.parcel.repeatable => Ok(Try::Next),
            Sent::Lost => Err(lost()),
            Sent::Unavailable(error) => Err(error),
        }
    }
}

/// The answer to a replica that came to the wrong one.
pub(super) fn refused(refusal: Refusal) -> Place {
    Place::Answered(misdirected(refusal))
}

pub(super) fn misdirected(refusal: Refusal) -> Response<ResponseBody> {
    let mut response = respond::empty(StatusCode::MISDIRECTED_REQUEST);
    response.headers_mut().insert(REFUSED, refusal.word());
    response
}

/// Whether a legacy request does no harm when it is made twice.
pub(crate) fn is_repeatable(method: &str) -> bool {
    matches!(
        method,
        "ping"
            | "tools/list"
            | "prompts/list"
            | "prompts/get"
            | "resources/list"
            | "resources/templates/list"
            | "resources/read"
            | "resources/subscribe"
            | "resources/unsubscribe"
            | "completion/complete"
            | "logging/setLevel"
            | "tasks/get"
            | "tasks/result"
            | "tasks/list"
            | "tasks/cancel"
    ) || method.starts_with("notifications/")
}


#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::error::Kind;

    #[test]
    fn a_tool_is_not_called_twice() {
        assert!(!is_repeatable("tools/call") && !is_repeatable("vendor/method"));
        assert!(is_repeatable("tools/list") && is_repeatable("notifications/cancelled"));
    }

    #[test]
    fn an_end_looks_the_same_wherever_it_is_noticed() {
        assert_eq!(session_gone().kind, Kind::SessionNotFound);
        assert_eq!(session_gone().http_status(), GatewayError::from(OpenError::NotAuthentic).http_status());
    }
}
