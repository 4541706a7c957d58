//! `breakerbox breaker`: look at breakers and command them.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};

use super::admin_client::{AdminArgs, request, tell_unreachable};
use super::{Done, Failure};

#[derive(Debug, Args)]
pub(super) struct BreakerArgs {
    #[command(flatten)]
    admin: AdminArgs,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// All breakers, worst health first
    List,
    /// Turn every call away until told otherwise
    ForceOpen(Target),
    /// Close it and let it work by itself again
    Close(Target),
    /// Let every call through and count nothing
    Disable(Target),
    /// Let every call through, and go on counting
    MetricsOnly(Target),
    /// Close it with an empty window
    Reset(Target),
}

#[derive(Debug, Args)]
struct Target {
    /// The breaker, as `service/dependency`: gateway/recommendation
    #[arg(value_name = "SERVICE/DEPENDENCY")]
    breaker: String,
}

pub(super) fn run(args: BreakerArgs) -> Done {
    let (target, state) = match args.action {
        Action::List => return list(&args.admin),
        Action::ForceOpen(target) => (target, "forced_open"),
        Action::Close(target) => (target, "closed"),
        Action::Disable(target) => (target, "disabled"),
        Action::MetricsOnly(target) => (target, "metrics_only"),
        Action::Reset(target) => (target, "reset"),
    };
    let Some((service, name)) = target.breaker.split_once('/') else {
        return Err(Failure::Refused(format!(
            "{:?} names no breaker: write SERVICE/DEPENDENCY, such as gateway/recommendation",
            target.breaker
        )));
    };
    let breaker =
        request(&args.admin, Method::PATCH, &format!("/breakers/{service}/{name}"), Some(&json!({"state": state})))?;
    print_one(&breaker);
    Ok(())
}

fn list(admin: &AdminArgs) -> Done {
    let answer = request(admin, Method::GET, "/breakers?everywhere=true", None)?;
    let breakers = answer["breakers"].as_array().cloned().unwrap_or_default();
    println!(
        "{:<32} {:<12} {:>7} {:>9} {:>9} {:>7} {:>11}",
        "breaker", "state", "health", "failures", "slow", "calls", "next probe"
    );
    for breaker in &breakers {
        print_one(breaker);
    }
    tell_unreachable(&answer);
    Ok(())
}

fn print_one(breaker: &Value) {
    let text = |key: &str| breaker[key].as_str().unwrap_or("?").to_owned();
    let percent =
        |key: &str| breaker[key].as_f64().map_or_else(|| "-".to_owned(), |ratio| format!("{:.0} %", ratio * 100.0));
    let name = format!("{}/{}", text("service"), text("name"));
    let remaining = breaker["open_remaining_seconds"].as_f64().unwrap_or_default();
    let probe = if remaining > 0.0 { format!("{remaining:.0} s") } else { "-".to_owned() };
    // Where services run apart, which process it is in.
    let process = breaker["process"].as_str().map(|process| format!("  {process}")).unwrap_or_default();
    println!(
        "{name:<32} {:<12} {:>7} {:>9} {:>9} {:>7} {probe:>11}{process}",
        text("state"),
        percent("health_score"),
        percent("failure_ratio"),
        percent("slow_ratio"),
        breaker["window_calls"].as_u64().unwrap_or_default(),
    );
}
