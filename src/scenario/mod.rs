//! Timelines of faults, so that there is always an incident to look at.
//!
//! A scenario is a TOML file: a length, whether it loops, and steps that say what fails, where, when and for how long.
//! [`Timeline`] only computes which steps are active at a position; [`Scenario`] advances the position with the clock
//! and sets faults through an [`Actuator`]. A paused scenario keeps its position and its faults.
//!
//! A fault is sent once, with its remaining time as time to live, and expires by itself. If this process dies, the
//! target recovers by itself; a fault that is set there by hand meanwhile is kept. Only a pause makes a fault
//! permanent, and only a stop clears one.

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
