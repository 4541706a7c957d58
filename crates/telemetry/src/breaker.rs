//! A breaker's facts, and those of the retries and hedges around it.
//!
//! All children are created when the dependency's client is, so each series stands at zero from the
//! first scrape and recording a fact is an atomic add without a look-up.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus::{Gauge, Histogram, IntCounter};

use super::exemplars::TracedHistogram;
use super::health::{RecentMean, health_points};
use super::metrics::Metrics;
use super::names::value;
use super::transitions::{TransitionLog, TransitionRecord};

/// Changes of state that can happen, so that their counters exist before they do.
const AUTOMATIC: &[(&str, &str, &str)] = &[
    ("closed", "open", "consecutive_failures"),
    ("closed", "open", "failure_rate"),
    ("closed", "open", "slow_call_rate"),
    ("open", "half_open", "wait_elapsed"),
    ("half_open", "half_open", "stage_passed"),
    ("half_open", "closed", "probes_succeeded"),
    ("half_open", "open", "probes_failed"),
    ("half_open", "open", "half_open_timeout"),
    ("closed", "open", "shared"),
    ("half_open", "open", "shared"),
    ("open", "closed", "shared"),
    ("half_open", "closed", "shared"),
];
/// States a command can put a breaker into.
const COMMANDED: &[&str] = &["closed", "forced_open", "disabled", "metrics_only"];

/// Live values of a breaker, copied into gauges at a scrape.
#[derive(Clone, Copy, Debug)]
pub struct BreakerReading {
    /// Spelled as in [`value::STATES`].
    pub state: &'static str,
    /// Share of failures in the window, NaN below the minimum number of calls.
    pub failure_ratio: f64,
    /// Share of slow calls in the window, NaN below the minimum number of calls.
    pub slow_ratio: f64,
    /// Calls in the window.
    pub window_calls: u64,
    /// Calls the window needs before its ratios count.
    pub minimum_calls: u64,
    /// Probes in flight or finished in this half-open state.
    pub half_open_in_use: u64,
    /// Until an open breaker admits a probe.
    pub open_remaining: Duration,
    /// 0–1.
    pub health_score: f64,
    /// 0–1, NaN when the breaker has no such threshold.
    pub failure_ratio_threshold: f64,
    /// 0–1, NaN when the breaker has no such threshold.
    pub slow_ratio_threshold: f64,
    /// Calls, NaN when the breaker has no such threshold.
    pub consecutive_failures_threshold: f64,
    /// Configured wait in the open state.
    pub open_wait: Duration,
}

/// Handles for one breaker and what surrounds it.
pub struct BreakerTelemetry {
    service: String,
    breaker: String,
    log: TransitionLog,
    metrics: Metrics,
    /// What only a breaker has. Without one there is nothing to say: all of its states at zero would
    /// be a contradiction.
    own: Option<Own>,
    calls: Vec<(&'static str, IntCounter)>,
    durations: Vec<(&'static str, TracedHistogram)>,
    response_time: RecentMean,
    slow: IntCounter,
    retry_calls: Vec<(&'static str, IntCounter)>,
    retry_attempts: Vec<(&'static str, IntCounter)>,
    predicted: [Histogram; 2],
    budget: (Gauge, Gauge),
    hedges: Vec<(&'static str, IntCounter)>,
}

struct Own {
    states: Vec<(&'static str, Gauge)>,
    late: IntCounter,
    last_transition: Gauge,
    gauges: ReadingGauges,
}

struct ReadingGauges {
    failure_ratio: Gauge,
    slow_ratio: Gauge,
    window_calls: Gauge,
    minimum_calls: Gauge,
    half_open: Gauge,
    open_remaining: Gauge,
    health: Gauge,
    points: Gauge,
    failure_threshold: Gauge,
    slow_threshold: Gauge,
    consecutive_threshold: Gauge,
    open_wait: Gauge,
}

impl Own {
    fn new(metrics: &Metrics, service: &str, breaker: &str) -> Self {
        let f = metrics.families();
        let own = [service, breaker];
        for (from, to, reason) in AUTOMATIC {
            f.breaker_transitions.with_label_values(&[service, breaker, *from, *to, *reason]);
        }
        for from in value::STATES {
            for to in COMMANDED.iter().filter(|to| *to != from) {
                f.breaker_transitions.with_label_values(&[service, breaker, *from, *to, "command"]);
            }
        }
        let last_transition = f.breaker_last_transition.with_label_values(&own);
        last_transition.set(unix_seconds(SystemTime::now()));
        Self {
            states: value::STATES
                .iter()
                .map(|state| (*state, f.breaker_state.with_label_values(&[service, breaker, *state])))
                .collect(),
            late: f.breaker_late_results.with_label_values(&own),
            last_transition,
            gauges: ReadingGauges {
                failure_ratio: f.breaker_failure_ratio.with_label_values(&own),
                slow_ratio: f.breaker_slow_call_ratio.with_label_values(&own),
                window_calls: f.breaker_window_calls.with_label_values(&own),
                minimum_calls: f.breaker_window_minimum_calls.with_label_values(&own),
                half_open: f.breaker_half_open_permits.with_label_values(&own),
                open_remaining: f.breaker_open_remaining.with_label_values(&own),
                health: f.breaker_health_score.with_label_values(&own),
                points: f.breaker_health_points.with_label_values(&own),
                failure_threshold: f.breaker_failure_ratio_threshold.with_label_values(&own),
                slow_threshold: f.breaker_slow_call_ratio_threshold.with_label_values(&own),
                consecutive_threshold: f.breaker_consecutive_failures_threshold.with_label_values(&own),
                open_wait: f.breaker_open_wait.with_label_values(&own),
            },
        }
    }
}

impl BreakerTelemetry {
    /// Creates every series of this dependency's calls at zero, and with `guarded` those of its breaker.
    ///
    /// `timeout` is the timeout of one attempt.
    #[must_use]
    pub fn new(
        metrics: &Metrics,
        log: &TransitionLog,
        [service, breaker]: [&str; 2],
        timeout: Duration,
        guarded: bool,
    ) -> Self {
        let f = metrics.families();
        let own = [service, breaker];
        let counters = |vec: &prometheus::IntCounterVec, values: &'static [&'static str]| {
            values.iter().map(|v| (*v, vec.with_label_values(&[service, breaker, *v]))).collect::<Vec<_>>()
        };
        f.breaker_timeout.with_label_values(&own).set(timeout.as_secs_f64());
        Self {
            service: service.to_owned(),
            breaker: breaker.to_owned(),
            log: log.clone(),
            metrics: metrics.clone(),
            own: guarded.then(|| Own::new(metrics, service, breaker)),
            calls: counters(&f.breaker_calls, value::CALL_OUTCOMES),
            durations: value::EXECUTED_OUTCOMES
                .iter()
                .map(|o| (*o, metrics.call_duration(&[service, breaker, *o])))
                .collect(),
            response_time: RecentMean::default(),
            slow: f.breaker_slow_calls.with_label_values(&own),
            retry_calls: counters(&f.retry_calls, value::RETRY_OUTCOMES),
            retry_attempts: counters(&f.retry_attempts, value::RETRY_REASONS),
            predicted: ["success", "failure"]
                .map(|o| f.retry_predicted_success.with_label_values(&[service, breaker, o])),
            budget: (f.retry_budget_tokens.with_label_values(&own), f.retry_budget_capacity.with_label_values(&own)),
            hedges: counters(&f.hedge_requests, value::HEDGE_OUTCOMES),
        }
    }

    /// An attempt ran and ended. `outcome` is spelled as in [`value::EXECUTED_OUTCOMES`].
    pub fn finished(&self, outcome: &str, slow: bool, late: bool, elapsed: Duration) {
        count(&self.calls, outcome);
        self.response_time.add(elapsed);
        if let Some((_, seconds)) = self.durations.iter().find(|(name, _)| *name == outcome) {
            seconds.observe(elapsed.as_secs_f64());
        }
        if slow {
            self.slow.inc();
        }
        if let Some(own) = self.own.as_ref().filter(|_| late) {
            own.late.inc();
        }
    }

    /// An attempt was turned away by the breaker.
    pub fn rejected(&self, retry_after: Duration) {
        count(&self.calls, "rejected");
        tracing::debug!(breaker = %self.breaker, ?retry_after, "call rejected");
    }

    /// An attempt after the first was made because of an error of this kind.
    pub fn retried(&self, reason: &str) {
        count(&self.retry_attempts, reason);
    }

    /// A logical call ended. `outcome` is spelled as in [`value::RETRY_OUTCOMES`].
    pub fn retry_ended(&self, outcome: &str) {
        count(&self.retry_calls, outcome);
    }

    /// A retry that was given `chance` (0–1) ended.
    pub fn predicted(&self, chance: f64, succeeded: bool) {
        self.predicted[usize::from(!succeeded)].observe(chance);
    }

    /// A hedged attempt ended. `outcome` is spelled as in [`value::HEDGE_OUTCOMES`].
    pub fn hedged(&self, outcome: &str) {
        count(&self.hedges, outcome);
    }

    /// The breaker changed its state: counted, logged and published.
    pub fn transitioned(&self, record: TransitionRecord) {
        let TransitionRecord { from, to, reason, .. } = record;
        let labels = [self.service.as_str(), self.breaker.as_str(), from, to, reason];
        self.metrics.families().breaker_transitions.with_label_values(&labels).inc();
        if let Some(own) = &self.own {
            own.last_transition.set(record.unix_seconds);
        }
        let (service, breaker) = (&self.service, &self.breaker);
        let TransitionRecord { generation, calls, failures, slow_calls, failure_ratio, slow_ratio, .. } = record;
        let retry_after = record.open_wait_seconds;
        if to == "open" {
            tracing::warn!(
                service,
                breaker,
                from,
                to,
                reason,
                generation,
                calls,
                failures,
                slow_calls,
                failure_ratio,
                slow_ratio,
                retry_after,
                "breaker opened"
            );
        } else {
            tracing::info!(
                service,
                breaker,
                from,
                to,
                reason,
                generation,
                calls,
                failures,
                slow_calls,
                failure_ratio,
                slow_ratio,
                "breaker moved"
            );
        }
        self.log.push(record);
    }

    /// Copies live values into the gauges.
    pub fn read(&self, reading: &BreakerReading) {
        let Some(own) = &self.own else { return };
        for (state, gauge) in &own.states {
            gauge.set(f64::from(u8::from(*state == reading.state)));
        }
        let g = &own.gauges;
        g.failure_ratio.set(reading.failure_ratio);
        g.slow_ratio.set(reading.slow_ratio);
        g.window_calls.set(reading.window_calls as f64);
        g.minimum_calls.set(reading.minimum_calls as f64);
        g.half_open.set(reading.half_open_in_use as f64);
        g.open_remaining.set(reading.open_remaining.as_secs_f64());
        g.health.set(reading.health_score);
        g.points.set(health_points(reading.failure_ratio, self.response_time.seconds()));
        g.failure_threshold.set(reading.failure_ratio_threshold);
        g.slow_threshold.set(reading.slow_ratio_threshold);
        g.consecutive_threshold.set(reading.consecutive_failures_threshold);
        g.open_wait.set(reading.open_wait.as_secs_f64());
    }

    /// Copies the retry budget into its gauges.
    pub fn read_budget(&self, tokens: f64, capacity: f64) {
        self.budget.0.set(tokens);
        self.budget.1.set(capacity);
    }

    /// A record that carries this breaker's names and the present wall clock.
    #[must_use]
    pub fn record(&self, from: &'static str, to: &'static str, reason: &'static str) -> TransitionRecord {
        TransitionRecord {
            service: self.service.clone(),
            breaker: self.breaker.clone(),
            from,
            to,
            reason,
            unix_seconds: unix_seconds(SystemTime::now()),
            ..TransitionRecord::default()
        }
    }
}

/// Counts what has this label.
pub(super) fn count(counters: &[(&'static str, IntCounter)], label: &str) {
    match counters.iter().find(|(name, _)| *name == label) {
        Some((_, counter)) => counter.inc(),
        None => debug_assert!(false, "{label} is not in the metrics contract"),
    }
}

fn unix_seconds(at: SystemTime) -> f64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_series_of_a_breaker_exists_at_zero_before_its_first_call() {
        let metrics = Metrics::new(&[]);
        let log = TransitionLog::new();
        let _breaker = BreakerTelemetry::new(&metrics, &log, ["gateway", "user"], Duration::from_secs(1), true);
        let families = metrics.gather();
        let transitions = families.iter().find(|f| f.name() == "circuit_breaker_transitions_total").unwrap();
        assert_eq!(transitions.get_metric().len(), AUTOMATIC.len() + 6 * 4 - 4);
        assert!(transitions.get_metric().iter().all(|m| m.get_counter().get_value().abs() < f64::EPSILON));
    }

    /// A contradiction is an alert, and no breaker is none.
    #[test]
    fn calls_without_a_breaker_have_no_state() {
        let (metrics, log) = (Metrics::new(&[]), TransitionLog::new());
        let calls = BreakerTelemetry::new(&metrics, &log, ["gateway", "user"], Duration::from_secs(1), false);
        calls.finished("success", false, false, Duration::from_millis(1));
        let families = metrics.gather();
        let samples = |name: &str| families.iter().find(|f| f.name() == name).map_or(0, |f| f.get_metric().len());
        assert_eq!((samples("circuit_breaker_state"), samples("circuit_breaker_transitions_total")), (0, 0));
        assert!(samples("circuit_breaker_calls_total") > 0);
    }

    #[test]
    fn possible_transitions_use_the_contract_s_words() {
        for (from, to, reason) in AUTOMATIC {
            assert!(value::STATES.contains(from) && value::STATES.contains(to));
            assert!(value::TRANSITION_REASONS.contains(reason));
        }
    }
}
