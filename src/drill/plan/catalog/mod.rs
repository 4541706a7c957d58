//! Plans: how each alert is raised, or why it can't be.
//!
//! The order is the order of `--all`. Times fit the shipped rules and the default topology under its default load.
//! Several plans first put a breaker into `metrics_only`, in which it keeps counting and admits all calls, so that an
//! alert on calls can be raised: an open breaker only admits probes, and alerts on calls ignore a breaker for over a
//! minute after it was open.

mod by_hand;

use std::time::Duration;

use super::{Heal, How, Needs, Plan, Raise, Step};
use by_hand::by_hand;

/// Everything fails.
const ERRORS: &str = r#"{"error_rate": 1.0}"#;
/// Slower than the slow-call threshold, faster than the timeout, and with the default error rate.
const SLOW: &str = r#"{"latency": {"fixed": "900ms"}, "error_rate": 0.1}"#;

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// All alerts, in the order of `--all`.
#[must_use]
pub fn plans() -> Vec<Plan> {
    [always(), breakers(), calls(), viewers(), policies(), slow(), checkout(), hours(), by_hand()].concat()
}

fn raise(what: &'static str, steps: Vec<Step>, ramp: Duration, fade: Duration) -> Raise {
    Raise { what, steps, opens: None, labels: Vec::new(), ramp, fade, needs: None, heals: None }
}

fn plan(alert: &'static str, severity: &'static str, raise: Raise) -> Plan {
    Plan { alert, severity, how: How::Raise(raise) }
}

fn always() -> Vec<Plan> {
    vec![Plan { alert: "Watchdog", severity: "none", how: How::Always }]
}

fn breaker_labels(service: &'static str, breaker: &'static str) -> Vec<(&'static str, &'static str)> {
    vec![("service", service), ("breaker", breaker)]
}

/// The catalog fails, and the gateway's breaker for it opens.
fn catalog_outage(ramp: Duration, fade: Duration) -> Raise {
    Raise {
        opens: Some(("gateway", "catalog")),
        labels: breaker_labels("gateway", "catalog"),
        ..raise("catalog answers every request with an error", vec![Step::Fault("catalog", ERRORS)], ramp, fade)
    }
}

fn breakers() -> Vec<Plan> {
    let recovering = r#"{"recovery-stages": [1.0], "permitted-number-of-calls-in-half-open-state": 100,
        "max-wait-duration-in-half-open-state": "10m", "wait-duration-in-open-state": "2s"}"#;
    let stuck = Raise {
        opens: Some(("gateway", "user")),
        labels: breaker_labels("gateway", "user"),
        ..raise(
            "gateway/user opens, and is set to recover over 100 probes among 1 % of the calls",
            vec![
                Step::Settings("gateway", "user", recovering),
                Step::Fault("user", ERRORS),
                Step::AwaitOpen("gateway", "user"),
                Step::Mend("user"),
            ],
            // The first hundred probes complete before the slow ones begin; the alert then needs two minutes.
            s(200),
            s(15),
        )
    };
    vec![
        plan("CircuitBreakerTripped", "info", catalog_outage(s(10), s(70))),
        // The alert fires when the breaker was open for most of half a minute.
        plan("CircuitBreakerOpen", "warning", catalog_outage(s(45), s(50))),
        plan("CircuitBreakerStuckHalfOpen", "info", stuck),
    ]
}

/// The catalog fails this often, while its breaker is in `metrics_only`.
fn catalog_fails(what: &'static str, fault: &'static str, ramp: Duration, fade: Duration) -> Raise {
    let steps = vec![Step::Command("gateway", "catalog", "metrics_only"), Step::Fault("catalog", fault)];
    Raise { labels: breaker_labels("gateway", "catalog"), ..raise(what, steps, ramp, fade) }
}

fn calls() -> Vec<Plan> {
    let slow = |ramp, fade| {
        let steps = vec![Step::Command("recommendation", "ml-api", "metrics_only"), Step::Fault("ml-api", SLOW)];
        Raise {
            labels: breaker_labels("recommendation", "ml-api"),
            ..raise("ml-api takes 900 ms of its 1 s, with its breaker in metrics_only", steps, ramp, fade)
        }
    };
    vec![
        plan(
            "CircuitBreakerFailureRatioHigh",
            "info",
            catalog_fails(
                "catalog fails 2 of 5 requests, with its breaker in metrics_only",
                r#"{"error_rate": 0.4}"#,
                s(160),
                s(60),
            ),
        ),
        plan(
            "CircuitBreakerFailureRatioHigh",
            "warning",
            catalog_fails(
                "catalog fails 9 of 10 requests, with its breaker in metrics_only",
                r#"{"error_rate": 0.9}"#,
                s(150),
                s(60),
            ),
        ),
        plan("CircuitBreakerSlowCallsHigh", "info", slow(s(150), s(70))),
        plan("CircuitBreakerLatencyNearTimeout", "info", slow(s(120), s(150))),
    ]
}

fn viewers() -> Vec<Plan> {
    let gateway = |what, fault, ramp, fade| Raise {
        labels: vec![("service", "gateway")],
        ..raise(what, vec![Step::Fault("gateway", fault)], ramp, fade)
    };
    let catalog = |ramp, fade| {
        catalog_fails(
            "catalog answers every request with an error, with its breaker in metrics_only",
            ERRORS,
            ramp,
            fade,
        )
    };
    let hang = Raise {
        labels: vec![("service", "gateway-bare")],
        ..raise(
            "catalog takes requests and never answers: gateway-bare has only one pool",
            vec![Step::Fault("catalog", r#"{"hang_rate": 1.0}"#)],
            s(90),
            s(75),
        )
    };
    vec![
        plan(
            "PlaybackErrorsHigh",
            "critical",
            gateway("gateway fails every second page", r#"{"error_rate": 0.5}"#, s(30), s(75)),
        ),
        plan("FallbackSurge", "info", catalog(s(60), s(80))),
        plan("FallbackShareHigh", "info", catalog(s(60), s(80))),
        plan("BulkheadSaturated", "info", hang),
        plan(
            "NoTraffic",
            "warning",
            gateway("gateway crashes: nothing listens on its port", r#"{"crash": true}"#, s(70), s(15)),
        ),
    ]
}

fn policies() -> Vec<Plan> {
    let retried = |service, breaker, (what, steps), needs, (ramp, fade)| Raise {
        labels: breaker_labels(service, breaker),
        needs: Some(needs),
        ..raise(what, steps, ramp, fade)
    };
    // A baseline of zero retries also makes the surge at a third of failures visible.
    let usual = Needs {
        query: r#"sum(rate(retry_calls_total{service="gateway",breaker="user"}[5m] offset 6m)) > 0"#,
        otherwise: "calls to user are not retried, or for less than 6 minutes, so that no usual is known",
    };
    let surge = (
        "user fails 1 of 3 requests, with its breaker in metrics_only",
        vec![Step::Command("gateway", "user", "metrics_only"), Step::Fault("user", r#"{"error_rate": 0.35}"#)],
    );
    let needs = Needs {
        query: r#"sum(increase(retry_attempts_total{service="recommendation",breaker="ml-api"}[2m])) > 0"#,
        otherwise: "calls to ml-api are not retried: set policies.recommendation.ml-api.retry",
    };
    let exhausted = (
        "ml-api fails 11 of 20 requests, with its breaker in metrics_only",
        vec![
            Step::Command("recommendation", "ml-api", "metrics_only"),
            Step::Fault("ml-api", r#"{"error_rate": 0.55}"#),
        ],
    );
    vec![
        plan("RetrySurge", "info", retried("gateway", "user", surge, usual, (s(160), s(80)))),
        plan("RetryBudgetExhausted", "info", retried("recommendation", "ml-api", exhausted, needs, (s(120), s(75)))),
    ]
}

/// Alerts that take many minutes to fire or resolve.
fn slow() -> Vec<Plan> {
    let mut steps = Vec::new();
    for _ in 0..4 {
        steps.extend([
            Step::Fault("user", ERRORS),
            Step::AwaitOpen("gateway", "user"),
            Step::Mend("user"),
            Step::Command("gateway", "user", "reset"),
        ]);
    }
    let flapping = Raise {
        opens: Some(("gateway", "user")),
        labels: breaker_labels("gateway", "user"),
        ..raise("user fails until gateway/user opens, four times over", steps, s(60), s(320))
    };
    let failing = Raise {
        labels: breaker_labels("gateway", "catalog"),

        ..catalog_fails(
            "catalog fails until the answers kept by the gateway are too old (gateway.stale-after)",
            ERRORS,
            s(720),
            s(80),
        )
    };
    let burning = Raise {
        labels: vec![("service", "gateway")],
        needs: Some(Needs {
            query: r#"playback_requests_total{service="gateway"} offset 15m"#,
            otherwise: "Prometheus has been watching for less than 15 minutes",
        }),
        ..raise("gateway fails every page", vec![Step::Fault("gateway", ERRORS)], s(900), s(320))
    };
    vec![
        plan("FallbackFailing", "info", failing),
        plan("CircuitBreakerFlapping", "warning", flapping),
        plan("PlaybackAvailabilityBurn1h", "critical", burning),
    ]
}

fn checkout() -> Vec<Plan> {
    let payment = |what, fault, ramp, fade| Raise {
        labels: vec![("service", "checkout")],
        needs: Some(Needs {
            query: r#"retry_queue_capacity_items{service="checkout"}"#,
            otherwise: "there is no checkout service here",
        }),
        // By default it fails three times in ten, so every few dozen orders it fails three times in a row.
        heals: Some(Heal { target: "payment-gateway", breaker: ("checkout", "payment-gateway"), calm: s(400) }),
        ..raise(what, vec![Step::Fault("payment-gateway", fault)], ramp, fade)
    };
    let unavailable = Raise {
        labels: vec![("service", "checkout")],
        ..raise("inventory answers every request with an error", vec![Step::Fault("inventory", ERRORS)], s(75), s(75))
    };
    let outage = "payment-gateway answers every request with an error";
    let dead = Raise {
        steps: vec![
            Step::ReplayAfterwards,
            Step::Command("checkout", "payment-gateway", "metrics_only"),
            Step::Fault("payment-gateway", ERRORS),
        ],
        ..payment(
            "payment-gateway answers every request with an error, with its breaker in metrics_only, until an order \
             has no attempts left",
            ERRORS,
            s(420),
            s(45),
        )
    };
    vec![
        plan("RetryQueueDeadLetters", "critical", dead),
        plan("PaymentRevenueAtRisk", "critical", payment(outage, ERRORS, s(75), s(420))),
        plan("RetryQueueBacklog", "info", payment(outage, ERRORS, s(120), s(600))),
        plan("RetryQueueStalled", "warning", payment(outage, ERRORS, s(480), s(720))),
        plan("CheckoutUnavailable", "critical", unavailable),
    ]
}

/// Alerts with windows of hours: `--all` skips them without `--long`.
fn hours() -> Vec<Plan> {
    let gateway = |what, fault, ramp, fade| Raise {
        labels: vec![("service", "gateway")],
        ..raise(what, vec![Step::Fault("gateway", fault)], ramp, fade)
    };
    let catalog = |ramp, fade| Raise {
        labels: vec![("service", "gateway")],
        ..catalog_fails(
            "catalog answers every request with an error, with its breaker in metrics_only",
            ERRORS,
            ramp,
            fade,
        )
    };
    // The ramp is the share of the long window that must have failed: 72 % of an hour, 6 % and 30 % of six hours; the
    // history must reach back 15 and 90 minutes, 6 and 18 hours.
    let failing = |ramp, fade| gateway("gateway fails 3 pages of 10", r#"{"error_rate": 0.3}"#, ramp, fade);
    vec![
        plan("PlaybackQualityBurn1h", "critical", catalog(s(2_700), s(330))),
        plan("PlaybackAvailabilityBurn6h", "critical", failing(s(5_700), s(1_800))),
        plan("PlaybackQualityBurn6h", "critical", catalog(s(6_900), s(1_500))),
        plan("PlaybackAvailabilityBurn1d", "warning", failing(s(22_000), s(7_300))),
        plan("PlaybackQualityBurn1d", "warning", catalog(s(22_000), s(7_300))),
        plan("PlaybackAvailabilityBurn3d", "warning", failing(s(65_000), s(21_700))),
        plan("PlaybackQualityBurn3d", "warning", catalog(s(65_000), s(21_700))),
    ]
}
