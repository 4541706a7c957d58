//! Every promise of `docs/checkout.md` is covered by the test that the page names.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const HEADING: &str = "## Guarantees";

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The test names in backticks in the last column of the table, keyed by the promise.
pub(crate) fn promises() -> Vec<(String, Vec<String>)> {
    let text = fs::read_to_string(root().join("docs/checkout.md")).unwrap();
    let (_, after) = text.split_once(HEADING).expect("the section is there");
    let section = after.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| guarantee"));
    rows.map(|row| {
        let mut cells = row.trim_matches('|').rsplit('|');
        let tests = cells.next().unwrap().split('`').skip(1).step_by(2).map(str::to_owned).collect();
        (cells.next().unwrap().trim().to_owned(), tests)
    })
    .collect()
}

/// The names of all functions with a test attribute in a folder and its subfolders.
fn tests_in(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            tests_in(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let lines: Vec<_> = text.lines().map(str::trim).collect();
            for (number, line) in lines.iter().enumerate() {
                let attributes = lines[..number].iter().rev().take_while(|line| line.starts_with("#["));
                let mut tested =
                    attributes.filter(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"));
                let name =
                    line.trim_start_matches("async ").strip_prefix("fn ").and_then(|rest| rest.split('(').next());
                if let Some(name) = name.filter(|_| tested.next().is_some()) {
                    found.insert(name.to_owned());
                }
            }
        }
    }
}

#[test]
fn every_test_that_the_documentation_names_exists() {
    let mut known = BTreeSet::new();
    for folder in ["tests", "src", "crates", "xtask"] {
        tests_in(&root().join(folder), &mut known);
    }
    let promises = promises();
    assert!(promises.len() >= 13, "{promises:?}");
    for (promise, tests) in promises {
        assert!(!tests.is_empty(), "no test for: {promise}");
        let missing: Vec<_> = tests.iter().filter(|test| !known.contains(*test)).collect();
        assert!(missing.is_empty(), "{promise}: there is no test {missing:?}");
    }
    assert!(
        !known.contains("tests_in") && !known.contains("promises"),
        "functions without a test attribute are excluded"
    );
}
