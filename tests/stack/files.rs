//! The files under test, deserialized.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::tools::root;

#[derive(Debug, Deserialize)]
pub(crate) struct RuleFile {
    pub(crate) groups: Vec<Group>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Group {
    pub(crate) rules: Vec<Rule>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rule {
    pub(crate) record: Option<String>,
    pub(crate) alert: Option<String>,
    pub(crate) expr: String,
    #[serde(default, rename = "for")]
    pub(crate) _for: Option<String>,
    #[serde(default, rename = "keep_firing_for")]
    pub(crate) _keep_firing_for: Option<String>,
    #[serde(default)]
    pub(crate) labels: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) annotations: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct TestFile {
    pub(crate) rule_files: Vec<String>,
    pub(crate) tests: Vec<Test>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Test {
    pub(crate) name: String,
    #[serde(default, rename = "alert_rule_test")]
    pub(crate) alerts: Vec<AlertTest>,
    #[serde(default, rename = "promql_expr_test")]
    pub(crate) expressions: Vec<ExprTest>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct ExprTest {
    pub(crate) expr: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct AlertTest {
    pub(crate) eval_time: String,
    pub(crate) alertname: String,
    #[serde(default)]
    pub(crate) exp_alerts: Vec<Expected>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Expected {
    pub(crate) exp_labels: BTreeMap<String, String>,
    pub(crate) exp_annotations: BTreeMap<String, String>,
}

/// The YAML files directly in a folder of the repository, sorted.
pub(crate) fn yaml_in(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join(folder)).unwrap_or_else(|error| panic!("{folder}: {error}"));
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yml"))
        .collect();
    files.sort();
    files
}

pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> T {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub(crate) fn name_of(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn rules_of(path: &Path) -> Vec<Rule> {
    read::<RuleFile>(path).groups.into_iter().flat_map(|group| group.rules).collect()
}

/// Folders of rules that the repository's own configurations load or can load.
pub(crate) const RULE_FOLDERS: &[&str] =
    &["prometheus/rules", "prometheus/optional", "alerts", "alerts/expected", "alerts/optional"];

/// All rules at the scrape interval of the repository's own configurations, each with its file's path below `alerts/`
/// or its name.
pub(crate) fn rules() -> Vec<(String, Rule)> {
    let files = RULE_FOLDERS.iter().flat_map(|folder| yaml_in(folder).into_iter().map(move |path| (*folder, path)));
    let named = files.map(|(folder, path)| match folder.strip_prefix("alerts/") {
        Some(below) => (format!("{below}/{}", name_of(&path)), path),
        None => (name_of(&path), path),
    });
    named.flat_map(|(name, path)| rules_of(&path).into_iter().map(move |rule| (name.clone(), rule))).collect()
}

/// All alerts with their file and name.
pub(crate) fn alerts() -> Vec<(String, String, Rule)> {
    rules().into_iter().filter_map(|(file, rule)| Some((file, rule.alert.clone()?, rule))).collect()
}

/// `1h2m3s` in seconds.
pub(crate) fn seconds(duration: &str) -> u64 {
    let (mut total, mut number) = (0, 0);
    for c in duration.chars() {
        match (c, c.to_digit(10)) {
            (_, Some(digit)) => number = number * 10 + u64::from(digit),
            ('h', _) => total += std::mem::take(&mut number) * 3600,
            ('m', _) => total += std::mem::take(&mut number) * 60,
            ('s', _) => total += std::mem::take(&mut number),
            _ => panic!("{duration} is not a duration of hours, minutes and seconds"),
        }
    }
    total
}
