//! The lab: known results are reproduced, the same seed gives the same bytes, real time agrees with virtual time, and
//! the committed report is up to date.
#![allow(clippy::unwrap_used, reason = "a test that can't read its input fails")]

mod known;
#[path = "../support/process.rs"]
mod process;
mod real;
mod report;
mod same;

use breakerbox::lab::{self, Experiment, Options, Results};

/// Runs an experiment given as text.
fn run(text: &str, jobs: usize) -> Results {
    let experiment = Experiment::parse(text).unwrap();
    let options = Options { quick: false, seeds: None, jobs, duration: None };
    lab::run(&experiment, &options, &|_, _| {}).unwrap()
}

/// Checks every claim of an experiment given as text.
fn holds(text: &str) {
    for claim in lab::check(&run(text, 2)).unwrap() {
        assert!(claim.holds, "{}: {}", claim.text, claim.figures);
    }
}
