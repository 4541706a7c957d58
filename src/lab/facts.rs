//! Facts used in the report's prose, computed from the settings and the experiments instead of typed: how a dependency
//! is protected, how often it fails by default, and the conditions of an experiment.

use std::time::Duration;

use super::metrics::phrase;
use super::spec::{Case, Experiment, Lang};
use crate::services::ServiceName;
use crate::settings::{Blueprint, Settings};
use breakerbox_resilience::breaker::{BreakerSettings, WindowType};
use breakerbox_resilience::policy::PolicySettings;

/// The default settings.
pub(crate) struct Facts {
    blueprint: Blueprint,
}

/// A duration of whole seconds in prose.
pub(crate) fn spoken(duration: Duration, lang: Lang) -> String {
    let seconds = duration.as_secs_f64();
    let (figure, unit) = if duration.subsec_nanos() == 0 && seconds >= 60.0 && duration.as_secs().is_multiple_of(60) {
        (seconds / 60.0, phrase(lang, " min", "분"))
    } else if seconds < 1.0 {
        (seconds * 1000.0, phrase(lang, " ms", "ms"))
    } else {
        (seconds, phrase(lang, " s", "초"))
    };
    format!("{figure}{unit}")
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

fn service(name: &str) -> Result<ServiceName, String> {
    name.parse().map_err(|error| format!("{name:?}: {error}"))
}

impl Facts {
    pub(crate) fn new() -> Result<Self, String> {
        let blueprint = Settings::load(None, std::iter::empty())?.blueprint()?;
        Ok(Self { blueprint })
    }

    /// The policy for calls to a dependency; the stores behind the user service are called by name.
    pub(crate) fn policy(&self, caller: &str, dependency: &str) -> Result<&PolicySettings, String> {
        match (caller, dependency) {
            ("user", "primary") => Ok(&self.blueprint.user.primary),
            ("user", "replica") => Ok(&self.blueprint.user.replica),
            _ => {
                let key = (service(caller)?, service(dependency)?);
                self.blueprint.policies.get(&key).ok_or_else(|| format!("no policy of {caller} → {dependency}"))
            }
        }
    }

    pub(crate) fn breaker(&self, caller: &str, dependency: &str) -> Result<&BreakerSettings, String> {
        let breaker = self.policy(caller, dependency)?.circuit_breaker.as_ref();
        breaker.ok_or_else(|| format!("{caller} → {dependency} has no breaker"))
    }

    /// Value of the placeholder `policy CALLER DEPENDENCY WHAT`.
    pub(crate) fn about_policy(&self, about: &str, lang: Lang) -> Result<String, String> {
        let [caller, dependency, what] = about.split(' ').collect::<Vec<_>>()[..] else {
            return Err("policy: a caller, a dependency and what".to_owned());
        };
        let breaker = self.breaker(caller, dependency)?;
        match what {
            "trips" => Ok(trips(breaker, lang)),
            "open" => Ok(spoken(breaker.wait_duration_in_open_state, lang)),
            "probes" => Ok(breaker.permitted_number_of_calls_in_half_open_state.to_string()),
            "closes" => Ok(format!("{} %", breaker.half_open_success_rate_threshold)),
            "timeout" => Ok(spoken(self.policy(caller, dependency)?.time_limiter.timeout_duration, lang)),
            _ => Err(format!("policy: {what:?} must be trips, open, probes, closes or timeout")),
        }
    }

    /// The share of its requests that a service fails by default.
    fn failing(&self, name: &str) -> Result<f64, String> {
        let plan = self.blueprint.faults.get(&service(name)?);
        Ok(plan.map_or(0.0, |plan| plan.error_rate))
    }

    /// Value of the placeholder `baseline SERVICE`.
    pub(crate) fn baseline(&self, name: &str) -> Result<String, String> {
        self.failing(name).map(percent)
    }

    /// Value of the placeholder `chance CALLER DEPENDENCY`: how likely random failures alone reach the consecutive
    /// failures that trip.
    pub(crate) fn chance(&self, about: &str) -> Result<String, String> {
        let (caller, dependency) = about.split_once(' ').ok_or("chance: a caller and a dependency")?;
        let needed = self.breaker(caller, dependency)?.consecutive_failure_threshold;
        let needed = needed
            .and_then(|needed| i32::try_from(needed).ok())
            .ok_or("chance: it does not trip on failures in a row")?;
        Ok(format!("{:.1} %", self.failing(dependency)?.powi(needed) * 100.0))
    }
}

fn trips(breaker: &BreakerSettings, lang: Lang) -> String {
    let size = breaker.sliding_window_size;
    let window = match (breaker.sliding_window_type, lang) {
        (WindowType::CountBased, Lang::En) => format!("of {size} calls"),
        (WindowType::TimeBased, Lang::En) => format!("of the calls of {size} s"),
        (WindowType::CountBased, Lang::Ko) => format!("{size}회 중"),
        (WindowType::TimeBased, Lang::Ko) => format!("{size}초 동안의 호출 중"),
    };
    let row = breaker.consecutive_failure_threshold.map(|failures| match lang {
        Lang::En => format!("{failures} failures in a row"),
        Lang::Ko => format!("{failures}회 연속 실패"),
    });
    let rate = breaker.failure_rate_threshold.map(|rate| match lang {
        Lang::En => format!("{rate} % failures {window}"),
        Lang::Ko => format!("{window} {rate} % 실패"),
    });
    let slow = breaker.slow_call_rate_threshold.map(|rate| {
        let limit = spoken(breaker.slow_call_duration_threshold, lang);
        match lang {
            Lang::En => format!("{rate} % slower than {limit}"),
            Lang::Ko => format!("{rate} %가 {limit}보다 느림"),
        }
    });
    let all: Vec<_> = [row, rate, slow].into_iter().flatten().collect();
    all.join(phrase(lang, ", or ", " 또는 "))
}

/// Value of the placeholder `given EXPERIMENT CASE WHAT`: a condition of an experiment.
pub(crate) fn given(experiment: &Experiment, case: &str, what: &str, lang: Lang) -> Result<String, String> {
    let case = experiment.case(case).ok_or_else(|| format!("given: {:?} has no case {case:?}", experiment.name))?;
    let missing = || format!("given: {}:{} has no {what}", experiment.name, case.name);
    match what {
        "rate" => Ok(rate(case).to_string()),
        "length" => Ok(spoken(case.duration, lang)),
        "fault" => longest(case).map(|lasts| spoken(lasts, lang)).ok_or_else(missing),
        "late" => late(case).map(|late| spoken(late, lang)).ok_or_else(missing),
        "places" => places(case).map(|places| places.to_string()).ok_or_else(missing),
        // Little's law: the calls in flight are the arrival rate times the duration of a call.
        "needed" => late(case).map(|late| format!("{:.0}", rate(case) * late.as_secs_f64())).ok_or_else(missing),
        _ => Err(format!("given: {what:?} must be rate, length, fault, late, places or needed")),
    }
}

/// Journeys or orders per second.
fn rate(case: &Case) -> f64 {
    case.site.as_ref().and_then(|site| site.orders).unwrap_or(case.load.rate)
}

/// How long the longest fault lasts.
fn longest(case: &Case) -> Option<Duration> {
    let planned = case.fault.iter().filter(|step| !step.normal).map(|step| step.lasts);
    let steps = case.site.iter().flat_map(|site| super::site::incidents(site, case.duration));
    planned.chain(steps.map(|((from, to), _)| to.saturating_sub(from))).max()
}

/// How long a request to the slowed dependency takes.
fn late(case: &Case) -> Option<Duration> {
    case.fault.iter().filter_map(|step| step.fault.latency).find_map(|latency| match latency {
        crate::faults::Latency::Fixed(late) => Some(late),
        _ => None,
    })
}

/// Size of the shared pool.
fn places(case: &Case) -> Option<u32> {
    case.variant.iter().find_map(|variant| variant.shared_pool)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_described_from_the_settings() {
        let facts = Facts::new().unwrap();
        let told = |what: &str, lang| facts.about_policy(&format!("checkout payment-gateway {what}"), lang).unwrap();
        assert_eq!(told("trips", Lang::En), "3 failures in a row");
        assert_eq!(told("open", Lang::Ko), "5분");
        assert_eq!(told("closes", Lang::En), "80 %");
        assert_eq!(facts.chance("checkout payment-gateway").unwrap(), "2.7 %");
        assert_eq!(facts.baseline("ml-api").unwrap(), "30 %");
        assert!(facts.about_policy("checkout nobody trips", Lang::En).unwrap_err().contains("nobody"));
    }

    #[test]
    fn the_conditions_of_an_experiment_are_described() {
        let all = crate::lab::built_in().unwrap();
        let pool = all.iter().find(|experiment| experiment.name == "pool").unwrap();
        let told = |what| given(pool, "pool", what, Lang::En).unwrap();
        assert_eq!([told("rate"), told("late"), told("places"), told("needed")], ["10", "8 s", "20", "80"]);
        assert!(given(pool, "pool", "colour", Lang::En).is_err());
    }
}
