//! Sources of this crate that documentation quotes.

/// Path in the repository, and text.
pub const QUOTED: &[(&str, &str)] = &[
    ("crates/resilience/src/breaker/mod.rs", include_str!("breaker/mod.rs")),
    ("crates/resilience/src/policy/mod.rs", include_str!("policy/mod.rs")),
    ("crates/resilience/src/policy/attempt.rs", include_str!("policy/attempt.rs")),
];
