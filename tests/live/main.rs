//! The real thing: the program, a Prometheus and an Alertmanager with the repository's own files.
//!
//! What is changed for speed, and only in a copy: scrapes and evaluations every second, each `for`
//! and `keep_firing_for` a tenth as long, group waits of a second or two. Expressions and their
//! windows are the shipped ones.
//!
//! Needs `PROMETHEUS`, `PROMTOOL` and `ALERTMANAGER` (`./test` sets them), or those programs on the
//! PATH. `BREAKERBOX_DRILLS=all cargo test --test live` drills all that can be drilled, which takes
//! most of an hour.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod exposition;
mod list;
mod process;
mod stack;
mod tools;

use serde_json::Value;

use stack::Stack;

/// What is drilled unless told otherwise: one by its breaker, one by its counter, one by what viewers
/// see, and the heartbeat.
const DRILLS: &[&str] = &["Watchdog", "CircuitBreakerOpen", "CircuitBreakerTripped", "PlaybackAvailabilityBurnDemo"];

#[tokio::test]
async fn alerts_fire_arrive_and_resolve() {
    let Some(tools) = tools::Tools::find() else { return };
    let stack = Stack::start(&tools).await;

    exposition::promtool_has_no_complaint(&tools, &stack).await;
    exposition::an_exemplar_leads_to_its_trace(&stack).await;

    stack.stopped_by_hand("PlaybackAvailabilityBurnDemo").await;

    // A process that hangs is a target that is down; a signal makes it so, and another ends it.
    let pid = stack.second.id();
    let (raise, clear) = (format!("kill -STOP {pid}"), format!("kill -CONT {pid}"));
    passed(&stack.drill(&["TargetDown", "--fast", "--raise", &raise, "--clear", &clear]).await);

    if std::env::var("BREAKERBOX_DRILLS").is_ok_and(|drills| drills == "all") {
        passed(&stack.drill(&["--all"]).await);
    } else {
        let fast = [DRILLS, &["--fast"]].concat();
        passed(&stack.drill(&fast).await);
    }
    stack.dashboards_have_data();
}

/// Each drill that was tried passed, and something was tried.
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
        let muted = drill["notes"].as_array().unwrap().iter().any(|note| note.as_str().unwrap().contains("muted"));
        assert!(muted || seconds["notified"].is_number(), "{drill}");
    }
}
