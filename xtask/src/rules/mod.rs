//! Recording rules and alerts, for each scrape interval from one source.
//!
//! ## Motivation
//!
//! A rate needs several samples in its window: four, to be safe. Rules that detect an outage within half a minute need
//! a scrape every 5 s, and have no data at 60 s, where `rate(x[1m])` is empty. So windows are parameters:
//! `xtask/rules/*.yml` are templates, a [`Profile`] defines `@{rate}` and the other parameters, and a test checks that
//! the committed files are what they generate.
//!
//! Besides windows, everything that must be the same in all rules is defined here: the labels by which series are
//! aggregated, and the targets of links.

mod expected;
mod profile;
mod slo;
mod unit;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::Generated;
use profile::{PROFILES, Profile};

/// Labels that distinguish installations; series are aggregated by these and our own labels only. `exported_service` is
/// our `service` label if a target label has taken its name.
const BY: &str = "cluster, environment, namespace, job, exported_service";
/// The same, across jobs.
const BY_ALL_JOBS: &str = "cluster, environment, namespace, exported_service";
/// Labels that identify a target.
const AT: &str = "cluster, environment, namespace, job, instance";
/// Excludes the unprotected twin, which fails on purpose.
const PROTECTED: &str = r#"service!="gateway-bare",exported_service!="gateway-bare""#;

/// Targets of an alert's links.
pub(crate) struct Links {
    /// URL of the runbook on an admin port.
    pub(crate) runbook: String,
    /// URL of Grafana.
    pub(crate) grafana: String,
}

impl Default for Links {
    fn default() -> Self {
        Self { runbook: "http://127.0.0.1:8090/runbook".to_owned(), grafana: "http://127.0.0.1:3000".to_owned() }
    }
}

/// A template and its destination.
struct Template {
    /// Its file in `xtask/rules/`.
    name: &'static str,
    text: &'static str,
    /// The destination folder of the profile that the repository's own configurations load.
    folder: &'static str,
    /// Its file name there.
    file: &'static str,
}

const TEMPLATES: &[Template] = &[
    Template {
        name: "records-breakers.yml",
        text: include_str!("../../rules/records-breakers.yml"),
        folder: "prometheus/rules",
        file: "breakers.yml",
    },
    Template {
        name: "records-checkout.yml",
        text: include_str!("../../rules/records-checkout.yml"),
        folder: "prometheus/rules",
        file: "checkout.yml",
    },
    Template {
        name: "records-slo.yml",
        text: include_str!("../../rules/records-slo.yml"),
        folder: "prometheus/rules",
        file: "slo.yml",
    },
    alert("breakers.yml", include_str!("../../rules/breakers.yml")),
    alert("resilience.yml", include_str!("../../rules/resilience.yml")),
    alert("slo.yml", include_str!("../../rules/slo.yml")),
    alert("checkout.yml", include_str!("../../rules/checkout.yml")),
    alert("targets.yml", include_str!("../../rules/targets.yml")),
    alert("pipeline.yml", include_str!("../../rules/pipeline.yml")),
];

const fn alert(name: &'static str, text: &'static str) -> Template {
    Template { name, text, folder: "alerts", file: name }
}

/// Every generated file: those of the first profile where the repository's configurations load them, those of the
/// others in a separate folder each.
pub(crate) fn files(links: &Links) -> Vec<Generated> {
    let mut files = Vec::new();
    for (number, profile) in PROFILES.iter().enumerate() {
        let first = number == 0;
        let folder = if first { "alerts".into() } else { Path::new("alerts/profiles").join(profile.name) };
        for template in TEMPLATES {
            let path = if first { Path::new(template.folder).join(template.file) } else { folder.join(template.name) };
            files.push(generated(path, template.name, template.text, profile, links));
        }
        for test in unit::UNIT_TESTS.iter().filter(|test| test.every_profile || first) {
            let (path, source) = (folder.join("tests").join(test.name), format!("tests/{}", test.name));
            files.push(generated(path, &source, &test.text_for(profile), profile, links));
        }
        for (name, text) in expected::templates() {
            files.push(generated(folder.join("expected").join(name), "src/rules/expected.rs", &text, profile, links));
        }
        let seeds = include_str!("../../rules/seeds.ko.yml");
        files.push(generated(folder.join("optional/seeds.ko.yml"), "seeds.ko.yml", seeds, profile, links));
    }
    let minimal = include_str!("../../rules/minimal.yml");
    files.push(generated("alerts/minimal.yml".into(), "minimal.yml", minimal, &PROFILES[0], links));
    files
}

/// What each alert says, whatever it fires for: its name, and its summary without labels.
pub(crate) fn meanings() -> BTreeMap<String, String> {
    let (mut meanings, mut alert) = (BTreeMap::new(), String::new());
    for template in TEMPLATES {
        for line in filled(template.text, &PROFILES[0], &Links::default()).lines().map(str::trim) {
            if let Some(name) = line.strip_prefix("- alert: ") {
                name.clone_into(&mut alert);
            } else if let Some(summary) = line.strip_prefix("summary: ") {
                meanings.insert(alert.clone(), said_of_any(summary));
            }
        }
    }
    meanings
}

/// A summary without the labels that its alert fires for; the longest phrases first.
fn said_of_any(summary: &str) -> String {
    const WORDS: &[(&str, &str)] = &[
        ("Circuit breaker {breaker} of {service}", "The circuit breaker"),
        ("circuit breaker {breaker} of {service}", "the circuit breaker"),
        ("Breaker {breaker} of {service}", "The circuit breaker"),
        ("Retry queue {queue} of {service}", "The retry queue"),
        ("Bulkhead {bulkhead} of {service}", "The bulkhead"),
        ("of {service} to {breaker}", "to the dependency"),
        ("of {service} for {breaker}", "for the dependency"),
        ("{breaker} of {service}", "the dependency"),
        ("Service {service}", "The service"),
        ("instance of {service}", "instance of the service"),
        (" of {service}", ""),
        ("service=\"{service}\"", "service"),
        ("{service}", "the service"),
        ("of {job}", "of the job"),
        ("job {job}", "the job"),
        ("{job}", "The job"),
    ];
    let plain = summary.trim_matches('"').replace("\\\"", "\"").replace("{{ $labels.", "{").replace(" }}", "}");
    let words = WORDS.iter().fold(plain, |text, (labels, words)| text.replace(labels, words));
    words.trim_end_matches('.').to_owned()
}

fn generated(path: PathBuf, source: &str, template: &str, profile: &Profile, links: &Links) -> Generated {
    let source = if source.starts_with("src/") { source.to_owned() } else { format!("rules/{source}") };
    let head = format!(
        "# Generated from xtask/{source} for a scrape every {}: edit that, and run `cargo xtask rules`.\n#\n",
        profile.name
    );
    Generated { path, text: head + &filled(template, profile, links) }
}

/// A template with every `@{…}` replaced.
///
/// # Panics
///
/// If it names an unknown parameter, which is a mistake in the template.
fn filled(template: &str, profile: &Profile, links: &Links) -> String {
    let mut text = String::with_capacity(template.len() * 2);
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("@{") {
        let (name, after) = after.split_once('}').expect("a parameter is closed");
        text.push_str(before);
        let value = match name {
            "by" => BY.to_owned(),
            "by all jobs" => BY_ALL_JOBS.to_owned(),
            "at" => AT.to_owned(),
            "protected" => PROTECTED.to_owned(),
            "runbook" => links.runbook.clone(),
            "grafana" => links.grafana.clone(),
            "slo short" => filled(slo::short_records().trim_end(), profile, links),
            "slo long" => filled(slo::long_records().trim_end(), profile, links),
            "slo alerts" => filled(slo::alerts().trim_end(), profile, links),
            _ => profile.parameter(name).unwrap_or_else(|| panic!("@{{{name}}} is no parameter")),
        };
        text.push_str(&value);
        rest = after;
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn committed_rules_are_what_the_templates_give() {
        crate::check(&files(&Links::default())).unwrap();
    }

    #[test]
    fn no_generated_file_has_a_parameter_left() {
        for file in files(&Links::default()) {
            assert!(!file.text.contains("@{"), "{}", file.path.display());
        }
    }

    #[test]
    fn an_alert_is_said_without_its_labels() {
        let meanings = meanings();
        assert_eq!(meanings["PaymentRevenueAtRisk"], "Orders cannot be paid");
        assert_eq!(meanings["FallbackSurge"], "Fallbacks for the dependency surge");
        let alerts = TEMPLATES.iter().flat_map(|template| template.text.lines());
        for name in alerts.filter_map(|line| line.trim().strip_prefix("- alert: ")) {
            let said = &meanings[name];
            assert!(!said.is_empty() && !said.contains(['{', '$', '}']) && !said.contains("  "), "{name}: {said:?}");
        }
    }

    #[test]
    fn links_come_from_one_place() {
        let links = Links { runbook: "https://a.example/r".to_owned(), grafana: "https://b.example".to_owned() };
        for file in files(&links) {
            assert!(!file.text.contains("127.0.0.1"), "{} has a link of its own", file.path.display());
        }
    }

    /// Four samples in the window of a rate, and three in a window that only checks for continuation.
    #[test]
    fn every_window_holds_enough_samples() {
        for profile in PROFILES {
            for (name, least) in [("rate", 4), ("again", 3), ("open", 5), ("absent", 5), ("lookback", 3)] {
                let window = profile::seconds(profile.value(name).unwrap());
                assert!(window >= least * profile.interval, "{}: {name} is {window} s", profile.name);
            }
            let of = |name| profile::seconds(profile.value(name).unwrap());
            assert!(of("rate") > of("again"), "{}", profile.name);
            assert!(of("probes") >= of("rate") + profile.interval, "{}", profile.name);
            assert!(of("lost") > of("lookback") + of("patience") + profile.interval, "{}", profile.name);
        }
    }
}
