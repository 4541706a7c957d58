//! The Grafana dashboards: their one source, and the tests that hold them to it.
//!
//! `grafana/dashboards/*.json` is written by this code and never by hand. Queries are built from the
//! names in `breakerbox::telemetry::names`, so a renamed metric renames itself on every page.
//!
//! ```text
//! BLESS=1 cargo test --test dashboards    write the files anew
//! cargo test --test dashboards            fail when a file is not what this code says
//! ```
//!
//! This is a test and no part of the program: nothing of it is compiled into the binary.

// A test binary has no callers of its own: what its modules share is as public as it gets.
#![allow(missing_docs, unreachable_pub)]

mod alerting;
mod annotations;
mod breakers;
mod checkout;
mod contract;
mod dashboard;
mod dependencies;
mod lanes;
mod lint;
mod live;
mod one_breaker;
mod overview;
mod panel;
mod policies;
mod promql;
mod provisioning;
mod query;
mod stack;
mod table;
mod theme;
mod tiles;

use std::fs;
use std::path::PathBuf;

use dashboard::Dashboard;
use serde_json::Value;

/// Every page, the home page first.
fn pages() -> Vec<Dashboard> {
    vec![
        overview::page(),
        breakers::page(),
        policies::page(),
        checkout::page(),
        alerting::page(),
        dependencies::page(),
        stack::page(),
    ]
}

fn file_of(page: &Dashboard) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("grafana/dashboards");
    folder.join(page.uid.trim_start_matches("breakerbox-")).with_extension("json")
}

#[test]
fn the_files_are_what_the_code_says() {
    let bless = std::env::var_os("BLESS").is_some();
    for page in pages() {
        let (file, wanted) = (file_of(&page), page.json());
        if bless {
            let text = serde_json::to_string_pretty(&wanted).expect("a JSON value is always writable");
            fs::write(&file, text + "\n").unwrap();
        }
        let text = fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let found: Value = serde_json::from_str(&text).unwrap();
        assert!(
            found == wanted,
            "{} is not what tests/dashboards says: run with BLESS=1 and look at the difference",
            file.display()
        );
    }
}
