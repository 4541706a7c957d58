//! The fault plans of all targets of this process.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::Instant;

use super::invalid::InvalidPlan;
use super::plan::FaultPlan;
use breakerbox_telemetry::FaultKind;

/// Called with target and kind for each affected request.
pub type OnInjected = dyn Fn(&str, FaultKind) + Send + Sync;

/// An unknown target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no target {name:?}; there are {known}")]
pub struct UnknownTarget {
    name: String,
    known: String,
}

/// Why a plan was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Unknown target.
    #[error(transparent)]
    Unknown(#[from] UnknownTarget),
    /// Invalid for this target.
    #[error(transparent)]
    Invalid(#[from] InvalidPlan),
}

/// All targets of this process. Cheap to clone.
#[derive(Clone)]
pub struct Faults {
    targets: Arc<BTreeMap<String, TargetFaults>>,
}

/// The faults of one target. Cheap to clone.
#[derive(Clone)]
pub struct TargetFaults {
    inner: Arc<Inner>,
}

struct Inner {
    name: String,
    baseline: FaultPlan,
    /// Changes wake tasks that wait for a crash or its end.
    current: watch::Sender<Current>,
    random: Mutex<Random>,
    /// Whether the service itself applies faults that an edge can't inject.
    after_work: AtomicBool,
    on_injected: Arc<OnInjected>,
}

/// A delay takes a varying number of draws: from the common source it would change the random numbers of later
/// requests. So would the service's own faults, which not every request reaches.
struct Random {
    dice: ChaCha8Rng,
    delays: ChaCha8Rng,
    answers: ChaCha8Rng,
}

#[derive(Clone)]
struct Current {
    plan: Arc<FaultPlan>,
    until: Option<Instant>,
    /// Whether it was set by a command and not by a scenario.
    by_hand: bool,
}

/// Status of a target.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TargetStatus {
    /// Its name.
    pub target: String,
    /// Its current faults.
    pub plan: FaultPlan,
    /// Active kinds.
    pub active: Vec<&'static str>,
    /// Whether the plan is the default one of the settings.
    pub at_baseline: bool,
    /// Seconds until the default faults are restored; none if the plan has no end.
    pub remaining_seconds: Option<f64>,
}

/// Faults drawn for one request.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(clippy::struct_excessive_bools, reason = "each is a die of its own")]
pub(super) struct Drawn {
    pub(super) crash: bool,
    pub(super) reset: bool,
    pub(super) hang: bool,
    pub(super) delay: Option<Duration>,
    pub(super) error: Option<u16>,
    pub(super) malformed: bool,
    pub(super) bytes_per_second: Option<u32>,
}

/// Faults drawn for the answer of a completed request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DrawnAnswer {
    /// Its delay.
    pub late: Option<Duration>,
    /// Whether it is lost.
    pub lost: bool,
}

impl Faults {
    /// Targets with their default faults. `seed` makes their random numbers repeatable.
    #[must_use]
    pub fn new(baselines: BTreeMap<String, FaultPlan>, seed: u64, on_injected: &Arc<OnInjected>) -> Self {
        let targets = baselines.into_iter().map(|(name, baseline)| {
            // Each target has its own random numbers: adding one must not change those of the others.
            let own = name.bytes().fold(seed, |hash, byte| hash.wrapping_mul(0x0100_0000_01b3) ^ u64::from(byte));
            let current = Current { plan: Arc::new(baseline.clone()), until: None, by_hand: false };
            let inner = Inner {
                name: name.clone(),
                baseline,
                current: watch::Sender::new(current),
                random: Mutex::new(Random {
                    dice: ChaCha8Rng::seed_from_u64(own),
                    delays: ChaCha8Rng::seed_from_u64(own.wrapping_add(1)),
                    answers: ChaCha8Rng::seed_from_u64(own.wrapping_add(2)),
                }),
                after_work: AtomicBool::new(false),
                on_injected: Arc::clone(on_injected),
            };
            (name, TargetFaults { inner: Arc::new(inner) })
        });
        Self { targets: Arc::new(targets.collect()) }
    }

    /// The faults of one target.
    #[must_use]
    pub fn target(&self, name: &str) -> Option<TargetFaults> {
        self.targets.get(name).cloned()
    }

    /// Names of all targets.
    #[must_use]
    pub fn targets(&self) -> Vec<String> {
        self.targets.keys().cloned().collect()
    }

    /// Replaces a target's plan, from the next request on.
    pub fn set(&self, target: &str, plan: FaultPlan) -> Result<(), Refused> {
        self.checked(target, &plan)?.set(plan, true);
        Ok(())
    }

    /// Like [`set`](Self::set), for a scenario: a fault that was set by hand stays. Returns whether the plan was
    /// replaced.
    pub fn set_by_scenario(&self, target: &str, plan: FaultPlan) -> Result<bool, Refused> {
        let known = self.checked(target, &plan)?;
        let free = !known.is_set_by_hand();
        if free {
            known.set(plan, false);
        }
        Ok(free)
    }

    /// The target, if it supports the plan.
    fn checked(&self, target: &str, plan: &FaultPlan) -> Result<&TargetFaults, Refused> {
        let known = self.known(target)?;
        let able = self.targets.values().filter(|target| target.inner.after_work.load(Ordering::Relaxed));
        let able: Vec<_> = able.map(|target| target.inner.name.as_str()).collect();
        plan.validate_at(target, &able)?;
        Ok(known)
    }

    /// Clears the faults of a target.
    pub fn clear(&self, target: &str) -> Result<(), UnknownTarget> {
        self.known(target)?.set(FaultPlan::default(), true);
        Ok(())
    }

    /// Clears the faults of all targets.
    pub fn clear_all(&self) {
        for target in self.targets.values() {
            target.set(FaultPlan::default(), true);
        }
    }

    /// Restores a target's default faults.
    pub fn restore(&self, target: &str) -> Result<(), UnknownTarget> {
        let target = self.known(target)?;
        target.set(target.inner.baseline.clone(), false);
        Ok(())
    }

    /// Like [`restore`](Self::restore), for a scenario: a fault that was set by hand stays.
    pub fn restore_by_scenario(&self, target: &str) -> Result<(), UnknownTarget> {
        if self.known(target)?.is_set_by_hand() { Ok(()) } else { self.restore(target) }
    }

    /// Status of all targets.
    #[must_use]
    pub fn snapshot(&self) -> Vec<TargetStatus> {
        self.targets.values().map(TargetFaults::status).collect()
    }

    fn known(&self, name: &str) -> Result<&TargetFaults, UnknownTarget> {
        self.targets.get(name).ok_or_else(|| UnknownTarget { name: name.to_owned(), known: self.targets().join(", ") })
    }
}

impl TargetFaults {
    fn set(&self, plan: FaultPlan, by_hand: bool) {
        let until = plan.ttl.map(|ttl| Instant::now() + ttl);
        self.inner.current.send_replace(Current { plan: Arc::new(plan), until, by_hand });
    }

    /// Whether a fault set by hand is active. A target cleared by hand is open to scenarios.
    fn is_set_by_hand(&self) -> bool {
        let current = self.current();
        current.by_hand && !current.plan.active().is_empty()
    }

    /// The effective plan: the one that was set, or the default after its time to live.
    fn current(&self) -> Current {
        let current = self.inner.current.borrow().clone();
        match current.until {
            Some(until) if until <= Instant::now() => {
                Current { plan: Arc::new(self.inner.baseline.clone()), until: None, by_hand: false }
            }
            _ => current,
        }
    }

    /// The target's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Its status.
    #[must_use]
    pub fn status(&self) -> TargetStatus {
        let Current { plan, until, .. } = self.current();
        TargetStatus {
            target: self.inner.name.clone(),
            active: plan.active(),
            at_baseline: *plan == self.inner.baseline,
            remaining_seconds: until.map(|until| until.saturating_duration_since(Instant::now()).as_secs_f64()),
            plan: (*plan).clone(),
        }
    }

    /// Completes when its crash fault is active.
    pub async fn crashed(&self) {
        self.when(true).await;
    }

    /// Completes when its crash fault is no longer active.
    pub async fn recovered(&self) {
        self.when(false).await;
    }

    async fn when(&self, crashed: bool) {
        let mut changes = self.inner.current.subscribe();
        loop {
            changes.mark_unchanged();
            let current = self.current();
            if current.plan.crash == crashed {
                return;
            }
            // Either the plan is changed, or it expires. The sender lives as long as `self`, so waiting for a change
            // can't fail.
            let changed = changes.changed();
            match current.until {
                Some(until) => drop(tokio::time::timeout_at(until, changed).await),
                None => drop(changed.await),
            }
        }
    }

    /// Draws the faults of one request. Every kind is drawn every time, so that enabling one does not change the random
    /// numbers of the others.
    pub(super) fn draw(&self) -> Drawn {
        let plan = self.current().plan;
        let mut random = self.inner.random.lock().unwrap_or_else(PoisonError::into_inner);
        let Random { dice, delays, .. } = &mut *random;
        let mut hit = |share: f64| dice.random::<f64>() < share;
        let (reset, hang, delayed) = (hit(plan.reset_rate), hit(plan.hang_rate), hit(plan.delayed_share()));
        let (error, malformed) = (hit(plan.error_rate), hit(plan.malformed_body_rate));
        let slowed = hit(plan.slow_body.map_or(0.0, |slow| slow.rate));
        let slow = plan.slow_body.filter(|_| slowed);
        let delay = plan.latency.filter(|_| delayed).map(|latency| latency.sample(delays));
        Drawn {
            crash: plan.crash,
            reset,
            hang,
            delay,
            error: error.then(|| plan.error_status()),
            malformed,
            bytes_per_second: slow.map(|slow| slow.bytes_per_second),
        }
    }

    /// Declares that the service itself applies faults that an edge can't inject.
    #[must_use]
    pub fn carried_out_by_the_service(self) -> Self {
        self.inner.after_work.store(true, Ordering::Relaxed);
        self
    }

    /// Draws the faults of the answer of one completed request.
    #[must_use]
    pub fn draw_answer(&self) -> DrawnAnswer {
        let plan = self.current().plan;
        let (lost, late) = (self.hit(plan.lost_answer_rate), self.hit(plan.late_answer_rate));
        for (kind, on) in [(FaultKind::LostAnswer, lost), (FaultKind::LateAnswer, late)] {
            if on {
                self.injected(kind);
            }
        }
        DrawnAnswer { late: late.then(|| plan.lateness()), lost }
    }

    /// Draws whether one request is handled twice.
    #[must_use]
    pub fn draw_twice(&self) -> bool {
        let twice = self.hit(self.current().plan.handled_twice_rate);
        if twice {
            self.injected(FaultKind::HandledTwice);
        }
        twice
    }

    /// Drawn every time, so that enabling one kind does not change the random numbers of the others.
    fn hit(&self, share: f64) -> bool {
        self.inner.random.lock().unwrap_or_else(PoisonError::into_inner).answers.random::<f64>() < share
    }

    pub(super) fn injected(&self, kind: FaultKind) {
        (self.inner.on_injected)(&self.inner.name, kind);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(baseline: FaultPlan) -> Faults {
        Faults::new(
            BTreeMap::from([("ml-api".to_owned(), baseline)]),
            7,
            &(Arc::new(|_: &str, _| {}) as Arc<OnInjected>),
        )
    }

    fn errors() -> FaultPlan {
        FaultPlan { error_rate: 1.0, ..FaultPlan::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn an_expired_plan_is_replaced_by_the_default() {
        let faults = faults(FaultPlan { error_rate: 0.3, ..FaultPlan::default() });
        faults.set("ml-api", FaultPlan { ttl: Some(Duration::from_secs(10)), ..errors() }).unwrap();
        let target = faults.target("ml-api").unwrap();
        tokio::time::advance(Duration::from_secs(9)).await;
        assert_eq!((target.status().plan.error_rate, target.status().remaining_seconds), (1.0, Some(1.0)));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!((target.status().plan.error_rate, target.status().remaining_seconds), (0.3, None));
    }

    #[tokio::test(start_paused = true)]
    async fn clearing_removes_the_baseline_and_restoring_returns_it() {
        let faults = faults(FaultPlan { error_rate: 0.3, ..FaultPlan::default() });
        faults.clear("ml-api").unwrap();
        assert!(faults.snapshot()[0].active.is_empty());
        faults.restore("ml-api").unwrap();
        assert_eq!(faults.snapshot()[0].active, ["error"]);
    }

    #[test]
    fn an_unknown_target_is_answered_with_the_known_ones() {
        let error = faults(FaultPlan::default()).set("mlapi", errors()).unwrap_err();
        assert_eq!(error.to_string(), "no target \"mlapi\"; there are ml-api");
    }

    #[tokio::test(start_paused = true)]
    async fn a_crash_ends_by_itself_when_its_time_is_over() {
        let faults = faults(FaultPlan::default());
        let target = faults.target("ml-api").unwrap();
        let plan = FaultPlan { crash: true, ttl: Some(Duration::from_secs(5)), ..FaultPlan::default() };
        faults.set("ml-api", plan).unwrap();
        target.crashed().await;
        let before = Instant::now();
        target.recovered().await;
        assert_eq!(before.elapsed(), Duration::from_secs(5));
    }

    #[test]
    fn the_same_seed_draws_the_same_faults() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let _guard = runtime.enter();
        let roll = || {
            let target = faults(FaultPlan { error_rate: 0.3, ..FaultPlan::default() }).target("ml-api").unwrap();
            (0..1000).map(|_| target.draw().error.is_some()).collect::<Vec<_>>()
        };
        let first = roll();
        assert_eq!(first, roll());
        let share = first.iter().filter(|hit| **hit).count();
        assert!((250..350).contains(&share), "{share} of 1000");
    }

    #[test]
    fn enabling_a_fault_leaves_the_draws_of_others_unchanged() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let _guard = runtime.enter();
        let errors = |more: &str| {
            let plan = serde_json::from_str(&format!(r#"{{"error_rate": 0.3{more}}}"#)).unwrap();
            let target = faults(plan).target("ml-api").unwrap();
            (0..200).map(|_| target.draw().error.is_some()).collect::<Vec<_>>()
        };
        let alone = errors("");
        let log_normal = r#", "latency": {"log_normal": {"median": "1s", "sigma": 1}}, "latency_rate": 0.5"#;
        for more in [log_normal, r#", "slow_body": {"bytes_per_second": 9, "rate": 0.5}"#, r#", "hang_rate": 0.5"#] {
            assert_eq!(errors(more), alone, "with {more}");
        }
    }
}
