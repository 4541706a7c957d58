//! Each alert has a section in `alerts/runbook.md` with the required parts.

use std::collections::BTreeSet;
use std::fs;

use crate::files::alerts;
use crate::tools::root;

const PARTS: &[&str] = &["**Means.**", "**Impact.**", "**Check first:**", "1. ", "2. ", "3. ", "**Make it fire:**"];

fn sections() -> Vec<(String, String)> {
    let text = fs::read_to_string(root().join("alerts/runbook.md")).expect("the runbook is there");
    let split = text.split("\n### ").skip(1).map(|section| section.split_once('\n').expect("a heading has a body"));
    split
        .map(|(heading, body)| (heading.trim().to_owned(), body.split("\n## ").next().unwrap_or_default().to_owned()))
        .collect()
}

#[test]
fn every_alert_has_a_section_and_every_section_an_alert() {
    let alerts: BTreeSet<String> = alerts().into_iter().map(|(_, name, _)| name).collect();
    let headings: Vec<String> = sections().into_iter().map(|(heading, _)| heading).collect();
    let unique: BTreeSet<String> = headings.iter().cloned().collect();
    assert_eq!(headings.len(), unique.len(), "duplicate heading: {headings:?}");
    assert_eq!(unique, alerts);
}

#[test]
fn every_section_has_all_its_parts() {
    for (heading, body) in sections() {
        let mut rest = body.as_str();
        for part in PARTS {
            let (_, after) = rest.split_once(part).unwrap_or_else(|| panic!("{heading} lacks {part:?} in its place"));
            rest = after;
        }
        assert!(rest.trim().len() > 20, "{heading} does not say how to make it fire");
    }
}
