//! # Breakerbox
//!
//! A movie-streaming service that fails on purpose, the resilience patterns that contain the failures, and the
//! metrics that show both.
//!
//! ## Layout
//!
//! | module | contents |
//! |---|---|
//! | [`breakerbox_resilience`] | the core: breaker, bulkhead, deadline, retry, hedge, limiter, and the policy that composes them. No I/O, no metrics, no logging; time and randomness are arguments |
//! | [`breakerbox_telemetry`] | metric families, typed events turned into series and log lines, exposition, traces |
//! | [`web`] | the HTTP side of every service: edge, request context, parameters, problem+json |
//! | [`faults`] | the faults a service's edge can inject, and the layer that injects them |
//! | [`client`] | a dependency's client: transport, classification, and the policy around each call |
//! | [`store`] | orders, ledger, retry queue and shared breaker state over SQL |
//! | [`ingress`] | bounded listeners: connections, time and size of requests, descriptors |
//! | [`services`] | one file or folder per service of the streaming site |
//! | [`admin`] | the admin port: metrics, health, breakers, faults, alerts, and the admin ports of other processes |
//! | [`traffic`] | open-loop viewers, and the results of their requests |
//! | [`scenario`] | timelines of faults |
//! | [`pages`] | the built front end: the storefront on the public ports, the console on the admin port |
//! | [`settings`] | the settings of all components, from defaults, a file, the environment and flags |
//! | [`app`] | one process: services wired to each other, listeners, graceful shutdown |
//! | [`check`] | checks targets, rules and labels of a Prometheus |
//! | [`lab`] | experiments in virtual time: policies against the same faults, with a report |
//! | [`drill`] | proves each alert against a live Prometheus |
//! | [`export`] | the policies as configuration of Istio, Envoy and Resilience4j |
//! | [`cli`] | the command line |
//!
//! ## Path of a request
//!
//! `journey → gateway edge (span, deadline, faults) → handler → client.call(…)`, and inside that call
//! bulkhead → total deadline → retry (budget, backoff) → per attempt: breaker permit → attempt timeout
//! → transport → classify → record; then, at the call site, the fallback chain.
//!
//! ## Layer rule
//!
//! Imports point down only: `cli → {lab, export, check} → app → settings → {drill, pages} → {scenario,
//! traffic} → admin → services → {client, store, ingress} → {faults, web} → telemetry →
//! resilience`.
//! `tests/layers.rs` parses the sources and checks it.
#![forbid(unsafe_code)]

pub mod admin;
pub mod app;
pub mod check;
pub mod cli;
pub mod client;
pub mod clock;
pub mod drill;
pub mod export;
pub mod faults;
pub mod ingress;
pub mod lab;
pub mod pages;
pub mod scenario;
pub mod services;
pub mod settings;
pub mod store;
pub mod traffic;
pub mod web;
