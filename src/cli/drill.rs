//! `breakerbox drill`: prove that alerts fire, arrive and resolve.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::admin_client::AdminArgs;
use super::out::say_all;
use super::{Done, Failure};
use crate::drill::report::progress::Progress;
use crate::drill::{Access, Conductor, How, Live, Options, Overrides, Plan, Report, junit, plans, table};
use crate::settings::Settings;
use crate::{admin, app};

#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(super) struct DrillArgs {
    /// Alerts to drill: `CircuitBreakerOpen`, or `CircuitBreakerOpen/critical` for one of its rules
    #[arg(value_name = "ALERT", required_unless_present_any = ["all", "list"], conflicts_with = "all")]
    alerts: Vec<String>,
    /// Drill every alert that can be drilled
    #[arg(long)]
    all: bool,
    /// List the plan for each alert, and the alerts that cannot be drilled
    #[arg(long)]
    list: bool,
    #[command(flatten)]
    admin: AdminArgs,
    /// Admin address of another process of the same stack (repeatable)
    #[arg(long, value_name = "URL")]
    peer: Vec<String>,
    /// Address of Prometheus
    #[arg(long, env = "BREAKERBOX_PROMETHEUS_URL", default_value = "http://127.0.0.1:9090", value_name = "URL")]
    prometheus: String,
    /// Bearer token of Prometheus
    #[arg(long, env = "BREAKERBOX_PROMETHEUS_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    prometheus_token: Option<String>,
    /// Address of Alertmanager, to detect muted notifications
    #[arg(long, env = "BREAKERBOX_ALERTMANAGER_URL", value_name = "URL")]
    alertmanager: Option<String>,
    /// A label that your Prometheus adds to Breakerbox's targets, such as `cluster="one"` (repeatable)
    #[arg(long, value_name = "LABEL=\"VALUE\"", value_parser = matcher)]
    matcher: Vec<(String, String)>,
    /// Skip drills that take more than three minutes, and poll four times a second
    #[arg(long)]
    fast: bool,
    /// Include drills that take more than half an hour; named alerts are always drilled
    #[arg(long, conflicts_with = "fast")]
    long: bool,
    /// Time to fire, and to resolve: `2m`, `2m/5m`, or for one alert `NoTraffic=2m/30s` (repeatable)
    #[arg(long, value_name = "[ALERT=]TIME[/TIME]")]
    budget: Vec<String>,
    /// Time limit for the notification
    #[arg(long, value_name = "TIME", default_value = "90s", value_parser = humantime::parse_duration)]
    notify_budget: Duration,
    /// Fail if notifications cannot be observed
    #[arg(long)]
    require_notification: bool,
    /// A command that raises the named alert, for alerts that a drill cannot raise by itself
    #[arg(long, value_name = "COMMAND", requires = "clear")]
    raise: Option<String>,
    /// The command that undoes --raise; it also runs after Ctrl-C
    #[arg(long, value_name = "COMMAND", requires = "raise")]
    clear: Option<String>,
    /// Write the results as JUnit XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Write the results as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the times as a table in Markdown
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

/// `peers` are the configured admin ports.
pub(super) fn run(args: &DrillArgs, settings: &Settings) -> Result<ExitCode, Failure> {
    if args.list {
        say_all!(table::list(&chosen(args).unwrap_or_else(|_| plans())))?;
        return Ok(ExitCode::SUCCESS);
    }
    let plans = chosen(args).map_err(Failure::Refused)?;
    let options = options(args).map_err(Failure::Refused)?;
    let failed = |error: std::io::Error| Failure::Failed(error.to_string());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let access = runtime.block_on(access(args, settings))?;
    let live = Live::new(&access).map_err(Failure::Refused)?;
    let mut progress = Progress::new(std::io::stderr(), std::io::stderr().is_terminal());
    let conductor = Conductor::new(&live, &options, |event: crate::drill::Event<'_>| progress.tell(&event));
    let report = runtime
        .block_on(conductor.run(&plans, app::interrupted()))
        .map_err(|refused| Failure::Refused(refused.to_string()))?;
    write(args, &report)?;
    say_all!(table::summary(&report))?;
    Ok(ExitCode::from(report.exit_code()))
}

fn write(args: &DrillArgs, report: &Report) -> Done {
    let json = || serde_json::to_string_pretty(report).map_err(|error| Failure::Failed(error.to_string()));
    let files = [(&args.junit, junit::xml(report)), (&args.json, json()?), (&args.markdown, table::markdown(report))];
    for (file, text) in files {
        if let Some(file) = file {
            std::fs::write(file, text).map_err(|error| Failure::Failed(format!("{}: {error}", file.display())))?;
        }
    }
    Ok(())
}

fn chosen(args: &DrillArgs) -> Result<Vec<Plan>, String> {
    let plans = plans();
    if args.alerts.is_empty() {
        if args.raise.is_some() {
            return Err("--raise is for one alert: name it".to_owned());
        }
        return Ok(plans);
    }
    let mut chosen = Vec::new();
    for wanted in &args.alerts {
        let found: Vec<_> = plans.iter().filter(|plan| plan.matches(wanted)).cloned().collect();
        if found.is_empty() {
            return Err(format!("no alert {wanted:?}; `breakerbox drill --list` names them"));
        }
        chosen.extend(found);
    }
    if let (Some(raise), Some(clear)) = (&args.raise, &args.clear) {
        let [plan] = chosen.as_slice() else {
            return Err("--raise is for one alert: name one, with its severity if it has several".to_owned());
        };
        return Ok(vec![plan.by_command(raise, clear)]);
    }
    if let Some(Plan { how: How::Cannot { reason, by_hand, .. }, alert, .. }) =
        chosen.iter().find(|plan| matches!(plan.how, How::Cannot { .. })).filter(|_| !args.list)
    {
        return Err(format!("{alert} can't be drilled from here: {reason}. By hand: {by_hand}"));
    }
    Ok(chosen)
}

fn options(args: &DrillArgs) -> Result<Options, String> {
    let mut budgets = Overrides::default();
    for budget in &args.budget {
        budgets.add(budget).map_err(|error| format!("--budget {error}"))?;
    }
    if let Some(unknown) = budgets.alerts().find(|alert| !plans().iter().any(|plan| plan.alert == *alert)) {
        return Err(format!("--budget: no alert {unknown:?}"));
    }
    let usual = Options::default();
    Ok(Options {
        poll: if args.fast { usual.poll / 4 } else { usual.poll },
        notify: args.notify_budget,
        budgets,
        matchers: args.matcher.clone(),
        fast: args.fast,
        long: args.long || !args.all,
        need_inbox: args.require_notification,
        ..usual
    })
}

async fn access(args: &DrillArgs, settings: &Settings) -> Result<Access, Failure> {
    // In the compose stack the settings name all processes. The own name leads back to this process.
    let mut admin = vec![args.admin.url().to_owned()];
    let peers = if args.peer.is_empty() { settings.admin.peers.values().cloned().collect() } else { args.peer.clone() };
    for peer in peers {
        // An address that can't be resolved is kept: the drill reports that it does not answer.
        match admin::instances(&peer).await {
            Ok(instances) => admin.extend(instances.iter().map(|instance| instance.base().to_owned())),
            Err(_) => admin.push(peer),
        }
    }
    Ok(Access {
        prometheus: args.prometheus.clone(),
        prometheus_token: args.prometheus_token.clone(),
        alertmanager: args.alertmanager.clone(),
        admin,
        admin_token: args.admin.token()?,
        matchers: args.matcher.clone(),
    })
}

fn matcher(text: &str) -> Result<(String, String), String> {
    let wrong = || format!("{text:?} is no matcher such as cluster=\"one\"");
    let (name, value) = text.split_once('=').ok_or_else(wrong)?;
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let value = value.strip_prefix('"').map_or(Some(value), |rest| rest.strip_suffix('"')).ok_or_else(wrong)?;
    if name.is_empty() || !name.chars().all(word) || value.contains(['"', '\\']) || value.starts_with('~') {
        return Err(wrong());
    }
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matcher_has_a_label_and_a_value() {
        assert_eq!(matcher("cluster=\"one\""), Ok(("cluster".to_owned(), "one".to_owned())));
        assert_eq!(matcher("cluster=one"), Ok(("cluster".to_owned(), "one".to_owned())));
        for wrong in ["cluster", "=one", "cluster=\"one", "cluster=~\"o.*\"", "a b=c"] {
            assert!(matcher(wrong).is_err(), "{wrong}");
        }
    }
}
