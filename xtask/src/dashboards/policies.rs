//! Resilience policies: what retries, bulkheads, hedges, limits and fallbacks cost and save.

use breakerbox_telemetry::names::{self, label, value};
use serde_json::json;

use super::dashboard::{Dashboard, Section};
use super::panel::{Kind, Panel, Query};
use super::query::{increase, is, max, mean, or_zero, quantile, rate, series, share, sum};
use super::theme;

const BREAKER: &[&str] = &[label::SERVICE, label::BREAKER];
const CALL: &str = "{{service}} → {{breaker}}";
const POOL: &str = "{{service}} → {{bulkhead}}";
const BULKHEAD: &[&str] = &[label::SERVICE, label::BULKHEAD];

pub fn page() -> Dashboard {
    Dashboard {
        uid: "breakerbox-policies",
        title: "Resilience policies",
        description: "What retries, bulkheads, hedges, rate limits and fallbacks do now, and whether they \
            help or harm.",
        lists_targets_by: names::BUILD_INFO.name,
        variables: Vec::new(),
        sections: vec![
            Section::titled("Retries", retries()),
            Section::titled("Fallbacks", fallbacks()),
            Section::titled("Bulkheads, hedges and rate limits", limits()),
        ],
    }
}

/// One series for each label value, stacked, in the order given.
fn by_value(panel: Panel, values: &[&str], ask: impl Fn(&str) -> String) -> Panel {
    let mut panel = panel.between(0.0, None).stacked().meanings(values);
    for value in values {
        panel = panel.ask(Query::over_time(or_zero(&sum(&[], &ask(value))), value));
    }
    panel
}

fn retries() -> Vec<([u32; 4], Panel)> {
    vec![
        ([0, 0, 12, 8], ended()),
        ([12, 0, 12, 8], amplified()),
        ([0, 8, 8, 11], causes()),
        ([8, 8, 8, 11], budget()),
        ([16, 8, 8, 11], prediction()),
    ]
}

fn ended() -> Panel {
    by_value(
        Panel::new(
            Kind::TimeSeries,
            "Calls by how retrying ended",
            "Sky blue was saved by a retry; purple is where the budget stopped retrying. Red \
             after retries: the dependency is down, and retrying only adds load.",
        )
        .unit("cps")
        .when_empty("No call went through a retry policy"),
        &[
            "failed_with_retry",
            "failed_without_retry",
            "budget_exhausted",
            "stopped",
            "success_with_retry",
            "success_without_retry",
        ],
        |outcome| rate(&names::RETRY_CALLS, &[is(label::OUTCOME, outcome)]),
    )
}

fn amplified() -> Panel {
    let calls = rate(&names::RETRY_CALLS, &[]);
    let amplification = format!(
        "(1 + {attempts} / ({calls} > 0)) or ({calls} * 0 + 1)",
        attempts = sum(BREAKER, &rate(&names::RETRY_ATTEMPTS, &[])),
        calls = sum(BREAKER, &calls),
    );
    Panel::new(
        Kind::TimeSeries,
        "Amplification",
        "Attempts for each call. 1 is no retry at all; what the budget allows is a little \
         above. A line that climbs with a dependency's errors is how retry storms begin.",
    )
    .unit("suffix: ×")
    .between(1.0, None)
    .custom("fillOpacity", json!(0))
    .identities(theme::DEPENDENCIES)
    .ask(Query::over_time(amplification, CALL))
    .when_empty("No call went through a retry policy")
}

fn causes() -> Panel {
    by_value(
        Panel::new(
            Kind::TimeSeries,
            "Retries by cause",
            "Attempts after the first, by the error that caused them. Rate-limited ones ask to \
             slow down, not to try harder.",
        )
        .unit("cps")
        .when_empty("No call went through a retry policy"),
        value::RETRY_REASONS,
        |reason| rate(&names::RETRY_ATTEMPTS, &[is(label::REASON, reason)]),
    )
}

fn budget() -> Panel {
    let tokens = format!(
        "{} / ({} > 0)",
        max(BREAKER, &series(&names::RETRY_BUDGET_TOKENS, &[])),
        max(BREAKER, &series(&names::RETRY_BUDGET_CAPACITY, &[]))
    );
    Panel::new(
        Kind::TimeSeries,
        "Retry budget left",
        "Share of the retry budget that is left. At 0 calls fail at once instead of adding \
         load to a dependency in trouble; it refills with successes.",
    )
    .unit("percentunit")
    .between(0.0, Some(1.0))
    .custom("fillOpacity", json!(0))
    .identities(theme::DEPENDENCIES)
    .ask(Query::over_time(tokens, CALL))
    .when_empty("No retry budget is configured")
}

fn prediction() -> Panel {
    // Retries are rare in good times: five minutes of them make a share that means something.
    let succeeded = increase(&names::RETRY_PREDICTED_SUCCESS, &[is(label::OUTCOME, "success")], "5m");
    let predicted = mean(&names::RETRY_PREDICTED_SUCCESS, "5m");
    let actual = or_zero(&share(&[], &succeeded, &increase(&names::RETRY_PREDICTED_SUCCESS, &[], "5m")));
    Panel::new(
        Kind::TimeSeries,
        "Retry success, predicted and actual",
        "Mean chance that the retry predictor gave, beside the share of retries that did \
         succeed, over 5 minutes. Lines together: trust it. Predicted far above actual: it \
         sends retries in vain.",
    )
    .unit("percentunit")
    .between(0.0, Some(1.0))
    .configure(theme::paint("predicted", theme::colour("popular")))
    .configure(theme::paint("actual", theme::GOOD))
    .ask(Query::over_time(predicted, "predicted"))
    .ask(Query::over_time(actual, "actual"))
    .when_empty("No retry was predicted")
}

fn fallbacks() -> Vec<([u32; 4], Panel)> {
    let mut age = Panel::new(
        Kind::TimeSeries,
        "Age of cached answers",
        "How old the cached answers were that stood in for live ones. Rising steadily: the \
         cache is not refilled while the dependency is away; think about how old is too old.",
    )
    .unit("s")
    .between(0.0, None)
    .meanings(&["p50", "p95"])
    .when_empty("No cached answer was served");
    for (q, name) in [("0.5", "p50"), ("0.95", "p95")] {
        age = age.ask(Query::over_time(or_zero(&quantile(q, &[], &names::FALLBACK_STALENESS, &[])), name));
    }
    vec![([0, 0, 12, 8], kinds()), ([12, 0, 12, 8], reasons()), ([0, 8, 12, 8], failed()), ([12, 8, 12, 8], age)]
}

fn kinds() -> Panel {
    by_value(
        Panel::new(
            Kind::TimeSeries,
            "Fallbacks by kind",
            "Answers from elsewhere in place of the live one. Cached answers are the viewer's own \
             from before; popular ones are the same for all; a notice is an answer without \
             content.",
        )
        .unit("cps")
        .when_empty("No fallback is configured"),
        value::FALLBACK_KINDS,
        |kind| rate(&names::FALLBACK_CALLS, &[is(label::KIND, kind)]),
    )
}

fn reasons() -> Panel {
    by_value(
        Panel::new(
            Kind::TimeSeries,
            "Fallbacks by reason",
            "Why the live answer was missing. Red is an open breaker: cheap. Timeouts are dear: \
             someone waited for each. Many of them: shorten the timeout or let the breaker trip \
             earlier.",
        )
        .unit("cps")
        .when_empty("No fallback is configured"),
        value::FALLBACK_REASONS,
        |reason| rate(&names::FALLBACK_CALLS, &[is(label::REASON, reason)]),
    )
}

fn failed() -> Panel {
    Panel::new(
        Kind::TimeSeries,
        "Fallbacks that failed",
        "Fallbacks that were tried and had nothing to give; the next one in the chain was \
         asked. What the last one can't give becomes an error.",
    )
    .unit("cps")
    .between(0.0, None)
    .meanings(value::FALLBACK_KINDS)
    .ask(Query::over_time(sum(&["kind"], &rate(&names::FALLBACK_FAILURES, &[])), "{{kind}}"))
    .when_empty("No fallback is configured")
}

fn limits() -> Vec<([u32; 4], Panel)> {
    vec![
        ([0, 0, 8, 11], saturation()),
        ([8, 0, 8, 11], waiting()),
        ([16, 0, 8, 11], turned_away()),
        ([0, 11, 12, 8], hedges()),
        ([12, 11, 12, 8], limiter()),
    ]
}

fn saturation() -> Panel {
    let used = format!(
        "{} / ({} > 0)",
        max(BULKHEAD, &series(&names::BULKHEAD_IN_FLIGHT, &[])),
        max(BULKHEAD, &series(&names::BULKHEAD_CAPACITY, &[]))
    );
    Panel::new(
        Kind::TimeSeries,
        "Bulkheads in use",
        "Share of each bulkhead's places that are taken. One at 100 % beside idle ones is \
         isolation at work: only calls to that dependency wait. The bare gateway has one pool \
         for all.",
    )
    .unit("percentunit")
    .between(0.0, Some(1.0))
    .custom("fillOpacity", json!(0))
    .identities(theme::DEPENDENCIES)
    .identities(theme::POOLS)
    .ask(Query::over_time(used, POOL))
    .when_empty("No bulkhead is configured")
}

fn waiting() -> Panel {
    Panel::new(
        Kind::TimeSeries,
        "Waiting for a place",
        "Calls in each bulkhead's queue. A queue that does not empty only adds waiting: \
         reject earlier or find out what is slow.",
    )
    .unit("short")
    .between(0.0, None)
    .custom("fillOpacity", json!(0))
    .identities(theme::DEPENDENCIES)
    .identities(theme::POOLS)
    .ask(Query::over_time(max(BULKHEAD, &series(&names::BULKHEAD_QUEUE_LENGTH, &[])), POOL))
    .when_empty("No bulkhead is configured")
}

fn turned_away() -> Panel {
    Panel::new(
        Kind::TimeSeries,
        "Turned away by bulkheads",
        "Calls that found no place in time. With a fallback this is protection; without one \
         it is an error for a viewer.",
    )
    .unit("cps")
    .between(0.0, None)
    .custom("fillOpacity", json!(0))
    .identities(theme::DEPENDENCIES)
    .identities(theme::POOLS)
    .ask(Query::over_time(sum(BULKHEAD, &rate(&names::BULKHEAD_REJECTED, &[])), POOL))
    .when_empty("No bulkhead is configured")
}

fn hedges() -> Panel {
    by_value(
        Panel::new(
            Kind::TimeSeries,
            "Hedged attempts",
            "Second attempts sent while the first was slow. Green answered first: time saved for \
             that viewer. Mostly lost: the hedge delay is too short and only adds load.",
        )
        .unit("cps")
        .when_empty("No hedging is configured"),
        value::HEDGE_OUTCOMES,
        |outcome| rate(&names::HEDGE_REQUESTS, &[is(label::OUTCOME, outcome)]),
    )
}

fn limiter() -> Panel {
    by_value(
        Panel::new(
            Kind::TimeSeries,
            "Ingress rate limit",
            "Requests at the gateway's rate limiter. Amber was answered with 429 before any work \
             was done: more than the service promises to serve.",
        )
        .unit("reqps")
        .when_empty("No rate limiter is configured"),
        &["limited", "allowed"],
        |outcome| rate(&names::RATE_LIMITER_REQUESTS, &[is(label::OUTCOME, outcome)]),
    )
}
