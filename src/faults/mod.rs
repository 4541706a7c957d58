//! What can go wrong at a service's edge, and the layer that makes it happen.
//!
//! ## Theory of operation
//!
//! Each service is a *target* with a [`FaultPlan`]: shares of requests that are answered with an
//! error, delayed, never answered, cut off, garbled or slowed, or a crash, which takes the listener
//! away. A plan is replaced as a whole and takes effect with the next request; one with a time to
//! live falls back to the target's baseline by itself. Each target rolls its own seeded dice, so
//! that a run can be repeated.
//!
//! A lost, late or repeated answer to completed work cannot be produced from outside: a service with a ledger
//! applies these faults itself, by the same plan.
//!
//! Faults are real where they can be: a reset is a TCP RST, a crash is a closed port, a slow body
//! trickles. A client cannot distinguish them from the faults of a service that really fails.

mod inject;
mod invalid;
mod latency;
mod plan;
mod registry;
mod stream;

pub use inject::{Severed, inject};
pub use invalid::InvalidPlan;
pub use latency::Latency;
pub use plan::{FaultPlan, SlowBody};
pub use registry::{DrawnAnswer, Faults, OnInjected, Refused, TargetFaults, TargetStatus, UnknownTarget};
pub use stream::{Connection, SeverableStream};
