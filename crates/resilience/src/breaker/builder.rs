//! Builder of a breaker.

use std::time::{Duration, Instant};

use super::{Breaker, BreakerSettings, WindowType};
use crate::{random, settings::SettingsError};

/// Builder of a [`Breaker`]. Starts from [`BreakerSettings::default`]: trips when half of the last hundred
/// calls failed. Settings are validated by [`build`](Self::build).
#[derive(Clone, Debug, Default)]
#[must_use = "a builder does nothing until it builds"]
pub struct BreakerBuilder {
    settings: BreakerSettings,
    seed: Option<u64>,
}

impl Breaker {
    /// Returns a builder with the default settings.
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    /// use breakerbox_resilience::breaker::Breaker;
    ///
    /// let breaker = Breaker::builder()
    ///     .failure_rate(25.0)
    ///     .time_window(Duration::from_secs(10))
    ///     .minimum_calls(20)
    ///     .open_for(Duration::from_secs(5))
    ///     .build(Instant::now())?;
    /// # Ok::<(), breakerbox_resilience::SettingsError>(())
    /// ```
    pub fn builder() -> BreakerBuilder {
        BreakerBuilder::default()
    }
}

impl BreakerBuilder {
    /// Uses these settings as a base; later calls change them.
    pub fn settings(mut self, settings: BreakerSettings) -> Self {
        self.settings = settings;
        self
    }

    /// Trips when this percentage (above 0, up to 100) of the calls in the window failed.
    pub fn failure_rate(mut self, percent: f64) -> Self {
        self.settings.failure_rate_threshold = Some(percent);
        self
    }

    /// Disables the failure-rate threshold. Another threshold must be set.
    pub fn no_failure_rate(mut self) -> Self {
        self.settings.failure_rate_threshold = None;
        self
    }

    /// Trips after this number of consecutive failures.
    pub fn consecutive_failures(mut self, failures: u32) -> Self {
        self.settings.consecutive_failure_threshold = Some(failures);
        self
    }

    /// Trips when this percentage of the calls in the window took at least `slow`.
    pub fn slow_calls(mut self, percent: f64, slow: Duration) -> Self {
        self.settings.slow_call_rate_threshold = Some(percent);
        self.settings.slow_call_duration_threshold = slow;
        self
    }

    /// Uses a count-based window of `calls` calls, 1–100 000. Lowers the minimum of calls unless that was set.
    pub fn count_window(mut self, calls: u32) -> Self {
        self.settings.sliding_window_type = WindowType::CountBased;
        self.settings.sliding_window_size = calls;
        self.settings.sliding_window_duration = None;
        self
    }

    /// Uses a time-based window of the length `span`, 10 ms to 1 h.
    pub fn time_window(mut self, span: Duration) -> Self {
        self.settings.sliding_window_type = WindowType::TimeBased;
        self.settings.sliding_window_duration = Some(span);
        self
    }

    /// Minimum number of calls in the window before rates are evaluated.
    pub fn minimum_calls(mut self, calls: u32) -> Self {
        self.settings.minimum_number_of_calls = calls;
        self
    }

    /// Duration of the first open state.
    pub fn open_for(mut self, wait: Duration) -> Self {
        self.settings.wait_duration_in_open_state = wait;
        self
    }

    /// Makes each further trip without a recovery last `multiplier` times longer, up to `longest`.
    pub fn open_backoff(mut self, multiplier: f64, longest: Duration) -> Self {
        self.settings.open_wait_multiplier = multiplier;
        self.settings.max_wait_duration_in_open_state = longest;
        self
    }

    /// Lengthens each open wait by a random share (0–1) of it, up to this.
    pub fn open_jitter(mut self, share: f64) -> Self {
        self.settings.open_wait_jitter = share;
        self
    }

    /// Half-open admits this number of probes, of which this percentage must succeed.
    pub fn probes(mut self, permitted: u32, success_rate: f64) -> Self {
        self.settings.permitted_number_of_calls_in_half_open_state = permitted;
        self.settings.half_open_success_rate_threshold = success_rate;
        self
    }

    /// Time limit of half-open, after which its finished probes decide.
    pub fn half_open_for(mut self, longest: Duration) -> Self {
        self.settings.max_wait_duration_in_half_open_state = longest;
        self
    }

    /// Stages after the probes: growing percentages of the traffic, each for this long.
    pub fn recovery(mut self, stages: impl Into<Vec<f64>>, each: Duration) -> Self {
        self.settings.recovery_stages = stages.into();
        self.settings.recovery_stage_duration = each;
        self
    }

    /// Seeds jitter and stages, for reproducible tests. By default they are seeded randomly.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Builds a breaker that starts `now`.
    pub fn build(self, now: Instant) -> Result<Breaker, SettingsError> {
        Breaker::new(self.settings, now, self.seed.unwrap_or_else(random::entropy))
    }
}

impl From<BreakerBuilder> for BreakerSettings {
    fn from(builder: BreakerBuilder) -> Self {
        builder.settings
    }
}

impl From<BreakerSettings> for BreakerBuilder {
    fn from(settings: BreakerSettings) -> Self {
        Self { settings, seed: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_what_the_settings_say() {
        let seconds = Duration::from_secs;
        let built: BreakerSettings = Breaker::builder()
            .failure_rate(25.0)
            .consecutive_failures(5)
            .slow_calls(80.0, seconds(2))
            .time_window(seconds(10))
            .minimum_calls(20)
            .open_for(seconds(5))
            .open_backoff(2.0, seconds(60))
            .open_jitter(0.1)
            .probes(3, 100.0)
            .half_open_for(seconds(30))
            .recovery([10.0, 50.0], seconds(1))
            .into();
        let written = BreakerSettings {
            failure_rate_threshold: Some(25.0),
            consecutive_failure_threshold: Some(5),
            slow_call_rate_threshold: Some(80.0),
            slow_call_duration_threshold: seconds(2),
            sliding_window_type: WindowType::TimeBased,
            sliding_window_duration: Some(seconds(10)),
            minimum_number_of_calls: 20,
            wait_duration_in_open_state: seconds(5),
            open_wait_multiplier: 2.0,
            max_wait_duration_in_open_state: seconds(60),
            open_wait_jitter: 0.1,
            permitted_number_of_calls_in_half_open_state: 3,
            half_open_success_rate_threshold: 100.0,
            max_wait_duration_in_half_open_state: seconds(30),
            recovery_stages: vec![10.0, 50.0],
            recovery_stage_duration: seconds(1),
            ..BreakerSettings::default()
        };
        assert_eq!(built, written);
        built.validate().unwrap();
    }

    #[test]
    fn a_contradiction_is_refused_by_name() {
        let refused = Breaker::builder().no_failure_rate().build(Instant::now()).unwrap_err();
        assert_eq!(refused.field, "failure-rate-threshold");
        let refused = Breaker::builder().count_window(10).minimum_calls(20).build(Instant::now()).unwrap_err();
        assert_eq!(refused.field, "minimum-number-of-calls");
    }
}
