//! Reference pages that repeat the program's own facts: `docs/reference/*.md`.
//!
//! `cargo xtask docs` writes them; a test fails when one is not what this code generates. Other tests here hold the
//! pages that are written by hand to the program: links, commands, variables, names of alerts, routes.

// Nothing outside this program calls it: what its modules share is as public as it gets.
#![allow(missing_docs, unreachable_pub)]

mod alerts;
mod api;
mod commands;
#[cfg(test)]
mod pages;
mod policies;
mod settings;
#[cfg(test)]
mod translations;

use crate::Generated;

const HEADER: &str = "<!-- Written by `cargo xtask docs`; not to be edited. -->\n\n";

/// Every generated page.
pub fn files() -> Vec<Generated> {
    let page = |name: &str, text: String| Generated {
        path: format!("docs/reference/{name}.md").into(),
        text: format!("{HEADER}{text}"),
    };
    vec![
        page("alerts", alerts::page()),
        page("api", api::page()),
        page("commands", commands::page()),
        page("policies", policies::page()),
        page("settings", settings::page()),
    ]
}

/// A row of a table.
fn row(cells: &[String]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

#[cfg(test)]
mod tests {
    #[test]
    fn committed_files_are_current() {
        crate::check(&super::files()).unwrap();
    }
}
