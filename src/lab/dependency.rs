//! A simulated dependency: seeded service times, finite capacity, faults.
//!
//! ## Theory of operation
//!
//! An instance has `capacity` workers and a queue, first come, first served. When a request arrives it
//! is known at once when a worker will be free for it and how long it will take, so the instance is
//! nothing but the times at which its workers become free; the caller sleeps until its answer is due.
//! A caller that times out stops waiting. The workers do not notice, as in reality: they continue with
//! abandoned requests. With *deadline propagation* a worker does not begin with a request
//! that it cannot finish before its caller times out.
//!
//! A request's luck depends on the seed, its journey and its attempt, and on nothing else: in every
//! variant the same journey meets the same service time and the same failure, so that the difference
//! between two variants is the policies' doing (common random numbers).

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::time::{Instant, sleep_until};

use super::spec;
use super::tally::Tally;
use crate::faults::{FaultPlan, Latency};
use breakerbox_resilience::policy::Attempt;
use breakerbox_resilience::retry::{Classify, ErrorKind, Verdict};

/// Why a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trouble(pub(super) ErrorKind);

impl Classify for Trouble {
    fn verdict(&self) -> Verdict {
        Verdict::of(self.0)
    }
}

/// Hash of a request's identity, from which its random numbers are seeded.
pub(super) fn mix(parts: &[u64]) -> u64 {
    let step = |hash: u64, part: &u64| {
        let mut z = (hash ^ part).wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    parts.iter().fold(0, step)
}

/// A fault of this dependency.
struct Active {
    from: Duration,
    to: Duration,
    instance: Option<usize>,
    plan: FaultPlan,
    slowdown: f64,
}

/// One instance.
#[derive(Default)]
struct Server {
    /// Time at which each busy worker becomes free; a worker that is not listed is free now.
    free_at: BinaryHeap<Reverse<Instant>>,
    /// Start times of the requests still in the queue.
    starts: VecDeque<Instant>,
    /// Requests handled since the last crash.
    warm: u32,
    crashed: bool,
}

/// State of one journey that its requests share.
pub(super) struct Errand {
    /// Number of the journey.
    pub(super) journey: u64,
    /// How many times this dependency did the work for the journey.
    pub(super) effects: Cell<u32>,
}

/// A simulated dependency.
pub(super) struct Dependency {
    index: u64,
    latency: Latency,
    capacity: Option<u32>,
    queue: usize,
    cold: Option<spec::Cold>,
    effect: bool,
    honours_keys: bool,
    drops_expired: bool,
    faults: Vec<Active>,
    servers: Vec<RefCell<Server>>,
    seed: u64,
    epoch: Instant,
    tally: Rc<RefCell<Tally>>,
}

/// The work that a request needs.
struct Job {
    instance: usize,
    /// Service time of a healthy instance.
    service: Duration,
    /// Delay added by a fault.
    late: Duration,
    /// When its caller times out, if the deadline is propagated.
    expires: Option<Instant>,
}

/// Outcome of a request.
struct Fate {
    /// Arrival time of the answer; `None` means at once.
    answered_at: Option<Instant>,
    /// Whether the answer never arrives.
    hangs: bool,
    /// Error in the answer, if any.
    trouble: Option<ErrorKind>,
}

impl Fate {
    fn failed(answered_at: Option<Instant>, kind: ErrorKind) -> Self {
        Self { answered_at, hangs: false, trouble: Some(kind) }
    }
}

/// Counts a request as wasted on drop unless its answer was used.
struct Outcome<'a> {
    tally: &'a RefCell<Tally>,
    useful: bool,
}

impl Drop for Outcome<'_> {
    fn drop(&mut self) {
        if !self.useful {
            self.tally.borrow_mut().counts.wasted += 1;
        }
    }
}

impl Dependency {
    pub(super) fn new(
        (index, spec): (usize, &spec::Dependency),
        faults: &[spec::FaultStep],
        variant: &spec::Variant,
        (seed, epoch): (u64, Instant),
        tally: &Rc<RefCell<Tally>>,
    ) -> Self {
        let own = faults.iter().filter(|step| step.target == spec.name);
        let active = |step: &spec::FaultStep| Active {
            from: step.at,
            to: step.at + step.lasts,
            instance: step.instance,
            plan: step.fault.clone(),
            slowdown: step.slowdown,
        };
        Self {
            index: index as u64,
            latency: spec.latency,
            capacity: spec.capacity,
            queue: spec.queue.unwrap_or(usize::MAX),
            cold: spec.cold,
            effect: spec.effect,
            honours_keys: spec.honours_keys || variant.honours_keys.contains(&spec.name),
            drops_expired: variant.deadline_propagation,
            faults: own.map(active).collect(),
            servers: (0..spec.instances).map(|_| RefCell::default()).collect(),
            seed,
            epoch,
            tally: Rc::clone(tally),
        }
    }

    /// Round robin; each further attempt and each hedge goes to the next instance.
    fn instance(&self, journey: u64, attempt: &Attempt) -> usize {
        let turn = journey.wrapping_add(u64::from(attempt.number - 1)).wrapping_add(u64::from(attempt.hedge));
        usize::try_from(turn % self.servers.len() as u64).unwrap_or_default()
    }

    /// Sends a request to the instance whose turn it is, or to `pinned`.
    pub(super) async fn request(
        &self,
        errand: &Errand,
        attempt: Attempt,
        pinned: Option<usize>,
    ) -> Result<(), Trouble> {
        let now = Instant::now();
        self.tally.borrow_mut().request(now - self.epoch);
        let mut outcome = Outcome { tally: &self.tally, useful: false };
        let fate = self.receive(errand, attempt, pinned, now);
        if let Some(until) = fate.answered_at {
            sleep_until(until).await;
        } else if fate.hangs {
            return std::future::pending().await;
        }
        match fate.trouble {
            Some(kind) => Err(Trouble(kind)),
            None => {
                outcome.useful = true;
                Ok(())
            }
        }
    }

    /// The fault of an instance at this time of the run; if there are several, the last one listed.
    fn fault(&self, instance: usize, at: Duration) -> Option<&Active> {
        let meets =
            |fault: &&Active| fault.from <= at && at < fault.to && fault.instance.is_none_or(|only| only == instance);
        self.faults.iter().rev().find(meets)
    }

    /// Decides the outcome of a request that arrives `now`.
    fn receive(&self, errand: &Errand, attempt: Attempt, pinned: Option<usize>, now: Instant) -> Fate {
        let at = now - self.epoch;
        let instance = pinned.unwrap_or_else(|| self.instance(errand.journey, &attempt));
        let own = [self.seed, self.index, errand.journey, u64::from(attempt.number), u64::from(attempt.hedge)];
        let mut luck = ChaCha8Rng::seed_from_u64(mix(&own));
        // Every random number is drawn whatever the faults, so that one fault does not change the draws of another.
        let dice: [f64; 6] = std::array::from_fn(|_| luck.random());
        let service = self.latency.sample(&mut luck);
        let mut server = self.servers[instance].borrow_mut();
        let healthy = FaultPlan::default();
        let plan = self.fault(instance, at).map_or(&healthy, |fault| &fault.plan);
        if plan.crash {
            *server = Server { crashed: true, ..Server::default() };
            return Fate::failed(None, ErrorKind::Connect);
        }
        let mut late = Duration::ZERO;
        if let Some(latency) = &plan.latency
            && dice[0] < plan.latency_rate.unwrap_or(1.0)
        {
            late = latency.sample(&mut luck);
        }
        if dice[1] < plan.hang_rate {
            return Fate { answered_at: None, hangs: true, trouble: None };
        }
        let delayed = (!late.is_zero()).then(|| now + late);
        if dice[2] < plan.reset_rate {
            return Fate::failed(delayed, ErrorKind::Reset);
        }
        if dice[3] < plan.error_rate {
            return Fate::failed(delayed, ErrorKind::ServerError);
        }
        let expires = (attempt.timeout < Duration::MAX && self.drops_expired).then(|| now + attempt.timeout);
        let job = Job { instance, service, late, expires };
        let Some(due) = self.enqueue(&mut server, now, &job) else {
            return Fate::failed(None, ErrorKind::RateLimited);
        };
        if self.effect {
            let done = errand.effects.get();
            errand.effects.set(if self.honours_keys { 1 } else { done + 1 });
        }
        let lost = dice[4] < plan.lost_answer_rate;
        let held = if dice[5] < plan.late_answer_rate {
            plan.late_by.unwrap_or(Duration::from_secs(5))
        } else {
            Duration::ZERO
        };
        Fate { answered_at: Some(due + held), hangs: false, trouble: lost.then_some(ErrorKind::Reset) }
    }

    /// How many times longer a request takes while the instance is cold.
    fn warmth(server: &Server, cold: Option<spec::Cold>) -> f64 {
        let Some(cold) = cold.filter(|_| server.crashed) else { return 1.0 };
        let left = 1.0 - f64::from(server.warm) / f64::from(cold.requests);
        1.0 + (cold.factor - 1.0) * left
    }

    /// Counts a request that a cold instance has started.
    fn warm_up(server: &mut Server, cold: Option<spec::Cold>) {
        if let Some(cold) = cold.filter(|_| server.crashed) {
            server.warm += 1;
            server.crashed = server.warm < cold.requests;
        }
    }

    /// Service time of a worker that starts at `start`: the slowdown and warm-up at that time apply, not those at the
    /// request's arrival.
    fn work(&self, server: &Server, job: &Job, start: Instant) -> Duration {
        let slowdown = self.fault(job.instance, start - self.epoch).map_or(1.0, |fault| fault.slowdown);
        job.service.mul_f64(slowdown * Self::warmth(server, self.cold)) + job.late
    }

    /// Completion time of a request that arrives now; `None` if the queue is full.
    fn enqueue(&self, server: &mut Server, now: Instant, job: &Job) -> Option<Instant> {
        let Some(capacity) = self.capacity else {
            let done = now + self.work(server, job, now);
            Self::warm_up(server, self.cold);
            return Some(done);
        };
        while server.starts.front().is_some_and(|start| *start <= now) {
            server.starts.pop_front();
        }
        let worker = if server.free_at.len() < capacity as usize { None } else { server.free_at.peek().copied() };
        let start = worker.map_or(now, |Reverse(free)| free.max(now));
        let work = self.work(server, job, start);
        if start > now {
            if server.starts.len() >= self.queue {
                return None;
            }
            // The answer would come after the caller's timeout: no worker starts it, and the caller waits until it
            // times out.
            if job.expires.is_some_and(|expires| start + work > expires) {
                return Some(now + Duration::from_hours(24));
            }
            server.starts.push_back(start);
        }
        if worker.is_some() {
            server.free_at.pop();
        }
        Self::warm_up(server, self.cold);
        let done = start + work;
        server.free_at.push(Reverse(done));
        let counts = &mut self.tally.borrow_mut().counts;
        counts.waits += 1;
        counts.waited += (start - now).as_secs_f64();
        counts.busy += work.as_secs_f64();
        Some(done)
    }

    /// Worker-seconds available in a run of this length.
    pub(super) fn workers(&self, length: Duration) -> f64 {
        self.capacity.map_or(0.0, f64::from) * self.servers.len() as f64 * length.as_secs_f64()
    }
}
