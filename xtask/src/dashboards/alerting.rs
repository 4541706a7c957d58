//! Drill and alerts: injected faults, alerts and notifications, and how long they took.

use breakerbox_telemetry::names::{self, label, value};
use serde_json::json;

use super::dashboard::{Dashboard, Section};
use super::lanes::{alert_code, alert_timeline, alert_words, faults};
use super::panel::{Kind, Panel, Query};
use super::query::{alerts, foreign, increase, is, max, not, or_zero, rate, series, sum};
use super::say::{self, Gravity};
use super::table::Table;
use super::theme;

pub fn page() -> Dashboard {
    Dashboard {
        uid: "breakerbox-alerts",
        title: "Drill and alerts",
        description: "Injected faults, the alerts that detected them, how long that took, and whether the \
            notification was delivered.",
        lists_targets_by: names::BUILD_INFO.name,
        variables: Vec::new(),
        sections: vec![
            Section::top(now()),
            Section::folded("Steps of the scenario, counts and Alertmanager", story()),
            Section::folded("Load", load()),
        ],
    }
}

fn active_faults() -> String {
    or_zero(&sum(&[], &max(&["target", "kind"], &series(&names::FAULT_ACTIVE, &[]))))
}

fn acting(state: &str) -> String {
    let calling = alerts(state, &[not("severity", "none"), not("severity", "info")]);
    or_zero(&format!("count(count by (alertname, service, breaker) ({calling}))"))
}

fn now() -> Vec<([u32; 4], Panel)> {
    let mut lines = say::acting("Its runbook opens from the table below.");
    lines.extend(say::broken());
    lines.extend(say::protects());
    lines.extend(say::calm());
    lines.extend(say::viewers(say::Orders::InIt));
    lines.extend(delivered());
    lines.push(unnoticed());
    let description = "The most severe alert that requires action, what is broken and what protects callers from it, \
        what viewers get, whether notifications are delivered, and how long faults in the selected time range went \
        without an alert. Each alert in the table below links to its runbook.";
    vec![
        ([0, 0, 24, 8], say::panel(description, lines)),
        ([0, 8, 24, 6], faults()),
        ([0, 14, 24, 9], alert_timeline()),
        ([0, 23, 24, 6], inbox()),
        ([0, 29, 24, 11], active()),
    ]
}

/// Line: number of notifications that Alertmanager delivered; red while it cannot deliver.
fn delivered() -> Vec<Query> {
    let all = |name: &str| sum(&[], &format!("increase({}[$__range])", foreign(name, &[])));
    let (tried, failed) = (all("alertmanager_notifications_total"), all("alertmanager_notifications_failed_total"));
    let arrived = say::numbered(&[], &format!("round(({tried}) - ({}))", or_zero(&failed)), "arrived", "$1");
    let tried = say::numbered(&[], &format!("round({tried})"), "tried", "$1");
    let told = say::joined(&arrived, "tried", &tried);
    let failing = format!("(({}) >= 0.5)", or_zero(&failed));
    let failing_now = format!("(({}) > 0)", or_zero(&sum(&[], &say::undelivered())));
    vec![
        say::line(
            &format!("({told}) and on () {failing_now}"),
            Gravity::Harm,
            "Alertmanager cannot deliver notifications now: {{arrived}} of {{tried}} were delivered in the selected \
             time range. Check its receiver and its log.",
        ),
        say::line(
            &format!("(({told}) and on () {failing}) unless on () {failing_now}"),
            Gravity::Note,
            "Alertmanager delivers again: {{arrived}} of {{tried}} notifications were delivered in the selected time \
             range; the others were attempted while the receiver was not available.",
        ),
        say::line(
            &format!("({told}) unless on () {failing}"),
            Gravity::Good,
            "Alertmanager delivers: all {{tried}} notifications in the selected time range were delivered.",
        ),
    ]
}

/// Line: time with a fault and without an alert, from one sample every five seconds.
fn unnoticed() -> Query {
    let on = format!("(({}) > bool 0)", or_zero(&sum(&[], &say::harmful())));
    let alone = format!("{on} * (({}) == bool 0)", acting("firing"));
    let whole = |expr: &str| format!("(sum_over_time(({expr})[$__range:5s]) * 5)");
    let (alone, on) =
        (say::spoken(&[], &whole(&alone), "span"), say::spoken(&[], &format!("({} > 0)", whole(&on)), "on"));
    say::line(
        &say::joined(&alone, "on", &on),
        Gravity::Note,
        "In the selected time range, dependencies were broken for {{on}} in total. For {{span}} of that no alert that \
         requires action was firing, because an alert fires only after its condition has lasted.",
    )
}

fn story() -> Vec<([u32; 4], Panel)> {
    let steps = series(&names::SCENARIO_STEP, &[]);
    let scenario =
        Panel::new(Kind::StateTimeline, "Scenario", "Steps of the running scenario within the selected time range.")
            .unit("none")
            .words(theme::words(&[(0, "idle", theme::NEUTRAL), (1, "running", theme::WATCHING)]))
            .ask(Query::over_time(format!("{} > 0", max(&["step"], &steps)), "{{step}}"))
            .ask(Query::over_time(format!("({}) == 0", or_zero(&sum(&[], &steps))), "no step"))
            .when_empty("No scenario is loaded");
    let counts = Panel::new(
        Kind::TimeSeries,
        "Faults and alerts",
        "A fault (purple) is detected when an alert is pending (grey) and then fires (amber); the distance between \
         the first purple and the first amber step is the time to detect.",
    )
    .unit("none")
    .between(0.0, None)
    .aligned()
    .custom("lineInterpolation", json!("stepAfter"))
    .configure(theme::paint("faults on", theme::FAULT))
    .configure(theme::paint("alerts pending", theme::NEUTRAL))
    .configure(theme::paint("alerts firing", theme::WARN))
    .ask(Query::over_time(active_faults(), "faults on"))
    .ask(Query::over_time(acting("pending"), "alerts pending"))
    .ask(Query::over_time(acting("firing"), "alerts firing"))
    .when_empty("Nothing is scraped");
    let sent = |name: &str| or_zero(&sum(&[], &format!("rate({}[$__rate_interval])", foreign(name, &[]))));
    let manager = Panel::new(
        Kind::TimeSeries,
        "Alertmanager",
        "Alerts that reach Alertmanager, messages it sends, and messages it could not send. \
         Failed above 0: notifications do not arrive; check its log and the receiver.",
    )
    .unit("suffix: /s")
    .between(0.0, None)
    .configure(theme::paint("received", theme::PROTECTED))
    .configure(theme::paint("sent", theme::GOOD))
    .configure(theme::paint("not sent", theme::BAD))
    .ask(Query::over_time(sent("alertmanager_alerts_received_total"), "received"))
    .ask(Query::over_time(sent("alertmanager_notifications_total"), "sent"))
    .ask(Query::over_time(sent("alertmanager_notifications_failed_total"), "not sent"))
    .when_empty("Alertmanager is not scraped");
    vec![([0, 0, 24, 5], scenario), ([0, 5, 24, 7], counts), ([0, 12, 24, 7], manager.aligned())]
}

/// The runbook that the program serves, at the section of the clicked alert.
fn runbook() -> String {
    format!("{}#:~:text=${{__value.raw}}", crate::rules::Links::default().runbook)
}

fn active() -> Panel {
    let by = say::ALERT;
    let none = |value: &str| format!("label_replace({value}, \"alertname\", \"none is pending or fires\", \"\", \"\")");
    let not_none = not("severity", "none");
    let held = format!("({}) or ({})", say::in_state("firing", &not_none), say::in_state("pending", &not_none));
    // Sorted by severity, then by age.
    let ranked = format!("{} * 1000000 + on (alertname, severity, service, breaker) ({held})", alert_code(by));
    Table::new(
        "Active alerts: the most severe first, then the oldest",
        "Alerts that are pending or firing now, and for how long they have been in that state. The runbook of an \
         alert says \
         what to do.",
    )
    .label("alertname", "Alert")
    .alerts_named("Alert")
    .leads_to("Alert", "Runbook", &runbook())
    .words("State", format!("{} or on () {}", alert_code(by), none("vector(0)")), &alert_words(), 120)
    .sparse_label(label::SERVICE, "Service", 200)
    .without_templates("Service")
    .sparse_label(label::BREAKER, "Breaker", 200)
    .span_by("In that state for", by, &held, 140)
    .number("Rank", format!("{ranked} or on () {}", none("vector(0)")), "none", 0, 0)
    .hidden("Rank")
    .sorted("Rank", true, "No alert is pending or firing")
}

fn inbox() -> Panel {
    Panel::new(
        Kind::TimeSeries,
        "Notifications in the inbox",
        "Alerts that Alertmanager delivered to the program's own webhook. Every firing notification is followed by a \
         resolved one; if that is missing, it was lost or the alert is still firing.",
    )
    .unit("none")
    .between(0.0, None)
    .aligned()
    .stacked()
    .custom("drawStyle", json!("bars"))
    .meanings(value::ALERT_STATUSES)
    .ask(
        Query::over_time(
            format!(
                "round({})",
                sum(&["status"], &increase(&names::ALERT_WEBHOOK_NOTIFICATIONS, &[], "$__rate_interval"))
            ),
            "{{status}}",
        )
        .counting(),
    )
    .when_empty("The webhook inbox is not scraped")
}

fn load() -> Vec<([u32; 4], Panel)> {
    let touched = Panel::new(
        Kind::TimeSeries,
        "Requests affected by faults",
        "Requests that a fault affected, by service. An active fault that affects no requests has no traffic and \
         cannot be detected.",
    )
    .unit("reqps")
    .between(0.0, None)
    .identities(theme::SERVICES)
    .ask(Query::over_time(sum(&["target"], &rate(&names::FAULT_INJECTED, &[])), "{{target}}"))
    .when_empty("No fault series: check that the process is scraped");
    let mut journeys = Panel::new(
        Kind::TimeSeries,
        "Journeys by outcome",
        "Viewer journeys by outcome, measured by the load generator, below its target \
         rate. A gap below the dashed line: the site does not keep up with the load.",
    )
    .unit("suffix: /s")
    .between(0.0, None)
    .stacked()
    .meanings(value::TRAFFIC_OUTCOMES)
    .configure(theme::by_name(
        "target rate",
        &[
            ("color", json!({ "mode": "fixed", "fixedColor": theme::NEUTRAL })),
            ("custom.stacking", json!({ "mode": "none", "group": "B" })),
            ("custom.lineWidth", json!(2)),
            ("custom.fillOpacity", json!(0)),
            ("custom.lineStyle", json!({ "fill": "dash", "dash": [10, 6] })),
        ],
    ))
    .when_empty("No load generator is scraped");
    let gateway = is(label::TARGET, "gateway");
    for outcome in ["error", "degraded", "ok"] {
        journeys = journeys.ask(Query::over_time(
            or_zero(&sum(&[], &rate(&names::TRAFFIC_JOURNEYS, &[gateway.clone(), is(label::OUTCOME, outcome)]))),
            outcome,
        ));
    }
    journeys =
        journeys.ask(Query::over_time(or_zero(&sum(&[], &series(&names::TRAFFIC_RATE, &[gateway]))), "target rate"));
    vec![([0, 0, 12, 8], touched), ([12, 0, 12, 8], journeys)]
}
