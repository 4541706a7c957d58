//! The specification of an experiment: read from TOML and validated.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::metrics;
use crate::faults::{FaultPlan, Latency};
use crate::scenario::Timeline;
use crate::settings::policies;
use breakerbox_resilience::policy::PolicySettings;

/// Longest duration of a run, in virtual time.
const LONGEST: Duration = Duration::from_hours(48);

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
        let document = toml::Deserializer::parse(text).map_err(|error| error.to_string())?;
        let experiment: Self = serde_path_to_error::deserialize(document)
            .map_err(|error| format!("{}: {}", error.path(), error.inner().message()))?;
        experiment.validate()?;
        Ok(experiment)
    }

    fn validate(&self) -> Result<(), String> {
        slug("name", &self.name)?;
        if !(1..=1000).contains(&self.seeds) || !(1..=1000).contains(&self.quick_seeds) {
            return Err("seeds: must be within 1–1000".to_owned());
        }
        if self.cases.is_empty() {
            return Err("case: there must be one".to_owned());
        }
        for column in &self.columns {
            metrics::find(column).map_err(|error| format!("columns: {error}"))?;
        }
        for (number, case) in self.cases.iter().enumerate() {
            if self.cases[..number].iter().any(|other| other.name == case.name) {
                return Err(format!("case {:?}: name: another case has it", case.name));
            }
            case.validate().map_err(|error| format!("case {:?}: {error}", case.name))?;
        }
        for plot in &self.plots {
            if let Some(name) = &plot.case
                && self.case(name).is_none()
            {
                return Err(format!("plot {:?}: case: no case {name:?}", plot.title.en));
            }
            for metric in [&plot.metric, &plot.against] {
                if !metric.is_empty() && plot.kind != PlotKind::Timeline {
                    metrics::find(metric).map_err(|error| format!("plot {:?}: {error}", plot.title.en))?;
                }
            }
            if plot.kind == PlotKind::Timeline {
                metrics::series(&plot.metric).map_err(|error| format!("plot {:?}: {error}", plot.title.en))?;
            }
        }
        Ok(())
    }

    /// The case with this name.
    #[must_use]
    pub fn case(&self, name: &str) -> Option<&Case> {
        self.cases.iter().find(|case| case.name == name)
    }
}

impl Case {
    fn validate(&self) -> Result<(), String> {
        slug("name", &self.name)?;
        if self.variant.is_empty() {
            return Err("variant: there must be one".to_owned());
        }
        if !(0.001..=100_000.0).contains(&self.load.rate) {
            return Err("load.rate: must be within 0.001–100000 journeys per second".to_owned());
        }
        if self.load.patience.is_zero() || self.load.patience > Duration::from_hours(1) {
            return Err("load.patience: must be more than 0s and at most 1h".to_owned());
        }
        if self.load.step.iter().any(|step| !(0.0..=100_000.0).contains(&step.rate)) {
            return Err("load.step: rate: must be within 0–100000 journeys per second".to_owned());
        }
        if let Some(site) = &self.site {
            if let Some(scenario) = &site.scenario
                && scenario != "default"
            {
                Timeline::parse(scenario).map_err(|error| format!("site.scenario: {error}"))?;
            }
        } else {
            self.validate_model()?;
        }
        for duration in [Some(self.duration), self.quick].into_iter().flatten() {
            self.check_duration(duration)?;
        }
        for (number, variant) in self.variant.iter().enumerate() {
            slug("variant.name", &variant.name)?;
            if self.variant[..number].iter().any(|other| other.name == variant.name) {
                return Err(format!("variant {:?}: name: another variant has it", variant.name));
            }
            if self.site.is_none() {
                self.policies(variant, &[]).map_err(|error| format!("variant {:?}: {error}", variant.name))?;
            }
        }
        Ok(())
    }

    /// Checks that the faults fit into a run of this length.
    pub fn check_duration(&self, duration: Duration) -> Result<(), String> {
        if duration < Duration::from_secs(1) || duration > LONGEST {
            return Err("duration: must be within 1s–48h".to_owned());
        }
        let ends = self.fault.iter().filter(|step| !step.normal).map(|step| step.at + step.lasts);
        match ends.max().filter(|end| *end > duration) {
            Some(end) => Err(format!(
                "duration: {} is shorter than its faults, which end at {}",
                humantime::format_duration(duration),
                humantime::format_duration(end)
            )),
            None => Ok(()),
        }
    }

    fn validate_model(&self) -> Result<(), String> {
        if self.dependency.is_empty() {
            return Err("dependency: there must be one, or [case.site]".to_owned());
        }
        for dependency in &self.dependency {
            let named = |field: &str, why: &str| Err(format!("dependency {:?}: {field}: {why}", dependency.name));
            if !(1..=1000).contains(&dependency.instances) {
                return named("instances", "must be within 1–1000");
            }
            if dependency.capacity == Some(0) {
                return named("capacity", "must be at least 1; leave it out for no limit");
            }
            let plan = FaultPlan { latency: Some(dependency.latency), ..FaultPlan::default() };
            plan.validate().map_err(|error| format!("dependency {:?}: {error}", dependency.name))?;
        }
        for step in &self.fault {
            let known = self.dependency.iter().find(|dependency| dependency.name == step.target);
            let Some(target) = known else {
                return Err(format!("fault: target: no dependency {:?}", step.target));
            };
            if step.instance.is_some_and(|instance| instance >= target.instances) {
                return Err(format!("fault: instance: {:?} has {} of them", step.target, target.instances));
            }
            if !(0.01..=1000.0).contains(&step.slowdown) {
                return Err("fault: slowdown: must be within 0.01–1000".to_owned());
            }
            step.fault.validate().map_err(|error| format!("fault: {error}"))?;
            let FaultPlan { slow_body, malformed_body_rate, handled_twice_rate, ttl, .. } = &step.fault;
            if slow_body.is_some() || *malformed_body_rate > 0.0 || *handled_twice_rate > 0.0 || ttl.is_some() {
                return Err(
                    "fault: a simulated dependency has error, latency, hang, reset, lost-answer, late-answer and \
                     crash faults only"
                        .to_owned(),
                );
            }
        }
        let names: Vec<_> = self.dependency.iter().map(|dependency| dependency.name.as_str()).collect();
        let keys = self.variant.iter().flat_map(|variant| variant.policy.keys().chain(variant.fallback.keys()));
        match keys.chain(self.base.keys()).find(|key| !names.contains(&key.as_str())) {
            Some(stray) => Err(format!("policy: no dependency {stray:?}; there are {}", names.join(", "))),
            None => Ok(()),
        }
    }

    /// The policies of a variant with one setting changed (`path`, `value`); a dependency without a policy is called
    /// without protection.
    pub fn policies(
        &self,
        variant: &Variant,
        changes: &[(&str, &Value)],
    ) -> Result<BTreeMap<String, PolicySettings>, String> {
        let mut written = BTreeMap::new();
        for (dependency, over) in &variant.policy {
            let mut policy =
                self.base.get(dependency).cloned().unwrap_or_else(|| Value::Object(serde_json::Map::new()));
            if let Value::Object(over) = over {
                for (part, value) in over {
                    lay_over(&mut policy, &[part], value);
                }
            }
            written.insert(dependency.clone(), policy);
        }
        for (path, value) in changes {
            let steps: Vec<&str> = path.split('.').collect();
            let Some((dependency, rest)) = steps.split_first() else { continue };
            if let Some(policy) = written.get_mut(*dependency) {
                lay_over(policy, rest, value);
            }
        }
        let resolve = |(dependency, policy): (String, Value)| {
            let settings = policies::resolve(Some(&policy)).map_err(|error| format!("policy.{dependency}.{error}"))?;
            settings.validate().map_err(|error| format!("policy.{dependency}.{error}"))?;
            Ok((dependency, settings))
        };
        written.into_iter().map(resolve).collect()
    }

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

/// Sets the value at a path; tables are merged, other values are replaced.
fn lay_over(base: &mut Value, path: &[&str], value: &Value) {
    if !base.is_object() {
        *base = Value::Object(serde_json::Map::new());
    }
    let Value::Object(table) = base else { return };
    let Some((first, rest)) = path.split_first() else { return };
    let place = table.entry((*first).to_owned()).or_insert(Value::Null);
    match (rest.is_empty(), value) {
        (false, _) => lay_over(place, rest, value),
        (true, Value::Object(over)) => {
            for (key, value) in over {
                lay_over(place, &[key], value);
            }
            if over.is_empty() && place.is_null() {
                *place = Value::Object(serde_json::Map::new());
            }
        }
        (true, other) => *place = other.clone(),
    }
}

fn slug(field: &str, name: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || name.len() > 40 || !name.chars().all(allowed) {
        return Err(format!("{field}: {name:?} must be 1–40 of a–z, 0–9 and -"));
    }
    Ok(())
}
