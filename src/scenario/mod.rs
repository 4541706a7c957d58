//! Timelines of faults, so that there is always an incident to look at.
//!
//! A scenario is a TOML file: a length, whether it begins anew at its end, and steps that say at
//! which moment what goes wrong where, and for how long. [`Timeline`] knows which steps are active
//! at any position and nothing else; [`Scenario`] moves the position with the clock, and switches
//! faults through an [`Actuator`]. A paused scenario stays where it is, faults included.
//!
//! A fault is handed over once, with its end as a time to live, and that is what ends it. Should this
//! process die, the target recovers by itself; a fault that is set there by hand meanwhile
//! stays. Only a pause holds a fault without an end, and only a stop takes one away.

mod actuator;
mod library;
mod routes;
mod runner;
mod timeline;

pub use actuator::Actuator;
pub use library::{Choice, choices};
pub use routes::{openapi, routes};
pub use runner::{Mode, Scenario, Status, StepStatus, Unknown};
pub use timeline::{Action, Step, Target, Timeline};

/// The default scenario.
pub const DEFAULT: &str = include_str!("default.toml");
