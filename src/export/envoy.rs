//! Clusters and routes for a manually configured Envoy: one cluster per caller and dependency.
//!
//! Envoy has features that Istio does not expose: ejection by failure *rate*, and a maximum back-off. The rest is as in
//! [`istio`](super::istio): per pod, no half-open, no slow calls, no fallback.

use serde_json::{Value, json};

use super::istio::Places;
use super::{Fate, Relation, Source, attempts, gaps, gaps_page, in_a_row, retried_statuses, seconds, yaml};
use breakerbox_resilience::breaker::{BreakerSettings, WindowType};
use breakerbox_resilience::policy::PolicySettings;
use breakerbox_resilience::retry::Jitter;

const HEADER: &str = "Written by `breakerbox export envoy` from the program's own policies; not to be edited.\n\
    Clusters, and a virtual host per caller and dependency, for the static_resources of a proxy beside each caller.";

const ALWAYS: &[(&str, &str)] = &[
    ("fallback: an earlier answer, a popular list, a replica, a queue, a notice", "the caller gets 503 and no answer"),
    ("a breaker covers the dependency as a whole", "outlier detection covers each host"),
    ("half-open: a few probes decide", "an ejected host gets its whole share back at once"),
    ("idempotency: a POST with a key is retried, one without is not", "only GET and HEAD are retried here"),
    ("the remaining time of the caller's deadline is passed on (`x-deadline-ms`)", "each hop has a timeout of its own"),
    ("an answer that cannot be parsed is a failure", "a proxy does not read bodies"),
    ("a breaker that all instances share through the store", "each proxy decides for itself"),
];

/// Clusters and virtual hosts.
#[must_use]
pub fn policies(source: &Source) -> String {
    let mut text = yaml::comment(HEADER);
    for relation in source.relations() {
        for gap in gaps(relation.policy, fate) {
            let lost = format!("{}: {} = {} is lost: {}", name(relation), gap.setting, gap.value, gap.why);
            text += &yaml::comment(&lost);
        }
    }
    let clusters: Vec<_> = source.relations().map(|relation| cluster(source, relation)).collect();
    let hosts: Vec<_> = source.relations().map(|relation| virtual_host(source, relation)).collect();
    text + &yaml::document(&json!({"clusters": clusters, "virtual_hosts": hosts}))
}

/// The page of settings that cannot be expressed.
#[must_use]
pub fn lost(source: &Source) -> String {
    gaps_page(source, "Envoy", ALWAYS, fate)
}

fn name(relation: Relation<'_>) -> String {
    format!("{}-{}", relation.caller, relation.dependency)
}

fn cluster(source: &Source, relation: Relation<'_>) -> Value {
    let Relation { dependency, policy, .. } = relation;
    let address = json!({"socket_address": {"address": dependency.as_str(), "port_value": source.port(dependency)}});
    let mut cluster = json!({
        "name": name(relation),
        "type": "STRICT_DNS",
        "connect_timeout": seconds(policy.time_limiter.connect_timeout()),
        "load_assignment": {
            "cluster_name": name(relation),
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
        // All hosts may be ejected at once, as all calls are refused while a breaker is open. Without a merge window,
        // which is a second by default, a host that fails right after its return is out as soon as it is ejected.
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}, "update_merge_window": "0s"},
    });
    let mut threshold = json!({"priority": "DEFAULT"});
    if let Some(places) = Places::of(policy) {
        threshold["max_pending_requests"] = places.pending.into();
        if let Some(calls) = places.calls {
            threshold["max_requests"] = calls.into();
        }
        // Where the policy has no limit, as many as there can be: Envoy's own is 1024.
        let both = places.calls.unwrap_or_default().saturating_add(places.pending);
        threshold["max_connections"] = places.connections.unwrap_or(both).into();
    }
    if attempts(policy) > 1 {
        threshold["retry_budget"] = json!({"budget_percent": {"value": policy.retry_budget.retry_percent.min(100.0)}});
    }
    cluster["circuit_breakers"] = json!({"thresholds": [threshold]});
    if let Some(breaker) = &policy.circuit_breaker {
        cluster["outlier_detection"] = outlier_detection(policy, breaker);
    }
    cluster
}

fn outlier_detection(policy: &PolicySettings, breaker: &BreakerSettings) -> Value {
    let wait = breaker.wait_duration_in_open_state;
    let window = match breaker.sliding_window_type {
        WindowType::TimeBased => std::time::Duration::from_secs(u64::from(breaker.sliding_window_size)),
        WindowType::CountBased => std::time::Duration::from_secs(10),
    };
    let longest = if breaker.open_wait_multiplier > 1.0 { breaker.max_wait_duration_in_open_state } else { wait };
    let mut outlier = json!({
        "base_ejection_time": seconds(wait),
        "max_ejection_time": seconds(longest.max(wait)),
        "max_ejection_time_jitter": seconds(wait.mul_f64(breaker.open_wait_jitter)),
        "max_ejection_percent": 100,
        "interval": if breaker.failure_rate_threshold.is_some() { seconds(window) } else { "1s".to_owned() },
        // Both are on by default in Envoy.
        "enforcing_success_rate": 0,
        "enforcing_consecutive_gateway_failure": 0,
    });
    match in_a_row(policy) {
        Some(failures) => outlier["consecutive_5xx"] = failures.into(),
        None => outlier["enforcing_consecutive_5xx"] = 0.into(),
    }
    if let Some(rate) = breaker.failure_rate_threshold {
        outlier["failure_percentage_threshold"] = whole(rate).into();
        outlier["failure_percentage_request_volume"] = breaker.minimum_number_of_calls.into();
        outlier["failure_percentage_minimum_hosts"] = 1.into();
        outlier["enforcing_failure_percentage"] = 100.into();
    }
    outlier
}

/// A percentage as a whole number, as Envoy requires.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "validated as a percentage")]
fn whole(rate: f64) -> u32 {
    rate.round() as u32
}

fn virtual_host(source: &Source, relation: Relation<'_>) -> Value {
    let Relation { dependency, policy, .. } = relation;
    let limits = &policy.time_limiter;
    let once = json!({
        "match": {"prefix": "/"},
        "route": {"cluster": name(relation), "timeout": seconds(limits.timeout_duration)},
    });
    let mut routes = vec![once];
    if let (Some(retry), true) = (&policy.retry, attempts(policy) > 1) {
        let backoff = json!({
            "base_interval": seconds(retry.wait_duration),
            "max_interval": seconds(retry.exponential_max_wait_duration.max(retry.wait_duration)),
        });
        let mut route = json!({
            "cluster": name(relation),
            "retry_policy": {
                "retry_on": "connect-failure,refused-stream,reset,retriable-status-codes",
                "retriable_status_codes": retried_statuses(),
                "num_retries": retry.max_attempts - 1,
                "per_try_timeout": seconds(limits.timeout_duration),
                "retry_back_off": backoff,
            },
        });
        // Envoy's default is 15 s; 0 means none, like a policy without a total timeout.
        route["timeout"] = limits.total_timeout.map_or_else(|| "0s".to_owned(), seconds).into();
        let methods = json!({"name": ":method", "string_match": {"safe_regex": {"regex": "GET|HEAD"}}});
        routes.insert(0, json!({"match": {"prefix": "/", "headers": [methods]}, "route": route}));
    }
    let domains = [dependency.to_string(), format!("{dependency}:{}", source.port(dependency))];
    json!({"name": name(relation), "domains": domains, "routes": routes})
}

/// The fate of each setting: as for Istio, with a few more exported.
#[allow(clippy::match_same_arms, reason = "a table: each line stands for itself")]
#[must_use]
pub fn fate(policy: &PolicySettings, setting: &str) -> Fate {
    let breaker = policy.circuit_breaker.as_ref();
    match setting {
        "circuit-breaker.failure-rate-threshold" => Fate::Exported("outlier_detection.failure_percentage_threshold"),
        "circuit-breaker.minimum-number-of-calls" if breaker.is_some_and(|b| b.failure_rate_threshold.is_some()) => {
            Fate::Exported("outlier_detection.failure_percentage_request_volume, within one interval")
        }
        "circuit-breaker.sliding-window-size" | "circuit-breaker.sliding-window-type"
            if breaker.is_some_and(|b| b.failure_rate_threshold.is_some()) =>
        {
            match (setting, breaker.map(|b| b.sliding_window_type)) {
                ("circuit-breaker.sliding-window-size", Some(WindowType::CountBased)) => {
                    Fate::Lost("Envoy evaluates fixed intervals, not a sliding window: 10 s here")
                }
                _ => Fate::Exported("outlier_detection.interval, which does not slide"),
            }
        }
        "circuit-breaker.wait-duration-in-open-state" => Fate::Exported("outlier_detection.base_ejection_time"),
        "circuit-breaker.max-wait-duration-in-open-state"
            if breaker.is_some_and(|breaker| breaker.open_wait_multiplier > 1.0) =>
        {
            Fate::Exported("outlier_detection.max_ejection_time")
        }
        "circuit-breaker.open-wait-multiplier" if breaker.is_some_and(|b| b.open_wait_multiplier <= 1.0) => {
            Fate::Exported("outlier_detection.max_ejection_time, which is the wait itself")
        }
        "circuit-breaker.open-wait-multiplier" => {
            Fate::Lost("the wait times the number of ejections, up to the longest")
        }
        "circuit-breaker.open-wait-jitter" => Fate::Exported("outlier_detection.max_ejection_time_jitter"),
        "retry.exponential-max-wait-duration" if attempts(policy) > 1 => {
            Fate::Exported("retry_policy.retry_back_off.max_interval")
        }
        "retry.jitter" if policy.retry.as_ref().is_some_and(|retry| retry.jitter == Jitter::Full) => Fate::Idle,
        other => super::istio::fate(policy, other),
    }
}
