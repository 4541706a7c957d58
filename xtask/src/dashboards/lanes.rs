//! Lanes that several pages share: active faults, and active alerts.

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

/// Code of an error fault that affects at least half of the requests.
const MOST_FAIL: i32 = 11;

/// By the configured share, because behind an open breaker no requests are affected.
fn most_fail() -> String {
    // Without the label `kind`, because otherwise `or` would treat it as a duplicate of `active`.
    let configured = series(&names::FAULT_CONFIGURED, &[is(label::KIND, "error")]);
    format!("{} >= 0.5", max(&[label::TARGET], &configured))
}

/// Names and colours of the codes of faults.
pub fn fault_words() -> Value {
    let spoken: Vec<_> = value::FAULT_KINDS.iter().map(|kind| spoken(kind)).collect();
    let mut words = vec![(0, "healthy", theme::GOOD), (MOST_FAIL, "outage", theme::FAULT)];
    words.extend((1..).zip(&spoken).map(|(code, kind)| (code, kind.as_str(), shade(kind))));
    theme::words(&words)
}

fn spoken(kind: &str) -> String {
    if kind == "error" { "some errors".to_owned() } else { kind.replace('_', " ") }
}

fn shade(kind: &str) -> &'static str {
    if kind == "some errors" { theme::FAINT_FAULT } else { theme::FAULT }
}

/// 0 while no fault is active; otherwise no series.
pub fn no_fault() -> String {
    format!("{} == 0", sum(&[], &series(&names::FAULT_ACTIVE, &[])))
}

/// Lanes of active faults.
pub fn faults() -> Panel {
    Panel::new(
        Kind::StateTimeline,
        "Cause: active faults",
        "One lane per service with an injected fault, from injection to end; paler while less than half of its \
         answers are errors. The panels below show the reaction of the breakers and the effect on viewers.",
    )
    .unit("none")
    .words(fault_words())
    .ask(Query::over_time(format!("{} > 0", fault_code()), "{{target}}"))
    .ask(Query::over_time(no_fault(), "no fault"))
    .when_empty("No fault series: check that the process is scraped")
}

/// States and severities of alerts: red requires immediate action, blue requires none.
pub fn alert_words() -> Value {
    theme::words(&[
        (0, "quiet", theme::GOOD),
        (1, "pending", theme::NEUTRAL),
        (2, "info", theme::colour("info")),
        (3, "warning", theme::colour("warning")),
        (4, "critical", theme::colour("critical")),
    ])
}

/// Alerts as codes of `alert_words`.
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
        "One lane per alert that was active in the selected time range: grey while its condition is being confirmed \
         (pending), \
         then the colour of its severity while it fires. Red requires immediate action, blue requires none.",
    )
    .unit("none")
    .words(alert_words())
    .ask(Query::over_time(alert_code(&["alertname"]), "{{alertname}}"))
    .ask(Query::over_time(quiet(&any_state), "no alert"))
    .when_empty("No alert was pending or firing")
}

/// 0 while the program is scraped and none of these alerts is active; otherwise no series.
pub fn quiet(alerts: &str) -> String {
    let there = max(&[], &series(&names::BUILD_INFO, &[]));
    format!("(({}) == 0) and on () {there}", or_zero(&sum(&[], alerts)))
}
