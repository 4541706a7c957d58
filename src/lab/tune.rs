//! Searches settings for a dependency described by its [profile](super::Profile).
//!
//! ## Theory of operation
//!
//! The timeout follows from the measured P99: 1.5 times as long, which still admits slow answers and cuts off hangs.
//! The rest is searched: failure-rate threshold (never below the normal failure ratio), window, open wait and attempts;
//! each combination runs against the same calls and failures. A first round with few seeds keeps the best candidates; a
//! second one with many seeds decides among them. The *cost* of a candidate is its lost calls per thousand, plus its
//! wasted requests per thousand calls times their weight.
//!
//! ## How it fails
//!
//! The dependency is simulated: its response times are assumed to be log-normal between P50 and P99, and its failures
//! to be independent of each other and of the load. For a dependency that fails *because* of load use the overload
//! experiment instead.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use serde_json::{Value, json};

use super::metrics::{Unit, write};
use super::profile::Profile;
use super::run::{self, Options, Progress};
use super::spec::{Experiment, Text, Variant};
use super::stats::Estimate;
use breakerbox_resilience::policy::PolicySettings;

/// Candidates in the second round.
const FINALISTS: usize = 12;
/// Seeds of the first round.
const FIRST_ROUND: u32 = 3;
/// Highest simulated call rate, per second; a higher one reveals nothing more about a breaker.
const HIGHEST_RATE: f64 = 50.0;

/// A combination of settings, and its results.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Its settings, spelled as in the settings file.
    pub settings: Value,
    /// Share of calls that succeeded.
    pub success: Estimate,
    /// Wasted requests.
    pub wasted: Estimate,
    /// Seconds until recovery.
    pub recover: Estimate,
    /// Lost calls per thousand, plus weighted wasted requests.
    pub cost: Estimate,
    /// Whether no other candidate is better in both success and waste.
    pub on_frontier: bool,
    costs: Vec<f64>,
}

/// What the search found.
#[derive(Clone, Debug)]
pub struct Advice {
    /// The profile of the dependency.
    pub profile: Profile,
    /// The finalists, cheapest first.
    pub candidates: Vec<Candidate>,
    /// Finalists that are statistically indistinguishable from the first one.
    pub ties: usize,
    /// Warnings for the operator.
    pub warnings: Vec<String>,
}

/// Runs the search.
pub fn tune(profile: &Profile, weight: f64, options: &Options, progress: Progress<'_>) -> Result<Advice, String> {
    profile.validate()?;
    let all = candidates(profile);
    let first = Options { seeds: Some(FIRST_ROUND), ..options.clone() };
    let mut screened = round(profile, &all, weight, &first, progress)?;
    screened.truncate(FINALISTS);
    let finalists: Vec<Value> = screened.into_iter().map(|candidate| candidate.settings).collect();
    let second =
        Options { seeds: Some(options.seeds.unwrap_or(if options.quick { 8 } else { 20 })), ..options.clone() };
    let mut candidates = round(profile, &finalists, weight, &second, progress)?;
    let better = |one: &Candidate, other: &Candidate| {
        one.success.mean >= other.success.mean
            && one.wasted.mean <= other.wasted.mean
            && (one.success.mean > other.success.mean || one.wasted.mean < other.wasted.mean)
    };
    let frontier: Vec<bool> = candidates.iter().map(|own| !candidates.iter().any(|other| better(other, own))).collect();
    for (candidate, on_frontier) in candidates.iter_mut().zip(frontier) {
        candidate.on_frontier = on_frontier;
    }
    let best = candidates.first().ok_or("there is no candidate")?.costs.clone();
    let alike = |candidate: &&Candidate| {
        let difference = Estimate::paired(&candidate.costs, &best);
        !difference.low.is_finite() || difference.low <= 0.0
    };
    let ties = candidates.iter().skip(1).filter(alike).count();
    Ok(Advice { warnings: warnings(profile), profile: profile.clone(), candidates, ties })
}

/// Every combination worth trying.
fn candidates(profile: &Profile) -> Vec<Value> {
    let timeout = timeout(profile);
    let normal = profile.failures * 100.0;
    // Below twice the normal failure ratio, random failures alone would trip.
    let floor = (normal * 2.0).max(20.0);
    let mut thresholds: Vec<f64> =
        [30.0, 50.0, 75.0, 90.0].into_iter().filter(|threshold| *threshold >= floor).collect();
    if thresholds.is_empty() {
        thresholds.push(f64::midpoint(normal, 100.0).round().min(95.0));
    }
    let attempts: &[u32] = if profile.idempotent { &[1, 2, 3] } else { &[1] };
    let mut all = Vec::new();
    for attempts in attempts {
        for threshold in &thresholds {
            for window in [10, 20, 50] {
                for wait in ["5s", "15s", "30s", "60s"] {
                    let retry = if *attempts > 1 {
                        json!({"max-attempts": attempts, "wait-duration": "50ms", "jitter": "full"})
                    } else {
                        Value::Bool(false)
                    };
                    all.push(json!({
                        "time-limiter": {"timeout-duration": written(timeout)},
                        "retry": retry,
                        "retry-budget": {"retry-percent": (profile.failures * 200.0).clamp(20.0, 100.0).round()},
                        "circuit-breaker": {
                            "failure-rate-threshold": threshold,
                            "sliding-window-type": "count-based",
                            "sliding-window-size": window,
                            "minimum-number-of-calls": 10,
                            "wait-duration-in-open-state": wait,
                            "permitted-number-of-calls-in-half-open-state": 5,
                            "half-open-success-rate-threshold": 60,
                        },
                    }));
                }
            }
        }
    }
    all
}

/// 1.5 times the P99, rounded up to a convenient value, and at most the caller's patience.
fn timeout(profile: &Profile) -> Duration {
    let wanted = profile.p99.mul_f64(1.5).as_millis();
    let step = if wanted < 1000 { 50 } else { 250 };
    let rounded = wanted.div_ceil(step) * step;
    Duration::from_millis(u64::try_from(rounded).unwrap_or(u64::MAX)).min(profile.patience)
}

fn written(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

/// Sets each part that the advised policy lacks to `false`: a settings file is merged into the defaults, whose parts
/// would otherwise stay on.
fn switch_off(resolved: &Value, settings: &mut Value) {
    let (Value::Object(resolved), Value::Object(settings)) = (resolved, settings) else { return };
    for (name, part) in resolved {
        match (part, settings.get_mut(name)) {
            (Value::Null, None) => {
                settings.insert(name.clone(), Value::Bool(false));
            }
            (Value::Object(_), Some(own)) => switch_off(part, own),
            _ => {}
        }
    }
}

/// A duration in Spring's format: one number and one unit.
fn springs(duration: Duration) -> String {
    format!("{}ms", duration.as_millis())
}

/// Runs candidates and sorts them, cheapest first.
fn round(
    profile: &Profile,
    settings: &[Value],
    weight: f64,
    options: &Options,
    progress: Progress<'_>,
) -> Result<Vec<Candidate>, String> {
    let profile = Profile { rate: profile.rate.min(HIGHEST_RATE), ..profile.clone() };
    let variants = settings.iter().enumerate().map(|(index, settings)| Variant {
        name: format!("candidate-{index}"),
        policy: BTreeMap::from([("dependency".to_owned(), settings.clone())]),
        ..Variant::default()
    });
    let experiment = experiment("tune", profile.case(variants.collect()));
    let results = run::run(&experiment, options, progress)?;
    let cells = results.cases.into_iter().flat_map(|case| case.cells);
    let mut all: Vec<Candidate> = cells
        .zip(settings)
        .map(|(cell, settings)| {
            let costs: Vec<f64> = cell
                .values("success")
                .iter()
                .zip(cell.values("wasted-requests"))
                .zip(cell.values("journeys"))
                .map(|((success, wasted), journeys)| 1000.0 * ((1.0 - success) + weight * wasted / journeys))
                .collect();
            Candidate {
                settings: settings.clone(),
                success: cell.estimate("success"),
                wasted: cell.estimate("wasted-requests"),
                recover: cell.estimate("recover"),
                cost: Estimate::of(&costs),
                on_frontier: false,
                costs,
            }
        })
        .collect();
    // A stable sort, so that candidates with equal cost keep their order.
    all.sort_by(|one, other| one.cost.mean.total_cmp(&other.cost.mean));
    Ok(all)
}

/// An experiment built by the program instead of read from TOML.
pub(super) fn experiment(name: &str, case: super::spec::Case) -> Experiment {
    Experiment {
        name: name.to_owned(),
        title: Text::default(),
        question: Text::default(),
        reading: Text::default(),
        seeds: 20,
        quick_seeds: 8,
        columns: Vec::new(),
        cases: vec![case],
        plots: Vec::new(),
        expect: Vec::new(),
    }
}

/// Anti-patterns that the profile suggests.
fn warnings(profile: &Profile) -> Vec<String> {
    let mut all = Vec::new();
    if profile.rate < 0.5 {
        all.push(format!(
            "{} calls a second fill a window of ten in {:.0} s: a breaker around rare calls decides from outdated results. Prefer a timeout alone.",
            profile.rate,
            10.0 / profile.rate
        ));
    }
    if !profile.idempotent {
        all.push("calls are not idempotent: no retries are advised. An idempotency key would allow them.".to_owned());
    }
    if profile.failures >= 0.1 {
        all.push(format!(
            "{} failures are this dependency's normal state: a threshold below twice that, or few failures in a row, opens by chance.",
            write(Unit::Share, profile.failures)
        ));
    }
    if profile.p99 > profile.p50 * 10 {
        all.push(
            "the P99 is more than ten times the median: over replicas, hedging at p95 helps more than a retry."
                .to_owned(),
        );
    }
    if profile.p99.mul_f64(1.5) > profile.patience {
        all.push(
            "1.5 × P99 is longer than callers wait: the timeout is their patience, and slow answers are lost."
                .to_owned(),
        );
    }
    let total = timeout(profile).mul_f64(3.0) + Duration::from_millis(150);
    if total > profile.patience {
        all.push(format!(
            "three attempts can take {}, longer than callers wait: set a total timeout. Waits of 1, 2, 4 … s add up to 7 s after \
             three retries, 31 s after five and 127 s after seven.",
            written(total)
        ));
    }
    if profile.episodes.is_empty() {
        all.push("the profile has no outage, so that thresholds cannot be compared.".to_owned());
    }
    if profile.rate > HIGHEST_RATE {
        all.push(format!("simulated at {HIGHEST_RATE} calls a second; scale time-based limits with the real rate."));
    }
    all
}

impl Advice {
    /// The advised policy.
    pub fn policy(&self) -> Result<PolicySettings, String> {
        let best = self.candidates.first().ok_or("there is no candidate")?;
        crate::settings::policies::resolve(Some(&best.settings))
    }

    /// The policy as settings of Breakerbox.
    pub fn toml(&self, caller: &str, dependency: &str) -> Result<String, String> {
        let best = self.candidates.first().ok_or("there is no candidate")?;
        let resolved = serde_json::to_value(self.policy()?).map_err(|error| error.to_string())?;
        let mut settings = best.settings.clone();
        switch_off(&resolved, &mut settings);
        let body = toml::to_string(&settings).map_err(|error| error.to_string())?;
        let mut out = format!("[policies.{caller}.{dependency}]\n");
        let head = format!("policies.{caller}.{dependency}");
        for line in body.lines() {
            match line.strip_prefix('[') {
                Some(table) => {
                    let _ = writeln!(out, "[{head}.{table}");
                }
                None => {
                    let _ = writeln!(out, "{line}");
                }
            }
        }
        Ok(out)
    }

    /// The policy as Resilience4j's configuration.
    pub fn resilience4j(&self, dependency: &str) -> Result<String, String> {
        let policy = self.policy()?;
        let mut out = String::from("resilience4j:\n");
        if let Some(breaker) = &policy.circuit_breaker {
            let _ = write!(
                out,
                "  circuitbreaker:\n    instances:\n      {dependency}:\n        failure-rate-threshold: {}\n        \
                 sliding-window-type: COUNT_BASED\n        sliding-window-size: {}\n        minimum-number-of-calls: {}\n        \
                 wait-duration-in-open-state: {}\n        permitted-number-of-calls-in-half-open-state: {}\n        \
                 automatic-transition-from-open-to-half-open-enabled: false\n        register-health-indicator: true\n",
                breaker.failure_rate_threshold.unwrap_or(100.0),
                breaker.sliding_window_size,
                breaker.minimum_number_of_calls,
                springs(breaker.wait_duration_in_open_state),
                breaker.permitted_number_of_calls_in_half_open_state,
            );
        }
        if let Some(retry) = &policy.retry {
            let _ = write!(
                out,
                "  retry:\n    instances:\n      {dependency}:\n        max-attempts: {}\n        wait-duration: {}\n        \
                 enable-exponential-backoff: {}\n        exponential-backoff-multiplier: {}\n        enable-randomized-wait: true\n",
                retry.max_attempts,
                springs(retry.wait_duration),
                retry.enable_exponential_backoff,
                retry.exponential_backoff_multiplier,
            );
        }
        let _ = write!(
            out,
            "  timelimiter:\n    instances:\n      {dependency}:\n        timeout-duration: {}\n        cancel-running-future: true\n",
            springs(policy.time_limiter.timeout_duration)
        );
        Ok(out)
    }

    /// A table of the finalists, and the confidence in the choice.
    #[must_use]
    pub fn table(&self) -> String {
        let mut out = String::from(
            "   cost/1000          success             wasted        recover   attempts threshold window wait\n",
        );
        for candidate in &self.candidates {
            let setting = |path: &str| candidate.settings.pointer(path).map_or_else(|| "-".to_owned(), run::spelled);
            let interval = |estimate: &Estimate, unit| super::claims::with_interval(unit, estimate);
            let _ = writeln!(
                out,
                " {} {:<18} {:<18} {:<14} {:<9} {:<8} {:<9} {:<6} {}",
                if candidate.on_frontier { "*" } else { " " },
                format!("{:.1} ± {:.1}", candidate.cost.mean, candidate.cost.half_width()),
                interval(&candidate.success, Unit::Share),
                interval(&candidate.wasted, Unit::Count),
                write(Unit::Seconds, candidate.recover.mean),
                setting("/retry/max-attempts"),
                setting("/circuit-breaker/failure-rate-threshold"),
                setting("/circuit-breaker/sliding-window-size"),
                setting("/circuit-breaker/wait-duration-in-open-state"),
            );
        }
        let _ = writeln!(
            out,
            "* on the frontier: no other candidate has both more success and fewer wasted requests.\n{} of the others cannot be told \
             apart from the first one (paired 95 % interval over {} seeds).",
            self.ties,
            self.candidates.first().map_or(0, |best| best.cost.runs)
        );
        out
    }
}

#[cfg(test)]
mod tests {
    use super::super::profile::Episode;
    use super::*;

    fn profile() -> Profile {
        Profile {
            rate: 10.0,
            p50: Duration::from_millis(60),
            p99: Duration::from_millis(800),
            failures: 0.02,
            episodes: vec![Episode { at: Duration::ZERO, lasts: Duration::from_secs(60), failures: 1.0 }],
            patience: Duration::from_secs(5),
            idempotent: true,
        }
    }

    #[test]
    fn the_timeout_comes_from_the_p99() {
        // 1.5 times the P99 of 800 ms, within the 1 to 1.5 s of the source texts.
        assert_eq!(timeout(&profile()), Duration::from_millis(1250));
    }

    /// The defaults for calls of the catalog include parts that were not simulated: the advice must disable them.
    #[test]
    fn the_advice_as_settings_is_the_policy_that_was_simulated() {
        let estimate = Estimate::of(&[1.0, 1.0]);
        for settings in candidates(&profile()) {
            let candidate = Candidate {
                settings,
                success: estimate,
                wasted: estimate,
                recover: estimate,
                cost: estimate,
                on_frontier: true,
                costs: Vec::new(),
            };
            let advice = Advice { profile: profile(), candidates: vec![candidate], ties: 0, warnings: Vec::new() };
            let written: toml::Value = toml::from_str(&advice.toml("gateway", "catalog").unwrap()).unwrap();
            let written = serde_json::to_value(&written["policies"]["gateway"]["catalog"]).unwrap();
            let defaults: toml::Value = toml::from_str(include_str!("../settings/default.toml")).unwrap();
            let mut merged = serde_json::to_value(&defaults["policies"]["gateway"]["catalog"]).unwrap();
            over(&mut merged, written);
            let resolved = crate::settings::policies::resolve(Some(&merged)).unwrap();
            let advised = advice.policy().unwrap();
            assert_eq!(resolved.circuit_breaker, advised.circuit_breaker);
            assert_eq!((resolved.hedge.is_some(), resolved.bulkhead.is_some()), (false, false));
            assert_eq!((resolved.retry, resolved.time_limiter), (advised.retry, advised.time_limiter));
        }
    }

    fn over(base: &mut Value, value: Value) {
        match (base, value) {
            (Value::Object(base), Value::Object(value)) => {
                for (key, value) in value {
                    over(base.entry(key).or_insert(Value::Null), value);
                }
            }
            (base, value) => *base = value,
        }
    }

    #[test]
    fn anti_patterns_give_warnings() {
        let rare = Profile { rate: 0.05, idempotent: false, failures: 0.3, ..profile() };
        let warnings = warnings(&rare).join("\n");
        for word in ["rare calls", "not idempotent", "normal state"] {
            assert!(warnings.contains(word), "{word}: {warnings}");
        }
        assert!(candidates(&rare).iter().all(|candidate| candidate["retry"] == Value::Bool(false)));
        let thresholds = candidates(&Profile { failures: 0.3, ..profile() });
        assert!(thresholds.iter().all(|c| c["circuit-breaker"]["failure-rate-threshold"].as_f64() >= Some(60.0)));
    }
}
