//! Settings of a policy; each part is optional.

use serde::{Deserialize, Serialize};

use crate::{
    breaker::BreakerSettings,
    bulkhead::{BulkheadSettings, PoolSettings},
    deadline::TimeLimiterSettings,
    hedge::HedgeSettings,
    retry::{BudgetSettings, RetrySettings},
    settings::{SettingsError, ensure},
    throttle::ThrottleSettings,
};

/// Settings of the protection of one dependency. A part that is `None` is off.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct PolicySettings {
    /// Circuit breaker: stops calls to a failing dependency.
    pub circuit_breaker: Option<BreakerSettings>,
    /// Bulkhead: limits concurrent calls.
    pub bulkhead: Option<BulkheadSettings>,
    /// Bulkhead in the form of a pool: core size, maximum size and a queue. Excludes `bulkhead`.
    pub pool_bulkhead: Option<PoolSettings>,
    /// Timeouts. Always on.
    pub time_limiter: TimeLimiterSettings,
    /// Retries.
    pub retry: Option<RetrySettings>,
    /// Common budget of retries and hedges.
    pub retry_budget: BudgetSettings,
    /// Hedging: sends a second request before the first has failed.
    pub hedge: Option<HedgeSettings>,
    /// Adaptive throttling; an alternative to the breaker.
    pub throttle: Option<ThrottleSettings>,
}

impl PolicySettings {
    /// Validates the settings.
    pub fn validate(&self) -> Result<(), SettingsError> {
        fn part<S>(
            name: &str,
            settings: Option<&S>,
            validate: impl Fn(&S) -> Result<(), SettingsError>,
        ) -> Result<(), SettingsError> {
            settings.map_or(Ok(()), |settings| validate(settings).map_err(|error| error.within(name)))
        }
        part("circuit-breaker", self.circuit_breaker.as_ref(), BreakerSettings::validate)?;
        part("bulkhead", self.bulkhead.as_ref(), BulkheadSettings::validate)?;
        part("pool-bulkhead", self.pool_bulkhead.as_ref(), PoolSettings::validate)?;
        part("time-limiter", Some(&self.time_limiter), TimeLimiterSettings::validate)?;
        part("retry", self.retry.as_ref(), RetrySettings::validate)?;
        part("retry-budget", Some(&self.retry_budget), BudgetSettings::validate)?;
        part("hedge", self.hedge.as_ref(), HedgeSettings::validate)?;
        part("throttle", self.throttle.as_ref(), ThrottleSettings::validate)?;
        self.validate_times()?;
        if let (Some(_), Some(throttle)) = (&self.circuit_breaker, &self.throttle) {
            return Err(SettingsError::new(
                "throttle",
                format_args!("multiplier {}", throttle.multiplier),
                "left out beside a circuit-breaker: each would count the other's rejections as failures",
            ));
        }
        if let (Some(_), Some(pool)) = (&self.bulkhead, &self.pool_bulkhead) {
            return Err(SettingsError::new(
                "pool-bulkhead",
                format_args!("core-size {}", pool.core_size),
                "left out beside a bulkhead: they are two forms of the same",
            ));
        }
        Ok(())
    }

    /// Checks times that contradict each other: one that can never be reached would disable its part.
    fn validate_times(&self) -> Result<(), SettingsError> {
        let timeout = self.time_limiter.timeout_duration;
        let shown = |duration| humantime::format_duration(duration);
        if let Some(breaker) =
            self.circuit_breaker.as_ref().filter(|breaker| breaker.slow_call_rate_threshold.is_some())
        {
            let slow = breaker.slow_call_duration_threshold;
            ensure(
                slow <= timeout,
                "circuit-breaker.slow-call-duration-threshold",
                shown(slow),
                &format!("at most {}, the timeout-duration: no call would ever be slow", shown(timeout)),
            )?;
        }
        if let Some(delay) = self.hedge.as_ref().and_then(|hedge| hedge.delay) {
            ensure(
                delay < timeout,
                "hedge.delay",
                shown(delay),
                &format!("below {}, the timeout-duration: no call would ever be hedged", shown(timeout)),
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_error_names_the_part_and_the_field() {
        let settings = PolicySettings {
            bulkhead: Some(BulkheadSettings { max_concurrent_calls: 0, ..BulkheadSettings::default() }),
            ..PolicySettings::default()
        };
        assert_eq!(
            settings.validate().unwrap_err().to_string(),
            "bulkhead.max-concurrent-calls = 0: must be 1–1000000"
        );
    }

    #[test]
    fn times_that_can_never_be_reached_are_refused() {
        let seconds = Duration::from_secs;
        let limits = |timeout, total| TimeLimiterSettings {
            timeout_duration: timeout,
            total_timeout: total,
            ..TimeLimiterSettings::default()
        };
        let slow = BreakerSettings {
            slow_call_rate_threshold: Some(50.0),
            slow_call_duration_threshold: seconds(2),
            ..BreakerSettings::default()
        };
        let hedge = HedgeSettings { delay: Some(seconds(1)), ..HedgeSettings::default() };
        let refused = [
            (
                PolicySettings { circuit_breaker: Some(slow), ..PolicySettings::default() },
                "circuit-breaker.slow-call-duration-threshold",
            ),
            (PolicySettings { hedge: Some(hedge), ..PolicySettings::default() }, "hedge.delay"),
            (
                PolicySettings { time_limiter: limits(seconds(2), Some(seconds(1))), ..PolicySettings::default() },
                "time-limiter.total-timeout",
            ),
        ];
        for (settings, field) in refused {
            assert_eq!(settings.validate().unwrap_err().field, field);
        }
    }

    #[test]
    fn resilience4js_words_are_understood() {
        let settings: PolicySettings = toml::from_str(
            r#"
            [circuit-breaker]
            failure-rate-threshold = 50
            wait-duration-in-open-state = "30s"
            sliding-window-size = 10
            [retry]
            max-attempts = 3
            wait-duration = "500ms"
            enable-exponential-backoff = true
            [time-limiter]
            timeout-duration = "3s"
            "#,
        )
        .unwrap();
        settings.validate().unwrap();
        let retry = settings.retry.unwrap();
        assert_eq!(retry.backoff().first.as_millis(), 500);
        assert_eq!(settings.time_limiter.timeout_duration.as_secs(), 3);
    }
}
