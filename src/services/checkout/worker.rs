//! The worker: continues queued orders and those whose process died, sends messages to viewers, and deletes old
//! data.
//!
//! Each lane of the queue has slots that are filled as soon as they are free: a slow charge only blocks its own
//! slot. Urgent work has separate slots.
//!
//! Whether the breaker admits calls is checked each time: if it does, orders that it rejected are due at once. An
//! event about its closing could be missed; its state cannot.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{CheckoutState, Gate, Inner};
use crate::client::{Context, Request};
use crate::services::notification::Notification;
use crate::store::{Job, Lane, Message, Order, OrderState, StoreError, millis};
use breakerbox_resilience::breaker::{Command, State};
use breakerbox_telemetry::{OrderStatus, QueueOutcome, QueueReading, RevenueStatus, SagaStep, StepOutcome};

/// Shortest pause between two reads of the queue.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
/// Concurrent recoveries and compensations.
const URGENT: usize = 8;
/// Messages leased at once, sent concurrently, and the lease of the sender.
const MESSAGES: u32 = 32;
const SENT_AT_ONCE: usize = 8;
const MESSAGE_LEASE: Duration = Duration::from_secs(30);
/// Interval of deleting old data.
const PRUNE: Duration = Duration::from_mins(5);
/// Orders deleted in one transaction, and transactions in a row.
const PRUNE_AT_ONCE: u32 = 200;
const PRUNE_ROUNDS: u32 = 500;

impl CheckoutState {
    /// Works until `stopped` becomes true; work in progress is finished.
    pub async fn work(self, stopped: watch::Receiver<bool>) {
        let Inner { settings, wake, gate, .. } = &*self.inner;
        if let Err(error) = self.inner.store.check().await {
            tracing::error!(%error, "checkout's database cannot be used");
        }
        let places = usize::try_from(settings.queue.concurrency).unwrap_or(1);
        let all = async {
            tokio::join!(
                self.lane(Lane::Urgent, URGENT, &wake.urgent, stopped.clone()),
                self.lane(Lane::Charge, places, &wake.charge, stopped.clone()),
                self.send_messages(stopped.clone()),
                self.keep_house(stopped.clone()),
            )
        };
        match gate {
            Gate::Shared(shared) => drop(tokio::join!(all, shared.keep_up(stopped.clone()))),
            Gate::Local | Gate::Stateless(_) => drop(all.await),
        }
    }

    /// Processes one lane in all of its slots.
    async fn lane(&self, lane: Lane, places: usize, wake: &Notify, mut stopped: watch::Receiver<bool>) {
        let mut running = JoinSet::new();
        let mut away = false;
        loop {
            while running.try_join_next().is_some() {}
            let free = places.saturating_sub(running.len());
            let filled = if free == 0 { Ok(Duration::MAX) } else { self.fill(lane, free, &mut running).await };
            if let Err(error) = &filled
                && !away
            {
                tracing::warn!(%error, "the queue cannot be processed");
            }
            away = filled.is_err();
            let pause = filled.unwrap_or(self.inner.settings.queue.poll);
            tokio::select! {
                _ = stopped.wait_for(|stopped| *stopped) => break,
                Some(_) = running.join_next() => {}
                () = tokio::time::sleep(pause), if pause < Duration::MAX => {}
                () = wake.notified() => {}
            }
        }
        while running.join_next().await.is_some() {}
    }

    /// Processes due items once, at most so many per lane, and returns their number.
    pub async fn work_once(&self, places: usize) -> Result<usize, StoreError> {
        let mut running = JoinSet::new();
        for lane in [Lane::Urgent, Lane::Charge] {
            self.fill(lane, places, &mut running).await?;
        }
        let begun = running.len();
        while running.join_next().await.is_some() {}
        Ok(begun)
    }

    /// Fills free slots with due items, and returns the time until the next read.
    async fn fill(&self, lane: Lane, free: usize, running: &mut JoinSet<()>) -> Result<Duration, StoreError> {
        let Inner { store, settings, .. } = &*self.inner;
        let own = &settings.queue;
        if let Gate::Stateless(_) = self.inner.gate {
            self.keep_nothing();
        }
        let now = self.now().await?;
        if self.admits() {
            let due = store.unblock(now).await?;
            if due > 0 {
                tracing::info!(
                    orders = due,
                    "the payment gateway's breaker admits calls: orders that waited for it are due"
                );
            }
        }
        let most = u32::try_from(free).unwrap_or(u32::MAX);
        let jobs = store.claim(lane, most, own.visibility, now).await?;
        let full = jobs.len() == free;
        for job in jobs {
            let state = self.clone();
            running.spawn(async move {
                if let Err(error) = state.try_again(&job).await {
                    tracing::debug!(%error, order = job.order_id, "an attempt was interrupted; its lease will run out");
                }
            });
        }
        if full {
            // The next slot that becomes free reads the queue again.
            return Ok(Duration::MAX);
        }
        let due = store.next_due(lane).await?;
        let until_due = due.map_or(own.poll, |due| Duration::from_millis(u64::try_from(due - now).unwrap_or(0)));
        Ok(until_due.clamp(SHORTEST_PAUSE, own.poll.max(SHORTEST_PAUSE)))
    }

    /// Whether the payment gateway's breaker is closed.
    fn admits(&self) -> bool {
        let open = |state| matches!(state, State::Closed | State::Disabled | State::MetricsOnly);
        self.inner.clients.payment.protected.snapshot().is_none_or(|breaker| open(breaker.state))
    }

    /// Keeps the client's own breaker disabled with a stateless breaker, in case a command enabled it.
    fn keep_nothing(&self) {
        let payment = &self.inner.clients.payment.protected;
        let alive = |state| matches!(state, State::Closed | State::Open | State::HalfOpen);
        if payment.snapshot().is_some_and(|breaker| alive(breaker.state)) {
            payment.command(Command::Disable);
        }
    }

    async fn try_again(&self, job: &Job) -> Result<(), StoreError> {
        let Inner { store, settings, queue, .. } = &*self.inner;
        let order = match store.order(&job.order_id).await {
            Err(error @ StoreError::Unknown { .. }) => return self.give_way(job, &error).await,
            Err(error) => return Err(error),
            Ok(None) => return self.bury(job, None, "there is no such order").await,
            Ok(Some(order)) => order,
        };
        if order.state.is_final() {
            tracing::warn!(order = order.id, "the queue contains a final order; removing it");
            return store.finish(job).await;
        }
        if order.state == OrderState::Dead {
            return self.bury(job, None, "its order is dead").await;
        }
        if job.claims > i64::from(settings.queue.max_attempts) {
            let why = format!("taken {} times without a result", job.claims - 1);
            return self.bury(job, Some(&order), &why).await;
        }
        let was = order.state;
        // The worker holds the item for the visibility timeout and must finish within it.
        let context = Context::new().within(settings.queue.visibility / 2);
        let advanced = tokio::time::timeout(settings.queue.visibility, self.advance(&context, order, job));
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

    /// Postpones an order that this release cannot parse: a newer one may be able to.
    async fn give_way(&self, job: &Job, error: &StoreError) -> Result<(), StoreError> {
        let own = &self.inner.settings.queue;
        if job.claims >= i64::from(own.max_attempts) {
            return self.bury(job, None, &error.to_string()).await;
        }
        let due_at = self.now().await? + millis(own.delay(job.claims));
        self.store().postpone(job, due_at, &error.to_string()).await
    }

    /// Turns an item that can never succeed into a dead letter.
    async fn bury(&self, job: &Job, order: Option<&Order>, why: &str) -> Result<(), StoreError> {
        let Inner { queue, telemetry, wake, .. } = &*self.inner;
        if self.store().bury(job, why, self.now().await?).await? {
            tracing::error!(order = job.order_id, why, "order moved to dead letters; manual action required");
            queue.attempted(QueueOutcome::Dead);
            if let Some(order) = order.filter(|order| order.state != OrderState::Cancelling) {
                telemetry.order(OrderStatus::Dead);
                telemetry.revenue(RevenueStatus::Lost, order.amount);
            }
            wake.outbox.notify_one();
        }
        Ok(())
    }

    /// Sends the messages of the outbox, at least once.
    async fn send_messages(&self, mut stopped: watch::Receiver<bool>) {
        let poll = self.inner.settings.queue.poll;
        loop {
            let pause = match self.send_some().await {
                Ok(sent) if sent >= MESSAGES as usize => SHORTEST_PAUSE,
                Ok(_) => poll,
                Err(error) => {
                    tracing::debug!(%error, "messages can't be sent; they wait in the outbox");
                    poll
                }
            };
            tokio::select! {
                _ = stopped.wait_for(|stopped| *stopped) => return,
                () = tokio::time::sleep(pause) => {}
                () = self.inner.wake.outbox.notified() => {}
            }
        }
    }

    async fn send_some(&self) -> Result<usize, StoreError> {
        let Inner { store, settings, telemetry, .. } = &*self.inner;
        let messages = store.claim_messages(MESSAGES, MESSAGE_LEASE, self.now().await?).await?;
        let taken = messages.len();
        if taken == 0 {
            return Ok(0);
        }
        let mut results = Vec::with_capacity(taken);
        for some in messages.chunks(SENT_AT_ONCE) {
            results.extend(join_all(some.iter().map(|message| self.send(message))).await);
        }
        let now = self.now().await?;
        let (mut received, mut failed) = (Vec::new(), Vec::new());
        for (message, result) in messages.into_iter().zip(results) {
            match result {
                Ok(()) => {
                    telemetry.step(SagaStep::Notify, StepOutcome::Done);
                    received.push(message);
                }
                Err(why) => {
                    telemetry.step(SagaStep::Notify, StepOutcome::Failed);
                    let due_at = now + millis(settings.queue.delay(message.attempts + 1));
                    failed.push((message, due_at, why));
                }
            }
        }
        store.settle_messages(received, failed, now).await?;
        Ok(taken)
    }

    async fn send(&self, message: &Message) -> Result<(), String> {
        let Message { id, order_id, user_id, text, .. } = message.clone();
        let body = Notification { id, order_id, user_id, text };
        let request = Request::post("/notifications").json(&body).repeatable();
        let client = &self.inner.clients.notification.protected;
        client.call(&Context::new(), request).await.map(|_| ()).map_err(|error| error.to_string())
    }

    /// Reads the queue's statistics, corrects due times after a clock change, and deletes old data.
    async fn keep_house(&self, mut stopped: watch::Receiver<bool>) {
        let mut pruned = Instant::now();
        loop {
            if let Err(error) = self.look_after().await {
                tracing::debug!(%error, "the queue can't be looked at");
            } else if pruned.elapsed() >= PRUNE {
                pruned = Instant::now();
                self.prune().await;
            }
            tokio::select! {
                _ = stopped.wait_for(|stopped| *stopped) => return,
                () = tokio::time::sleep(self.inner.settings.queue.poll) => {}
            }
        }
    }

    async fn look_after(&self) -> Result<(), StoreError> {
        let Inner { store, settings, queue, .. } = &*self.inner;
        let (stats, now) = (store.queue().await?, self.now().await?);
        queue.read(QueueReading {
            depth: stats.depth,
            dead: stats.dead,
            oldest: stats.oldest.map(|since| Duration::from_millis(u64::try_from(now - since).unwrap_or(0))),
        });
        let own = &settings.queue;
        let farthest = own.longest_pause().max(own.visibility).max(settings.lease) + Duration::from_mins(1);
        let brought_in = store.pull_in(now + millis(farthest), now).await?;
        if brought_in > 0 {
            tracing::warn!(
                orders = brought_in,
                "due times were too far in the future, after a clock was set back; corrected"
            );
        }
        Ok(())
    }

    /// Deletes old data in small steps, so that orders in progress need not wait.
    async fn prune(&self) {
        for _ in 0..PRUNE_ROUNDS {
            let gone = async {
                let now = self.now().await?;
                self.store().prune(now - millis(self.inner.settings.keep_orders), now, PRUNE_AT_ONCE).await
            };
            match gone.await {
                Ok(gone) if gone >= u64::from(PRUNE_AT_ONCE) => {}
                Ok(_) => return,
                Err(error) => {
                    tracing::warn!(%error, "deletion of old orders failed");
                    return;
                }
            }
        }
    }
}
