#![doc = include_str!("../README.md")]
//!
//! ## What holds for all of them
//!
//! - **Time and randomness are arguments.** An `Instant` goes in; no module but [`policy`],
//!   [`bulkhead`] and [`fallback`] waits or asks for the time, and these ask Tokio's clock, which tests
//!   can pause; [`circuit`] asks the [`clock`] it is given. A clock that stands still or goes back does
//!   no harm. Builders need no seed and take one where numbers have to be the same again.
//! - **They return what they decided**, transitions included. They call no listener under a lock,
//!   log nothing and know no metric.
//! - **Dropping is safe.** A future can be dropped at any await: permits, places and queue slots
//!   come back, and what was under way is recorded as cancelled.
//! - **Memory is bounded** by the settings, whatever the traffic and the keys.
//! - Settings are plain structs that read from TOML in Resilience4j's words, and constructors
//!   refuse what cannot work with an [error](SettingsError) that names field, value and range.

pub mod breaker;
pub mod bulkhead;
pub mod circuit;
pub mod clock;
pub mod deadline;
pub mod fallback;
pub mod hedge;
#[cfg(feature = "http")]
pub mod http;
pub mod limiter;
pub mod policy;
pub mod random;
mod recent;
pub mod registry;
#[cfg(feature = "reqwest")]
pub mod reqwest;
pub mod retry;
mod settings;
mod shards;
mod slots;
pub(crate) mod sync;
pub mod throttle;

pub use circuit::{BreakerError, CircuitBreaker};
pub use policy::Policy;
pub use settings::SettingsError;
