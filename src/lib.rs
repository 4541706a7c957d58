//! # Breakerbox
//!
//! A movie-streaming service that fails on purpose, the resilience patterns that contain it, and
//! the metrics that show it.
//!
//! ## Layout
//!
//! | module | what it is |
//! |---|---|
//! | [`breakerbox_resilience`] | the core: breaker, bulkhead, deadline, retry, hedge, limiter, and the policy that composes them. No I/O, no metrics, no logging; time and randomness are arguments |
//! | [`breakerbox_telemetry`] | metric families, typed events turned into series and log lines, exposition, traces |
//! | [`faults`] | what can go wrong at a service's edge, and the layer that makes it happen |
//! | [`client`] | a dependency's client: transport, classification, and the policy around each call |
//! | [`store`] | orders, ledger, retry queue and shared breaker state over SQL |
//! | [`services`] | one file per service of the streaming site |
//! | [`server`] | listeners, the admin port, graceful shutdown |
//! | [`traffic`] | open-loop viewers and what they experienced |
//! | [`scenario`] | timelines of faults |
//! | [`console`] | the page on the admin port |
//! | [`drill`] | proves each alert against a live Prometheus |
//! | [`settings`] | everything above, configured from defaults, a file, the environment and flags |
//! | [`cli`] | the command line |
//!
//! ## A request's way
//!
//! `journey → gateway edge (span, deadline, faults) → handler → client.call(…)`, and inside that call
//! bulkhead → total deadline → retry (budget, backoff) → per attempt: breaker permit → attempt timeout
//! → transport → classify → record; then, at the call site, the fallback chain.
//!
//! ## Layer rule
//!
//! Imports point down only: `cli → {lab, drill, console} → {scenario, traffic} → server → services →
//! {client, store} → {faults, telemetry} → resilience`. `tests/layers.rs` checks it.
#![forbid(unsafe_code)]

pub mod cli;
pub mod client;
pub mod console;
pub mod drill;
pub mod faults;
pub mod scenario;
pub mod server;
pub mod services;
pub mod settings;
pub mod store;
pub mod traffic;
