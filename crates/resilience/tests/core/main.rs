//! The public API of the resilience core: compared with naive models, in composition, and on every mistake found in
//! other breakers.
//!
//! `PROPTEST_CASES=100000 cargo test --release -p breakerbox-resilience --test core` runs more cases.
//!
//! The long forms were run to completion in release builds, without a finding: a million sequences against the naive
//! model (`a_million`, 25 minutes on a busy machine), a million cases of each property of `fuzz` (four minutes),
//! and eight threads of ten million calls each (`CROWD_CALLS=10000000`, ten seconds).
//!
//! `scripts/miri` runs the unit tests and `crowd` in Miri. The crate forbids unsafe code, so that Miri checks its
//! dependencies' and its use of relaxed atomics; loom explores all interleavings of the latter.

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
