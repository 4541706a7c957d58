//! Replays the outages of a live run in virtual time under other settings.
//!
//! The transitions of a breaker, as `GET /transitions` returns them, show when its dependency was failing and how
//! badly: from the first opening until the successful probe, with the failure ratio of the window that tripped. If the
//! timeline of injected faults is available (a file for `--scenario`), it is exact and is used instead.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::profile::{Episode, Profile};
use super::run::{self, Options, Progress, Results};
use super::spec::{Text, Variant};
use super::tune;
use crate::scenario::{Action, Timeline};

/// One line of a live run's log of transitions.
#[derive(Clone, Debug, Deserialize)]
pub struct Logged {
    /// Caller.
    pub service: String,
    /// Dependency.
    pub breaker: String,
    /// State that ended.
    pub from: String,
    /// State that began.
    pub to: String,
    /// Time, in seconds since 1970.
    pub unix_seconds: f64,
    /// Calls in the window.
    #[serde(default)]
    pub calls: u64,
    /// Failed ones among them.
    #[serde(default)]
    pub failures: u64,
}

/// Reads `GET /transitions`: a list, or an object with `transitions`.
pub fn read_log(text: &str) -> Result<Vec<Logged>, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let list = match value {
        Value::Object(mut object) => object.remove("transitions").unwrap_or(Value::Null),
        other => other,
    };
    let mut all: Vec<Logged> =
        serde_path_to_error::deserialize(list).map_err(|error| format!("{}: {}", error.path(), error.inner()))?;
    all.sort_by(|one, other| one.unix_seconds.total_cmp(&other.unix_seconds));
    Ok(all)
}

/// Outages of `caller/dependency`, relative to the first line of the log.
pub fn episodes(log: &[Logged], breaker: &str) -> Result<Vec<Episode>, String> {
    let own: Vec<&Logged> = log.iter().filter(|line| format!("{}/{}", line.service, line.breaker) == breaker).collect();
    let Some(first) = own.first().map(|line| line.unix_seconds) else {
        let mut known: Vec<_> = log.iter().map(|line| format!("{}/{}", line.service, line.breaker)).collect();
        known.sort();
        known.dedup();
        return Err(format!("no transition of {breaker:?}; the log has {}", known.join(", ")));
    };
    let mut all = Vec::new();
    let mut open: Option<(f64, f64)> = None;
    let mut end = first;
    for line in own {
        let at = line.unix_seconds;
        match (line.to.as_str(), open) {
            ("open", None) => {
                let share = if line.calls == 0 { 1.0 } else { line.failures as f64 / line.calls as f64 };
                // A window that tripped also holds calls from before the outage.
                open = Some((at, if share >= 0.5 { 1.0 } else { share }));
                end = at;
            }
            // A probe failed: the outage lasted at least until now.
            ("open", Some(_)) => end = at,
            ("closed", Some((from, failures))) => {
                all.push(episode(from - first, end.max(from) - first, failures));
                open = None;
            }
            _ => {}
        }
    }
    if let Some((from, failures)) = open {
        all.push(episode(from - first, end - first, failures));
    }
    Ok(all)
}

/// The outage began shortly before the breaker opened, and ended after the last failed probe.
fn episode(from: f64, to: f64, failures: f64) -> Episode {
    Episode {
        at: Duration::from_secs_f64(from.max(0.0)),
        lasts: Duration::from_secs_f64((to - from).max(1.0) + 1.0),
        failures,
    }
}

/// Outages of a target according to a timeline of faults.
#[must_use]
pub fn planned(timeline: &Timeline, target: &str) -> Vec<Episode> {
    let own = timeline.incidents().filter_map(|step| match &step.action {
        Action::Fault(its, plan) if its.as_str() == target => {
            let share = plan.shares().iter().map(|(_, share)| *share).fold(0.0, f64::max);
            Some(Episode { at: step.from, lasts: step.to.saturating_sub(step.from), failures: share })
        }
        _ => None,
    });
    own.collect()
}

/// Runs the profile against each of these policies (a name and its settings).
pub fn replay(
    profile: &Profile,
    policies: &[(String, Value)],
    options: &Options,
    progress: Progress<'_>,
) -> Result<Results, String> {
    profile.validate()?;
    let variants = policies.iter().map(|(name, settings)| Variant {
        name: name.clone(),
        policy: BTreeMap::from([("dependency".to_owned(), settings.clone())]),
        ..Variant::default()
    });
    let mut experiment = tune::experiment("replay", profile.case(variants.collect()));
    experiment.title = Text {
        en: "Replay: what would these settings have done?".to_owned(),
        ko: "재현: 이 설정이었다면?".to_owned(),
    };
    experiment.question = Text {
        en: "The failures of a live run, repeated with other settings.".to_owned(),
        ko: "실제 실행에서 일어난 장애를 다른 설정으로 다시 겪습니다.".to_owned(),
    };
    experiment.columns = ["success", "wasted-requests", "blocked", "opens", "detect", "recover", "blocked-after"]
        .map(str::to_owned)
        .to_vec();
    run::run(&experiment, options, progress)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = r#"[
        {"service": "gateway", "breaker": "catalog", "from": "closed", "to": "open", "unix_seconds": 100.0, "calls": 20, "failures": 12},
        {"service": "other", "breaker": "thing", "from": "closed", "to": "open", "unix_seconds": 90.0, "calls": 20, "failures": 12},
        {"service": "gateway", "breaker": "catalog", "from": "open", "to": "half_open", "unix_seconds": 110.0},
        {"service": "gateway", "breaker": "catalog", "from": "half_open", "to": "open", "unix_seconds": 111.0, "calls": 5, "failures": 5},
        {"service": "gateway", "breaker": "catalog", "from": "open", "to": "half_open", "unix_seconds": 121.0},
        {"service": "gateway", "breaker": "catalog", "from": "half_open", "to": "closed", "unix_seconds": 122.0}
    ]"#;

    #[test]
    fn outages_are_read_from_a_log() {
        let log = read_log(LOG).unwrap();
        let [episode] = episodes(&log, "gateway/catalog").unwrap()[..] else { panic!() };
        assert_eq!(episode.at, Duration::ZERO);
        assert_eq!(episode.lasts, Duration::from_secs(12));
        assert!((episode.failures - 1.0).abs() < 1e-9);
        assert!(episodes(&log, "gateway/user").unwrap_err().contains("other/thing"));
    }

    #[test]
    fn a_wrong_log_is_refused_with_its_field() {
        assert!(
            read_log(&LOG.replace("\"to\": \"open\", \"unix_seconds\": 100.0", "\"to\": 3"))
                .unwrap_err()
                .contains("to")
        );
    }
}
