//! Builder of a policy.

use std::time::Duration;

use super::{DynClock, Policy, PolicySettings, clock};
use crate::{
    breaker::BreakerSettings,
    bulkhead::BulkheadSettings,
    clock::Clock,
    hedge::HedgeSettings,
    random,
    retry::{BudgetSettings, RetrySettings},
    settings::SettingsError,
    throttle::ThrottleSettings,
};

/// Builder of a [`Policy`]. Parts that are not set are off, except for a timeout of one second per attempt.
/// Settings are validated by [`build`](Self::build).
#[derive(Debug, Default)]
#[must_use = "a builder does nothing until it builds"]
pub struct PolicyBuilder {
    settings: PolicySettings,
    seed: Option<u64>,
    clock: Option<DynClock>,
}

impl Policy {
    /// Returns a builder without any part.
    ///
    /// ```
    /// use std::time::Duration;
    /// use breakerbox_resilience::{Policy, breaker::Breaker};
    ///
    /// let policy = Policy::builder()
    ///     .circuit_breaker(Breaker::builder().consecutive_failures(5))
    ///     .bulkhead(10, Duration::from_millis(50))
    ///     .timeout(Duration::from_millis(500))
    ///     .total_timeout(Duration::from_secs(2))
    ///     .attempts(3)
    ///     .build()?;
    /// # Ok::<(), breakerbox_resilience::SettingsError>(())
    /// ```
    pub fn builder() -> PolicyBuilder {
        PolicyBuilder::default()
    }
}

impl PolicyBuilder {
    /// Uses these settings as a base; later calls change them.
    pub fn settings(mut self, settings: PolicySettings) -> Self {
        self.settings = settings;
        self
    }

    /// Adds a circuit breaker, from its settings or its [builder](crate::breaker::BreakerBuilder).
    pub fn circuit_breaker(mut self, breaker: impl Into<BreakerSettings>) -> Self {
        self.settings.circuit_breaker = Some(breaker.into());
        self
    }

    /// Limits concurrent calls; further ones wait for at most this long.
    pub fn bulkhead(mut self, places: u32, wait: Duration) -> Self {
        self.settings.bulkhead = Some(BulkheadSettings { max_concurrent_calls: places, max_wait_duration: wait });
        self
    }

    /// Timeout of each attempt; one second by default.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.settings.time_limiter.timeout_duration = timeout;
        self
    }

    /// Timeout of the whole call, including waits and retries.
    pub fn total_timeout(mut self, timeout: Duration) -> Self {
        self.settings.time_limiter.total_timeout = Some(timeout);
        self
    }

    /// Maximum number of attempts, 1–20, of calls declared idempotent.
    pub fn attempts(mut self, attempts: u32) -> Self {
        let retry = self.settings.retry.unwrap_or_default();
        self.settings.retry = Some(RetrySettings { max_attempts: attempts, ..retry });
        self
    }

    /// Retries with these settings.
    pub fn retry(mut self, retry: RetrySettings) -> Self {
        self.settings.retry = Some(retry);
        self
    }

    /// Sets the common budget of retries and hedges.
    pub fn retry_budget(mut self, budget: BudgetSettings) -> Self {
        self.settings.retry_budget = budget;
        self
    }

    /// Hedges calls declared idempotent.
    pub fn hedge(mut self, hedge: HedgeSettings) -> Self {
        self.settings.hedge = Some(hedge);
        self
    }

    /// Adds adaptive throttling, in place of a circuit breaker.
    pub fn throttle(mut self, throttle: ThrottleSettings) -> Self {
        self.settings.throttle = Some(throttle);
        self
    }

    /// Seeds the jitter, for reproducible tests. By default it is seeded randomly.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Uses this clock, for example a [`CoarseClock`](crate::clock::CoarseClock), which saves two reads of
    /// the system's clock per call. Waits use Tokio's timers in any case.
    pub fn clock(mut self, clock: impl Clock + Send + Sync + 'static) -> Self {
        self.clock = Some(DynClock(Box::new(clock)));
        self
    }

    /// Builds the policy, with the current time as its start.
    pub fn build(self) -> Result<Policy, SettingsError> {
        let now = self.clock.as_ref().map_or_else(clock, |DynClock(clock)| clock.now());
        let policy = Policy::new(self.settings, now, self.seed.unwrap_or_else(random::entropy))?;
        Ok(Policy { clock: self.clock, ..policy })
    }
}
