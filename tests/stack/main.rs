//! Rules, alerts, their unit tests and the configurations of Prometheus and Alertmanager.
//!
//! promtool and amtool judge syntax and behaviour, in the oldest and the newest version that is
//! promised (`scripts/tools.sh` finds them); the rest holds the files together with each other and
//! with `telemetry::names`. What the running program exposes goes to the reference parser. Without a
//! tool its tests say so and pass, unless `CI` is set.

mod cases;
mod check;
mod contract;
mod documented;
mod exposition;
mod files;
mod grouping;
mod mutations;
mod otlp;
#[path = "../support/process.rs"]
mod process;
mod prometheus;
#[path = "../support/promql.rs"]
mod promql;
mod reference;
mod runbook;
mod scratch;
mod slo;
mod stateless;
mod tools;
mod validity;
