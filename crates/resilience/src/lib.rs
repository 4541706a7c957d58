#![doc = include_str!("../README.md")]
//!
//! ## Common properties
//!
//! - **Time and randomness are arguments.** Functions take an `Instant`. Only [`policy`], [`bulkhead`]
//!   and [`fallback`] wait or read the time, with Tokio's clock, which tests can pause; [`circuit`] and [`policy`]
//!   read the [`clock`] they were built with. A clock that stands still or goes backwards does no harm.
//!   Builders need no seed, and accept one for reproducible results.
//! - **Decisions are return values**, including transitions. The core calls no listener under a lock,
//!   writes no log and exports no metric.
//! - **Cancellation is safe.** A future can be dropped at any await point: permits and queue slots are
//!   returned, and the call in progress is recorded as cancelled.
//! - **Memory is bounded** by the settings, independent of traffic and the number of keys.
//! - **Settings** are plain structs that deserialize from TOML with Resilience4j's names. Constructors
//!   reject invalid ones with an [error](SettingsError) that names field, value and allowed range.

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
#[doc(hidden)]
pub mod sources;
pub(crate) mod sync;
pub mod throttle;

pub use circuit::{BreakerError, CircuitBreaker};
pub use policy::Policy;
pub use settings::SettingsError;
