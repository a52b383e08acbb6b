//! The keyring of sealed session ids, and how one key follows another.

use super::{NoMaterial, REPLACE_AFTER, Situation};
use crate::ir::secrets::PrivateBytes;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// Beyond the idle time-out: sessions are swept now and then, and clocks differ.
const MARGIN: SignedDuration = SignedDuration::from_mins(5);

/// Keys in the order of their age, the oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(in crate::operator) struct Ring(Vec<Key>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Key {
    /// 32 bytes.
    bytes: PrivateBytes,
    role: Role,
    /// When it came into this role.
    since: Timestamp,
}

/// What a key does. One key seals at any time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Role {
    /// It opens what others seal, until every pod can.
    Standby,
    /// It seals.
    Active,
    /// It opens what it sealed; a pod that lags behind may still seal with it.
    Retiring,
    /// No pod seals with it any more; it opens what is left.
    Retired,
}

impl Ring {
    pub(super) fn new(bytes: PrivateBytes, now: Timestamp) -> Self {
        Self(vec![Key { bytes, role: Role::Active, since: now }])
    }

    /// The keys as a gateway takes them: the first one seals, all open.
    pub(super) fn keyring(&self) -> Vec<PrivateBytes> {
        let active = self.0.iter().filter(|key| key.role == Role::Active);
        let others = self.0.iter().filter(|key| key.role != Role::Active);
        active.chain(others).map(|key| key.bytes.clone()).collect()
    }

    /// Whether a new key is on its way.
    pub(super) fn is_rotating(&self) -> bool {
        self.0.iter().any(|key| key.role == Role::Standby)
    }

    /// The ring after the next step, if one is due. Every step waits until all pods have the one before, so that what one of
    /// them seals all of them open.
    pub(super) fn step(
        &self,
        situation: &Situation<'_>,
        asked: bool,
        new_key: impl FnOnce() -> Result<PrivateBytes, NoMaterial>,
    ) -> Result<Option<Self>, NoMaterial> {
        if !situation.all_pods_have_them {
            return Ok(None);
        }
        let mut keys = self.0.clone();
        let over = situation.idle_timeout + MARGIN;
        keys.retain(|key| key.role != Role::Retired || situation.now.duration_since(key.since) < over);
        let is_rotating = self.is_rotating();
        for key in &mut keys {
            key.role = match key.role {
                Role::Standby => Role::Active,
                Role::Active if is_rotating => Role::Retiring,
                // All pods have the ring in which it does not seal.
                Role::Retiring => Role::Retired,
                Role::Active | Role::Retired => continue,
            };
            key.since = situation.now;
        }
        // One rotation at a time: the ring never has more than two keys.
        if keys.len() == 1 && !is_rotating && (asked || self.is_due(situation.now)) {
            keys.push(Key { bytes: new_key()?, role: Role::Standby, since: situation.now });
        }
        let next = Self(keys);
        Ok((next != *self).then_some(next))
    }

    fn is_due(&self, now: Timestamp) -> bool {
        self.0.iter().any(|key| key.role == Role::Active && now.duration_since(key.since) >= REPLACE_AFTER)
    }

    /// When the next step may be due by time alone.
    pub(super) fn next_look(&self, situation: &Situation<'_>) -> SignedDuration {
        let left = |key: &Key| {
            let age = situation.now.duration_since(key.since);
            match key.role {
                Role::Active => REPLACE_AFTER - age,
                Role::Retired => situation.idle_timeout + MARGIN - age,
                // They wait for pods, not for time.
                Role::Standby | Role::Retiring => SignedDuration::from_mins(1),
            }
        };
        self.0.iter().map(left).min().unwrap_or(SignedDuration::from_mins(1))
    }

    /// Whether it can be used: one key seals, and each has the right length.
    pub(super) fn is_sound(&self) -> bool {
        self.0.iter().filter(|key| key.role == Role::Active).count() == 1
            && self.0.iter().all(|key| key.bytes.expose().len() == 32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cell::Cell;

    #[derive(Clone, Copy, Debug)]
    enum Event {
        /// One of the pods gets the newest ring.
        Update(usize),
        /// Time passes, in minutes.
        Wait(i64),
        /// Somebody asks for a rotation.
        Ask,
        /// The operator looks.
        Look,
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            4 => (0..3_usize).prop_map(Event::Update),
            2 => (0..50_i64).prop_map(Event::Wait),
            1 => Just(Event::Ask),
            4 => Just(Event::Look),
        ]
    }

    proptest! {
        /// Whatever one pod seals now, and whatever any sealed within the idle time-out, every pod opens.
        #[test]
        fn every_pod_opens_what_any_other_seals(events in prop::collection::vec(event(), 0..200)) {
            let made = Cell::new(0_u8);
            let new_key = || {
                made.set(made.get().wrapping_add(1));
                Ok(PrivateBytes::new([made.get(); 32]))
            };
            let idle_timeout = SignedDuration::from_mins(30);
            let mut now = Timestamp::UNIX_EPOCH;
            let mut ring = Ring::new(new_key().unwrap(), now);
            let mut pods = [(); 3].map(|()| ring.keyring());
            let mut sealed: Vec<(PrivateBytes, Timestamp)> = Vec::new();
            let mut asked = false;
            for event in events {
                match event {
                    Event::Update(pod) => pods[pod] = ring.keyring(),
                    Event::Wait(minutes) => now += SignedDuration::from_mins(minutes),
                    Event::Ask => asked = true,
                    Event::Look => {
                        let all_pods_have_them = pods.iter().all(|pod| *pod == ring.keyring());
                        let situation = Situation { now, all_pods_have_them, idle_timeout, request: None };
                        if let Some(next) = ring.step(&situation, asked, new_key).unwrap() {
                            asked &= !next.is_rotating();
                            ring = next;
                        }
                        prop_assert!(ring.is_sound() && ring.0.len() <= 2, "{:?}", ring);
                    }
                }
                sealed.extend(pods.iter().map(|pod| (pod[0].clone(), now)));
                sealed.retain(|(_, at)| now.duration_since(*at) <= idle_timeout);
                for (key, at) in &sealed {
                    for pod in &pods {
                        prop_assert!(pod.contains(key), "sealed at {at}, now {now}: {pod:?}");
                    }
                }
            }
        }
    }
}
