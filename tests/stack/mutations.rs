//! Mutation tests of the rules: each mutation must make the unit tests fail.

use std::fs;
use std::path::Path;
use std::thread;

use crate::scratch::Scratch;
use crate::tools::{run, tool};

/// A file under test, the change to it, and the unit tests that must fail.
struct Mutation {
    file: &'static str,
    from: &'static str,
    to: &'static str,
    tests: &'static str,
    /// Prefix of the names of the cases to run.
    cases: &'static str,
}

const fn change(
    file: &'static str,
    from: &'static str,
    to: &'static str,
    (tests, cases): (&'static str, &'static str),
) -> Mutation {
    Mutation { file, from, to, tests, cases }
}

const BREAKERS: &str = "alerts/breakers.yml";
const RESILIENCE: &str = "alerts/resilience.yml";
const RECORDED: &str = "prometheus/rules/breakers.yml";
const ORDERS: &str = "prometheus/rules/checkout.yml";

const TARGETS: &str = "alerts/targets.yml";
const MONEY: &str = "alerts/checkout.yml";
const SLO: &str = "alerts/slo.yml";
const VIEWERS: &str = "prometheus/rules/slo.yml";

const MUTATIONS: &[Mutation] = &[
    // Wrong thresholds.
    change(BREAKERS, "[5m])) >= 3", "[5m])) > 2", ("breakers.yml", "CircuitBreakerFlapping")),
    change(
        BREAKERS,
        "gateway-bare\"} > 0.5\n",
        "gateway-bare\"} > 0.85\n",
        ("breakers.yml", "CircuitBreakerFailureRatioHigh"),
    ),
    change(
        BREAKERS,
        "gateway-bare\"} > 0.3\n",
        "gateway-bare\"} > 0.45\n",
        ("breakers.yml", "CircuitBreakerFailureRatioHigh"),
    ),
    change(BREAKERS, "0.8 * max", "1.2 * max", ("breakers.yml", "CircuitBreakerLatency")),
    change(BREAKERS, "[30s]) >= 0.8", "[30s]) == 1", ("times.yml", "CircuitBreakerOpen goes")),
    change(RESILIENCE, "> 1.2 * job_service", "> 0.9 * job_service", ("resilience.yml", "FallbackFailing")),
    change(RESILIENCE, "> 3 * (", "> 60 * (", ("resilience.yml", "FallbackSurge")),
    change(MONEY, "[5m]) > 0.9", "[5m]) > -1", ("checkout.yml", "RetryQueueStalled")),
    change(SLO, "> 3 * 0.01", "> 6 * 0.01", ("burn.yml", "PlaybackAvailabilityBurn catches")),
    change(SLO, "> 14.4 * 0.05", "> 19 * 0.05", ("burn.yml", "PlaybackQualityBurn fires")),
    // Dropped guards: low traffic, a new stack, history, probes, services that are unprotected on purpose.
    change(RECORDED, "> 0.08)", "> 0)", ("breakers.yml", "CircuitBreakerFailureRatioHigh catches")),
    change(RECORDED, "> 0.08)", "> 0.2)", ("breakers.yml", "CircuitBreakerFailureRatioHigh catches")),
    change(
        BREAKERS,
        "{service!=\"gateway-bare\",exported_service!=\"gateway-bare\"}",
        "",
        ("breakers.yml", "CircuitBreakerOpen leaves"),
    ),
    change(
        BREAKERS,
        "          unless\n            max_over_time(job_service_breaker:circuit_breaker_open:max[80s]) == 1\n        for: 30s",
        "        for: 30s",
        ("breakers.yml", "CircuitBreakerFailureRatioHigh says"),
    ),
    change(
        BREAKERS,
        "          and\n            job_service_breaker:circuit_breaker_slow_calls:rate1m > 0.045\n",
        "",
        ("breakers.yml", "CircuitBreakerSlow"),
    ),
    change(
        RESILIENCE,
        "                or\n                  job_service_breaker:retry_attempts_per_calls:ratio_rate1m * 0 + 0.25\n",
        "",
        ("resilience.yml", "RetrySurge"),
    ),
    change(RESILIENCE, "gateway-bare\"} > 0.6\n", "gateway-bare\"} > 1\n", ("resilience.yml", "RetrySurge does not")),
    change(RESILIENCE, "[1m])) >= 3", "[1m])) > 0", ("resilience.yml", "RetryBudget")),
    change(RESILIENCE, "[1m]) > 0.08", "[1m]) > 0", ("resilience.yml", "BulkheadSaturated")),
    change("alerts/minimal.yml", "offset 15m", "offset 5m", ("minimal.yml", "PlaybackErrorsHigh and")),
    change(
        SLO,
        "service:playback_requests:rate5m > 0.05",
        "service:playback_requests:rate5m > 0",
        ("burn.yml", "PlaybackAvailabilityBurn fires"),
    ),
    change(SLO, "offset 90m", "offset 5m", ("burn.yml", "PlaybackAvailabilityBurn accepts")),
    change(
        TARGETS,
        "            max by (cluster, environment, namespace, job, exported_service) (up) == 1",
        "            group by (cluster, environment, namespace, job, exported_service) (up)",
        ("targets.yml", "BreakerSeriesLost"),
    ),
    // The most common mistake: only `open`, only the gauge.
    change(
        RECORDED,
        "state=~\"closed|disabled|metrics_only\"",
        "state=\"closed\"",
        ("breakers.yml", "CircuitBreakerOpen leaves"),
    ),
    change(
        BREAKERS,
        "sum by (cluster, environment, namespace, job, exported_service, service, breaker, reason) (increase(circuit_breaker_transitions_total{from=\"closed\",to=\"open\"}[1m])) > 0",
        "sum without (state) (changes(circuit_breaker_state{state=\"open\"}[1m])) > 0",
        ("breakers.yml", "CircuitBreakerTripped"),
    ),
    // A missed scrape, one instance of several.
    change(
        RECORDED,
        "last_over_time(circuit_breaker_state{state=~\"closed|disabled|metrics_only\"}[15s])",
        "(circuit_breaker_state{state=~\"closed|disabled|metrics_only\"} > -1)",
        ("times.yml", "CircuitBreakerOpen"),
    ),
    change(
        RECORDED,
        "            1 - max by (cluster, environment, namespace, job, exported_service, instance, service, breaker) (",
        "            1 - max by (cluster, environment, namespace, job, exported_service, service, breaker) (",
        ("breakers.yml", "CircuitBreakerOpen sits"),
    ),
    // Dropped labels and severities.
    change(BREAKERS, "service, breaker, reason) (", "service, breaker) (", ("breakers.yml", "CircuitBreakerTripped")),
    change(BREAKERS, "severity: warning", "severity: critical", ("breakers.yml", "CircuitBreakerOpen")),
    change(
        BREAKERS,
        "component: \"{{ $labels.breaker }}\"",
        "component: \"{{ $labels.service }}\"",
        ("breakers.yml", "CircuitBreakerTripped"),
    ),
    // Durations.
    change(BREAKERS, "for: 30s", "for: 21m", ("breakers.yml", "CircuitBreaker")),
    change(TARGETS, " and max_over_time(up[25s]) == 0 and", " and", ("targets.yml", "TargetDown sits")),
    change(
        TARGETS,
        "(last_over_time(up[15s]) == 0 and up offset 25s)",
        "(last_over_time(up[15s]) == 0)",
        ("targets.yml", "TargetDown sits"),
    ),
    change(
        TARGETS,
        "(last_over_time(up[15s]) == 0 and up offset 25s)",
        "(up == 0 and up offset 25s)",
        ("targets.yml", "an address from before a restart"),
    ),
    change(
        TARGETS,
        "last_over_time(up{job=~\"breakerbox(-.+)?\"}[15s]) == 1",
        "up{job=~\"breakerbox(-.+)?\"} == 1",
        ("targets.yml", "an address from before a restart"),
    ),
    change(TARGETS, "floor(quantile_over_time(0.5,", "floor(quantile_over_time(1,", ("targets.yml", "TargetLost")),
    change(
        "alerts/expected/compose.yml",
        "absent_over_time(up{job=\"breakerbox-checkout\"}[25s])",
        "up{job=\"breakerbox-checkout\"} == 0",
        ("targets.yml", "TargetAbsent"),
    ),
    // Renamed series and changed ratios in the recording rules that the alerts use.
    change(
        RECORDED,
        "outcome=~\"success|failure|timeout\"}[1m])) > 0.08",
        "outcome=\"success\"}[1m])) > 0.08",
        ("breakers.yml", "CircuitBreakerFailureRatioHigh"),
    ),
    change(
        RECORDED,
        "circuit_breaker_slow_calls_total",
        "circuit_breaker_slow_total",
        ("breakers.yml", "CircuitBreakerSlow"),
    ),
    change(
        RECORDED,
        "record: job_service_breaker:fallback_failures:rate1m",
        "record: job_service_breaker:fallback_failures:rate2m",
        ("resilience.yml", "FallbackFailing"),
    ),
    change(
        "prometheus/optional/resilience4j.yml",
        "100 * circuit_breaker_failure_ratio",
        "circuit_breaker_failure_ratio",
        ("optional-resilience4j.yml", ""),
    ),
    // Success as measured by viewers counts, and a deployment does not hide it.
    change(
        VIEWERS,
        "rate(traffic_request_duration_seconds_count{outcome=\"error\"}[1m])",
        "rate(traffic_request_duration_seconds_count{outcome=\"ok\"}[1m])",
        ("slo.yml", "PlaybackErrorsHigh uses"),
    ),
    change(
        VIEWERS,
        "sum by (cluster, environment, namespace, job, exported_service, service) (rate(playback_requests_total{outcome=\"error\"}[1d]))",
        "sum without (instance, outcome) (rate(playback_requests_total{outcome=\"error\"}[1d]))",
        ("burn.yml", "PlaybackAvailabilityBurn catches"),
    ),
    // Orders: which outcomes are successes, what all instances share in one database, what is at risk.
    change(
        ORDERS,
        "outcome=~\"paid|queued|payment_failed|unavailable\"",
        "outcome=~\"paid|queued\"",
        ("records.yml", ""),
    ),
    change(ORDERS, "outcome=~\"paid|queued\"", "outcome=\"queued\"", ("records.yml", "")),
    change(ORDERS, "outcome=~\"kept|lost\"", "outcome=\"kept\"", ("records.yml", "")),
    change(ORDERS, "answered:rate1m > 0", "answered:rate1m", ("records.yml", "")),
    change(
        ORDERS,
        "max by (cluster, environment, namespace, job, exported_service, service, queue) (retry_queue_depth",
        "sum by (cluster, environment, namespace, job, exported_service, service, queue) (retry_queue_depth",
        ("records.yml", ""),
    ),
    change(
        ORDERS,
        "max by (cluster, environment, namespace, job, exported_service, service, queue) (deriv",
        "sum by (cluster, environment, namespace, job, exported_service, service, queue) (deriv",
        ("records.yml", ""),
    ),
    change(ORDERS, "deriv2m < -0.001", "deriv2m < 0.001", ("records.yml", "")),
    change(
        MONEY,
        "job_service_queue:retry_queue_dead_items:max > 0",
        "retry_queue_dead_items > 0",
        ("checkout.yml", "RetryQueueDeadLetters"),
    ),
    change(
        MONEY,
        "service) (max_over_time(store_up[15s])) == 0",
        "service) (min_over_time(store_up[15s])) < 0",
        ("checkout.yml", "DatabaseDown"),
    ),
    change(
        MONEY,
        "max by (cluster, environment, namespace, job, exported_service, service) (max_over_time(store_up[15s])) == 1",
        "max by (cluster, environment, namespace, job, exported_service, service) (max_over_time(store_up[15s])) >= 0",
        ("checkout.yml", "DatabaseDown"),
    ),
    change(
        MONEY,
        "decisions_total{outcome=\"rejected\"}",
        "decisions_total{outcome=\"permitted\"}",
        ("checkout.yml", "StatelessBreakerRejecting"),
    ),
    change(
        MONEY,
        "decisions_total{outcome=\"unanswered\"}",
        "decisions_total{outcome=\"rejected\"}",
        ("checkout.yml", "StatelessBreakerBlind"),
    ),
    change(MONEY, "source_age_seconds) > 90", "source_age_seconds) > 70", ("checkout.yml", "StatelessBreakerBlind")),
    change(
        ORDERS,
        "(retry_queue_oldest_item_age_seconds unless on",
        "(retry_queue_oldest_item_age_seconds and on",
        ("checkout.yml", "what an instance without its database"),
    ),
    change(
        MONEY,
        "store_clock_ahead_seconds) > 2",
        "store_clock_ahead_seconds) > 1",
        ("checkout.yml", "InstanceClock"),
    ),
    change(
        MONEY,
        "store_clock_ahead_seconds) < -2",
        "store_clock_ahead_seconds) < -9999",
        ("checkout.yml", "InstanceClock"),
    ),
    change(
        MONEY,
        "ratio_rate1m{outcome=\"payment_failed\"}",
        "ratio_rate1m{outcome=\"unavailable\"}",
        ("checkout.yml", "PaymentRevenueAtRisk fires on orders"),
    ),
    change(MONEY, "[15s])\n", "[5m])\n", ("checkout.yml", "PaymentRevenueAtRisk fires while")),
    // Annotations.
    change(
        "alerts/pipeline.yml",
        "rule evaluations of {{ $labels.instance }}",
        "rule evaluations of {{ $labels.pod }}",
        ("pipeline.yml", ""),
    ),
];

/// Whether the unit tests fail on a mutated copy.
fn is_caught(promtool: &Path, number: usize, mutation: &Mutation) -> bool {
    let scratch = Scratch::with_rules(&format!("mutation-{number}"));
    let file = scratch.path().join(mutation.file);
    let text = fs::read_to_string(&file).expect("the copy can be read");
    assert!(text.contains(mutation.from), "{} no longer contains {:?}", mutation.file, mutation.from);
    fs::write(&file, text.replacen(mutation.from, mutation.to, 1)).expect("the copy can be written");
    let check = run(promtool, [Path::new("check"), Path::new("rules"), &file]);
    check.unwrap_or_else(|words| panic!("a mutation must stay valid, or it proves nothing: {words}"));
    let tests = scratch.path().join("alerts/tests").join(mutation.tests);
    let text = fs::read_to_string(&tests).expect("the copy can be read");
    let mut parts = text.split("\n  - name: ");
    let head = parts.next().unwrap_or_default().to_owned();
    let cases: Vec<_> = parts.filter(|case| case.starts_with(mutation.cases)).collect();
    assert!(!cases.is_empty(), "{} has no case that begins with {:?}", mutation.tests, mutation.cases);
    let chosen = cases.iter().map(|case| format!("\n  - name: {case}"));
    fs::write(&tests, head + &chosen.collect::<String>()).expect("the copy can be written");
    run(promtool, [Path::new("test"), Path::new("rules"), &tests]).is_err()
}

#[test]
fn every_mutation_of_a_rule_fails_its_unit_tests() {
    let Some(promtool) = tool("PROMTOOL") else { return };
    let numbered: Vec<_> = MUTATIONS.iter().enumerate().collect();
    let survivors: Vec<String> = thread::scope(|scope| {
        let halves = numbered.chunks(numbered.len().div_ceil(2));
        let running: Vec<_> = halves
            .map(|half| {
                let promtool = &promtool;
                scope.spawn(move || {
                    let survived = half.iter().filter(|(number, mutation)| !is_caught(promtool, *number, mutation));
                    survived
                        .map(|(_, mutation)| format!("{}: {:?} to {:?}", mutation.file, mutation.from, mutation.to))
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        running.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
    });
    assert!(survivors.is_empty(), "no unit test fails for:\n{}", survivors.join("\n"));
}
