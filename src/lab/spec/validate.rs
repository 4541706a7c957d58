//! Validation of an experiment: values are within their ranges, and names refer to something that exists.

use std::time::Duration;

use super::{Case, Experiment, PlotKind};
use crate::faults::FaultPlan;
use crate::lab::metrics;
use crate::scenario::Timeline;

/// Longest duration of a run, in virtual time.
const LONGEST: Duration = Duration::from_hours(48);

impl Experiment {
    pub(super) fn validate(&self) -> Result<(), String> {
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
}

fn slug(field: &str, name: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || name.len() > 40 || !name.chars().all(allowed) {
        return Err(format!("{field}: {name:?} must be 1–40 of a–z, 0–9 and -"));
    }
    Ok(())
}
