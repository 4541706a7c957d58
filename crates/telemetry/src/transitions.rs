//! The latest transitions of this process's breakers, with their statistics.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use breakerbox_resilience::breaker::{Reason, State, Transition};
use tokio::sync::broadcast;

/// One transition of a breaker, with its statistics.
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
    /// Reason of the transition.
    pub reason: Reason,
    /// Generation of the new state; incremented by each transition.
    pub generation: u64,
    /// Time of the transition, in seconds since 1970.
    pub unix_seconds: f64,
    /// Calls in the window at that time.
    pub calls: u64,
    /// Failed calls among them.
    pub failures: u64,
    /// Slow calls among them.
    pub slow_calls: u64,
    /// Failure ratio, 0–1; absent below the minimum number of calls.
    pub failure_ratio: Option<f64>,
    /// Slow-call ratio, 0–1; absent below the minimum number of calls.
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

/// The latest transitions of this process, and a live feed.
#[derive(Clone)]
pub struct TransitionLog {
    latest: Arc<Mutex<VecDeque<TransitionRecord>>>,
    feed: broadcast::Sender<TransitionRecord>,
}

impl TransitionLog {
    /// Number of transitions kept.
    pub const KEPT: usize = 500;

    /// Creates an empty log.
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
        // There may be no receiver.
        let _ = self.feed.send(record);
    }

    /// The latest transitions, oldest first.
    #[must_use]
    pub fn latest(&self) -> Vec<TransitionRecord> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Subscribes to new transitions. A receiver that falls 256 behind loses the oldest.
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
    fn the_log_drops_the_oldest_first() {
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
