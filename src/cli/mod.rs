//! The command line.
//!
//! Exit codes: 0 done, 1 it was tried and failed, 2 it can't be tried as asked (a bad flag or
//! setting, an unknown service, a port in use), said in one line.

mod admin_client;
mod breaker;
mod check;
mod drill;
mod export;
mod fault;
mod health;
mod lab;
mod queue;
mod run;
mod secrets;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::services::ServiceName;
use crate::settings::{self, Settings};
use breakerbox_telemetry::LogFormat;

/// A movie-streaming service that fails on purpose, the resilience patterns that contain it, and the
/// metrics that show it.
///
/// Without a command everything runs in this one process: all services, viewers, and a timeline of
/// faults. Open the API on 127.0.0.1:8080 and metrics and admin on 127.0.0.1:8090.
#[derive(Debug, Parser)]
#[command(name = "breakerbox", version, max_term_width = 100, after_help = EXAMPLES, args_conflicts_with_subcommands = false)]
pub struct Cli {
    #[command(flatten)]
    settings: SettingsArgs,
    #[command(flatten)]
    up: UpArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

const EXAMPLES: &str = "\
Examples:
  breakerbox                                        everything, with viewers and faults
  breakerbox --rate 50 --no-scenario                fifty journeys a second, faults by hand
  breakerbox fault set ml-api --error-rate 1 --ttl 60s
  breakerbox fault set catalog --latency 2s
  breakerbox fault clear
  breakerbox breaker list
  breakerbox breaker force-open gateway/recommendation
  breakerbox drill CircuitBreakerOpen               prove that this alert fires, arrives and resolves
  breakerbox lab run flaky --quick                  what each pattern buys, as a report
  breakerbox serve user catalog                     two services, as in docker-compose.yml
  curl -s 127.0.0.1:8090/metrics

Every setting can be given in a TOML file (--config) or as a BREAKERBOX_* variable:
BREAKERBOX_SERVICES__GATEWAY__PORT=9080 sets services.gateway.port. `breakerbox settings` prints them all.";

#[derive(Debug, Args)]
struct SettingsArgs {
    /// Settings file (TOML); what it leaves out keeps its default
    #[arg(long, global = true, env = "BREAKERBOX_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Seed of everything random: faults, traffic, jitter
    #[arg(long, global = true, value_name = "N")]
    seed: Option<u64>,
    /// How log lines look
    #[arg(long, global = true, value_name = "FORMAT")]
    log_format: Option<LogFormat>,
    /// Which log lines are written, such as `info` or `breakerbox=debug`
    #[arg(long, global = true, value_name = "FILTER")]
    log: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Everything in one process (what no command does)
    Up(UpArgs),
    /// One service or several, without viewers
    Serve {
        /// Which
        #[arg(required = true, value_name = "SERVICE")]
        services: Vec<ServiceName>,
    },
    /// Viewers and the timeline of faults, against services that run elsewhere
    Traffic(UpArgs),
    /// Switch faults on and off in a running process
    Fault(fault::FaultArgs),
    /// Look at breakers and command them in a running process
    Breaker(breaker::BreakerArgs),
    /// Prove that alerts fire, arrive and resolve: against a running process and a Prometheus
    Drill(Box<drill::DrillArgs>),
    /// Say what a Prometheus scrapes and loads of this, what is missing or clashes, and what to do
    Check(check::CheckArgs),
    /// Compare policies under the same faults in virtual time, and write a report
    Lab(Box<lab::LabArgs>),
    /// Look at the retry queue of a running checkout, and give dead orders another chance
    Queue(queue::QueueArgs),
    /// Exit 0 if the process on this machine is healthy
    Health(health::HealthArgs),
    /// The policies in the words of others: Istio, Envoy, Resilience4j
    Export(export::ExportArgs),
    /// Make the secrets of a deployment, or show one
    Secrets(secrets::SecretsArgs),
    /// Print every setting as it stands, as TOML
    Settings,
}

#[derive(Debug, Default, Args)]
struct UpArgs {
    /// Journeys per second
    #[arg(long, value_name = "N")]
    rate: Option<f64>,
    /// No viewers
    #[arg(long)]
    no_traffic: bool,
    /// No timeline of faults
    #[arg(long)]
    no_scenario: bool,
    /// A timeline of faults instead of the default one (TOML)
    #[arg(long, value_name = "FILE", conflicts_with = "no_scenario")]
    scenario: Option<PathBuf>,
}

/// Why a command ends.
#[derive(Debug)]
enum Failure {
    /// It was tried and failed.
    Failed(String),
    /// It can't be tried as asked.
    Refused(String),
}

type Done = Result<(), Failure>;

/// Runs a command and says how it went.
#[must_use]
pub fn run(cli: Cli) -> ExitCode {
    let done = match cli.command {
        None => with_settings(&cli.settings, |settings| run::up(settings, &cli.up)),
        Some(Command::Up(args)) => with_settings(&cli.settings, |settings| run::up(settings, &args)),
        Some(Command::Serve { services }) => with_settings(&cli.settings, |settings| run::serve(settings, &services)),
        Some(Command::Traffic(args)) => with_settings(&cli.settings, |settings| run::traffic(settings, &args)),
        Some(Command::Settings) => with_settings(&cli.settings, |settings| print_settings(&settings)),
        Some(Command::Export(args)) => with_settings(&cli.settings, |settings| export::run(&args, &settings)),
        Some(Command::Fault(args)) => fault::run(args),
        Some(Command::Breaker(args)) => breaker::run(args),
        Some(Command::Lab(args)) => lab::run(*args),
        Some(Command::Queue(args)) => queue::run(args),
        Some(Command::Health(args)) => health::run(&args),
        Some(Command::Check(args)) => return end(check::run(&args)),
        Some(Command::Secrets(args)) => secrets::run(args),
        Some(Command::Drill(args)) => return end(settings_of(&cli.settings).and_then(|own| drill::run(&args, &own))),
    };
    end(done.map(|()| ExitCode::SUCCESS))
}

fn end(done: Result<ExitCode, Failure>) -> ExitCode {
    match done {
        Ok(code) => code,
        Err(Failure::Failed(why)) => {
            eprintln!("error: {why}");
            ExitCode::from(1)
        }
        Err(Failure::Refused(why)) => {
            eprintln!("error: {why}");
            ExitCode::from(2)
        }
    }
}

fn with_settings(args: &SettingsArgs, then: impl FnOnce(Settings) -> Done) -> Done {
    then(settings_of(args)?)
}

fn settings_of(args: &SettingsArgs) -> Result<Settings, Failure> {
    let mut settings = settings::variables(std::env::vars_os())
        .and_then(|variables| Settings::load(args.config.as_deref(), variables.into_iter()))
        .map_err(Failure::Refused)?;
    if let Some(seed) = args.seed {
        settings.seed = seed;
    }
    if let Some(format) = args.log_format {
        settings.telemetry.log_format = format;
    }
    if let Some(filter) = &args.log {
        settings.telemetry.log_filter.clone_from(filter);
        settings.flagged("telemetry.log-filter", "--log");
    }
    Ok(settings)
}

fn print_settings(settings: &Settings) -> Done {
    settings.validate().map_err(Failure::Refused)?;
    let text = toml::to_string(settings).map_err(|error| Failure::Failed(error.to_string()))?;
    print!("{text}");
    Ok(())
}
