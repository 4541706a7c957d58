//! The sliding window of a breaker: the last N calls, or the calls of the last N seconds.
//!
//! Recording costs the same for every size, and a success waits for no other thread. The **epoch** makes this
//! safe: each time the window is cleared or changes its shape, it gets the next epoch, and every count carries
//! the epoch under which it was written. A writer that was overtaken by such a change finds another epoch and
//! stops ([`Recording::Stale`]), or has written a count that is no longer read. So an outcome of an earlier state
//! is never counted in a later one, however late its thread is scheduled.

mod count;
mod streak;
mod time;

use crate::sync::{AtomicBool, Ordering};

use self::{count::CountWindow, streak::Streak, time::TimeWindow};
use super::settings::{BreakerSettings, WindowType};

pub(super) use self::time::Place;
pub(crate) use self::time::TimeWindow as RecentCalls;

/// Statistics of a window, or of a half-open state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WindowSnapshot {
    /// Recorded calls.
    pub calls: u64,
    /// Failed calls among them.
    pub failures: u64,
    /// Slow calls among them; a call can be both.
    pub slow: u64,
}

impl WindowSnapshot {
    /// Failure ratio of the calls (0–1); `NaN` without calls.
    #[must_use]
    pub fn failure_ratio(&self) -> f64 {
        self.failures as f64 / self.calls as f64
    }

    /// Slow-call ratio of the calls (0–1); `NaN` without calls.
    #[must_use]
    pub fn slow_ratio(&self) -> f64 {
        self.slow as f64 / self.calls as f64
    }
}

/// One call as recorded by the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sample {
    pub(crate) failed: bool,
    pub(crate) slow: bool,
}

/// Result of recording a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recording {
    /// The window has another epoch; nothing was recorded.
    Stale,
    /// Recorded; no threshold can have been reached.
    Counted,
    /// Recorded; these statistics may have reached a threshold.
    Judge(WindowSnapshot),
}

/// Both forms, of which the settings select one, and the count of consecutive failures.
#[derive(Debug)]
pub(super) struct Window {
    /// Whether the window is time-based.
    timed: AtomicBool,
    count: CountWindow,
    pub(super) time: TimeWindow,
    streak: Streak,
}

impl Window {
    pub(super) fn new(settings: &BreakerSettings, epoch: u32) -> Self {
        let window = Self {
            timed: AtomicBool::new(false),
            count: CountWindow::new(),
            time: TimeWindow::new(),
            streak: Streak::new(),
        };
        window.shape(settings, epoch);
        window.reset(epoch);
        window
    }

    /// Records a sample. `number` returns the number of its bucket, and is only called if it is needed.
    #[allow(clippy::inline_always, reason = "measured: a call costs more than the work")]
    #[inline(always)]
    pub(super) fn record(&self, epoch: u32, sample: Sample, number: impl FnOnce() -> u64) -> Recording {
        if self.is_timed() {
            return self.time.record_in(number(), epoch, sample);
        }
        self.count.record(epoch, sample)
    }

    /// Whether the window is time-based.
    #[inline]
    pub(super) fn is_timed(&self) -> bool {
        // Acquire: that the window is over time is published after the cells it needs.
        self.timed.load(Ordering::Acquire)
    }

    /// Whether another success would change nothing: the window is full of successes.
    #[inline]
    pub(super) fn is_healthy(&self, epoch: u32) -> bool {
        self.count.is_healthy(epoch)
    }

    /// Records a failure and returns the consecutive failures; `None` under another epoch.
    pub(super) fn failed(&self, epoch: u32) -> Option<u32> {
        self.streak.grow(epoch)
    }

    /// Records a success.
    #[inline]
    pub(super) fn succeeded(&self, epoch: u32) {
        self.streak.end(epoch);
    }

    /// Consecutive failures.
    pub(super) fn streak(&self, epoch: u32) -> u32 {
        self.streak.length(epoch)
    }

    /// Statistics at `nanos`.
    pub(super) fn totals(&self, nanos: u64) -> WindowSnapshot {
        if self.is_timed() { self.time.totals(nanos) } else { self.count.totals() }
    }

    /// Clears the window under a new epoch. Only under the control lock, before the epoch is published.
    pub(super) fn reset(&self, epoch: u32) {
        self.count.reset(epoch);
        self.time.reset(epoch);
        self.streak.reset(epoch);
    }

    /// Applies new settings and keeps the recorded calls as far as the new shape can hold them; a change between
    /// count-based and time-based starts empty. Only under the control lock, before `epoch` is published.
    pub(super) fn reshape(&self, settings: &BreakerSettings, epoch: u32) {
        let was_time = self.is_timed();
        match (was_time, settings.sliding_window_type) {
            (false, WindowType::CountBased) => {
                self.shape(settings, epoch);
                self.time.reset(epoch);
            }
            (_, WindowType::TimeBased) => {
                self.time.close(epoch);
                let kept = if was_time { self.time.contents() } else { Vec::new() };
                self.shape(settings, epoch);
                self.count.reset(epoch);
                // Also when it is empty: its buckets are numbered by their width, which may be another.
                self.time.restore(epoch, &kept);
            }
            (true, WindowType::CountBased) => {
                self.count.reset(epoch);
                self.shape(settings, epoch);
                self.time.reset(epoch);
            }
        }
        self.streak.carry(epoch);
    }

    /// Applies the shape of the settings. A count-based window keeps its content.
    fn shape(&self, settings: &BreakerSettings, epoch: u32) {
        match settings.sliding_window_type {
            WindowType::CountBased => {
                self.count.reshape(epoch, settings.sliding_window_size, settings.effective_minimum());
                self.timed.store(false, Ordering::Release);
            }
            WindowType::TimeBased => {
                self.time.provide(settings.window_span(), settings.minimum_number_of_calls);
                self.timed.store(true, Ordering::Release);
            }
        }
    }
}
