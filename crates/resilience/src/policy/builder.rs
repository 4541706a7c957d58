//! Builds a policy from its parts.

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

/// Builds a [`Policy`]. Parts that are not mentioned are off, but for a timeout of a second for each
/// attempt. Nothing is checked before [`build`](Self::build).
#[derive(Debug, Default)]
#[must_use = "a builder does nothing until it builds"]
pub struct PolicyBuilder {
    settings: PolicySettings,
    seed: Option<u64>,
    clock: Option<DynClock>,
}

impl Policy {
    /// A builder without any part.
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
    /// Takes these settings; what is said afterwards changes them.
    pub fn settings(mut self, settings: PolicySettings) -> Self {
        self.settings = settings;
        self
    }

    /// A circuit breaker, from its settings or its [builder](crate::breaker::BreakerBuilder).
    pub fn circuit_breaker(mut self, breaker: impl Into<BreakerSettings>) -> Self {
        self.settings.circuit_breaker = Some(breaker.into());
        self
    }

    /// At most this many calls at once; further ones wait this long for a place.
    pub fn bulkhead(mut self, places: u32, wait: Duration) -> Self {
        self.settings.bulkhead = Some(BulkheadSettings { max_concurrent_calls: places, max_wait_duration: wait });
        self
    }

    /// Timeout of each attempt; a second unless it is said.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.settings.time_limiter.timeout_duration = timeout;
        self
    }

    /// Timeout of the whole call, waiting and retries included.
    pub fn total_timeout(mut self, timeout: Duration) -> Self {
        self.settings.time_limiter.total_timeout = Some(timeout);
        self
    }

    /// At most this many attempts in all, 1–20, of calls that are said to be idempotent.
    pub fn attempts(mut self, attempts: u32) -> Self {
        let retry = self.settings.retry.unwrap_or_default();
        self.settings.retry = Some(RetrySettings { max_attempts: attempts, ..retry });
        self
    }

    /// Retries by these settings.
    pub fn retry(mut self, retry: RetrySettings) -> Self {
        self.settings.retry = Some(retry);
        self
    }

    /// What retries and hedges may cost together.
    pub fn retry_budget(mut self, budget: BudgetSettings) -> Self {
        self.settings.retry_budget = budget;
        self
    }

    /// Hedges calls that are said to be idempotent.
    pub fn hedge(mut self, hedge: HedgeSettings) -> Self {
        self.settings.hedge = Some(hedge);
        self
    }

    /// Sends less the less is accepted, in place of a circuit breaker.
    pub fn throttle(mut self, throttle: ThrottleSettings) -> Self {
        self.settings.throttle = Some(throttle);
        self
    }

    /// Makes jitter the same again each time, for tests. Without it, it differs.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Tells the time by this clock, a [`CoarseClock`](crate::clock::CoarseClock) for example, which saves
    /// two reads of the system's. What waits goes by Tokio's timers all the same.
    pub fn clock(mut self, clock: impl Clock + Send + Sync + 'static) -> Self {
        self.clock = Some(DynClock(Box::new(clock)));
        self
    }

    /// A policy that starts now.
    pub fn build(self) -> Result<Policy, SettingsError> {
        let now = self.clock.as_ref().map_or_else(clock, |DynClock(clock)| clock.now());
        let policy = Policy::new(self.settings, now, self.seed.unwrap_or_else(random::entropy))?;
        Ok(Policy { clock: self.clock, ..policy })
    }
}
