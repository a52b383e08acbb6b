//! A random world: servers with tiers of backends, whose endpoints behave as they like, and what happens there in turn.

use super::super::{Backend, Balancer, State, next_check_ms};
use super::Tally;
use super::dispatch::Dispatcher;
use super::shadow::{self, Behaviour, Ejection, Shadow, Shadows, at};
use crate::gateway::balance::hash::mix;
use crate::ir::snapshot::{
    CircuitBreaker, Failover, FailureRate, HashBy, HealthCheck, LoadBalancing, OutlierDetection, RetryBudget,
    RetryCause,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How long the world misbehaves, in ms.
pub(super) const TROUBLE_MS: u64 = 30_000;

/// Every so many events the whole world is judged, besides what each event has judged of itself.
const JUDGED: u64 = 8;

pub(super) struct Random(u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// Below `bound`.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(super) fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.below(most - least + 1)
    }

    pub(super) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn small(&mut self, least: u64, most: u64) -> u32 {
        u32::try_from(self.between(least, most)).unwrap()
    }

    fn of<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[usize::try_from(self.below(choices.len() as u64)).unwrap()].clone()
    }
}

pub(super) enum Event {
    Call,
    /// An attempt of this call ends.
    End(u64),
    /// A call goes on after its wait.
    Again(u64),
    Check {
        endpoint: Arc<str>,
        made: u32,
    },
    Checked {
        endpoint: Arc<str>,
        made: u32,
        success: bool,
    },
    Behave,
    Resize,
    Connect,
}

/// One of the world's servers, as it is configured.
pub(super) struct Server {
    pub(super) balancer: Balancer,
    pub(super) failover: Failover,
    /// Backends by position, with their weights.
    pub(super) tiers: Vec<Vec<(usize, u32)>>,
}

pub(super) struct World {
    pub(super) random: Random,
    pub(super) now: u64,
    pub(super) backends: Vec<Arc<Backend>>,
    pub(super) outliers: Vec<OutlierDetection>,
    pub(super) limits: Vec<u32>,
    pub(super) shadows: Shadows,
    /// How often endpoints came or went.
    pub(super) resizes: u64,
    events: BTreeMap<(u64, u64), Event>,
    order: u64,
    names: u64,
}

impl World {
    pub(super) fn after(&mut self, ms: u64, event: Event) {
        self.order += 1;
        self.events.insert((self.now + ms, self.order), event);
    }

    pub(super) fn judge(&self) {
        for (index, backend) in self.backends.iter().enumerate() {
            shadow::judge_cap(&self.shadows, index, &self.outliers[index]);
            for endpoint in backend.endpoints() {
                shadow::judge_endpoint(&endpoint, &self.shadows[endpoint.name()]);
            }
        }
    }

    fn behaviour(&mut self) -> Behaviour {
        if self.now >= TROUBLE_MS {
            return Behaviour::Healthy;
        }
        let period = self.random.between(500, 5_000);
        let (healthy, flapping) = (Behaviour::Healthy, Behaviour::Flapping { period });
        self.random.of(&[
            healthy,
            healthy,
            healthy,
            Behaviour::Slow,
            Behaviour::Dead,
            Behaviour::Hanging,
            Behaviour::Garbage,
            Behaviour::Breaking,
            flapping,
        ])
    }

    /// Gives a backend this many new endpoints, besides those of its that are named.
    fn populate(&mut self, backend: usize, mut names: Vec<Arc<str>>, new: u64, tally: &mut Tally) {
        for _ in 0..new {
            self.names += 1;
            let name: Arc<str> = format!("b{backend}e{}", self.names).into();
            let behaviour = self.behaviour();
            self.shadows.insert(Arc::clone(&name), Shadow::new(backend, behaviour, self.now));
            let wait = next_check_ms(self.backends[backend].health_check(), 0, self.random.next());
            self.after(wait, Event::Check { endpoint: Arc::clone(&name), made: 0 });
            names.push(name);
        }
        for (name, shadow) in self.shadows.iter_mut().filter(|(_, shadow)| shadow.backend == backend) {
            shadow.is_member = names.contains(name);
        }
        self.resizes += 1;
        let told = self.backends[backend].set_endpoints(names.iter().map(|name| &**name), at(self.now));
        for told in told {
            shadow::apply(&mut self.shadows, &told, &self.outliers[backend], false, self.now, tally);
        }
        shadow::judge_cap(&self.shadows, backend, &self.outliers[backend]);
    }

    fn resize(&mut self, tally: &mut Tally) {
        let backend = usize::try_from(self.random.below(self.backends.len() as u64)).unwrap();
        let mut names: Vec<Arc<str>> =
            self.backends[backend].endpoints().iter().map(|endpoint| Arc::clone(endpoint.name())).collect();
        let kept = self.random.below(names.len() as u64 + 1);
        while names.len() as u64 > kept {
            let gone = usize::try_from(self.random.below(names.len() as u64)).unwrap();
            names.remove(gone);
        }
        // In the end all backends have endpoints again.
        let least = u64::from(names.is_empty());
        let new = self.random.between(least, 2);
        self.populate(backend, names, new, tally);
    }

    fn check(&mut self, endpoint: Arc<str>, made: u32) {
        let Some(shadow) = self.shadows.get(&endpoint).filter(|shadow| shadow.is_member) else { return };
        let success = match shadow.behaviour {
            Behaviour::Healthy | Behaviour::Slow | Behaviour::Garbage => true,
            Behaviour::Dead | Behaviour::Hanging | Behaviour::Breaking => false,
            Behaviour::Flapping { period } => (self.now / period).is_multiple_of(2),
        };
        let wait = if success { 5 } else { self.backends[shadow.backend].health_check().timeout_ms };
        self.after(wait, Event::Checked { endpoint, made, success });
    }

    fn checked(&mut self, name: &Arc<str>, made: u32, success: bool, tally: &mut Tally) {
        let backend = self.shadows[name].backend;
        let Some(endpoint) = self.backends[backend].endpoints().into_iter().find(|known| known.name() == name) else {
            return;
        };
        let told = self.backends[backend].checked(&endpoint, success, at(self.now));
        for told in &told {
            if let (State::Closed, Ejection::Open(until)) = (told.to, self.shadows[name].ejection) {
                assert!(until <= self.now, "a check ended an ejection before its time: {told:?}");
            }
            shadow::apply(&mut self.shadows, told, &self.outliers[backend], false, self.now, tally);
        }
        if success {
            self.shadows.get_mut(name).unwrap().saw_life();
        }
        let wait = next_check_ms(self.backends[backend].health_check(), made + 1, self.random.next());
        self.after(wait, Event::Check { endpoint: Arc::clone(name), made: made + 1 });
    }

    fn behave(&mut self) {
        let members: Vec<Arc<str>> =
            self.shadows.iter().filter(|(_, shadow)| shadow.is_member).map(|(name, _)| Arc::clone(name)).collect();
        let name = self.random.of(&members);
        let behaviour = self.behaviour();
        let now = self.now;
        let shadow = self.shadows.get_mut(&name).unwrap();
        (shadow.behaviour, shadow.behaves_since) = (behaviour, now);
    }

    /// A connection to some ejected endpoint that lives comes about.
    fn connect(&mut self) {
        let now = self.now;
        let found = self.shadows.iter_mut().find(|(_, shadow)| {
            shadow.is_member && shadow.behaviour == Behaviour::Healthy && matches!(shadow.ejection, Ejection::Open(_))
        });
        let Some((name, shadow)) = found else { return };
        let backend = &self.backends[shadow.backend];
        let endpoint = backend.endpoints().into_iter().find(|known| known.name() == name).unwrap();
        shadow.saw_life();
        if backend.connected(&endpoint, at(now)) {
            shadow.ejection = Ejection::Open(now);
        }
    }
}

fn policy(random: &mut Random) -> LoadBalancing {
    random.of(&[
        LoadBalancing::RoundRobin,
        LoadBalancing::Weighted,
        LoadBalancing::LeastRequest,
        LoadBalancing::PeakEwma,
        LoadBalancing::HealthBased,
        LoadBalancing::ConsistentHash { by: HashBy::Session },
    ])
}

fn failover(random: &mut Random) -> Failover {
    let budget = RetryBudget {
        percent: random.small(0, 50),
        min_per_second: random.of(&[0, 1, 10, 100]),
        ttl_ms: random.between(1_000, 10_000),
    };
    Failover {
        attempts: random.small(1, 12),
        backoff_ms: random.between(0, 200),
        retry_on: vec![RetryCause::ConnectFailure, RetryCause::Unavailable, RetryCause::Timeout, RetryCause::Reset],
        per_try_timeout_ms: Some(random.between(200, 1_000)),
        retry_unsafe_tools: random.percent(10),
        recover_after_ms: random.between(0, 10_000),
        retry_budget: budget,
        ..Failover::default()
    }
}

fn backend(name: usize, random: &mut Random) -> (Arc<Backend>, OutlierDetection, u32) {
    let base_ejection_ms = random.between(500, 3_000);
    let outlier = OutlierDetection {
        consecutive_failures: random.small(0, 5),
        failure_rate: FailureRate {
            percent: random.of(&[0, 30, 85]),
            minimum_requests: random.small(3, 10),
            window_ms: random.between(500, 5_000),
        },
        base_ejection_ms,
        max_ejection_ms: base_ejection_ms * random.between(1, 8),
        max_ejection_percent: random.of(&[0, 10, 34, 50, 100]),
        slow_start_ms: random.of(&[0, 2_000]),
    };
    let health = HealthCheck {
        interval_ms: random.between(2_000, 6_000),
        timeout_ms: 500,
        unhealthy_threshold: random.small(1, 3),
        healthy_threshold: random.small(1, 3),
        stale_after_ms: random.between(2_000, 10_000),
        ..HealthCheck::default()
    };
    let max_requests = random.of(&[1, 3, 1_000, 1_000, 1_000]);
    let limits = CircuitBreaker { max_requests, ..CircuitBreaker::default() };
    let name = format!("b{name}");
    (Arc::new(Backend::new(&name, health, outlier.clone(), &limits)), outlier, max_requests)
}

/// Runs the world of a seed to its end.
pub(super) fn run(seed: u64, tally: &mut Tally) {
    let mut random = Random(mix(seed));
    let shape: Vec<u64> = (0..random.between(1, 3)).map(|_| random.between(1, 2)).collect();
    let count = usize::try_from(shape.iter().sum::<u64>()).unwrap();
    let (mut backends, mut outliers, mut limits) = (Vec::new(), Vec::new(), Vec::new());
    for index in 0..count {
        let (backend, outlier, limit) = backend(index, &mut random);
        backends.push(backend);
        outliers.push(outlier);
        limits.push(limit);
    }
    let servers: Vec<Server> = (0..random.between(1, 2))
        .map(|_| {
            let mut rest = 0..count;
            let tiers: Vec<Vec<(usize, u32)>> = shape
                .iter()
                .map(|members| {
                    let mut tier: Vec<_> = (0..*members).map(|_| (rest.next().unwrap(), random.small(0, 3))).collect();
                    tier[0].1 = tier[0].1.max(1);
                    tier
                })
                .collect();
            let real = |tier: &Vec<(usize, u32)>| {
                tier.iter().map(|(backend, weight)| (Arc::clone(&backends[*backend]), *weight)).collect()
            };
            let failover = failover(&mut random);
            let balancer =
                Balancer::new(tiers.iter().map(real).collect(), policy(&mut random), failover.clone(), at(0));
            Server { balancer, failover, tiers }
        })
        .collect();
    let mut world = World {
        random,
        now: 0,
        backends,
        outliers,
        limits,
        shadows: Shadows::new(),
        resizes: 0,
        events: BTreeMap::new(),
        order: 0,
        names: 0,
    };
    for backend in 0..count {
        let new = world.random.between(1, 4);
        world.populate(backend, Vec::new(), new, tally);
    }
    live(&mut world, &servers, tally);
}

fn live(world: &mut World, servers: &[Server], tally: &mut Tally) {
    let pace = world.random.between(50, 1_000);
    for _ in 0..world.random.between(0, 6) {
        let (behave, resize, connect) =
            (world.random.below(TROUBLE_MS), world.random.below(TROUBLE_MS), world.random.below(TROUBLE_MS));
        world.after(behave, Event::Behave);
        if world.random.percent(50) {
            world.after(resize, Event::Resize);
        }
        world.after(connect, Event::Connect);
    }
    world.after(0, Event::Call);
    let mut dispatcher = Dispatcher::new(servers);
    // Then everything is well, and in the end everything has to be known to be.
    let longest = world.outliers.iter().map(|outlier| outlier.max_ejection_ms).max().unwrap();
    let end = TROUBLE_MS + longest + 30_000;
    let (mut is_calm, mut events) = (false, 0);
    while let Some(((now, _), event)) = world.events.pop_first() {
        world.now = now;
        if now > end {
            break;
        }
        if now >= TROUBLE_MS && !is_calm {
            is_calm = true;
            for shadow in world.shadows.values_mut() {
                (shadow.behaviour, shadow.behaves_since) = (Behaviour::Healthy, now);
            }
        }
        match event {
            Event::Call => {
                if now < end - 10_000 {
                    dispatcher.begin(world, tally);
                    let (burst, wait) = (world.random.percent(10), world.random.between(0, 2 * pace));
                    let wait = if now >= TROUBLE_MS {
                        2_000
                    } else if burst {
                        0
                    } else {
                        wait
                    };
                    world.after(wait, Event::Call);
                }
            }
            Event::End(call) => dispatcher.end(world, call, tally),
            Event::Again(call) => dispatcher.attempt(world, call, tally),
            Event::Check { endpoint, made } => world.check(endpoint, made),
            Event::Checked { endpoint, made, success } => world.checked(&endpoint, made, success, tally),
            Event::Behave => world.behave(),
            Event::Resize => world.resize(tally),
            Event::Connect => world.connect(),
        }
        events += 1;
        if events % JUDGED == 0 {
            world.judge();
        }
    }
    world.judge();
    dispatcher.finish(world);
}
