//! `application.yml` for Spring Boot with Resilience4j.
//!
//! One document per caller, each active in a profile with the caller's name, because the policies of a service belong
//! into its own configuration. Instances are named after their dependency, like the breakers here.
//!
//! Resilience4j has no threshold of consecutive failures. If it is the only threshold it is exported as a count window
//! of that size with a failure rate of 100 %, which trips on exactly the same calls; beside a rate it is lost.

use serde_json::{Map, Value, json};

use super::{Fate, Relation, Source, attempts, gaps, gaps_page, yaml};
use crate::services::ServiceName;
use breakerbox_resilience::breaker::{AfterMaxWait, BreakerSettings, InitialState, WindowType};
use breakerbox_resilience::policy::PolicySettings;
use breakerbox_resilience::retry::Jitter;

const HEADER: &str = "Written by `breakerbox export resilience4j` from the program's own policies; not to be edited.\n\
    One document per caller: start each service with its name as a Spring profile.\n\
    Outermost first: Bulkhead, TimeLimiter (total), Retry, CircuitBreaker, TimeLimiter (attempt).\n\
    Spring's aspects have another order unless resilience4j.*.*-aspect-order says so.";

const ALWAYS: &[(&str, &str)] = &[
    (
        "an outcome of an earlier state changes nothing but a count",
        "results are not tied to the state that admitted them",
    ),
    ("half-open: a success rate of its own", "the failure rate of the closed state decides"),
    ("the remaining time of the caller's deadline is passed on (`x-deadline-ms`)", "no deadlines across services"),
    ("`Retry-After` of the dependency ends the attempts", "only by an interval function of your own"),
    ("retries are bounded by a budget", "only by their number"),
    ("a breaker that all instances share through the store", "each instance decides for itself"),
];

/// The configuration of all callers, as one file with several documents.
#[must_use]
pub fn policies(source: &Source) -> String {
    let mut text = yaml::comment(HEADER);
    for caller in ServiceName::ALL {
        let relations: Vec<_> = source.relations().filter(|relation| relation.caller == *caller).collect();
        if relations.is_empty() {
            continue;
        }
        text += "---\n";
        for relation in &relations {
            for gap in gaps(relation.policy, fate) {
                let lost = format!("{}: {} = {} is lost: {}", relation.dependency, gap.setting, gap.value, gap.why);
                text += &yaml::comment(&lost);
            }
        }
        text += &yaml::document(&document(source, *caller, &relations));
    }
    text
}

/// The page of settings that cannot be expressed.
#[must_use]
pub fn lost(source: &Source) -> String {
    gaps_page(source, "Resilience4j", ALWAYS, fate)
}

fn document(source: &Source, caller: ServiceName, relations: &[Relation<'_>]) -> Value {
    let mut registries = Map::new();
    let mut add = |registry: &str, name: &str, instance: Option<Value>| {
        if let Some(instance) = instance {
            registries.entry(registry).or_insert_with(|| json!({"instances": {}}))["instances"][name] = instance;
        }
    };
    for Relation { dependency, policy, .. } in relations {
        let name = dependency.as_str();
        add("circuitbreaker", name, policy.circuit_breaker.as_ref().map(circuit_breaker));
        add("retry", name, retry(policy));
        add("bulkhead", name, bulkhead(policy));
        add("thread-pool-bulkhead", name, pool(policy));
        add(
            "timelimiter",
            name,
            Some(json!({
                "cancel-running-future": true,
                "timeout-duration": millis(policy.time_limiter.timeout_duration),
            })),
        );
        if let Some(total) = policy.time_limiter.total_timeout {
            let limits = json!({"cancel-running-future": true, "timeout-duration": millis(total)});
            add("timelimiter", &format!("{name}-total"), Some(limits));
        }
    }
    if caller == ServiceName::Gateway {
        add(
            "ratelimiter",
            "orders",
            Some(json!({
                "limit-for-period": source.rate_limit.limit_for_period,
                "limit-refresh-period": millis(source.rate_limit.limit_refresh_period),
                "timeout-duration": "0ms",
            })),
        );
    }
    json!({
        "spring": {"config": {"activate": {"on-profile": caller.as_str()}}},
        "resilience4j": registries,
    })
}

fn circuit_breaker(breaker: &BreakerSettings) -> Value {
    let wait = millis(breaker.wait_duration_in_open_state);
    let mut instance = json!({
        "automatic-transition-from-open-to-half-open-enabled": false,
        "max-wait-duration-in-half-open-state": millis(breaker.max_wait_duration_in_half_open_state),
        "permitted-number-of-calls-in-half-open-state": breaker.permitted_number_of_calls_in_half_open_state,
        "wait-duration-in-open-state": wait,
    });
    match row_alone(breaker) {
        Some(failures) => {
            instance["failure-rate-threshold"] = 100.into();
            instance["minimum-number-of-calls"] = failures.into();
            instance["sliding-window-size"] = failures.into();
            instance["sliding-window-type"] = "COUNT_BASED".into();
        }
        None => {
            // Without a rate only slow calls may trip: a rate of 100 % is the closest equivalent.
            instance["failure-rate-threshold"] = breaker.failure_rate_threshold.unwrap_or(100.0).into();
            instance["minimum-number-of-calls"] = breaker.minimum_number_of_calls.into();
            instance["sliding-window-size"] = breaker.sliding_window_size.into();
            instance["sliding-window-type"] = match breaker.sliding_window_type {
                WindowType::CountBased => "COUNT_BASED",
                WindowType::TimeBased => "TIME_BASED",
            }
            .into();
        }
    }
    if let Some(rate) = breaker.slow_call_rate_threshold {
        instance["slow-call-rate-threshold"] = rate.into();
        instance["slow-call-duration-threshold"] = millis(breaker.slow_call_duration_threshold).into();
    }
    if breaker.open_wait_multiplier > 1.0 {
        instance["enable-exponential-backoff"] = true.into();
        instance["exponential-backoff-multiplier"] = breaker.open_wait_multiplier.into();
        instance["exponential-max-wait-duration-in-open-state"] =
            millis(breaker.max_wait_duration_in_open_state).into();
    }
    instance
}

/// The threshold of consecutive failures, if it is the only one.
fn row_alone(breaker: &BreakerSettings) -> Option<u32> {
    let alone = breaker.failure_rate_threshold.is_none() && breaker.slow_call_rate_threshold.is_none();
    breaker.consecutive_failure_threshold.filter(|_| alone)
}

fn retry(policy: &PolicySettings) -> Option<Value> {
    let retry = policy.retry.as_ref().filter(|_| attempts(policy) > 1)?;
    let mut instance = json!({
        "max-attempts": retry.max_attempts,
        "wait-duration": millis(retry.wait_duration),
    });
    if retry.enable_exponential_backoff {
        instance["enable-exponential-backoff"] = true.into();
        instance["exponential-backoff-multiplier"] = retry.exponential_backoff_multiplier.into();
        instance["exponential-max-wait-duration"] = millis(retry.exponential_max_wait_duration).into();
    }
    if retry.jitter != Jitter::None {
        instance["enable-randomized-wait"] = true.into();
        instance["randomized-wait-factor"] = 0.5.into();
    }
    Some(instance)
}

fn bulkhead(policy: &PolicySettings) -> Option<Value> {
    let bulkhead = policy.bulkhead.as_ref()?;
    let (places, wait) = (bulkhead.max_concurrent_calls, millis(bulkhead.max_wait_duration));
    Some(json!({"max-concurrent-calls": places, "max-wait-duration": wait}))
}

fn pool(policy: &PolicySettings) -> Option<Value> {
    let pool = policy.pool_bulkhead.as_ref()?;
    Some(json!({
        "core-thread-pool-size": pool.core_size,
        "max-thread-pool-size": pool.max_size,
        "queue-capacity": pool.queue_capacity,
    }))
}

/// A duration in Spring's notation.
fn millis(duration: std::time::Duration) -> String {
    format!("{}ms", duration.as_millis())
}

/// The fate of each setting.
#[allow(clippy::match_same_arms, reason = "a table: each line stands for itself")]
#[must_use]
pub fn fate(policy: &PolicySettings, setting: &str) -> Fate {
    const SAME: Fate = Fate::Exported("the same name");
    let (part, field) = setting.split_once('.').unwrap_or((setting, ""));
    match (part, field) {
        ("circuit-breaker", field) => breaker(policy, field),
        ("bulkhead", "max-concurrent-calls" | "max-wait-duration") => SAME,
        ("pool-bulkhead", "core-size" | "max-size" | "queue-capacity") => Fate::Exported("thread-pool-bulkhead"),
        ("pool-bulkhead", "when-full") => Fate::Lost("a full queue rejects; it cannot make the caller run the call"),
        ("time-limiter", "timeout-duration" | "total-timeout") => Fate::Exported("timelimiter.timeout-duration"),
        ("time-limiter", "connect-timeout") => Fate::Lost("it belongs to the HTTP client"),
        ("time-limiter", "timeout-multiplier") if policy.time_limiter.timeout_multiplier <= 1.0 => Fate::Idle,
        ("time-limiter", "timeout-multiplier") => Fate::Lost("every attempt has the same timeout"),
        ("retry", _) if attempts(policy) <= 1 => Fate::Idle,
        ("retry", field) => retry_fate(policy, field),
        ("retry-budget", _) if attempts(policy) <= 1 && policy.hedge.is_none() => Fate::Idle,
        ("retry-budget", _) => Fate::Lost("retries have no budget"),
        ("hedge", _) => Fate::Lost("Resilience4j for Spring sends no second request while the first is under way"),
        ("throttle", _) => Fate::Lost("no adaptive throttling"),
        _ => UNKNOWN,
    }
}

const UNKNOWN: Fate = Fate::Lost("nothing in Resilience4j corresponds to it");

#[allow(clippy::match_same_arms, reason = "a table: each line stands for itself")]
fn breaker(policy: &PolicySettings, field: &str) -> Fate {
    let Some(breaker) = &policy.circuit_breaker else { return Fate::Idle };
    let row_alone = row_alone(breaker).is_some();
    let slow = breaker.slow_call_rate_threshold.is_some();
    match field {
        "consecutive-failure-threshold" if row_alone => Fate::Exported("a count window of that size and a rate of 100"),
        "consecutive-failure-threshold" => Fate::Lost("cannot be combined with another threshold"),
        "sliding-window-type" | "sliding-window-size" | "minimum-number-of-calls" if row_alone => Fate::Idle,
        "failure-rate-threshold"
        | "sliding-window-type"
        | "sliding-window-size"
        | "minimum-number-of-calls"
        | "wait-duration-in-open-state"
        | "permitted-number-of-calls-in-half-open-state"
        | "max-wait-duration-in-half-open-state"
        | "slow-call-rate-threshold" => Fate::Exported("the same name"),
        "slow-call-duration-threshold" if slow => Fate::Exported("the same name"),
        "slow-call-duration-threshold" => Fate::Idle,
        "open-wait-multiplier" if breaker.open_wait_multiplier <= 1.0 => Fate::Idle,
        "open-wait-multiplier" => Fate::Exported("exponential-backoff-multiplier"),
        "max-wait-duration-in-open-state" if breaker.open_wait_multiplier <= 1.0 => Fate::Idle,
        "max-wait-duration-in-open-state" => Fate::Exported("exponential-max-wait-duration-in-open-state"),
        "open-wait-jitter" if breaker.open_wait_jitter <= 0.0 => Fate::Idle,
        "open-wait-jitter" => Fate::Lost("its randomised wait also shortens, which this one never does"),
        "half-open-success-rate-threshold" => {
            Fate::Lost("probes are evaluated by the failure-rate threshold of the closed state")
        }
        "sliding-window-duration" => Fate::Lost("a window over time has whole seconds"),
        "automatic-transition-from-open-to-half-open-enabled"
            if !breaker.automatic_transition_from_open_to_half_open_enabled =>
        {
            Fate::Idle
        }
        "state-after-max-wait-in-half-open" if breaker.state_after_max_wait_in_half_open == AfterMaxWait::Judged => {
            Fate::Idle
        }
        "initial-state" if breaker.initial_state == InitialState::Closed => Fate::Idle,
        "recovery-stages" | "recovery-stage-duration" if breaker.recovery_stages.is_empty() => Fate::Idle,
        "recovery-stages" | "recovery-stage-duration" => Fate::Lost("no stages of recovery"),
        "cancelled-slow-calls-count" if !slow => Fate::Idle,
        "cancelled-slow-calls-count" => Fate::Lost("a cancelled call counts as nothing"),
        "panics-count" => Fate::Idle,
        _ => UNKNOWN,
    }
}

#[allow(clippy::match_same_arms, reason = "a table: each line stands for itself")]
fn retry_fate(policy: &PolicySettings, field: &str) -> Fate {
    let Some(retry) = &policy.retry else { return Fate::Idle };
    match field {
        "max-attempts" | "wait-duration" | "enable-exponential-backoff" => Fate::Exported("the same name"),
        "exponential-backoff-multiplier" | "exponential-max-wait-duration" if retry.enable_exponential_backoff => {
            Fate::Exported("the same name")
        }
        "exponential-backoff-multiplier" | "exponential-max-wait-duration" => Fate::Idle,
        "jitter" if retry.jitter == Jitter::None => Fate::Idle,
        "jitter" => Fate::Lost("nearest is a randomised wait of ± 50 %"),
        "stop-failure-rate-threshold" => Fate::Lost("retries continue at any failure rate"),
        "recent-duration" if retry.stop_failure_rate_threshold.is_none() => Fate::Idle,
        "recent-duration" => Fate::Lost("goes with stop-failure-rate-threshold"),
        field if field.starts_with("adaptive.") => Fate::Lost("no learnt retries"),
        _ => UNKNOWN,
    }
}
