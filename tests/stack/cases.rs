//! Every alert has the required annotations, and unit tests show it inactive, firing and resolved.

use std::collections::BTreeSet;

use crate::files::{AlertTest, TestFile, alerts, name_of, read, seconds, yaml_in};

const ANNOTATIONS: &[&str] = &["summary", "description", "runbook_url", "dashboard_url"];
const SEVERITIES: &[&str] = &["critical", "warning", "notice", "info", "none"];
/// Always firing by design.
const NEVER_QUIET: &[&str] = &["Watchdog"];

/// Every unit test of an alert in a rule file, with the name of its test.
fn cases(rule_file: &str) -> Vec<(String, AlertTest)> {
    let wanted = format!("../{rule_file}");
    let files = yaml_in("alerts/tests").into_iter().map(|path| read::<TestFile>(&path));
    let tests = files.filter(|file| file.rule_files.contains(&wanted)).flat_map(|file| file.tests);
    tests.flat_map(|test| test.alerts.into_iter().map(move |case| (test.name.clone(), case))).collect()
}

#[test]
fn every_alert_has_a_severity_and_all_annotations() {
    for (file, name, rule) in alerts() {
        let severity = rule.labels.get("severity").map_or("", String::as_str);
        assert!(SEVERITIES.contains(&severity), "{file}: {name} has severity {severity:?}");
        let keys: Vec<&str> = rule.annotations.keys().map(String::as_str).collect();
        let expected: BTreeSet<&str> = ANNOTATIONS.iter().copied().collect();
        assert_eq!(keys.into_iter().collect::<BTreeSet<_>>(), expected, "{file}: {name}");
        let runbook = &rule.annotations["runbook_url"];
        assert!(runbook.ends_with(&format!("#{}", name.to_lowercase())), "{file}: {name} links to {runbook}");
        assert!(rule.annotations["dashboard_url"].contains("/d/breakerbox-"), "{file}: {name}");
    }
}

#[test]
fn every_alert_is_seen_quiet_firing_and_resolved() {
    for (file, name, rule) in alerts() {
        let cases: Vec<_> = cases(&file).into_iter().filter(|(_, case)| case.alertname == name).collect();
        let severity = &rule.labels["severity"];
        let fires = |case: &AlertTest| case.exp_alerts.iter().any(|alert| alert.exp_labels["severity"] == *severity);
        assert!(
            cases.iter().any(|(_, case)| fires(case)),
            "{file}: {name} at {severity} has no unit test that shows it firing"
        );
        if NEVER_QUIET.contains(&name.as_str()) {
            continue;
        }
        assert!(
            cases.iter().any(|(_, case)| case.exp_alerts.is_empty()),
            "{file}: {name} has no unit test that shows it inactive"
        );
        let resolved = cases.iter().filter(|(_, case)| fires(case)).any(|(test, firing)| {
            cases.iter().any(|(other, case)| {
                other == test && case.exp_alerts.is_empty() && seconds(&case.eval_time) > seconds(&firing.eval_time)
            })
        });
        assert!(resolved, "{file}: {name} at {severity} has no unit test that shows it resolved");
    }
}

#[test]
fn every_firing_case_expects_rendered_annotations() {
    for path in yaml_in("alerts/tests") {
        for test in read::<TestFile>(&path).tests {
            for alert in test.alerts.iter().flat_map(|case| &case.exp_alerts) {
                for key in ANNOTATIONS {
                    let text = alert.exp_annotations.get(*key).map_or("", String::as_str);
                    let rendered = !text.is_empty() && !text.contains("{{") && !text.contains("<no value>");
                    assert!(rendered, "{}: {}: {key} is {text:?}", name_of(&path), test.name);
                }
            }
        }
    }
}

/// A description without a number makes the reader look it up.
#[test]
fn every_description_has_a_number_from_the_series() {
    for (file, name, rule) in alerts() {
        let description = &rule.annotations["description"];
        let counts =
            description.contains("$value") || description.contains("value }}") || description.contains("| value");
        // These report that there are no numbers.
        let exempt = [
            "DatabaseDown",
            "TargetDown",
            "TargetAbsent",
            "MetricsAbsent",
            "MonitoringTargetDown",
            "CircuitBreakerHalfOpen",
        ];
        let minimal = file == "minimal.yml";
        assert!(counts || minimal || exempt.contains(&name.as_str()), "{file}: {name}: {description}");
    }
}

#[test]
fn every_test_names_an_alert_that_exists() {
    let known: BTreeSet<String> = alerts().into_iter().map(|(_, name, _)| name).collect();
    for path in yaml_in("alerts/tests") {
        for case in read::<TestFile>(&path).tests.into_iter().flat_map(|test| test.alerts) {
            assert!(known.contains(&case.alertname), "{}: {}", name_of(&path), case.alertname);
        }
    }
}

#[test]
fn the_minimal_file_is_self_contained_and_repeats_known_alerts() {
    let all = alerts();
    let full: BTreeSet<&String> =
        all.iter().filter(|(file, ..)| file != "minimal.yml").map(|(_, name, _)| name).collect();
    let minimal: Vec<_> = all.iter().filter(|(file, ..)| file == "minimal.yml").collect();
    assert!(minimal.len() >= 5);
    for (_, name, rule) in minimal {
        assert!(full.contains(name), "{name} has no runbook");
        let recorded: Vec<_> =
            crate::promql::read(&rule.expr).selectors.into_iter().filter(|found| found.metric.contains(':')).collect();
        assert!(recorded.is_empty(), "{name}: {recorded:?}");
    }
}

/// A ratio can never exceed a threshold (factor × budget) of 1 or more.
#[test]
fn every_burn_rate_can_be_reached() {
    let burns: Vec<_> = alerts().into_iter().filter(|(_, name, _)| name.contains("Burn")).collect();
    assert_eq!(burns.len(), 9, "four speeds for two objectives, and the minimal one");
    for (file, name, rule) in burns {
        let thresholds: Vec<f64> = rule
            .expr
            .split('>')
            .skip(1)
            .filter(|rest| rest.split_whitespace().nth(1) == Some("*"))
            .map(|rest| {
                let numbers: Vec<f64> = rest.split_whitespace().take(3).filter_map(|word| word.parse().ok()).collect();
                assert_eq!(numbers.len(), 2, "{file}: {name}: factor * budget, found {rest:?}");
                numbers[0] * numbers[1]
            })
            .collect();
        assert_eq!(thresholds.len(), 2, "{file}: {name}: a long and a short window");
        assert!(thresholds.iter().all(|threshold| *threshold < 1.0), "{file}: {name}: {thresholds:?}");
    }
}

/// Alertmanager groups by this label.
#[test]
fn every_alert_names_the_component_it_points_at() {
    for (file, name, rule) in alerts().into_iter().filter(|(_, _, rule)| rule.labels["severity"] != "none") {
        assert!(rule.labels.get("component").is_some_and(|component| !component.is_empty()), "{file}: {name}");
    }
}

/// Critical alerts are about what viewers or checkout notice; the others explain causes or are for dashboards.
#[test]
fn critical_alerts_concern_viewers_or_checkout() {
    let felt = ["Playback", "Payment", "Checkout", "RetryQueue", "TargetDown", "TargetAbsent", "DatabaseDown"];
    let usual = alerts().into_iter().filter(|(file, ..)| !file.starts_with("optional/"));
    for (file, name, _) in usual.filter(|(_, _, rule)| rule.labels["severity"] == "critical") {
        assert!(felt.iter().any(|begin| name.starts_with(begin)), "{file}: {name}");
    }
}
