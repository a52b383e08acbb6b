//! What is known of a backend: from handshakes, whoever made them, and from calls that show that it still answers.

use super::super::error::{GatewayError, Side};
use super::listen::jittered;
use crate::ir::channel::{ServerInfo, short_name};
use parking_lot::Mutex;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// How long a backend that nobody calls is believed to be as it was, or a little less or more: not all are looked at together.
const BELIEVED: Duration = Duration::from_secs(60);

/// After this long, one that is called is looked at all the same: its version and its tools may be others by now.
const OLD: Duration = Duration::from_secs(600);

/// Wait after a first failed handshake; doubles from there.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// The longest wait after a failed handshake.
const LAST_RETRY: Duration = Duration::from_secs(30);

/// Calls that fail cast doubt on a backend, but a handshake for each would be a burden to it: at most one in this time.
const DOUBTED_AT_MOST_EVERY: Duration = Duration::from_secs(5);

/// Revisions that one server can be known to speak: there are five.
const MAX_VERSIONS: usize = 16;

/// What a server says of itself in a handshake.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Introduction {
    pub(crate) server: Option<ServerInfo>,
    pub(crate) versions: Vec<String>,
    /// Whether it says that it has tools.
    pub(crate) has_tools: bool,
}

/// The parts of a result of `initialize` or `server/discover` that are of interest.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Introduced {
    #[serde(default)]
    protocol_version: Option<String>,
    #[serde(default)]
    supported_versions: Option<Vec<String>>,
    #[serde(default)]
    server_info: Option<Info>,
    #[serde(default)]
    capabilities: Capabilities,
    #[serde(default, rename = "_meta")]
    meta: Meta,
}

#[derive(Deserialize)]
struct Info {
    name: String,
    #[serde(default)]
    version: Option<String>,
}

#[derive(Default, Deserialize)]
struct Capabilities {
    #[serde(default)]
    tools: Option<IgnoredAny>,
}

#[derive(Default, Deserialize)]
struct Meta {
    #[serde(default, rename = "io.modelcontextprotocol/serverInfo")]
    server_info: Option<Info>,
}

impl Introduction {
    /// Reads the result object of `initialize` or `server/discover`; `None` when it is neither.
    pub(crate) fn read(result: &[u8]) -> Option<Self> {
        let Introduced { protocol_version, supported_versions, server_info, capabilities, meta } =
            serde_json::from_slice(result).ok()?;
        let versions = supported_versions.or_else(|| protocol_version.map(|version| vec![version]))?;
        let info = meta.server_info.or(server_info);
        Some(Self {
            server: info.map(|Info { name, version }| ServerInfo {
                name: short_name(&name),
                version: version.as_deref().map(short_name),
            }),
            versions: versions.iter().map(|version| short_name(version)).collect(),
            has_tools: capabilities.tools.is_some(),
        })
    }
}

impl Introduction {
    /// What a server is taken for whose handshake succeeded and that says nothing that can be read.
    pub(crate) fn unreadable() -> Self {
        Self { has_tools: true, ..Self::default() }
    }
}

/// What is known of one backend.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Known {
    /// Whether the last handshake succeeded.
    pub(crate) verified: Option<bool>,
    pub(crate) server: Option<ServerInfo>,
    pub(crate) versions: BTreeSet<String>,
    pub(crate) tools: Option<u32>,
    /// Why it is not verified, in one line.
    pub(crate) problem: Option<String>,
}

/// When a backend is to be looked at again.
#[derive(Debug)]
struct Schedule {
    /// Somebody is at it.
    checking: bool,
    checked: Option<Instant>,
    failures: u32,
    /// Of a backend that failed.
    not_before: Option<Instant>,
    /// Of one that did not: how long it may be left alone.
    believed: Duration,
}

/// The knowledge of one backend. Calls add to it without a lock.
#[derive(Debug)]
pub(crate) struct Knowledge {
    began: Instant,
    /// When a call last showed that the backend answers, in ms since `began`.
    answered_ms: AtomicU64,
    /// A call has failed since the last look.
    doubted: AtomicBool,
    /// It is somewhere else since the last look.
    moved: AtomicBool,
    known: Mutex<Known>,
    schedule: Mutex<Schedule>,
}

impl Knowledge {
    pub(super) fn new() -> Self {
        Self {
            began: Instant::now(),
            answered_ms: AtomicU64::new(0),
            doubted: AtomicBool::new(false),
            moved: AtomicBool::new(false),
            known: Mutex::default(),
            schedule: Mutex::new(Schedule {
                checking: false,
                checked: None,
                failures: 0,
                not_before: None,
                believed: jittered(BELIEVED),
            }),
        }
    }

    /// All of it.
    pub(crate) fn known(&self) -> Known {
        self.known.lock().clone()
    }

    /// A handshake succeeded.
    pub(crate) fn introduced(&self, introduction: Introduction) {
        let mut known = self.known.lock();
        known.verified = Some(true);
        known.problem = None;
        // A later handshake may tell less than one before, of the other era.
        known.server = introduction.server.or_else(|| known.server.take());
        known.versions.extend(introduction.versions);
        while known.versions.len() > MAX_VERSIONS {
            known.versions.pop_first();
        }
        if !introduction.has_tools {
            known.tools = Some(0);
        }
        drop(known);
        self.schedule.lock().failures = 0;
        self.answered();
    }

    /// It lists so many tools.
    pub(super) fn counted(&self, tools: usize) {
        self.known.lock().tools = Some(u32::try_from(tools).unwrap_or(u32::MAX));
    }

    /// It lists so many tools to some client. Servers list different ones to different clients: what was counted before stands.
    pub(crate) fn listed(&self, tools: usize) {
        self.known.lock().tools.get_or_insert_with(|| u32::try_from(tools).unwrap_or(u32::MAX));
    }

    /// A call was answered.
    pub(crate) fn answered(&self) {
        let ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.answered_ms.store(ms, Ordering::Relaxed);
    }

    /// A call failed. Where that was the backend's doing, it is looked at again.
    pub(crate) fn failed(&self, error: &GatewayError) {
        if error.kind.side() == Side::Upstream {
            self.doubted.store(true, Ordering::Relaxed);
        }
    }

    /// Its addresses have changed.
    pub(super) fn moved(&self) {
        self.moved.store(true, Ordering::Relaxed);
    }

    /// Whether it is time to look, and nobody does yet. Whoever gets true must [say](Self::checked) what came of it.
    pub(crate) fn begin_check(&self) -> bool {
        let mut schedule = self.schedule.lock();
        if schedule.checking || !self.is_due(&schedule) {
            return false;
        }
        schedule.checking = true;
        // What is said from now on is about what comes after this look.
        self.doubted.store(false, Ordering::Relaxed);
        if self.moved.swap(false, Ordering::Relaxed) {
            schedule.failures = 0;
        }
        true
    }

    fn is_due(&self, schedule: &Schedule) -> bool {
        if self.moved.load(Ordering::Relaxed) {
            return true;
        }
        let (verified, counted) = {
            let known = self.known.lock();
            (known.verified, known.tools.is_some())
        };
        let since_check = schedule.checked.map(|checked| checked.elapsed());
        match verified {
            Some(true) => {
                let answered = Duration::from_millis(self.answered_ms.load(Ordering::Relaxed));
                let quiet = (self.began + answered).elapsed().min(since_check.unwrap_or(Duration::MAX));
                let is_doubted = self.doubted.load(Ordering::Relaxed);
                quiet >= schedule.believed
                    || since_check.is_some_and(|since| since >= OLD)
                    || (is_doubted && since_check.is_none_or(|since| since >= DOUBTED_AT_MOST_EVERY))
                    || (!counted && since_check.is_none())
            }
            Some(false) | None => schedule.not_before.is_none_or(|not_before| not_before <= Instant::now()),
        }
    }

    /// What came of a look: the introduction was told already, or there was none for this reason.
    pub(crate) fn checked(&self, outcome: Result<(), String>) {
        let mut schedule = self.schedule.lock();
        schedule.checking = false;
        schedule.checked = Some(Instant::now());
        match outcome {
            Ok(()) => {
                schedule.not_before = None;
                schedule.believed = jittered(BELIEVED);
            }
            Err(problem) => {
                let wait = (FIRST_RETRY * 2u32.saturating_pow(schedule.failures.min(16))).min(LAST_RETRY);
                schedule.failures = schedule.failures.saturating_add(1);
                schedule.not_before = Some(Instant::now() + jittered(wait));
                drop(schedule);
                let mut known = self.known.lock();
                known.verified = Some(false);
                known.problem = Some(problem);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::error::Kind;
    use tokio::time::advance;

    fn introduction() -> Introduction {
        Introduction { versions: vec!["2025-11-25".to_owned()], has_tools: true, ..Introduction::default() }
    }

    fn broken() -> GatewayError {
        GatewayError::new(Kind::ConnectionReset, "broken")
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn both_handshakes_are_read_and_nothing_else() {
        let legacy =
            br#"{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"s","version":"1"}}"#;
        let read = Introduction::read(legacy).unwrap();
        assert_eq!((read.versions, read.has_tools), (vec!["2025-06-18".to_owned()], true));
        assert_eq!(read.server, Some(ServerInfo { name: "s".to_owned(), version: Some("1".to_owned()) }));

        let long = "é".repeat(200);
        let modern = format!(
            r#"{{"supportedVersions":["a","b"],"capabilities":{{}},"_meta":{{"io.modelcontextprotocol/serverInfo":{{"name":"{long}"}}}}}}"#
        );
        let read = Introduction::read(modern.as_bytes()).unwrap();
        assert_eq!((read.versions.len(), read.has_tools, read.server.unwrap().name.len()), (2, false, 256));
        for other in [r#"{"status":"ok"}"#, "[]", "3", ""] {
            assert_eq!(Introduction::read(other.as_bytes()), None, "{other}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_fails_is_tried_again_after_growing_waits() {
        let knowledge = Knowledge::new();
        for least in [1, 2, 4, 8, 16, 30, 30] {
            assert!(knowledge.begin_check() && !knowledge.begin_check(), "one at a time");
            knowledge.checked(Err("refused".to_owned()));
            assert_eq!(knowledge.known().problem.as_deref(), Some("refused"));
            advance(seconds(least) * 7 / 10).await;
            assert!(!knowledge.begin_check(), "not before {least} s, or a little less");
            advance(seconds(least) * 6 / 10).await;
        }
        // Failed calls make no hurry: it is known to be bad.
        assert!(knowledge.begin_check());
        knowledge.checked(Err("refused".to_owned()));
        knowledge.failed(&broken());
        assert!(!knowledge.begin_check());
        // Another address does, and counts failures anew.
        knowledge.moved();
        assert!(knowledge.begin_check());
        knowledge.checked(Err("refused".to_owned()));
        advance(Duration::from_millis(1_300)).await;
        assert!(knowledge.begin_check());
        knowledge.introduced(introduction());
        knowledge.checked(Ok(()));
        assert_eq!((knowledge.known().verified, knowledge.known().problem), (Some(true), None));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_called_need_not_be_looked_at() {
        let knowledge = Knowledge::new();
        knowledge.introduced(introduction());
        assert!(knowledge.begin_check(), "a client's handshake does not say how many tools there are");
        knowledge.counted(3);
        knowledge.listed(9);
        assert_eq!(knowledge.known().tools, Some(3));
        knowledge.checked(Ok(()));
        for _ in 0..19 {
            advance(seconds(30)).await;
            assert!(!knowledge.begin_check());
            knowledge.answered();
        }
        advance(seconds(30)).await;
        assert!(knowledge.begin_check(), "it may have changed in ten minutes");
        knowledge.checked(Ok(()));
        knowledge.answered();
        advance(seconds(44)).await;
        assert!(!knowledge.begin_check());
        advance(seconds(32)).await;
        assert!(knowledge.begin_check(), "nobody called it for about a minute");
        knowledge.checked(Ok(()));

        knowledge.failed(&GatewayError::new(Kind::EraUnavailable, "not its doing"));
        advance(seconds(5)).await;
        assert!(!knowledge.begin_check());
        knowledge.checked(Ok(()));
        knowledge.failed(&broken());
        assert!(!knowledge.begin_check(), "it was looked at a moment ago");
        advance(seconds(5)).await;
        assert!(knowledge.begin_check(), "a call failed");
        knowledge.checked(Ok(()));
        advance(seconds(5)).await;
        assert!(!knowledge.begin_check());
    }
}
