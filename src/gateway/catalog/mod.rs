//! What each server offers, and what a route makes of it.
//!
//! A [`Catalog`] belongs to one route and one kind of client (protocol era, revision, declared capabilities: servers do list
//! different things to different clients). It is filled once, when such a client is first seen; from then on it is rebuilt in
//! the background, and nobody waits for that.

mod ask;
mod fill;
mod item;
mod page;
mod policy;
mod view;

pub(crate) use fill::ModernClient;
pub(crate) use item::ListKind;
pub use view::Conflict;
pub(crate) use view::View;

use crate::gateway::error::{GatewayError, Kind};
use crate::gateway::mcp::version::{Era, Version};
use crate::gateway::state::RouteState;
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::time::Instant;
use view::Offer;

/// Kinds of clients remembered per route: capabilities are the client's to choose, memory is not.
const MAX_CATALOGS: usize = 64;

/// Waits before a server that could not be listed is asked again: doubled from the first to the last.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// The catalogues of one route.
pub(crate) struct Catalogs {
    /// Keys the clients' capabilities, so that nobody can choose colliding ones.
    hasher: RandomState,
    entries: Mutex<HashMap<(Era, u64), Arc<Catalog>>>,
    /// Counts look-ups; the catalogue looked up longest ago makes room.
    clock: AtomicU64,
}

impl Catalogs {
    pub(crate) fn new() -> Self {
        Self { hasher: RandomState::new(), entries: Mutex::default(), clock: AtomicU64::new(0) }
    }

    /// Names the kind of client that speaks `version` and declared `capabilities` (JSON text).
    pub(crate) fn key(&self, version: Version, capabilities: &str) -> u64 {
        self.hasher.hash_one((version.as_str(), capabilities))
    }

    /// The catalogue for one kind of client, empty if it was never seen.
    pub(crate) fn get(&self, era: Era, key: u64) -> Arc<Catalog> {
        let now = self.clock.fetch_add(1, Ordering::Relaxed);
        let mut entries = self.entries.lock();
        if let Some(catalog) = entries.get(&(era, key)) {
            catalog.last_used.store(now, Ordering::Relaxed);
            return Arc::clone(catalog);
        }
        if entries.len() >= MAX_CATALOGS {
            let oldest = entries
                .iter()
                .min_by_key(|(_, catalog)| catalog.last_used.load(Ordering::Relaxed))
                .map(|(key, _)| *key);
            if let Some(oldest) = oldest {
                entries.remove(&oldest);
            }
        }
        let catalog = Arc::new(Catalog::new(now));
        entries.insert((era, key), Arc::clone(&catalog));
        catalog
    }

    /// The catalogue used last, for status: what most clients see now.
    pub(crate) fn latest(&self) -> Option<Arc<Catalog>> {
        let entries = self.entries.lock();
        entries.values().max_by_key(|catalog| catalog.last_used.load(Ordering::Relaxed)).cloned()
    }
}

/// What one kind of client sees of a route.
pub(crate) struct Catalog {
    view: ArcSwap<View>,
    servers: Mutex<Vec<Slot>>,
    /// Held while the catalogue is filled for the first time; later ones see `filled`.
    filling: tokio::sync::Mutex<()>,
    filled: AtomicBool,
    last_used: AtomicU64,
    /// When the next server is due to be asked again, in ms since the process's first look at the clock.
    next_due_ms: AtomicU64,
}

/// What is known of one server.
#[derive(Default)]
struct Slot {
    offer: Option<Arc<Offer>>,
    /// Why there is no offer, or why it could not be renewed.
    problem: Option<GatewayError>,
    failures: u32,
    /// Until when the offer may be shown without asking again.
    fresh_until: Option<Instant>,
    /// Not to be asked before, unless it says itself that something changed.
    not_before: Option<Instant>,
    asking: bool,
}

impl Slot {
    fn due_at(&self) -> Option<Instant> {
        match &self.offer {
            None => Some(self.not_before.unwrap_or_else(Instant::now)),
            Some(_) => self.fresh_until,
        }
    }
}

/// Milliseconds since the first call.
fn elapsed_ms() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    u64::try_from(START.get_or_init(Instant::now).elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// One server's place in a catalogue, for status.
#[derive(Clone, Debug)]
pub(crate) struct ServerReport {
    pub(crate) listed: bool,
    pub(crate) problem: Option<GatewayError>,
}

impl Catalog {
    fn new(now: u64) -> Self {
        Self {
            view: ArcSwap::from_pointee(View::default()),
            servers: Mutex::default(),
            filling: tokio::sync::Mutex::new(()),
            filled: AtomicBool::new(false),
            last_used: AtomicU64::new(now),
            next_due_ms: AtomicU64::new(u64::MAX),
        }
    }

    pub(crate) fn view(&self) -> Arc<View> {
        self.view.load_full()
    }

    pub(crate) fn is_filled(&self) -> bool {
        self.filled.load(Ordering::Acquire)
    }

    /// An error for a name that is in no list, which says whether a server that is missing may know it.
    pub(crate) fn not_found(&self, kind: Kind, what: &str, name: &str) -> GatewayError {
        let missing = self.servers.lock().iter().filter(|slot| slot.offer.is_none()).count();
        let hint = match missing {
            0 => String::new(),
            1 => "; one server of this route cannot be reached now".to_owned(),
            several => format!("; {several} servers of this route cannot be reached now"),
        };
        // What clients send is not echoed at length.
        let shown: String = name.chars().take(128).collect();
        GatewayError::new(kind, format!("unknown {what}: {shown}{hint}"))
    }

    /// The error of a server without which the route must not be used.
    pub(crate) fn required_missing(&self, route: &RouteState) -> Option<GatewayError> {
        let servers = self.servers.lock();
        route.servers.iter().zip(servers.iter()).find_map(|(server, slot)| {
            let problem = slot.problem.as_ref().filter(|_| server.spec.required && slot.offer.is_none())?;
            Some(GatewayError::new(
                problem.kind,
                format!("required server {} is not available: {problem}", server.name),
            ))
        })
    }

    pub(crate) fn reports(&self) -> Vec<ServerReport> {
        self.servers
            .lock()
            .iter()
            .map(|slot| ServerReport { listed: slot.offer.is_some(), problem: slot.problem.clone() })
            .collect()
    }

    /// Takes in what was learnt of a server, and shows it from now on.
    fn learn(&self, route: &RouteState, server: usize, outcome: Result<Offer, GatewayError>) {
        let mut servers = self.servers.lock();
        servers.resize_with(route.servers.len(), Slot::default);
        let Some(slot) = servers.get_mut(server) else { return };
        slot.asking = false;
        match outcome {
            Ok(offer) => {
                if let Some(backend) = route.servers[server].only_backend() {
                    backend.knowledge().listed(offer.lists[ListKind::Tools.index()].items.len());
                }
                let fresh_until = fill::fresh_until(&offer);
                *slot = Slot { offer: Some(Arc::new(offer)), fresh_until, ..Slot::default() };
            }
            Err(problem) => {
                // What was listed before stays listed: stale is better than gone.
                let wait = (RETRY.0 * 2u32.saturating_pow(slot.failures.min(16))).min(RETRY.1);
                slot.failures += 1;
                slot.not_before = Some(Instant::now() + wait);
                slot.fresh_until = slot.fresh_until.and(slot.not_before);
                slot.problem = Some(problem);
            }
        }
        self.note_next_due(&servers);
        self.show(route, &servers);
    }

    fn show(&self, route: &RouteState, servers: &[Slot]) {
        let specs: Vec<_> = route.servers.iter().map(|server| &server.spec).collect();
        let offers: Vec<_> = servers.iter().map(|slot| slot.offer.clone()).collect();
        let view = View::build(&specs, &offers);
        for (position, server) in route.servers.iter().enumerate() {
            let dropped = view.conflicts().iter().filter(|conflict| conflict.server == position).count();
            server.metrics.conflicts.set(i64::try_from(dropped).unwrap_or(i64::MAX));
        }
        self.view.store(Arc::new(view));
    }

    /// The servers to ask again now: those without an offer, after their wait, and those whose offer is older than they
    /// said. They are marked as being asked. Looked at on every call, so it costs one comparison until something is due.
    fn due(&self) -> Vec<usize> {
        let since_start = elapsed_ms();
        if since_start < self.next_due_ms.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let now = Instant::now();
        let mut servers = self.servers.lock();
        let mut found = Vec::new();
        for (position, slot) in servers.iter_mut().enumerate().filter(|(_, slot)| !slot.asking) {
            if slot.due_at().is_some_and(|due| due <= now) {
                slot.asking = true;
                found.push(position);
            }
        }
        self.note_next_due(&servers);
        found
    }

    fn note_next_due(&self, servers: &[Slot]) {
        let next = servers.iter().filter(|slot| !slot.asking).filter_map(Slot::due_at).min();
        let next = next.map_or(u64::MAX, |due| {
            let wait = due.saturating_duration_since(Instant::now());
            elapsed_ms().saturating_add(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX))
        });
        self.next_due_ms.store(next, Ordering::Relaxed);
    }
}
