//! Exports the program's policies as configuration of Istio, Envoy and Resilience4j.
//!
//! # Why
//!
//! A hand-written mesh configuration differs from the library's after the first change of either. Here both are
//! generated from the same settings, and a test checks that the files in `deploy/istio/` are up to date.
//!
//! # What cannot be exported
//!
//! No other system can express every setting. Each one is therefore either **exported** to a named field, **lost**,
//! which is reported beside the output with the reason, or **idle** because it has no effect in this policy. A setting
//! unknown to an exporter counts as lost, so that a new one is never dropped silently.

pub mod envoy;
pub mod istio;
pub mod resilience4j;
pub mod yaml;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde_json::Value;

use crate::faults::FaultPlan;
use crate::services::ServiceName;
use crate::settings::Blueprint;
use breakerbox_resilience::limiter::RateLimiterSettings;
use breakerbox_resilience::policy::PolicySettings;
use breakerbox_resilience::retry::Verdict;

/// The settings to export.
#[derive(Clone, Debug)]
pub struct Source {
    /// Policies of calls, by caller and dependency.
    pub policies: BTreeMap<(ServiceName, ServiceName), PolicySettings>,
    /// Port of each service.
    pub ports: BTreeMap<ServiceName, u16>,
    /// Default faults.
    pub faults: BTreeMap<ServiceName, FaultPlan>,
    /// The rate limit at the gateway's edge.
    pub rate_limit: RateLimiterSettings,
}

/// The policy of a caller for one dependency.
#[derive(Clone, Copy, Debug)]
pub struct Relation<'a> {
    /// The calling service.
    pub caller: ServiceName,
    /// The called dependency.
    pub dependency: ServiceName,
    /// The policy of those calls.
    pub policy: &'a PolicySettings,
}

impl Source {
    /// The exportable part of the settings.
    #[must_use]
    pub fn new(blueprint: Blueprint) -> Self {
        Self {
            policies: blueprint.policies,
            ports: blueprint.services.iter().map(|(service, listens)| (*service, listens.port)).collect(),
            faults: blueprint.faults,
            rate_limit: blueprint.gateway.rate_limit,
        }
    }

    /// All relations with a policy, sorted by caller.
    pub fn relations(&self) -> impl Iterator<Item = Relation<'_>> {
        self.policies.iter().map(|((caller, dependency), policy)| Relation {
            caller: *caller,
            dependency: *dependency,
            policy,
        })
    }

    /// Services that others call under a policy, sorted.
    pub fn dependencies(&self) -> impl Iterator<Item = ServiceName> + '_ {
        let called = |service: &&ServiceName| self.policies.keys().any(|(_, dependency)| dependency == *service);
        ServiceName::ALL.iter().filter(called).copied()
    }

    /// The port of a service.
    #[must_use]
    pub fn port(&self, service: ServiceName) -> u16 {
        self.ports.get(&service).copied().unwrap_or_default()
    }
}

/// The fate of a setting in an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Exported to this field.
    Exported(&'static str),
    /// There is no equivalent, for this reason.
    Lost(&'static str),
    /// It has no effect in this policy, or equals the other system's fixed behaviour.
    Idle,
}

/// One setting of a policy that another system cannot express.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Its path, such as `circuit-breaker.slow-call-rate-threshold`.
    pub setting: String,
    /// Its value, spelled as in the settings.
    pub value: String,
    /// Why it is lost, and the closest equivalent.
    pub why: &'static str,
}

/// All settings of a policy that are set: paths and values, sorted by path.
#[must_use]
pub fn settings(policy: &PolicySettings) -> Vec<(String, Value)> {
    fn flatten(prefix: &str, value: Value, into: &mut Vec<(String, Value)>) {
        match value {
            Value::Null => {}
            Value::Object(table) => {
                for (key, value) in table {
                    let path = if prefix.is_empty() { key } else { format!("{prefix}.{key}") };
                    flatten(&path, value, into);
                }
            }
            leaf => into.push((prefix.to_owned(), leaf)),
        }
    }
    let mut all = Vec::new();
    flatten("", serde_json::to_value(policy).expect("settings are serialisable"), &mut all);
    all
}

/// The lost settings of a policy, according to `fate`.
fn gaps(policy: &PolicySettings, fate: impl Fn(&PolicySettings, &str) -> Fate) -> Vec<Gap> {
    settings(policy)
        .into_iter()
        .filter_map(|(setting, value)| match fate(policy, &setting) {
            Fate::Lost(why) => {
                let value = match &value {
                    Value::String(text) => text.clone(),
                    Value::Array(items) => format!("[{}]", items.iter().map(plain).collect::<Vec<_>>().join(", ")),
                    other => plain(other),
                };
                Some(Gap { setting, value, why })
            }
            Fate::Exported(_) | Fate::Idle => None,
        })
        .collect()
}

/// A scalar value, spelled as in the settings.
fn plain(value: &Value) -> String {
    yaml::document(value).trim().to_owned()
}

/// The gaps as a Markdown table for every relation, and the differences that apply to any settings.
fn gaps_page(source: &Source, what: &str, always: &[(&str, &str)], fate: fn(&PolicySettings, &str) -> Fate) -> String {
    let mut page = format!(
        "# What {what} cannot express of these policies\n\nWritten by `breakerbox export {} --gaps`; a test compares.\n\n\
         Independent of the settings:\n\n| | in the library | in {what} |\n|---|---|---|\n",
        what.to_lowercase(),
    );
    for (number, (library, other)) in always.iter().enumerate() {
        writeln!(page, "| {} | {library} | {other} |", number + 1).expect("writing to a String never fails");
    }
    for Relation { caller, dependency, policy } in source.relations() {
        writeln!(page, "\n## {caller} → {dependency}\n\n| setting | value | why it is lost |\n|---|---|---|")
            .expect("writing to a String never fails");
        for Gap { setting, value, why } in gaps(policy, fate) {
            writeln!(page, "| `{setting}` | {value} | {why} |").expect("writing to a String never fails");
        }
    }
    page
}

/// Maximum number of attempts.
fn attempts(policy: &PolicySettings) -> u32 {
    policy.retry.as_ref().map_or(1, |retry| retry.max_attempts)
}

/// The breaker's threshold of consecutive failures, if it has one.
fn in_a_row(policy: &PolicySettings) -> Option<u32> {
    policy.circuit_breaker.as_ref()?.consecutive_failure_threshold
}

/// Statuses that the program retries, among those registered with IANA.
fn retried_statuses() -> Vec<u16> {
    const REGISTERED: &[u16] = &[
        400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 421, 422, 423, 424,
        425, 426, 428, 429, 431, 451, 500, 501, 502, 503, 504, 505, 506, 507, 508, 511,
    ];
    let retried = |status: &u16| Verdict::of_status(*status).is_some_and(|verdict| verdict.retryable);
    REGISTERED.iter().copied().filter(retried).collect()
}

/// A duration in the notation of Istio and Envoy: seconds with an `s`.
fn seconds(duration: Duration) -> String {
    format!("{}s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retried_statuses_are_the_classifications() {
        let retried = retried_statuses();
        assert!(retried.starts_with(&[408, 429, 500, 502, 503, 504]), "{retried:?}");
        assert!([400, 401, 403, 404, 409, 501, 505].iter().all(|status| !retried.contains(status)), "{retried:?}");
    }

    #[test]
    fn a_setting_is_named_by_its_path() {
        let all = settings(&PolicySettings::default());
        assert!(all.contains(&("time-limiter.timeout-duration".to_owned(), Value::from("1s"))), "{all:?}");
        assert!(!all.iter().any(|(path, _)| path.starts_with("retry.")), "what is off has no settings: {all:?}");
    }
}
