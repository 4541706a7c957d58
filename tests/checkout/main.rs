//! Checkout end to end: money is never taken twice and never lost.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a test that can't go on fails")]

mod breaks;
mod chaos;
mod clocks;
mod disk;
mod durable;
mod intent;
mod interleavings;
mod kill;
mod liars;
mod money;
mod outage;
mod paying;
mod postgres;
mod promises;
mod races;
mod saga;
mod shared;
mod site;
mod stores;
mod throughput;
mod viewers;
mod world;
