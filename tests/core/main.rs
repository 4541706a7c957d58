//! The resilience core as its users see it: against naive models, in composition, and on every
//! mistake that was found in other breakers.
//!
//! `PROPTEST_CASES=100000 cargo test --release --test core` looks longer.

mod bulkheads;
mod compositions;
mod examples;
mod machine;
mod model;
mod others_mistakes;
mod windows;
