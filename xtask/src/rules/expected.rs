//! Jobs that must exist. `up` of a target that service discovery has removed does not turn 0, it disappears,
//! and only `absent` on a list detects that.

use std::fmt::Write as _;

/// Jobs of the compose stack, one per service.
const COMPOSE: &[&str] = &[
    "breakerbox-gateway",
    "breakerbox-user",
    "breakerbox-catalog",
    "breakerbox-recommendation",
    "breakerbox-ml-api",
    "breakerbox-checkout",
    "breakerbox-inventory",
    "breakerbox-payment-gateway",
    "breakerbox-notification",
    "breakerbox-gateway-bare",
    "breakerbox-traffic",
];
/// The single job of an all-in-one process.
const LOCAL: &[&str] = &["breakerbox"];

/// File names and templates.
pub(super) fn templates() -> [(&'static str, String); 2] {
    [("compose.yml", template("of the compose stack", COMPOSE)), ("local.yml", template("of one process", LOCAL))]
}

fn template(whose: &str, jobs: &[&str]) -> String {
    let mut text = format!(
        "# The jobs {whose} that must be there, a rule each: change the list to yours. Where one Prometheus sees\n\
         # several clusters, give each a copy with its label in the matchers.\n\
         groups:\n  - name: breakerbox.alerts.expected\n    rules:\n"
    );
    for job in jobs {
        let service = job.strip_prefix("breakerbox-");
        let component = service.unwrap_or(job);
        let label = service.map_or_else(String::new, |service| format!("          service: {service}\n"));
        write!(
            text,
            r#"      - alert: TargetAbsent
        expr: absent_over_time(up{{job="{job}"}}[@{{absent}}])
        for: @{{interval}}
        labels:
          severity: critical
{label}          component: {component}
        annotations:
          summary: "{{{{ $labels.job }}}} is no longer a target."
          description: >-
            Prometheus has not scraped any target of job {{{{ $labels.job }}}} for @{{absent words}} or more: all instances
            are gone from service discovery, or the job is not configured. Nothing about it can alert.
          runbook_url: @{{runbook}}#targetabsent
          dashboard_url: @{{grafana}}/d/breakerbox-stack
"#
        )
        .expect("writing to a String never fails");
    }
    text
}
