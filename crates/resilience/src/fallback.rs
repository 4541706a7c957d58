//! Fallbacks: answers in place of a failed call, with their origin.
//!
//! # Motivation
//!
//! When a breaker rejects a call, the caller still has to answer. A list of films from ten minutes ago is
//! better than an error page; a list from last year may not be. Fallbacks can fail as well, especially those
//! that are never exercised, and that must be visible.
//!
//! # Theory of operation
//!
//! A [`Chain`] tries its steps in order: live → cached → popular → nothing. A step is skipped after the
//! [step timeout](FallbackSettings::step_timeout), and its answer is refused if it is older than the
//! [staleness bound](FallbackSettings::max_staleness). The result ([`Served`]) has the step it came from, its
//! age, and the steps that failed before, so that the caller can count them and mark the answer. Steps are
//! identified by any type, such as an enum, so that metric labels stay typed.
//!
//! # How it fails
//!
//! A fallback that calls another service can be down for the same reason. One that is never exercised
//! tends to be broken when it is needed: include it in a fault drill.
//!
//! # When not to use it
//!
//! Where the answer must be right: a failed payment must not look like a successful one. Where the caller
//! can handle the error better than the substitute.
//!
//! ```
//! use std::time::Duration;
//! use breakerbox_resilience::fallback::{Aged, Chain, FallbackSettings};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! let served = Chain::new(&FallbackSettings::default())
//!     .or("cache", async { None }).await
//!     .or("popular", async { Some(Aged::fresh("Parasite")) }).await
//!     .finish()
//!     .expect("there is always something popular");
//! assert_eq!((served.kind, served.value), ("popular", "Parasite"));
//! assert_eq!(served.failed.len(), 1);
//! # });
//! ```

use std::{future::Future, time::Duration};

use serde::{Deserialize, Serialize};

use super::settings::{SettingsError, duration};

/// Limits of fallback answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct FallbackSettings {
    /// Maximum age of an answer.
    #[serde(with = "humantime_serde")]
    pub max_staleness: Duration,
    /// Timeout of a step.
    #[serde(with = "humantime_serde")]
    pub step_timeout: Duration,
}

impl Default for FallbackSettings {
    fn default() -> Self {
        Self { max_staleness: Duration::from_hours(1), step_timeout: Duration::from_millis(250) }
    }
}

impl FallbackSettings {
    /// Validates the settings.
    pub fn validate(&self) -> Result<(), SettingsError> {
        duration("max-staleness", self.max_staleness, Duration::ZERO)?;
        duration("step-timeout", self.step_timeout, Duration::from_millis(1))
    }
}

/// A value and its age.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aged<T> {
    /// The value.
    pub value: T,
    /// Its age; `None` for a value that does not age, such as a constant.
    pub age: Option<Duration>,
}

impl<T> Aged<T> {
    /// Creates a value that does not age.
    pub fn fresh(value: T) -> Self {
        Self { value, age: None }
    }

    /// Creates a value of this age.
    pub fn old(value: T, age: Duration) -> Self {
        Self { value, age: Some(age) }
    }
}

/// Why a step failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Miss {
    /// It had no answer.
    Empty,
    /// Its answer was too old.
    TooStale {
        /// Age of the answer.
        age: Duration,
    },
    /// It timed out.
    TimedOut,
}

/// A step that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailedStep<K = &'static str> {
    /// The step.
    pub kind: K,
    /// The reason.
    pub miss: Miss,
}

/// Result of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served<T, K = &'static str> {
    /// The answer.
    pub value: T,
    /// The step that answered.
    pub kind: K,
    /// Age of the answer, if it ages.
    pub age: Option<Duration>,
    /// The steps before it, which failed.
    pub failed: Vec<FailedStep<K>>,
}

/// Error: no step had an answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("none of {} fallbacks had an answer", failed.len())]
pub struct Exhausted<K = &'static str> {
    /// The steps, all of which failed.
    pub failed: Vec<FailedStep<K>>,
}

/// Steps tried in order until one has an answer; see the [module](self).
#[derive(Debug)]
#[must_use = "a chain does nothing until it is finished"]
pub struct Chain<T, K = &'static str> {
    max_staleness: Duration,
    step_timeout: Duration,
    served: Option<(Aged<T>, K)>,
    failed: Vec<FailedStep<K>>,
}

impl<T, K> Chain<T, K> {
    /// Creates a chain without steps.
    pub fn new(settings: &FallbackSettings) -> Self {
        Self {
            max_staleness: settings.max_staleness,
            step_timeout: settings.step_timeout,
            served: None,
            failed: Vec::new(),
        }
    }

    /// Tries a step, unless an earlier one had an answer; then its future is never polled.
    pub async fn or(mut self, kind: K, step: impl Future<Output = Option<Aged<T>>>) -> Self {
        if self.served.is_some() {
            return self;
        }
        let miss = match tokio::time::timeout(self.step_timeout, step).await {
            Ok(Some(aged)) => match aged.age {
                Some(age) if age > self.max_staleness => Miss::TooStale { age },
                _ => {
                    self.served = Some((aged, kind));
                    return self;
                }
            },
            Ok(None) => Miss::Empty,
            Err(_) => Miss::TimedOut,
        };
        self.failed.push(FailedStep { kind, miss });
        self
    }

    /// Result of the chain.
    pub fn finish(self) -> Result<Served<T, K>, Exhausted<K>> {
        let failed = self.failed;
        match self.served {
            Some((Aged { value, age }, kind)) => Ok(Served { value, kind, age, failed }),
            None => Err(Exhausted { failed }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    fn chain() -> Chain<u8> {
        Chain::new(&FallbackSettings {
            max_staleness: Duration::from_mins(10),
            step_timeout: Duration::from_millis(50),
        })
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_answer_is_served_and_later_steps_not_tried() {
        let served = chain()
            .or("cache", ready(Some(Aged::old(1, Duration::from_mins(1)))))
            .await
            .or("popular", async { unreachable!("never polled") })
            .await
            .finish()
            .unwrap();
        assert_eq!((served.value, served.kind, served.age), (1, "cache", Some(Duration::from_mins(1))));
        assert!(served.failed.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_too_old_too_slow_or_missing_is_accounted_for() {
        let old = Duration::from_mins(11);
        let exhausted = chain()
            .or("cache", ready(Some(Aged::old(1, old))))
            .await
            .or("replica", pending())
            .await
            .or("popular", ready(None))
            .await
            .finish()
            .unwrap_err();
        let failed: Vec<_> = exhausted.failed.iter().map(|step| (step.kind, step.miss)).collect();
        assert_eq!(
            failed,
            [("cache", Miss::TooStale { age: old }), ("replica", Miss::TimedOut), ("popular", Miss::Empty)]
        );
    }
}
