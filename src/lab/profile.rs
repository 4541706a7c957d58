//! The measured profile of a dependency: its call rate, response times and failures.

use std::time::Duration;

use super::spec::{Case, Dependency, FaultStep, Load, Role, Variant};
use crate::faults::{FaultPlan, Latency};

/// The 99 % quantile of the standard normal distribution.
const Z99: f64 = 2.326_347_9;
/// Time without failures before the first episode and after the last one.
const CALM: Duration = Duration::from_mins(2);

/// An episode of failures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Episode {
    /// Start, relative to the start of the profile.
    pub at: Duration,
    /// How long it lasts.
    pub lasts: Duration,
    /// Share of its requests that fail (0–1).
    pub failures: f64,
}

/// The measured profile of a dependency.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// Calls per second.
    pub rate: f64,
    /// Median response time.
    pub p50: Duration,
    /// 99th percentile of response times.
    pub p99: Duration,
    /// Share of requests that fail (0–1) outside of episodes.
    pub failures: f64,
    /// Episodes of failures.
    pub episodes: Vec<Episode>,
    /// How long a caller waits at most.
    pub patience: Duration,
    /// Whether calls may be repeated.
    pub idempotent: bool,
}

impl Profile {
    /// Rejects impossible values, naming the field.
    pub fn validate(&self) -> Result<(), String> {
        if !(0.001..=10_000.0).contains(&self.rate) {
            return Err(format!("rate: {} is not within 0.001–10000 calls per second", self.rate));
        }
        if self.p50 < Duration::from_millis(1) || self.p99 < self.p50 || self.p99 > Duration::from_mins(5) {
            return Err("p50, p99: must be at least 1ms, in this order, and at most 5m".to_owned());
        }
        if !(0.0..=0.95).contains(&self.failures) {
            return Err(format!("failures: {} is not within 0–0.95", self.failures));
        }
        if let Some(wrong) = self.episodes.iter().find(|episode| !(0.0..=1.0).contains(&episode.failures)) {
            return Err(format!("episode: failures: {} is not within 0–1", wrong.failures));
        }
        Ok(())
    }

    /// Reads a log of calls: `seconds,latency_ms,ok` on each line, `ok` being 1 or 0 (true or false).
    pub fn from_csv(text: &str) -> Result<Self, String> {
        let mut calls = Vec::new();
        let mut reader = csv::ReaderBuilder::new();
        // The first line may be a header; a line of another length is named below.
        reader.has_headers(false).flexible(true).trim(csv::Trim::All);
        for (index, record) in reader.from_reader(text.as_bytes()).records().enumerate() {
            let record = record.map_err(|error| error.to_string())?;
            let fields: Vec<&str> = record.iter().collect();
            let line = record.position().map_or(0, csv::Position::line);
            let wrong = || format!("line {line}: {:?} is not seconds,latency_ms,ok", fields.join(","));
            let [seconds, latency, ok] = fields.as_slice() else { return Err(wrong()) };
            if index == 0 && seconds.parse::<f64>().is_err() {
                continue;
            }
            let number = |field: &str| field.parse::<f64>().ok().filter(|n| n.is_finite()).ok_or_else(wrong);
            let ok = match *ok {
                "1" | "true" => true,
                "0" | "false" => false,
                _ => return Err(wrong()),
            };
            calls.push((number(seconds)?, number(latency)?.max(1.0), ok));
        }
        if calls.len() < 100 {
            return Err(format!("{} calls are too few for percentiles; at least 100 are needed", calls.len()));
        }
        calls.sort_by(|one, other| one.0.total_cmp(&other.0));
        Ok(Self::from_calls(&calls))
    }

    /// Builds a profile from calls sorted by time.
    fn from_calls(calls: &[(f64, f64, bool)]) -> Self {
        let first = calls.first().map_or(0.0, |call| call.0);
        let span = (calls.last().map_or(0.0, |call| call.0) - first).max(1.0);
        let episodes = episodes(calls, first);
        let troubled = |at: f64| {
            episodes
                .iter()
                .any(|e: &Episode| (e.at.as_secs_f64()..(e.at + e.lasts).as_secs_f64()).contains(&(at - first)))
        };
        let calm: Vec<_> = calls.iter().filter(|call| !troubled(call.0)).collect();
        let failed = calm.iter().filter(|call| !call.2).count();
        let mut latencies: Vec<f64> = calm.iter().filter(|call| call.2).map(|call| call.1).collect();
        latencies.sort_by(f64::total_cmp);
        let quantile = |share: f64| {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index below the length")]
            let index = (share * latencies.len().saturating_sub(1) as f64).round() as usize;
            Duration::from_secs_f64(latencies.get(index).copied().unwrap_or(100.0) / 1000.0)
        };
        Self {
            rate: calls.len() as f64 / span,
            p50: quantile(0.5),
            p99: quantile(0.99),
            failures: if calm.is_empty() { 0.0 } else { failed as f64 / calm.len() as f64 },
            episodes,
            patience: Duration::from_secs(10),
            idempotent: true,
        }
    }

    /// How long a run with this profile takes.
    #[must_use]
    pub fn length(&self) -> Duration {
        let end = self.episodes.iter().map(|episode| episode.at + episode.lasts).max().unwrap_or_default();
        CALM + end + 2 * CALM
    }

    /// A case that subjects variants to this profile.
    #[must_use]
    pub fn case(&self, variant: Vec<Variant>) -> Case {
        let sigma = (self.p99.as_secs_f64() / self.p50.as_secs_f64()).ln() / Z99;
        let target = "dependency".to_owned();
        let step = |at: Duration, lasts: Duration, failures: f64, normal: bool| FaultStep {
            at,
            lasts,
            target: target.clone(),
            instance: None,
            // A complete outage is simulated as hanging requests, the worst case for callers.
            fault: if failures > 0.99 {
                FaultPlan { hang_rate: 1.0, ..FaultPlan::default() }
            } else {
                FaultPlan { error_rate: failures, ..FaultPlan::default() }
            },
            slowdown: 1.0,
            normal,
        };
        let mut fault = vec![step(Duration::ZERO, Duration::from_hours(48), self.failures, true)];
        fault.extend(self.episodes.iter().map(|e| step(CALM + e.at, e.lasts, e.failures, false)));
        Case {
            name: "profile".to_owned(),
            title: super::Text::default(),
            duration: self.length(),
            quick: None,
            load: Load { rate: self.rate, patience: self.patience, idempotent: self.idempotent, ..Load::default() },
            dependency: vec![Dependency {
                name: target.clone(),
                role: Role::Required,
                latency: Latency::LogNormal { median: self.p50, sigma: sigma.clamp(0.01, 3.0) },
                capacity: None,
                queue: None,
                instances: 1,
                cold: None,
                effect: false,
                honours_keys: false,
            }],
            fault,
            base: std::collections::BTreeMap::new(),
            variant,
            sweep: Vec::new(),
            site: None,
        }
    }
}

/// Stretches of ten seconds in which at least half of the calls failed.
fn episodes(calls: &[(f64, f64, bool)], first: f64) -> Vec<Episode> {
    const BIN: f64 = 10.0;
    let mut bins: std::collections::BTreeMap<u64, (u32, u32)> = std::collections::BTreeMap::new();
    for (at, _, ok) in calls {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not before the first call")]
        let bin = bins.entry(((at - first) / BIN) as u64).or_default();
        bin.0 += 1;
        bin.1 += u32::from(!ok);
    }
    let mut all: Vec<(u64, u64, u32, u32)> = Vec::new();
    for (index, (calls, failed)) in bins.into_iter().filter(|(_, (calls, failed))| failed * 2 >= *calls) {
        match all.last_mut() {
            Some(last) if last.1 == index => {
                (last.1, last.2, last.3) = (index + 1, last.2 + calls, last.3 + failed);
            }
            _ => all.push((index, index + 1, calls, failed)),
        }
    }
    // An interval with fewer than five failures is ascribed to chance.
    let real = all.into_iter().filter(|(_, _, _, failed)| *failed >= 5);
    real.map(|(from, to, calls, failed)| Episode {
        at: Duration::from_secs(from * 10),
        lasts: Duration::from_secs((to - from) * 10),
        failures: f64::from(failed) / f64::from(calls),
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    /// Ten calls per second for five minutes, with an outage in the third minute.
    fn log() -> String {
        let mut text = String::from("seconds,latency_ms,ok\n");
        for index in 0..3000_u32 {
            let seconds = f64::from(index) / 10.0;
            let ok = !(120.0..180.0).contains(&seconds) && index % 20 != 0;
            let latency = if index % 100 == 7 { 900 } else { 50 };
            writeln!(text, "{seconds},{latency},{}", u8::from(ok)).unwrap();
        }
        text
    }

    #[test]
    fn a_log_of_calls_gives_rate_percentiles_and_episodes() {
        let profile = Profile::from_csv(&log()).unwrap();
        assert!((profile.rate - 10.0).abs() < 0.1, "{}", profile.rate);
        assert_eq!(profile.p50, Duration::from_millis(50));
        assert_eq!(profile.p99, Duration::from_millis(900));
        assert!((profile.failures - 0.05).abs() < 0.005, "{}", profile.failures);
        let [episode] = profile.episodes.as_slice() else { panic!("{:?}", profile.episodes) };
        assert_eq!((episode.at.as_secs(), episode.lasts.as_secs()), (120, 60));
        assert!(episode.failures > 0.99);
    }

    #[test]
    fn a_wrong_line_is_named() {
        let text = log().replace("0.5,50,1", "0.5,fast,1");
        assert!(Profile::from_csv(&text).unwrap_err().contains("line 7"), "{:?}", Profile::from_csv(&text));
        assert!(Profile::from_csv("1,2,1").unwrap_err().contains("too few"));
    }
}
