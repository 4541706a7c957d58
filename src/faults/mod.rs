//! Faults at a service's edge, and the middleware that injects them.
//!
//! ## Theory of operation
//!
//! Each service is a *target* with a [`FaultPlan`]: shares of requests that are answered with an error, delayed, never
//! answered, cut off, truncated or slowed down, or a crash, which closes the listener. A plan is replaced as a whole
//! and takes effect with the next request; a plan with a time to live is replaced by the target's default faults when
//! it expires. Each target has its own seeded random numbers, so that a run can be repeated.
//!
//! Losing, delaying or repeating completed work cannot be injected from outside: a service with a ledger applies these
//! faults itself, according to the same plan.
//!
//! Faults are real where possible: a reset is a TCP RST, a crash is a closed port, a slow body is sent slowly. A client
//! cannot distinguish them from those of a service that really fails.

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
