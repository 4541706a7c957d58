//! The public API of the resilience core: compared with naive models, in composition, and on every mistake found in
//! other breakers.
//!
//! `PROPTEST_CASES=100000 cargo test --release -p breakerbox-resilience --test core` runs more cases.
//!
//! The long forms were run to completion in release builds, without a finding: a million sequences against the naive
//! model (`a_million`, 25 minutes on a busy machine), and a million cases of each property of `fuzz` (four minutes).
//! Miri was not used, because it needs a component of a nightly toolchain; the crate forbids unsafe code, and loom
//! explores its atomics.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap,
    reason = "a test that unwraps says where it failed, and its numbers are small"
)]

mod bulkheads;
mod calls;
mod compositions;
mod crowd;
mod examples;
mod fuzz;
mod machine;
mod model;
mod others_mistakes;
mod peers;
mod windows;
