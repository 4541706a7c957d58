//! Annotations on every graph: the same kinds of event on every page.
//!
//! A query compares each series with itself one step earlier, so an event is one line however long
//! its cause lasts, and a time range of any length shows each event once.

use breakerbox_telemetry::names::{self, Family, label};
use serde_json::{Value, json};

use super::panel::datasource;
use super::query::{alerts, foreign, is, max, not, series, sum};
use super::{say, theme};

/// The events of every page: faults as shaded regions, and a line where a breaker opened; the other events are switched
/// off by default. Panels whose lanes already show them (`lanes`) have no annotations, and `narrow` graphs (less than
/// half a page) have only the regions.
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
        // Monitoring does not depend on faults of the services, but on restarts.
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

/// The page about the monitoring itself.
const WATCH: &str = "breakerbox-stack";

/// The event that has a duration.
const FAULT_ON: &str = "Fault on (shaded)";

/// Whether an event is shown by default.
const ON: bool = true;
const OFF: bool = false;

/// Series of the load generator and of faults belong to no service: only target labels restrict them.
fn everywhere(family: &Family) -> String {
    series(family, &[])
}

/// Series that became 1, from 0 or from no sample.
fn on(expr: &str) -> String {
    format!("({expr} == 1) unless ({} == 1)", earlier(expr))
}

/// Series that are larger than one step ago.
fn grown(expr: &str) -> String {
    format!("({expr}) > ({})", earlier(expr))
}

/// Transitions to a state; a counter that was reset is smaller than before, which is not an event.
fn moved(to: &str) -> String {
    // Failed probes and passed stages are left out, because they do not change what callers observe.
    let matchers = [is(label::TO, to), not(label::FROM, if to == "open" { "half_open" } else { to })];
    grown(&sum(&["service", "breaker", "reason"], &series(&names::CIRCUIT_BREAKER_TRANSITIONS, &matchers)))
}

fn earlier(expr: &str) -> String {
    // Each expression here has exactly one selector, and thus one closing brace.
    expr.replacen('}', "} offset $__interval", 1)
}

fn event(name: &str, colour: &str, expr: &str, text: &str, shown: bool) -> Value {
    json!({
        "name": name, "enable": shown, "hide": false, "iconColor": colour, "datasource": datasource(),
        "expr": expr, "step": "5s", "titleFormat": name, "textFormat": text, "tagKeys": "", "useValueForTime": false,
        "target": { "refId": "Anno", "expr": expr, "interval": "5s" },
    })
}
