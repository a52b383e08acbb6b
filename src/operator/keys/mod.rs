//! The secrets that the operator makes up for a gateway: the keyring that seals session ids, and what secures its channels.
//!
//! They are made once, kept in a Secret of their own, and never derived from anything. A key of the ring is replaced in steps, so
//! that every replica opens what any other has sealed: first it is known to all and seals nothing, then it seals, and the
//! one before it stays until the last session that it sealed is over. Certificate and tokens of the channels are replaced
//! in one step, and the ones before are kept for pods that still have them.

mod material;
mod ring;
mod store;

pub(super) use material::{Material, NoMaterial, SystemMaterial};
pub(super) use ring::Ring;
pub(super) use store::KeysError;

use crate::ir::secrets::{Channels, Credentials};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// Keys are replaced after this time (90 days): long enough to be rare, short enough to be practised.
const REPLACE_AFTER: SignedDuration = SignedDuration::from_hours(90 * 24);

/// Everything that is made up for one gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Keys {
    /// The format of this; see [`store`].
    version: u32,
    pub(super) ring: Ring,
    channels: Channels,
    /// When the channels were made.
    channels_since: Timestamp,
    /// The channels before these: a pod that has not got the new ones yet is reached with them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    previous_channels: Option<Channels>,
    /// The request for rotation that was followed last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    requested: Option<String>,
}

/// What decides about the next step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Situation<'a> {
    pub(super) now: Timestamp,
    /// Every pod serves the generation that has these keys.
    pub(super) all_pods_have_them: bool,
    /// How long a session may be unused.
    pub(super) idle_timeout: SignedDuration,
    /// The value of the annotation that asks for a rotation: each new value asks once.
    pub(super) request: Option<&'a str>,
}

impl Keys {
    /// New ones.
    pub(super) fn generate(material: &impl Material, situation: &Situation<'_>) -> Result<Self, NoMaterial> {
        Ok(Self {
            version: store::VERSION,
            ring: Ring::new(material.key()?, situation.now),
            channels: material.channels()?,
            channels_since: situation.now,
            previous_channels: None,
            requested: situation.request.map(str::to_owned),
        })
    }

    /// The keys after the next step, if one is due; several may follow, each once the pods have the one before.
    pub(super) fn step(&self, material: &impl Material, situation: &Situation<'_>) -> Result<Option<Self>, NoMaterial> {
        let asked = situation.request.filter(|request| self.requested.as_deref() != Some(request));
        let mut next = self.clone();
        if let Some(ring) = self.ring.step(situation, asked.is_some(), || material.key())? {
            next.ring = ring;
        }
        let is_old = situation.now.duration_since(self.channels_since) >= REPLACE_AFTER;
        // Not before the pods have the ones before: they are reached with the current and the previous ones only.
        if situation.all_pods_have_them {
            next.previous_channels = None;
            if is_old || asked.is_some() {
                next.previous_channels = Some(self.channels.clone());
                next.channels = material.channels()?;
                next.channels_since = situation.now;
            }
        }
        // A request waits until both were replaced for it.
        if next.ring.is_rotating() && situation.all_pods_have_them {
            next.requested = situation.request.map(str::to_owned).or(next.requested);
        }
        Ok((next != *self).then_some(next))
    }

    /// When to look again, if nothing happens before.
    pub(super) fn next_look(&self, situation: &Situation<'_>) -> SignedDuration {
        let channels = REPLACE_AFTER - situation.now.duration_since(self.channels_since);
        self.ring.next_look(situation).min(channels).max(SignedDuration::from_secs(1))
    }

    /// Puts the keys into credentials.
    pub(super) fn fill(&self, credentials: &mut Credentials) {
        credentials.keyring = self.ring.keyring();
        credentials.channels = Some(self.channels.clone());
    }

    /// The channels to try: these, and those that a pod may still have.
    pub(super) fn channels(&self) -> impl Iterator<Item = &Channels> {
        std::iter::once(&self.channels).chain(&self.previous_channels)
    }
}

#[cfg(test)]
mod tests {
    use super::material::fake::Fake;
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn situation(now: i64, all_pods_have_them: bool, request: Option<&str>) -> Situation<'_> {
        Situation { now: at(now), all_pods_have_them, idle_timeout: SignedDuration::from_mins(30), request }
    }

    const DAY: i64 = 24 * 3600;

    #[test]
    fn nothing_happens_until_it_is_time() {
        let material = Fake::default();
        let keys = Keys::generate(&material, &situation(0, false, None)).unwrap();
        for all in [false, true] {
            assert_eq!(keys.step(&material, &situation(89 * DAY, all, None)).unwrap(), None);
        }
        assert_eq!(keys.next_look(&situation(89 * DAY, true, None)), SignedDuration::from_hours(24));
    }

    #[test]
    fn a_rotation_that_is_asked_for_happens_once_and_in_steps() {
        let material = Fake::default();
        let first = Keys::generate(&material, &situation(0, true, Some("a"))).unwrap();
        assert_eq!(
            first.step(&material, &situation(1, true, Some("a"))).unwrap(),
            None,
            "made with the request in sight"
        );

        let second = first.step(&material, &situation(2, true, Some("b"))).unwrap().unwrap();
        assert_eq!(second.ring.keyring()[0], first.ring.keyring()[0], "the new key does not seal yet");
        assert_eq!((second.ring.keyring().len(), second.channels().count()), (2, 2));
        assert_ne!(second.channels, first.channels);
        assert_eq!(
            second.step(&material, &situation(3, false, Some("b"))).unwrap(),
            None,
            "the pods do not have it yet"
        );

        let third = second.step(&material, &situation(4, true, Some("b"))).unwrap().unwrap();
        assert_eq!(third.ring.keyring()[0], second.ring.keyring()[1]);
        assert_eq!(third.channels().count(), 1, "no pod needs the ones before any more");
        assert_eq!(
            third.step(&material, &situation(4, false, Some("b"))).unwrap(),
            None,
            "a pod may still seal with the old key"
        );
        let fourth = third.step(&material, &situation(5, true, Some("b"))).unwrap().unwrap();
        assert_eq!(fourth.ring.keyring(), third.ring.keyring(), "no pod seals with it any more, and all open it still");
        assert_eq!(
            fourth.step(&material, &situation(6, true, Some("b"))).unwrap(),
            None,
            "sessions may still be sealed by the old key"
        );
        let last = fourth.step(&material, &situation(5 + 3600, true, Some("b"))).unwrap().unwrap();
        assert_eq!(last.ring.keyring().len(), 1);
        assert_eq!(last.step(&material, &situation(2 * 3600, true, Some("b"))).unwrap(), None);
    }

    #[test]
    fn what_is_old_is_replaced_without_being_asked() {
        let material = Fake::default();
        let keys = Keys::generate(&material, &situation(0, true, None)).unwrap();
        let next = keys.step(&material, &situation(91 * DAY, true, None)).unwrap().unwrap();
        assert_eq!((next.ring.keyring().len(), next.channels().count()), (2, 2));
    }
}
