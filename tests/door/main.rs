//! Hostile and careless clients against real processes on loopback, bounded in number and time.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]
#![allow(unreachable_pub, dead_code, reason = "the modules of a test binary are its own")]

mod connections;
mod fuzz;
mod limits;
#[path = "../support/process.rs"]
mod process;
mod raw;
mod soak;
mod trust;
