//! A scenario's steps, and which of them are active at which time.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use crate::faults::FaultPlan;
use crate::services::ServiceName;

/// Maximum number of steps; each has its own series.
const MOST_STEPS: usize = 64;

/// Maximum length of a round, which is also the longest time to live of a fault.
const LONGEST: Duration = Duration::from_hours(24);

/// Target of a fault: a service, or a store inside one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target(&'static str);

impl Target {
    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.0
    }
}

impl TryFrom<String> for Target {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let all = ServiceName::fault_targets;
        all()
            .find(|target| *target == name)
            .map(Self)
            .ok_or_else(|| format!("{name:?} is no target; there are {}", all().collect::<Vec<_>>().join(", ")))
    }
}

impl<'de> Deserialize<'de> for Target {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.try_into().map_err(serde::de::Error::custom)
    }
}

/// What a step does.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Breaks a service or a store.
    Fault(Target, FaultPlan),
    /// Changes the load to this many journeys per second.
    Rate(f64),
}

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// A short name, lower case with hyphens.
    pub name: String,
    /// Hint for learners.
    pub note: String,
    /// When it begins.
    pub from: Duration,
    /// When it ends.
    pub to: Duration,
    /// What it does.
    pub action: Action,
    /// Whether it only fills the gaps between steps on the same target.
    pub calm: bool,
}

/// A validated scenario.
#[derive(Clone, Debug, PartialEq)]
pub struct Timeline {
    /// Its name.
    pub name: String,
    /// How long one round takes.
    pub length: Duration,
    /// Whether it loops.
    pub looped: bool,
    /// Its steps, in order of start.
    pub steps: Vec<Step>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    #[serde(with = "humantime_serde")]
    length: Duration,
    #[serde(default, rename = "loop")]
    looped: bool,
    /// Faults of a target while no step acts on it, instead of its default faults.
    #[serde(default)]
    calm: BTreeMap<Target, FaultPlan>,
    #[serde(default)]
    step: Vec<WrittenStep>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenStep {
    name: String,
    #[serde(default)]
    note: String,
    #[serde(with = "humantime_serde")]
    at: Duration,
    #[serde(rename = "for", with = "humantime_serde")]
    lasts: Duration,
    target: Option<Target>,
    fault: Option<FaultPlan>,
    rate: Option<f64>,
}

impl Timeline {
    /// Parses a scenario; an error names the step and the field.
    pub fn parse(text: &str) -> Result<Self, String> {
        // Through JSON, from which fault plans are read elsewhere: a second kind of tree would add code for each type.
        let document: serde_json::Value = toml::from_str(text).map_err(|error| error.to_string())?;
        let written: Written = serde_path_to_error::deserialize(document)
            .map_err(|error| format!("{}: {}", error.path(), error.inner()))?;
        if !(Duration::from_secs(1)..=LONGEST).contains(&written.length) {
            return Err("length: must be within 1s–24h".to_owned());
        }
        if written.step.is_empty() || written.step.len() > MOST_STEPS {
            return Err(format!("step: there must be 1–{MOST_STEPS} of them"));
        }
        let mut steps = Vec::new();
        for step in written.step {
            let name = step.name.clone();
            let checked = check(step, written.length).map_err(|why| format!("step {name:?}: {why}"))?;
            if steps.iter().any(|other: &Step| other.name == checked.name) {
                return Err(format!("step {name:?}: name: another step has it"));
            }
            if let Some(other) = steps.iter().find(|other| collide(other, &checked)) {
                return Err(format!("step {name:?}: at: overlaps step {:?}, which acts on the same", other.name));
            }
            steps.push(checked);
        }
        for (target, plan) in &written.calm {
            let plan = broken_by(*target, plan).map_err(|why| format!("calm.{}.{why}", target.as_str()))?;
            let around = gaps(&steps, *target, written.length);
            steps.extend(around.into_iter().map(|(from, to)| Step {
                name: format!("{}-calm", target.as_str()),
                note: String::new(),
                from,
                to,
                action: Action::Fault(*target, plan.clone()),
                calm: true,
            }));
        }
        steps.sort_by_key(|step| step.from);
        Ok(Self { name: written.name, length: written.length, looped: written.looped, steps })
    }

    /// Steps that are active at a position within a round.
    pub fn active(&self, position: Duration) -> impl Iterator<Item = (usize, &Step)> {
        self.steps.iter().enumerate().filter(move |(_, step)| step.from <= position && position < step.to)
    }

    /// Faults of targets between the steps that act on them, one entry per gap.
    pub fn calm(&self) -> impl Iterator<Item = (Target, &FaultPlan)> {
        self.steps.iter().filter(|step| step.calm).filter_map(|step| match &step.action {
            Action::Fault(target, plan) => Some((*target, plan)),
            Action::Rate(_) => None,
        })
    }

    /// Its steps without those that only fill gaps.
    pub fn incidents(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(|step| !step.calm)
    }

    /// The first time after `position` at which a step or the round starts or ends.
    #[must_use]
    pub fn next_change(&self, position: Duration) -> Duration {
        let moments = self.steps.iter().flat_map(|step| [step.from, step.to]);
        moments.filter(|moment| *moment > position).min().unwrap_or(self.length).min(self.length)
    }
}

fn check(step: WrittenStep, length: Duration) -> Result<Step, String> {
    let slug = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if step.name.is_empty() || step.name.len() > 40 || !step.name.chars().all(slug) {
        return Err("name: must be 1–40 of a–z, 0–9 and -".to_owned());
    }
    if step.lasts.is_zero() {
        return Err("for: must be more than 0s".to_owned());
    }
    let Some(to) = step.at.checked_add(step.lasts).filter(|to| *to <= length) else {
        return Err(format!("for: ends after the scenario's length of {}", humantime::format_duration(length)));
    };
    let action = match (step.target, step.fault, step.rate) {
        (Some(target), Some(fault), None) => {
            Action::Fault(target, broken_by(target, &fault).map_err(|why| format!("fault.{why}"))?)
        }
        (None, None, Some(rate)) if (0.0..=10_000.0).contains(&rate) => Action::Rate(rate),
        (None, None, Some(_)) => return Err("rate: must be within 0–10000 journeys per second".to_owned()),
        _ => return Err("must have either target and fault, or rate".to_owned()),
    };
    Ok(Step { name: step.name, note: step.note, from: step.at, to, action, calm: false })
}

/// Validates a fault for this target.
fn broken_by(target: Target, fault: &FaultPlan) -> Result<FaultPlan, String> {
    fault.validate_at(target.as_str(), ServiceName::KEEPS_BOOKS).map_err(|error| error.to_string())?;
    if fault.ttl.is_some() {
        return Err("ttl: must be left out; the step's `for` sets the duration".to_owned());
    }
    Ok(fault.clone())
}

/// The periods of a round in which no step acts on a target.
fn gaps(steps: &[Step], target: Target, length: Duration) -> Vec<(Duration, Duration)> {
    let own = |step: &&Step| matches!(step.action, Action::Fault(its, _) if its == target);
    let mut taken: Vec<_> = steps.iter().filter(own).map(|step| (step.from, step.to)).collect();
    taken.sort_unstable();
    let ends: Vec<_> = std::iter::once(Duration::ZERO).chain(taken.iter().map(|(_, to)| *to)).collect();
    let begins = taken.into_iter().map(|(from, _)| from).chain([length]);
    ends.into_iter().zip(begins).filter(|(end, begin)| end < begin).collect()
}

/// Whether two steps act on the same thing at the same time.
fn collide(one: &Step, other: &Step) -> bool {
    let same = match (&one.action, &other.action) {
        (Action::Fault(one, _), Action::Fault(other, _)) => one == other,
        (Action::Rate(_), Action::Rate(_)) => true,
        _ => false,
    };
    same && one.from < other.to && other.from < one.to
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = r#"
        name = "two"
        length = "60s"
        [[step]]
        name = "late"
        at = "30s"
        for = "10s"
        target = "catalog"
        fault = { crash = true }
        [[step]]
        name = "early"
        at = "20s"
        for = "15s"
        rate = 50.0
    "#;

    fn active(timeline: &Timeline, seconds: u64) -> Vec<&str> {
        timeline.active(Duration::from_secs(seconds)).map(|(_, step)| step.name.as_str()).collect()
    }

    #[test]
    fn steps_are_active_from_begin_to_just_before_end() {
        let timeline = Timeline::parse(TWO).unwrap();
        assert_eq!(active(&timeline, 19), Vec::<&str>::new());
        assert_eq!(active(&timeline, 20), ["early"]);
        assert_eq!(active(&timeline, 30), ["early", "late"]);
        assert_eq!(active(&timeline, 35), ["late"]);
        assert_eq!(active(&timeline, 40), Vec::<&str>::new());
        let moments = [0, 20, 30, 35, 40].map(|s| timeline.next_change(Duration::from_secs(s)).as_secs());
        assert_eq!(moments, [20, 30, 35, 40, 60]);
    }

    #[test]
    fn a_calm_fills_the_time_around_the_steps_of_its_target() {
        let timeline =
            Timeline::parse(&format!("{TWO}\n[calm]\ncatalog = {{ error_rate = 0.1 }}\nuser = {{}}")).unwrap();
        let calm = |target: &str| -> Vec<_> {
            let own = timeline.steps.iter().filter(|step| step.calm && step.name == format!("{target}-calm"));
            own.map(|step| (step.from.as_secs(), step.to.as_secs())).collect()
        };
        assert_eq!(calm("catalog"), [(0, 30), (40, 60)]);
        assert_eq!(calm("user"), [(0, 60)]);
        assert_eq!(timeline.incidents().count(), 2);
    }

    #[test]
    fn errors_name_the_field() {
        for (from, to, expected) in [
            ("\"catalog\"", "\"catalogue\"", "step[0].target"),
            ("crash = true", "crash = 3", "step[0].fault.crash"),
            ("crash = true", "error_rate = 2.0", "step \"late\": fault.error_rate"),
            ("for = \"10s\"", "for = \"40s\"", "step \"late\": for"),
            ("\"early\"", "\"late\"", "step \"late\": name"),
            ("rate = 50.0", "target = \"catalog\"\nfault = { hang_rate = 1.0 }", "step \"early\": at: overlaps"),
            ("rate = 50.0", "rat = 50.0", "rat"),
            ("rate = 50.0", "rate = 50.0\n[calm]\ncatalog = { hang_rate = 7.0 }", "calm.catalog.hang_rate"),
            ("length = \"60s\"", "", "length"),
            ("length = \"60s\"", "length = \"25h\"", "length"),
            ("for = \"10s\"", "for = \"18446744073709551615s\"", "step \"late\": for"),
        ] {
            let error = Timeline::parse(&TWO.replace(from, to)).unwrap_err();
            assert!(error.contains(expected), "{to}: {error}");
        }
    }

    #[test]
    fn the_first_incident_of_the_default_scenario_is_at_20_s() {
        let timeline = Timeline::parse(super::super::DEFAULT).unwrap();
        assert_eq!(timeline.incidents().next().map(|step| step.from), Some(Duration::from_secs(20)));
        assert!(timeline.looped);
    }

    #[test]
    fn the_default_scenario_leaves_targets_time_to_recover() {
        let timeline = Timeline::parse(super::super::DEFAULT).unwrap();
        for one in timeline.incidents() {
            for other in timeline.incidents().filter(|other| other.from >= one.to) {
                assert!(
                    other.from.saturating_sub(one.to) >= Duration::from_secs(30),
                    "{} then {}",
                    one.name,
                    other.name
                );
            }
        }
    }
}
