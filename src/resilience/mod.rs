//! The resilience core.

pub mod breaker;
pub mod random;
mod settings;
pub(crate) mod sync;

pub use settings::SettingsError;
