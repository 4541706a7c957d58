//! The command line.
//!
//! Exit codes: 0 done, 1 it was tried and failed, 2 it can't be tried as asked (a bad flag or
//! setting, an unknown service, a port in use), said in one line.
#![deny(clippy::print_stdout, clippy::print_stderr, reason = "they panic on a closed pipe: see `out`")]

mod admin_client;
mod breaker;
mod check;
mod drill;
mod export;
mod fault;
mod health;
mod lab;
mod out;
mod place;
mod queue;
mod run;
mod scenario;
mod secrets;
mod story;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, Parser, Subcommand};

use self::out::{note, say_all};
use crate::clock;
use crate::services::ServiceName;
use crate::settings::{self, Settings};
use breakerbox_telemetry::LogFormat;

/// A movie-streaming service that fails on purpose, the resilience patterns that contain the failures, and
/// the metrics that show both.
///
/// Without a command, one process runs everything: all services, viewers, and a timeline of faults. The
/// site is at 127.0.0.1:8080, metrics and console at 127.0.0.1:8090.
#[derive(Debug, Parser)]
#[command(name = "breakerbox", version = VERSION, max_term_width = 100, after_help = EXAMPLES, args_conflicts_with_subcommands = false)]
pub struct Cli {
    #[command(flatten)]
    settings: SettingsArgs,
    #[command(flatten)]
    up: UpArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

/// The version, and the revision it was built from where that is known.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), env!("PROGRAM_REVISION_SUFFIX"));

const EXAMPLES: &str = "\
Examples:
  breakerbox                                        everything, with viewers and faults
  breakerbox --rate 50 --no-scenario                fifty journeys a second, faults by hand
  breakerbox fault set ml-api --error-rate 1 --ttl 60s
  breakerbox fault set catalog --latency 2s
  breakerbox fault clear
  breakerbox breaker list
  breakerbox breaker force-open gateway/recommendation
  breakerbox drill CircuitBreakerOpen               prove that this alert fires, is delivered and resolves
  breakerbox lab run flaky --quick                  the benefit of each pattern, as a report
  breakerbox serve user catalog                     two services, as in docker-compose.yml
  curl -s 127.0.0.1:8090/metrics

Every setting can be given in a TOML file (--config) or as a BREAKERBOX_* variable:
BREAKERBOX_SERVICES__GATEWAY__PORT=9080 sets services.gateway.port. `breakerbox settings` prints them all.";

/// Heading of the flags that each command accepts, behind its own.
const OF_SETTINGS: &str = "Settings and log, for commands that read the settings";

#[derive(Debug, Args)]
struct SettingsArgs {
    /// Settings file (TOML); a setting that is not in it keeps its default
    #[arg(long, global = true, env = "BREAKERBOX_CONFIG", value_name = "FILE", help_heading = OF_SETTINGS)]
    config: Option<PathBuf>,
    /// Seed of all randomness: faults, traffic, jitter
    #[arg(long, global = true, value_name = "N", help_heading = OF_SETTINGS)]
    seed: Option<u64>,
    /// Format of log lines
    #[arg(long, global = true, value_name = "FORMAT", help_heading = OF_SETTINGS)]
    log_format: Option<LogFormat>,
    /// Filter of log lines, such as `info` or `breakerbox=debug`
    #[arg(long, global = true, value_name = "FILTER", help_heading = OF_SETTINGS)]
    log: Option<String>,
    /// Offset of the process's clock in seconds, for tests; negative: behind
    #[arg(long, global = true, hide = true, value_name = "N", allow_hyphen_values = true, default_value_t = 0)]
    clock_wrong_by: i32,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run everything in one process (the default command)
    Up(UpArgs),
    /// Run one or more services, without simulated viewers
    Serve {
        /// Names of the services
        #[arg(required = true, value_name = "SERVICE")]
        services: Vec<ServiceName>,
    },
    /// Run simulated viewers and the timeline of faults against services in other processes
    Traffic(UpArgs),
    /// Inject and clear faults in a running process
    Fault(fault::FaultArgs),
    /// Show and control the timeline of faults (the scenario) of a running process
    Scenario(scenario::ScenarioArgs),
    /// Show and control the circuit breakers of a running process
    Breaker(breaker::BreakerArgs),
    /// Prove that alerts fire, are delivered and resolve, using a running process and a Prometheus
    Drill(Box<drill::DrillArgs>),
    /// Check the targets, rules and labels of a Prometheus, and explain how to fix problems
    Check(check::CheckArgs),
    /// Compare policies under the same faults in virtual time, and write a report
    Lab(Box<lab::LabArgs>),
    /// Show the retry queue of a running checkout service, and replay dead letters
    Queue(queue::QueueArgs),
    /// Check that a process is alive, or with --ready that it accepts requests: the exit code is 0 if so
    Health(health::HealthArgs),
    /// Export the policies for Istio, Envoy or Resilience4j
    Export(export::ExportArgs),
    /// Generate the secrets of a deployment, or print one
    Secrets(secrets::SecretsArgs),
    /// Print all effective settings, as TOML
    Settings,
    /// Print the completion script of a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page (roff)
    Man,
}

#[derive(Debug, Default, Args)]
struct UpArgs {
    /// Rate of the simulated viewers, in journeys (visits of several pages) per second [default: 10]
    #[arg(long, value_name = "N")]
    rate: Option<f64>,
    /// Run without simulated viewers
    #[arg(long)]
    no_traffic: bool,
    /// Run without the timeline of faults
    #[arg(long)]
    no_scenario: bool,
    /// File with a timeline of faults (TOML) that replaces the default one
    #[arg(long, value_name = "FILE", conflicts_with = "no_scenario")]
    scenario: Option<PathBuf>,
    /// Number added to every port that is not 0, to run a second process on the same machine
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(..=50_000))]
    port_offset: Option<u16>,
    /// Directory of the databases, kept at exit [default: a temporary directory, removed at exit]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

impl UpArgs {
    /// These flags, with those given before the command as defaults.
    fn over(self, before: Self) -> Self {
        Self {
            rate: self.rate.or(before.rate),
            no_traffic: self.no_traffic || before.no_traffic,
            no_scenario: self.no_scenario || before.no_scenario,
            scenario: self.scenario.or(before.scenario),
            port_offset: self.port_offset.or(before.port_offset),
            data: self.data.or(before.data),
        }
    }

    /// A flag that was given.
    fn given(&self) -> Option<&'static str> {
        let flags = [
            ("--rate", self.rate.is_some()),
            ("--no-traffic", self.no_traffic),
            ("--no-scenario", self.no_scenario),
            ("--scenario", self.scenario.is_some()),
            ("--port-offset", self.port_offset.is_some()),
            ("--data", self.data.is_some()),
        ];
        flags.iter().find(|(_, given)| *given).map(|(flag, _)| *flag)
    }
}

impl SettingsArgs {
    /// A flag that was given and has no effect on this command. `--config` may come from the environment.
    fn unused_by(&self, command: &Command) -> Option<&'static str> {
        let runs_here =
            matches!(command, Command::Serve { .. } | Command::Export(_) | Command::Drill(_) | Command::Lab(_));
        let flags = [
            ("--seed", self.seed.is_some()),
            ("--log-format", self.log_format.is_some()),
            ("--log", self.log.is_some()),
        ];
        flags.iter().find(|(_, given)| *given && !runs_here).map(|(flag, _)| *flag)
    }
}

/// Why a command failed.
#[derive(Debug)]
enum Failure {
    /// It was executed and failed.
    Failed(String),
    /// Its arguments are invalid.
    Refused(String),
}

type Done = Result<(), Failure>;

/// Runs a command and reports how it ended.
#[must_use]
pub fn run(cli: Cli) -> ExitCode {
    let Cli { settings, up, command } = cli;
    clock::go_wrong(settings.clock_wrong_by);
    let done = match command {
        None => with_settings(&settings, |own| run::up(own, &up)),
        Some(Command::Up(args)) => with_settings(&settings, |own| run::up(own, &args.over(up))),
        Some(Command::Traffic(args)) => with_settings(&settings, |own| run::traffic(own, &args.over(up))),
        Some(Command::Settings) => with_settings(&settings, |own| print_settings(own, &up)),
        Some(command) => match settings.unused_by(&command).or_else(|| up.given()) {
            Some(flag) => Err(Failure::Refused(format!("{flag} has no effect on this command; see --help"))),
            None => return end(other(command, &settings)),
        },
    };
    end(done.map(|()| ExitCode::SUCCESS))
}

/// Commands without viewers.
fn other(command: Command, settings: &SettingsArgs) -> Result<ExitCode, Failure> {
    match command {
        Command::Up(_) | Command::Traffic(_) | Command::Settings => unreachable!("handled by `run`"),
        Command::Serve { services } => with_settings(settings, |own| run::serve(own, &services)),
        Command::Export(args) => with_settings(settings, |own| export::run(&args, &own)),
        Command::Fault(args) => fault::run(args),
        Command::Scenario(args) => scenario::run(&args),
        Command::Breaker(args) => breaker::run(args),
        Command::Lab(args) => lab::run(*args),
        Command::Queue(args) => queue::run(args),
        Command::Health(args) => health::run(&args),
        Command::Check(args) => return check::run(&args),
        Command::Secrets(args) => secrets::run(args),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "breakerbox", &mut script);
            say_all!(String::from_utf8_lossy(&script))
        }
        Command::Man => {
            let mut page = Vec::new();
            let rendered = clap_mangen::Man::new(Cli::command()).render(&mut page);
            rendered
                .map_err(|error| Failure::Failed(error.to_string()))
                .and_then(|()| say_all!(String::from_utf8_lossy(&page)))
        }
        Command::Drill(args) => return settings_of(settings).and_then(|own| drill::run(&args, &own)),
    }
    .map(|()| ExitCode::SUCCESS)
}

fn end(done: Result<ExitCode, Failure>) -> ExitCode {
    match done {
        Ok(code) => code,
        Err(Failure::Failed(why)) => {
            note!("error: {why}");
            ExitCode::from(1)
        }
        Err(Failure::Refused(why)) => {
            note!("error: {why}");
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

fn print_settings(mut settings: Settings, args: &UpArgs) -> Done {
    run::lay_over(&mut settings, args);
    settings.validate().map_err(Failure::Refused)?;
    let text = toml::to_string(&settings).map_err(|error| Failure::Failed(error.to_string()))?;
    say_all!(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(line: &str) -> Option<String> {
        let cli = Cli::try_parse_from(line.split_whitespace()).unwrap();
        let command = cli.command.as_ref().unwrap();
        cli.settings.unused_by(command).or_else(|| cli.up.given()).map(str::to_owned)
    }

    #[test]
    fn flags_without_effect_are_refused() {
        assert_eq!(refused("breakerbox --rate 9 fault list").as_deref(), Some("--rate"));
        assert_eq!(refused("breakerbox --no-scenario serve user").as_deref(), Some("--no-scenario"));
        assert_eq!(refused("breakerbox breaker list --seed 3").as_deref(), Some("--seed"));
        assert_eq!(refused("breakerbox serve user --seed 3"), None);
        assert_eq!(refused("breakerbox fault list"), None);
    }

    #[test]
    fn flags_before_a_command_reach_it() {
        let cli = Cli::try_parse_from("breakerbox --rate 9 --no-scenario up".split_whitespace()).unwrap();
        let Some(Command::Up(args)) = cli.command else { panic!("`up`") };
        let args = args.over(cli.up);
        assert_eq!((args.rate, args.no_scenario, args.no_traffic), (Some(9.0), true, false));
        let mut settings = Settings::load(None, std::iter::empty()).unwrap();
        run::lay_over(&mut settings, &args);
        assert!((settings.traffic.rate - 9.0).abs() < f64::EPSILON && !settings.scenario.enabled);
    }

    #[test]
    fn completions_and_the_manual_page_are_generated() {
        let mut bash = Vec::new();
        clap_complete::generate(clap_complete::Shell::Bash, &mut Cli::command(), "breakerbox", &mut bash);
        assert!(String::from_utf8(bash).unwrap().contains("force-open"));
        let mut page = Vec::new();
        clap_mangen::Man::new(Cli::command()).render(&mut page).unwrap();
        assert!(String::from_utf8(page).unwrap().contains("breakerbox"));
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
        assert!(VERSION.starts_with(env!("CARGO_PKG_VERSION")));
    }
}
