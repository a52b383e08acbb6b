//! Which replicas there are, and which of them takes a session whose owner is gone.

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::Instant;

/// How long a replica that refused a connection is not tried again, so that not every request pays for finding out.
const SUSPECTED_FOR: Duration = Duration::from_secs(10);

/// Addresses remembered as gone: replicas come and go, memory must not grow with them.
const MAX_SUSPECTS: usize = 256;

/// The name of a session among replicas: a digest of its sealed id, which itself stays between the client and the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SessionKey([u8; 16]);

impl SessionKey {
    pub(crate) fn of(sealed: &str) -> Self {
        let digest: [u8; 32] = Sha256::digest(sealed).into();
        let mut key = [0; 16];
        key.copy_from_slice(&digest[..16]);
        Self(key)
    }

    /// As 32 hexadecimal digits.
    pub(super) fn to_hex(self) -> String {
        format!("{:032x}", u128::from_be_bytes(self.0))
    }

    pub(super) fn from_hex(hex: &str) -> Option<Self> {
        let digits = hex.len() == 32 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
        digits.then(|| u128::from_str_radix(hex, 16).ok()).flatten().map(|number| Self(number.to_be_bytes()))
    }
}

/// The replicas, as far as they are known here.
#[derive(Default)]
pub(super) struct Members {
    listed: ArcSwap<BTreeSet<SocketAddr>>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// Said that they leave.
    leaving: HashSet<SocketAddr>,
    /// Could not be reached, and until when that is taken for granted.
    suspects: HashMap<SocketAddr, Instant>,
}

impl Members {
    /// These are the replicas from now on.
    pub(super) fn list(&self, addresses: BTreeSet<SocketAddr>) {
        let mut known = self.known.lock();
        known.leaving.retain(|address| addresses.contains(address));
        self.listed.store(addresses.into());
    }

    /// Whether this address is one of a replica's.
    pub(super) fn is_listed(&self, address: SocketAddr) -> bool {
        self.listed.load().contains(&address)
    }

    /// A replica said that it leaves: it takes nothing on any more.
    pub(super) fn leaves(&self, address: SocketAddr) {
        self.known.lock().leaving.insert(address);
    }

    /// A replica could not be reached.
    pub(super) fn suspect(&self, address: SocketAddr) {
        let mut known = self.known.lock();
        let now = Instant::now();
        known.suspects.retain(|_, until| *until > now);
        if known.suspects.len() < MAX_SUSPECTS {
            known.suspects.insert(address, now + SUSPECTED_FOR);
        }
        // Whoever is there next has not said anything.
        known.leaving.remove(&address);
    }

    /// A replica answered.
    pub(super) fn trust(&self, address: SocketAddr) {
        let mut known = self.known.lock();
        if !known.suspects.is_empty() {
            known.suspects.remove(&address);
        }
    }

    pub(super) fn is_suspect(&self, address: SocketAddr) -> bool {
        self.known.lock().suspects.get(&address).is_some_and(|until| *until > Instant::now())
    }

    /// Every replica that can be asked something.
    pub(super) fn reachable(&self) -> Vec<SocketAddr> {
        let listed = self.listed.load();
        let known = self.known.lock();
        let now = Instant::now();
        let suspected = |address: &SocketAddr| known.suspects.get(address).is_some_and(|until| *until > now);
        listed.iter().filter(|address| !suspected(address)).copied().collect()
    }

    /// Every replica that takes on what is new.
    pub(super) fn staying(&self) -> Vec<SocketAddr> {
        let mut staying = self.reachable();
        let known = self.known.lock();
        staying.retain(|address| !known.leaving.contains(address));
        staying
    }
}

/// Orders candidates for a session, the first choice first. Every replica that knows the same candidates comes to the same
/// order, and a candidate's departure moves its own sessions only (rendezvous hashing).
pub(super) fn rendezvous(session: SessionKey, mut candidates: Vec<SocketAddr>) -> Vec<SocketAddr> {
    candidates.sort_by_cached_key(|address| {
        let digest = Sha256::new().chain_update(session.0).chain_update(address.to_string()).finalize();
        Reverse(<[u8; 32]>::from(digest))
    });
    candidates
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 9903))
    }

    #[test]
    fn every_replica_chooses_the_same_successor_and_sessions_spread() {
        let all: Vec<_> = (1..=4).map(address).collect();
        let mut taken = HashMap::new();
        for number in 0..400 {
            let key = SessionKey::of(&number.to_string());
            let first = rendezvous(key, all.clone())[0];
            let mut reversed = all.clone();
            reversed.reverse();
            assert_eq!(rendezvous(key, reversed)[0], first, "the order of the list does not matter");
            *taken.entry(first).or_insert(0) += 1;
            let without: Vec<_> = all.iter().copied().filter(|address| *address != all[0]).collect();
            if first != all[0] {
                assert_eq!(rendezvous(key, without)[0], first, "only the departed one's sessions move");
            }
        }
        assert!(taken.values().all(|count| (50..150).contains(count)), "{taken:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_suspect_is_tried_again_after_a_while() {
        let members = Members::default();
        members.list([address(1), address(2)].into());
        members.suspect(address(1));
        assert_eq!(members.reachable(), [address(2)]);
        members.trust(address(1));
        assert_eq!(members.reachable().len(), 2);
        members.suspect(address(1));
        tokio::time::advance(SUSPECTED_FOR).await;
        assert!(!members.is_suspect(address(1)));
    }

    #[test]
    fn a_leaving_replica_can_be_asked_but_takes_nothing_on() {
        let members = Members::default();
        members.list([address(1), address(2)].into());
        members.leaves(address(1));
        assert_eq!((members.reachable().len(), members.staying()), (2, vec![address(2)]));
        members.list([address(2)].into());
        members.list([address(1), address(2)].into());
        assert_eq!(members.staying().len(), 2, "the next one at that address has not said that it leaves");
    }

    #[test]
    fn keys_survive_their_hexadecimal_form() {
        let key = SessionKey::of("a session");
        assert_eq!(SessionKey::from_hex(&key.to_hex()), Some(key));
        for wrong in ["", "+1234567890123456789012345678901", "zz"] {
            assert_eq!(SessionKey::from_hex(wrong), None);
        }
    }
}
