//! Consistency of the drill's plans with the alerts and the default topology.

use std::collections::BTreeSet;
use std::path::Path;

use breakerbox::drill::{How, Step, plans};
use breakerbox::services::ServiceName;
use breakerbox::settings::Settings;

/// Name and severity of every alert in alerts/*.yml and alerts/expected/*.yml.
fn alerts() -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    let folders = ["alerts", "alerts/expected"].map(|folder| Path::new(env!("CARGO_MANIFEST_DIR")).join(folder));
    for entry in folders.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap()) {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yml") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let mut alert = None;
        for line in text.lines().map(str::trim) {
            if let Some(name) = line.strip_prefix("- alert: ") {
                alert = Some(name.to_owned());
            } else if let (Some(severity), Some(name)) = (line.strip_prefix("severity: "), &alert) {
                found.insert((name.clone(), severity.to_owned()));
            }
        }
    }
    found
}

#[test]
fn every_alert_has_a_plan_or_a_reason_and_every_plan_an_alert() {
    let planned: BTreeSet<_> = plans().iter().map(|plan| (plan.alert.to_owned(), plan.severity.to_owned())).collect();
    assert_eq!(planned.len(), plans().len(), "duplicate plan");
    assert_eq!(planned, alerts());
}

/// Plans that declare what they need may name services that the default topology lacks.
#[test]
fn plans_break_only_what_the_default_topology_has() {
    let settings = Settings::load(None, std::iter::empty()).unwrap();
    let has = |service: &str, name: &str| {
        let caller = settings.policies.iter().find(|(caller, _)| caller.as_str() == service);
        caller.is_some_and(|(_, policies)| policies.keys().any(|dependency| dependency.as_str() == name))
    };
    for plan in plans() {
        let How::Raise(raise) = &plan.how else { continue };
        if raise.needs.is_some() {
            continue;
        }
        let mut breakers: Vec<_> = raise.opens.into_iter().collect();
        for step in &raise.steps {
            match step {
                Step::Fault(target, _) | Step::Mend(target) => {
                    assert!(
                        ServiceName::ALL.iter().any(|service| service.as_str() == *target),
                        "{}: {target}",
                        plan.name()
                    );
                }
                Step::Command(service, name, _) | Step::Settings(service, name, _) | Step::AwaitOpen(service, name) => {
                    breakers.push((service, name));
                }
                Step::ReplayAfterwards | Step::Run { .. } => {}
            }
        }
        for (service, name) in breakers {
            assert!(has(service, name), "{}: no breaker {service}/{name}", plan.name());
        }
    }
}
