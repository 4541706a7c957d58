//! The resilience core.
