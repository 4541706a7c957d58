//! The drill: proves that each alert fires, is delivered, and resolves.
//!
//! An alert that has never fired is unproven. A drill causes the problem that an alert is
//! about, in a running stack, and times what follows: the breaker opens, the alert is pending, it
//! fires, its notification arrives, and after the problem is over all of that ends again.
//!
//! ## Theory of operation
//!
//! [`plans`] says for each alert how to raise it, or why that can't be done from here. A
//! [`Conductor`] carries plans out one after another against a [`World`]: a Prometheus, the admin
//! port, and a shell for what only the machine's owner can do. It polls rather than listens, because
//! polling survives restarts and works against another team's Prometheus. Times are
//! taken by the drill's own clock at the moment it sees a thing, so that clocks need not agree; they
//! are late by up to one poll.
//!
//! Whatever is changed is written down *before* it is changed, and undone when the drill ends: after
//! success, failure or Ctrl-C. Faults carry a time to live on top, for a drill that is killed.
//!
//! The conductor emits [`Event`]s and returns a [`Report`]; [`table`], [`junit`] and [`progress`]
//! make them readable.

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
