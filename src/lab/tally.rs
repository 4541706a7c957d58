//! Counters and timings of one run.
//!
//! Each journey is timed from its scheduled start, and every journey that started is waited for, so that a slow system
//! cannot hide its slowness ("coordinated omission").

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::metrics::Series;
use breakerbox_resilience::breaker::{Reason, State};

/// Longest response time that is resolved, in microseconds.
const LONGEST_MICROS: u64 = 3_600_000_000;
/// Bins of a time line.
const BINS: u32 = 120;
/// Maximum number of transitions kept per run.
const MOST_TRANSITIONS: usize = 2_000;
/// How long a recovery must last to count.
const STABLE: Duration = Duration::from_secs(10);
/// A system has recovered when its success ratio reaches this share of the one before the fault.
const RECOVERED: f64 = 0.95;

/// Outcome of a journey for its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum End {
    Ok,
    Degraded,
    Error,
}

/// A transition of a breaker in a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Moved {
    /// Seconds since the run began.
    pub(crate) at: f64,
    pub(crate) breaker: String,
    pub(crate) from: State,
    pub(crate) to: State,
    pub(crate) reason: Reason,
    pub(crate) calls: u64,
    pub(crate) failures: u64,
}

/// Predictions within one tenth of the probability range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Bin {
    pub(crate) retries: u64,
    pub(crate) predicted: f64,
    pub(crate) succeeded: f64,
}

/// Response times of about one second of the run, in logarithmic buckets: accurate to a fifth.
#[derive(Clone, Debug)]
struct Slice {
    ends: [u32; 3],
    requests: u32,
    times: [u32; Self::BUCKETS],
}

impl Slice {
    const BUCKETS: usize = 72;
    /// Buckets per doubling, from a millisecond on.
    const STEPS: f64 = 4.0;

    fn new() -> Self {
        Self { ends: [0; 3], requests: 0, times: [0; Self::BUCKETS] }
    }

    fn journeys(&self) -> u32 {
        self.ends.iter().sum()
    }

    fn record(&mut self, end: End, took: Duration) {
        self.ends[end as usize] += 1;
        let steps = (took.as_secs_f64() * 1000.0).max(1.0).log2() * Self::STEPS;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at least 0, and bounded")]
        let bucket = (steps.round() as usize).min(Self::BUCKETS - 1);
        self.times[bucket] += 1;
    }

    fn p99(&self) -> f64 {
        let rank = f64::from(self.journeys()) * 0.99;
        let mut seen = 0.0;
        for (bucket, count) in self.times.iter().enumerate() {
            seen += f64::from(*count);
            if *count > 0 && seen >= rank {
                return 2_f64.powf(bucket as f64 / Self::STEPS) / 1000.0;
            }
        }
        f64::NAN
    }
}

/// One phase of a run: before, during or after the faults, or all of it.
struct Phase {
    times: Histogram<u64>,
    ends: [u64; 3],
    seconds: f64,
    requests: u64,
}

impl Phase {
    fn new() -> Self {
        let times = Histogram::new_with_bounds(1, LONGEST_MICROS, 2).expect("bounds and digits are valid");
        Self { times, ends: [0; 3], seconds: 0.0, requests: 0 }
    }

    fn record(&mut self, end: End, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).clamp(1, LONGEST_MICROS);
        self.times.saturating_record(micros);
        self.ends[end as usize] += 1;
        self.seconds += took.as_secs_f64();
    }

    fn journeys(&self) -> u64 {
        self.ends.iter().sum()
    }

    fn share(&self, ends: &[End]) -> f64 {
        let counted: u64 = ends.iter().map(|end| self.ends[*end as usize]).sum();
        ratio(counted, self.journeys())
    }

    fn quantile(&self, share: f64) -> f64 {
        if self.journeys() == 0 { f64::NAN } else { self.times.value_at_quantile(share) as f64 / 1e6 }
    }
}

/// Counters of a run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) requests: u64,
    pub(crate) wasted: u64,
    pub(crate) blocked: u64,
    pub(crate) turned_away: u64,
    pub(crate) retries: u64,
    pub(crate) hedges: u64,
    pub(crate) duplicates: u64,
    /// Requests that were assigned a worker, and their total waiting time.
    pub(crate) waits: u64,
    pub(crate) waited: f64,
    /// Worker-seconds used, and available.
    pub(crate) busy: f64,
    pub(crate) workers: f64,
}

/// Counters while a run is in progress.
pub(crate) struct Tally {
    length: Duration,
    incident: Option<(Duration, Duration)>,
    bin: Duration,
    slices: Vec<Slice>,
    whole: Phase,
    phases: [Phase; 3],
    pub(crate) counts: Counts,
    transitions: Vec<Moved>,
    opens: u64,
    pub(crate) order_won: f64,
    /// Revenue measured by the site itself: kept, at risk, lost.
    pub(crate) revenue: Option<[f64; 3]>,
    pub(crate) calibration: Option<(Vec<Bin>, f64)>,
}

/// The result of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct RunResult {
    pub(crate) metrics: BTreeMap<&'static str, f64>,
    /// Width of a bin of the time series, in seconds.
    pub(crate) bin_seconds: f64,
    pub(crate) series: BTreeMap<&'static str, Vec<f64>>,
    pub(crate) transitions: Vec<Moved>,
    pub(crate) calibration: Vec<Bin>,
}

impl Tally {
    pub(crate) fn new(length: Duration, incident: Option<(Duration, Duration)>) -> Self {
        let bin = (length / BINS).max(Duration::from_secs(1));
        let bins = length.as_nanos().div_ceil(bin.as_nanos());
        let bins = usize::try_from(bins).unwrap_or(usize::MAX).max(1);
        Self {
            length,
            incident,
            bin,
            slices: vec![Slice::new(); bins],
            whole: Phase::new(),
            phases: [Phase::new(), Phase::new(), Phase::new()],
            counts: Counts::default(),
            transitions: Vec::new(),
            opens: 0,
            order_won: 0.0,
            revenue: None,
            calibration: None,
        }
    }

    fn phase(&self, at: Duration) -> Option<usize> {
        let (begin, end) = self.incident?;
        Some(if at < begin {
            0
        } else if at < end {
            1
        } else {
            2
        })
    }

    fn slice(&mut self, at: Duration) -> Option<&mut Slice> {
        let index = usize::try_from(at.as_nanos() / self.bin.as_nanos()).ok()?;
        self.slices.get_mut(index)
    }

    /// Records the end of a journey that was scheduled at `at`.
    pub(crate) fn journey(&mut self, at: Duration, end: End, took: Duration) {
        self.whole.record(end, took);
        if let Some(phase) = self.phase(at) {
            self.phases[phase].record(end, took);
        }
        if let Some(slice) = self.slice(at) {
            slice.record(end, took);
        }
    }

    /// Records a request to a dependency.
    pub(crate) fn request(&mut self, at: Duration) {
        self.counts.requests += 1;
        if let Some(phase) = self.phase(at) {
            self.phases[phase].requests += 1;
        }
        if let Some(slice) = self.slice(at) {
            slice.requests += 1;
        }
    }

    pub(crate) fn moved(&mut self, moved: Moved) {
        if moved.to == State::Open {
            self.opens += 1;
        }
        if self.transitions.len() < MOST_TRANSITIONS {
            self.transitions.push(moved);
        }
    }

    pub(crate) fn finish(self) -> RunResult {
        let series = [
            ("served", Series::Served),
            ("success", Series::Success),
            ("requests", Series::Requests),
            ("p99", Series::P99),
            ("goodput", Series::Goodput),
        ];
        RunResult {
            metrics: self.metrics(),
            bin_seconds: self.bin.as_secs_f64(),
            series: series.map(|(key, series)| (key, self.points(series))).into(),
            transitions: self.transitions,
            calibration: self.calibration.map(|(bins, _)| bins).unwrap_or_default(),
        }
    }

    fn points(&self, series: Series) -> Vec<f64> {
        let seconds = self.bin.as_secs_f64();
        let point = |slice: &Slice| {
            let all = f64::from(slice.journeys());
            let served = f64::from(slice.ends[0] + slice.ends[1]);
            match series {
                Series::Requests => f64::from(slice.requests) / seconds,
                Series::Goodput => served / seconds,
                _ if all == 0.0 => f64::NAN,
                Series::Served => served / all,
                Series::Success => f64::from(slice.ends[0]) / all,
                Series::P99 => slice.p99(),
            }
        };
        self.slices.iter().map(point).collect()
    }

    fn metrics(&self) -> BTreeMap<&'static str, f64> {
        let (whole, counts) = (&self.whole, &self.counts);
        let journeys = whole.journeys();
        let per_journey = |count: u64| ratio(count, journeys);
        let mut all = BTreeMap::from([
            ("success", whole.share(&[End::Ok])),
            ("served", whole.share(&[End::Ok, End::Degraded])),
            ("degraded", whole.share(&[End::Degraded])),
            ("error", whole.share(&[End::Error])),
            ("mean", if journeys == 0 { f64::NAN } else { whole.seconds / journeys as f64 }),
            ("p50", whole.quantile(0.5)),
            ("p95", whole.quantile(0.95)),
            ("p99", whole.quantile(0.99)),
            ("load", per_journey(counts.requests)),
            ("wasted", ratio(counts.wasted, counts.requests)),
            ("wasted-requests", counts.wasted as f64),
            ("blocked", counts.blocked as f64),
            ("turned-away", counts.turned_away as f64),
            ("retries", per_journey(counts.retries)),
            ("hedges", per_journey(counts.hedges)),
            ("opens", self.opens as f64),
            ("duplicates", per_journey(counts.duplicates) * 1000.0),
            ("queue-wait", if counts.waits == 0 { f64::NAN } else { counts.waited / counts.waits as f64 }),
            ("utilization", if counts.workers > 0.0 { counts.busy / counts.workers } else { f64::NAN }),
            ("brier", self.calibration.as_ref().map_or(f64::NAN, |(_, brier)| *brier)),
            ("journeys", journeys as f64),
        ]);
        let won = |end: End| self.order_won * whole.ends[end as usize] as f64;
        let [kept, at_risk, lost] = self.revenue.unwrap_or([won(End::Ok), won(End::Degraded), won(End::Error)]);
        // Without orders there is no figure for revenue, rather than zero.
        if self.revenue.is_some() || self.order_won > 0.0 {
            all.extend([("kept", kept), ("at-risk", at_risk), ("lost", lost)]);
        }
        if let Some((begin, end)) = self.incident {
            self.incident_metrics(&mut all, begin, end);
        }
        all
    }

    fn incident_metrics(&self, all: &mut BTreeMap<&'static str, f64>, begin: Duration, end: Duration) {
        let [before, during, after] = &self.phases;
        let served = [End::Ok, End::Degraded];
        all.extend([
            ("before-served", before.share(&served)),
            ("during-served", during.share(&served)),
            ("after-served", after.share(&served)),
            ("during-success", during.share(&[End::Ok])),
            ("after-success", after.share(&[End::Ok])),
            ("before-p50", before.quantile(0.5)),
            ("during-p50", during.quantile(0.5)),
            ("before-p99", before.quantile(0.99)),
            ("during-p99", during.quantile(0.99)),
            ("after-p99", after.quantile(0.99)),
            ("during-load", ratio(during.requests, during.journeys())),
            ("detect", self.detected(begin)),
            ("recover", self.recovered(begin, end)),
            ("blocked-after", self.blocked_after(end)),
        ]);
    }

    /// Seconds from the fault to the first opening.
    fn detected(&self, begin: Duration) -> f64 {
        let begin = begin.as_secs_f64();
        let opened = self.transitions.iter().find(|moved| moved.to == State::Open && moved.at >= begin);
        opened.map_or(f64::NAN, |moved| moved.at - begin)
    }

    /// Seconds from the end of the fault until complete answers are permanently as frequent as before; the rest of the
    /// run if that never happens.
    fn recovered(&self, begin: Duration, end: Duration) -> f64 {
        let usual = self.phases[0].share(&[End::Ok]);
        // If hardly any journey succeeded before, recovery is undefined.
        if usual.is_nan() || usual < 0.5 || begin.is_zero() {
            return f64::NAN;
        }
        let seconds = self.bin.as_secs_f64();
        let needed = (STABLE.as_secs_f64() / seconds).ceil().max(1.0);
        let first = self.slices.len().min((end.as_nanos() / self.bin.as_nanos()).try_into().unwrap_or(usize::MAX));
        let mut good = 0.0;
        for (index, slice) in self.slices.iter().enumerate().skip(first) {
            let journeys = f64::from(slice.journeys());
            // Without journeys the bin is neither good nor bad.
            if journeys == 0.0 {
                continue;
            }
            // The share varies by chance when there are few journeys: two standard errors are allowed.
            let slack = 2.0 * (usual * (1.0 - usual) / journeys).sqrt();
            if f64::from(slice.ends[0]) / journeys >= RECOVERED * usual - slack {
                good += 1.0;
                if good >= needed {
                    let at = (index as f64 + 1.0 - good) * seconds - end.as_secs_f64();
                    return at.max(0.0);
                }
            } else {
                good = 0.0;
            }
        }
        self.length.saturating_sub(end).as_secs_f64()
    }

    /// Seconds after the fault during which the first breaker to open was not closed.
    fn blocked_after(&self, end: Duration) -> f64 {
        let (end, length) = (end.as_secs_f64(), self.length.as_secs_f64());
        let Some(name) = self.transitions.iter().find(|moved| moved.to == State::Open).map(|moved| &moved.breaker)
        else {
            return 0.0;
        };
        let own = self.transitions.iter().filter(|moved| moved.breaker == *name);
        let (mut since, mut total): (Option<f64>, f64) = (None, 0.0);
        let overlap = |from: f64, to: f64| (to - from.max(end)).max(0.0);
        for moved in own {
            match (moved.to, since) {
                (State::Closed, Some(from)) => {
                    total += overlap(from, moved.at);
                    since = None;
                }
                (State::Closed, None) | (_, Some(_)) => {}
                (_, None) => since = Some(moved.at),
            }
        }
        total + since.map_or(0.0, |from| overlap(from, length))
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { f64::NAN } else { part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn phases_divide_journeys_by_their_intended_start() {
        let mut tally = Tally::new(seconds(100), Some((seconds(40), seconds(60))));
        for second in 0..100 {
            let end = if (40..60).contains(&second) { End::Error } else { End::Ok };
            tally.journey(seconds(second), end, Duration::from_millis(100));
        }
        let result = tally.finish();
        let metric = |key: &str| result.metrics[key];
        assert!((metric("served") - 0.8).abs() < 1e-9);
        assert!((metric("during-served")).abs() < 1e-9);
        assert!((metric("before-served") - 1.0).abs() < 1e-9);
        assert!(metric("recover").abs() < 1e-9, "{}", metric("recover"));
        assert!((metric("p99") / 0.1 - 1.0).abs() < 0.01);
    }

    #[test]
    fn a_recovery_is_timed_from_the_end_of_the_fault() {
        let mut tally = Tally::new(seconds(100), Some((seconds(40), seconds(60))));
        for second in 0..100 {
            let end = if (40..75).contains(&second) { End::Error } else { End::Ok };
            tally.journey(seconds(second), end, Duration::from_millis(100));
        }
        assert!((tally.finish().metrics["recover"] - 15.0).abs() < 1e-9);
        let mut never = Tally::new(seconds(100), Some((seconds(40), seconds(60))));
        for second in 0..100 {
            never.journey(seconds(second), if second < 40 { End::Ok } else { End::Error }, seconds(1));
        }
        assert!((never.finish().metrics["recover"] - 40.0).abs() < 1e-9);
    }

    #[test]
    fn blocked_time_counts_from_the_end_of_the_fault() {
        let mut tally = Tally::new(seconds(100), Some((seconds(10), seconds(20))));
        let mut moved = |at: f64, from, to| {
            tally.moved(Moved {
                at,
                breaker: "api".to_owned(),
                from,
                to,
                reason: Reason::FailureRate,
                calls: 1,
                failures: 1,
            });
        };
        moved(12.0, State::Closed, State::Open);
        moved(42.0, State::Open, State::HalfOpen);
        moved(43.0, State::HalfOpen, State::Closed);
        moved(90.0, State::Closed, State::Open);
        let result = tally.finish();
        assert!((result.metrics["blocked-after"] - 33.0).abs() < 1e-9);
        assert!((result.metrics["detect"] - 2.0).abs() < 1e-9);
        assert!((result.metrics["opens"] - 2.0).abs() < 1e-9);
    }
}
