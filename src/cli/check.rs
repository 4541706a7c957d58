//! `breakerbox check`: checks how a Prometheus scrapes these metrics and evaluates these rules.

use std::process::ExitCode;

use clap::Args;

use super::out::say;
use super::{Done, Failure};
use crate::check::{Access, Finding, Level, examine, observe};

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// Address of Prometheus
    #[arg(long, env = "BREAKERBOX_PROMETHEUS_URL", default_value = "http://127.0.0.1:9090", value_name = "URL")]
    prometheus: String,
    /// Bearer token of Prometheus
    #[arg(long, env = "BREAKERBOX_PROMETHEUS_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    prometheus_token: Option<String>,
    /// Exit 1 on hints as well as on problems
    #[arg(long)]
    strict: bool,
    /// Print the findings as JSON
    #[arg(long)]
    json: bool,
}

/// Exits 0 without problems, 1 with problems, 2 when Prometheus can't be queried.
pub(super) fn run(args: &CheckArgs) -> Result<ExitCode, Failure> {
    reqwest::Url::parse(&args.prometheus)
        .map_err(|error| Failure::Refused(format!("--prometheus {:?}: {error}", args.prometheus)))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(error.to_string()))?;
    let access = Access { url: args.prometheus.clone(), token: args.prometheus_token.clone() };
    let observed = runtime.block_on(observe(&access)).map_err(Failure::Refused)?;
    let findings = examine(&observed);
    if args.json {
        let json =
            serde_json::json!({"prometheus": args.prometheus, "version": observed.version, "findings": findings});
        say!("{json:#}")?;
    } else {
        say!("Prometheus {} at {}", observed.version, args.prometheus)?;
        findings.iter().try_for_each(print)?;
    }
    let tolerated = if args.strict { Level::Ok } else { Level::Hint };
    let failed = findings.iter().any(|finding| finding.level > tolerated);
    Ok(if failed { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

fn print(Finding { level, what, to_do }: &Finding) -> Done {
    say!("{:<8} {what}", level.to_string())?;
    if to_do.is_empty() { Ok(()) } else { say!("         → {to_do}") }
}
