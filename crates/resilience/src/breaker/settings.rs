//! Settings of a breaker, with Resilience4j's names where they exist.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::State;
use crate::settings::{SettingsError, duration, ensure, percentage, threshold, within};

/// Largest number of probes of one half-open state: their counts share one word with the state.
pub(super) const MOST_PROBES: u32 = 100;
/// Largest count-based window: its counts share one word with the window's epoch.
pub(super) const LARGEST_COUNT: u32 = 100_000;
/// Default minimum of calls, which a smaller window lowers.
const DEFAULT_MINIMUM: u32 = 100;
/// Largest time-based window, in seconds.
pub(super) const LONGEST_TIME: u32 = 3_600;

/// Unit of the sliding window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WindowType {
    /// The last N calls.
    CountBased,
    /// The calls of the last N seconds.
    TimeBased,
}

/// The initial state of a breaker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InitialState {
    /// Calls pass and their outcomes are recorded.
    #[default]
    Closed,
    /// Calls are rejected for the first open wait: the dependency has to prove that it works.
    Open,
    /// Rejects all calls until another command.
    ForcedOpen,
    /// Lets all calls pass and records nothing.
    Disabled,
    /// Lets all calls pass, records them, and never trips.
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

/// The transition of a half-open state that has reached its time limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AfterMaxWait {
    /// By its finished probes: closed if enough of the admitted ones succeeded, else open.
    #[default]
    Judged,
    /// Always open.
    Open,
    /// Always closed.
    Closed,
}

/// Settings of a breaker: when it trips, how long it stays open, and what it requires to close again.
///
/// Percentages are 0–100. Names and default values are Resilience4j's, except for the slow-call threshold
/// (off) and the time limit of half-open (a minute). `docs/coming-from.md` lists the cases in which the two
/// decide differently with the same settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct BreakerSettings {
    /// Trips when this percentage of the calls in the window failed. `None`: no failure-rate threshold.
    #[serde(with = "threshold")]
    pub failure_rate_threshold: Option<f64>,
    /// Trips after this number of consecutive failures, independent of the window.
    #[serde(with = "threshold")]
    pub consecutive_failure_threshold: Option<u32>,
    /// Trips when this percentage of the calls in the window was slow. `None`: no slow-call threshold.
    #[serde(with = "threshold")]
    pub slow_call_rate_threshold: Option<f64>,
    /// Duration from which a call is slow.
    #[serde(with = "humantime_serde")]
    pub slow_call_duration_threshold: Duration,
    /// Whether the window is count-based or time-based.
    pub sliding_window_type: WindowType,
    /// Size of the window, in calls or in seconds.
    pub sliding_window_size: u32,
    /// Length of a time-based window, in place of `sliding-window-size`: 10 ms to 1 h.
    #[serde(with = "humantime_serde", skip_serializing_if = "Option::is_none")]
    pub sliding_window_duration: Option<Duration>,
    /// Minimum number of calls before rates are evaluated. The default, 100, is lowered to the size of a smaller
    /// count-based window; any other value must not exceed that size.
    pub minimum_number_of_calls: u32,
    /// Duration of the first open state.
    #[serde(with = "humantime_serde")]
    pub wait_duration_in_open_state: Duration,
    /// Factor by which each further trip without a recovery lasts longer (1 = constant).
    pub open_wait_multiplier: f64,
    /// Maximum of the growing wait, before jitter.
    #[serde(with = "humantime_serde")]
    pub max_wait_duration_in_open_state: Duration,
    /// Lengthens each wait by a random share between 0 and this (0–1), so that many callers do not probe at
    /// the same instant. It never shortens a wait.
    pub open_wait_jitter: f64,
    /// Number of probes that half-open, and each stage of a recovery, admits.
    pub permitted_number_of_calls_in_half_open_state: u32,
    /// Percentage of the permitted probes that must succeed to close.
    pub half_open_success_rate_threshold: f64,
    /// Time limit of half-open, after which its finished probes decide.
    #[serde(with = "humantime_serde")]
    pub max_wait_duration_in_half_open_state: Duration,
    /// The transition of half-open at its time limit.
    pub state_after_max_wait_in_half_open: AfterMaxWait,
    /// Whether an open wait also ends at the next [`tick`](super::Breaker::tick) without a call. Otherwise the
    /// next call ends it.
    pub automatic_transition_from_open_to_half_open_enabled: bool,
    /// The initial state.
    pub initial_state: InitialState,
    /// Percentages of the traffic to admit between the probes and closing, stage by stage, growing. Empty:
    /// close at once. A stage reopens the breaker by the same rules as the probes, over all its calls.
    pub recovery_stages: Vec<f64>,
    /// Minimum duration of a stage. It also needs the permitted number of calls.
    #[serde(with = "humantime_serde")]
    pub recovery_stage_duration: Duration,
    /// Whether a call cancelled after the slow-call threshold counts as slow.
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
    /// Validates the settings.
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
            &format!("at most {}, the sliding-window-size: no rate would ever be evaluated", self.sliding_window_size),
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

    /// Length of a time-based window.
    pub(super) fn window_span(&self) -> Duration {
        self.sliding_window_duration.unwrap_or(Duration::from_secs(self.sliding_window_size.into()))
    }

    /// Minimum number of calls before rates are evaluated. A count-based window never holds more than its
    /// size, so a larger minimum would mean a breaker that cannot trip (Resilience4j clamps it the same way).
    pub(super) fn effective_minimum(&self) -> u32 {
        match self.sliding_window_type {
            WindowType::CountBased => self.minimum_number_of_calls.min(self.sliding_window_size),
            WindowType::TimeBased => self.minimum_number_of_calls,
        }
    }

    /// The wait of the `trips`-th open state without a recovery in between; `luck` is a random number
    /// 0 ≤ x < 1.
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
