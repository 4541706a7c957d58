//! The latest changes of state of this process's breakers, with the numbers behind each.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use tokio::sync::broadcast;

/// One change of a breaker's state, with the numbers behind it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct TransitionRecord {
    /// Service that owns the breaker.
    pub service: String,
    /// Dependency the breaker guards.
    pub breaker: String,
    /// State before.
    pub from: &'static str,
    /// State after.
    pub to: &'static str,
    /// Why, spelled as in [`value::TRANSITION_REASONS`](super::names::value::TRANSITION_REASONS).
    pub reason: &'static str,
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
    /// How long an opened breaker will wait before a probe, seconds.
    pub open_wait_seconds: Option<f64>,
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
        // Nobody listening is fine.
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
            log.push(TransitionRecord { generation, ..TransitionRecord::default() });
        }
        let latest = log.latest();
        assert_eq!((latest.len(), latest[0].generation), (TransitionLog::KEPT, 1));
    }
}
