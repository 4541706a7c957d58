use breakerbox_resilience::breaker::{Reason, State, Transition};

use super::handles::AUTOMATIC;
use super::*;
use crate::label::ExecutedOutcome;

fn samples(metrics: &Metrics, name: &str) -> usize {
    metrics.gather().iter().find(|family| family.name() == name).map_or(0, |family| family.get_metric().len())
}

#[test]
fn every_transition_of_a_breaker_exists_at_zero() {
    let (metrics, log) = (Metrics::new(&[]), TransitionLog::new());
    let _handles = Handles::new(&metrics, &log, ["gateway", "user"], Duration::from_secs(1), true);
    let families = metrics.gather();
    let transitions = families.iter().find(|f| f.name() == "circuit_breaker_transitions_total").unwrap();
    assert_eq!(transitions.get_metric().len(), AUTOMATIC.len() + 6 * 4 - 4);
    assert!(transitions.get_metric().iter().all(|m| m.get_counter().get_value().abs() < f64::EPSILON));
    for (family, _) in GAUGES {
        assert_eq!(samples(&metrics, family.name), 1, "{}", family.name);
    }
}

/// Contradictory states are an alert; a missing breaker must not cause one.
#[test]
fn calls_without_a_breaker_have_no_state() {
    let (metrics, log) = (Metrics::new(&[]), TransitionLog::new());
    let calls = Handles::new(&metrics, &log, ["gateway", "user"], Duration::from_secs(1), false);
    let elapsed = Duration::from_millis(1);
    CallFinished { outcome: ExecutedOutcome::Success, slow: false, late: false, elapsed }.record(&calls);
    let counts = ["circuit_breaker_state", "circuit_breaker_transitions_total"].map(|name| samples(&metrics, name));
    assert_eq!(counts, [0, 0]);
    assert!(samples(&metrics, "circuit_breaker_calls_total") > 0);
}

#[test]
fn a_transition_carries_its_open_wait_everywhere() {
    let (metrics, log) = (Metrics::new(&[]), TransitionLog::new());
    let handles = Handles::new(&metrics, &log, ["gateway", "user"], Duration::from_secs(1), true);
    let transition = Transition {
        from: State::Closed,
        to: State::Open,
        generation: 1,
        reason: Reason::FailureRate,
        at: std::time::Instant::now(),
        window: breakerbox_resilience::breaker::WindowSnapshot { calls: 10, failures: 5, slow: 1 },
        open_for: Some(Duration::from_secs(30)),
    };
    StateChanged(transition).record(&handles);
    let record = log.latest().pop().unwrap();
    assert_eq!((record.from, record.to, record.reason), (State::Closed, State::Open, Reason::FailureRate));
    assert_eq!(record.open_wait, Some(Duration::from_secs(30)));
    assert_eq!((record.calls, record.failures, record.slow_calls), (10, 5, 1));
}
