//! Snippets of the crates' READMEs, as a project outside the workspace builds and runs them:
//!
//! ```text
//! cargo test --manifest-path outsider/Cargo.toml --doc
//! ```
#![forbid(unsafe_code)]

#[doc = include_str!("../../crates/resilience/README.md")]
mod resilience {}

#[doc = include_str!("../../crates/telemetry/README.md")]
mod telemetry {}
