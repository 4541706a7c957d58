//! Calls and failures of the last minute or two, in fixed memory.

use std::time::{Duration, Instant};

use super::{
    breaker::{RecentCalls, Sample, WindowSnapshot},
    settings::{SettingsError, duration},
};

/// The only epoch: this window is never cleared.
const EPOCH: u32 = 0;

/// Calls and failures of a recent period; the breaker's time-based window without the breaker.
#[derive(Debug)]
pub(crate) struct Recent {
    calls: RecentCalls,
    origin: Instant,
}

impl Recent {
    pub(crate) fn new(span: Duration, now: Instant) -> Self {
        let calls = RecentCalls::new();
        calls.provide(span, 0);
        Self { calls, origin: now }
    }

    #[inline]
    pub(crate) fn record(&self, failed: bool, now: Instant) {
        let sample = Sample { failed, slow: false };
        self.calls.count(EPOCH, sample, self.nanos(now));
    }

    pub(crate) fn totals(&self, now: Instant) -> WindowSnapshot {
        self.calls.totals(self.nanos(now))
    }

    #[inline]
    fn nanos(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.origin).as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Whether `span` is valid for such a window.
pub(crate) fn span(field: &str, span: Duration) -> Result<(), SettingsError> {
    duration(field, span, Duration::from_secs(1))
}
