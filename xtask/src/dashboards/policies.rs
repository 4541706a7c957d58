//! Resilience policies: costs and benefits of retries, bulkheads, hedges, limits and fallbacks.

use breakerbox_telemetry::names::{self, label, value};
use serde_json::json;

use super::dashboard::{Dashboard, Section};
use super::panel::{Kind, Panel, Query};
use super::query::{increase, is, max, mean, not, or_zero, quantile, rate, series, share, sum};
use super::say;
use super::theme;
use super::tiles::{row, stepped};

const BREAKER: &[&str] = &[label::SERVICE, label::BREAKER];
const CALL: &str = "{{service}} → {{breaker}}";
const POOL: &str = "{{service}} → {{bulkhead}}";
const BULKHEAD: &[&str] = &[label::SERVICE, label::BULKHEAD];

pub fn page() -> Dashboard {
    Dashboard {
        uid: "breakerbox-policies",
        title: "Resilience policies",
        description: "Activity of retries, bulkheads, hedges, rate limits and fallbacks, and whether they \
            help or harm.",
        lists_targets_by: names::BUILD_INFO.name,
        variables: Vec::new(),
        sections: vec![
            Section::top(now()),
            Section::titled("Retries: repeat failed calls", retries()),
            Section::folded("More about retries", more_retries()),
            Section::titled("Fallbacks: substitute answers", fallbacks()),
            Section::folded("More about fallbacks", more_fallbacks()),
            Section::titled("Bulkheads limit concurrent calls; hedges send a second attempt", limits()),
            Section::folded("More about limits", more_limits()),
        ],
    }
}

/// One series for each label value, stacked, in the order given.
fn by_value(panel: Panel, values: &[&'static str], ask: impl Fn(&str) -> String) -> Panel {
    let mut panel = panel.between(0.0, None).stacked();
    for value in values {
        let name = theme::plain(value);
        // An open breaker with a fallback does no harm.
        let colour = if *value == "open" { theme::PROTECTED } else { theme::colour(value) };
        panel =
            panel.configure(theme::paint(name, colour)).ask(Query::over_time(or_zero(&sum(&[], &ask(value))), name));
    }
    panel
}

/// One number per policy, below the summary.
fn now() -> Vec<([u32; 4], Panel)> {
    let description = "What is broken and what viewers get; below, the current activity of each policy.";
    let mut panels = vec![([0, 0, 24, 6], say::panel(description, say::state()))];
    let attempts = sum(&[], &rate(&names::RETRY_ATTEMPTS, &[]));
    let calls = sum(&[], &rate(&names::RETRY_CALLS, &[]));
    let saved = sum(&[], &rate(&names::RETRY_CALLS, &[is(label::OUTCOME, "success_with_retry")]));
    let full = format!("count(({}) >= 1)", used(&protected(), ""));
    let tiles = row([
        stepped(
            "Retries per 100 calls",
            "Attempts after the first, for every 100 calls. Amber from 10 on: retries add load to a failing \
             dependency.",
            &[(None, theme::NEUTRAL), (Some(10.0), theme::WARN)],
            or_zero(&format!("100 * {attempts} / ({calls} > 0)")),
        )
        .decimals(0),
        stepped(
            "Calls saved by a retry",
            "Calls per second that failed at first and succeeded after a retry.",
            &[(None, theme::NEUTRAL), (Some(0.05), theme::GOOD)],
            or_zero(&saved),
        )
        .unit("suffix: /s")
        .decimals(1),
        stepped(
            "Answers from a fallback",
            "Answers per second from a cache, a replica or a list instead of the dependency.",
            &[(None, theme::NEUTRAL), (Some(0.05), theme::WARN)],
            or_zero(&sum(&[], &rate(&names::FALLBACK_CALLS, &[]))),
        )
        .unit("suffix: /s")
        .decimals(1),
        stepped(
            "Bulkheads full now",
            "Bulkheads of protected callers that have reached their limit: only calls to that dependency wait. The \
             graph below includes the single pool of the unprotected gateway.",
            &[(None, theme::NEUTRAL), (Some(1.0), theme::WARN)],
            or_zero(&full),
        ),
        stepped(
            "Hedges that won",
            "Hedges per second that answered first: a slow call was sent a second time, and the second attempt was \
             faster.",
            &[(None, theme::NEUTRAL), (Some(0.05), theme::GOOD)],
            or_zero(&sum(&[], &rate(&names::HEDGE_REQUESTS, &[is(label::OUTCOME, "won")]))),
        )
        .unit("suffix: /s")
        .decimals(1),
        stepped(
            "Refused by the rate limit",
            "Requests per second that were rejected with 429 before any work was done.",
            &[(None, theme::NEUTRAL), (Some(0.05), theme::WARN)],
            or_zero(&sum(&[], &rate(&names::RATE_LIMITER_REQUESTS, &[is(label::OUTCOME, "limited")]))),
        )
        .unit("suffix: /s")
        .decimals(1),
    ]);
    panels.extend(tiles.into_iter().map(|([x, y, w, h], tile)| ([x, y + 6, w, h], tile)));
    panels
}

/// Share of each bulkhead's places that are taken, by a measure of the calls in it (`[range]`, or nothing for now).
fn used(matchers: &[String], range: &str) -> String {
    let in_flight = series(&names::BULKHEAD_IN_FLIGHT, matchers);
    let in_flight = if range.is_empty() { in_flight } else { format!("max_over_time({in_flight}{range})") };
    format!("{} / ({} > 0)", max(BULKHEAD, &in_flight), max(BULKHEAD, &series(&names::BULKHEAD_CAPACITY, matchers)))
}

/// All bulkheads except the single pool of the unprotected gateway.
fn protected() -> [String; 1] {
    [not(label::SERVICE, say::BARE)]
}

fn retries() -> Vec<([u32; 4], Panel)> {
    vec![([0, 0, 12, 8], ended()), ([12, 0, 12, 8], amplified())]
}

fn more_retries() -> Vec<([u32; 4], Panel)> {
    vec![([0, 0, 8, 8], causes()), ([8, 0, 8, 8], budget()), ([16, 0, 8, 8], prediction())]
}

fn ended() -> Panel {
    by_value(
        Panel::new(
            Kind::TimeSeries,
            "Calls by retry outcome",
            "Sky blue: succeeded after a retry. Indigo: not retried, because the budget was empty. Red: failed after \
             all retries; the dependency is down, and retries only add load.",
        )
        .unit("suffix: /s")
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
    let (attempts, calls) =
        (sum(BREAKER, &rate(&names::RETRY_ATTEMPTS, &[])), sum(BREAKER, &rate(&names::RETRY_CALLS, &[])));
    Panel::new(
        Kind::TimeSeries,
        "Retries per 100 calls, by breaker",
        "Attempts after the first, for every 100 calls; breakers without any are left out. A line that rises with the \
         errors of a dependency is the beginning of a retry storm; the retry budget limits it.",
    )
    .unit("none")
    .between(0.0, None)
    .custom("fillOpacity", json!(0))
    .identities(theme::BREAKERS)
    .ask_eventful(BREAKER, &format!("100 * {attempts} / ({calls} > 0)"), CALL, "no retry")
    .when_empty("No call went through a retry policy")
}

fn causes() -> Panel {
    by_value(
        Panel::new(
            Kind::TimeSeries,
            "Retries by cause",
            "Attempts after the first, by the error that was retried. If many are rate limited, send fewer requests.",
        )
        .unit("suffix: /s")
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
         load to a failing dependency; it refills with successes.",
    )
    .unit("percentunit")
    .between(0.0, Some(1.0))
    .custom("fillOpacity", json!(0))
    .identities(theme::BREAKERS)
    .ask(Query::over_time(tokens, CALL))
    .when_empty("No retry budget is configured")
}

fn prediction() -> Panel {
    // Retries are rare in normal operation: a share needs five minutes of them.
    let succeeded = increase(&names::RETRY_PREDICTED_SUCCESS, &[is(label::OUTCOME, "success")], "5m");
    let predicted = mean(&names::RETRY_PREDICTED_SUCCESS, "5m");
    let actual = or_zero(&share(&[], &succeeded, &increase(&names::RETRY_PREDICTED_SUCCESS, &[], "5m")));
    Panel::new(
        Kind::TimeSeries,
        "Retry success, predicted and actual",
        "Mean predicted probability of success, and the share of retries that actually \
         succeeded, over 5 minutes. Close lines: the prediction is accurate. Predicted far above \
         actual: it allows wasted retries.",
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
    vec![([0, 0, 12, 8], kinds()), ([12, 0, 12, 8], reasons())]
}

fn more_fallbacks() -> Vec<([u32; 4], Panel)> {
    let mut age = Panel::new(
        Kind::TimeSeries,
        "Age of cached answers",
        "Age of cached answers that were served as fallbacks. If it rises steadily, the cache is not refreshed \
         because the dependency is down; check whether that age is acceptable.",
    )
    .unit("suffix: min")
    .between(0.0, None)
    .meanings(&["p50", "p95"])
    .when_empty("No cached answer was served");
    for (q, name) in [("0.5", "p50"), ("0.95", "p95")] {
        age = age.ask(Query::over_time(
            format!("({}) / 60", or_zero(&quantile(q, &[], &names::FALLBACK_STALENESS, &[]))),
            name,
        ));
    }
    vec![([0, 0, 12, 8], failed()), ([12, 0, 12, 8], age)]
}

fn kinds() -> Panel {
    by_value(
        Panel::new(
            Kind::TimeSeries,
            "Fallbacks by kind",
            "Answers served instead of a live one. Cached answers are earlier answers for the same viewer; popular \
             titles are the same for all viewers; a notice is an answer without content.",
        )
        .unit("suffix: /s")
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
            "Reasons for fallbacks. Blue: the breaker is open, which costs no time. For each timeout a viewer waited: \
             if there are many, shorten the timeout or let the breaker trip earlier.",
        )
        .unit("suffix: /s")
        .when_empty("No fallback is configured"),
        value::FALLBACK_REASONS,
        |reason| rate(&names::FALLBACK_CALLS, &[is(label::REASON, reason)]),
    )
    .configure(theme::paint(theme::plain("rejected"), theme::NEUTRAL))
}

fn failed() -> Panel {
    Panel::new(
        Kind::TimeSeries,
        "Fallbacks that failed",
        "Fallbacks that were tried and had no answer, so that the next one in the chain was \
         tried. If the last one fails, the viewer gets an error.",
    )
    .unit("suffix: /s")
    .between(0.0, None)
    .meanings(value::FALLBACK_KINDS)
    .ask(Query::over_time(sum(&["kind"], &rate(&names::FALLBACK_FAILURES, &[])), "{{kind}}"))
    .when_empty("No fallback is configured")
}

fn limits() -> Vec<([u32; 4], Panel)> {
    vec![([0, 0, 12, 8], saturation()), ([12, 0, 12, 8], hedges())]
}

fn more_limits() -> Vec<([u32; 4], Panel)> {
    vec![([0, 0, 8, 8], waiting()), ([8, 0, 8, 8], turned_away()), ([16, 0, 8, 8], limiter())]
}

fn saturation() -> Panel {
    // Calls are short, so that most scrapes find a bulkhead empty: the graph shows the maximum between two points.
    let chosen = format!("topk(5, {})", used(&protected(), "[$__range] @ end()"));
    Panel::new(
        Kind::TimeSeries,
        "Bulkheads in use: the five fullest, and the unprotected pool",
        "Maximum used share of each bulkhead's limit. One at 100 % beside idle ones shows the isolation: only calls \
         to that dependency wait. The unprotected gateway has a single pool (dashed): when it is full, every page \
         waits.",
    )
    .unit("percentunit")
    .between(0.0, Some(1.0))
    .custom("fillOpacity", json!(0))
    .identities(theme::DEPENDENCIES)
    .identities(theme::POOLS)
    .configure(theme::by_name(
        "without protection",
        &[
            ("color", json!({ "mode": "fixed", "fixedColor": theme::BARE })),
            ("custom.lineStyle", json!({ "fill": "dash", "dash": [8, 4] })),
        ],
    ))
    .ask(Query::over_time(
        format!("({}) and on (service, bulkhead) ({chosen})", used(&protected(), "[$__rate_interval]")),
        POOL,
    ))
    .ask(Query::over_time(
        max(&[], &used(&[is(label::SERVICE, say::BARE)], "[$__rate_interval]")),
        "without protection",
    ))
    .when_empty("No bulkhead is configured")
}

fn waiting() -> Panel {
    Panel::new(
        Kind::TimeSeries,
        "Calls waiting for a bulkhead",
        "Calls in each bulkhead's queue. A queue that does not drain only adds waiting time: reject earlier, or find \
         out which dependency is slow.",
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
        "Rejected by bulkheads",
        "Calls that were not admitted in time. With a fallback this is protection; without one \
         it is an error for a viewer.",
    )
    .unit("suffix: /s")
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
            "Second attempts that were sent because the first was slow. Green: the second attempt was faster and \
             saved time. If most are lost, the hedge delay is too short and hedges only add load.",
        )
        .unit("suffix: /s")
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
            "Requests at the gateway's rate limiter. Amber: rejected with 429 before any work was done.",
        )
        .unit("reqps")
        .when_empty("No rate limiter is configured"),
        &["limited", "allowed"],
        |outcome| rate(&names::RATE_LIMITER_REQUESTS, &[is(label::OUTCOME, outcome)]),
    )
}
