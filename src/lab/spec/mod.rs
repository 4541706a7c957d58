//! The specification of an experiment: the format of its TOML file.

mod policies;
mod validate;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::faults::{FaultPlan, Latency};

/// A language of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lang {
    /// English.
    En,
    /// Korean.
    Ko,
}

/// A text in both languages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Text {
    /// English.
    pub en: String,
    /// Korean; English is used when left out.
    #[serde(default)]
    pub ko: String,
}

impl Text {
    /// The text in one language.
    #[must_use]
    pub fn of(&self, lang: Lang) -> &str {
        if lang == Lang::Ko && !self.ko.is_empty() { &self.ko } else { &self.en }
    }
}

/// An experiment: cases, each of which compares variants under the same load and faults.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Experiment {
    /// A short name, lower case with hyphens.
    pub name: String,
    /// Its title.
    pub title: Text,
    /// The question it answers.
    pub question: Text,
    /// What it shows, with figures as `{{variant.metric}}`.
    #[serde(default)]
    pub reading: Text,
    /// Seeds per variant, one run each.
    #[serde(default = "twenty")]
    pub seeds: u32,
    /// Seeds per variant in the quick form.
    #[serde(default = "five")]
    pub quick_seeds: u32,
    /// Metrics of the table.
    pub columns: Vec<String>,
    /// The cases.
    #[serde(rename = "case")]
    pub cases: Vec<Case>,
    /// Its plots.
    #[serde(default, rename = "plot")]
    pub plots: Vec<Plot>,
    /// Claims about the results, such as `all.served > none.served + 0.1`; each is checked.
    #[serde(default)]
    pub expect: Vec<String>,
}

/// One load, one topology, one timeline of faults, and the variants compared under them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Case {
    /// A short name.
    pub name: String,
    /// Its title.
    #[serde(default)]
    pub title: Text,
    /// Length of a run, in virtual time.
    #[serde(with = "humantime_serde")]
    pub duration: Duration,
    /// Length of a run in the quick form.
    #[serde(default, with = "humantime_serde")]
    pub quick: Option<Duration>,
    /// The load.
    #[serde(default)]
    pub load: Load,
    /// The dependencies that every journey calls, in this order.
    #[serde(default)]
    pub dependency: Vec<Dependency>,
    /// The faults.
    #[serde(default)]
    pub fault: Vec<FaultStep>,
    /// Base policies of all variants, by dependency.
    #[serde(default)]
    pub base: BTreeMap<String, Value>,
    /// The variants.
    pub variant: Vec<Variant>,
    /// Settings in whose combinations every variant is run.
    #[serde(default)]
    pub sweep: Vec<Axis>,
    /// Runs the whole site with its real services instead of simulated dependencies.
    #[serde(default)]
    pub site: Option<Site>,
}

/// The load.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Load {
    /// Journeys per second, a Poisson process.
    pub rate: f64,
    /// How long the caller of a journey waits.
    #[serde(with = "humantime_serde")]
    pub patience: Duration,
    /// Whether calls are idempotent.
    pub idempotent: bool,
    /// Value of a successful journey, in won.
    pub order_won: f64,
    /// Temporary changes of the rate.
    pub step: Vec<RateStep>,
}

impl Default for Load {
    fn default() -> Self {
        Self { rate: 10.0, patience: Duration::from_secs(10), idempotent: true, order_won: 0.0, step: Vec::new() }
    }
}

/// A temporary change of the rate.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateStep {
    /// When it begins.
    #[serde(with = "humantime_serde")]
    pub at: Duration,
    /// How long it lasts.
    #[serde(rename = "for", with = "humantime_serde")]
    pub lasts: Duration,
    /// Journeys per second.
    pub rate: f64,
}

/// Role of a dependency in a journey.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// The journey fails without it.
    #[default]
    Required,
    /// The journey is degraded without it.
    Optional,
    /// It is called instead of another dependency that failed.
    Fallback,
}

/// A simulated dependency.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Dependency {
    /// Its name.
    pub name: String,
    /// Its role.
    #[serde(default)]
    pub role: Role,
    /// Its service time.
    pub latency: Latency,
    /// Requests that one instance processes at once; further ones queue, first come, first served.
    #[serde(default)]
    pub capacity: Option<u32>,
    /// Requests that may wait at one instance; further ones are refused.
    #[serde(default)]
    pub queue: Option<usize>,
    /// Number of instances, called in turn.
    #[serde(default = "one")]
    pub instances: usize,
    /// Slowness after a crash until the instance has warmed up.
    #[serde(default)]
    pub cold: Option<Cold>,
    /// Whether a request has an effect, such as a charge, so that a second one is a duplicate.
    #[serde(default)]
    pub effect: bool,
    /// Whether it recognizes a repeated request by its idempotency key and handles it only once.
    #[serde(default)]
    pub honours_keys: bool,
}

/// Slowness of a dependency after a crash.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Cold {
    /// Factor by which its first requests take longer.
    pub factor: f64,
    /// Requests until it is fully warm; the factor decreases linearly until then.
    pub requests: u32,
}

/// A temporary fault.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct FaultStep {
    /// When it begins.
    #[serde(with = "humantime_serde")]
    pub at: Duration,
    /// How long it lasts.
    #[serde(rename = "for", with = "humantime_serde")]
    pub lasts: Duration,
    /// The dependency.
    pub target: String,
    /// One of its instances, from 0; all when left out.
    #[serde(default)]
    pub instance: Option<usize>,
    /// The fault.
    #[serde(default)]
    pub fault: FaultPlan,
    /// Factor by which its service time grows.
    #[serde(default = "unit")]
    pub slowdown: f64,
    /// Whether this is the dependency's normal state, and not the fault under test.
    #[serde(default)]
    pub normal: bool,
}

/// One way to protect the calls.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Variant {
    /// A short name.
    pub name: String,
    /// Its display name in plots and tables.
    pub title: Text,
    /// Policies by dependency, overriding those of the case; a dependency without one is called without protection.
    pub policy: BTreeMap<String, Value>,
    /// Size of one pool that all calls share.
    pub shared_pool: Option<u32>,
    /// Fallback of each dependency: another dependency, or `static`.
    pub fallback: BTreeMap<String, String>,
    /// Whether each instance of a dependency has its own policy.
    pub per_instance: bool,
    /// Whether dependencies skip requests that they cannot finish before the caller's timeout.
    pub deadline_propagation: bool,
    /// Settings of a caller that consists of many short-lived instances.
    pub fleet: Option<FleetSettings>,
    /// Dependencies that honour idempotency keys in this variant.
    pub honours_keys: Vec<String>,
    /// Settings that override the site's, if the whole site runs.
    pub settings: Option<Value>,
    /// Gateway whose viewers are observed, if the whole site runs.
    pub gateway: Option<String>,
}

/// Where a fleet keeps the state of its breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sharing {
    /// Each instance has its own.
    Local,
    /// A row in a store.
    Shared,
    /// Nowhere: Prometheus is queried.
    Stateless,
}

/// Many short-lived instances of the caller.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct FleetSettings {
    /// Number of instances at a time.
    pub instances: usize,
    /// Mean lifetime of an instance.
    #[serde(with = "humantime_serde")]
    pub lifetime: Duration,
    /// Where the state of the breaker is kept.
    pub sharing: Sharing,
    /// Maximum age of an instance's copy of the row.
    #[serde(default = "second", with = "humantime_serde")]
    pub cache: Duration,
    /// Scrape interval of Prometheus.
    #[serde(default = "scrape", with = "humantime_serde")]
    pub scrape: Duration,
    /// Window of the stateless decision.
    #[serde(default = "minute", with = "humantime_serde")]
    pub window: Duration,
    /// Failure ratio (0–1) in that window from which calls are rejected.
    #[serde(default = "half")]
    pub failure_ratio: f64,
}

/// One setting and its values.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Axis {
    /// Its title.
    pub title: Text,
    /// Path of the setting, such as `api.circuit-breaker.failure-rate-threshold`.
    pub path: String,
    /// Its values.
    pub values: Vec<Value>,
    /// Values of the quick form; all if left out.
    #[serde(default)]
    pub quick: Option<Vec<Value>>,
}

/// The whole site.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Site {
    /// A timeline of faults in the format of `breakerbox --scenario`; `default` is the built-in one.
    pub scenario: Option<String>,
    /// Settings that override the defaults, for all variants.
    pub settings: Option<Value>,
    /// The breaker whose transitions are reported, as `caller/dependency`.
    pub breaker: Option<String>,
    /// Route whose answers are measured, such as `POST /api/checkout`; all when left out.
    pub route: Option<String>,
    /// Rate of a load that only places orders, in orders per second.
    pub orders: Option<f64>,
}

/// What a plot shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlotKind {
    /// A metric of each variant, with its interval.
    Bars,
    /// A quantity over time.
    Timeline,
    /// One metric against another.
    Tradeoff,
    /// A metric over two settings.
    Heatmap,
    /// The states of the breakers over time, for the first seed.
    States,
    /// Predicted probability compared with observed frequency.
    Calibration,
}

/// A plot.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Plot {
    /// Its kind.
    pub kind: PlotKind,
    /// Its title, which states the result.
    pub title: Text,
    /// The case; the first when left out.
    #[serde(default)]
    pub case: Option<String>,
    /// The metric, or the quantity over time.
    #[serde(default)]
    pub metric: String,
    /// The other metric of a trade-off.
    #[serde(default)]
    pub against: String,
    /// Variants shown; all when left out.
    #[serde(default)]
    pub variants: Vec<String>,
}

fn twenty() -> u32 {
    20
}
fn five() -> u32 {
    5
}
fn one() -> usize {
    1
}
fn unit() -> f64 {
    1.0
}
fn half() -> f64 {
    0.5
}
fn second() -> Duration {
    Duration::from_secs(1)
}
fn scrape() -> Duration {
    Duration::from_secs(15)
}
fn minute() -> Duration {
    Duration::from_mins(1)
}

impl Experiment {
    /// Reads an experiment; an error names the field.
    pub fn parse(text: &str) -> Result<Self, String> {
        // Through JSON, from which fault plans and policies are read elsewhere: a second kind of tree would add code for
        // each type.
        let document: Value = toml::from_str(text).map_err(|error| error.to_string())?;
        let experiment: Self = serde_path_to_error::deserialize(document)
            .map_err(|error| format!("{}: {}", error.path(), error.inner()))?;
        experiment.validate()?;
        Ok(experiment)
    }

    /// The case with this name.
    #[must_use]
    pub fn case(&self, name: &str) -> Option<&Case> {
        self.cases.iter().find(|case| case.name == name)
    }
}

impl Case {
    /// When the first fault begins and the last one ends.
    #[must_use]
    pub fn incident(&self) -> Option<(Duration, Duration)> {
        let steps = || self.fault.iter().filter(|step| !step.normal);
        let surges = || self.load.step.iter();
        let begin = steps().map(|step| step.at).chain(surges().map(|step| step.at)).min()?;
        let end = steps().map(|step| step.at + step.lasts).chain(surges().map(|step| step.at + step.lasts)).max()?;
        Some((begin, end))
    }
}
