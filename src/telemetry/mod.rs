//! Metric families, events and exposition.
pub mod names;
