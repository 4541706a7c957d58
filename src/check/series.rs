//! Checks of missing or clashing series and labels.

use super::{Finding, Observed};

/// Queries that count series. If there is no series the result is missing, which means zero.
pub(super) const ALL: &str = "breakers' state series";
const NO_SERVICE: &str = "without service";
const NO_BREAKER: &str = "without breaker";
const NO_STATE: &str = "without state";
const BROKEN_STATE: &str = "not one state";
const NO_BUCKETS: &str = "without buckets";
pub(super) const QUERIES: &[(&str, &str)] = &[
    (ALL, "count(circuit_breaker_state)"),
    (NO_SERVICE, "count(circuit_breaker_state{service=\"\"})"),
    (NO_BREAKER, "count(circuit_breaker_state{breaker=\"\"})"),
    (NO_STATE, "count(circuit_breaker_state{state=\"\"})"),
    (BROKEN_STATE, "count(sum without (state) (circuit_breaker_state) != 1)"),
    (
        NO_BUCKETS,
        "count(circuit_breaker_call_duration_seconds_count unless ignoring (le) \
         max without (le) (circuit_breaker_call_duration_seconds_bucket))",
    ),
];

pub(super) fn examine(observed: &Observed) -> Vec<Finding> {
    let count = |what: &str| observed.counts.get(what).copied().unwrap_or_default();
    let mut findings = Vec::new();
    for label in &observed.renamed {
        findings.push(Finding::problem(
            format!("the label {label} of these metrics is stored as exported_{label}: a target label has taken its name"),
            format!(
                "set `honor_labels: true` on the job (honorLabels on a ServiceMonitor or PodMonitor), or drop the target \
                 label {label} with relabel_configs"
            ),
        ));
    }
    if observed.renamed.is_empty() {
        for (label, missing) in [("service", NO_SERVICE), ("breaker", NO_BREAKER), ("state", NO_STATE)] {
            if count(missing) > 0.0 {
                findings.push(Finding::problem(
                    format!("{:.0} series of circuit_breaker_state have no label {label}", count(missing)),
                    format!("a metric_relabel_configs drops {label}: leave it, rules and dashboards select by it"),
                ));
            }
        }
    }
    if count(ALL) == 0.0 {
        findings.push(Finding::hint(
            "no target has a circuit breaker",
            "scrape the processes that call others: the gateway, recommendation and checkout here",
        ));
    } else if count(BROKEN_STATE) > 0.0 {
        findings.push(Finding::problem(
            format!("{:.0} breakers are in no state or in several", count(BROKEN_STATE)),
            "a metric_relabel_configs drops series of circuit_breaker_state, or two processes export the same breaker \
             under the same labels: each needs an instance of its own",
        ));
    }
    if count(NO_BUCKETS) > 0.0 {
        findings.push(Finding::problem(
            "circuit_breaker_call_duration_seconds has no buckets: quantiles, and the alert on them, see nothing",
            "a metric_relabel_configs drops _bucket: keep at least those of circuit_breaker_call_duration_seconds",
        ));
    }
    if !observed.exemplars {
        findings.push(Finding::hint(
            "exemplars are not kept: no way from a latency to its trace",
            "start Prometheus with --enable-feature=exemplar-storage",
        ));
    }
    let wrong = findings.iter().any(|finding| finding.level == super::Level::Problem);
    if !wrong && count(ALL) > 0.0 {
        findings.push(Finding::ok(format!(
            "{:.0} state series of breakers, with the labels that rules select by",
            count(ALL)
        )));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::{Level, healthy};
    use super::*;

    #[test]
    fn a_label_clash_is_reported_with_its_fix() {
        let mut observed = healthy();
        observed.renamed = vec!["service".to_owned()];
        observed.counts.insert(NO_SERVICE, 4.0);
        let findings = examine(&observed);
        let problems: Vec<_> = findings.iter().filter(|finding| finding.level == Level::Problem).collect();
        assert_eq!(problems.len(), 1, "a cause is reported only once: {problems:#?}");
        assert!(problems[0].what.contains("exported_service") && problems[0].to_do.contains("honor_labels"));
    }

    #[test]
    fn labels_dropped_by_relabelling_are_named() {
        for (what, word) in
            [(NO_BREAKER, "breaker"), (NO_STATE, "state"), (BROKEN_STATE, "several"), (NO_BUCKETS, "_bucket")]
        {
            let mut observed = healthy();
            observed.counts.insert(what, 3.0);
            let findings = examine(&observed);
            let problem =
                findings.iter().find(|finding| finding.level == Level::Problem).unwrap_or_else(|| panic!("{what}"));
            assert!(format!("{problem:?}").contains(word), "{problem:?}");
        }
    }

    #[test]
    fn a_stack_without_breakers_or_exemplars_gets_hints() {
        let mut observed = healthy();
        observed.counts.clear();
        observed.exemplars = false;
        let findings = examine(&observed);
        assert_eq!(findings.iter().map(|finding| finding.level).collect::<Vec<_>>(), [Level::Hint, Level::Hint]);
    }
}
