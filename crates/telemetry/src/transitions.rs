//! The latest changes of state of this process's breakers, with the numbers behind each.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use breakerbox_resilience::breaker::{Reason, State, Transition};
use tokio::sync::broadcast;

/// One change of a breaker's state, with the numbers behind it.
#[derive(Clone, Debug, PartialEq)]
pub struct TransitionRecord {
    /// Service that owns the breaker.
    pub service: String,
    /// Dependency the breaker guards.
    pub breaker: String,
    /// State before.
    pub from: State,
    /// State after.
    pub to: State,
    /// Why.
    pub reason: Reason,
    /// Number of the state this transition began; grows by one with each.
    pub generation: u64,
    /// When, seconds since 1970.
    pub unix_seconds: f64,
    /// Calls in the window at that moment.
    pub calls: u64,
    /// Failed ones among them.
    pub failures: u64,
    /// Slow ones among them.
    pub slow_calls: u64,
    /// Failed share, 0–1; absent below the minimum number of calls.
    pub failure_ratio: Option<f64>,
    /// Slow share, 0–1; absent below the minimum number of calls.
    pub slow_ratio: Option<f64>,
    /// How long an opened breaker waits before a probe.
    pub open_wait: Option<Duration>,
}

impl TransitionRecord {
    pub(super) fn new(service: &str, breaker: &str, transition: &Transition, unix_seconds: f64) -> Self {
        let Transition { from, to, reason, generation, window, open_for, .. } = transition;
        let ratio = |ratio: f64| (!ratio.is_nan()).then_some(ratio);
        Self {
            service: service.to_owned(),
            breaker: breaker.to_owned(),
            from: *from,
            to: *to,
            reason: *reason,
            generation: *generation,
            unix_seconds,
            calls: window.calls,
            failures: window.failures,
            slow_calls: window.slow,
            failure_ratio: ratio(window.failure_ratio()),
            slow_ratio: ratio(window.slow_ratio()),
            open_wait: *open_for,
        }
    }
}

/// The latest transitions of this process, and a live feed of them.
#[derive(Clone)]
pub struct TransitionLog {
    latest: Arc<Mutex<VecDeque<TransitionRecord>>>,
    feed: broadcast::Sender<TransitionRecord>,
}

impl TransitionLog {
    /// How many transitions are kept.
    pub const KEPT: usize = 500;

    /// An empty log.
    #[must_use]
    pub fn new() -> Self {
        Self { latest: Arc::default(), feed: broadcast::channel(256).0 }
    }

    pub(super) fn push(&self, record: TransitionRecord) {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if latest.len() == Self::KEPT {
            latest.pop_front();
        }
        latest.push_back(record.clone());
        drop(latest);
        // No receiver is fine.
        let _ = self.feed.send(record);
    }

    /// The latest transitions, oldest first.
    #[must_use]
    pub fn latest(&self) -> Vec<TransitionRecord> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Transitions from now on. A listener that falls 256 behind loses the oldest.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<TransitionRecord> {
        self.feed.subscribe()
    }
}

impl Default for TransitionLog {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_forgets_the_oldest_first() {
        let log = TransitionLog::new();
        for generation in 0..=TransitionLog::KEPT as u64 {
            let transition = Transition {
                from: State::Closed,
                to: State::Open,
                generation,
                reason: Reason::FailureRate,
                at: std::time::Instant::now(),
                window: breakerbox_resilience::breaker::WindowSnapshot::default(),
                open_for: None,
            };
            log.push(TransitionRecord::new("gateway", "user", &transition, 0.0));
        }
        let latest = log.latest();
        assert_eq!((latest.len(), latest[0].generation), (TransitionLog::KEPT, 1));
    }
}
