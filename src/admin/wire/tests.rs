use breakerbox_resilience::breaker::State;
use serde_json::{Value, json};

use super::keys::with_underscores;
use super::*;

#[test]
fn settings_are_read_in_either_spelling() {
    let file = json!({"failure-rate-threshold": 40, "sliding-window-size": 10});
    let snake = json!({"failure_rate_threshold": 40, "sliding_window_size": 10});
    assert_eq!(with_underscores(file.clone()), snake);
    assert_eq!(with_hyphens(snake).as_ref(), Ok(&file));
    assert_eq!(with_hyphens(file.clone()), Ok(file));
    let twice = json!({"failure-rate-threshold": 40, "failure_rate_threshold": 50});
    assert!(with_hyphens(twice).unwrap_err().contains("set twice"));
}

#[test]
fn states_are_spelled_as_in_series() {
    for state in State::ALL {
        let json = serde_json::to_value(BreakerState::from(*state)).unwrap();
        assert_eq!(json, state.as_str());
        assert_eq!(State::from(BreakerState::from(*state)), *state);
    }
}

#[test]
fn health_is_judged_by_the_share_of_open_breakers() {
    let client = |state, health_score| Breaker {
        service: "s".to_owned(),
        name: "n".to_owned(),
        state,
        generation: 0,
        health_score,
        health_points: 100.0 * health_score,
        calls: BreakerCalls {
            success: 0,
            failure: 0,
            ignored: 0,
            rejected: 0,
            success_rate: None,
            mean_response_seconds: None,
        },
        failure_ratio: None,
        slow_ratio: None,
        window_calls: 0,
        failures: 0,
        slow_calls: 0,
        late_results: 0,
        half_open_permits_in_use: 0,
        open_remaining_seconds: 0.0,
        settings: Value::Null,
        process: None,
    };
    let judged = |states: &[BreakerState]| {
        let breakers = states.iter().map(|state| client(*state, 1.0)).collect();
        let mut page = Breakers { breakers, ..Breakers::default() };
        page.sort();
        page.status
    };
    let (closed, open) = (BreakerState::Closed, BreakerState::Open);
    assert_eq!(judged(&[closed, BreakerState::HalfOpen]), Health::Healthy);
    assert_eq!(judged(&[closed, open, closed]), Health::Degraded);
    assert_eq!(judged(&[closed, BreakerState::ForcedOpen]), Health::Unhealthy);
}
