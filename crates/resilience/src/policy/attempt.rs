//! A single attempt: permit, timeout and hedge.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
    time::{Duration, Instant},
};

use tokio::time::{error::Elapsed, timeout, timeout_at};

use super::{
    Attempt, Call, CallError, Event, HedgeOutcome, Observer, Policy,
    compartment::Entered,
    in_flight::{Fate, InFlight},
};
use crate::{
    breaker::{Breaker, Outcome, Permit},
    deadline::remaining,
    retry::Classify,
};

impl Policy {
    /// An attempt, hedged if that is configured and it takes long enough.
    pub(super) async fn attempt<T, E, O, F, Fut>(
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
        if number == 1 {
            // What this side turns away costs the dependency nothing, and earns no retry.
            self.budget.deposit();
        }
        let (fate, other) = (Fate::default(), Fate::default());
        let Some(hedge) = self.hedge.as_ref().filter(|_| call.idempotent) else {
            let (answer, end) = self.send((attempt, permit), observer, op, *now, &fate).await;
            *now = end;
            return answer;
        };
        let delay = hedge.delay(*now);
        let mut first = pin!(self.send((attempt, permit), observer, op, *now, &fate));
        if let Ok((answer, end)) = self.within(*now, delay, first.as_mut()).await {
            *now = end;
            return answer;
        }
        *now = self.now();
        let hedged = |outcome| observer.observe(Event::Hedge { outcome });
        let Some((attempt, permit, _place)) = self.hedging(number, call, observer, *now) else {
            hedged(HedgeOutcome::NoBudget);
            let (answer, end) = first.await;
            *now = end;
            return answer;
        };
        let mut second = pin!(self.send((attempt, permit), observer, op, *now, &other));
        let (answer, end) = tokio::select! {
            biased;
            (answer, end) = first.as_mut() => match answer {
                Ok(value) => {
                    other.outrun();
                    hedged(HedgeOutcome::Lost);
                    (Ok(value), end)
                }
                // The first request has failed, so that the hedge decides. If that fails too, the first error is
                // returned.
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
                    fate.outrun();
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

    /// One request: timeout, call, classification, record.
    async fn send<'a, T, E, O, F, Fut>(
        &'a self,
        (attempt, permit): (Attempt, Option<Permit<'a>>),
        observer: &'a O,
        op: &F,
        start: Instant,
        fate: &'a Fate,
    ) -> (Result<T, CallError<E>>, Instant)
    where
        O: Observer,
        F: Fn(Attempt) -> Fut,
        Fut: Future<Output = Result<T, E>>,
        E: Classify,
    {
        let in_flight = InFlight::start(self, observer, permit, start, (attempt, fate));
        let mut call = pin!(fate.inside(|| op(attempt)));
        let watched = poll_fn(|context| fate.inside(|| call.as_mut().poll(context)));
        let answer = self.within(start, attempt.timeout, watched).await;
        let end = self.now();
        let (answer, outcome) = match answer {
            Ok(Ok(value)) => (Ok(value), Outcome::Success),
            Ok(Err(error)) => {
                let counts = error.verdict().counts;
                (Err(CallError::Failed(error)), counts)
            }
            Err(_) => self.out_of_time(attempt),
        };
        in_flight.finish(outcome, end);
        (answer, end)
    }

    /// Outcome of an attempt that was ended by its timeout or the deadline, and how it is recorded.
    #[cold]
    fn out_of_time<T, E>(&self, attempt: Attempt) -> (Result<T, CallError<E>>, Outcome) {
        let own = self.time_limiter.attempt_timeout(attempt.number);
        if attempt.timeout >= own {
            return (Err(CallError::TimedOut { after: attempt.timeout }), Outcome::Timeout);
        }
        let counts = self.hurry.cut(attempt.timeout, own);
        (Err(CallError::DeadlineExceeded), if counts { Outcome::Timeout } else { Outcome::Cancelled })
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

    /// Acquires everything that a hedge needs: budget, slot, permit and time.
    fn hedging<'a>(
        &'a self,
        number: u32,
        call: Call,
        observer: &impl Observer,
        now: Instant,
    ) -> Option<(Attempt, Option<Permit<'a>>, Entered<'a>)> {
        let attempt = self.plan::<()>(number, true, call.deadline, now).ok()?;
        let place = self.compartment.try_enter()?;
        let shut = |breaker: &Breaker| breaker.would_reject(now).is_some();
        if self.breaker.as_ref().is_some_and(shut) || !self.budget.withdraw(now) {
            return None;
        }
        let permit = self.permit::<()>(observer, now).ok()?;
        Some((attempt, permit, place))
    }

    /// Asks the breaker for a permit.
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

    /// Waits for a future no longer than `limit` after `start`. A future that is ready at once costs no timer
    /// and no second clock read.
    async fn within<T>(&self, start: Instant, limit: Duration, future: impl Future<Output = T>) -> Result<T, Elapsed> {
        let mut future = pin!(future);
        let first = poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await;
        match first {
            Poll::Ready(value) => Ok(value),
            Poll::Pending if self.clock.is_none() => timeout_at((start + limit).into(), future).await,
            // The timers know nothing of another clock.
            Poll::Pending => timeout(limit, future).await,
        }
    }
}
