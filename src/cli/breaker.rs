//! `breakerbox breaker`: look at breakers and command them.

use clap::{Args, Subcommand};
use reqwest::Method;

use super::admin_client::{AdminArgs, Remote, print_unreachable, request};
use super::out::say;
use super::{Done, Failure};
use crate::admin::wire::{Breaker, BreakerChange, BreakerCommand, Breakers};

pub(super) type BreakerArgs = Remote<Action>;

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// List all breakers, worst health first
    List,
    /// Reject every call until the next command
    ForceOpen(Target),
    /// Close the breaker, with an empty window
    Close(Target),
    /// Let every call pass and record none
    Disable(Target),
    /// Let every call pass and record all
    MetricsOnly(Target),
    /// Close the breaker and clear all that it counted, also late results
    Reset(Target),
}

#[derive(Debug, Args)]
pub(super) struct Target {
    /// The breaker, as `service/dependency`, such as gateway/recommendation
    #[arg(value_name = "SERVICE/DEPENDENCY")]
    breaker: String,
}

pub(super) fn run(args: BreakerArgs) -> Done {
    let (target, state) = match args.action {
        Action::List => return list(&args.admin),
        Action::ForceOpen(target) => (target, BreakerCommand::ForcedOpen),
        Action::Close(target) => (target, BreakerCommand::Closed),
        Action::Disable(target) => (target, BreakerCommand::Disabled),
        Action::MetricsOnly(target) => (target, BreakerCommand::MetricsOnly),
        Action::Reset(target) => (target, BreakerCommand::Reset),
    };
    let Some((service, name)) = target.breaker.split_once('/') else {
        return Err(Failure::Refused(format!(
            "{:?} names no breaker: write SERVICE/DEPENDENCY, such as gateway/recommendation",
            target.breaker
        )));
    };
    let change = BreakerChange { state: Some(state), settings: None };
    let change = serde_json::to_value(change).map_err(|error| Failure::Failed(error.to_string()))?;
    let breaker = request(&args.admin, Method::PATCH, &format!("/breakers/{service}/{name}"), Some(&change))?;
    print_one(&breaker)
}

fn list(admin: &AdminArgs) -> Done {
    let page: Breakers = request(admin, Method::GET, "/breakers?everywhere=true", None)?;
    say!(
        "{:<32} {:<12} {:>7} {:>9} {:>9} {:>7} {:>11}",
        "breaker",
        "state",
        "health",
        "failures",
        "slow",
        "calls",
        "next probe"
    )?;
    page.breakers.iter().try_for_each(print_one)?;
    print_unreachable(page.unreachable.as_deref());
    Ok(())
}

fn print_one(breaker: &Breaker) -> Done {
    let percent = |ratio: Option<f64>| ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{:.0} %", ratio * 100.0));
    let name = format!("{}/{}", breaker.service, breaker.name);
    let remaining = breaker.open_remaining_seconds;
    let probe = if remaining > 0.0 { format!("{remaining:.0} s") } else { "-".to_owned() };
    // The process of the breaker, if services run in separate processes.
    let process = breaker.process.as_ref().map(|process| format!("  {process}")).unwrap_or_default();
    say!(
        "{name:<32} {:<12} {:>7} {:>9} {:>9} {:>7} {probe:>11}{process}",
        breaker.state.as_str(),
        percent(Some(breaker.health_score)),
        percent(breaker.failure_ratio),
        percent(breaker.slow_ratio),
        breaker.window_calls,
    )
}
