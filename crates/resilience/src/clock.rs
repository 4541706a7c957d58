//! Clocks, for the modules that read the time themselves: [`circuit`](super::circuit) and
//! [`policy`](super::policy).
//!
//! All other modules take instants as arguments. [`TokioClock`] is the default: the monotonic clock, and in
//! tests the paused one. Reading it costs 24 ns on the machine of `benches/README.md`, reading the processor's
//! time stamp counter 14 ns, so that a clock based on the latter would save less than half of a read; a call
//! that needs no time, or the [`CoarseClock`], saves all of it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::time::MissedTickBehavior;

/// A clock. It should be monotonic; one that goes backwards or stands still does no harm.
pub trait Clock {
    /// Current time.
    fn now(&self) -> Instant;
}

/// The monotonic clock of the system, or Tokio's paused one in tests.
#[derive(Clone, Copy, Debug, Default)]
pub struct TokioClock;

impl Clock for TokioClock {
    #[inline]
    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }
}

/// A clock that is advanced manually, for tests. Clones share the time.
///
/// ```
/// use std::time::Duration;
/// use breakerbox_resilience::clock::{Clock, ManualClock};
///
/// let clock = ManualClock::new();
/// let before = clock.now();
/// clock.advance(Duration::from_secs(30));
/// assert_eq!(clock.now() - before, Duration::from_secs(30));
/// ```
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<Moment>);

/// A clock that returns the time of its last refresh: reading it is one load. It is meant for calls that last
/// longer than its steps, because durations are accurate to one step. A task that runs
/// [`refresh_every`](Self::refresh_every) keeps it current, or a thread of the program that calls
/// [`refresh`](Self::refresh). Clones share the time.
///
/// ```
/// use std::{io, time::Duration};
/// use breakerbox_resilience::{CircuitBreaker, clock::CoarseClock};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let clock = CoarseClock::new();
/// tokio::spawn(clock.clone().refresh_every(Duration::from_millis(1)));
/// let breaker = CircuitBreaker::builder("search").time_window(Duration::from_secs(10)).clock(clock).build()?;
/// assert_eq!(breaker.call(async { Ok::<_, io::Error>("found") }).await.expect("closed"), "found");
/// # Ok::<(), breakerbox_resilience::SettingsError>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct CoarseClock(Arc<Moment>);

/// An atomic instant: nanoseconds since a fixed one.
#[derive(Debug)]
struct Moment {
    origin: Instant,
    nanos: AtomicU64,
}

impl Moment {
    fn new(origin: Instant) -> Arc<Self> {
        Arc::new(Self { origin, nanos: AtomicU64::new(0) })
    }

    #[inline]
    fn now(&self) -> Instant {
        self.origin + Duration::from_nanos(self.nanos.load(Ordering::Relaxed))
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl ManualClock {
    /// Creates a clock at the current time.
    #[must_use]
    pub fn new() -> Self {
        Self(Moment::new(Instant::now()))
    }

    /// Advances the clock.
    pub fn advance(&self, by: Duration) {
        self.0.nanos.fetch_add(nanos(by), Ordering::Relaxed);
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for ManualClock {
    #[inline]
    fn now(&self) -> Instant {
        self.0.now()
    }
}

impl CoarseClock {
    /// Creates a clock at the current time, which stands still until it is refreshed.
    #[must_use]
    pub fn new() -> Self {
        Self(Moment::new(TokioClock.now()))
    }

    /// Refreshes the clock every `step`, until this is the last clone. A millisecond suits calls over a network. A
    /// runtime whose threads are all busy refreshes late.
    pub async fn refresh_every(self, step: Duration) {
        let mut ticks = tokio::time::interval(step);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while Arc::strong_count(&self.0) > 1 {
            ticks.tick().await;
            self.refresh();
        }
    }

    /// Sets the time from [`TokioClock`].
    pub fn refresh(&self) {
        let now = TokioClock.now().saturating_duration_since(self.0.origin);
        self.0.nanos.fetch_max(nanos(now), Ordering::Relaxed);
    }
}

impl Default for CoarseClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for CoarseClock {
    #[inline]
    fn now(&self) -> Instant {
        self.0.now()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_coarse_clock_moves_when_refreshed_and_never_back() {
        let clock = CoarseClock::new();
        let first = clock.now();
        assert_eq!(clock.now(), first);
        while clock.now() == first {
            clock.refresh();
        }
        assert!(clock.now() > first && clock.now() <= Instant::now());
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_refreshes_the_clock_until_it_is_dropped() {
        let clock = CoarseClock::new();
        let (first, step) = (clock.now(), Duration::from_millis(1));
        let task = tokio::spawn(clock.clone().refresh_every(step));
        tokio::time::sleep(100 * step).await;
        let behind = first + 100 * step - clock.now();
        assert!(behind <= step, "{behind:?}");
        drop(clock);
        task.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_paused_runtime_governs_the_default_clock() {
        let before = TokioClock.now();
        tokio::time::advance(Duration::from_mins(1)).await;
        assert_eq!(TokioClock.now() - before, Duration::from_mins(1));
    }
}
