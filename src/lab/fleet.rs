//! A caller that consists of many short-lived instances, such as serverless functions.
//!
//! Each instance has its own breaker and lives too briefly to see many calls. Where it gets further information from
//! depends on the variant: nowhere (*local*), a row in a shared store (*shared*), or scraped metrics in Prometheus
//! (*stateless*). The row follows the rules of checkout's shared breaker: it counts consecutive failures, the instance
//! whose failure reaches the threshold opens it, every instance reads it once per cache period, and each instance goes
//! through half-open on its own.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::dependency::mix;
use super::model::{Guarded, Watch};
use super::spec::{FleetSettings, Sharing};
use super::tally::Tally;
use breakerbox_resilience::breaker::State;
use breakerbox_resilience::policy::PolicySettings;

/// Minimum number of calls in the window for a stateless decision.
const MINIMUM_CALLS: u64 = 5;

/// The row of the shared breaker.
#[derive(Clone, Copy, Debug, Default)]
struct Row {
    failures: u32,
    open_until: Option<Instant>,
    /// Incremented by every change of state.
    version: u64,
}

/// Counters as Prometheus would scrape them, summed over all instances.
#[derive(Clone, Copy, Debug, Default)]
struct Scraped {
    at: Duration,
    calls: u64,
    failures: u64,
}

/// An instance of the caller.
pub(super) struct Instance {
    guarded: Guarded,
    dies: Instant,
    looked: Cell<Option<Instant>>,
    version: Cell<u64>,
    state: Cell<State>,
}

impl std::ops::Deref for Instance {
    type Target = Guarded;

    fn deref(&self) -> &Guarded {
        &self.guarded
    }
}

/// The instance that may make a call, or a rejection.
pub(super) enum Instanced {
    Instance(Rc<Instance>),
    Refused,
}

/// The instances, and their shared state.
pub(super) struct Fleet {
    settings: FleetSettings,
    policy: PolicySettings,
    seed: u64,
    name: String,
    epoch: Instant,
    tally: Rc<RefCell<Tally>>,
    slots: RefCell<Vec<Option<Rc<Instance>>>>,
    born: Cell<u64>,
    row: Cell<Row>,
    now: Cell<Scraped>,
    scrapes: RefCell<VecDeque<Scraped>>,
}

impl Fleet {
    pub(super) fn new(
        settings: &FleetSettings,
        policy: &PolicySettings,
        seed: u64,
        name: &str,
        (epoch, tally): (Instant, &Rc<RefCell<Tally>>),
    ) -> Self {
        Self {
            settings: settings.clone(),
            policy: policy.clone(),
            seed,
            name: name.to_owned(),
            epoch,
            tally: Rc::clone(tally),
            slots: RefCell::new((0..settings.instances).map(|_| None).collect()),
            born: Cell::new(0),
            row: Cell::default(),
            now: Cell::default(),
            scrapes: RefCell::default(),
        }
    }

    /// The instance that serves a journey; one whose lifetime has ended is replaced first.
    pub(super) fn enter(&self, journey: u64) -> Instanced {
        let now = Instant::now();
        if self.settings.sharing == Sharing::Stateless && self.refuses() {
            return Instanced::Refused;
        }
        let mut slots = self.slots.borrow_mut();
        let slot = usize::try_from(mix(&[self.seed, 2, journey]) % slots.len() as u64).unwrap_or_default();
        let alive = slots[slot].clone().filter(|instance| instance.dies > now);
        let instance = alive.unwrap_or_else(|| {
            let instance = Rc::new(self.new_instance(slot, now));
            slots[slot] = Some(Rc::clone(&instance));
            instance
        });
        drop(slots);
        if self.settings.sharing == Sharing::Shared {
            self.look(&instance, now);
        }
        Instanced::Instance(instance)
    }

    fn new_instance(&self, slot: usize, now: Instant) -> Instance {
        let number = self.born.get();
        self.born.set(number + 1);
        let luck = (mix(&[self.seed, 3, number]) >> 11) as f64 / (1_u64 << 53) as f64;
        let lifetime = self.settings.lifetime.mul_f64(-(1.0 - luck).ln());
        let watch = Watch { name: format!("{}@{slot}", self.name), epoch: self.epoch, tally: Rc::clone(&self.tally) };
        let guarded = Guarded::new(&self.policy, mix(&[self.seed, 4, number]), watch)
            .expect("the policy was validated with its experiment");
        Instance {
            guarded,
            dies: now + lifetime,
            looked: Cell::new(None),
            version: Cell::new(0),
            state: Cell::new(State::Closed),
        }
    }

    /// Reads the shared row, at most once per cache period, and adopts its state.
    fn look(&self, instance: &Instance, now: Instant) {
        let fresh = instance.looked.get().is_some_and(|looked| now - looked < self.settings.cache);
        if fresh {
            return;
        }
        instance.looked.set(Some(now));
        let row = self.row.get();
        let Some(breaker) = instance.policy.breaker().filter(|_| row.version != instance.version.get()) else { return };
        instance.version.set(row.version);
        let open_for = row.open_until.map(|until| until.saturating_duration_since(now));
        // If the open wait has already ended, the instance goes on with its own half-open probes.
        if open_for == Some(Duration::ZERO) {
            return;
        }
        if let Some(transition) = breaker.follow(open_for, now.into_std()) {
            instance.watch.moved(&transition);
        }
        instance.state.set(breaker.state());
    }

    /// Records the outcome of a call.
    pub(super) fn saw(&self, instance: &Instance, failed: Option<bool>) {
        let Some(failed) = failed else { return };
        let mut seen = self.now.get();
        seen.calls += 1;
        seen.failures += u64::from(failed);
        self.now.set(seen);
        if self.settings.sharing == Sharing::Shared {
            self.share(instance, failed);
        }
    }

    fn share(&self, instance: &Instance, failed: bool) {
        let Some(breaker) = instance.policy.breaker() else { return };
        let now = Instant::now();
        let wait = breaker.settings().wait_duration_in_open_state;
        let mut row = self.row.get();
        let (before, state) = (instance.state.replace(breaker.state()), breaker.state());
        let opened = state == State::Open && before != State::Open;
        let closed = state == State::Closed && before != State::Closed;
        if closed {
            row = Row { failures: 0, open_until: None, version: row.version + 1 };
            instance.version.set(row.version);
        } else if row.open_until.is_none_or(|until| until <= now) {
            row.failures = if failed { row.failures + 1 } else { 0 };
            let complete =
                breaker.settings().consecutive_failure_threshold.is_some_and(|threshold| row.failures >= threshold);
            if opened || complete {
                row = Row { failures: 0, open_until: Some(now + wait), version: row.version + 1 };
                instance.version.set(row.version);
                if !opened && let Some(transition) = breaker.follow(Some(wait), now.into_std()) {
                    instance.watch.moved(&transition);
                    instance.state.set(State::Open);
                }
            }
        }
        self.row.set(row);
    }

    /// The stateless decision: the failure ratio in the window has reached the threshold.
    fn refuses(&self) -> bool {
        let scrapes = self.scrapes.borrow();
        let Some(last) = scrapes.back() else { return false };
        let begin = last.at.saturating_sub(self.settings.window);
        let first = scrapes.iter().rev().find(|scraped| scraped.at <= begin).copied().unwrap_or_default();
        let (calls, failures) = (last.calls - first.calls, last.failures - first.failures);
        calls >= MINIMUM_CALLS && failures as f64 / calls as f64 >= self.settings.failure_ratio
    }

    /// Called once a second: scrapes the counters, and triggers transitions that depend on time.
    pub(super) fn tick(&self) {
        let at = self.epoch.elapsed();
        let mut scrapes = self.scrapes.borrow_mut();
        if scrapes.back().is_none_or(|last| at.saturating_sub(last.at) >= self.settings.scrape) {
            scrapes.push_back(Scraped { at, ..self.now.get() });
            let begin = at.saturating_sub(self.settings.window + self.settings.scrape);
            while scrapes.get(1).is_some_and(|second| second.at <= begin) {
                scrapes.pop_front();
            }
        }
        drop(scrapes);
        for instance in self.slots.borrow().iter().flatten() {
            instance.tick();
        }
    }
}
