//! Lanes that several pages share: what was broken, and which alerts noticed.

use breakerbox_telemetry::names::{self, label, value};
use serde_json::Value;

use super::panel::{Kind, Panel, Query};
use super::query::{alerts, any, is, max, not, or_zero, series, sum};
use super::theme;

/// The kind of the fault at each target as a number of `fault_words`; 0 while there is none.
pub fn fault_code() -> String {
    let active = |kind: &str| series(&names::FAULT_ACTIVE, &[is(label::KIND, kind)]);
    let mut coded: Vec<_> =
        (1..).zip(value::FAULT_KINDS).map(|(code, kind)| format!("{} * {code}", active(kind))).collect();
    coded.push(format!("({}) * 0 + {MOST_FAIL}", most_fail()));
    max(&[label::TARGET], &coded.join(" or "))
}

/// Errors for a few callers and errors for nearly all are different stories, and one kind of fault.
const MOST_FAIL: i32 = 11;

/// By what is configured, not by what is hit: behind an open breaker nothing is.
fn most_fail() -> String {
    // Without `kind`, or `or` would take it for what `active` has said already.
    let configured = series(&names::FAULT_CONFIGURED, &[is(label::KIND, "error")]);
    format!("{} >= 0.5", max(&[label::TARGET], &configured))
}

/// How the codes of faults are shown.
pub fn fault_words() -> Value {
    let spoken: Vec<_> = value::FAULT_KINDS.iter().map(|kind| spoken(kind)).collect();
    let mut words = vec![(0, "well", theme::GOOD), (MOST_FAIL, "outage", theme::FAULT)];
    words.extend((1..).zip(&spoken).map(|(code, kind)| (code, kind.as_str(), shade(kind))));
    theme::words(&words)
}

fn spoken(kind: &str) -> String {
    if kind == "error" { "some errors".to_owned() } else { kind.replace('_', " ") }
}

fn shade(kind: &str) -> &'static str {
    if kind == "some errors" { theme::FAINT_FAULT } else { theme::FAULT }
}

/// 0 while nothing is switched on anywhere, otherwise nothing.
pub fn no_fault() -> String {
    format!("{} == 0", sum(&[], &series(&names::FAULT_ACTIVE, &[])))
}

/// Lanes of what was switched on, and when.
pub fn faults() -> Panel {
    Panel::new(
        Kind::StateTimeline,
        "Cause: active faults",
        "One lane per service with an injected fault, from injection to end; paler while less than half of its \
         answers are errors. The strip below shows the breakers' reaction, the one under it the effect on \
         viewers.",
    )
    .unit("none")
    .words(fault_words())
    .ask(Query::over_time(format!("{} > 0", fault_code()), "{{target}}"))
    .ask(Query::over_time(no_fault(), "no fault is on"))
    .when_empty("No fault series: is anything scraped?")
}

/// How grave an alert is that fires: red asks for somebody at once, blue for nobody.
pub fn alert_words() -> Value {
    theme::words(&[
        (0, "quiet", theme::GOOD),
        (1, "pending", theme::NEUTRAL),
        (2, "info", theme::colour("info")),
        (3, "warning", theme::colour("warning")),
        (4, "critical", theme::colour("critical")),
    ])
}

/// Alerts as numbers of `alert_words`.
pub fn alert_code(by: &[&str]) -> String {
    let coded = [
        format!("{} * 4", alerts("firing", &[is("severity", "critical")])),
        format!("{} * 3", alerts("firing", &[r#"severity!~"critical|info|none""#.to_owned()])),
        format!("{} * 2", alerts("firing", &[is("severity", "info")])),
        alerts("pending", &[]),
    ];
    max(by, &coded.join(" or "))
}

/// Lanes of alerts, pending and firing.
pub fn alert_timeline() -> Panel {
    let any_state = format!("ALERTS{{{}, {}}}", any("alertstate", &["pending", "firing"]), not("severity", "none"));
    Panel::new(
        Kind::StateTimeline,
        "Alerts: grey pending, blue info, amber warning, red critical",
        "One lane per alert that was active in the shown time: grey while its condition is being confirmed (pending), \
         then the colour of its severity while it fires. Red asks somebody to act at once, blue nobody.",
    )
    .unit("none")
    .words(alert_words())
    .ask(Query::over_time(alert_code(&["alertname"]), "{{alertname}}"))
    .ask(Query::over_time(quiet(&any_state), "no alert"))
    .when_empty("No alert was pending or firing")
}

/// 0 while none of these alerts is there and the program is: nothing can be said of the time before.
pub fn quiet(alerts: &str) -> String {
    let there = max(&[], &series(&names::BUILD_INFO, &[]));
    format!("(({}) == 0) and on () {there}", or_zero(&sum(&[], alerts)))
}
