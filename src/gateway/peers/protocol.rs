//! What replicas say to each other: HTTP/1.1 over TLS, on a port of its own.
//!
//! A client's request travels as it is, below [`FORWARD`], with headers that say for which route and why. Everything else is a
//! POST to a path of its own.

use super::members::SessionKey;
use http::{HeaderName, HeaderValue};
use std::fmt;
use std::net::SocketAddr;

/// Before the path of a client's request.
pub(super) const FORWARD: &str = "/v1/forward";
/// Whether the receiver holds the session whose sealed id is the body: 200, or 404.
pub(super) const HOLDS: &str = "/v1/holds";
/// The sender, by the address in the body, leaves.
pub(super) const LEAVING: &str = "/v1/leaving";
/// The session whose [`SessionKey`] is the body was ended by its client.
pub(super) const ENDED: &str = "/v1/ended";

/// Shows that the sender is a replica.
pub(super) const TOKEN: HeaderName = HeaderName::from_static("mcp-peer-token");
/// The route, `namespace/name`: found by the replica that the client reached.
pub(super) const ROUTE: HeaderName = HeaderName::from_static("mcp-peer-route");
/// The other end of the client's connection.
pub(super) const CLIENT: HeaderName = HeaderName::from_static("mcp-peer-client");
/// An [`Intent`].
pub(super) const INTENT: HeaderName = HeaderName::from_static("mcp-peer-intent");
/// The start of the receiver that is meant.
pub(super) const BOOT: HeaderName = HeaderName::from_static("mcp-peer-boot");
/// How often the request was sent on, this time included.
pub(super) const HOPS: HeaderName = HeaderName::from_static("mcp-peer-hops");
/// On an answer: a [`Refusal`].
pub(super) const REFUSED: HeaderName = HeaderName::from_static("mcp-peer-refused");
/// On an answer: the replica that holds the session now, where it is not the one that was asked.
pub(super) const HOLDER: HeaderName = HeaderName::from_static("mcp-peer-holder");
/// Begins the names of all of them.
pub(super) const PREFIX: &str = "mcp-peer-";

/// A request travels so often at the most: from the replica that the client reached to the owner, from there to whom the owner
/// has handed the session.
pub(super) const MAX_HOPS: u8 = 2;

/// Why a request is sent to this replica and no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Intent {
    /// The session's id names it as the owner.
    Own,
    /// It holds the session.
    Hold,
    /// It is the one to take the session up: the owner is gone.
    Adopt,
    /// It is to begin a session: the sender leaves.
    Begin,
    /// It has handed the session over, and has kept what could not be.
    Former,
}

impl Intent {
    const ALL: [Self; 5] = [Self::Own, Self::Hold, Self::Adopt, Self::Begin, Self::Former];

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Hold => "hold",
            Self::Adopt => "adopt",
            Self::Begin => "begin",
            Self::Former => "former",
        }
    }

    pub(super) fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|intent| intent.word() == word)
    }
}

/// That a request came from another replica, and why to this one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hop {
    pub(crate) intent: Intent,
    /// How often it was sent on.
    pub(crate) count: u8,
}

/// Why a replica does not answer a request that another one sent it. It has done nothing about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It is not the start that is meant, or does not hold the session.
    NotHere,
    /// It takes nothing on.
    Leaving,
    /// It does not have the route or the key yet.
    Behind,
}

impl Refusal {
    pub(super) fn word(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::NotHere => "not-here",
            Self::Leaving => "leaving",
            Self::Behind => "behind",
        })
    }

    pub(super) fn parse(word: &[u8]) -> Self {
        [Self::Leaving, Self::Behind].into_iter().find(|refusal| refusal.word().as_bytes() == word).unwrap_or(Self::NotHere)
    }
}

/// A start of a replica: what a session's id names as its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) address: SocketAddr,
    /// 16 hexadecimal digits, new at each start.
    pub(crate) boot: String,
}

impl Owner {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (address, boot) = text.rsplit_once('/')?;
        Some(Self { address: address.parse().ok()?, boot: boot.to_owned() })
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.boot)
    }
}

/// A message that is only a session's key.
pub(super) fn parse_key(body: &[u8]) -> Option<SessionKey> {
    SessionKey::from_hex(std::str::from_utf8(body).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::session::seal::MAX_OWNER;

    #[test]
    fn the_longest_owner_fits_into_an_id() {
        let address = "[2001:db8:1111:2222:3333:4444:5555:6666]:65535".parse().unwrap();
        let owner = Owner { address, boot: "0123456789abcdef".to_owned() };
        let text = owner.to_string();
        assert!(text.len() <= MAX_OWNER, "{text}");
        assert_eq!(Owner::parse(&text), Some(owner));
        for foreign in ["", "gateway-0/abcd", "10.0.0.1/abcd", "10.0.0.1:1"] {
            assert_eq!(Owner::parse(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn words_are_read_back() {
        for intent in Intent::ALL {
            assert_eq!(Intent::parse(intent.word()), Some(intent));
        }
        for refusal in [Refusal::NotHere, Refusal::Leaving, Refusal::Behind] {
            assert_eq!(Refusal::parse(refusal.word().as_bytes()), refusal);
        }
    }
}
