//! `breakerbox export`: the committed files are up to date and valid, and their numbers are those of the policies.
#![allow(clippy::unwrap_used, reason = "a test that can't read its input fails")]

mod committed;
mod envoy;
mod fates;
mod istiod;
mod numbers;
#[path = "../support/schema.rs"]
mod schema;
#[path = "../stack/tools.rs"]
#[allow(dead_code, reason = "shared with tests that need more of it")]
mod tools;
mod world;

use breakerbox::export::Source;
use breakerbox::settings::Settings;

/// The default settings overridden by these variables, as the program loads them.
pub(crate) fn source(variables: &[(&str, &str)]) -> Source {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Source::new(Settings::load(None, variables).unwrap().blueprint().unwrap())
}
