//! The policy: all that protects the calls to one dependency, in the right order.
//!
//! # Order, and why
//!
//! ```text
//! throttle → bulkhead → total deadline → retry (budget, backoff)
//!   → per attempt: hedge → breaker permit → attempt timeout → the call → classify → record
//! ```
//!
//! - The **bulkhead** is outermost: a call waiting for its retry still holds its place, since that
//!   is what the caller pays for it.
//! - The **deadline** covers all attempts and all waiting; a timeout inside only one attempt.
//! - The **breaker** is inside the retries: it sees every attempt, and a retry stops as soon as it
//!   opens. Outside, it would see three failures as one.
//! - The **timeout** is inside the breaker, so that an attempt that hangs counts.
//! - The fallback is not here: what to answer instead is the caller's to know; see
//!   [`fallback`](crate::resilience::fallback).
//!
//! # Cancelling
//!
//! The future may be dropped at any point. Places and permits are given back, and the attempts
//! under way are recorded as cancelled (slow past the slow threshold), or as panicked when the
//! operation panics, which goes on to the caller.
//!
//! # When not to use it
//!
//! All patterns around every call make every call hard to understand. Leave out the parts whose
//! failure you cannot describe: each is optional.
//!
//! ```
//! use breakerbox::resilience::{
//!     policy::{CallError, Policy, preset},
//!     retry::{Classify, ErrorKind, Verdict},
//! };
//! use std::time::Instant;
//!
//! #[derive(Debug, PartialEq)]
//! struct Unavailable;
//!
//! impl Classify for Unavailable {
//!     fn verdict(&self) -> Verdict {
//!         Verdict::of(ErrorKind::ServerError)
//!     }
//! }
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! let settings = preset("payment").expect("a preset");
//! let policy = Policy::new(settings, Instant::now(), 42)?;
//! let answer = policy
//!     .call(None, &(), |_attempt| async { Ok::<_, Unavailable>("paid") })
//!     .await;
//! assert_eq!(answer, Ok("paid"));
//! # Ok::<(), breakerbox::resilience::SettingsError>(())
//! # }).unwrap();
//! ```

mod error;
mod event;
mod flight;
mod presets;
mod settings;
#[cfg(test)]
mod tests;

use std::{
    future::Future,
    pin::pin,
    time::{Duration, Instant},
};

use tokio::time::{Instant as TokioInstant, sleep, timeout};

pub use self::{
    error::CallError,
    event::{Event, HedgeOutcome, Observer},
    presets::{preset, preset_names},
    settings::PolicySettings,
};

use self::flight::Flight;
use super::{
    breaker::{Breaker, Outcome, Permit},
    bulkhead::{Bulkhead, Place},
    deadline::{TimeLimiterSettings, remaining},
    hedge::Hedge,
    random::Dice,
    retry::{Classify, Decision, Failure, Retry, RetryBudget, RetryOutcome},
    settings::SettingsError,
    throttle::Throttle,
};

/// What the caller says about a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Call {
    /// When the caller stops waiting.
    pub deadline: Option<Instant>,
    /// Whether making it twice is the same as making it once, by its nature or by an idempotency
    /// key. Anything else is neither retried nor hedged.
    pub idempotent: bool,
}

/// One attempt, as the operation sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Its number, from 1. A hedge has the number of the attempt it hedges.
    pub number: u32,
    /// Whether it is the second request of a hedged attempt, which may go to another replica.
    pub hedge: bool,
    /// How long it may take; the policy sees to that.
    pub timeout: Duration,
    /// When the whole call is over, to be handed on to the dependency.
    pub deadline: Option<Instant>,
}

/// All that protects the calls to one dependency; see the [module](self).
#[derive(Debug)]
pub struct Policy {
    breaker: Option<Breaker>,
    bulkhead: Option<Bulkhead>,
    time_limiter: TimeLimiterSettings,
    retry: Option<Retry>,
    budget: RetryBudget,
    hedge: Option<Hedge>,
    throttle: Option<Throttle>,
    dice: Dice,
}

impl Policy {
    /// A policy that starts `now`; `seed` decides its jitter.
    pub fn new(settings: PolicySettings, now: Instant, seed: u64) -> Result<Self, SettingsError> {
        settings.validate()?;
        Ok(Self {
            breaker: settings.circuit_breaker.map(|breaker| Breaker::new(breaker, now, seed)).transpose()?,
            bulkhead: settings.bulkhead.as_ref().map(Bulkhead::new).transpose()?,
            time_limiter: settings.time_limiter,
            retry: settings.retry.map(|retry| Retry::new(&retry, now)).transpose()?,
            budget: RetryBudget::new(&settings.retry_budget, now)?,
            hedge: settings.hedge.map(|hedge| Hedge::new(&hedge, now)).transpose()?,
            throttle: settings.throttle.map(|throttle| Throttle::new(&throttle, now)).transpose()?,
            dice: Dice::new(!seed),
        })
    }

    /// Its breaker.
    #[must_use]
    pub fn breaker(&self) -> Option<&Breaker> {
        self.breaker.as_ref()
    }

    /// Its bulkhead.
    #[must_use]
    pub fn bulkhead(&self) -> Option<&Bulkhead> {
        self.bulkhead.as_ref()
    }

    /// What its retries and hedges may cost.
    #[must_use]
    pub fn retry_budget(&self) -> &RetryBudget {
        &self.budget
    }

    /// Its throttle.
    #[must_use]
    pub fn throttle(&self) -> Option<&Throttle> {
        self.throttle.as_ref()
    }

    /// Its timeouts.
    #[must_use]
    pub fn time_limiter(&self) -> &TimeLimiterSettings {
        &self.time_limiter
    }

    /// Makes a call that may be repeated; see [`call_with`](Self::call_with).
    pub async fn call<T, E, O, F, Fut>(&self, deadline: Option<Instant>, observer: &O, op: F) -> Result<T, CallError<E>>
    where
        O: Observer,
        F: Fn(Attempt) -> Fut,
        Fut: Future<Output = Result<T, E>>,
        E: Classify,
    {
        let call = Call { deadline, idempotent: true };
        self.call_with(call, observer, op).await
    }

    /// Makes a call: as many attempts by `op` as help and are allowed, the first success or the
    /// last error. `op` makes one attempt each time it is called.
    pub async fn call_with<T, E, O, F, Fut>(&self, call: Call, observer: &O, op: F) -> Result<T, CallError<E>>
    where
        O: Observer,
        F: Fn(Attempt) -> Fut,
        Fut: Future<Output = Result<T, E>>,
        E: Classify,
    {
        let mut now = clock();
        let call = Call { deadline: self.time_limiter.deadline(now, call.deadline), ..call };
        self.pass_throttle(observer, now)?;
        let _place = self.enter(call.deadline, observer, &mut now).await?;
        self.budget.deposit();
        let (mut number, mut previous, mut predicted) = (1, None, None);
        loop {
            let answer = self.attempt(number, call, observer, &op, &mut now).await;
            if let Some(chance) = predicted.take() {
                observer.observe(Event::Predicted { chance, succeeded: answer.is_ok() });
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
                dice: &self.dice,
            };
            match retry.decide(&failure, previous) {
                Decision::Stop(outcome) => {
                    ended(observer, outcome, number);
                    return Err(error);
                }
                Decision::Again { delay, predicted: chance } => {
                    number += 1;
                    observer.observe(Event::RetryScheduled {
                        attempt: number,
                        delay,
                        kind: verdict.kind,
                        predicted: chance,
                    });
                    sleep(delay).await;
                    (previous, predicted) = (Some(delay), chance);
                    now = clock();
                }
            }
        }
    }

    /// One attempt, hedged if that is configured and takes long enough.
    async fn attempt<T, E, O, F, Fut>(
        &self,
        number: u32,
        call: Call,
        observer: &O,
        op: &F,
        now: &mut Instant,
    ) -> Result<T, CallError<E>>
    where
        O: Observer,
        F: Fn(Attempt) -> Fut,
        Fut: Future<Output = Result<T, E>>,
        E: Classify,
    {
        let attempt = self.plan(number, false, call.deadline, *now)?;
        let permit = self.permit(observer, *now)?;
        let Some(hedge) = self.hedge.as_ref().filter(|_| call.idempotent) else {
            let (answer, end) = self.fly(attempt, permit, observer, op, *now).await;
            *now = end;
            return answer;
        };
        let delay = hedge.delay(*now);
        let mut first = pin!(self.fly(attempt, permit, observer, op, *now));
        if let Ok((answer, end)) = timeout(delay, first.as_mut()).await {
            *now = end;
            return answer;
        }
        *now = clock();
        let hedged = |outcome| observer.observe(Event::Hedge { outcome });
        let Some((attempt, permit, _place)) = self.hedging(number, call, observer, *now) else {
            hedged(HedgeOutcome::NoBudget);
            let (answer, end) = first.await;
            *now = end;
            return answer;
        };
        let mut second = pin!(self.fly(attempt, permit, observer, op, *now));
        let (answer, end) = tokio::select! {
            biased;
            (answer, end) = first.as_mut() => match answer {
                Ok(value) => {
                    hedged(HedgeOutcome::Lost);
                    (Ok(value), end)
                }
                // The first has failed: all hope is on the hedge, and if that fails too, the
                // first error is the one that tells.
                Err(error) => match second.await {
                    (Ok(value), end) => {
                        hedged(HedgeOutcome::Won);
                        (Ok(value), end)
                    }
                    (Err(_), end) => {
                        hedged(HedgeOutcome::Failed);
                        (Err(error), end)
                    }
                },
            },
            (answer, end) = second.as_mut() => {
                if answer.is_ok() {
                    hedged(HedgeOutcome::Won);
                    (answer, end)
                } else {
                    hedged(HedgeOutcome::Failed);
                    first.await
                }
            }
        };
        *now = end;
        answer
    }

    /// One request: timeout, the call itself, classification, record.
    async fn fly<'a, T, E, O, F, Fut>(
        &'a self,
        attempt: Attempt,
        permit: Option<Permit<'a>>,
        observer: &'a O,
        op: &F,
        start: Instant,
    ) -> (Result<T, CallError<E>>, Instant)
    where
        O: Observer,
        F: Fn(Attempt) -> Fut,
        Fut: Future<Output = Result<T, E>>,
        E: Classify,
    {
        let flight = Flight::start(self, observer, permit, start, attempt);
        let answer = timeout(attempt.timeout, op(attempt)).await;
        let end = clock();
        let (answer, outcome) = match answer {
            Ok(Ok(value)) => (Ok(value), Outcome::Success),
            Ok(Err(error)) => {
                let counts = error.verdict().counts;
                (Err(CallError::Failed(error)), counts)
            }
            Err(_) => (Err(self.timed_out(attempt)), Outcome::Timeout),
        };
        flight.land(outcome, end);
        (answer, end)
    }

    /// Whether the attempt's own timeout or the deadline ended it.
    fn timed_out<E>(&self, attempt: Attempt) -> CallError<E> {
        if attempt.timeout < self.time_limiter.attempt_timeout(attempt.number) {
            CallError::DeadlineExceeded
        } else {
            CallError::TimedOut { after: attempt.timeout }
        }
    }

    /// An attempt that starts `now`, unless the deadline has passed.
    fn plan<E>(
        &self,
        number: u32,
        hedge: bool,
        deadline: Option<Instant>,
        now: Instant,
    ) -> Result<Attempt, CallError<E>> {
        let own = self.time_limiter.attempt_timeout(number);
        let timeout = match remaining(deadline, now) {
            Some(Duration::ZERO) => return Err(CallError::DeadlineExceeded),
            Some(left) => own.min(left),
            None => own,
        };
        Ok(Attempt { number, hedge, timeout, deadline })
    }

    /// All that a hedge needs: budget, a place and a permit of its own, and time.
    fn hedging<'a>(
        &'a self,
        number: u32,
        call: Call,
        observer: &impl Observer,
        now: Instant,
    ) -> Option<(Attempt, Option<Permit<'a>>, Option<Place<'a>>)> {
        let attempt = self.plan::<()>(number, true, call.deadline, now).ok()?;
        let place = match &self.bulkhead {
            Some(bulkhead) => Some(bulkhead.try_enter()?),
            None => None,
        };
        let shut = |breaker: &Breaker| breaker.would_reject(now).is_some();
        if self.breaker.as_ref().is_some_and(shut) || !self.budget.withdraw(now) {
            return None;
        }
        let permit = self.permit::<()>(observer, now).ok()?;
        Some((attempt, permit, place))
    }

    /// Asks the throttle.
    #[inline]
    fn pass_throttle<E>(&self, observer: &impl Observer, now: Instant) -> Result<(), CallError<E>> {
        match &self.throttle {
            Some(throttle) if !throttle.admit(now, self.dice.roll()) => {
                observer.observe(Event::Throttled);
                Err(CallError::Throttled)
            }
            _ => Ok(()),
        }
    }

    /// Takes a place in the bulkhead, and tells the time anew if that took some.
    async fn enter<E>(
        &self,
        deadline: Option<Instant>,
        observer: &impl Observer,
        now: &mut Instant,
    ) -> Result<Option<Place<'_>>, CallError<E>> {
        let Some(bulkhead) = &self.bulkhead else {
            return Ok(None);
        };
        if let Some(place) = bulkhead.try_enter() {
            return Ok(Some(place));
        }
        let limit = remaining(deadline, *now).unwrap_or(Duration::MAX);
        let place = bulkhead.enter_within(limit).await;
        *now = clock();
        place.map(Some).map_err(|full| {
            observer.observe(Event::BulkheadRejected(full));
            CallError::BulkheadFull(full)
        })
    }

    /// Asks the breaker.
    #[inline]
    fn permit<E>(&self, observer: &impl Observer, now: Instant) -> Result<Option<Permit<'_>>, CallError<E>> {
        let Some(breaker) = &self.breaker else {
            return Ok(None);
        };
        let admission = breaker.try_acquire(now);
        if let Some(transition) = &admission.transition {
            observer.observe(Event::Transition(transition));
        }
        admission.permit.map(Some).map_err(|rejected| {
            observer.observe(Event::Rejected(rejected));
            CallError::Open(rejected)
        })
    }

    /// Learns from an attempt that ended.
    #[inline]
    fn learn(&self, attempt: Attempt, outcome: Outcome, elapsed: Duration, now: Instant) {
        let failed = match outcome {
            Outcome::Failure | Outcome::Timeout | Outcome::Panicked => true,
            Outcome::Success | Outcome::Ignored => false,
            // Nobody waited for the answer, so there is none to learn from.
            Outcome::Cancelled => return,
        };
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

/// The time by Tokio's clock, so that a paused one governs policies, too.
fn clock() -> Instant {
    TokioInstant::now().into_std()
}
