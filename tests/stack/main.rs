//! Rules, alerts, their unit tests and the configurations of Prometheus and Alertmanager.
//!
//! promtool and amtool judge syntax and behaviour, in the oldest and the newest supported version (`scripts/tools.sh`
//! finds them); the other tests check that the files agree with each other and with `telemetry::names`. The running
//! program's metrics pages go to the reference parser. Without a tool, its tests print a message and pass, unless `CI`
//! is set.

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
#[allow(dead_code, reason = "shared with the dashboards' tests, which need more of it")]
mod promql;
mod reference;
mod runbook;
mod scratch;
mod slo;
mod stateless;
mod tools;
mod validity;
