//! The lab: experiments that run every policy against the same faults in virtual time.
//!
//! ## Motivation
//!
//! Which settings are right, and what does each pattern achieve? An *experiment* answers this by measurement: it
//! compares variants under the same load and the same faults, over many seeds, and writes a report in which every
//! figure comes from the runs.
//!
//! ## Theory of operation
//!
//! A run is a program under Tokio's paused clock: while every task waits, time jumps to the next timer. Ten minutes of
//! virtual time take a fraction of a second. The policies are the real ones, and with `[case.site]` the services are,
//! too; the dependencies are simulated, with seeded service times and finite capacity.
//!
//! - **Repeatable.** A run over simulated dependencies depends only on its seed: the same seed gives the same
//!   bytes, whatever `--jobs` is. In a run of the whole site, the databases answer from threads of their own, so
//!   the order of events within one virtual millisecond can differ.
//! - **Open loop.** Journeys start at the event times of a Poisson process, however slow the answers are, and
//!   their response times count from there; every journey that started is waited for.
//! - **Common random numbers.** With the same seed all variants get the same arrivals, service times and
//!   failures, so a difference between them is caused by the policies.
//! - **Honest intervals.** Student's t over seeds, at 95 %.
//! - **Checked claims.** The claims in an experiment's prose are also written as expressions, which are
//!   evaluated after every run.
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

/// The built-in experiments, as TOML.
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
