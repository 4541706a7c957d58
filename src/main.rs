//! The `breakerbox` program.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    breakerbox::cli::run(breakerbox::cli::Cli::parse())
}
