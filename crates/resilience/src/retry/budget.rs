//! The retry budget: bounds retries to a fraction of the traffic.
//!
//! # Why budgets and not just maximum retries?
//!
//! "Three attempts" is harmless while one call in a thousand fails, and triples the load at the very moment
//! when all of them fail. An overloaded dependency then stays down *after* the trigger is gone, because of the
//! retries alone (Bronson et al., "Metastable Failures in Distributed Systems", `HotOS`'21). A budget bounds the
//! amplification in all cases: each call deposits a fraction of a retry, each retry withdraws a whole one, and
//! no retry is made while the budget is empty. A small refill over time lets a quiet service retry, too.
//!
//! Everything that sends more requests than the caller made draws on it: retries, hedges, and the adaptive
//! model's exploration. It takes precedence over all of them.
//!
//! ```
//! use std::time::Instant;
//! use breakerbox_resilience::retry::{BudgetSettings, RetryBudget};
//!
//! let now = Instant::now();
//! let settings = BudgetSettings { retry_percent: 20.0, min_retries_per_second: 0.0, max_tokens: 1 };
//! let budget = RetryBudget::new(&settings, now)?;
//! assert!(budget.withdraw(now));
//! assert!(!budget.withdraw(now), "it is empty");
//! (0..5).for_each(|_| budget.deposit());
//! assert!(budget.withdraw(now), "five calls earn one retry");
//! # Ok::<(), breakerbox_resilience::SettingsError>(())
//! ```

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::{
    settings::{SettingsError, ensure, within},
    sync::{AtomicU64, Ordering, Padded},
};

/// Tokens are counted in thousandths.
const TOKEN: u64 = 1_000;

/// Settings of the retry budget.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct BudgetSettings {
    /// Retries earned by each call, in percent: 20 allows one retry for five calls.
    pub retry_percent: f64,
    /// Additional retries per second, so that a quiet service can retry as well.
    pub min_retries_per_second: f64,
    /// Capacity in retries; also the initial content.
    pub max_tokens: u32,
}

impl Default for BudgetSettings {
    fn default() -> Self {
        Self { retry_percent: 20.0, min_retries_per_second: 0.5, max_tokens: 20 }
    }
}

impl BudgetSettings {
    /// Validates the settings.
    pub fn validate(&self) -> Result<(), SettingsError> {
        // A token has a thousand parts; less than one of them a call is nothing.
        if self.retry_percent != 0.0 {
            within("retry-percent", self.retry_percent, 0.1..=1_000.0, "0 or 0.1–1000")?;
        }
        if self.min_retries_per_second != 0.0 {
            within("min-retries-per-second", self.min_retries_per_second, 0.001..=10_000.0, "0 or 0.001–10000")?;
        }
        within("max-tokens", self.max_tokens, 1..=1_000_000, "1–1000000")?;
        ensure(
            self.retry_percent > 0.0 || self.min_retries_per_second > 0.0,
            "retry-percent",
            self.retry_percent,
            "above 0 when min-retries-per-second is 0, or no retry could ever be made again",
        )
    }
}

/// State of a budget at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BudgetSnapshot {
    /// Retries that it currently allows.
    pub tokens: f64,
    /// Retries that it allows when full.
    pub capacity: f64,
}

/// A token bucket of retries. Two verbs: calls [deposit](Self::deposit), retries
/// [withdraw](Self::withdraw).
#[derive(Debug)]
pub struct RetryBudget {
    tokens: Padded<AtomicU64>,
    /// Time up to which the refill has been added, in nanoseconds since the origin.
    paid: AtomicU64,
    origin: Instant,
    capacity: u64,
    per_call: u64,
    nanos_per_milli_token: Option<u64>,
}

impl RetryBudget {
    /// Creates a full budget.
    pub fn new(settings: &BudgetSettings, now: Instant) -> Result<Self, SettingsError> {
        settings.validate()?;
        let capacity = u64::from(settings.max_tokens) * TOKEN;
        let trickle = settings.min_retries_per_second;
        let nanos_per_milli_token = (trickle > 0.0).then(|| {
            let nanos = Duration::from_secs_f64(1.0 / (trickle * TOKEN as f64)).as_nanos();
            u64::try_from(nanos).unwrap_or(u64::MAX).max(1)
        });
        let per_call = (Duration::from_secs_f64(settings.retry_percent / 100.0).as_micros() + 500) / 1_000;
        Ok(Self {
            tokens: Padded(AtomicU64::new(capacity)),
            paid: AtomicU64::new(0),
            origin: now,
            capacity,
            per_call: u64::try_from(per_call).unwrap_or(capacity),
            nanos_per_milli_token,
        })
    }

    /// Adds the fraction of a retry that a call earns. A full budget is only read.
    #[inline]
    pub fn deposit(&self) {
        if self.tokens.0.load(Ordering::Relaxed) < self.capacity {
            self.add(self.per_call);
        }
    }

    /// Withdraws one retry, if there is one.
    #[must_use = "a retry without a withdrawal is what the budget is there to prevent"]
    pub fn withdraw(&self, now: Instant) -> bool {
        self.trickle(now);
        self.tokens.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, |tokens| tokens.checked_sub(TOKEN)).is_ok()
    }

    /// Current content.
    #[must_use]
    pub fn snapshot(&self, now: Instant) -> BudgetSnapshot {
        self.trickle(now);
        BudgetSnapshot {
            tokens: self.tokens.0.load(Ordering::Acquire) as f64 / TOKEN as f64,
            capacity: self.capacity as f64 / TOKEN as f64,
        }
    }

    /// Adds the refill for the time since the last one.
    fn trickle(&self, now: Instant) {
        let Some(price) = self.nanos_per_milli_token else {
            return;
        };
        let since = now.saturating_duration_since(self.origin).as_nanos();
        let since = u64::try_from(since).unwrap_or(u64::MAX);
        let mut earned = 0;
        let paid = self.paid.fetch_update(Ordering::AcqRel, Ordering::Acquire, |paid| {
            earned = since.saturating_sub(paid) / price;
            // The remainder stays owed, so that asking often does not earn less.
            (earned > 0).then(|| paid + earned * price)
        });
        if paid.is_ok() {
            self.add(earned);
        }
    }

    fn add(&self, tokens: u64) {
        // Only a full budget refuses, and then there is nothing to add.
        let _ = self.tokens.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, |held| {
            (held < self.capacity).then(|| held.saturating_add(tokens).min(self.capacity))
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(percent: f64, trickle: f64, capacity: u32) -> (RetryBudget, Instant) {
        let settings = BudgetSettings { retry_percent: percent, min_retries_per_second: trickle, max_tokens: capacity };
        let now = Instant::now();
        (RetryBudget::new(&settings, now).unwrap(), now)
    }

    #[test]
    fn calls_earn_their_percentage_of_retries() {
        let (budget, now) = budget(20.0, 0.0, 2);
        assert!(budget.withdraw(now) && budget.withdraw(now));
        assert!(!budget.withdraw(now));
        for _ in 0..4 {
            budget.deposit();
            assert!(!budget.withdraw(now));
        }
        budget.deposit();
        assert!(budget.withdraw(now));
    }

    #[test]
    fn what_would_earn_nothing_is_refused() {
        let settings = |percent, trickle| BudgetSettings {
            retry_percent: percent,
            min_retries_per_second: trickle,
            max_tokens: 1,
        };
        for (percent, trickle) in [(0.05, 0.0), (0.0, 1e-30), (0.0, 0.0), (f64::NAN, 1.0), (1.0, f64::NAN)] {
            assert!(RetryBudget::new(&settings(percent, trickle), Instant::now()).is_err(), "{percent} {trickle}");
        }
        // 0.29 % is nearly three parts in a thousand, not two.
        let (budget, now) = budget(0.29, 0.0, 1);
        assert!(budget.withdraw(now));
        (0..334).for_each(|_| budget.deposit());
        assert!(budget.withdraw(now));
    }

    #[test]
    fn time_earns_the_trickle_however_often_it_is_asked() {
        let (budget, now) = budget(20.0, 1.0, 1);
        assert!(budget.withdraw(now));
        for millis in 1..1_000 {
            assert!(!budget.withdraw(now + Duration::from_millis(millis)));
        }
        assert!(budget.withdraw(now + Duration::from_secs(1)));
    }

    #[test]
    fn it_never_holds_more_than_its_capacity() {
        let (budget, now) = budget(1_000.0, 100.0, 3);
        for _ in 0..100 {
            budget.deposit();
        }
        let later = now + Duration::from_hours(1);
        assert!((budget.snapshot(later).tokens - 3.0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_clock_that_goes_back_earns_nothing_and_costs_nothing() {
        let (budget, now) = budget(20.0, 1.0, 1);
        let later = now + Duration::from_secs(10);
        assert!(budget.withdraw(later));
        assert!(!budget.withdraw(now));
        assert!(budget.withdraw(later + Duration::from_secs(1)));
    }
}
