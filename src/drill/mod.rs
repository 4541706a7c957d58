//! The drill: proves that each alert fires, is delivered, and resolves.
//!
//! An alert that has never fired is unproven. A drill injects the fault that an alert detects into a running
//! stack, and measures the times until the breaker opens, the alert is pending and firing, its notification is
//! delivered, and, after the fault is removed, until the alert has resolved.
//!
//! ## Theory of operation
//!
//! [`plans`] has for each alert the way to raise it, or the reason why a drill cannot. A [`Conductor`] executes
//! plans one after another against a [`World`]: a Prometheus, the admin port, and a shell for commands that only
//! the operator can give. It polls, because polling survives restarts and works with another team's Prometheus.
//! Times are taken by the drill's own clock when it observes an event, so that clocks need not agree; they are
//! late by up to one poll.
//!
//! Every change is recorded *before* it is made, and undone when the drill ends: after success, failure or Ctrl-C.
//! In addition, faults have a time to live, in case a drill is killed.
//!
//! The conductor emits [`Event`]s and returns a [`Report`]; [`table`], [`junit`] and [`progress`] format them.

pub mod plan;
pub mod report;
mod run;
pub mod service;
#[cfg(test)]
mod tests;
mod world;

pub use plan::{Budget, Heal, How, Needs, Overrides, Plan, Raise, Step, plans};
pub use report::{Drill, Outcome, Report, Times, junit, progress, table};
pub use run::{Conductor, Event, Milestone, Options, Refused};
pub use world::{
    Access, BreakerSeen, FaultSeen, InboxSeen, Instance, Labels, Live, Monitor, NoticeSeen, Phase, RuleSeen,
    ScenarioSeen, Shell, Site, TargetSeen, TransitionSeen, Trouble, World,
};
