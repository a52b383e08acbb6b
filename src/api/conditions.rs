//! The vocabulary of statuses: condition types, reasons, and how a condition changes.
//!
//! Names are those of Gateway API wherever it has one.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// The longest message that the schema of conditions admits, in bytes; ours are cut far below it.
const MAX_MESSAGE_BYTES: usize = 4096;

/// Declares an enum whose variants are written as their names.
macro_rules! names {
    ($(#[$meta:meta])* $vis:vis enum $name:ident { $($(#[$variant_meta:meta])* $variant:ident,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
        $vis enum $name { $($(#[$variant_meta])* $variant,)* }

        impl $name {
            /// Every one, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The one of this name.
            pub fn parse(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|known| known.as_str() == name)
            }

            /// As it is written in a status.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant)),* }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

names! {
    /// What a condition is about. All are positive: True is good.
    pub enum ConditionType {
        /// The object makes sense and is taken into account.
        Accepted,
        /// Everything it refers to exists and may be used.
        ResolvedRefs,
        /// Every ready pod of the gateway runs this generation.
        Programmed,
        /// Clients are served now.
        Ready,
        /// A backend has at least one endpoint.
        Available,
        /// An MCP handshake with the backend happened.
        Verified,
        /// Every server of a route is served by its first tier.
        PrimaryActive,
        /// Every server of a route contributes to its catalogue.
        CatalogComplete,
    }
}

names! {
    /// Why a condition is what it is.
    pub enum Reason {
        // -- what is good, named like the condition
        /// The object is taken into account.
        Accepted,
        /// All references resolve.
        ResolvedRefs,
        /// Every ready pod runs this generation.
        Programmed,
        /// Clients are served.
        Ready,
        /// There are endpoints.
        Available,
        /// A handshake happened.
        Verified,
        /// The first tier serves.
        PrimaryActive,
        /// Every server contributes.
        CatalogComplete,

        // -- what is not known yet
        /// No controller or gateway has reported yet.
        Pending,
        /// A backend that no accepted route names: nobody talks to it.
        NotAttached,

        // -- Accepted=True, with something left out
        /// Part of the object is served; the rest is left out, and the message names it.
        PartiallyInvalid,

        // -- Accepted=False
        /// A value is not valid in a way that only translation sees.
        Invalid,
        /// A value is valid but not supported here.
        UnsupportedValue,
        /// The parent gateway does not exist, or has no such listener.
        NoMatchingParent,
        /// The listener's `allowedRoutes` does not admit the route's namespace.
        NotAllowedByListeners,
        /// No hostname of the route is one of the listener's.
        NoMatchingListenerHostname,
        /// No policy says who may use the route.
        Unauthenticated,
        /// The policy that governs the route cannot be read; the route answers 503.
        InvalidPolicy,
        /// An older object of the same kind already has what this one claims.
        Conflicted,
        /// The policy's target does not exist.
        TargetNotFound,
        /// A policy above it takes precedence.
        Overridden,
        /// With this route the gateway's snapshot would exceed what a ConfigMap holds.
        SnapshotTooLarge,
        /// Something the object cannot do without has another condition at False.
        DependencyNotReady,
        /// Some or no listeners of the gateway can be served; the message names those that cannot.
        ListenersNotValid,
        /// An earlier listener has the same port and hostname, or the same name.
        HostnameConflict,
        /// An earlier listener has the same port with another protocol.
        ProtocolConflict,

        // -- ResolvedRefs=False
        /// A backend does not exist.
        BackendNotFound,
        /// The other object's `allowedRoutes` does not consent.
        RefNotPermitted,
        /// A kind that is not supported in this place.
        InvalidKind,
        /// A Secret, or a key of it, does not exist.
        SecretNotFound,
        /// A ConfigMap, or a key of it, does not exist.
        ConfigMapNotFound,
        /// A Service, or a port of it, does not exist.
        ServiceNotFound,
        /// The object of another operator does not exist, or its status gives no address.
        ServerNotFound,
        /// A certificate or its key cannot be used.
        InvalidCertificateRef,

        // -- Available, Verified, Ready, PrimaryActive, CatalogComplete = False
        /// There is no endpoint.
        NoEndpoints,
        /// A lower tier serves.
        FailedOver,
        /// A server does not answer.
        Unavailable,
        /// Two servers claim the same name; the earlier keeps it.
        NameConflict,

        // -- Programmed, Ready, Available: the pods. With Ready=True or Available=True it is so of some pods only
        /// There is no pod, and none is asked for.
        NoPods,
        /// Pods cannot be created: a quota, or an admission policy.
        ReplicaFailure,
        /// A pod finds no node.
        PodsNotScheduled,
        /// An image cannot be pulled.
        ImagePullFailed,
        /// A container cannot be created, for example for want of a Secret.
        ContainersNotCreated,
        /// A container ends soon after each start.
        ContainersCrashing,
        /// Pods are on their way.
        PodsStarting,

        // -- Programmed: the generation
        /// A pod says no to the generation, and keeps the one before.
        GenerationRefused,
        /// A pod still has another generation.
        ReplicasOutdated,
        /// The operator cannot talk to a pod over the admin channel.
        ChannelUnreachable,

        // -- Programmed, Available: the objects that the operator makes
        /// An object of the same name is somebody else's; it is left alone.
        ObjectConflict,
        /// The API server refuses the pods as `spec.podTemplate` makes them.
        PodTemplateInvalid,
        /// The operator lacks a permission, or a quota or an admission policy is in the way.
        Forbidden,
        /// An object is larger than the API server takes.
        TooLarge,
        /// The API server does not take an object, for now.
        ApplyFailed,
        /// An annotation tells the operator to leave the object alone.
        Paused,
    }
}

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not.
    False,
    /// That is not known.
    Unknown,
}

impl ConditionStatus {
    /// As it is written in a status.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// What an object's condition should be, before time comes in.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// What it is about.
    #[serde(rename = "type")]
    pub type_: ConditionType,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// Why, for programs.
    pub reason: Reason,
    /// Why, for people: the field, and the way out.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
}

impl Finding {
    /// It holds.
    pub fn good(type_: ConditionType, reason: Reason, message: impl Into<String>) -> Self {
        Self { type_, status: ConditionStatus::True, reason, message: message.into() }
    }

    /// It does not hold.
    pub fn bad(type_: ConditionType, reason: Reason, message: impl Into<String>) -> Self {
        Self { type_, status: ConditionStatus::False, reason, message: message.into() }
    }

    /// That is not known.
    pub fn unknown(type_: ConditionType, reason: Reason, message: impl Into<String>) -> Self {
        Self { type_, status: ConditionStatus::Unknown, reason, message: message.into() }
    }

    /// What stands in a status already; absent if there is none of this type, or none that this version can say.
    pub fn standing(type_: ConditionType, conditions: &[Condition]) -> Option<Self> {
        let condition = conditions.iter().find(|condition| condition.type_ == type_.as_str())?;
        let status = match condition.status.as_str() {
            "True" => ConditionStatus::True,
            "False" => ConditionStatus::False,
            _ => ConditionStatus::Unknown,
        };
        Some(Self { type_, status, reason: Reason::parse(&condition.reason)?, message: condition.message.clone() })
    }

    /// The condition to write, given the conditions there were and the time. `lastTransitionTime` moves only when the
    /// status changes, so that an unchanged world gives an unchanged status.
    pub fn into_condition(self, before: &[Condition], generation: Option<i64>, now: &Time) -> Condition {
        let status = self.status.as_str();
        let since = before
            .iter()
            .find(|condition| condition.type_ == self.type_.as_str() && condition.status == status)
            .map_or_else(|| now.clone(), |condition| condition.last_transition_time.clone());
        Condition {
            type_: self.type_.as_str().to_owned(),
            status: status.to_owned(),
            reason: self.reason.as_str().to_owned(),
            message: cut(self.message, MAX_MESSAGE_BYTES),
            last_transition_time: since,
            observed_generation: generation,
        }
    }
}

/// All conditions of an object, in the order of their types.
pub fn conditions(
    mut findings: Vec<Finding>,
    before: &[Condition],
    generation: Option<i64>,
    now: &Time,
) -> Vec<Condition> {
    findings.sort_by_key(|finding| finding.type_);
    findings.into_iter().map(|finding| finding.into_condition(before, generation, now)).collect()
}

/// Cuts a text to at most `max` bytes, between characters, with a sign that something is missing.
pub fn cut(mut text: String, max: usize) -> String {
    if text.len() > max {
        let room = max - '…'.len_utf8();
        let end = text.char_indices().map(|(at, _)| at).take_while(|at| *at <= room).last().unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::jiff::Timestamp;

    fn at(second: i64) -> Time {
        Time(Timestamp::from_second(second).unwrap())
    }

    #[test]
    fn the_transition_time_moves_only_with_the_status() {
        let accepted = |status: fn(ConditionType, Reason, String) -> Finding, reason, message: &str| {
            status(ConditionType::Accepted, reason, message.to_owned())
        };
        let first = accepted(Finding::bad, Reason::Invalid, "a").into_condition(&[], Some(1), &at(10));
        assert_eq!(first.last_transition_time, at(10));
        let same = accepted(Finding::bad, Reason::Conflicted, "b").into_condition(
            std::slice::from_ref(&first),
            Some(2),
            &at(20),
        );
        assert_eq!((same.last_transition_time.clone(), same.message.as_str()), (at(10), "b"));
        assert_eq!((same.reason.as_str(), same.observed_generation), ("Conflicted", Some(2)));
        assert_eq!(
            Finding::standing(ConditionType::Accepted, &[same]),
            Some(accepted(Finding::bad, Reason::Conflicted, "b"))
        );
        let changed = accepted(Finding::good, Reason::Accepted, "").into_condition(&[first], Some(3), &at(30));
        assert_eq!((changed.last_transition_time, changed.status.as_str()), (at(30), "True"));
    }

    #[test]
    fn conditions_come_in_one_order() {
        let ready = Finding::good(ConditionType::Ready, Reason::Ready, "");
        let accepted = Finding::good(ConditionType::Accepted, Reason::Accepted, "");
        let a = conditions(vec![ready.clone(), accepted.clone()], &[], None, &at(0));
        assert_eq!(a, conditions(vec![accepted, ready], &[], None, &at(0)));
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let finding = Finding::bad(ConditionType::Ready, Reason::Unavailable, "ü".repeat(5000));
        let message = finding.into_condition(&[], None, &at(0)).message;
        assert!(message.len() <= MAX_MESSAGE_BYTES && message.ends_with("ü…"));
    }
}
