//! Results of the viewers' requests to one target.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;

/// Longest response time that is resolved, in microseconds; longer ones count as this.
const LONGEST_MICROS: u64 = 120_000_000;

/// Outcome of a request or a visit for the viewer, in ascending severity.
pub use breakerbox_telemetry::Playback as Outcome;

/// Results so far, or since the last call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Requests that were all live.
    pub ok: u64,
    /// Requests served in part by a fallback.
    pub degraded: u64,
    /// Requests without a page.
    pub errors: u64,
    /// Journeys that were not started, because too many were in progress. They sent no request.
    pub shed: u64,
    /// Median response time.
    pub p50: Duration,
    /// 95th percentile.
    pub p95: Duration,
    /// 99th percentile.
    pub p99: Duration,
}

/// Records response times; each counts from the request's intended start.
pub struct Recorder {
    state: Mutex<State>,
}

struct State {
    total: Tally,
    lately: Tally,
}

struct Tally {
    times: Histogram<u64>,
    counts: [u64; 3],
    shed: u64,
}

impl Tally {
    /// Two significant digits, up to two minutes: about 30 KiB.
    fn new() -> Self {
        let times = Histogram::new_with_bounds(1, LONGEST_MICROS, 2).expect("bounds and digits are valid");
        Self { times, counts: [0; 3], shed: 0 }
    }

    fn seen(&self) -> Seen {
        let at = |share: f64| Duration::from_micros(self.times.value_at_quantile(share));
        let [ok, degraded, errors] = self.counts;
        Seen { ok, degraded, errors, shed: self.shed, p50: at(0.5), p95: at(0.95), p99: at(0.99) }
    }

    fn clear(&mut self) {
        self.times.reset();
        self.counts = [0; 3];
        self.shed = 0;
    }
}

impl Recorder {
    /// An empty recorder.
    #[must_use]
    pub fn new() -> Self {
        Self { state: Mutex::new(State { total: Tally::new(), lately: Tally::new() }) }
    }

    /// Records one request.
    pub fn record(&self, outcome: Outcome, response_time: Duration) {
        let micros = u64::try_from(response_time.as_micros()).unwrap_or(u64::MAX);
        let micros = micros.clamp(1, LONGEST_MICROS);
        let mut state = self.state();
        let State { total, lately } = &mut *state;
        for tally in [total, lately] {
            tally.times.saturating_record(micros);
            tally.counts[outcome as usize] += 1;
        }
    }

    /// Counts a journey that was not started.
    pub(super) fn shed(&self) {
        let mut state = self.state();
        state.total.shed += 1;
        state.lately.shed += 1;
    }

    /// Results so far.
    #[must_use]
    pub fn seen(&self) -> Seen {
        self.state().total.seen()
    }

    /// Results since the last call of this function.
    #[must_use]
    pub fn lately(&self) -> Seen {
        let mut state = self.state();
        let seen = state.lately.seen();
        state.lately.clear();
        seen
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Recorder {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_what_was_recorded() {
        let recorder = Recorder::new();
        for ms in 1..=1000 {
            recorder.record(Outcome::Ok, Duration::from_millis(ms));
        }
        recorder.record(Outcome::Error, Duration::from_secs(3600));
        let seen = recorder.seen();
        assert_eq!((seen.ok, seen.errors), (1000, 1));
        for (measured, expected) in [(seen.p50, 500.0), (seen.p95, 950.0), (seen.p99, 990.0)] {
            let ratio = measured.as_secs_f64() * 1000.0 / expected;
            assert!((0.99..1.02).contains(&ratio), "{measured:?} for {expected} ms");
        }
    }

    #[test]
    fn recent_results_are_reset_by_each_read() {
        let recorder = Recorder::new();
        recorder.record(Outcome::Error, Duration::from_secs(10));
        recorder.shed();
        assert_eq!((recorder.lately().errors, recorder.lately()), (1, Seen::default()));
        recorder.record(Outcome::Ok, Duration::from_millis(10));
        let (lately, total) = (recorder.lately(), recorder.seen());
        assert_eq!((lately.ok, lately.errors, lately.shed), (1, 0, 0));
        assert!(lately.p99 < Duration::from_millis(11), "{:?}", lately.p99);
        assert_eq!((total.ok, total.errors, total.shed), (1, 1, 1));
    }
}
