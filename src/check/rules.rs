//! Checks of rules: which are loaded, whether they have data, and whether their windows hold enough samples.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;
use std::time::Duration;

use breakerbox_telemetry::names;

use super::promql::{Read, read};
use super::{Finding, Observed, Rule, listed};

/// Samples that a rate needs for a value, and to survive one missed scrape.
const LEAST_SAMPLES: u32 = 2;
const CALM_SAMPLES: u32 = 3;

/// The shipped alerts: each has a section in the runbook, which a test checks.
static SHIPPED: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let runbook = include_str!("../../alerts/runbook.md");
    runbook.lines().filter_map(|line| line.strip_prefix("### ")).map(str::trim).collect()
});

/// The alerts of alerts/optional/, which may be missing.
static OPTIONAL: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let rules = include_str!("../../alerts/optional/seeds.ko.yml");
    rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect()
});

pub(super) fn shipped_alerts() -> &'static [&'static str] {
    &SHIPPED
}

pub(super) fn examine(observed: &Observed) -> Vec<Finding> {
    let about_us: Vec<(&Rule, Read)> = observed
        .rules
        .iter()
        .map(|rule| (rule, read(&rule.query)))
        .filter(|(rule, read)| is_shipped(rule) || read.names.iter().any(|name| is_ours(name)))
        .collect();
    let mut findings = loaded(observed);
    for (rule, _) in about_us.iter().filter(|(rule, _)| !rule.error.is_empty()) {
        findings.push(Finding::problem(
            format!("{} of {} cannot be evaluated: {}", rule.name, rule.file, rule.error),
            "correct the rule; until then it never fires",
        ));
    }
    findings.extend(unrecorded(observed, &about_us));
    findings.extend(blind(observed, &about_us));
    findings.extend(windows(observed, &about_us));
    if observed.alertmanagers == 0 && observed.rules.iter().any(|rule| rule.alert) {
        findings.push(Finding::hint(
            "no Alertmanager is connected: alerts fire but are not delivered",
            "name one under alerting.alertmanagers",
        ));
    }
    findings
}

fn is_shipped(rule: &Rule) -> bool {
    rule.alert && shipped_alerts().contains(&rule.name.as_str())
}

/// Whether a name is one of the program's metrics, including the series of histograms.
fn is_ours(name: &str) -> bool {
    let base = ["_bucket", "_count", "_sum"].iter().find_map(|part| name.strip_suffix(part)).unwrap_or(name);
    names::ALL.iter().any(|family| family.name == name || family.name == base)
}

fn loaded(observed: &Observed) -> Vec<Finding> {
    let mut files: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for rule in observed.rules.iter().filter(|rule| is_shipped(rule)) {
        files.entry(&rule.name).or_default().insert(&rule.file);
    }
    let mut findings = Vec::new();
    if files.is_empty() {
        return vec![Finding::hint(
            "none of the shipped alerts is loaded",
            "load prometheus/rules/*.yml and alerts/*.yml, or alerts/minimal.yml alone, under rule_files",
        )];
    }
    let twice: Vec<_> = files.iter().filter(|(_, files)| files.len() > 1).map(|(name, _)| (*name).to_owned()).collect();
    if !twice.is_empty() {
        findings.push(Finding::problem(
            format!("loaded from two files: {}", listed(&twice)),
            "leave out alerts/minimal.yml, which says the same again without recording rules, or all other files; and load \
             one profile only",
        ));
    }
    let expected = shipped_alerts().iter().filter(|name| !OPTIONAL.contains(name));
    let missing: Vec<_> = expected.filter(|name| !files.contains_key(**name)).map(|name| (*name).to_owned()).collect();
    if missing.is_empty() {
        findings.push(Finding::ok(format!("all {} shipped alerts are loaded", files.len())));
    } else {
        findings.push(Finding::hint(
            format!(
                "{} of {} shipped alerts are loaded; not {}",
                files.len(),
                shipped_alerts().len(),
                listed(&missing)
            ),
            "load the files that hold them, if that is not meant (alerts/minimal.yml has a few on purpose)",
        ));
    }
    findings
}

/// Recorded series that rules read but no loaded rule records.
fn unrecorded(observed: &Observed, about_us: &[(&Rule, Read)]) -> Vec<Finding> {
    let recorded: BTreeSet<&str> =
        observed.rules.iter().filter(|rule| !rule.alert).map(|rule| rule.name.as_str()).collect();
    let mut missing: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (rule, read) in about_us {
        for name in read.names.iter().filter(|name| name.contains(':') && !recorded.contains(name.as_str())) {
            if !observed.names.contains(name) {
                missing.entry(name).or_default().push(rule.name.clone());
            }
        }
    }
    let problem = |(name, rules): (&str, Vec<String>)| {
        Finding::problem(
            format!("{} reads {name}, which no rule records: it never fires", listed(&rules)),
            "load the recording rules as well: prometheus/rules/*.yml",
        )
    };
    missing.into_iter().map(|(name, rules)| problem((name, rules))).collect()
}

/// Our metrics that rules read but no target exports.
fn blind(observed: &Observed, about_us: &[(&Rule, Read)]) -> Vec<Finding> {
    let mut missing: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (rule, read) in about_us {
        for name in read.names.iter().filter(|name| is_ours(name) && !observed.names.contains(name)) {
            missing.entry(name).or_default().insert(rule.name.clone());
        }
    }
    let hint = |(name, rules): (&str, BTreeSet<String>)| {
        let rules: Vec<_> = rules.into_iter().collect();
        Finding::hint(
            format!("no target exports {name}, which {} reads", listed(&rules)),
            "scrape the process that has it (docs/metrics.md says what each has), or leave the rule out",
        )
    };
    missing.into_iter().map(hint).collect()
}

/// Windows with too few samples at the actual scrape interval of the targets.
fn windows(observed: &Observed, about_us: &[(&Rule, Read)]) -> Vec<Finding> {
    let Some(interval) = observed.targets.iter().filter(|target| target.ours).map(|target| target.interval).max()
    else {
        return Vec::new();
    };
    let own = about_us.iter().filter(|(_, read)| read.names.iter().any(|name| is_ours(name)));
    let (mut empty, mut thin, mut shortest) = (Vec::new(), Vec::new(), Duration::MAX);
    for (rule, read) in own {
        let Some(window) = read.windows.iter().min() else { continue };
        shortest = shortest.min(*window);
        if *window < interval * LEAST_SAMPLES {
            empty.push(rule.name.clone());
        } else if *window < interval * CALM_SAMPLES {
            thin.push(rule.name.clone());
        }
    }
    let (scraped, shown) = (humantime::format_duration(interval), humantime::format_duration(shortest));
    let to_do = format!(
        "scrape every {} or more often, or load the rules' profile for a scrape every {scraped} (alerts/profiles)",
        humantime::format_duration(Duration::from_secs((shortest / (CALM_SAMPLES + 1)).as_secs().max(1)))
    );
    let named = |mut names: Vec<String>| {
        names.sort();
        names.dedup();
        listed(&names)
    };
    let mut findings = Vec::new();
    if !empty.is_empty() {
        findings.push(Finding::problem(
            format!("a window of {shown} has fewer than {LEAST_SAMPLES} samples at a scrape every {scraped}: {} see nothing", named(empty)),
            to_do.clone(),
        ));
    }
    if !thin.is_empty() {
        findings.push(Finding::hint(
            format!("one missed scrape empties the shortest windows at a scrape every {scraped}: {}", named(thin)),
            to_do,
        ));
    }
    if findings.is_empty() && shortest < Duration::MAX {
        findings.push(Finding::ok(format!("the shortest window of the rules is {shown}, at a scrape every {scraped}")));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::{Level, healthy};
    use super::*;

    fn with_rule(query: &str) -> Observed {
        let mut observed = healthy();
        observed.rules.push(Rule { name: "Mine".to_owned(), alert: true, query: query.to_owned(), ..Rule::default() });
        observed
    }

    fn worst(observed: &Observed) -> Finding {
        examine(observed).into_iter().max_by_key(|finding| finding.level).unwrap()
    }

    #[test]
    fn windows_need_two_samples_and_should_have_three() {
        for (window, level) in [("9s", Level::Problem), ("14s", Level::Hint), ("20s", Level::Ok)] {
            let found = worst(&with_rule(&format!("rate(circuit_breaker_calls_total[{window}]) > 1")));
            assert_eq!(found.level, level, "{window}: {found:?}");
            assert!(level == Level::Ok || found.what.contains("Mine"), "{found:?}");
        }
    }

    #[test]
    fn windows_of_other_programs_are_not_checked() {
        assert_eq!(worst(&with_rule("rate(node_cpu_seconds_total[1s])")).level, Level::Ok);
    }

    #[test]
    fn a_recording_that_nothing_records_is_a_problem() {
        let observed = with_rule("service:calls:rate1m > 1 and circuit_breaker_state == 1");
        let found = worst(&observed);
        assert_eq!(found.level, Level::Problem);
        assert!(found.what.contains("Mine reads service:calls:rate1m"), "{found:?}");
    }

    #[test]
    fn a_metric_that_nothing_exports_is_a_hint() {
        let mut observed = with_rule("retry_queue_depth_items > 5");
        observed.names.retain(|name| name != "retry_queue_depth_items");
        let found = worst(&observed);
        assert!(found.level == Level::Hint && found.what.contains("retry_queue_depth_items"), "{found:?}");
    }

    #[test]
    fn the_same_alert_from_two_files_is_a_problem() {
        let mut observed = healthy();
        observed.rules.push(Rule { file: "/etc/minimal.yml".to_owned(), ..observed.rules[0].clone() });
        assert!(worst(&observed).to_do.contains("minimal.yml"));
    }

    #[test]
    fn failing_rules_and_missing_alerts_are_reported() {
        let mut observed = healthy();
        observed.rules[0].error = "vector cannot contain duplicate labels".to_owned();
        assert!(worst(&observed).what.contains("duplicate labels"));
        let mut none = healthy();
        none.rules.clear();
        assert!(worst(&none).what.contains("none of the shipped alerts"));
    }

    #[test]
    fn every_name_of_a_metric_is_ours_and_no_other_is() {
        assert!(is_ours("circuit_breaker_call_duration_seconds_bucket") && is_ours("fallback_calls_total"));
        assert!(!is_ours("up") && !is_ours("node_cpu_seconds_total"));
    }
}
