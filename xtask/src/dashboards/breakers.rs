//! Circuit breakers: which one moved, why, and what its callers got instead.

use breakerbox_telemetry::names::{self, Family, label, value};
use serde_json::json;

use super::dashboard::{Dashboard, Section};
use super::one_breaker;
use super::panel::{Kind, Panel, Query};
use super::query::{
    any, buckets, call_label, increase, is, judged, max, or_zero, quantile, rate, series, state_code, sum,
};
use super::table::Table;
use super::theme;
use super::tiles::{row, stepped, tile};

/// What identifies a breaker.
pub const BREAKER: &[&str] = &[label::SERVICE, label::BREAKER];
const CALL: &str = "{{service}} → {{breaker}}";

pub fn page() -> Dashboard {
    Dashboard {
        uid: "breakerbox-breakers",
        title: "Circuit breakers",
        description: "Which breaker is open, why it tripped, when it probes, and what callers get \
            meanwhile. Choose a breaker above to see it alone.",
        lists_targets_by: names::BUILD_INFO.name,
        variables: Vec::new(),
        sections: vec![
            Section::top(now()),
            Section::titled("Why it tripped", reasons()),
            Section::titled("What callers got", calls()),
            Section::titled("How long calls took", durations()),
            Section::repeated("In detail: $breaker", "breaker", one_breaker::panels()),
        ],
    }
}

fn now() -> Vec<([u32; 4], Panel)> {
    let rejected = rate(&names::CIRCUIT_BREAKER_CALLS, &[is(label::OUTCOME, "rejected")]);
    let trips = [is(label::FROM, "closed"), is(label::TO, "open")];
    let mut panels = row([
        tile(
            "Closed",
            "Breakers that let every call through: the normal state.",
            theme::colour("closed"),
            how_many(&["closed"]),
        ),
        tile(
            "Half-open",
            "Breakers that let a few probes through to see whether the dependency is back.",
            theme::colour("half_open"),
            how_many(&["half_open"]),
        ),
        tile(
            "Open",
            "Breakers that answer at once without calling. Find the reason below and repair the dependency, not the \
             breaker.",
            theme::colour("open"),
            how_many(&["open"]),
        ),
        tile(
            "By command",
            "Breakers forced open, disabled or only measuring. Somebody set them: they do not recover by themselves.",
            theme::FORCED,
            how_many(&["forced_open", "disabled", "metrics_only"]),
        ),
        tile(
            "Trips in the shown time",
            "How often breakers went from closed to open. Many trips of one breaker: it flaps, its wait or its \
             thresholds are too short.",
            theme::WARN,
            or_zero(&sum(&[], &increase(&names::CIRCUIT_BREAKER_TRANSITIONS, &trips, "$__range"))),
        )
        .decimals(0),
        stepped(
            "Calls rejected now",
            "Calls a second that open breakers spared the dependency.",
            &[(None, theme::NEUTRAL), (Some(0.05), theme::colour("rejected"))],
            or_zero(&sum(&[], &rejected)),
        )
        .unit("cps")
        .decimals(1),
    ]);
    panels.extend([([0, 4, 24, 8], states()), ([0, 12, 16, 12], table()), ([16, 12, 8, 12], closeness())]);
    panels
}

/// Breakers in one of these states; of several replicas each counts once.
fn how_many(states: &[&str]) -> String {
    let one_hot = series(&names::CIRCUIT_BREAKER_STATE, &[any(label::STATE, states)]);
    or_zero(&sum(&[], &max(BREAKER, &one_hot)))
}

fn states() -> Panel {
    Panel::new(
        Kind::StateTimeline,
        "State of every breaker",
        "One lane a breaker, named caller → dependency. Red: open, amber: half-open, green: \
         closed. Red and amber by turns: every probe fails, the dependency is still broken.",
    )
    .unit("none")
    .words(theme::state_words())
    .ask(Query::over_time(state_code(BREAKER), CALL))
    .when_empty("No breaker is scraped")
}

fn gauge(family: &Family) -> String {
    max(BREAKER, &series(family, &[]))
}

fn table() -> Panel {
    let since = format!("(time() - {})", gauge(&names::CIRCUIT_BREAKER_LAST_TRANSITION));
    let now = |family: &Family| call_label(&gauge(family));
    let ratio = |family: &Family| call_label(&format!("({})", judged(BREAKER, &series(family, &[]))));
    Table::new(
        "Every breaker now",
        "State, time in it, time until an open breaker probes, and the measures beside the limits at which it trips. \
         A dash is a limit that it doesn't have. Ratios are 0 while the window has fewer calls than it needs. Health is \
         of 100 points: 70 for success, 30 for answers within a second.",
    )
    .label("call", "Breaker")
    .words("State", call_label(&state_code(BREAKER)), &theme::state_words(), 85)
    .number("For", call_label(&since), "s", 0, 75)
    .number("Probe in", now(&names::CIRCUIT_BREAKER_OPEN_REMAINING), "s", 0, 75)
    .number("Failing", ratio(&names::CIRCUIT_BREAKER_FAILURE_RATIO), "percentunit", 0, 72)
    .number("trips at", now(&names::CIRCUIT_BREAKER_FAILURE_RATIO_THRESHOLD), "percentunit", 0, 75)
    .nan_means("trips at", "–")
    .number("or in a row", now(&names::CIRCUIT_BREAKER_CONSECUTIVE_FAILURES_THRESHOLD), "none", 0, 82)
    .nan_means("or in a row", "–")
    .number("Slow", ratio(&names::CIRCUIT_BREAKER_SLOW_CALL_RATIO), "percentunit", 0, 65)
    // A column's name is its key: the blank at the end tells the two limits apart.
    .number("trips at ", now(&names::CIRCUIT_BREAKER_SLOW_CALL_RATIO_THRESHOLD), "percentunit", 0, 75)
    .nan_means("trips at ", "–")
    .number("Window", now(&names::CIRCUIT_BREAKER_WINDOW_CALLS), "none", 0, 72)
    .number("needs", now(&names::CIRCUIT_BREAKER_WINDOW_MINIMUM_CALLS), "none", 0, 65)
    .number("Health", now(&names::CIRCUIT_BREAKER_HEALTH_POINTS), "none", 0, 65)
    .sorted("State", true, "No breaker is scraped")
}

/// A measure as a share of the limit at which the breaker trips.
fn pressure(ratio: &Family, threshold: &Family) -> String {
    let against = format!("{} / {}", gauge(ratio), gauge(threshold));
    format!("({against} >= 0) or ({} * 0)", gauge(&names::CIRCUIT_BREAKER_WINDOW_CALLS))
}

fn failing() -> String {
    pressure(&names::CIRCUIT_BREAKER_FAILURE_RATIO, &names::CIRCUIT_BREAKER_FAILURE_RATIO_THRESHOLD)
}

fn slowing() -> String {
    pressure(&names::CIRCUIT_BREAKER_SLOW_CALL_RATIO, &names::CIRCUIT_BREAKER_SLOW_CALL_RATIO_THRESHOLD)
}

/// From harmless to tripping, of a measure whose limit is 1.
const TO_THE_LIMIT: &[(Option<f64>, &str)] = &[(None, theme::GOOD), (Some(0.5), theme::WARN), (Some(1.0), theme::BAD)];

fn closeness() -> Panel {
    let both = format!(
        "label_replace(({}), \"measure\", \"failing\", \"\", \"\") or label_replace(({}), \
         \"measure\", \"slow\", \"\", \"\")",
        failing(),
        slowing()
    );
    Panel::new(
        Kind::BarGauge,
        "How close to tripping",
        "The nearer of failure ratio and slow-call ratio to its own limit, as each breaker is \
         configured. At 100 % it trips. Amber: look at the dependency now, before it does.",
    )
    .unit("percentunit")
    .decimals(0)
    .between(0.0, Some(1.0))
    .option("namePlacement", json!("top"))
    .option("text", json!({ "titleSize": 12, "valueSize": 12 }))
    .steps(TO_THE_LIMIT)
    .ask(Query::now(format!("sort_desc({})", max(BREAKER, &both)), CALL))
    .when_empty("No breaker is scraped")
}

fn against_limit(title: &str, what: &str, expr: String) -> Panel {
    Panel::new(
        Kind::TimeSeries,
        title,
        &format!(
            "{what} as a share of the limit each breaker is configured with: a line that reaches \
             the dashed one trips its breaker. It falls to 0 while the window has too few calls."
        ),
    )
    .unit("percentunit")
    .between(0.0, None)
    .limit("trips here")
    .custom("fillOpacity", json!(0))
    .identities(theme::DEPENDENCIES)
    .ask(Query::over_time(expr, CALL))
    .ask(Query::over_time("vector(1)", "trips here"))
    .when_empty("No breaker is scraped")
}

fn reasons() -> Vec<([u32; 4], Panel)> {
    let transitions = Panel::new(
        Kind::TimeSeries,
        "Transitions by reason",
        "Changes of state and what caused them. Red and brown bars are trips; amber is a wait \
         that ended in probes; green closes again, pink keeps open because probes failed.",
    )
    .unit("none")
    .between(0.0, None)
    .stacked()
    .custom("drawStyle", json!("bars"))
    .meanings(value::TRANSITION_REASONS)
    .ask(
        Query::over_time(
            sum(&["reason"], &increase(&names::CIRCUIT_BREAKER_TRANSITIONS, &[], "$__rate_interval")),
            "{{reason}}",
        )
        .counting(),
    )
    .when_empty("No breaker is scraped");
    let filled = format!(
        "{} / {}",
        gauge(&names::CIRCUIT_BREAKER_WINDOW_CALLS),
        gauge(&names::CIRCUIT_BREAKER_WINDOW_MINIMUM_CALLS)
    );
    let window = Panel::new(
        Kind::TimeSeries,
        "Calls in the window, of those it needs",
        "Below the dashed line a breaker has too few calls to judge and cannot trip by a \
         rate. Twice as many as needed and more look alike here.",
    )
    .unit("percentunit")
    .between(0.0, Some(2.0))
    .limit("judges from here")
    .custom("fillOpacity", json!(0))
    .identities(theme::DEPENDENCIES)
    .ask(Query::over_time(format!("clamp_max({filled}, 2)"), CALL))
    .ask(Query::over_time("vector(1)", "judges from here"))
    .when_empty("No breaker is scraped");
    vec![
        ([0, 0, 12, 8], against_limit("Failure ratio against its limit", "Failed calls of the window", failing())),
        ([12, 0, 12, 8], against_limit("Slow-call ratio against its limit", "Slow calls of the window", slowing())),
        ([0, 8, 12, 8], transitions),
        ([12, 8, 12, 8], window),
    ]
}

fn calls() -> Vec<([u32; 4], Panel)> {
    let mut outcomes = Panel::new(
        Kind::TimeSeries,
        "Calls by outcome",
        "What became of all calls. Blue is rejected by an open breaker: those cost nothing \
         and hurt no one behind it. Red and brown reached the dependency and failed or timed \
         out.",
    )
    .unit("cps")
    .between(0.0, None)
    .stacked()
    .meanings(value::CALL_OUTCOMES)
    .when_empty("No breaker is scraped");
    for outcome in ["failure", "timeout", "rejected", "cancelled", "ignored", "success"] {
        outcomes = outcomes.ask(Query::over_time(
            sum(&[], &rate(&names::CIRCUIT_BREAKER_CALLS, &[is(label::OUTCOME, outcome)])),
            outcome,
        ));
    }
    let answered = Panel::new(
        Kind::TimeSeries,
        "Rejected calls against fallbacks",
        "Every rejected call should have a fallback answer: fallbacks at or above rejections \
         is good (they also cover calls that failed). Fallbacks that failed became errors for \
         someone.",
    )
    .unit("cps")
    .between(0.0, None)
    .configure(theme::paint("rejected", theme::colour("rejected")))
    .configure(theme::paint("fallback served", theme::colour("cache")))
    .configure(theme::paint("fallback failed", theme::WARN))
    .ask(Query::over_time(
        or_zero(&sum(&[], &rate(&names::CIRCUIT_BREAKER_CALLS, &[is(label::OUTCOME, "rejected")]))),
        "rejected",
    ))
    .ask(Query::over_time(or_zero(&sum(&[], &rate(&names::FALLBACK_CALLS, &[]))), "fallback served"))
    .ask(Query::over_time(or_zero(&sum(&[], &rate(&names::FALLBACK_FAILURES, &[]))), "fallback failed"))
    .when_empty("No breaker is scraped");
    let odd = Panel::new(
        Kind::TimeSeries,
        "Slow and late calls",
        "Slow calls took at least the breaker's slow-call threshold. Late results belong to \
         an earlier state and change nothing; many of them mean that calls outlive the \
         breaker's decisions: shorten the timeout.",
    )
    .unit("cps")
    .between(0.0, None)
    .configure(theme::paint("slow", theme::colour("timeout")))
    .configure(theme::paint("late", theme::colour("cancelled")))
    .ask(Query::over_time(or_zero(&sum(&[], &rate(&names::CIRCUIT_BREAKER_SLOW_CALLS, &[]))), "slow"))
    .ask(Query::over_time(or_zero(&sum(&[], &rate(&names::CIRCUIT_BREAKER_LATE_RESULTS, &[]))), "late"))
    .when_empty("No breaker is scraped");
    vec![([0, 0, 12, 8], outcomes), ([12, 0, 6, 8], answered), ([18, 0, 6, 8], odd)]
}

/// The limit of every duration.
pub fn timeouts() -> Query {
    Query::over_time(max(&[], &series(&names::CIRCUIT_BREAKER_TIMEOUT, &[])), "timeout of one attempt")
}

fn durations() -> Vec<([u32; 4], Panel)> {
    let heat = Panel::new(
        Kind::Heatmap,
        "Durations of executed calls",
        "Each column is a moment, each row a range of durations, brighter is more calls. A \
         bright band at the timeout's row is calls that were cut off; two bands are two kinds \
         of answers. The timeout is a row's exact edge.",
    )
    .unit("s")
    .ask(Query::heat(buckets(&names::CIRCUIT_BREAKER_CALL_DURATION, &[])).with_exemplars())
    .when_empty("No call was executed");
    let mut lines = Panel::new(
        Kind::TimeSeries,
        "Durations against the timeout",
        "p50, p95 and p99 of executed calls below the longest timeout of the chosen breakers. \
         p99 near the dashed line: the next slowdown becomes timeouts. A dot opens the trace \
         of a call.",
    )
    .unit("s")
    .between(0.0, None)
    .meanings(&["p50", "p95", "p99"])
    .limit("timeout of one attempt")
    .custom("fillOpacity", json!(0))
    .when_empty("No call was executed");
    for (q, name) in [("0.5", "p50"), ("0.95", "p95"), ("0.99", "p99")] {
        let query = Query::over_time(quantile(q, &[], &names::CIRCUIT_BREAKER_CALL_DURATION, &[]), name);
        lines = lines.ask(if name == "p99" { query.with_exemplars() } else { query });
    }
    vec![([0, 0, 12, 9], heat), ([12, 0, 12, 9], lines.ask(timeouts()))]
}
