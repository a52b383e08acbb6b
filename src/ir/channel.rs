//! What the operator and a gateway say to each other: the messages of the admin channel.
//!
//! HTTPS to each pod, with a certificate that is pinned from the gateway's own Secret, and a bearer token. The operator pushes
//! a generation and the addresses of backends and peers; the gateway answers with reports.

use super::generation::{self, GenerationError, decode_snapshot, encode_snapshot, hexadecimal};
use super::ids::ObjectId;
use super::secrets::Credentials;
use super::snapshot::Endpoint;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// The name in the certificate of a gateway's channels. No resolver knows it: the address comes from elsewhere.
pub const SERVER_NAME: &str = "mcp-gateway.internal";

/// `PUT` a [`Generation`]: 200 with a [`Report`] once it is served (also if it was already), 422 with a [`Report`] that says
/// under `refused` why it is not. 409, with a [`Report`], when the gateway was given a later revision; 503, with a [`Report`],
/// when it takes its leave.
pub const GENERATION_PATH: &str = "/v1/generation";

/// `PUT` [`Endpoints`]: 200 with a [`Report`].
pub const ENDPOINTS_PATH: &str = "/v1/endpoints";

/// `GET` a [`Report`]. With `?after=N&wait=S` the answer waits up to S seconds (at the most [`MAX_WAIT_SECONDS`]) for a report
/// whose sequence is not N.
pub const REPORT_PATH: &str = "/v1/report";

/// The longest wait for a new report, in seconds: below the usual idle timeouts of what stands between.
pub const MAX_WAIT_SECONDS: u64 = 50;

/// The largest message that a gateway takes, in bytes: a generation's two files have 1 MiB at the most each, and base64 adds a third.
pub const MAX_PUSH_BYTES: usize = 4 * 1024 * 1024;

/// The longest name in a report, in bytes: twice what a tool's may have.
pub const MAX_NAME_BYTES: usize = 256;

/// A generation as it is pushed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Generation {
    /// The compressed snapshot ([`super::generation::encode_snapshot`]), in base64.
    pub snapshot: String,
    /// The credentials that go with it.
    pub credentials: Credentials,
    /// How new it is, as its [`generation::Stamp`] says. A gateway never goes back to a lower one.
    pub revision: u64,
}

/// A pushed generation that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The snapshot is not base64.
    #[error("the snapshot is not valid base64")]
    Encoding,
    /// It is not a snapshot.
    #[error(transparent)]
    Generation(#[from] GenerationError),
}

impl Generation {
    /// Packs a generation up to be pushed.
    pub fn pack(generation: &generation::Generation, revision: u64) -> Result<Self, GenerationError> {
        let snapshot = STANDARD.encode(encode_snapshot(&generation.snapshot)?);
        Ok(Self { snapshot, credentials: generation.credentials.clone(), revision })
    }

    /// Unpacks what was pushed.
    pub fn unpack(self) -> Result<generation::Generation, PushError> {
        let snapshot = STANDARD.decode(self.snapshot).map_err(|_| PushError::Encoding)?;
        Ok(generation::Generation { snapshot: decode_snapshot(&snapshot)?, credentials: self.credentials })
    }
}

/// Addresses that change more often than what is served, and are no part of a generation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Endpoints {
    /// Ready addresses by backend, in place of those in the snapshot. A backend that is absent here, or has none, is reached
    /// as the snapshot says.
    #[serde(default)]
    pub backends: BTreeMap<ObjectId, BTreeSet<Endpoint>>,
    /// The peer ports of this gateway's replicas, the receiver's own among them.
    #[serde(default)]
    pub peers: BTreeSet<Endpoint>,
}

impl Endpoints {
    /// Names this set of addresses: 16 hexadecimal digits.
    pub fn hash(&self) -> String {
        let digest = Sha256::digest(serde_json::to_vec(self).unwrap_or_default());
        hexadecimal(&digest[..8])
    }
}

/// What a gateway pod says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Report {
    /// Grows with each change of the report, within one start of the process.
    pub sequence: u64,
    /// Names one start of the process.
    pub boot: String,
    /// The gateway's version.
    pub version: String,
    /// The hash of the generation it serves.
    pub generation: String,
    /// The highest revision it was given, whether it serves it or not.
    pub revision: u64,
    /// The generation that it was given last and does not serve.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refused>,
    /// The hash of the endpoints it was given last; empty: none yet.
    pub endpoints: String,
    /// It takes its leave.
    pub draining: bool,
    /// What it knows of each backend of its generation.
    pub backends: BTreeMap<ObjectId, BackendReport>,
    /// What it knows of each route of its generation.
    pub routes: BTreeMap<ObjectId, RouteReport>,
}

/// A generation that is not served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Refused {
    /// Its hash; absent when it could not even be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<String>,
    /// Why, in one line.
    pub reason: String,
}

/// One backend as one gateway pod sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackendReport {
    /// Whether the last MCP handshake succeeded; absent before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verified: Option<bool>,
    /// What the server calls itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerInfo>,
    /// Protocol revisions it is known to speak, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub versions: Vec<String>,
    /// How many tools it lists; absent while nobody asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tools: Option<u32>,
    /// Addresses that calls can be sent to.
    pub endpoints: u32,
    /// Of these, the ones that take calls now: neither ejected nor unhealthy. Absent where nobody keeps count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usable: Option<u32>,
    /// Of these, the ones that are ejected for what their calls came to. Absent where nobody keeps count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ejected: Option<u32>,
    /// Why it is not verified, in one line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// What a server says about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerInfo {
    /// Its name, [short](short_name).
    pub name: String,
    /// Its version, [short](short_name).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// A name as it may stand in a report: servers choose names, and reports have to stay small.
pub fn short_name(name: &str) -> String {
    let fits = |end: &usize| *end <= MAX_NAME_BYTES;
    let end = name.char_indices().map(|(start, character)| start + character.len_utf8()).take_while(fits).last();
    name[..end.unwrap_or(0)].to_owned()
}

/// One route as one gateway pod sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteReport {
    /// Its servers, in their order.
    pub servers: Vec<ServerReport>,
    /// Whether it answers 503 to everybody, whatever its servers could do.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unavailable: bool,
}

/// One server of a route as one gateway pod sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServerReport {
    /// Its name within the route.
    pub name: String,
    /// The priority of the tier that calls go to: the first with a backend that can be called; absent while there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active_priority: Option<u32>,
    /// Whether no backend of that tier has answered yet, so that calls going there is all that is known of it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub untried: bool,
    /// Backends that can be called: they have an address, and their last handshake did not fail.
    pub healthy: u32,
    /// Backends in all tiers.
    pub total: u32,
    /// Whether what it offers is in the catalogue; absent until a client was there to list for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listed: Option<bool>,
    /// Its tools in the catalogue.
    pub tools: u32,
    /// [Short](short_name) names that an earlier server of the route has already, at most 32 of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conflicts: Vec<String>,
    /// Why it is not in the catalogue, in one line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cut_between_characters() {
        assert_eq!(short_name("search"), "search");
        assert_eq!(short_name(""), "");
        assert_eq!(short_name(&"é".repeat(200)).len(), 256);
        assert_eq!(short_name(&("x".to_owned() + &"é".repeat(200))).len(), 255);
    }
}
