//! Each exported number is that of the policy.

use std::time::Duration;

use breakerbox::export::{envoy, istio, resilience4j};
use breakerbox::services::ServiceName;
use breakerbox_resilience::policy::PolicySettings;
use serde_json::Value;

use crate::schema::documents;
use crate::source;

const LABEL: &str = istio::SERVICE_LABEL;

/// Parses a duration in the notation of any of the formats.
pub(crate) fn duration(value: &Value) -> Option<Duration> {
    let text = value.as_str()?;
    match text.strip_suffix("ms") {
        Some(millis) => Some(Duration::from_millis(millis.parse().unwrap())),
        None => Some(Duration::from_secs_f64(text.strip_suffix('s').unwrap().parse().unwrap())),
    }
}

fn breaker_wait(policy: &PolicySettings) -> Option<Duration> {
    policy.circuit_breaker.as_ref().map(|breaker| breaker.wait_duration_in_open_state)
}

fn retries(policy: &PolicySettings) -> Option<u64> {
    policy.retry.as_ref().filter(|retry| retry.max_attempts > 1).map(|retry| u64::from(retry.max_attempts) - 1)
}

#[test]
fn each_destination_rule_has_its_policys_numbers() {
    let source = source(&[]);
    let all = documents(&istio::policies(&source));
    for ((caller, dependency), policy) in &source.policies {
        let name = format!("{caller}-{dependency}");
        let rule =
            all.iter().find(|rule| rule["kind"] == "DestinationRule" && rule["metadata"]["name"] == *name).unwrap();
        assert_eq!(rule["spec"]["host"], dependency.as_str());
        assert_eq!(rule["spec"]["workloadSelector"]["matchLabels"][LABEL], caller.as_str());
        let traffic = &rule["spec"]["trafficPolicy"];
        let (tcp, http) = (&traffic["connectionPool"]["tcp"], &traffic["connectionPool"]["http"]);
        assert_eq!(duration(&tcp["connectTimeout"]), Some(policy.time_limiter.connect_timeout()), "{name}");
        let semaphore = policy.bulkhead.as_ref().map(|bulkhead| u64::from(bulkhead.max_concurrent_calls));
        let pool = policy.pool_bulkhead.as_ref().map(|pool| u64::from(pool.max_size));
        assert_eq!(http["http2MaxRequests"].as_u64(), semaphore, "{name}");
        assert_eq!(tcp["maxConnections"].as_u64(), pool, "{name}: only a queue needs calls to wait for a connection");
        let queue = policy.pool_bulkhead.as_ref().map(|pool| u64::from(pool.queue_capacity));
        let pending = http["http1MaxPendingRequests"].as_u64();
        assert_eq!(pending, semaphore.or(queue), "{name}");
        assert!(pending >= semaphore.or(pool), "{name}: a burst would not get its connections");
        let budget = retries(policy).map(|_| policy.retry_budget.retry_percent);
        assert_eq!(traffic["retryBudget"]["percent"].as_f64(), budget, "{name}");
        let outlier = &traffic["outlierDetection"];
        let in_a_row = policy.circuit_breaker.as_ref().and_then(|breaker| breaker.consecutive_failure_threshold);
        assert_eq!(outlier["consecutive5xxErrors"].as_u64(), in_a_row.map(u64::from), "{name}");
        assert_eq!(duration(&outlier["baseEjectionTime"]), in_a_row.and(breaker_wait(policy)), "{name}");
    }
}

#[test]
fn each_route_has_its_policys_timeouts_and_retries() {
    let source = source(&[]);
    let all = documents(&istio::policies(&source));
    for ((caller, dependency), policy) in &source.policies {
        let services = || all.iter().filter(|rule| rule["kind"] == "VirtualService");
        let service = services().find(|service| service["metadata"]["name"] == dependency.as_str()).unwrap();
        let routes = service["spec"]["http"].as_array().unwrap();
        let of_caller = |route: &&Value| route["match"][0]["sourceLabels"][LABEL] == caller.as_str();
        let own: Vec<_> = routes.iter().filter(of_caller).collect();
        assert_eq!(own.len(), 1 + usize::from(retries(policy).is_some()), "{caller} → {dependency}");
        let plain = own.last().unwrap();
        assert_eq!(duration(&plain["timeout"]), Some(policy.time_limiter.timeout_duration));
        assert_eq!(plain["retries"]["attempts"], 0, "Istio retries by default");
        if let Some(retries) = retries(policy) {
            let retried = own[0];
            let methods: Vec<_> = retried["match"].as_array().unwrap().iter().map(|m| &m["method"]["exact"]).collect();
            assert_eq!(methods, ["GET", "HEAD"]);
            assert_eq!(retried["retries"]["attempts"].as_u64(), Some(retries));
            assert_eq!(duration(&retried["retries"]["perTryTimeout"]), Some(policy.time_limiter.timeout_duration));
            assert_eq!(duration(&retried["timeout"]), policy.time_limiter.total_timeout);
            assert_eq!(
                duration(&retried["retries"]["backoff"]),
                policy.retry.as_ref().map(|retry| retry.wait_duration)
            );
        }
        let port = &routes[0]["route"][0]["destination"]["port"]["number"];
        assert_eq!(port.as_u64(), Some(u64::from(source.port(*dependency))));
        let last = routes.last().unwrap();
        assert!(last["match"].is_null() && last["retries"]["attempts"] == 0, "callers without a policy: {last}");
    }
}

#[test]
fn beside_the_library_a_mesh_neither_retries_nor_ejects_all() {
    let source = source(&[]);
    let all = documents(&istio::beside_library(&source));
    for resource in &all {
        for route in resource["spec"]["http"].as_array().into_iter().flatten() {
            assert_eq!(route["retries"], serde_json::json!({"attempts": 0}), "{resource}");
        }
        let traffic = &resource["spec"]["trafficPolicy"];
        assert!(traffic["retryBudget"].is_null());
        if traffic["outlierDetection"].is_object() {
            assert_eq!(traffic["outlierDetection"]["maxEjectionPercent"], 50);
            assert_eq!(traffic["outlierDetection"]["minHealthPercent"], 50);
        }
    }
    assert_eq!(all.len(), source.policies.len() + source.dependencies().count());
}

#[test]
fn a_changed_setting_changes_the_number() {
    let changed = source(&[
        ("BREAKERBOX_POLICIES__CHECKOUT__PAYMENT_GATEWAY__CIRCUIT_BREAKER__CONSECUTIVE_FAILURE_THRESHOLD", "4"),
        ("BREAKERBOX_SERVICES__PAYMENT_GATEWAY__PORT", "9999"),
    ]);
    let istio = istio::policies(&changed);
    assert!(istio.contains("consecutive5xxErrors: 4\n") && istio.contains("number: 9999\n"), "{istio}");
    assert!(envoy::policies(&changed).contains("consecutive_5xx: 4\n"));
    assert!(resilience4j::policies(&changed).contains("sliding-window-size: 4\n"));
}

#[test]
fn injected_faults_are_the_settings() {
    let source = source(&[
        ("BREAKERBOX_FAULTS__ML_API__ERROR_RATE", "0.07"),
        ("BREAKERBOX_FAULTS__ML_API__LATENCY__FIXED", "250ms"),
        ("BREAKERBOX_FAULTS__ML_API__HANG_RATE", "0.1"),
    ]);
    let text = istio::faults(&source);
    assert!(text.contains("hang-rate"), "faults that Istio cannot inject are listed: {text}");
    let all = documents(&text);
    let ml_api = all.iter().find(|service| service["metadata"]["name"] == "ml-api").unwrap();
    for route in ml_api["spec"]["http"].as_array().unwrap() {
        assert_eq!(route["fault"]["abort"], serde_json::json!({"httpStatus": 503, "percentage": {"value": 7}}));
        assert_eq!(duration(&route["fault"]["delay"]["fixedDelay"]), Some(Duration::from_millis(250)));
    }
}

#[test]
fn each_resilience4j_instance_has_its_policys_numbers() {
    let source = source(&[]);
    let all = documents(&resilience4j::policies(&source));
    for ((caller, dependency), policy) in &source.policies {
        let own =
            all.iter().find(|file| file["spring"]["config"]["activate"]["on-profile"] == caller.as_str()).unwrap();
        let instance = |registry: &str| &own["resilience4j"][registry]["instances"][dependency.as_str()];
        let (limits, breaker) = (&policy.time_limiter, policy.circuit_breaker.as_ref().unwrap());
        assert_eq!(duration(&instance("timelimiter")["timeout-duration"]), Some(limits.timeout_duration));
        let written = instance("circuitbreaker");
        assert_eq!(duration(&written["wait-duration-in-open-state"]), breaker_wait(policy));
        match (breaker.failure_rate_threshold, breaker.consecutive_failure_threshold) {
            (Some(rate), _) => {
                assert_eq!(written["failure-rate-threshold"].as_f64(), Some(rate));
                assert_eq!(written["sliding-window-size"], breaker.sliding_window_size);
                assert_eq!(written["minimum-number-of-calls"], breaker.minimum_number_of_calls);
            }
            (None, Some(failures)) => {
                // Trips on the n-th consecutive failure and on nothing else, as this program's breaker does.
                assert_eq!(written["failure-rate-threshold"], 100);
                assert_eq!(written["sliding-window-size"], failures);
                assert_eq!(written["minimum-number-of-calls"], failures);
            }
            (None, None) => {}
        }
        let probes = breaker.permitted_number_of_calls_in_half_open_state;
        assert_eq!(written["permitted-number-of-calls-in-half-open-state"], probes);
        assert_eq!(instance("retry")["max-attempts"].as_u64(), retries(policy).map(|retries| retries + 1));
        let places = policy.bulkhead.as_ref().map(|bulkhead| u64::from(bulkhead.max_concurrent_calls));
        assert_eq!(instance("bulkhead")["max-concurrent-calls"].as_u64(), places);
    }
    let gateway = all.iter().find(|file| file["spring"]["config"]["activate"]["on-profile"] == "gateway").unwrap();
    let orders = &gateway["resilience4j"]["ratelimiter"]["instances"]["orders"];
    assert_eq!(orders["limit-for-period"], source.rate_limit.limit_for_period);
}

#[test]
fn each_envoy_cluster_has_its_policys_numbers() {
    let source = source(&[]);
    let all = documents(&envoy::policies(&source)).remove(0);
    for ((caller, dependency), policy) in &source.policies {
        let named = |list: &str| {
            let name = format!("{caller}-{dependency}");
            all[list].as_array().unwrap().iter().find(|item| item["name"] == *name).unwrap().clone()
        };
        let (cluster, host) = (named("clusters"), named("virtual_hosts"));
        assert_eq!(duration(&cluster["connect_timeout"]), Some(policy.time_limiter.connect_timeout()));
        let threshold = &cluster["circuit_breakers"]["thresholds"][0];
        let places = policy.bulkhead.as_ref().map(|bulkhead| u64::from(bulkhead.max_concurrent_calls));
        if let Some(places) = places {
            assert_eq!(threshold["max_requests"], places);
            assert_eq!(threshold["max_pending_requests"], places, "a burst gets its connections");
            assert_eq!(threshold["max_connections"], 2 * places, "further calls get 503 and do not wait");
        }
        let breaker = policy.circuit_breaker.as_ref().unwrap();
        let outlier = &cluster["outlier_detection"];
        assert_eq!(duration(&outlier["base_ejection_time"]), breaker_wait(policy));
        assert_eq!(outlier["consecutive_5xx"].as_u64(), breaker.consecutive_failure_threshold.map(u64::from));
        assert_eq!(outlier["failure_percentage_threshold"].as_f64(), breaker.failure_rate_threshold);
        let last = host["routes"].as_array().unwrap().last().unwrap();
        assert_eq!(duration(&last["route"]["timeout"]), Some(policy.time_limiter.timeout_duration));
        assert!(last["route"]["retry_policy"].is_null(), "only GET and HEAD are retried");
        let retried = &host["routes"][0]["route"]["retry_policy"]["num_retries"];
        assert_eq!(retried.as_u64(), retries(policy));
    }
    assert!(ServiceName::ALL.iter().all(|service| source.port(*service) > 0));
}
