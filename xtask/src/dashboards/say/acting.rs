//! The alerts that require action: severity warning and critical.

use breakerbox_telemetry::names::{self, label};

use super::outages::quiet;
use super::{BREAKER, Gravity, joined, line, spoken};
use crate::dashboards::panel::Query;
use crate::dashboards::query::{alerts, foreign, is, max, not, or_zero, series};

/// Messages that Alertmanager could not deliver in the last seconds.
pub fn undelivered() -> String {
    format!("increase({}[$__rate_interval])", foreign("alertmanager_notifications_failed_total", &[]))
}

/// Number of firing alerts that require action.
pub fn firing() -> String {
    let calling = alerts("firing", &[not("severity", "none"), not("severity", "info")]);
    or_zero(&format!("count(count by (alertname, service, breaker) ({calling}))"))
}

/// Labels that identify an alert.
pub const ALERT: &[&str] = &["alertname", "severity", label::SERVICE, label::BREAKER];

/// Seconds for which alerts have been in a state. A firing alert was pending before, and `ALERTS_FOR_STATE` counts
/// from there, so it is used only for alerts that have been firing for half an hour or longer.
pub fn in_state(state: &str, severity: &str) -> String {
    let held = max(ALERT, &format!("time() - ALERTS_FOR_STATE{{{severity}}}"));
    let all = |offset: &str| max(ALERT, &format!("{}{offset}", alerts(state, &[severity.to_owned()])));
    let began = max(ALERT, &format!("max_over_time(timestamp({} unless {})[30m:5s])", all(""), all(" offset 5s")));
    format!("((time() - {began}) and ({now})) or ({held} and ({now}))", now = all(""))
}

/// The most severe alert that requires action, of these the oldest, with its age; the others are counted.
fn gravest(severity: &str) -> String {
    let firing = format!("({}) unless on (alertname, service, breaker) ({})", in_state("firing", severity), lagging());
    named(&spoken(ALERT, &format!("topk(1, {firing})"), "span"))
}

/// Alerts on open breakers whose breaker is closed again: their window still includes the time before.
fn lagging() -> String {
    let open = max(ALERT, &alerts("firing", &[is("alertname", "CircuitBreakerOpen")]));
    let closed =
        max(BREAKER, &format!("{} == 1", series(&names::CIRCUIT_BREAKER_STATE, &[is(label::STATE, "closed")])));
    format!("({open}) and on (service, breaker) ({closed})")
}

/// Alerts with the text that names them, and the number of other firing alerts.
fn named(span: &str) -> String {
    let at = format!("label_join({span}, \"at\", \" → \", \"service\", \"breaker\")");
    let at = format!("label_replace({at}, \"at\", \"$1\", \"at\", \"(.*) → \")");
    // Prometheus leaves a rule's template in ALERTS where it expands to nothing.
    let at = format!("label_replace({at}, \"at\", \"\", \"at\", \"[{{][{{].*\")");
    let at = format!("label_replace({at}, \"at\", \" at $1\", \"at\", \"(.+)\")");
    let what = format!("label_replace({at}, \"what\", \"$1\", \"alertname\", \"(.+)\")");
    let what =
        format!("label_replace({what}, \"what\", \"{CANNOT_DELIVER}\", \"alertname\", \"{CANNOT_DELIVER_ALERT}\")");
    let lagging = or_zero(&format!("count({})", lagging()));
    let others = format!("({}) - ({lagging}) - 1", firing());
    let others = format!("label_replace(count_values(\"n\", {others}), \"others\", \"$1\", \"n\", \"(.*)\")");
    joined(&what, "others", &others)
}

/// An alert that is shown by its meaning instead of its name.
const CANNOT_DELIVER_ALERT: &str = "NotificationFailing";
const CANNOT_DELIVER: &str = "Alertmanager cannot deliver notifications";

/// Line: the most severe alert that requires action, in the colour of its severity; `next` says where its runbook is.
pub fn acting(next: &str) -> Vec<Query> {
    let critical = gravest(r#"severity="critical""#);
    let milder = format!(
        "({}) unless on () count({})",
        gravest(r#"severity!~"critical|info|none""#),
        alerts("firing", &[is("severity", "critical")])
    );
    let legend = format!(
        "Act on {{{{what}}}} ({{{{severity}}}}){{{{at}}}}, firing for {{{{span}}}}. {next} Other alerts that require \
         action: {{{{others}}}}."
    );
    vec![
        line(&critical, Gravity::Harm, &legend),
        line(&milder, Gravity::Protected, &legend),
        line(&format!("({}) == 0", firing()), Gravity::Good, "No alert that requires action is firing."),
        line(
            // Otherwise the line of `calm` has it.
            &format!("topk(2, {}) unless on () ({})", max(BREAKER, &lagging()), quiet()),
            Gravity::Note,
            "CircuitBreakerOpen at {{service}} → {{breaker}} still fires although that breaker is closed again: it \
             resolves by itself soon.",
        ),
    ]
}
