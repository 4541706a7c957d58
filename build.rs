//! Hands the revision that is built to `--version`.
//!
//! It is known from `BREAKERBOX_REVISION`, or from git where there is a clone; an archive has neither.
//! Only release builds carry it, since a new revision would rebuild everything after each commit.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=BREAKERBOX_REVISION");
    let given = std::env::var("BREAKERBOX_REVISION").ok();
    let revision = given.or_else(|| if release() { of_the_clone() } else { None });
    let suffix = revision.filter(|revision| !revision.is_empty()).map(|revision| format!(" ({revision})"));
    println!("cargo::rustc-env=PROGRAM_REVISION_SUFFIX={}", suffix.unwrap_or_default());
}

fn release() -> bool {
    std::env::var("PROFILE").is_ok_and(|profile| profile == "release")
}

fn of_the_clone() -> Option<String> {
    // The log of HEAD changes with each commit and each checkout.
    let log = git(&["rev-parse", "--git-path", "logs/HEAD"])?;
    println!("cargo::rerun-if-changed={log}");
    git(&["rev-parse", "--short=12", "HEAD"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}
