//! Drill and alerts: what was broken, whether somebody was told, and how long that took.

use breakerbox_telemetry::names::{self, label, value};
use serde_json::json;

use super::dashboard::{Dashboard, Section};
use super::lanes::{alert_timeline, faults};
use super::panel::{Kind, Panel, Query};
use super::query::{alerts, foreign, increase, is, max, not, or_zero, rate, series, sum};
use super::table::Table;
use super::theme;
use super::tiles::{row, tile};

pub fn page() -> Dashboard {
    Dashboard {
        uid: "breakerbox-alerts",
        title: "Drill and alerts",
        description: "What was broken on purpose, which alerts noticed, how long it took, and whether the \
            message arrived.",
        lists_targets_by: names::BUILD_INFO.name,
        variables: Vec::new(),
        sections: vec![
            Section::top(now()),
            Section::titled("From cause to alert", story()),
            Section::titled("Active alerts and their delivery", delivery()),
            Section::titled("The load behind it", load()),
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
    let delivered = increase(&names::ALERT_WEBHOOK_NOTIFICATIONS, &[is(label::STATUS, "firing")], "$__range");
    row([
        tile(
            "Faults on",
            "Faults switched on now, by the scenario, the console or the command line.",
            theme::FAULT,
            active_faults(),
        ),
        tile(
            "Alerts pending",
            "Alerts whose condition holds but not yet for long enough to fire.",
            theme::WARN,
            acting("pending"),
        ),
        tile(
            "Alerts firing",
            "Alerts that ask somebody to act now; those of severity info are not counted.",
            theme::BAD,
            acting("firing"),
        ),
        blind_time(),
        tile(
            "Delivered: firing",
            "Messages about firing alerts that reached the inbox in the shown time. Alerts firing and none here: look \
             at Alertmanager below.",
            theme::WATCHING,
            or_zero(&sum(&[], &delivered)),
        )
        .decimals(0),
        tile(
            "Held back",
            "Alerts that Alertmanager inhibits or silences now. Inhibited by a graver alert of the same cause is as it \
             should be; forgotten silences are not.",
            theme::WARN,
            or_zero(&sum(&[], &foreign("alertmanager_alerts", &[is("state", "suppressed")]))),
        ),
    ])
}

/// One sample each five seconds of a time with a fault on and no alert: seconds in which nobody knew.
fn blind_time() -> Panel {
    let unnoticed = format!("(({}) > bool 0) * (({}) == bool 0)", active_faults(), acting("firing"));
    tile(
        "Blind time",
        "Time within the shown one in which a fault was on and no alert fired: the price of every `for` in a rule. A \
         fault that harms nobody may stay unnoticed.",
        theme::WARN,
        format!("sum_over_time(({unnoticed})[$__range:5s]) * 5"),
    )
    .unit("s")
    .decimals(0)
}

fn story() -> Vec<([u32; 4], Panel)> {
    let steps = series(&names::SCENARIO_STEP, &[]);
    let scenario = Panel::new(
        Kind::StateTimeline,
        "Scenario",
        "The steps of the running scenario, as far as the shown time has seen them.",
    )
    .unit("none")
    .words(theme::words(&[(0, "idle", theme::NEUTRAL), (1, "running", theme::WATCHING)]))
    .ask(Query::over_time(format!("{} > 0", max(&["step"], &steps)), "{{step}}"))
    .ask(Query::over_time(format!("({}) == 0", or_zero(&sum(&[], &steps))), "no step"))
    .when_empty("No scenario is loaded");
    let counts = Panel::new(
        Kind::TimeSeries,
        "Faults and alerts",
        "Purple before amber before red is the order of every detection; the distance between \
         the first purple and the first red step is the time it took.",
    )
    .unit("none")
    .between(0.0, None)
    .with_long_names()
    .custom("lineInterpolation", json!("stepAfter"))
    .configure(theme::paint("faults on", theme::FAULT))
    .configure(theme::paint("alerts pending", theme::WARN))
    .configure(theme::paint("alerts firing", theme::BAD))
    .ask(Query::over_time(active_faults(), "faults on"))
    .ask(Query::over_time(acting("pending"), "alerts pending"))
    .ask(Query::over_time(acting("firing"), "alerts firing"))
    .when_empty("Nothing is scraped");
    vec![
        ([0, 0, 24, 5], scenario.with_long_names()),
        ([0, 5, 24, 5], faults().with_long_names()),
        ([0, 10, 24, 8], alert_timeline()),
        ([0, 18, 24, 7], counts),
    ]
}

fn delivery() -> Vec<([u32; 4], Panel)> {
    let by = &["alertname", "severity", "service", "breaker"];
    let none = |value: &str| format!("label_replace({value}, \"alertname\", \"none\", \"\", \"\")");
    let coded = max(by, &format!("{} * 2 or {}", alerts("firing", &[]), alerts("pending", &[])));
    let since = max(by, &format!("time() - ALERTS_FOR_STATE{{{}}}", not("severity", "none")));
    let stages = theme::words(&[(0, "quiet", theme::GOOD), (1, "pending", theme::WARN), (2, "firing", theme::BAD)]);
    let table = Table::new(
        "Active alerts",
        "Alerts that are pending or firing now and for how long their condition has held. What to do about each is in \
         its runbook.",
    )
    .label("alertname", "Alert")
    .sparse_label("severity", "Severity", 75)
    .sparse_label(label::SERVICE, "Service", 130)
    .sparse_label(label::BREAKER, "Breaker", 135)
    .words("State", format!("{coded} or on () {}", none("vector(0)")), &stages, 80)
    .number("For", format!("{since} or on () {}", none("vector(0)")), "s", 0, 75)
    .sorted("State", true, "No alert is pending or firing");
    let inbox = Panel::new(
        Kind::TimeSeries,
        "Messages in the inbox",
        "Alerts that Alertmanager delivered to the program's own webhook. Every firing is \
         followed by a resolved; one that is missing was lost or is still going on.",
    )
    .unit("none")
    .between(0.0, None)
    .stacked()
    .custom("drawStyle", json!("bars"))
    .meanings(value::ALERT_STATUSES)
    .ask(
        Query::over_time(
            sum(&["status"], &increase(&names::ALERT_WEBHOOK_NOTIFICATIONS, &[], "$__rate_interval")),
            "{{status}}",
        )
        .counting(),
    )
    .when_empty("The webhook inbox is not scraped");
    let sent = |name: &str| or_zero(&sum(&[], &format!("rate({}[$__rate_interval])", foreign(name, &[]))));
    let manager = Panel::new(
        Kind::TimeSeries,
        "Alertmanager",
        "Alerts that reach Alertmanager, messages it sends, and messages it could not send. \
         Failed above 0: nobody is told; look at its log and the receiver.",
    )
    .unit("ops")
    .between(0.0, None)
    .configure(theme::paint("received", theme::PROTECTED))
    .configure(theme::paint("sent", theme::GOOD))
    .configure(theme::paint("not sent", theme::BAD))
    .ask(Query::over_time(sent("alertmanager_alerts_received_total"), "received"))
    .ask(Query::over_time(sent("alertmanager_notifications_total"), "sent"))
    .ask(Query::over_time(sent("alertmanager_notifications_failed_total"), "not sent"))
    .when_empty("Alertmanager is not scraped");
    vec![([0, 0, 12, 9], table), ([12, 0, 6, 9], inbox), ([18, 0, 6, 9], manager)]
}

fn load() -> Vec<([u32; 4], Panel)> {
    let touched = Panel::new(
        Kind::TimeSeries,
        "Requests that a fault touched",
        "How often faults did something, by service. A fault that is on and touches nothing \
         has no traffic: nobody can notice it.",
    )
    .unit("reqps")
    .between(0.0, None)
    .identities(theme::SERVICES)
    .ask(Query::over_time(sum(&["target"], &rate(&names::FAULT_INJECTED, &[])), "{{target}}"))
    .when_empty("No fault series: is anything scraped?");
    let mut journeys = Panel::new(
        Kind::TimeSeries,
        "Journeys as viewers saw them",
        "Journeys by their outcome, from the load generator's side, below the rate that it \
         aims for. A gap to the dashed line: the load does not get through.",
    )
    .unit("ops")
    .between(0.0, None)
    .stacked()
    .meanings(value::TRAFFIC_OUTCOMES)
    .configure(theme::by_name(
        "aimed for",
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
        journeys.ask(Query::over_time(or_zero(&sum(&[], &series(&names::TRAFFIC_RATE, &[gateway]))), "aimed for"));
    vec![([0, 0, 12, 8], touched), ([12, 0, 12, 8], journeys)]
}
