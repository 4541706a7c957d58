//! A breaker's settings, in Resilience4j's words where it has them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::State;
use crate::settings::{SettingsError, duration, ensure, percentage, threshold, within};

/// Most probes of one half-open state: their counts share one word with the state.
pub(super) const MOST_PROBES: u32 = 100;
/// Largest count window: its counts share one word with the window's epoch.
pub(super) const LARGEST_COUNT: u32 = 100_000;
/// The minimum of calls that was not written, and gives way to a smaller window.
const DEFAULT_MINIMUM: u32 = 100;
/// Largest time window, in seconds.
pub(super) const LONGEST_TIME: u32 = 3_600;

/// What the sliding window holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WindowType {
    /// The last N calls.
    CountBased,
    /// The calls of the last N seconds.
    TimeBased,
}

/// The state that a breaker begins in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InitialState {
    /// Calls pass and are judged.
    #[default]
    Closed,
    /// Calls are rejected for the first open wait: the dependency has to prove itself.
    Open,
    /// Rejects everything until commanded otherwise.
    ForcedOpen,
    /// Lets everything pass and records nothing.
    Disabled,
    /// Lets everything pass, records, and never trips.
    MetricsOnly,
}

impl InitialState {
    pub(super) fn state(self) -> State {
        match self {
            Self::Closed => State::Closed,
            Self::Open => State::Open,
            Self::ForcedOpen => State::ForcedOpen,
            Self::Disabled => State::Disabled,
            Self::MetricsOnly => State::MetricsOnly,
        }
    }
}

/// What follows a half-open state that has lasted its maximum wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AfterMaxWait {
    /// What its finished probes say: closed if enough of the admitted ones succeeded, else open.
    #[default]
    Judged,
    /// Open, whatever they say.
    Open,
    /// Closed, whatever they say.
    Closed,
}

/// When a breaker trips, how long it stays open, and what it asks of the dependency to close again.
///
/// Percentages are 0–100. Names are Resilience4j's, and so are the numbers of the defaults, but for slow
/// calls (off) and the longest half-open state (a minute). Where the two decide differently at the same
/// numbers, `docs/coming-from.md` says so, row by row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct BreakerSettings {
    /// Trips when this percentage of the window's calls failed. `None`: failures never trip it by rate.
    #[serde(with = "threshold")]
    pub failure_rate_threshold: Option<f64>,
    /// Trips on this many failures in a row, however few calls the window has.
    #[serde(with = "threshold")]
    pub consecutive_failure_threshold: Option<u32>,
    /// Trips when this percentage of the window's calls was slow. `None`: slowness never trips it.
    #[serde(with = "threshold")]
    pub slow_call_rate_threshold: Option<f64>,
    /// A call that takes at least this long is slow.
    #[serde(with = "humantime_serde")]
    pub slow_call_duration_threshold: Duration,
    /// Whether the window slides over calls or over time.
    pub sliding_window_type: WindowType,
    /// The window's size, in calls or in seconds.
    pub sliding_window_size: u32,
    /// The size of a window over time, in place of `sliding-window-size`: 10 ms to 1 h.
    #[serde(with = "humantime_serde", skip_serializing_if = "Option::is_none")]
    pub sliding_window_duration: Option<Duration>,
    /// Rates are judged from this many calls on. The default, 100, means the size of a count window
    /// that is smaller; any other number has to fit into it.
    pub minimum_number_of_calls: u32,
    /// How long the first open state lasts.
    #[serde(with = "humantime_serde")]
    pub wait_duration_in_open_state: Duration,
    /// Each further trip without a recovery in between lasts this many times longer (1 = no longer).
    pub open_wait_multiplier: f64,
    /// The wait stops growing here; jitter comes on top.
    #[serde(with = "humantime_serde")]
    pub max_wait_duration_in_open_state: Duration,
    /// Lengthens each wait by a random share between 0 and this (0–1), so that many callers do not
    /// probe in the same instant. It never shortens a wait.
    pub open_wait_jitter: f64,
    /// Probes that half-open, and each stage of a recovery, admits in all.
    pub permitted_number_of_calls_in_half_open_state: u32,
    /// Percentage of the permitted probes that must succeed to close.
    pub half_open_success_rate_threshold: f64,
    /// Half-open is judged by what it has after this long.
    #[serde(with = "humantime_serde")]
    pub max_wait_duration_in_half_open_state: Duration,
    /// What follows when half-open has lasted its maximum wait.
    pub state_after_max_wait_in_half_open: AfterMaxWait,
    /// Whether an open wait that is over ends at the next [`tick`](super::Breaker::tick), also when
    /// nobody calls. Otherwise the next call ends it.
    pub automatic_transition_from_open_to_half_open_enabled: bool,
    /// The state that the breaker begins in.
    pub initial_state: InitialState,
    /// Percentages of the traffic to admit, stage by stage and growing, between the probes and
    /// closing. Empty: close at once. A stage reopens the breaker by the probes' rules, out of all
    /// its calls.
    pub recovery_stages: Vec<f64>,
    /// How long a stage lasts at least. It also has to see the permitted number of calls.
    #[serde(with = "humantime_serde")]
    pub recovery_stage_duration: Duration,
    /// Whether a call that was cancelled after the slow threshold counts as slow.
    pub cancelled_slow_calls_count: bool,
    /// Whether a call that panicked counts as a failure.
    pub panics_count: bool,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self {
            failure_rate_threshold: Some(50.0),
            consecutive_failure_threshold: None,
            slow_call_rate_threshold: None,
            slow_call_duration_threshold: Duration::from_mins(1),
            sliding_window_type: WindowType::CountBased,
            sliding_window_size: 100,
            sliding_window_duration: None,
            minimum_number_of_calls: DEFAULT_MINIMUM,
            wait_duration_in_open_state: Duration::from_mins(1),
            open_wait_multiplier: 1.0,
            max_wait_duration_in_open_state: Duration::from_hours(1),
            open_wait_jitter: 0.0,
            permitted_number_of_calls_in_half_open_state: 10,
            half_open_success_rate_threshold: 50.0,
            max_wait_duration_in_half_open_state: Duration::from_mins(1),
            state_after_max_wait_in_half_open: AfterMaxWait::default(),
            automatic_transition_from_open_to_half_open_enabled: false,
            initial_state: InitialState::default(),
            recovery_stages: Vec::new(),
            recovery_stage_duration: Duration::from_secs(10),
            cancelled_slow_calls_count: true,
            panics_count: true,
        }
    }
}

impl BreakerSettings {
    /// Whether a breaker can be built from these.
    pub fn validate(&self) -> Result<(), SettingsError> {
        if let Some(rate) = self.failure_rate_threshold {
            percentage("failure-rate-threshold", rate)?;
        }
        if let Some(rate) = self.slow_call_rate_threshold {
            percentage("slow-call-rate-threshold", rate)?;
        }
        if let Some(count) = self.consecutive_failure_threshold {
            within("consecutive-failure-threshold", count, 1..=LARGEST_COUNT, "1–100000")?;
        }
        ensure(
            self.failure_rate_threshold.is_some()
                || self.slow_call_rate_threshold.is_some()
                || self.consecutive_failure_threshold.is_some(),
            "failure-rate-threshold",
            "false",
            "given when neither slow-call-rate-threshold nor consecutive-failure-threshold is: nothing would ever trip",
        )?;
        self.validate_window()?;
        self.validate_waits()?;
        within(
            "permitted-number-of-calls-in-half-open-state",
            self.permitted_number_of_calls_in_half_open_state,
            1..=MOST_PROBES,
            "1–100",
        )?;
        percentage("half-open-success-rate-threshold", self.half_open_success_rate_threshold)?;
        self.validate_stages()
    }

    fn validate_stages(&self) -> Result<(), SettingsError> {
        for stage in &self.recovery_stages {
            percentage("recovery-stages", *stage)?;
        }
        ensure(
            self.recovery_stages.len() <= 20,
            "recovery-stages",
            format_args!("{} stages", self.recovery_stages.len()),
            "at most 20 stages",
        )?;
        ensure(
            self.recovery_stages.windows(2).all(|pair| pair[0] < pair[1]),
            "recovery-stages",
            format_args!("{:?}", self.recovery_stages),
            "growing: each stage admits more than the one before",
        )?;
        duration("recovery-stage-duration", self.recovery_stage_duration, Duration::from_millis(1))
    }

    fn validate_window(&self) -> Result<(), SettingsError> {
        let (largest, allowed) = match self.sliding_window_type {
            WindowType::CountBased => (LARGEST_COUNT, "1–100000 calls"),
            WindowType::TimeBased => (LONGEST_TIME, "1–3600 seconds"),
        };
        within("sliding-window-size", self.sliding_window_size, 1..=largest, allowed)?;
        within("minimum-number-of-calls", self.minimum_number_of_calls, 1..=1_000_000, "1–1000000")?;
        let (minimum, counts) = (self.minimum_number_of_calls, self.sliding_window_type == WindowType::CountBased);
        ensure(
            !counts || minimum == DEFAULT_MINIMUM || minimum <= self.sliding_window_size,
            "minimum-number-of-calls",
            minimum,
            &format!("at most {}, the sliding-window-size: no rate would ever be judged", self.sliding_window_size),
        )?;
        if let Some(span) = self.sliding_window_duration {
            let value = humantime::format_duration(span);
            ensure(!counts, "sliding-window-duration", value, "left out unless sliding-window-type is time-based")?;
            let range = Duration::from_millis(10)..=Duration::from_secs(LONGEST_TIME.into());
            let value = humantime::format_duration(span);
            ensure(range.contains(&span), "sliding-window-duration", value, "between 10ms and 1h")?;
        }
        Ok(())
    }

    fn validate_waits(&self) -> Result<(), SettingsError> {
        let tick = Duration::from_millis(1);
        duration("slow-call-duration-threshold", self.slow_call_duration_threshold, tick)?;
        duration("wait-duration-in-open-state", self.wait_duration_in_open_state, tick)?;
        within("open-wait-multiplier", self.open_wait_multiplier, 1.0..=10.0, "1–10")?;
        // A wait longer than the default maximum is meant: only growing beyond it needs the maximum.
        if self.open_wait_multiplier > 1.0 {
            duration(
                "max-wait-duration-in-open-state",
                self.max_wait_duration_in_open_state,
                self.wait_duration_in_open_state,
            )?;
        }
        within("open-wait-jitter", self.open_wait_jitter, 0.0..=1.0, "0–1")?;
        duration("max-wait-duration-in-half-open-state", self.max_wait_duration_in_half_open_state, tick)
    }

    /// The span of a window over time.
    pub(super) fn window_span(&self) -> Duration {
        self.sliding_window_duration.unwrap_or(Duration::from_secs(self.sliding_window_size.into()))
    }

    /// Calls from which on rates are judged. A count window never holds more than its size, so a
    /// larger minimum would mean a breaker that cannot trip (Resilience4j clamps it the same way).
    pub(super) fn effective_minimum(&self) -> u32 {
        match self.sliding_window_type {
            WindowType::CountBased => self.minimum_number_of_calls.min(self.sliding_window_size),
            WindowType::TimeBased => self.minimum_number_of_calls,
        }
    }

    /// The wait before the `trips`-th open state without a recovery in between may be probed;
    /// `luck` is a random number 0 ≤ x < 1.
    pub(super) fn open_wait(&self, trips: u32, luck: f64) -> Duration {
        let base = self.wait_duration_in_open_state;
        let growth = self.open_wait_multiplier.powi(i32::try_from(trips.saturating_sub(1)).unwrap_or(i32::MAX));
        let most = self.max_wait_duration_in_open_state.max(base);
        let wait = (base.as_secs_f64() * growth).min(most.as_secs_f64());
        // Never below the base: rounding in the float must not let a probe through early.
        Duration::from_secs_f64(wait * (1.0 + self.open_wait_jitter * luck)).max(base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        BreakerSettings::default().validate().unwrap();
    }

    #[test]
    fn an_error_names_the_field_the_value_and_the_range() {
        let settings = BreakerSettings { failure_rate_threshold: Some(120.0), ..BreakerSettings::default() };
        assert_eq!(
            settings.validate().unwrap_err().to_string(),
            "failure-rate-threshold = 120: must be a percentage above 0, up to 100"
        );
    }

    #[test]
    fn a_rate_that_is_not_a_number_is_refused() {
        let settings = BreakerSettings { slow_call_rate_threshold: Some(f64::NAN), ..BreakerSettings::default() };
        assert_eq!(settings.validate().unwrap_err().field, "slow-call-rate-threshold");
    }

    #[test]
    fn settings_read_in_resilience4j_words_and_refuse_unknown_ones() {
        let read: BreakerSettings = toml::from_str(
            "failure-rate-threshold = 50\nwait-duration-in-open-state = \"30s\"\nsliding-window-size = 10",
        )
        .unwrap();
        assert_eq!(read.wait_duration_in_open_state, Duration::from_secs(30));
        assert_eq!(read.effective_minimum(), 10);
        assert!(toml::from_str::<BreakerSettings>("failure-rate = 50").is_err());
    }

    #[test]
    fn a_threshold_is_switched_off_by_false_or_null() {
        let read: BreakerSettings =
            toml::from_str("failure-rate-threshold = false\nconsecutive-failure-threshold = 3").unwrap();
        assert_eq!((read.failure_rate_threshold, read.consecutive_failure_threshold), (None, Some(3)));
        let null: BreakerSettings = serde_json::from_str(r#"{"slow-call-rate-threshold": null}"#).unwrap();
        assert_eq!(null.slow_call_rate_threshold, None);
        let error = toml::from_str::<BreakerSettings>("failure-rate-threshold = true").unwrap_err().to_string();
        assert!(error.contains("a number, or false to switch it off"), "{error}");
        assert!(toml::from_str::<BreakerSettings>("consecutive-failure-threshold = -1").is_err());
    }

    #[test]
    fn settings_that_contradict_each_other_are_refused() {
        let base = BreakerSettings::default;
        let refused = [
            (BreakerSettings { failure_rate_threshold: None, ..base() }, "failure-rate-threshold"),
            (
                BreakerSettings { sliding_window_size: 10, minimum_number_of_calls: 11, ..base() },
                "minimum-number-of-calls",
            ),
            (
                BreakerSettings { sliding_window_duration: Some(Duration::from_millis(500)), ..base() },
                "sliding-window-duration",
            ),
            (
                BreakerSettings {
                    sliding_window_type: WindowType::TimeBased,
                    sliding_window_duration: Some(Duration::from_millis(9)),
                    ..base()
                },
                "sliding-window-duration",
            ),
        ];
        for (settings, field) in refused {
            assert_eq!(settings.validate().unwrap_err().field, field);
        }
        // A minimum that was not set explicitly is lowered.
        BreakerSettings { sliding_window_size: 10, ..base() }.validate().unwrap();
    }

    #[test]
    fn waits_grow_to_the_maximum_and_jitter_only_lengthens() {
        let settings = BreakerSettings {
            wait_duration_in_open_state: Duration::from_secs(10),
            open_wait_multiplier: 2.0,
            max_wait_duration_in_open_state: Duration::from_secs(35),
            open_wait_jitter: 0.5,
            ..BreakerSettings::default()
        };
        let waits: Vec<u64> = (1..=4).map(|trip| settings.open_wait(trip, 0.0).as_secs()).collect();
        assert_eq!(waits, [10, 20, 35, 35]);
        assert_eq!(settings.open_wait(1, 0.5), Duration::from_millis(12_500));
    }
}
