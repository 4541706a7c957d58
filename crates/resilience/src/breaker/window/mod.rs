//! The sliding window that a breaker judges by: the last N calls, or the calls of the last N
//! seconds.
//!
//! Recording costs the same for every size, and a success waits for no other thread. What makes that
//! safe is the **epoch**: each time the window starts afresh or changes its shape, it gets the next
//! epoch, and every count carries the epoch it was written under. A writer that was overtaken by such a
//! change finds an epoch that is not its own and gives up ([`Recording::Stale`]), or has written a count
//! that nobody reads any more. So an outcome of an earlier state can never be counted in a later one,
//! however late its thread wakes up.

mod count;
mod streak;
mod time;

use crate::sync::{AtomicBool, Ordering};

use self::{count::CountWindow, streak::Streak, time::TimeWindow};
use super::settings::{BreakerSettings, WindowType};

pub(crate) use self::time::TimeWindow as RecentCalls;

/// What a window, or a half-open state, has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WindowSnapshot {
    /// Calls that count.
    pub calls: u64,
    /// Of these, failed.
    pub failures: u64,
    /// Of these, slow; a call can be both.
    pub slow: u64,
}

impl WindowSnapshot {
    /// Failed share of the calls (0–1); `NaN` without calls.
    #[must_use]
    pub fn failure_ratio(&self) -> f64 {
        self.failures as f64 / self.calls as f64
    }

    /// Slow share of the calls (0–1); `NaN` without calls.
    #[must_use]
    pub fn slow_ratio(&self) -> f64 {
        self.slow as f64 / self.calls as f64
    }
}

/// One call as the window sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sample {
    pub(crate) failed: bool,
    pub(crate) slow: bool,
}

/// What became of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recording {
    /// The window has moved on to another epoch; nothing was counted.
    Stale,
    /// Counted, and no threshold can have been crossed by it.
    Counted,
    /// Counted, and it may have crossed one: these are the numbers to judge.
    Judge(WindowSnapshot),
}

/// Both shapes, of which the settings choose one, and the run of failures.
#[derive(Debug)]
pub(super) struct Window {
    /// Whether the window is over time.
    timed: AtomicBool,
    count: CountWindow,
    time: TimeWindow,
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

    /// Counts a sample. `nanos` tells the time since the breaker's origin, and is only asked where it
    /// matters.
    #[allow(clippy::inline_always, reason = "measured: a call costs more than the work")]
    #[inline(always)]
    pub(super) fn record(&self, epoch: u32, sample: Sample, nanos: impl FnOnce() -> u64) -> Recording {
        // Acquire: that the window is over time is published after the cells it needs.
        if self.timed.load(Ordering::Acquire) {
            return self.time.record(epoch, sample, nanos());
        }
        self.count.record(epoch, sample)
    }

    /// Whether one more success changes nothing: the window holds nothing else, and has no room.
    #[inline]
    pub(super) fn is_healthy(&self, epoch: u32) -> bool {
        self.count.is_healthy(epoch)
    }

    /// Notes that a call failed, and gives the failures in a row; `None` under another epoch.
    pub(super) fn failed(&self, epoch: u32) -> Option<u32> {
        self.streak.grow(epoch)
    }

    /// Notes that a call succeeded.
    #[inline]
    pub(super) fn succeeded(&self, epoch: u32) {
        self.streak.end(epoch);
    }

    /// Failures in a row.
    pub(super) fn streak(&self, epoch: u32) -> u32 {
        self.streak.length(epoch)
    }

    /// What the window holds at `nanos`.
    pub(super) fn totals(&self, nanos: u64) -> WindowSnapshot {
        if self.timed.load(Ordering::Acquire) { self.time.totals(nanos) } else { self.count.totals() }
    }

    /// Starts afresh under a new epoch. Only under the control lock, before the epoch is published.
    pub(super) fn reset(&self, epoch: u32) {
        self.count.reset(epoch);
        self.time.reset(epoch);
        self.streak.reset(epoch);
    }

    /// Takes new settings and keeps what was recorded under the old ones as far as the new shape
    /// can hold it; a change between count and time starts empty. Only under the control lock,
    /// before `epoch` is published.
    pub(super) fn reshape(&self, settings: &BreakerSettings, epoch: u32) {
        let was_time = self.timed.load(Ordering::Acquire);
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

    /// Takes the shape that the settings say. A window of calls keeps what it holds.
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
