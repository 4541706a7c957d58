//! The lab: every policy against the same faults, a thousand times faster than real time.
//!
//! ## Motivation
//!
//! Which settings are right, and what do the patterns buy? Opinions are many. Here an *experiment*
//! compares variants under the same load and the same faults, over many seeds, and writes a report whose
//! every figure comes from the runs.
//!
//! ## Theory of operation
//!
//! A run is a program under Tokio's paused clock: while every task waits, time jumps to the next timer.
//! Ten minutes of virtual time take a fraction of a second. Real are the policies, and with
//! `[case.site]` the services with them; simulated are dependencies with seeded service
//! times and finite capacity.
//!
//! - **Repeatable.** A run over simulated dependencies depends on its seed alone: the same seed gives the same
//!   bytes, whatever `--jobs` is. Databases of the whole site answer from threads of their own, and what happens
//!   within one virtual millisecond there can change its order.
//! - **Open loop.** Journeys begin at the instants of a Poisson process, however slow the answers are, and
//!   are timed from those instants; all that began are waited for.
//! - **Common random numbers.** With the same seed all variants meet the same arrivals, service times and
//!   failures, so that a difference is the policies' doing.
//! - **Honest intervals.** Student's t over seeds, at 95 %.
//! - **Checked claims.** What the prose of an experiment claims is written as expressions, which are
//!   evaluated with every run.
//!
//! ## How it fails
//!
//! Tokio's timers tick in milliseconds, and so do all durations here: nothing shorter can be studied.
//! A simulated dependency has no network: connections cost nothing and never run out.

mod arrivals;
mod claims;
mod dependency;
mod diagrams;
mod facts;
mod fleet;
mod metrics;
mod model;
mod output;
mod plots;
mod profile;
mod prometheus;
mod replay;
mod report;
mod run;
mod site;
mod spec;
mod stats;
mod svg;
mod tally;
mod template;
mod tune;
mod words;

pub use claims::{Claim, check};
pub use output::{Files, render};
pub use profile::{Episode, Profile};
pub use prometheus::ask_prometheus;
pub use replay::{Logged, episodes, planned, read_log, replay};
pub use report::{Fixed, fixed, report};
pub use run::{Options, Progress, Results, run};
pub use spec::{Experiment, Lang, Text};
pub use stats::Estimate;
pub use tune::{Advice, Candidate, tune};

/// The built-in experiments, as they are written.
const BUILT_IN: &[&str] = &[
    include_str!("experiments/flaky.toml"),
    include_str!("experiments/outage.toml"),
    include_str!("experiments/pool.toml"),
    include_str!("experiments/overload.toml"),
    include_str!("experiments/payment.toml"),
    include_str!("experiments/thresholds.toml"),
    include_str!("experiments/hedging.toml"),
    include_str!("experiments/adaptive.toml"),
    include_str!("experiments/replica.toml"),
    include_str!("experiments/hurts.toml"),
    include_str!("experiments/staged.toml"),
    include_str!("experiments/fleet.toml"),
];

/// The built-in experiments.
pub fn built_in() -> Result<Vec<Experiment>, String> {
    BUILT_IN.iter().map(|text| Experiment::parse(text)).collect()
}
