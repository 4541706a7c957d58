//! The resilience core: everything that stands between a caller and a dependency that fails.
//!
//! | module | the question it answers |
//! |---|---|
//! | [`breaker`] | Is it worth asking at all? |
//! | [`circuit`] | The same question, with a name and a clock around a future |
//! | [`bulkhead`] | How much of the caller may this dependency take? |
//! | [`deadline`] | How long may it take, and who is still waiting? |
//! | [`retry`] | Does another attempt help, and can we afford it? |
//! | [`hedge`] | Would a second request be faster than the first? |
//! | [`limiter`] | How often may somebody call? |
//! | [`throttle`] | How much does the dependency accept? |
//! | [`fallback`] | What to answer instead? |
//! | [`registry`] | Which breaker is this endpoint's? |
//! | [`policy`] | All of it together, in the right order |
//!
//! # What holds for all of them
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
//!
//! # Where to start
//!
//! With a [`CircuitBreaker`] around one kind of call, or a [`Policy`] where timeouts, retries and
//! limits belong to it; both have a builder. `examples/` has a program for each. What a call costs is
//! measured in `benches/`.

pub mod breaker;
pub mod bulkhead;
pub mod circuit;
pub mod clock;
pub mod deadline;
pub mod fallback;
pub mod hedge;
pub mod limiter;
pub mod policy;
pub mod random;
mod recent;
pub mod registry;
pub mod retry;
mod settings;
mod shards;
pub(crate) mod sync;
pub mod throttle;

pub use circuit::{BreakerError, CircuitBreaker};
pub use policy::Policy;
pub use settings::SettingsError;
