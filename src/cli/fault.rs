//! `breakerbox fault`: switch faults on and off in a running process.

use std::collections::BTreeSet;
use std::time::Duration;

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::admin_client::{AdminArgs, Remote, print_unreachable, request};
use super::out::say;
use super::{Done, Failure};
use crate::admin::wire::Faults;
use crate::services::ServiceName;

pub(super) type FaultArgs = Remote<Action>;

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// List the targets and their faults
    List,
    /// Inject faults at a target, replacing those injected before
    Set(Box<SetArgs>),
    /// Clear the faults of one target, or of all
    Clear {
        /// The target; all if omitted
        target: Option<String>,
        /// Restore the default faults (ml-api and payment-gateway fail 30 %) instead of clearing all
        #[arg(long)]
        baseline: bool,
    },
}

#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct SetArgs {
    #[arg(help = format!("The service: {}", ServiceName::fault_targets().collect::<Vec<_>>().join(", ")))]
    target: String,
    /// Share of requests answered with an error, 0–1
    #[arg(long, value_name = "SHARE")]
    error_rate: Option<f64>,
    /// Status of those errors, 400–599
    #[arg(long, value_name = "STATUS", requires = "error_rate")]
    status: Option<u16>,
    /// Delay: `2s`, `uniform:100ms..2s`, `log-normal:300ms,0.8` (median, sigma) or `pareto:100ms,1.5` (scale, shape)
    #[arg(long, value_name = "DELAY", value_parser = latency)]
    latency: Option<Value>,
    /// Share of requests that are delayed, 0–1
    #[arg(long, value_name = "SHARE", requires = "latency")]
    latency_rate: Option<f64>,
    /// Share of requests that are never answered, 0–1
    #[arg(long, value_name = "SHARE")]
    hang_rate: Option<f64>,
    /// Share of connections that are reset, 0–1
    #[arg(long, value_name = "SHARE")]
    reset_rate: Option<f64>,
    /// Send answers at this many bytes per second
    #[arg(long, value_name = "BYTES_PER_SECOND")]
    slow_body: Option<u32>,
    /// Share of answers that are truncated, 0–1
    #[arg(long, value_name = "SHARE")]
    malformed_rate: Option<f64>,
    /// Crash: the service stops listening
    #[arg(long)]
    crash: bool,
    #[arg(long, value_name = "SHARE", help = books("Share of requests that are processed and whose answer is lost, 0–1"))]
    lost_answer_rate: Option<f64>,
    #[arg(long, value_name = "SHARE", help = books("Share of requests that are processed and answered late, 0–1"))]
    late_answer_rate: Option<f64>,
    /// Delay of late answers, such as 2s [default: 5s]
    #[arg(long, value_name = "TIME", requires = "late_answer_rate", value_parser = humantime::parse_duration)]
    late_by: Option<Duration>,
    #[arg(long, value_name = "SHARE", help = books("Share of charges that are processed twice, 0–1"))]
    handled_twice_rate: Option<f64>,
    /// Time until the faults end, such as 60s; if omitted, until cleared
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    ttl: Option<Duration>,
}

/// Help of a fault that only some targets support.
fn books(text: &str) -> String {
    format!("{text}; only {}", ServiceName::KEEPS_BOOKS.join(", "))
}

pub(super) fn run(args: FaultArgs) -> Done {
    let answer: Faults = match args.action {
        Action::List => request(&args.admin, Method::GET, "/faults?everywhere=true", None)?,
        Action::Set(set) => {
            let path = format!("/faults/{}", set.target);
            request(&args.admin, Method::PUT, &path, Some(&plan(&set)?))?
        }
        Action::Clear { target: None, baseline: false } => request(&args.admin, Method::DELETE, "/faults", None)?,
        Action::Clear { target: None, baseline: true } => restore_all(&args.admin)?,
        Action::Clear { target: Some(target), baseline } => clear(&args.admin, &target, baseline)?,
    };
    print(&answer)?;
    print_unreachable(answer.unreachable.as_deref());
    Ok(())
}

fn clear(admin: &AdminArgs, target: &str, baseline: bool) -> Result<Faults, Failure> {
    request(admin, Method::DELETE, &format!("/faults/{target}?baseline={baseline}"), None)
}

/// One by one, because each target has its own default faults.
fn restore_all(admin: &AdminArgs) -> Result<Faults, Failure> {
    let before: Faults = request(admin, Method::GET, "/faults?everywhere=true", None)?;
    // A target with several instances is listed once per instance; one command reaches all of them.
    for target in before.targets.iter().map(|target| &target.target).collect::<BTreeSet<_>>() {
        clear(admin, target, true)?;
    }
    request(admin, Method::GET, "/faults?everywhere=true", None)
}

fn plan(set: &SetArgs) -> Result<Value, Failure> {
    let mut plan = Map::new();
    let mut put = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            plan.insert(key.to_owned(), value);
        }
    };
    put("error_rate", set.error_rate.map(Value::from));
    put("status", set.status.map(Value::from));
    put("latency", set.latency.clone());
    put("latency_rate", set.latency_rate.map(Value::from));
    put("hang_rate", set.hang_rate.map(Value::from));
    put("reset_rate", set.reset_rate.map(Value::from));
    put("slow_body", set.slow_body.map(|rate| json!({"bytes_per_second": rate, "rate": 1.0})));
    put("malformed_body_rate", set.malformed_rate.map(Value::from));
    put("crash", set.crash.then_some(Value::Bool(true)));
    put("lost_answer_rate", set.lost_answer_rate.map(Value::from));
    put("late_answer_rate", set.late_answer_rate.map(Value::from));
    put("late_by", set.late_by.map(|late_by| Value::from(humantime::format_duration(late_by).to_string())));
    put("handled_twice_rate", set.handled_twice_rate.map(Value::from));
    if plan.is_empty() {
        return Err(Failure::Refused(
            "nothing to break: give --error-rate, --latency, --hang-rate, --reset-rate, --slow-body, --malformed-rate, \
             --crash, --lost-answer-rate, --late-answer-rate or --handled-twice-rate"
                .to_owned(),
        ));
    }
    if let Some(ttl) = set.ttl {
        plan.insert("ttl".to_owned(), Value::from(humantime::format_duration(ttl).to_string()));
    }
    Ok(Value::Object(plan))
}

/// One of the forms that `--latency` takes.
fn latency(text: &str) -> Result<Value, String> {
    let number = |text: &str| text.trim().parse::<f64>().map_err(|_| format!("{text:?} is no number"));
    let (form, rest) = text.split_once(':').unwrap_or(("fixed", text));
    let pair = |separator: &str| {
        rest.split_once(separator).ok_or_else(|| format!("{form} takes two values separated by {separator:?}"))
    };
    match form {
        "fixed" => Ok(json!({"fixed": duration(rest)?})),
        "uniform" => {
            let (min, max) = pair("..")?;
            Ok(json!({"uniform": {"min": duration(min)?, "max": duration(max)?}}))
        }
        "log-normal" => {
            let (median, sigma) = pair(",")?;
            Ok(json!({"log_normal": {"median": duration(median)?, "sigma": number(sigma)?}}))
        }
        "pareto" => {
            let (scale, shape) = pair(",")?;
            Ok(json!({"pareto": {"scale": duration(scale)?, "shape": number(shape)?}}))
        }
        other => Err(format!("{other:?} is not a distribution; must be fixed, uniform, log-normal or pareto")),
    }
}

fn duration(text: &str) -> Result<String, String> {
    let text = text.trim();
    humantime::parse_duration(text)
        .map(|_| text.to_owned())
        .map_err(|error| format!("{text:?}: {error}, such as 300ms or 2s"))
}

fn print(faults: &Faults) -> Done {
    for target in &faults.targets {
        // The process of the target, if services run in separate processes.
        let name = match &target.process {
            Some(process) => format!("{} ({process})", target.target),
            None => target.target.clone(),
        };
        let state = if target.active.is_empty() { "healthy".to_owned() } else { target.active.join(", ") };
        match target.remaining_seconds {
            Some(seconds) => say!("{name:<32} {state}, {seconds:.0} s left")?,
            None => say!("{name:<32} {state}")?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        set: SetArgs,
    }

    #[test]
    fn help_names_every_target() {
        let help = <Line as clap::CommandFactory>::command().render_long_help().to_string();
        for target in ServiceName::fault_targets() {
            assert!(help.contains(target), "{target}: {help}");
        }
        assert_eq!(ServiceName::fault_targets().filter(|target| target.starts_with("user-")).count(), 2);
    }

    #[test]
    fn fault_flags_give_the_admin_ports_json() {
        let line = "set payment-gateway --error-rate 0.1 --lost-answer-rate 0.3 --late-answer-rate 0.2 --late-by 2s \
                    --handled-twice-rate 0.4";
        let line = <Line as clap::Parser>::try_parse_from(line.split_whitespace()).unwrap();
        let taken: crate::faults::FaultPlan = serde_json::from_value(plan(&line.set).unwrap()).unwrap();
        let able = ServiceName::KEEPS_BOOKS;
        assert_eq!(taken.validate_at("payment-gateway", able), Ok(()));
        assert_eq!(taken.validate_at("catalog", able).unwrap_err().field(), "lost_answer_rate");
        assert_eq!((taken.lost_answer_rate, taken.late_by), (0.3, Some(Duration::from_secs(2))));
    }

    #[test]
    fn a_delay_is_read_in_each_of_its_forms() {
        assert_eq!(latency("2s"), Ok(json!({"fixed": "2s"})));
        assert_eq!(latency("uniform:100ms..2s"), Ok(json!({"uniform": {"min": "100ms", "max": "2s"}})));
        assert_eq!(latency("log-normal:300ms,0.8"), Ok(json!({"log_normal": {"median": "300ms", "sigma": 0.8}})));
        assert_eq!(latency("pareto:100ms,1.5"), Ok(json!({"pareto": {"scale": "100ms", "shape": 1.5}})));
        for wrong in ["soon", "gauss:1s", "uniform:1s", "pareto:1s,steep"] {
            assert!(latency(wrong).is_err(), "{wrong}");
        }
    }
}
