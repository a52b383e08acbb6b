//! Makes calls as the dispatcher does, and judges each step by what was told before.

use super::super::{Attempt, Decision, Failure, Offer, Refusal, Safety, Stop, TierChange, Walk};
use super::Tally;
use super::shadow::{self, Behaviour, Ejection, Shadow, at};
use super::world::{Event, Server, TROUBLE_MS, World};
use crate::ir::snapshot::RetryCause;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// No call waits longer, in ms.
const DEADLINE_MS: u64 = 5_000;

pub(super) struct Call<'a> {
    server: usize,
    walk: Walk<'a>,
    safety: Safety,
    began: u64,
    /// As many times as the call may have run.
    sent: u32,
    attempt: Option<(Attempt, Outcome)>,
    /// Whether the attempt is a probe before its time.
    early: bool,
    /// Counts of endpoints that came or went before it began.
    resizes: u64,
}

#[derive(Clone, Copy)]
enum Outcome {
    Answered(u64),
    Failed(Failure),
    /// The client went away.
    Cancelled,
}

pub(super) struct Dispatcher<'a> {
    servers: &'a [Server],
    /// Calls and repetitions of each server.
    counts: Vec<(u64, u64)>,
    calls: BTreeMap<u64, Call<'a>>,
    next: u64,
}

impl<'a> Dispatcher<'a> {
    pub(super) fn new(servers: &'a [Server]) -> Self {
        Self { servers, counts: vec![(0, 0); servers.len()], calls: BTreeMap::new(), next: 0 }
    }

    pub(super) fn begin(&mut self, world: &mut World, tally: &mut Tally) {
        let server = usize::try_from(world.random.below(self.servers.len() as u64)).unwrap();
        let safety = if world.random.percent(70) { Safety::Repeatable } else { Safety::Unsafe };
        let key = world.random.percent(80).then(|| world.random.below(20));
        let walk = self.servers[server].balancer.begin(safety, key);
        self.next += 1;
        let (began, resizes) = (world.now, world.resizes);
        self.calls
            .insert(self.next, Call { server, walk, safety, began, sent: 0, attempt: None, early: false, resizes });
        self.counts[server].0 += 1;
        tally.calls += 1;
        self.attempt(world, self.next, tally);
    }

    pub(super) fn attempt(&mut self, world: &mut World, id: u64, tally: &mut Tally) {
        let mut call = self.calls.remove(&id).unwrap();
        let server = &self.servers[call.server];
        let before = server.balancer.active_tier();
        let chosen = call.walk.next(at(world.now), world.random.next());
        if let Some(change) = call.walk.tier_change() {
            judge_change(world, server, before, change, tally);
        }
        let attempt = match chosen {
            Ok(attempt) => attempt,
            Err(refusal) => return judge_refusal(world, server, &call, refusal, tally),
        };
        judge_choice(world, server, &call, &attempt);
        if let Some(told) = attempt.transition() {
            let backend = world.shadows[attempt.endpoint().name()].backend;
            shadow::apply(&mut world.shadows, &told, &world.outliers[backend], false, world.now, tally);
        }
        assert!(call.walk.attempts() <= server.failover.attempts, "more attempts than configured");
        let now = world.now;
        let per_try_ms = server.failover.per_try_timeout_ms.unwrap();
        let shadow = world.shadows.get_mut(attempt.endpoint().name()).unwrap();
        shadow.in_flight += 1;
        if attempt.transition().is_some() {
            shadow.probes += 1;
            assert_eq!(shadow.probes, 1, "more than one probe at a time");
        }
        call.early = matches!(shadow.ejection, Ejection::HalfOpen(until) if until > now);
        tally.last_resorts += u64::from(attempt.offer() == Offer::LastResort);
        let behaviour = shadow.behaviour;
        let (takes, mut outcome) = respond(world, behaviour, per_try_ms);
        // A client goes away only of what is under way.
        if now < TROUBLE_MS && takes > 1 && world.random.percent(2) {
            outcome = Outcome::Cancelled;
        }
        let was_sent = !matches!(outcome, Outcome::Failed(Failure { sent: false, .. }));
        call.sent += u32::from(was_sent);
        if !call.safety.is_repeatable(&server.failover) {
            assert!(call.sent <= 1, "an unsafe call was sent twice");
        }
        call.attempt = Some((attempt, outcome));
        self.calls.insert(id, call);
        world.after(takes, Event::End(id));
    }

    pub(super) fn end(&mut self, world: &mut World, id: u64, tally: &mut Tally) {
        let mut call = self.calls.remove(&id).unwrap();
        let (attempt, outcome) = call.attempt.take().unwrap();
        let name = Arc::clone(attempt.endpoint().name());
        let is_probe = attempt.transition().is_some();
        let shadow = world.shadows.get_mut(&name).unwrap();
        let backend = shadow.backend;
        shadow.in_flight -= 1;
        shadow.probes -= u32::from(is_probe);
        let now = at(world.now);
        let told = match outcome {
            Outcome::Answered(latency_ms) => attempt.answered(Duration::from_millis(latency_ms), now),
            Outcome::Failed(_) => attempt.failed(now),
            Outcome::Cancelled => {
                drop(attempt);
                if let (true, Ejection::HalfOpen(until)) = (is_probe, shadow.ejection) {
                    shadow.ejection = Ejection::Open(until);
                }
                tally.cancelled += 1;
                return;
            }
        };
        for told in told {
            shadow::apply(&mut world.shadows, &told, &world.outliers[backend], call.early, world.now, tally);
        }
        let server = &self.servers[call.server];
        let failure = match outcome {
            Outcome::Answered(_) => {
                world.shadows.get_mut(&name).unwrap().saw_life();
                tally.answered += 1;
                let is_saved = call.walk.attempts() > 1;
                tally.saved += u64::from(is_saved);
                tally.guaranteed += u64::from(is_saved && is_guaranteed(world, &self.servers[call.server], &call));
                return;
            }
            Outcome::Failed(failure) => failure,
            Outcome::Cancelled => unreachable!("it returned above"),
        };
        match call.walk.after(failure, now, at(call.began + DEADLINE_MS), world.random.next()) {
            Decision::Repeat { after_ms } => {
                assert!(!failure.relayed, "repeated what the client has seen of");
                assert!(world.now + after_ms < call.began + DEADLINE_MS, "repeated after the deadline");
                let (calls, retries) = &mut self.counts[call.server];
                *retries += 1;
                tally.retries += 1;
                judge_budget(server, *calls, *retries, world.now);
                self.calls.insert(id, call);
                world.after(after_ms, Event::Again(id));
            }
            Decision::Stop(stop) => judge_stop(world, server, &call, (failure, stop), tally),
        }
    }

    /// All calls are over, and everything is known to be well.
    pub(super) fn finish(&self, world: &World) {
        assert!(self.calls.is_empty(), "{} calls never ended", self.calls.len());
        for (index, backend) in world.backends.iter().enumerate() {
            assert_eq!(backend.requests.used(), 0, "requests of backend {index}");
            for endpoint in backend.endpoints() {
                assert_eq!(endpoint.in_flight(), 0, "calls in flight of {}", endpoint.name());
                assert!(endpoint.is_usable(), "{} is well and not used: {:?}", endpoint.name(), endpoint.ejection());
            }
        }
        for server in self.servers {
            server.balancer.settle(at(world.now));
            assert_eq!(server.balancer.active_tier(), 0, "the first tier is well and not used");
        }
    }
}

/// What comes of a call, and after how long.
fn respond(world: &mut World, behaviour: Behaviour, per_try_ms: u64) -> (u64, Outcome) {
    let (quick, slow) = (world.random.between(1, 50), world.random.between(100, 1_500));
    let relayed = world.random.percent(3);
    let failed = |cause, sent, relayed| Outcome::Failed(Failure { cause: Some(cause), sent, relayed });
    let answer = |latency: u64| {
        if latency < per_try_ms {
            (latency, Outcome::Answered(latency))
        } else {
            (per_try_ms, failed(RetryCause::Timeout, true, false))
        }
    };
    let dead = (1, failed(RetryCause::ConnectFailure, false, false));
    match behaviour {
        Behaviour::Healthy => answer(quick),
        Behaviour::Slow => answer(slow),
        Behaviour::Hanging => (per_try_ms, failed(RetryCause::Timeout, true, false)),
        Behaviour::Garbage => (5, failed(RetryCause::Unavailable, true, false)),
        Behaviour::Breaking => (5, failed(RetryCause::Reset, true, relayed)),
        Behaviour::Flapping { period } if (world.now / period).is_multiple_of(2) => answer(quick),
        Behaviour::Dead | Behaviour::Flapping { .. } => dead,
    }
}

/// The endpoints that a server may use, with their tiers.
fn members<'w>(world: &'w World, server: &'w Server) -> impl Iterator<Item = (usize, &'w Shadow)> {
    world.shadows.values().filter(|shadow| shadow.is_member).filter_map(|shadow| {
        let tier = server.tiers.iter().position(|tier| calls(tier, shadow.backend))?;
        Some((tier, shadow))
    })
}

/// Whether a tier may call a backend.
fn calls(tier: &[(usize, u32)], backend: usize) -> bool {
    tier.iter().any(|(member, weight)| *member == backend && *weight > 0)
}

fn has_room(world: &World, shadow: &Shadow) -> bool {
    in_flight(world, shadow.backend) < world.limits[shadow.backend]
}

fn in_flight(world: &World, backend: usize) -> u32 {
    world.shadows.values().filter(|shadow| shadow.backend == backend).map(|shadow| shadow.in_flight).sum()
}

fn judge_change(world: &World, server: &Server, before: usize, change: TierChange, tally: &mut Tally) {
    let TierChange { from, to } = change;
    assert_eq!(from, before);
    let usable = |tier: usize| members(world, server).any(|(of, shadow)| of == tier && shadow.is_usable());
    let recover_after_ms = server.failover.recover_after_ms;
    if to < from {
        let recovered = members(world, server)
            .any(|(of, shadow)| of == to && shadow.is_usable() && world.now - shadow.usable_since >= recover_after_ms);
        let nothing_else = !(from..server.tiers.len()).any(usable);
        assert!(recovered || (nothing_else && usable(to)), "tier {to} was returned to before it recovered");
        tally.returns += 1;
    } else {
        assert!(!usable(from) && usable(to), "tier {from} was left for {to} without need");
        tally.failovers += 1;
    }
}

fn judge_choice(world: &World, server: &Server, call: &Call<'_>, attempt: &Attempt) {
    let shadow = &world.shadows[attempt.endpoint().name()];
    let tier = &server.tiers[attempt.tier()];
    assert!(calls(tier, shadow.backend), "chose a weight of 0, or another tier's endpoint");
    assert!(shadow.is_member, "chose an endpoint that is gone");
    assert!(has_room(world, shadow), "more in flight than maxRequests");
    let others_usable = members(world, server).any(|(_, other)| other.is_usable());
    match attempt.offer() {
        Offer::Usable => assert!(shadow.is_usable(), "chose an ejected or unhealthy endpoint"),
        Offer::Probe => {
            let Ejection::Open(until) = shadow.ejection else { panic!("probes what is {:?}", shadow.ejection) };
            assert!(until <= world.now, "probes before its time");
            assert!(!shadow.is_unhealthy(), "probes what is unhealthy");
            let is_safe = call.safety.is_repeatable(&server.failover);
            assert!(is_safe && server.failover.attempts > 1, "a call that cannot be repeated was made a probe");
        }
        Offer::LastResort => {
            assert!(!others_usable, "a last resort while an endpoint takes calls");
            assert!(!matches!(shadow.ejection, Ejection::HalfOpen(_)), "a last resort while it is probed");
        }
    }
    if attempt.offer() == Offer::Usable && call.walk.attempts() == 1 {
        let active = server.balancer.active_tier();
        let in_active =
            members(world, server).any(|(of, other)| of == active && other.is_usable() && has_room(world, other));
        assert!(attempt.tier() == active || !in_active, "a first attempt outside the active tier");
    }
}

/// Whether a call had a well-behaved endpoint to go to all the while, and attempts for all endpoints.
fn is_guaranteed(world: &World, server: &Server, call: &Call<'_>) -> bool {
    let is_good = |shadow: &Shadow| {
        shadow.is_usable()
            && shadow.behaviour == Behaviour::Healthy
            && shadow.behaves_since < call.began
            && shadow.usable_since < call.began
            && world.limits[shadow.backend] >= 1_000
    };
    call.safety.is_repeatable(&server.failover)
        && call.resizes == world.resizes
        && members(world, server).count() <= server.failover.attempts as usize
        && members(world, server).any(|(_, shadow)| is_good(shadow))
}

fn judge_refusal(world: &World, server: &Server, call: &Call<'_>, refusal: Refusal, tally: &mut Tally) {
    let usable = || members(world, server).filter(|(_, shadow)| shadow.is_usable());
    match refusal {
        Refusal::NoEndpoint => assert_eq!(members(world, server).count(), 0, "there is an endpoint"),
        Refusal::Attempts => panic!("another attempt after the decision for none"),
        Refusal::Overloaded => {
            assert!(usable().all(|(_, shadow)| !has_room(world, shadow)), "there is room");
            tally.overloads += 1;
        }
        Refusal::AllEjected { .. } => assert_eq!(usable().count(), 0, "an endpoint takes calls"),
    }
    assert!(!is_guaranteed(world, server, call), "a good endpoint was not found: {refusal}");
}

fn judge_stop(world: &World, server: &Server, call: &Call<'_>, (failure, stop): (Failure, Stop), tally: &mut Tally) {
    match stop {
        Stop::Budget => tally.budget_stops += 1,
        Stop::Unsafe => {
            assert!(failure.sent && !call.safety.is_repeatable(&server.failover), "a safe call was given up");
            tally.unsafe_stops += 1;
        }
        Stop::Relayed => assert!(failure.relayed),
        Stop::Deadline => {}
        Stop::Attempts | Stop::Cause => {
            assert!(
                stop == Stop::Attempts && call.walk.attempts() == server.failover.attempts,
                "gave up early: {stop:?}"
            );
            assert!(!is_guaranteed(world, server, call), "all attempts missed a good endpoint");
        }
    }
}

fn judge_budget(server: &Server, calls: u64, retries: u64, now: u64) {
    let budget = &server.failover.retry_budget;
    let per_second = u64::from(budget.min_per_second);
    let saved = per_second * budget.ttl_ms + 1_000;
    let most = saved + u64::from(budget.percent) * calls * 10 + per_second * now;
    assert!(retries * 1_000 <= most, "{retries} repetitions of {calls} calls in {now} ms");
}
