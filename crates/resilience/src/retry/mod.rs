//! Retries: repeat a failed call where that can help, without overloading the dependency.
//!
//! # Motivation
//!
//! Many failures are transient: a lost packet, a restarting instance, a moment of overload. But retries add
//! load at the worst time, and repeating a call that is not idempotent charges a customer twice.
//!
//! # Theory of operation
//!
//! After a failed attempt these conditions are checked in order; the first *no* ends the call:
//!
//! 1. May the call be repeated (idempotent, or with an idempotency key), and can the [error](Verdict) go
//!    away? Never for a 400, 401, 403 or 404.
//! 2. Are there attempts left?
//! 3. Is the dependency likely to answer: is the recent failure rate below the
//!    [limit](RetrySettings::stop_failure_rate_threshold), and does the [model](adaptive) predict success?
//! 4. Is there time: does the [backoff], or the longer `Retry-After`, end before the deadline? Will the
//!    breaker admit the attempt?
//! 5. Does the [budget] allow a retry? It is checked last, so that nothing is withdrawn for a retry that is
//!    not made.
//!
//! # How it fails
//!
//! Without a budget, retries turn a short overload into a lasting one. Without jitter, callers that failed
//! together retry together. Retrying in every layer multiplies: three attempts in each of three layers are 27
//! calls; retry in one layer.
//!
//! # When not to use it
//!
//! For calls that are not idempotent, for errors of the caller, against overload without jitter and budget,
//! and where a queue is possible: no user should wait for something that may succeed in an hour.
//!
//! ```
//! use std::time::Duration;
//! use breakerbox_resilience::retry::{Backoff, Jitter};
//!
//! let backoff = Backoff {
//!     first: Duration::from_secs(1),
//!     multiplier: 2.0,
//!     cap: Duration::from_secs(8),
//!     jitter: Jitter::None,
//! };
//! let waits: Vec<u64> = (1..=5).map(|n| backoff.wait(n, None, 0.0).as_secs()).collect();
//! assert_eq!(waits, [1, 2, 4, 8, 8]);
//! ```

pub mod adaptive;
pub mod backoff;
pub mod budget;
mod classify;

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use self::adaptive::{Model, Prediction};
pub use self::{
    adaptive::{AdaptiveSettings, Calibration, CalibrationBin},
    backoff::{Backoff, Jitter},
    budget::{BudgetSettings, BudgetSnapshot, RetryBudget},
    classify::{AnyError, Classifier, Classify, ErrorKind, OwnError, Verdict},
};
use super::{
    breaker::{Breaker, WindowSnapshot, spelled},
    random::Rng,
    recent::{self, Recent},
    settings::{SettingsError, duration, percentage, within},
};

/// Minimum number of recent calls before their failure rate is used.
const BELIEVED_FROM: u64 = 10;

/// Settings of retries: how often and how fast, and when to stop.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct RetrySettings {
    /// Maximum number of attempts, including the first.
    pub max_attempts: u32,
    /// Wait before the second attempt.
    #[serde(with = "humantime_serde")]
    pub wait_duration: Duration,
    /// Whether further waits grow.
    pub enable_exponential_backoff: bool,
    /// Factor by which each wait grows.
    pub exponential_backoff_multiplier: f64,
    /// Maximum wait while waits grow; an adaptive retry has its own maximum. If a dependency asks for a longer
    /// wait with `Retry-After`, the call is not retried.
    #[serde(with = "humantime_serde")]
    pub exponential_max_wait_duration: Duration,
    /// Jitter of the waits.
    pub jitter: Jitter,
    /// No call is retried while more than this percentage of recent first attempts failed.
    pub stop_failure_rate_threshold: Option<f64>,
    /// Period of "recent" attempts.
    #[serde(with = "humantime_serde")]
    pub recent_duration: Duration,
    /// Adaptive retries: a model predicts which retries succeed, and only those are made.
    pub adaptive: Option<AdaptiveSettings>,
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self {
            max_attempts: 3,
            wait_duration: Duration::from_millis(100),
            enable_exponential_backoff: true,
            exponential_backoff_multiplier: 2.0,
            exponential_max_wait_duration: Duration::from_secs(10),
            jitter: Jitter::Full,
            stop_failure_rate_threshold: Some(80.0),
            recent_duration: Duration::from_mins(1),
            adaptive: None,
        }
    }
}

impl RetrySettings {
    /// Validates the settings.
    pub fn validate(&self) -> Result<(), SettingsError> {
        within("max-attempts", self.max_attempts, 1..=20, "1–20")?;
        duration("wait-duration", self.wait_duration, Duration::from_millis(1))?;
        within("exponential-backoff-multiplier", self.exponential_backoff_multiplier, 1.0..=10.0, "1–10")?;
        if self.enable_exponential_backoff {
            duration("exponential-max-wait-duration", self.exponential_max_wait_duration, self.wait_duration)?;
        }
        if let Some(rate) = self.stop_failure_rate_threshold {
            percentage("stop-failure-rate-threshold", rate)?;
        }
        if let Some(adaptive) = &self.adaptive {
            adaptive.validate().map_err(|error| error.within("adaptive"))?;
        }
        recent::span("recent-duration", self.recent_duration)
    }

    /// The backoff of these settings.
    #[must_use]
    pub fn backoff(&self) -> Backoff {
        Backoff {
            first: self.wait_duration,
            multiplier: if self.enable_exponential_backoff { self.exponential_backoff_multiplier } else { 1.0 },
            cap: self.exponential_max_wait_duration.max(self.wait_duration),
            jitter: self.jitter,
        }
    }
}

spelled! {
    /// Outcome of the retries of one call.
    RetryOutcome {
        /// The first attempt succeeded.
        SuccessWithoutRetry = "success_without_retry",
        /// A later attempt succeeded.
        SuccessWithRetry = "success_with_retry",
        /// The first attempt failed, and the error cannot be retried.
        FailedWithoutRetry = "failed_without_retry",
        /// The last attempt failed.
        FailedWithRetry = "failed_with_retry",
        /// The retry budget was empty.
        BudgetExhausted = "budget_exhausted",
        /// A retry would have come too late, or was predicted to fail.
        Stopped = "stopped",
    }
}

impl RetryOutcome {
    /// Success after this many attempts.
    #[must_use]
    pub fn success(attempts: u32) -> Self {
        if attempts > 1 { Self::SuccessWithRetry } else { Self::SuccessWithoutRetry }
    }

    /// Plain failure after this many attempts.
    #[must_use]
    pub fn failure(attempts: u32) -> Self {
        if attempts > 1 { Self::FailedWithRetry } else { Self::FailedWithoutRetry }
    }
}

/// Decision after a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Decision {
    /// Retry after this delay.
    Again { delay: Duration, prediction: Option<Prediction> },
    /// Do not retry.
    Stop(RetryOutcome),
}

/// A failed attempt and its context.
pub(crate) struct Failure<'a> {
    /// Attempts so far.
    pub(crate) attempts: u32,
    pub(crate) verdict: Verdict,
    pub(crate) idempotent: bool,
    pub(crate) now: Instant,
    pub(crate) deadline: Option<Instant>,
    pub(crate) breaker: Option<&'a Breaker>,
    pub(crate) budget: &'a RetryBudget,
    pub(crate) rng: &'a Rng,
}

/// Decides on the retries of all calls of one policy.
#[derive(Debug)]
pub(crate) struct Retry {
    settings: RetrySettings,
    backoff: Backoff,
    first_attempts: Recent,
    model: Option<Model>,
}

impl Retry {
    pub(crate) fn new(settings: &RetrySettings, now: Instant) -> Result<Self, SettingsError> {
        settings.validate()?;
        Ok(Self {
            backoff: settings.backoff(),
            first_attempts: Recent::new(settings.recent_duration, now),
            model: settings.adaptive.as_ref().map(Model::new).transpose()?,
            settings: settings.clone(),
        })
    }

    /// Records the outcome of a first attempt, on which later decisions are based.
    #[inline]
    pub(crate) fn first_attempt(&self, failed: bool, now: Instant) {
        self.first_attempts.record(failed, now);
    }

    /// Calibration of the model, if retries are adaptive.
    pub(crate) fn model(&self) -> Option<&Model> {
        self.model.as_ref()
    }

    /// Whether to retry, and after which delay; `previous` is the call's last wait.
    pub(crate) fn decide(&self, failure: &Failure<'_>, previous: Option<Duration>) -> Decision {
        let Failure { attempts, verdict, now, .. } = *failure;
        if !failure.idempotent || !verdict.retryable || attempts >= self.settings.max_attempts {
            return Decision::Stop(RetryOutcome::failure(attempts));
        }
        let recent = self.first_attempts.totals(now);
        let prediction = self.model.as_ref().map(|model| model.predict(failure, share(recent)));
        if self.hopeless(recent) || !self.promising(prediction.as_ref(), failure.rng) {
            return Decision::Stop(RetryOutcome::Stopped);
        }
        let wait = self.wait(failure, previous, prediction.as_ref());
        let Some(delay) = self.after_asked(wait, verdict.retry_after) else {
            return Decision::Stop(RetryOutcome::Stopped);
        };
        let too_late = failure.deadline.is_some_and(|deadline| now + delay >= deadline);
        let shut = failure.breaker.is_some_and(|breaker| breaker.would_reject(now + delay).is_some());
        if too_late || shut {
            return Decision::Stop(RetryOutcome::Stopped);
        }
        if !failure.budget.withdraw(now) {
            return Decision::Stop(RetryOutcome::BudgetExhausted);
        }
        Decision::Again { delay, prediction }
    }

    fn promising(&self, prediction: Option<&Prediction>, rng: &Rng) -> bool {
        match (&self.model, prediction) {
            (Some(model), Some(prediction)) => model.allows(prediction, rng.uniform()),
            _ => true,
        }
    }

    fn wait(&self, failure: &Failure<'_>, previous: Option<Duration>, prediction: Option<&Prediction>) -> Duration {
        let wait = self.backoff.wait(failure.attempts, previous, failure.rng.uniform());
        match (&self.model, prediction) {
            (Some(model), Some(prediction)) => model.scale(wait, failure.verdict.kind, prediction.chance),
            _ => wait,
        }
    }

    /// The wait, or `Retry-After` if that is longer; `None` if it exceeds the maximum. Jitter is added to
    /// `Retry-After`: callers that all got the same value would otherwise return at the same moment.
    fn after_asked(&self, wait: Duration, asked: Option<Duration>) -> Option<Duration> {
        let Some(asked) = asked else { return Some(wait) };
        let longest = self.model.as_ref().map_or(self.backoff.cap, |model| model.longest_wait().max(self.backoff.cap));
        let spread = if self.settings.jitter == Jitter::None { wait.max(asked) } else { asked + wait };
        (asked <= longest).then_some(spread)
    }

    /// Whether the failure rate is so high that a retry would fail too.
    fn hopeless(&self, recent: WindowSnapshot) -> bool {
        self.settings.stop_failure_rate_threshold.is_some_and(|limit| share(recent) * 100.0 > limit)
    }
}

/// Failure rate (0–1) of recent calls; 0 while there are too few.
fn share(recent: WindowSnapshot) -> f64 {
    if recent.calls >= BELIEVED_FROM { recent.failure_ratio() } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Case {
        retry: Retry,
        budget: RetryBudget,
        rng: Rng,
        now: Instant,
    }

    impl Case {
        fn new(settings: &RetrySettings) -> Self {
            let now = Instant::now();
            Self {
                retry: Retry::new(settings, now).unwrap(),
                budget: RetryBudget::new(&BudgetSettings::default(), now).unwrap(),
                rng: Rng::new(1),
                now,
            }
        }

        fn failure(&self, kind: ErrorKind) -> Failure<'_> {
            Failure {
                attempts: 1,
                verdict: Verdict::of(kind),
                idempotent: true,
                now: self.now,
                deadline: None,
                breaker: None,
                budget: &self.budget,
                rng: &self.rng,
            }
        }
    }

    fn exact() -> RetrySettings {
        RetrySettings { jitter: Jitter::None, ..RetrySettings::default() }
    }

    #[test]
    fn what_cannot_be_repeated_is_not_repeated() {
        let case = Case::new(&exact());
        let failure = Failure { idempotent: false, ..case.failure(ErrorKind::Timeout) };
        assert_eq!(case.retry.decide(&failure, None), Decision::Stop(RetryOutcome::FailedWithoutRetry));
        assert_eq!(
            case.retry.decide(&case.failure(ErrorKind::Client), None),
            Decision::Stop(RetryOutcome::FailedWithoutRetry)
        );
    }

    #[test]
    fn retry_after_is_honoured_and_too_much_of_it_ends_the_call() {
        let case = Case::new(&exact());
        let after = |seconds| {
            let mut failure = case.failure(ErrorKind::RateLimited);
            failure.verdict = failure.verdict.after(Some(Duration::from_secs(seconds)));
            case.retry.decide(&failure, None)
        };
        assert_eq!(after(5), Decision::Again { delay: Duration::from_secs(5), prediction: None });
        assert_eq!(after(11), Decision::Stop(RetryOutcome::Stopped));
    }

    #[test]
    fn callers_told_the_same_second_do_not_all_come_back_in_it() {
        let case = Case::new(&RetrySettings { wait_duration: Duration::from_secs(1), ..RetrySettings::default() });
        let delays: Vec<Duration> = (0..10)
            .map(|_| {
                let mut failure = case.failure(ErrorKind::RateLimited);
                failure.verdict = failure.verdict.after(Some(Duration::from_secs(5)));
                match case.retry.decide(&failure, None) {
                    Decision::Again { delay, .. } => delay,
                    Decision::Stop(outcome) => panic!("{outcome:?}"),
                }
            })
            .collect();
        assert!(delays.iter().all(|delay| (5.0..6.0).contains(&delay.as_secs_f64())), "{delays:?}");
        let (first, last) = (delays.iter().min().unwrap(), delays.iter().max().unwrap());
        assert!(*last > *first + Duration::from_millis(300), "{delays:?}");
    }

    #[test]
    fn no_retry_is_planned_past_the_deadline() {
        let case = Case::new(&exact());
        let failure =
            Failure { deadline: Some(case.now + Duration::from_millis(100)), ..case.failure(ErrorKind::Timeout) };
        let before = case.budget.snapshot(case.now).tokens;
        assert_eq!(case.retry.decide(&failure, None), Decision::Stop(RetryOutcome::Stopped));
        let after = case.budget.snapshot(case.now).tokens;
        assert!(before <= after, "nothing is withdrawn for it");
    }

    #[test]
    fn retries_stop_while_most_first_attempts_fail() {
        let case = Case::new(&exact());
        for failed in [true; 9].iter().chain(&[false]) {
            case.retry.first_attempt(*failed, case.now);
        }
        let failure = case.failure(ErrorKind::ServerError);
        assert_eq!(case.retry.decide(&failure, None), Decision::Stop(RetryOutcome::Stopped));
        let later = Failure { now: case.now + Duration::from_mins(2), ..case.failure(ErrorKind::ServerError) };
        assert!(matches!(case.retry.decide(&later, None), Decision::Again { .. }));
    }

    #[test]
    fn an_empty_budget_outranks_everything_else() {
        let case = Case::new(&exact());
        while case.budget.withdraw(case.now) {}
        assert_eq!(
            case.retry.decide(&case.failure(ErrorKind::Connect), None),
            Decision::Stop(RetryOutcome::BudgetExhausted)
        );
    }
}
