//! End to end: the program, a Prometheus and an Alertmanager with the repository's own files.
//!
//! For speed, copies of the files differ in this: scrapes and evaluations every second, each `for` and
//! `keep_firing_for` a tenth as long, group waits of a second or two. Expressions and their windows are those shipped.
//! The tests mostly wait, so each has its own stack and all run at once.
//!
//! Needs `PROMETHEUS`, `PROMTOOL` and `ALERTMANAGER` (`./test` sets them), or those programs on the PATH.
//! `BREAKERBOX_DRILLS=all cargo test --test live` drills every alert that can be drilled in less than half an hour, at
//! the shipped pace, in about two hours, and writes tables to `target/drills/`.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod exposition;
mod hands;
mod kept;
mod list;
mod pages;
mod process;
mod profiles;
mod rounds;
mod stack;
mod tools;

use std::time::Duration;

use serde_json::Value;

use stack::{Pace, Setup, Stack};

/// Default drills: one alert on a breaker's state, one on a counter, one on what viewers experience, and the heartbeat.
const DRILLS: &[&str] = &["Watchdog", "CircuitBreakerOpen", "CircuitBreakerTripped", "PlaybackErrorsHigh"];

/// Payments that succeed until a drill and then fail fast enough for a test: shorter waits, fewer attempts.
/// Reservations of seats must not fail on a busy machine, because an order that fails for that reason also counts as
/// revenue at risk.
const FAST_PAYMENTS: &str = r#"
[faults.payment-gateway]
error-rate = 0.0
[policies.checkout.payment-gateway]
circuit-breaker.wait-duration-in-open-state = "15s"
[policies.checkout.inventory]
circuit-breaker = false
time-limiter.timeout-duration = "10s"
time-limiter.total-timeout = "12s"
[checkout.queue]
max-attempts = 6
"#;

async fn stack(name: &str, settings: &str) -> Option<Stack> {
    Some(Stack::start(&tools::Tools::find()?, Setup { name, settings }).await)
}

#[tokio::test]
async fn alerts_fire_arrive_and_resolve() {
    let Some(tools) = tools::Tools::find() else { return };
    let stack = Stack::start(&tools, Setup { name: "main", settings: "" }).await;

    exposition::promtool_has_no_complaint(&tools, &stack).await;
    exposition::an_exemplar_leads_to_its_trace(&stack).await;

    stack.stopped_by_hand("PlaybackErrorsHigh").await;
    let fast = match stack.pace {
        Pace::Fast => [DRILLS, &["--fast"]].concat(),
        Pace::Shipped => vec!["--all"],
    };
    passed(&stack.drill(&fast).await);
    stack.dashboards_have_data();
}

/// Each has its own stack, because they mostly wait.
#[tokio::test]
async fn alerts_raised_by_hand_or_slowly_fire() {
    tokio::join!(
        targets_that_are_down_gone_or_wrong(),
        a_rule_that_fails(),
        a_receiver_that_is_gone(),
        payments_that_fail()
    );
}

async fn targets_that_are_down_gone_or_wrong() {
    let Some(stack) = stack("targets", "").await else { return };
    stack.a_process_that_hangs().await;
    stack.something_else_at_the_address().await;
    stack.two_states_at_once().await;
    stack.a_label_that_hides_ours().await;
    stack.a_part_of_the_monitoring_that_is_down().await;
    stack.one_of_two_targets_that_left().await;
    stack.a_target_that_left_the_configuration().await;
    stack.has_history_of(Duration::from_secs(320)).await;
    stack.a_breaker_that_a_restart_lost().await;
}

async fn a_rule_that_fails() {
    let Some(stack) = stack("rules", "").await else { return };
    stack.a_configuration_that_is_refused().await;
    stack.a_rule_that_fails().await;
}

async fn a_receiver_that_is_gone() {
    let Some(stack) = stack("receiver", "").await else { return };
    stack.a_process_that_crashes_in_a_loop().await;
    stack.a_receiver_that_is_gone().await;
}

/// At the shipped pace `--all` includes these drills.
async fn payments_that_fail() {
    if Pace::asked_for() == Pace::Shipped {
        return;
    }
    let Some(stack) = stack("payments", FAST_PAYMENTS).await else { return };
    let drills = ["PaymentRevenueAtRisk", "RetryQueueDeadLetters", "RetryQueueBacklog"];
    passed(&stack.drill(&drills).await);
}

/// No drill failed, and at least one passed.
fn passed(report: &Value) {
    let drills = report["drills"].as_array().unwrap();
    let of = |outcome: &str| drills.iter().filter(|drill| drill["outcome"] == outcome).count();
    let not_passed: Vec<_> =
        drills.iter().filter(|drill| !matches!(drill["outcome"].as_str(), Some("passed" | "skipped"))).collect();
    assert!(not_passed.is_empty(), "{}", serde_json::to_string_pretty(&not_passed).unwrap());
    assert!(of("passed") > 0, "nothing was drilled: {report}");
    for drill in drills.iter().filter(|drill| drill["outcome"] == "passed" && drill["alert"] != "Watchdog") {
        let seconds = &drill["seconds"];
        assert!(seconds["firing"].is_number() && seconds["resolved"].is_number(), "{drill}");
        let unheard =
            |note: &Value| ["muted", "reaches no receiver"].iter().any(|why| note.as_str().unwrap().contains(why));
        let unheard = drill["notes"].as_array().unwrap().iter().any(unheard);
        assert!(unheard || seconds["notified"].is_number(), "{drill}");
    }
}
