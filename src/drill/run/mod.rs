//! The conductor of drills: runs them one at a time, each starting and ending in a quiet state.

mod conductor;
mod drill;
mod event;
mod milestones;
mod observation;
mod session;
mod undo;

pub use conductor::{Conductor, Refused};
pub use event::{Event, Milestone};
pub use session::Options;
