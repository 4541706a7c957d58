//! Reference pages generated from the program: `docs/reference/*.md`.
//!
//! `cargo xtask docs` writes them; a test fails if one is out of date. Other tests here check the hand-written pages
//! against the program: links, commands, variables, names of alerts, routes.

// Nothing outside this program uses it, so items shared between its modules are public.
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
