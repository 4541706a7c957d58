//! The tools' own checks: syntax, configuration, unit tests.

use std::path::{Path, PathBuf};
use std::thread;

use serde_json::Value;

use crate::files::{RULE_FOLDERS, name_of, read, yaml_in};
use crate::tools::{root, run, tool};

const PROMTOOLS: &[&str] = &["PROMTOOL", "PROMTOOL_2_42"];
/// Scrape intervals that rules are generated for, besides that of the repository's configurations.
const PROFILES: &[&str] = &["15s", "30s", "60s"];
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
    let own = RULE_FOLDERS.iter().flat_map(|folder| yaml_in(folder));
    let profiles = PROFILES.iter().flat_map(|name| yaml_in(&format!("alerts/profiles/{name}")));
    check_all(&["check", "rules"], &own.chain(profiles).collect::<Vec<_>>());
}

#[test]
fn configurations_are_valid_in_both_versions() {
    let mut files = yaml_in("prometheus");
    files.retain(|file| !name_of(file).starts_with("alertmanager"));
    assert_eq!(files.len(), 2, "prometheus.yml and local.yml");
    // The files that rules.yml names exist only in the user's Prometheus.
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

fn unit_tests_pass(promtool: &str, folder: &str) {
    let Some(promtool) = tool(promtool) else { return };
    let judge = |file: &Path| run(&promtool, [Path::new("test"), Path::new("rules"), file]);
    let files = yaml_in(folder);
    assert!(!files.is_empty(), "{folder} is empty");
    let failures: Vec<String> = thread::scope(|scope| {
        let running: Vec<_> = files.iter().map(|file| scope.spawn(|| judge(file))).collect();
        running.into_iter().filter_map(|thread| thread.join().expect("no panic").err()).collect()
    });
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn unit_tests_pass_in_the_newest_version() {
    unit_tests_pass("PROMTOOL", "alerts/tests");
}

#[test]
fn unit_tests_pass_in_the_oldest_version() {
    unit_tests_pass("PROMTOOL_2_42", "alerts/tests");
}

/// The unit tests that pass at 5 s also pass at the other scrape intervals.
#[test]
fn unit_tests_of_every_profile_pass_in_both_versions() {
    for profile in PROFILES {
        let folder = format!("alerts/profiles/{profile}/tests");
        for promtool in PROMTOOLS {
            unit_tests_pass(promtool, &folder);
        }
    }
}

#[test]
fn both_configurations_load_every_file_but_the_minimal_one() {
    let expected: Vec<String> =
        yaml_in("alerts").iter().map(|file| name_of(file)).filter(|name| name != "minimal.yml").collect();
    for (name, jobs) in [("prometheus/prometheus.yml", "compose"), ("prometheus/local.yml", "local")] {
        let config: Value = read(&root().join(name));
        let mut loaded: Vec<&str> =
            config["rule_files"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
        assert_eq!(loaded.remove(0), "rules/*.yml", "{name}");
        let mut loaded: Vec<_> = loaded.iter().map(|path| path.trim_start_matches("../alerts/").to_owned()).collect();
        loaded.sort();
        let mut expected: Vec<_> = expected.clone();
        expected.push(format!("expected/{jobs}.yml"));
        expected.sort();
        assert_eq!(loaded, expected, "{name}");
    }
}

#[test]
fn both_alertmanager_files_differ_in_their_receiver_alone() {
    let mut compose: Value = read(&root().join("prometheus/alertmanager.yml"));
    let mut local: Value = read(&root().join("prometheus/alertmanager.local.yml"));
    assert_ne!(compose["receivers"], local["receivers"]);
    for receivers in [compose["receivers"].take(), local["receivers"].take()] {
        assert_eq!(receivers[0]["webhook_configs"][0]["send_resolved"], true);
    }
    assert_eq!(compose, local);
}

/// Alertmanager never reports an alert as resolved if it ended while it was inhibited. Groups show an alert together
/// with its causes, and inhibit nothing.
#[test]
fn nothing_is_inhibited_and_groups_are_by_component() {
    let config: Value = read(&root().join("prometheus/alertmanager.yml"));
    assert!(config.get("inhibit_rules").is_none(), "{config}");
    let group: Vec<_> = config["route"]["group_by"].as_array().expect("a list").iter().collect();
    assert!(group.iter().any(|label| *label == "component") && !group.iter().any(|label| *label == "alertname"));
}

/// The expected jobs are the scraped jobs.
#[test]
fn expected_jobs_are_the_jobs_that_are_scraped() {
    for (config, jobs) in [("prometheus", "compose"), ("local", "local")] {
        let scraped: Value = read(&root().join(format!("prometheus/{config}.yml")));
        let scraped = scraped["scrape_configs"].as_array().expect("a list").iter();
        let mut scraped: Vec<_> = scraped.filter_map(|job| job["job_name"].as_str()).collect();
        scraped.retain(|job| job.starts_with("breakerbox"));
        scraped.sort_unstable();
        let rules: Value = read(&root().join(format!("alerts/expected/{jobs}.yml")));
        let rules = rules["groups"][0]["rules"].as_array().expect("a list").iter();
        let mut expected: Vec<_> =
            rules.filter_map(|rule| rule["expr"].as_str()?.split('"').nth(1).map(str::to_owned)).collect();
        expected.sort_unstable();
        assert_eq!(expected, scraped, "{jobs}");
    }
}

/// A target label `service`, which every `ServiceMonitor` adds, would rename ours.
#[test]
fn every_scrape_of_ours_honours_our_labels() {
    for file in ["prometheus.yml", "local.yml", "snippets/scrape.yml", "snippets/http_sd.yml", "snippets/labels.yml"] {
        let config: Value = read(&root().join("prometheus").join(file));
        let jobs = config["scrape_configs"].as_array().expect("a list").iter();
        let own = jobs.filter(|job| job["job_name"].as_str().is_some_and(|name| name.starts_with("breakerbox")));
        for job in own {
            assert_eq!(job["honor_labels"], true, "{file}: {job}");
        }
    }
}
