//! The resilience core.

pub mod breaker;
pub mod bulkhead;
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
pub(crate) mod sync;
pub mod throttle;

pub use settings::SettingsError;
