//! The burn-rate alerts use the objectives that the program exports.

use std::collections::BTreeSet;

use breakerbox_telemetry::names::{OBJECTIVES, value};

use crate::files::{Rule, alerts};

/// The budgets by which an expression multiplies its factors: the `0.05` of `> 14.4 * 0.05`.
fn budgets_in(expr: &str) -> Vec<f64> {
    let comparisons = expr.split("> ").skip(1).filter_map(|rest| rest.split('\n').next());
    comparisons.filter_map(|words| words.split(" * ").nth(1)?.trim().parse().ok()).collect()
}

/// The error in an alert that has an `slo` label; `None` if there is none.
fn complaint(rule: &Rule) -> Option<String> {
    let slo = rule.labels.get("slo")?;
    let Some((_, objective)) = OBJECTIVES.iter().find(|(name, _)| name == slo) else {
        return Some(format!("there is no objective {slo:?}"));
    };
    let budget = 1.0 - objective;
    let budgets = budgets_in(&rule.expr);
    let told = rule.annotations.get("description").is_some_and(|words| {
        let percent = format!("{:.0} %", budget * 100.0);
        words.contains(&format!("times the budget of {percent}"))
    });
    let agree = budgets.len() == 2 && budgets.iter().all(|found| (found - budget).abs() < 1e-9);
    (!agree || !told).then(|| format!("{slo}: the budget is {budget:.4}, and the alert has {budgets:?}"))
}

#[test]
fn the_burn_rate_alerts_use_the_objectives_that_are_exported() {
    let mut seen = BTreeSet::new();
    for (file, name, rule) in alerts() {
        seen.extend(rule.labels.get("slo").cloned());
        assert_eq!(complaint(&rule), None, "{file}: {name}");
    }
    let objectives: Vec<_> = OBJECTIVES.iter().map(|(name, _)| *name).collect();
    assert_eq!(seen.iter().map(String::as_str).collect::<Vec<_>>(), objectives);
    assert_eq!(objectives, value::SLOS);
}

#[test]
fn an_alert_with_another_budget_is_caught() {
    let (.., rule) = alerts().into_iter().find(|(_, name, _)| name == "PlaybackQualityBurn1h").expect("it is there");
    for to in ["14.4 * 0.06", "0.72"] {
        let changed = Rule { expr: rule.expr.replacen("14.4 * 0.05", to, 1), ..rule.clone() };
        assert!(complaint(&changed).is_some(), "{to}");
    }
    let mut changed = rule.clone();
    changed.labels.insert("slo".to_owned(), "latency".to_owned());
    assert!(complaint(&changed).is_some());
    let mut changed = rule;
    changed.annotations.insert("description".to_owned(), "times the budget of 4 %".to_owned());
    assert!(complaint(&changed).is_some());
}
