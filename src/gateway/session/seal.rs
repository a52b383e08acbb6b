//! Session ids that say, to those who hold the key, what the session is.
//!
//! An id is encrypted and authenticated (XChaCha20-Poly1305), so any replica can tell a session of this gateway from a forged
//! one without asking anybody, and a client can read nothing out of it. It is bound to its route: at another route it is a
//! foreign id. What opens only proves that the gateway once gave it out; whether the session still lives is looked up.
//!
//! An id also says which replica holds the session, and what its client said of itself, so that another replica can go on
//! with the session when that one is gone.
//!
//! An id is base64url of `format, key id, nonce (24), ciphertext, tag (16)`.

use crate::gateway::error::{GatewayError, Kind};
use crate::gateway::mcp::version::Version;
use crate::ir::secrets::PrivateBytes;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{Key, KeyInit as _, XChaCha20Poly1305, XNonce};
use sha2::{Digest as _, Sha256};
use std::fmt;

/// Ids beyond this length, in bytes, are not ours.
pub const MAX_ID: usize = 512;
/// The longest owner, in bytes: the longest address with a port (47), a slash, and 16 digits that name a start.
pub const MAX_OWNER: usize = 64;
/// The first byte of what is sealed; another layout gets another one.
const FORMAT: u8 = 2;
/// The layout before: without the client's hello, with a hash of its capabilities instead.
const FORMAT_1: u8 = 1;
const HEAD: usize = 2;
const NONCE: usize = 24;
const TAG: usize = 16;
/// Session, principal, time, version.
const FIXED_CLAIMS: usize = 16 + 8 + 8 + 1;
/// The longest hello, in bytes, as [`super::hello`] packs it: what is left of [`MAX_ID`] bytes of base64 beside the longest owner.
pub const MAX_HELLO: usize = MAX_ID / 4 * 3 - HEAD - NONCE - TAG - FIXED_CLAIMS - 1 - MAX_OWNER;

/// What an id says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// The session's random name.
    pub session: [u8; 16],
    /// Who opened it, as a hash; 0 for anonymous.
    pub principal_hash: u64,
    /// The revision that was agreed on.
    pub version: Version,
    /// Which replica holds its state, and of which start of it.
    pub owner: Box<str>,
    /// When it was opened, in seconds since 1970.
    pub issued_at: u64,
    /// What its client said of itself, packed; empty where that is not known (format 1).
    pub hello: Box<[u8]>,
}

/// Why an id does not open. The client is not told which: it learns only that there is no such session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Not of the form of an id.
    #[error("not a session id")]
    Malformed,
    /// Of the form, and under a key that this replica does not have: forged, or from before it was retired, or from a
    /// replica that has the next generation already.
    #[error("a session id under a key that is not in the keyring")]
    UnknownKey,
    /// Of the form, and not given out by this gateway for this route.
    #[error("not a session id of this gateway and route")]
    NotAuthentic,
}

impl From<OpenError> for GatewayError {
    fn from(_: OpenError) -> Self {
        Self::new(Kind::SessionNotFound, "session not found: initialize again")
    }
}

/// Why no id can be given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The system has no random numbers to give.
    #[error("no randomness available")]
    NoRandomness,
    /// The replica's name is too long: a bug of whoever chose it.
    #[error("the owner is longer than {MAX_OWNER} bytes")]
    OwnerTooLong,
    /// What the client said was not packed to size: a bug, too.
    #[error("the hello is longer than {MAX_HELLO} bytes")]
    HelloTooLong,
}

impl From<SealError> for GatewayError {
    fn from(error: SealError) -> Self {
        Self::new(Kind::Internal, error.to_string())
    }
}

/// The keys are not usable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    /// There is none.
    #[error("the keyring is empty")]
    Empty,
    /// A key has the wrong length.
    #[error("a key of the keyring has {0} bytes instead of 32")]
    WrongLength(usize),
}

/// The keys that seal and open ids: the first one seals, every one opens.
pub struct Keyring {
    keys: Vec<SealingKey>,
}

struct SealingKey {
    /// Derived from the key, so that it stays the same when the keyring changes around it.
    id: u8,
    cipher: XChaCha20Poly1305,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keyring of {}", self.keys.len())
    }
}

impl SealingKey {
    fn new(bytes: &[u8]) -> Result<Self, KeyringError> {
        let key = Key::try_from(bytes).map_err(|_| KeyringError::WrongLength(bytes.len()))?;
        let digest = Sha256::new().chain_update(b"mcp session key id").chain_update(bytes).finalize();
        Ok(Self { id: digest[0], cipher: XChaCha20Poly1305::new(&key) })
    }
}

impl Keyring {
    /// Takes the keys of a generation's credentials, newest first.
    pub fn new(keys: &[PrivateBytes]) -> Result<Self, KeyringError> {
        let keys: Vec<_> = keys.iter().map(|key| SealingKey::new(key.expose())).collect::<Result<_, _>>()?;
        if keys.is_empty() { Err(KeyringError::Empty) } else { Ok(Self { keys }) }
    }

    /// One new key, for a gateway that nobody gave any.
    pub fn random() -> Result<Self, SealError> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(|_| SealError::NoRandomness)?;
        // 32 bytes are a key.
        let key = SealingKey::new(&bytes).map_err(|_| SealError::NoRandomness)?;
        Ok(Self { keys: vec![key] })
    }

    /// The id of a session of `route`.
    pub fn seal(&self, route: &str, claims: &Claims) -> Result<String, SealError> {
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce).map_err(|_| SealError::NoRandomness)?;
        let plain = claims.encode()?;
        let key = &self.keys[0];
        let sealed = key
            .cipher
            .encrypt(&XNonce::from(nonce), Payload { msg: &plain, aad: &bound_to(FORMAT, key.id, route) })
            // Only messages of many gigabytes fail.
            .map_err(|_| SealError::OwnerTooLong)?;
        Ok(URL_SAFE_NO_PAD.encode([&[FORMAT, key.id][..], &nonce, &sealed].concat()))
    }

    /// What an id of `route` says.
    pub fn open(&self, route: &str, id: &str) -> Result<Claims, OpenError> {
        if id.len() > MAX_ID {
            return Err(OpenError::Malformed);
        }
        let bytes = URL_SAFE_NO_PAD.decode(id).map_err(|_| OpenError::Malformed)?;
        let (head, rest) = bytes.split_first_chunk::<HEAD>().ok_or(OpenError::Malformed)?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE>().ok_or(OpenError::Malformed)?;
        let [format, key_id] = *head;
        if ![FORMAT, FORMAT_1].contains(&format) || sealed.len() < TAG + FIXED_CLAIMS {
            return Err(OpenError::Malformed);
        }
        let nonce = XNonce::from(*nonce);
        let aad = bound_to(format, key_id, route);
        let open = |key: &SealingKey| key.cipher.decrypt(&nonce, Payload { msg: sealed, aad: &aad }).ok();
        let mut named = self.keys.iter().filter(|key| key.id == key_id).peekable();
        if named.peek().is_none() {
            return Err(OpenError::UnknownKey);
        }
        let plain = named.find_map(open).ok_or(OpenError::NotAuthentic)?;
        if format == FORMAT { Claims::decode(&plain) } else { Claims::decode_format_1(&plain) }
    }
}

/// What the seal covers beside the claims.
fn bound_to(format: u8, key_id: u8, route: &str) -> Vec<u8> {
    [&[format, key_id][..], route.as_bytes()].concat()
}

impl Claims {
    fn encode(&self) -> Result<Vec<u8>, SealError> {
        let owner = u8::try_from(self.owner.len()).ok().filter(|&length| usize::from(length) <= MAX_OWNER);
        let owner = owner.ok_or(SealError::OwnerTooLong)?;
        if self.hello.len() > MAX_HELLO {
            return Err(SealError::HelloTooLong);
        }
        let mut out = Vec::with_capacity(FIXED_CLAIMS + 1 + self.owner.len() + self.hello.len());
        out.extend(self.session);
        out.extend(self.principal_hash.to_be_bytes());
        out.extend(self.issued_at.to_be_bytes());
        out.push(version_code(self.version));
        out.push(owner);
        out.extend(self.owner.as_bytes());
        out.extend(&self.hello);
        Ok(out)
    }

    // It was authentic: what does not decode was sealed by a newer gateway.
    fn decode(bytes: &[u8]) -> Result<Self, OpenError> {
        let (session, rest) = bytes.split_first_chunk().ok_or(OpenError::Malformed)?;
        let (principal, rest) = rest.split_first_chunk().ok_or(OpenError::Malformed)?;
        let (issued_at, rest) = rest.split_first_chunk().ok_or(OpenError::Malformed)?;
        let (code, rest) = rest.split_first().ok_or(OpenError::Malformed)?;
        let (length, rest) = rest.split_first().ok_or(OpenError::Malformed)?;
        let (owner, hello) = rest.split_at_checked((*length).into()).ok_or(OpenError::Malformed)?;
        Ok(Self {
            session: *session,
            principal_hash: u64::from_be_bytes(*principal),
            issued_at: u64::from_be_bytes(*issued_at),
            version: version_of(*code)?,
            owner: std::str::from_utf8(owner).map_err(|_| OpenError::Malformed)?.into(),
            hello: hello.into(),
        })
    }

    fn decode_format_1(bytes: &[u8]) -> Result<Self, OpenError> {
        let (session, rest) = bytes.split_first_chunk().ok_or(OpenError::Malformed)?;
        let (principal, rest) = rest.split_first_chunk().ok_or(OpenError::Malformed)?;
        let (_capabilities, rest) = rest.split_first_chunk::<8>().ok_or(OpenError::Malformed)?;
        let (issued_at, rest) = rest.split_first_chunk().ok_or(OpenError::Malformed)?;
        let (code, owner) = rest.split_first().ok_or(OpenError::Malformed)?;
        Ok(Self {
            session: *session,
            principal_hash: u64::from_be_bytes(*principal),
            issued_at: u64::from_be_bytes(*issued_at),
            version: version_of(*code)?,
            owner: std::str::from_utf8(owner).map_err(|_| OpenError::Malformed)?.into(),
            hello: Box::default(),
        })
    }
}

fn version_of(code: u8) -> Result<Version, OpenError> {
    Version::ALL.into_iter().find(|version| version_code(*version) == code).ok_or(OpenError::Malformed)
}

/// Part of the format: codes are never reused.
fn version_code(version: Version) -> u8 {
    match version {
        Version::V2024_11_05 => 1,
        Version::V2025_03_26 => 2,
        Version::V2025_06_18 => 3,
        Version::V2025_11_25 => 4,
        Version::V2026_07_28 => 5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ring(keys: &[u8]) -> Keyring {
        Keyring::new(&keys.iter().map(|key| PrivateBytes::new([*key; 32])).collect::<Vec<_>>()).unwrap()
    }

    fn claims() -> Claims {
        Claims {
            session: [7; 16],
            principal_hash: 1,
            version: Version::V2025_06_18,
            owner: "10.0.0.7:9903/abcd".into(),
            issued_at: 1_795_000_000,
            hello: (*b"{}").into(),
        }
    }

    /// As gateways sealed before there were replicas.
    fn seal_as_format_1(key: u8, route: &str, claims: &Claims) -> String {
        let key = SealingKey::new(&[key; 32]).unwrap();
        let mut plain = claims.session.to_vec();
        plain.extend([claims.principal_hash.to_be_bytes(), [3; 8], claims.issued_at.to_be_bytes()].concat());
        plain.push(version_code(claims.version));
        plain.extend(claims.owner.as_bytes());
        let aad = [&[1, key.id][..], route.as_bytes()].concat();
        let sealed = key.cipher.encrypt(&XNonce::from([9; NONCE]), Payload { msg: &plain, aad: &aad }).unwrap();
        URL_SAFE_NO_PAD.encode([&[1, key.id][..], &[9; NONCE], &sealed].concat())
    }

    #[test]
    fn an_id_from_before_there_were_replicas_still_opens() {
        let claims = Claims { hello: Box::default(), owner: "".into(), ..claims() };
        assert_eq!(ring(&[2, 1]).open("ns/route", &seal_as_format_1(1, "ns/route", &claims)), Ok(claims));
    }

    #[test]
    fn the_longest_claims_fit_into_the_longest_id() {
        let longest = Claims { owner: "x".repeat(MAX_OWNER).into(), hello: vec![7; MAX_HELLO].into(), ..claims() };
        let id = ring(&[1]).seal("r", &longest).unwrap();
        assert!(id.len() <= MAX_ID && MAX_HELLO > 200, "{} {MAX_HELLO}", id.len());
        assert_eq!(ring(&[1]).open("r", &id), Ok(longest.clone()));
        let too_long = Claims { hello: vec![7; MAX_HELLO + 1].into(), ..longest };
        assert_eq!(ring(&[1]).seal("r", &too_long), Err(SealError::HelloTooLong));
    }

    #[test]
    fn an_id_opens_under_any_key_of_the_ring_and_at_its_route_only() {
        let old = ring(&[1]).seal("ns/route", &claims()).unwrap();
        assert!(old.len() <= MAX_ID && old.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
        assert_eq!(ring(&[2, 1]).open("ns/route", &old), Ok(claims()));
        assert_eq!(ring(&[2]).open("ns/route", &old), Err(OpenError::UnknownKey));
        assert_eq!(ring(&[1]).open("ns/other", &old), Err(OpenError::NotAuthentic));
        let new = ring(&[2, 1]).seal("ns/route", &claims()).unwrap();
        assert_eq!(ring(&[1]).open("ns/route", &new), Err(OpenError::UnknownKey), "the first key seals");
    }

    #[test]
    fn two_ids_of_one_session_have_nothing_in_common() {
        let ring = ring(&[1]);
        let [a, b] = [(); 2].map(|()| URL_SAFE_NO_PAD.decode(ring.seal("r", &claims()).unwrap()).unwrap());
        assert_eq!(a[..2], b[..2]);
        assert_ne!(a[2..26], b[2..26]);
        assert_ne!(a[26..], b[26..]);
        assert!(!a.windows(5).any(|window| window == b"10.0."));
    }

    #[test]
    fn no_changed_byte_goes_unnoticed() {
        let ring = ring(&[1, 2, 3]);
        let bytes = URL_SAFE_NO_PAD.decode(ring.seal("r", &claims()).unwrap()).unwrap();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << bit;
                assert!(ring.open("r", &URL_SAFE_NO_PAD.encode(&changed)).is_err(), "byte {at} bit {bit}");
            }
            assert!(ring.open("r", &URL_SAFE_NO_PAD.encode(&bytes[..at])).is_err());
        }
    }

    #[test]
    fn every_failure_looks_the_same_to_the_client() {
        for error in [OpenError::UnknownKey, OpenError::NotAuthentic] {
            let [a, b] = [OpenError::Malformed, error].map(GatewayError::from);
            assert_eq!((a.kind, &a.message, a.http_status()), (b.kind, &b.message, 404));
        }
        assert_eq!(ring(&[1]).open("r", &"A".repeat(MAX_ID + 1)), Err(OpenError::Malformed));
    }

    #[test]
    fn unusable_keys_and_owners_are_refused() {
        assert_eq!(Keyring::new(&[]).unwrap_err(), KeyringError::Empty);
        assert_eq!(Keyring::new(&[PrivateBytes::new([1; 16])]).unwrap_err(), KeyringError::WrongLength(16));
        let long = Claims { owner: "x".repeat(MAX_OWNER + 1).into(), ..claims() };
        assert_eq!(ring(&[1]).seal("r", &long), Err(SealError::OwnerTooLong));
        let printed = format!("{:?}", ring(&[42]));
        assert_eq!(printed, "Keyring of 1");
        let random = Keyring::random().unwrap();
        assert_eq!(random.open("r", &random.seal("r", &claims()).unwrap()), Ok(claims()));
    }

    proptest! {
        #[test]
        fn every_claim_survives(
            session: [u8; 16], principal_hash: u64, issued_at: u64, hello in prop::collection::vec(any::<u8>(), 0..100),
            version in prop::sample::select(&Version::ALL[..]), owner in "\\PC{0,16}", route in any::<String>(),
        ) {
            let hello = hello.into();
            let claims = Claims { session, principal_hash, version, owner: owner.into(), issued_at, hello };
            let id = ring(&[9]).seal(&route, &claims).unwrap();
            prop_assert!(id.len() <= MAX_ID);
            prop_assert_eq!(ring(&[9]).open(&route, &id), Ok(claims));
        }

        #[test]
        fn garbage_does_not_open(id in any::<String>(), bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(ring(&[1]).open("r", &id).is_err());
            prop_assert!(ring(&[1]).open("r", &URL_SAFE_NO_PAD.encode(bytes)).is_err());
        }
    }
}
