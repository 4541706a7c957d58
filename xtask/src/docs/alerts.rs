//! The page of alerts: the meaning of each according to the runbook, and the location of its rule.

use std::collections::BTreeMap;

use serde_json::Value;

use super::row;
use crate::manifests::monitoring::{read, rule_files};
use crate::root;

pub fn page() -> String {
    let means = meanings();
    let mut page = "# Alerts\n\nWhat to do about each is in the [runbook](../../alerts/runbook.md).\n\n\
        | alert | severity | for | means | file |\n|---|---|---|---|---|\n"
        .to_owned();
    let mut files = rule_files();
    files.push(root().join("alerts/pipeline.yml"));
    for file in files {
        let name = file.strip_prefix(root()).map(|path| path.display().to_string()).unwrap_or_default();
        let rules = read(&file);
        let groups = rules["groups"].as_array().into_iter().flatten();
        for rule in groups.flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default()) {
            let Some(alert) = rule["alert"].as_str() else { continue };
            let text = |value: &Value| value.as_str().unwrap_or("–").to_owned();
            page += &row(&[
                format!("[{alert}](../../alerts/runbook.md#{})", alert.to_lowercase()),
                text(&rule["labels"]["severity"]),
                text(&rule["for"]),
                means.get(alert).cloned().unwrap_or_else(|| "–".to_owned()),
                format!("`{name}`"),
            ]);
        }
    }
    page
}

/// The first sentence of each alert's meaning in the runbook.
fn meanings() -> BTreeMap<String, String> {
    let runbook = std::fs::read_to_string(root().join("alerts/runbook.md")).expect("the repository has a runbook");
    let mut found = BTreeMap::new();
    for section in runbook.split("\n### ").skip(1) {
        let (Some(name), Some((_, after))) = (section.lines().next(), section.split_once("**Means.**")) else {
            continue;
        };
        let paragraph = after.split("\n\n").next().unwrap_or_default();
        let text = paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
        let sentence = text.split_once(". ").map_or(text.as_str(), |(first, _)| first);
        found.insert(name.trim().to_owned(), format!("{}.", sentence.trim_end_matches('.')));
    }
    found
}
