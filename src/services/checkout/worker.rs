//! The worker: goes on with orders that wait, and with those whose process died.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::time::Instant;

use super::{CheckoutState, Gate, Inner};
use crate::client::Context;
use crate::store::{Job, OrderState, StoreError, millis};
use breakerbox_resilience::breaker::{Command, State};
use breakerbox_telemetry::{QueueOutcome, QueueReading};

/// Shortest pause between two looks at the queue.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
/// How often what is too old is forgotten.
const PRUNE: Duration = Duration::from_mins(5);
/// Orders that are forgotten in one transaction, and transactions in a row.
const PRUNE_AT_ONCE: u32 = 200;
const PRUNE_ROUNDS: u32 = 500;

impl CheckoutState {
    /// Works until `stopped` becomes true; what is under way then is ended first.
    pub async fn work(self, stopped: watch::Receiver<bool>) {
        match &self.inner.gate {
            Gate::Shared(shared) => drop(tokio::join!(self.drain(stopped.clone()), shared.keep_up(stopped))),
            Gate::Local | Gate::Stateless(_) => self.drain(stopped).await,
        }
    }

    async fn drain(&self, mut stopped: watch::Receiver<bool>) {
        let mut pruned = Instant::now();
        let mut away = false;
        let mut admitting = false;
        loop {
            let round = self.round(&mut admitting).await;
            let pause = match &round {
                Ok(pause) => *pause,
                Err(error) => {
                    if !away {
                        tracing::warn!(%error, "the queue can't be worked on");
                    }
                    self.inner.settings.queue.poll
                }
            };
            away = round.is_err();
            if pruned.elapsed() >= PRUNE && !away {
                pruned = Instant::now();
                self.prune().await;
            }
            tokio::select! {
                _ = stopped.wait_for(|stopped| *stopped) => return,
                () = tokio::time::sleep(pause) => {}
                () = self.inner.wake.notified() => {}
            }
        }
    }

    /// Tries what is due, and says when to look again. `admitting` is whether the payment gateway's
    /// breaker let calls through when it was last looked at.
    async fn round(&self, admitting: &mut bool) -> Result<Duration, StoreError> {
        let Inner { store, settings, queue, clients, .. } = &*self.inner;
        let own = &settings.queue;
        // Somebody may close the breaker long before its wait is over. What a process that is gone
        // was turned away by is unknown to this one, which begins with a look of its own.
        let admits = clients
            .payment
            .protected
            .snapshot()
            .is_none_or(|breaker| matches!(breaker.state, State::Closed | State::Disabled | State::MetricsOnly));
        if let Gate::Stateless(_) = self.inner.gate {
            self.keep_nothing();
        }
        if admits && !*admitting {
            let due = store.unblock(self.now()).await?;
            if due > 0 {
                tracing::info!(orders = due, "the payment gateway's breaker is closed: what waited for it is due");
            }
        }
        *admitting = admits;
        let jobs = store.claim(own.batch, own.visibility, self.now()).await?;
        let results = join_all(jobs.iter().map(|job| self.try_again(job))).await;
        let stats = store.queue().await?;
        let now = self.now();
        queue.read(QueueReading {
            depth: stats.depth,
            dead: stats.dead,
            oldest: stats.oldest.map(|since| Duration::from_millis(u64::try_from(now - since).unwrap_or(0))),
        });
        results.into_iter().collect::<Result<Vec<()>, _>>()?;
        let until_due =
            stats.next_due.map_or(own.poll, |due| Duration::from_millis(u64::try_from(due - now).unwrap_or(0)));
        Ok(until_due.clamp(SHORTEST_PAUSE, own.poll.max(SHORTEST_PAUSE)))
    }

    /// A stateless breaker has no other beside it. A command may have brought that to life.
    fn keep_nothing(&self) {
        let payment = &self.inner.clients.payment.protected;
        let alive = |state| matches!(state, State::Closed | State::Open | State::HalfOpen);
        if payment.snapshot().is_some_and(|breaker| alive(breaker.state)) {
            payment.command(Command::Disable);
        }
    }

    async fn try_again(&self, job: &Job) -> Result<(), StoreError> {
        let Inner { store, settings, queue, .. } = &*self.inner;
        let Some(order) = store.order(&job.order_id).await? else { return Ok(()) };
        let was = order.state;
        // The item is this worker's for the visibility timeout, and not a moment longer.
        let context = Context::new().within(settings.queue.visibility / 2);
        let advanced = tokio::time::timeout(settings.queue.visibility, self.advance(&context, order, Some(job)));
        match advanced.await {
            Ok(Ok(answer)) => {
                if answer.is_some() && was == OrderState::Queued {
                    queue.attempted(QueueOutcome::Done);
                }
                Ok(())
            }
            Ok(Err(error)) => Err(error),
            Err(_) => {
                tracing::warn!(order = job.order_id, "an attempt took longer than the visibility timeout");
                Ok(())
            }
        }
    }

    /// Forgets what is too old, a little at a time: orders under way must not wait for it.
    async fn prune(&self) {
        let before = self.now() - millis(self.inner.settings.keep_orders);
        for _ in 0..PRUNE_ROUNDS {
            match self.inner.store.prune(before, self.now(), PRUNE_AT_ONCE).await {
                Ok(gone) if gone >= u64::from(PRUNE_AT_ONCE) => {}
                Ok(_) => return,
                Err(error) => {
                    tracing::warn!(%error, "old orders can't be forgotten");
                    return;
                }
            }
        }
    }
}
