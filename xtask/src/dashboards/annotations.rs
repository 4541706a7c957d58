//! What happened, drawn over every graph: the same kinds of event on every page.
//!
//! A query compares each series with itself one step earlier, so an event is one line however long
//! its cause lasts, and a time range of any length shows each event once.

use breakerbox_telemetry::names::{self, Family, label};
use serde_json::{Value, json};

use super::panel::datasource;
use super::query::{alerts, foreign, is, max, not, series, sum};
use super::{say, theme};

/// The events of every page: faults as shaded regions, and a line where a breaker opened. The rest waits behind
/// its switch. Panels whose lanes already show them (`lanes`)
/// are spared, and `narrow` graphs (less than half a page) show the regions alone.
pub fn all(page: &str, lanes: &[u32], narrow: &[u32]) -> Vec<Value> {
    let mut list = vec![
        json!({
            "builtIn": 1, "datasource": { "type": "grafana", "uid": "-- Grafana --" }, "enable": true, "hide": true,
            "iconColor": "rgba(0, 211, 255, 1)", "name": "Annotations & Alerts", "type": "dashboard",
        }),
        event(FAULT_ON, theme::FAULT, &say::harmful(), "{{target}}: {{kind}}", ON),
        event("Breaker opened", theme::BAD, &moved("open"), "{{service}} → {{breaker}} opened: {{reason}}", ON),
        event("Breaker closed", theme::GOOD, &moved("closed"), "{{service}} → {{breaker}} closed: {{reason}}", OFF),
        event(
            "Alert fired",
            theme::WARN,
            &on(&max(
                &["alertname", "severity"],
                &alerts("firing", &[not("severity", "none"), not("severity", "info")]),
            )),
            "{{alertname}} ({{severity}}) fires",
            OFF,
        ),
        event(
            "Scenario step",
            theme::WATCHING,
            &on(&max(&["step"], &everywhere(&names::SCENARIO_STEP))),
            "{{step}}",
            OFF,
        ),
        event(
            "Restart",
            theme::FORCED,
            &grown(&max(&["job", "instance"], &foreign("process_start_time_seconds", &[]))),
            "{{job}} {{instance}} restarted",
            OFF,
        ),
    ];
    for event in list.iter_mut().skip(1) {
        // What watches the service does not depend on what is broken in it; it depends on restarts.
        if page == WATCH {
            event["enable"] = json!(event["name"] == "Restart");
        }
        let spared = if event["name"] == FAULT_ON { lanes.to_vec() } else { [lanes, narrow].concat() };
        if !spared.is_empty() {
            event["filter"] = json!({ "exclude": true, "ids": spared });
        }
    }
    list
}

/// The page of the watch itself.
const WATCH: &str = "breakerbox-stack";

/// The one event that lasts.
const FAULT_ON: &str = "Fault on (shaded)";

/// Whether an event is drawn before its switch is touched.
const ON: bool = true;
const OFF: bool = false;

/// The load generator's and the fault injector's series belong to no service: only target labels narrow them.
fn everywhere(family: &Family) -> String {
    series(family, &[])
}

/// Became 1, from 0 or from nothing.
fn on(expr: &str) -> String {
    format!("({expr} == 1) unless ({} == 1)", earlier(expr))
}

/// Is larger than one step ago.
fn grown(expr: &str) -> String {
    format!("({expr}) > ({})", earlier(expr))
}

/// A counter that was restarted is smaller than before, and no event.
fn moved(to: &str) -> String {
    // A probe that failed keeps the breaker open, a stage passed keeps it half-open: neither is news.
    let matchers = [is(label::TO, to), not(label::FROM, if to == "open" { "half_open" } else { to })];
    grown(&sum(&["service", "breaker", "reason"], &series(&names::CIRCUIT_BREAKER_TRANSITIONS, &matchers)))
}

fn earlier(expr: &str) -> String {
    // Each expression here has one selector, closed by the only brace of its kind.
    expr.replacen('}', "} offset $__interval", 1)
}

fn event(name: &str, colour: &str, expr: &str, text: &str, shown: bool) -> Value {
    json!({
        "name": name, "enable": shown, "hide": false, "iconColor": colour, "datasource": datasource(),
        "expr": expr, "step": "5s", "titleFormat": name, "textFormat": text, "tagKeys": "", "useValueForTime": false,
        "target": { "refId": "Anno", "expr": expr, "interval": "5s" },
    })
}
