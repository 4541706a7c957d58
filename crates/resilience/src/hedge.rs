//! Hedged requests: a second request is sent before the first has failed.
//!
//! # Motivation
//!
//! A retry waits for a timeout. But most slow requests at the 99th percentile are accidents, such as a busy
//! replica or a lost packet, and the same request sent again is answered at once. Dean and Barroso ("The Tail at
//! Scale", 2013) report that hedging lowered the 99.9th percentile of 1 000 reads from 1 800 ms to 74 ms, for 2 % more
//! requests.
//!
//! # Theory of operation
//!
//! When the first request has taken longer than 95 % of the recent ones (or a fixed
//! [delay](HedgeSettings::delay)), a second one is sent, to another replica or the same instance as the
//! operation decides by [`Attempt::hedge`](crate::policy::Attempt). The first success wins. The loser is
//! cancelled, which is not recorded as a failure. A hedge needs its own breaker permit and bulkhead slot, and
//! uses the retry budget, so that hedging stops when everything is slow.
//!
//! # How it fails
//!
//! With a delay below the median it doubles the load. Hedging a call that is not idempotent executes it
//! twice. Hedging to the same overloaded instance increases its load; the budget bounds that.
//!
//! # When not to use it
//!
//! For calls that change state, for calls that are slow by nature (large responses), and for a single
//! instance that is slow because it is busy.
//!
//! ```
//! use std::time::{Duration, Instant};
//! use breakerbox_resilience::{
//!     hedge::HedgeSettings,
//!     policy::{Call, Policy, PolicySettings},
//!     retry::{Classify, ErrorKind, Verdict},
//! };
//! use tokio::time::sleep;
//!
//! # #[derive(Debug)]
//! # struct Down;
//! # impl Classify for Down {
//! #     fn verdict(&self) -> Verdict { Verdict::of(ErrorKind::ServerError) }
//! # }
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! let hedge = HedgeSettings { delay: Some(Duration::from_millis(5)), ..HedgeSettings::default() };
//! let settings = PolicySettings { hedge: Some(hedge), ..PolicySettings::default() };
//! let policy = Policy::new(settings, Instant::now(), 42)?;
//! let replica = policy
//!     .call_with(Call::idempotent(), &(), |attempt| async move {
//!         // The primary is having a bad moment; the hedge goes to the replica.
//!         sleep(Duration::from_millis(if attempt.hedge { 1 } else { 500 })).await;
//!         Ok::<_, Down>(if attempt.hedge { "replica" } else { "primary" })
//!     })
//!     .await;
//! assert_eq!(replica.expect("one of them answers"), "replica");
//! # Ok::<(), breakerbox_resilience::SettingsError>(())
//! # }).unwrap();
//! ```

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{
    settings::{SettingsError, duration, within},
    sync::{AtomicU64, Ordering},
};

/// Settings of a hedge: when a second request is sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct HedgeSettings {
    /// Time to wait for the first request. `None`: the `percentile` of recent durations.
    #[serde(with = "humantime_serde")]
    pub delay: Option<Duration>,
    /// The percentile of measured durations to wait for.
    pub percentile: f64,
    /// Lower bound of the measured delay; a hedge below it would be useless.
    #[serde(with = "humantime_serde")]
    pub min_delay: Duration,
    /// Delay until there are enough measurements.
    #[serde(with = "humantime_serde")]
    pub initial_delay: Duration,
}

impl Default for HedgeSettings {
    fn default() -> Self {
        Self {
            delay: None,
            percentile: 95.0,
            min_delay: Duration::from_millis(5),
            initial_delay: Duration::from_millis(200),
        }
    }
}

impl HedgeSettings {
    /// Validates the settings.
    pub fn validate(&self) -> Result<(), SettingsError> {
        let tick = Duration::from_millis(1);
        if let Some(delay) = self.delay {
            duration("delay", delay, tick)?;
        }
        within("percentile", self.percentile, 50.0..=99.9, "50–99.9")?;
        duration("min-delay", self.min_delay, tick)?;
        duration("initial-delay", self.initial_delay, tick)
    }
}

/// Decides when to hedge.
#[derive(Debug)]
pub(crate) struct Hedge {
    settings: HedgeSettings,
    durations: Durations,
    /// The measured delay in nanoseconds, and the end of its validity, in nanoseconds since the origin.
    /// Evaluating the histograms on every call would dominate the cost of a call.
    measured: AtomicU64,
    measured_until: AtomicU64,
}

/// How long a measured delay is used before it is evaluated again.
const MEASURED_FOR: Duration = Duration::from_millis(250);

impl Hedge {
    pub(crate) fn new(settings: &HedgeSettings, now: Instant) -> Result<Self, SettingsError> {
        settings.validate()?;
        Ok(Self {
            settings: settings.clone(),
            durations: Durations::new(now),
            measured: AtomicU64::new(0),
            measured_until: AtomicU64::new(0),
        })
    }

    /// Time to wait for the first request.
    pub(crate) fn delay(&self, now: Instant) -> Duration {
        if let Some(delay) = self.settings.delay {
            return delay;
        }
        let at = nanos(now.saturating_duration_since(self.durations.origin));
        if at < self.measured_until.load(Ordering::Relaxed) {
            return Duration::from_nanos(self.measured.load(Ordering::Relaxed));
        }
        self.measure(at, now)
    }

    #[cold]
    #[inline(never)]
    fn measure(&self, at: u64, now: Instant) -> Duration {
        let Some(measured) = self.durations.percentile(self.settings.percentile, now) else {
            return self.settings.initial_delay;
        };
        let delay = measured.max(self.settings.min_delay);
        self.measured.store(nanos(delay), Ordering::Relaxed);
        self.measured_until.store(at.saturating_add(nanos(MEASURED_FOR)), Ordering::Relaxed);
        delay
    }

    /// Records the duration of a successful request.
    #[inline]
    pub(crate) fn succeeded(&self, took: Duration, now: Instant) {
        if self.settings.delay.is_none() {
            self.durations.record(took, now);
        }
    }
}

/// Buckets per doubling: durations are accurate to within 1/4.
const STEPS: u32 = 4;
const BUCKETS: usize = 40 * STEPS as usize;
/// Fewer samples say nothing about a 95th percentile.
const BELIEVED_FROM: u64 = 20;
const HALF_LIFE: Duration = Duration::from_secs(30);

/// Recent durations in logarithmic buckets, from a microsecond to a week.
///
/// Two histograms take turns: one is filled for a while, then the other is cleared and filled. Both are
/// read, so that there is always between one and two turns of data, in fixed memory and without a lock.
#[derive(Debug)]
struct Durations {
    turns: [Histogram; 2],
    /// The current turn.
    turn: AtomicU64,
    origin: Instant,
}

impl Durations {
    fn new(now: Instant) -> Self {
        Self { turns: [Histogram::new(), Histogram::new()], turn: AtomicU64::new(0), origin: now }
    }

    fn record(&self, took: Duration, now: Instant) {
        let current = self.current(now);
        self.turns[current].add(took);
    }

    /// Index of the histogram to fill `now`. The caller that starts a turn clears it.
    fn current(&self, now: Instant) -> usize {
        let turn = now.saturating_duration_since(self.origin).as_secs() / HALF_LIFE.as_secs();
        let before = self.turn.load(Ordering::Acquire);
        if turn > before && self.turn.compare_exchange(before, turn, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            self.turns[index(turn)].clear();
            if turn > before + 1 {
                self.turns[index(turn + 1)].clear();
            }
        }
        index(turn.max(before))
    }

    fn percentile(&self, percent: f64, now: Instant) -> Option<Duration> {
        self.current(now);
        let count = |at: usize| -> u64 { self.turns.iter().map(|turn| turn.0[at].load(Ordering::Relaxed)).sum() };
        let total: u64 = (0..BUCKETS).map(count).sum();
        if total < BELIEVED_FROM {
            return None;
        }
        let wanted = total as f64 * percent / 100.0;
        let mut seen = 0;
        (0..BUCKETS)
            .find(|at| {
                seen += count(*at);
                seen as f64 >= wanted
            })
            .map(upper_bound)
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn index(turn: u64) -> usize {
    usize::from(turn % 2 == 1)
}

#[derive(Debug)]
struct Histogram(Box<[AtomicU64]>);

impl Histogram {
    fn new() -> Self {
        Self((0..BUCKETS).map(|_| AtomicU64::new(0)).collect())
    }

    fn add(&self, took: Duration) {
        self.0[bucket(took)].fetch_add(1, Ordering::Relaxed);
    }

    fn clear(&self) {
        for count in &self.0 {
            count.store(0, Ordering::Relaxed);
        }
    }
}

/// Bucket of a duration: the doublings of a microsecond, and the quarter within the last one.
fn bucket(took: Duration) -> usize {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
    let doublings = micros.ilog2();
    let quarter = ((u128::from(micros) * u128::from(STEPS)) >> doublings) % u128::from(STEPS);
    let at = doublings as usize * STEPS as usize + usize::try_from(quarter).unwrap_or(0);
    at.min(BUCKETS - 1)
}

fn upper_bound(at: usize) -> Duration {
    let (doublings, quarter) = (at / STEPS as usize, at % STEPS as usize);
    let micros = (1_u64 << doublings) as f64 * (1.0 + (quarter + 1) as f64 / f64::from(STEPS));
    Duration::from_secs_f64(micros / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_measured_percentile_is_right_to_a_quarter() {
        let now = Instant::now();
        let durations = Durations::new(now);
        for millis in 1..=1_000 {
            durations.record(Duration::from_millis(millis), now);
        }
        let p95 = durations.percentile(95.0, now).unwrap().as_secs_f64();
        assert!((0.95..=0.95 * 1.25).contains(&p95), "{p95}");
    }

    #[test]
    fn a_few_measurements_are_not_used() {
        let now = Instant::now();
        let hedge = Hedge::new(&HedgeSettings::default(), now).unwrap();
        for _ in 0..19 {
            hedge.succeeded(Duration::from_millis(1), now);
        }
        assert_eq!(hedge.delay(now), Duration::from_millis(200));
        hedge.succeeded(Duration::from_millis(1), now);
        assert_eq!(hedge.delay(now), Duration::from_millis(5), "the minimum");
    }

    #[test]
    fn a_measured_delay_is_cached_then_measured_again() {
        let now = Instant::now();
        let hedge = Hedge::new(&HedgeSettings::default(), now).unwrap();
        let answers = |took: u64| (0..100).for_each(|_| hedge.succeeded(Duration::from_millis(took), now));
        answers(10);
        let first = hedge.delay(now);
        answers(1_000);
        assert_eq!(hedge.delay(now + Duration::from_millis(249)), first);
        assert!(hedge.delay(now + MEASURED_FOR) > first * 10);
    }

    #[test]
    fn old_measurements_expire() {
        let now = Instant::now();
        let durations = Durations::new(now);
        for _ in 0..100 {
            durations.record(Duration::from_secs(1), now);
        }
        assert!(durations.percentile(95.0, now + HALF_LIFE).is_some());
        assert!(durations.percentile(95.0, now + HALF_LIFE * 2).is_none());
    }

    #[test]
    fn every_duration_lies_in_its_bucket() {
        for micros in [1, 2, 3, 7, 100, 1_023, 1_024, 999_999, u64::MAX / 2_000] {
            let took = Duration::from_micros(micros);
            let at = bucket(took);
            assert!(at == BUCKETS - 1 || took < upper_bound(at), "{micros}");
            assert!(at == 0 || took >= upper_bound(at - 1), "{micros}");
        }
    }
}
