//! Names of our own objects, whatever their kind.

use crate::ir::ids::ObjectId;
use std::fmt;

/// One of our kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
    /// `MCPGateway`
    Gateway,
    /// `MCPBackend`
    Backend,
    /// `MCPRoute`
    Route,
    /// `MCPAuthPolicy`
    AuthPolicy,
}

impl Kind {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "MCPGateway",
            Self::Backend => "MCPBackend",
            Self::Route => "MCPRoute",
            Self::AuthPolicy => "MCPAuthPolicy",
        }
    }

    /// The kind of this name, if it is one of ours.
    pub(super) fn parse(name: &str) -> Option<Self> {
        [Self::Gateway, Self::Backend, Self::Route, Self::AuthPolicy].into_iter().find(|kind| kind.as_str() == name)
    }
}

/// One of our objects.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Target {
    pub(super) kind: Kind,
    pub(super) id: ObjectId,
}

impl Target {
    pub(super) fn new(kind: Kind, id: ObjectId) -> Self {
        Self { kind, id }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.as_str(), self.id)
    }
}
