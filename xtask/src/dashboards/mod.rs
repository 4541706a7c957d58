//! The Grafana dashboards: their one source, and the tests that hold them to it.
//!
//! `grafana/dashboards/*.json` is written by this code and never by hand. Queries are built from the
//! names in `breakerbox_telemetry::names`, so a renamed metric renames itself on every page.
//!
//! `cargo xtask dashboards` writes the files; a test fails when one is not what this code generates.

// Nothing outside this program calls it: what its modules share is as public as it gets.
#![allow(missing_docs, unreachable_pub)]

mod alerting;
mod annotations;
mod breakers;
mod checkout;
#[cfg(test)]
mod contract;
mod dashboard;
mod dependencies;
mod lanes;
#[cfg(test)]
mod lint;
#[cfg(test)]
mod live;
mod one_breaker;
mod overview;
mod panel;
mod policies;
#[cfg(test)]
#[path = "../../../tests/support/promql.rs"]
mod promql;
#[cfg(test)]
mod provisioning;
mod query;
mod say;
mod stack;
mod table;
mod theme;
mod tiles;

use std::path::Path;

use dashboard::Dashboard;

use crate::Generated;

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

/// Every page as the file that Grafana is provisioned with.
pub fn files() -> Vec<Generated> {
    pages().iter().map(file_of).collect()
}

fn file_of(page: &Dashboard) -> Generated {
    let folder = Path::new("grafana/dashboards");
    let text = serde_json::to_string_pretty(&page.json()).expect("a JSON value is always writable");
    Generated {
        path: folder.join(page.uid.trim_start_matches("breakerbox-")).with_extension("json"),
        text: text + "\n",
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn committed_files_are_current() {
        crate::check(&super::files()).unwrap();
    }
}
