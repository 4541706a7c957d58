//! `breakerbox lab`: experiments in virtual time.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{Args, Subcommand, ValueEnum};

use super::out::{note, say};
use super::{Done, Failure};
use crate::lab::{self, Episode, Experiment, Lang, Profile, Results};
use crate::scenario::Timeline;

#[derive(Debug, Args)]
pub(super) struct LabArgs {
    #[command(subcommand)]
    command: LabCommand,
}

#[derive(Debug, Subcommand)]
enum LabCommand {
    /// List the built-in experiments
    List,
    /// Run experiments and write a report: names, TOML files, or `all`
    Run(RunArgs),
    /// Run all built-in experiments and write the evaluation report, in English and Korean
    Report(ReportArgs),
    /// Search for suitable settings for your own dependency
    Tune(TuneArgs),
    /// Simulate the failures of a live run with different settings
    Replay(ReplayArgs),
}

/// A language of a report.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Language {
    En,
    Ko,
}

impl From<Language> for Lang {
    fn from(language: Language) -> Self {
        match language {
            Language::En => Self::En,
            Language::Ko => Self::Ko,
        }
    }
}

#[derive(Debug, Args)]
struct HowArgs {
    /// Number of runs of each variant, each with its own seed
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    seeds: Option<u32>,
    /// Number of parallel runs [default: the number of processors]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=512))]
    jobs: Option<u16>,
    /// Use fewer seeds, shorter runs and coarser grids
    #[arg(long)]
    quick: bool,
}

#[derive(Debug, Args)]
struct RunArgs {
    /// Names of experiments, TOML files, or `all`
    #[arg(required = true, value_name = "NAME|FILE")]
    experiments: Vec<String>,
    #[command(flatten)]
    how: HowArgs,
    /// Length of each run in virtual time, such as `10m`
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    duration: Option<Duration>,
    /// Folder for the report
    #[arg(long, value_name = "FOLDER", default_value = "lab-results")]
    out: PathBuf,
    /// Language of the report
    #[arg(long, value_name = "LANGUAGE", default_value = "en")]
    language: Language,
}

#[derive(Debug, Args)]
struct ReportArgs {
    #[command(flatten)]
    how: HowArgs,
    /// Folder for the report
    #[arg(long, value_name = "FOLDER", default_value = "docs")]
    out: PathBuf,
}

#[derive(Debug, Args)]
struct ProfileArgs {
    /// Calls per second
    #[arg(long, value_name = "N", default_value_t = 10.0)]
    rate: f64,
    /// Median response time
    #[arg(long, value_name = "TIME", default_value = "50ms", value_parser = humantime::parse_duration)]
    p50: Duration,
    /// 99th percentile of response times
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = humantime::parse_duration)]
    p99: Duration,
    /// Failed share of calls in the normal state, 0–1
    #[arg(long, value_name = "SHARE", default_value_t = 0.01)]
    failures: f64,
    /// Maximum time that a caller waits for an answer
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    patience: Duration,
    /// The calls are not idempotent, so no retries are considered
    #[arg(long)]
    not_idempotent: bool,
}

impl ProfileArgs {
    fn profile(&self, episodes: Vec<Episode>) -> Profile {
        Profile {
            rate: self.rate,
            p50: self.p50,
            p99: self.p99,
            failures: self.failures,
            episodes,
            patience: self.patience,
            idempotent: !self.not_idempotent,
        }
    }
}

#[derive(Debug, Args)]
struct TuneArgs {
    #[command(flatten)]
    profile: ProfileArgs,
    /// An outage: its length, and the failed share if not all calls fail, as `60s` or `2m:0.6` (repeatable)
    #[arg(long, value_name = "TIME[:SHARE]", value_parser = outage)]
    outage: Vec<(Duration, f64)>,
    /// Take the profile from a log of calls, with `seconds,latency_ms,ok` on each line
    #[arg(long, value_name = "FILE", conflicts_with = "prometheus")]
    csv: Option<PathBuf>,
    /// Take the profile from a Prometheus that scrapes a caller with Breakerbox's series
    #[arg(long, value_name = "URL")]
    prometheus: Option<String>,
    /// Time range of the queries to Prometheus
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = humantime::parse_duration, requires = "prometheus")]
    window: Duration,
    /// Name of the caller in series and settings
    #[arg(long, value_name = "NAME", default_value = "caller")]
    caller: String,
    /// Name of the dependency in series and settings
    #[arg(long, value_name = "NAME", default_value = "dependency")]
    dependency: String,
    /// Cost of a wasted request, relative to a failed call
    #[arg(long, value_name = "N", default_value_t = 0.1)]
    waste_weight: f64,
    #[command(flatten)]
    how: HowArgs,
    /// Also write the settings, Resilience4j's YAML and the table into this folder
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct ReplayArgs {
    /// The log of transitions, as returned by `GET /transitions` of the admin port (JSON)
    // The name of the field would be taken for the global `--log`.
    #[arg(id = "transitions", value_name = "FILE")]
    log: PathBuf,
    /// The breaker, as `caller/dependency`
    #[arg(long, value_name = "CALLER/DEPENDENCY")]
    breaker: String,
    /// The faults of that run, if they are known: a timeline in the format of `--scenario`
    #[arg(long, value_name = "FILE")]
    faults: Option<PathBuf>,
    /// Settings to try: a TOML file with a policy's fields (repeatable)
    #[arg(long, value_name = "FILE", required = true)]
    policy: Vec<PathBuf>,
    #[command(flatten)]
    profile: ProfileArgs,
    #[command(flatten)]
    how: HowArgs,
    /// Folder for the report
    #[arg(long, value_name = "FOLDER", default_value = "lab-results")]
    out: PathBuf,
}

/// `60s`, or `2m:0.6` for one in which 60 % fail.
fn outage(text: &str) -> Result<(Duration, f64), String> {
    let (lasts, share) = text.split_once(':').unwrap_or((text, "1"));
    let lasts = humantime::parse_duration(lasts).map_err(|error| error.to_string())?;
    let share = share.parse().map_err(|_| format!("{share:?} is no share"))?;
    if !(0.0..=1.0).contains(&share) || lasts.is_zero() || lasts > Duration::from_hours(6) {
        return Err("must last more than 0s and at most 6h, with a share within 0–1".to_owned());
    }
    Ok((lasts, share))
}

pub(super) fn run(args: LabArgs) -> Done {
    match args.command {
        LabCommand::List => list(),
        LabCommand::Run(args) => run_experiments(&args),
        LabCommand::Report(args) => report(&args),
        LabCommand::Tune(args) => tune(&args),
        LabCommand::Replay(args) => replay(&args),
    }
}

fn report(args: &ReportArgs) -> Done {
    let all = run_all(&lab::built_in().map_err(Failure::Failed)?, &args.how.options(None))?;
    let files = lab::report(&all).map_err(Failure::Failed)?;
    write(&args.out, &files)?;
    for (name, _) in files.iter().filter(|(name, _)| !name.contains("report/")) {
        say!("{}", args.out.join(name).display())?;
    }
    failed_claims(&all)
}

fn tune(args: &TuneArgs) -> Done {
    let profile = tuned_profile(args)?;
    profile.validate().map_err(Failure::Refused)?;
    note!(
        "{:.1} calls/s, p50 {}, p99 {}, {:.1} % failures, {} time(s) of trouble",
        profile.rate,
        humantime::format_duration(profile.p50),
        humantime::format_duration(profile.p99),
        profile.failures * 100.0,
        profile.episodes.len()
    );
    let progress = progress("tune");
    let advice =
        lab::tune(&profile, args.waste_weight, &args.how.options(None), &progress).map_err(Failure::Refused)?;
    let settings = advice.toml(&args.caller, &args.dependency).map_err(Failure::Failed)?;
    let yaml = advice.resilience4j(&args.dependency).map_err(Failure::Failed)?;
    let table = advice.table();
    say!("\n# Breakerbox settings\n{settings}\n# Resilience4j\n{yaml}\n{table}")?;
    for warning in &advice.warnings {
        say!("careful: {warning}")?;
    }
    let Some(folder) = &args.out else { return Ok(()) };
    let files = [("settings.toml", settings), ("resilience4j.yml", yaml), ("candidates.txt", table)];
    write(folder, &files.map(|(name, text)| (name.to_owned(), text)).into())
}

fn tuned_profile(args: &TuneArgs) -> Result<Profile, Failure> {
    if let Some(file) = &args.csv {
        let text = read(file)?;
        let read =
            Profile::from_csv(&text).map_err(|error| Failure::Refused(format!("{}: {error}", file.display())))?;
        let idempotent = !args.profile.not_idempotent;
        return Ok(Profile { patience: args.profile.patience, idempotent, ..read });
    }
    let mut begin = Duration::ZERO;
    let mut episodes = Vec::new();
    let usual = [(Duration::from_secs(60), 1.0)];
    let outages = if args.outage.is_empty() { usual.as_slice() } else { args.outage.as_slice() };
    for (lasts, failures) in outages {
        episodes.push(Episode { at: begin, lasts: *lasts, failures: *failures });
        // Time to recover before the next outage.
        begin += *lasts + Duration::from_mins(3);
    }
    let profile = args.profile.profile(episodes);
    let Some(url) = &args.prometheus else { return Ok(profile) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Failed(error.to_string()))?;
    let asked = lab::ask_prometheus(url, &args.caller, &args.dependency, args.window, profile);
    runtime.block_on(asked).map_err(Failure::Failed)
}

fn replay(args: &ReplayArgs) -> Done {
    let refused = |file: &Path, error: String| Failure::Refused(format!("{}: {error}", file.display()));
    let log = lab::read_log(&read(&args.log)?).map_err(|error| refused(&args.log, error))?;
    let episodes = match &args.faults {
        None => lab::episodes(&log, &args.breaker).map_err(Failure::Refused)?,
        Some(file) => {
            let timeline = Timeline::parse(&read(file)?).map_err(|error| refused(file, error))?;
            let target = args.breaker.rsplit('/').next().unwrap_or_default();
            lab::planned(&timeline, target)
        }
    };
    if episodes.is_empty() {
        return Err(Failure::Refused(format!("{} never opened in this log", args.breaker)));
    }
    let mut policies = Vec::new();
    for file in &args.policy {
        let settings: serde_json::Value =
            toml::from_str(&read(file)?).map_err(|error| refused(file, error.to_string()))?;
        let name = file.file_stem().unwrap_or_default().to_string_lossy().to_lowercase();
        policies.push((name.replace(|c: char| !c.is_ascii_alphanumeric(), "-"), settings));
    }
    let profile = args.profile.profile(episodes);
    let results =
        lab::replay(&profile, &policies, &args.how.options(None), &progress("replay")).map_err(Failure::Refused)?;
    write(&args.out, &lab::render(&[results], Lang::En).map_err(Failure::Failed)?)?;
    say!("{}", args.out.join("report.html").display())
}

fn read(file: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(file).map_err(|error| Failure::Refused(format!("{}: {error}", file.display())))
}

/// Shows the progress of the runs on a terminal.
fn progress(name: &str) -> impl Fn(usize, usize) + Sync {
    let terminal = std::io::stderr().is_terminal();
    let name = name.to_owned();
    move |done: usize, of: usize| {
        if terminal && (done.is_multiple_of(of.div_ceil(100)) || done == of) {
            let mut terminal = std::io::stderr().lock();
            let _ = write!(terminal, "\r{name:<12} {done}/{of} runs ").and_then(|()| terminal.flush());
        }
    }
}

fn list() -> Done {
    for experiment in lab::built_in().map_err(Failure::Failed)? {
        say!("{:<12} {}", experiment.name, experiment.title.en)?;
        say!("{:<12} {}", "", experiment.question.en.split_whitespace().collect::<Vec<_>>().join(" "))?;
    }
    Ok(())
}

fn run_experiments(args: &RunArgs) -> Done {
    let chosen = chosen(&args.experiments)?;
    let options = args.how.options(args.duration);
    let all = run_all(&chosen, &options)?;
    let files = lab::render(&all, args.language.into()).map_err(Failure::Failed)?;
    write(&args.out, &files)?;
    say!("{}", args.out.join("report.html").display())?;
    failed_claims(&all)
}

/// A false claim of an experiment is a failure, because the text of its report relies on it.
fn failed_claims(all: &[Results]) -> Done {
    let mut failed = Vec::new();
    for results in all {
        let claims = lab::check(results).map_err(Failure::Failed)?;
        failed.extend(
            claims
                .into_iter()
                .filter(|claim| !claim.holds)
                .map(|claim| format!("{}: {} ({})", results.experiment.name, claim.text, claim.figures)),
        );
    }
    if failed.is_empty() {
        Ok(())
    } else {
        Err(Failure::Failed(format!("claims that do not hold with these runs:\n  {}", failed.join("\n  "))))
    }
}

impl HowArgs {
    fn options(&self, duration: Option<Duration>) -> lab::Options {
        let processors = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let jobs = self.jobs.map_or_else(processors, usize::from);
        lab::Options { quick: self.quick, seeds: self.seeds, jobs, duration }
    }
}

fn chosen(names: &[String]) -> Result<Vec<Experiment>, Failure> {
    let built_in = lab::built_in().map_err(Failure::Failed)?;
    if names.iter().any(|name| name == "all") {
        return Ok(built_in);
    }
    let one = |name: &String| {
        if let Some(known) = built_in.iter().find(|experiment| experiment.name == *name) {
            return Ok(known.clone());
        }
        if !Path::new(name).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("toml")) {
            let known: Vec<_> = built_in.iter().map(|experiment| experiment.name.as_str()).collect();
            return Err(Failure::Refused(format!(
                "no experiment {name:?}; there are {}, or name a .toml file",
                known.join(", ")
            )));
        }
        let text = read(Path::new(name))?;
        Experiment::parse(&text).map_err(|error| Failure::Refused(format!("{name}: {error}")))
    };
    names.iter().map(one).collect()
}

fn run_all(chosen: &[Experiment], options: &lab::Options) -> Result<Vec<Results>, Failure> {
    let terminal = std::io::stderr().is_terminal();
    let mut all = Vec::new();
    for experiment in chosen {
        let began = Instant::now();
        let results = lab::run(experiment, options, &progress(&experiment.name)).map_err(Failure::Refused)?;
        let took = began.elapsed().as_secs_f64();
        note!("{}{:<12} {took:.1} s", if terminal { "\r" } else { "" }, experiment.name);
        all.push(results);
    }
    Ok(all)
}

fn write(folder: &Path, files: &lab::Files) -> Done {
    for (name, text) in files {
        let file = folder.join(name);
        let parent = file.parent().unwrap_or(folder);
        std::fs::create_dir_all(parent)
            .and_then(|()| std::fs::write(&file, text))
            .map_err(|error| Failure::Failed(format!("{}: {error}", file.display())))?;
    }
    Ok(())
}
