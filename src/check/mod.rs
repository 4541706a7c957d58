//! Checks how a Prometheus processes these metrics and rules: what is scraped, which rules are loaded, what is missing
//! or clashes, and how to fix it.
//!
//! # Why
//!
//! Most configuration errors between a program and a Prometheus are silent. A target label `service` renames the
//! program's own to `exported_service`, and no rule matches any more. A rate over 20 s is empty if the target is
//! scraped every 30 s. An alert whose recording rules are not loaded never fires. None of these is reported as an
//! error: the alerts stay inactive, as they do when all is well.
//!
//! # How
//!
//! [`Observed`] holds the responses of Prometheus' API, read once; [`examine`] is a pure function of it. Windows and
//! names are read from the *loaded* rules, so the user's own rules over these metrics are checked as well.

mod ask;
mod promql;
mod rules;
mod series;
mod targets;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use ask::{Access, observe};

/// Observations of one Prometheus.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// Its version.
    pub version: String,
    /// Targets that export our metrics, or whose job has one of our names.
    pub targets: Vec<Target>,
    /// All loaded rules.
    pub rules: Vec<Rule>,
    /// Names of metrics that our targets export now, and of recorded series.
    pub names: Vec<String>,
    /// Number of series of `circuit_breaker_state` by each label of these queries; see `series`.
    pub counts: BTreeMap<&'static str, f64>,
    /// Labels of our series that begin with `exported_`, without that prefix.
    pub renamed: Vec<String>,
    /// Number of Alertmanagers to which alerts are sent.
    pub alertmanagers: usize,
    /// Whether exemplar storage is enabled.
    pub exemplars: bool,
}

/// A scrape target.
#[derive(Clone, Debug, Default)]
pub struct Target {
    /// Its job.
    pub job: String,
    /// Its instance.
    pub instance: String,
    /// Scrape URL.
    pub url: String,
    /// Whether the last scrape worked.
    pub up: bool,
    /// Error of the last scrape.
    pub error: String,
    /// Scrape interval.
    pub interval: Duration,
    /// Whether it exports our metrics.
    pub ours: bool,
}

/// A loaded rule.
#[derive(Clone, Debug, Default)]
pub struct Rule {
    /// Name of the alert or of the recorded series.
    pub name: String,
    /// Whether it is an alert.
    pub alert: bool,
    /// Its expression.
    pub query: String,
    /// Its file, as named by Prometheus.
    pub file: String,
    /// Error of the last evaluation.
    pub error: String,
}

/// Severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Correct.
    Ok,
    /// Worth knowing, but no alert or dashboard is affected.
    Hint,
    /// Alerts or dashboards have no data.
    Problem,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "ok",
            Self::Hint => "hint",
            Self::Problem => "problem",
        })
    }
}

/// A finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Severity.
    pub level: Level,
    /// Description.
    pub what: String,
    /// How to fix it; empty if there is nothing to do.
    pub to_do: String,
}

impl Finding {
    fn ok(what: impl Into<String>) -> Self {
        Self { level: Level::Ok, what: what.into(), to_do: String::new() }
    }

    fn hint(what: impl Into<String>, to_do: impl Into<String>) -> Self {
        Self { level: Level::Hint, what: what.into(), to_do: to_do.into() }
    }

    fn problem(what: impl Into<String>, to_do: impl Into<String>) -> Self {
        Self { level: Level::Problem, what: what.into(), to_do: to_do.into() }
    }
}

/// The findings, problems first.
#[must_use]
pub fn examine(observed: &Observed) -> Vec<Finding> {
    let mut findings = targets::examine(observed);
    if observed.targets.iter().any(|target| target.ours) {
        findings.extend(series::examine(observed));
        findings.extend(rules::examine(observed));
    }
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.level));
    findings
}

/// Joins names for a sentence; beyond a few, only their number is given.
fn listed(names: &[String]) -> String {
    const SHOWN: usize = 6;
    let shown = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// Observations without any finding.
#[cfg(test)]
fn healthy() -> Observed {
    let names = breakerbox_telemetry::names::ALL.iter().flat_map(|family| match family.kind {
        breakerbox_telemetry::names::Kind::Histogram => {
            ["_bucket", "_count", "_sum"].map(|part| format!("{}{part}", family.name)).to_vec()
        }
        _ => vec![family.name.to_owned()],
    });
    let counted = [(series::ALL, 12.0)];
    let rules = rules::shipped_alerts().iter().map(|name| Rule {
        name: (*name).to_owned(),
        alert: true,
        query: "max_over_time(circuit_breaker_state[30s]) == 0".to_owned(),
        file: "/etc/rules.yml".to_owned(),
        error: String::new(),
    });
    Observed {
        version: "3.5.0".to_owned(),
        targets: vec![Target {
            job: "breakerbox".to_owned(),
            instance: "127.0.0.1:8090".to_owned(),
            url: "http://127.0.0.1:8090/metrics".to_owned(),
            up: true,
            interval: Duration::from_secs(5),
            ours: true,
            ..Target::default()
        }],
        rules: rules.collect(),
        names: names.collect(),
        counts: counted.into(),
        renamed: Vec::new(),
        alertmanagers: 1,
        exemplars: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_wrong_with_a_healthy_prometheus() {
        let findings = examine(&healthy());
        assert!(findings.iter().all(|finding| finding.level == Level::Ok), "{findings:#?}");
        assert!(findings.len() >= 3, "{findings:#?}");
    }

    #[test]
    fn problems_come_first() {
        let mut observed = healthy();
        observed.alertmanagers = 0;
        observed.renamed = vec!["service".to_owned()];
        let levels: Vec<_> = examine(&observed).iter().map(|finding| finding.level).collect();
        assert_eq!(levels[..2], [Level::Problem, Level::Hint]);
    }

    #[test]
    fn long_lists_are_cut_short() {
        let names: Vec<_> = (0..9).map(|n| n.to_string()).collect();
        assert_eq!(listed(&names), "0, 1, 2, 3, 4, 5 and 3 more");
    }
}
