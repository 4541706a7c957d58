//! The policy: composes all patterns that protect the calls to one dependency, in the right order.
//!
//! # Order, and why
//!
//! ```text
//! throttle → bulkhead → total deadline → retry (budget, backoff)
//!   → per attempt: hedge → breaker permit → attempt timeout → the call → classify → record
//! ```
//!
//! - The **bulkhead** is outside the retries: a call that waits for its retry still occupies a slot, because it
//!   still occupies the caller.
//! - The **deadline** is computed when the call begins, and also limits the wait for a slot and between attempts; a
//!   timeout covers a single attempt.
//! - The **breaker** is inside the retries: it sees every attempt, and a retry stops as soon as it
//!   opens. Outside, it would see three failures as one.
//! - The **timeout** is inside the breaker, so that an attempt that hangs is recorded. If the caller's
//!   deadline is less than half of the attempt timeout, a timed-out attempt is recorded as a failure only if,
//!   judging by recent durations, a healthy dependency would have answered; until then as cancelled.
//! - The **fallback** is not part of the policy: only the caller knows what to answer instead; see
//!   [`fallback`](crate::fallback).
//!
//! # Cancellation
//!
//! The future can be dropped at any point. Slots and permits are returned, and attempts in progress are
//! recorded as cancelled (slow beyond the slow-call threshold), or as panicked if the operation panics; the
//! panic propagates to the caller. The loser of a hedge is cancelled and not recorded.
//!
//! # When not to use it
//!
//! Using every pattern around every call makes calls hard to understand. Every part is optional: leave out
//! those whose failure mode you cannot describe.
//!
//! ```
//! use std::{io, time::Duration};
//! use breakerbox_resilience::{Policy, breaker::Breaker};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! let policy = Policy::builder()
//!     .circuit_breaker(Breaker::builder().consecutive_failures(3).open_for(Duration::from_secs(60)))
//!     .total_timeout(Duration::from_secs(3))
//!     .attempts(3)
//!     .build()?;
//! let answer = policy.request().idempotent().call(|_attempt| async { Ok::<_, io::Error>("found") }).await;
//! assert_eq!(answer.expect("found"), "found");
//! # Ok::<(), breakerbox_resilience::SettingsError>(())
//! # }).unwrap();
//! ```

mod attempt;
mod builder;
mod compartment;
mod error;
mod event;
mod hurry;
mod in_flight;
#[cfg(feature = "tower")]
mod layer;
mod request;
mod settings;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    future::Future,
    time::{Duration, Instant},
};

use tokio::time::{Instant as TokioInstant, sleep};

#[cfg(feature = "tower")]
pub use self::layer::{PolicyLayer, PolicyService};
pub use self::{
    builder::PolicyBuilder,
    error::CallError,
    event::{Event, HedgeOutcome, Observer},
    request::Request,
    settings::PolicySettings,
};

use self::{
    compartment::{Compartment, Entered},
    hurry::Hurry,
};
use super::{
    breaker::{Breaker, Outcome},
    bulkhead::{Bulkhead, BulkheadSnapshot, PoolBulkhead},
    clock::Clock,
    deadline::{TimeLimiterSettings, remaining},
    hedge::Hedge,
    random::Rng,
    retry::{Calibration, Classify, Decision, Failure, Retry, RetryBudget, RetryOutcome, adaptive::Prediction},
    settings::SettingsError,
    throttle::Throttle,
};

/// Properties of a call that only the caller knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Call {
    /// Deadline of the caller.
    pub deadline: Option<Instant>,
    /// Whether the call is idempotent, by its nature or by an idempotency key. Other calls are neither retried
    /// nor hedged.
    pub idempotent: bool,
}

impl Call {
    /// A call that may be repeated.
    #[must_use]
    pub fn idempotent() -> Self {
        Self { idempotent: true, ..Self::default() }
    }

    /// The same call with a deadline.
    #[must_use]
    pub fn by(self, deadline: Option<Instant>) -> Self {
        Self { deadline, ..self }
    }
}

/// One attempt, as passed to the operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Number of the attempt, from 1. A hedge has the number of the attempt it hedges.
    pub number: u32,
    /// Whether it is the second request of a hedged attempt, which may go to another replica.
    pub hedge: bool,
    /// Timeout of the attempt, enforced by the policy.
    pub timeout: Duration,
    /// Deadline of the whole call, to be passed on to the dependency.
    pub deadline: Option<Instant>,
}

/// Protection of the calls to one dependency; see the [module](self).
#[derive(Debug)]
pub struct Policy {
    breaker: Option<Breaker>,
    compartment: Compartment,
    time_limiter: TimeLimiterSettings,
    retry: Option<Retry>,
    budget: RetryBudget,
    hedge: Option<Hedge>,
    throttle: Option<Throttle>,
    hurry: Hurry,
    rng: Rng,
    /// `None`: Tokio's clock.
    clock: Option<DynClock>,
}

/// A clock set by the caller.
struct DynClock(Box<dyn Clock + Send + Sync>);

impl fmt::Debug for DynClock {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a clock")
    }
}

impl Policy {
    /// Creates a policy that starts `now`; `seed` determines its jitter.
    pub fn new(settings: PolicySettings, now: Instant, seed: u64) -> Result<Self, SettingsError> {
        settings.validate()?;
        Ok(Self {
            compartment: Compartment::new(&settings)?,
            breaker: settings.circuit_breaker.map(|breaker| Breaker::new(breaker, now, seed)).transpose()?,
            time_limiter: settings.time_limiter,
            retry: settings.retry.map(|retry| Retry::new(&retry, now)).transpose()?,
            budget: RetryBudget::new(&settings.retry_budget, now)?,
            hedge: settings.hedge.map(|hedge| Hedge::new(&hedge, now)).transpose()?,
            throttle: settings.throttle.map(|throttle| Throttle::new(&throttle, now)).transpose()?,
            hurry: Hurry::new(),
            rng: Rng::new(!seed),
            clock: None,
        })
    }

    /// Current time of its clock.
    #[inline]
    fn now(&self) -> Instant {
        match &self.clock {
            None => clock(),
            Some(DynClock(clock)) => clock.now(),
        }
    }

    /// Its circuit breaker.
    #[must_use]
    pub fn breaker(&self) -> Option<&Breaker> {
        self.breaker.as_ref()
    }

    /// Its bulkhead, if it is a semaphore.
    #[must_use]
    pub fn bulkhead(&self) -> Option<&Bulkhead> {
        match &self.compartment {
            Compartment::Semaphore(bulkhead) => Some(bulkhead),
            _ => None,
        }
    }

    /// Its bulkhead, if it is a pool.
    #[must_use]
    pub fn pool(&self) -> Option<&PoolBulkhead> {
        match &self.compartment {
            Compartment::Pool(pool) => Some(pool),
            _ => None,
        }
    }

    /// Snapshot of its bulkhead, in either form.
    #[must_use]
    pub fn bulkhead_snapshot(&self) -> Option<BulkheadSnapshot> {
        self.compartment.snapshot()
    }

    /// Its retry budget, shared by retries and hedges.
    #[must_use]
    pub fn retry_budget(&self) -> &RetryBudget {
        &self.budget
    }

    /// Calibration of its adaptive retries, if they are adaptive.
    #[must_use]
    pub fn calibration(&self) -> Option<Calibration> {
        Some(self.retry.as_ref()?.model()?.calibration())
    }

    /// Its adaptive throttle.
    #[must_use]
    pub fn throttle(&self) -> Option<&Throttle> {
        self.throttle.as_ref()
    }

    /// Its timeouts.
    #[must_use]
    pub fn time_limiter(&self) -> &TimeLimiterSettings {
        &self.time_limiter
    }

    /// Makes a call. It is not repeated, and every `Err` counts as a failure: see
    /// [`request`](Self::request) for all options.
    ///
    /// ```
    /// use std::io;
    /// use breakerbox_resilience::Policy;
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// let policy = Policy::builder().build()?;
    /// let answer = policy.call(|_attempt| async { Ok::<_, io::Error>("paid") }).await;
    /// assert_eq!(answer.expect("paid"), "paid");
    /// # Ok::<(), breakerbox_resilience::SettingsError>(())
    /// # }).unwrap();
    /// ```
    pub async fn call<T, E, F, Fut>(&self, op: F) -> Result<T, CallError<E>>
    where
        F: Fn(Attempt) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        self.request().call(op).await
    }

    /// Starts a call with options: whether it may be repeated, its deadline, its observer, and the classification
    /// of its result.
    ///
    /// ```
    /// use std::io;
    /// use breakerbox_resilience::Policy;
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// let policy = Policy::builder().attempts(3).build()?;
    /// let answer = policy
    ///     .request()
    ///     .idempotent()
    ///     .own_errors()
    ///     .call(|attempt| async move {
    ///         if attempt.number < 2 { Err(io::Error::from(io::ErrorKind::ConnectionReset)) } else { Ok("there") }
    ///     })
    ///     .await;
    /// assert_eq!(answer.expect("the second attempt"), "there");
    /// # Ok::<(), breakerbox_resilience::SettingsError>(())
    /// # }).unwrap();
    /// ```
    pub fn request(&self) -> Request<'_> {
        Request::new(self)
    }

    /// Makes a call, with as many attempts of `op` as are useful and allowed; returns the first success or the
    /// last error. Each attempt calls `op`; errors classify themselves.
    pub async fn call_with<T, E, O, F, Fut>(&self, call: Call, observer: &O, op: F) -> Result<T, CallError<E>>
    where
        O: Observer,
        F: Fn(Attempt) -> Fut,
        Fut: Future<Output = Result<T, E>>,
        E: Classify,
    {
        let mut now = self.now();
        let call = Call { deadline: self.time_limiter.deadline(now, call.deadline), ..call };
        self.pass_throttle(observer, now)?;
        let _place = self.enter(call.deadline, observer, &mut now).await?;
        let (mut number, mut previous, mut predicted): (_, _, Option<Prediction>) = (1, None, None);
        loop {
            // Asked for only where a prediction is to be judged by it.
            let in_time = predicted.is_some() && remaining(call.deadline, now) != Some(Duration::ZERO);
            let answer = self.attempt(number, call, observer, &op, &mut now).await;
            if let Some(prediction) = predicted.take().filter(|_| in_time) {
                self.learn_retry(&prediction, &answer, observer);
            }
            let Some(retry) = &self.retry else {
                return answer;
            };
            let error = match answer {
                Ok(value) => {
                    ended(observer, RetryOutcome::success(number), number);
                    return Ok(value);
                }
                Err(error) => error,
            };
            let verdict = error.verdict();
            let failure = Failure {
                attempts: number,
                verdict,
                idempotent: call.idempotent,
                now,
                deadline: call.deadline,
                breaker: self.breaker(),
                budget: &self.budget,
                rng: &self.rng,
            };
            match retry.decide(&failure, previous) {
                Decision::Stop(outcome) => {
                    ended(observer, outcome, number);
                    return Err(error);
                }
                Decision::Again { delay, prediction } => {
                    number += 1;
                    observer.observe(Event::RetryScheduled {
                        attempt: number,
                        delay,
                        kind: verdict.kind,
                        predicted: prediction.map(|prediction| prediction.chance),
                    });
                    sleep(delay).await;
                    (previous, predicted) = (Some(delay), prediction);
                    now = self.now();
                }
            }
        }
    }

    /// Checks the throttle.
    #[inline]
    fn pass_throttle<E>(&self, observer: &impl Observer, now: Instant) -> Result<(), CallError<E>> {
        match &self.throttle {
            Some(throttle) if !throttle.admit(now, self.rng.uniform()) => {
                observer.observe(Event::Throttled);
                Err(CallError::Throttled)
            }
            _ => Ok(()),
        }
    }

    /// Enters the bulkhead, and reads the clock again if that took time.
    async fn enter<E>(
        &self,
        deadline: Option<Instant>,
        observer: &impl Observer,
        now: &mut Instant,
    ) -> Result<Entered<'_>, CallError<E>> {
        if let Some(place) = self.compartment.try_enter() {
            return Ok(place);
        }
        let entered = self.compartment.enter(remaining(deadline, *now)).await;
        *now = self.now();
        entered.map_err(|full| {
            observer.observe(Event::BulkheadRejected(full));
            CallError::BulkheadFull(full)
        })
    }

    /// Trains the adaptive model with a retry that began in time, unless it was rejected locally.
    fn learn_retry<T, E>(&self, prediction: &Prediction, answer: &Result<T, CallError<E>>, observer: &impl Observer) {
        let succeeded = match answer {
            Ok(_) => true,
            // It was sent in time, and then the deadline cut it.
            Err(CallError::Failed(_) | CallError::TimedOut { .. } | CallError::DeadlineExceeded) => false,
            Err(_) => return,
        };
        if let Some(model) = self.retry.as_ref().and_then(Retry::model) {
            model.learn(prediction, succeeded);
            observer.observe(Event::Predicted { chance: prediction.chance, succeeded });
        }
    }

    /// Records the outcome of an attempt.
    #[inline]
    fn learn(&self, attempt: Attempt, outcome: Outcome, elapsed: Duration, now: Instant) {
        let failed = match outcome {
            Outcome::Failure | Outcome::Timeout | Outcome::Panicked => true,
            Outcome::Success | Outcome::Ignored => false,
            // The caller did not wait for the answer, so there is none to learn from.
            Outcome::Cancelled => return,
        };
        if outcome == Outcome::Success {
            self.hurry.answered(elapsed);
        }
        if let Some(retry) = self.retry.as_ref().filter(|_| attempt.number == 1) {
            retry.first_attempt(failed, now);
        }
        if let Some(throttle) = &self.throttle {
            throttle.record(!failed, now);
        }
        if let Some(hedge) = self.hedge.as_ref().filter(|_| !failed) {
            hedge.succeeded(elapsed, now);
        }
    }
}

fn ended(observer: &impl Observer, outcome: RetryOutcome, attempts: u32) {
    observer.observe(Event::RetryEnded { outcome, attempts });
}

/// Current time of Tokio's clock, so that a paused clock also governs policies.
fn clock() -> Instant {
    TokioInstant::now().into_std()
}
