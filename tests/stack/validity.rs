//! The tools' own judgement: syntax, configuration, unit tests.

use std::path::{Path, PathBuf};
use std::thread;

use serde_json::Value;

use crate::files::{name_of, read, yaml_in};
use crate::tools::{root, run, tool};

const PROMTOOLS: &[&str] = &["PROMTOOL", "PROMTOOL_2_42"];
const AMTOOLS: &[&str] = &["AMTOOL", "AMTOOL_0_25"];

fn check_all(command: &[&str], files: &[PathBuf]) {
    for promtool in PROMTOOLS.iter().filter_map(|name| tool(name)) {
        for file in files {
            let arguments = command.iter().map(AsRef::as_ref).chain([file.as_os_str()]);
            run(&promtool, arguments).unwrap_or_else(|words| panic!("{}\n{words}", file.display()));
        }
    }
}

#[test]
fn rules_are_valid_in_both_versions() {
    let files: Vec<_> = yaml_in("prometheus/rules").into_iter().chain(yaml_in("alerts")).collect();
    check_all(&["check", "rules"], &files);
}

#[test]
fn configurations_are_valid_in_both_versions() {
    let mut files = yaml_in("prometheus");
    files.retain(|file| !name_of(file).starts_with("alertmanager"));
    assert_eq!(files.len(), 2, "prometheus.yml and local.yml");
    // rules.yml names files where somebody else's Prometheus has them.
    files.extend(yaml_in("prometheus/snippets").into_iter().filter(|file| name_of(file) != "rules.yml"));
    check_all(&["check", "config"], &files);
    check_all(&["check", "config", "--syntax-only"], &[root().join("prometheus/snippets/rules.yml")]);
}

#[test]
fn alertmanager_configurations_are_valid_in_both_versions() {
    for amtool in AMTOOLS.iter().filter_map(|name| tool(name)) {
        for file in ["prometheus/alertmanager.yml", "prometheus/alertmanager.local.yml"] {
            run(&amtool, ["check-config", file]).unwrap_or_else(|words| panic!("{file}\n{words}"));
        }
    }
}

fn unit_tests_pass(promtool: &str) {
    let Some(promtool) = tool(promtool) else { return };
    let judge = |file: &Path| run(&promtool, [Path::new("test"), Path::new("rules"), file]);
    let files = yaml_in("alerts/tests");
    let failures: Vec<String> = thread::scope(|scope| {
        let running: Vec<_> = files.iter().map(|file| scope.spawn(|| judge(file))).collect();
        running.into_iter().filter_map(|thread| thread.join().expect("no panic").err()).collect()
    });
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn unit_tests_pass_in_the_newest_version() {
    unit_tests_pass("PROMTOOL");
}

#[test]
fn unit_tests_pass_in_the_oldest_version() {
    unit_tests_pass("PROMTOOL_2_42");
}

#[test]
fn both_prometheus_configurations_load_every_rule_and_alert_file_but_the_minimal_one() {
    let expected: Vec<String> =
        yaml_in("alerts").iter().map(|file| name_of(file)).filter(|name| name != "minimal.yml").collect();
    for name in ["prometheus/prometheus.yml", "prometheus/local.yml"] {
        let config: Value = read(&root().join(name));
        let mut loaded: Vec<&str> =
            config["rule_files"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
        assert_eq!(loaded.remove(0), "rules/*.yml", "{name}");
        let mut loaded: Vec<_> = loaded.iter().map(|path| path.trim_start_matches("../alerts/").to_owned()).collect();
        loaded.sort();
        assert_eq!(loaded, expected, "{name}");
    }
}

#[test]
fn alertmanager_in_compose_and_on_this_machine_differ_in_their_receiver_alone() {
    let mut compose: Value = read(&root().join("prometheus/alertmanager.yml"));
    let mut local: Value = read(&root().join("prometheus/alertmanager.local.yml"));
    assert_ne!(compose["receivers"], local["receivers"]);
    for receivers in [compose["receivers"].take(), local["receivers"].take()] {
        assert_eq!(receivers[0]["webhook_configs"][0]["send_resolved"], true);
    }
    assert_eq!(compose, local);
}

/// A label that is missing on both sides counts as equal, so that a rule whose `equal` holds only
/// labels which may be missing mutes strangers.
#[test]
fn every_inhibition_keeps_alertname_or_job_equal() {
    let config: Value = read(&root().join("prometheus/alertmanager.yml"));
    let rules = config["inhibit_rules"].as_array().expect("a list");
    assert!(!rules.is_empty());
    for rule in rules {
        let equal: Vec<_> = rule["equal"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
        assert!(equal.contains(&"alertname") || equal.contains(&"job"), "{rule}");
        assert!(rule.get("name").is_none(), "Alertmanager 0.25 refuses a name: {rule}");
    }
}
