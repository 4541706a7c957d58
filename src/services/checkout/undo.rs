//! Compensation: what is undone for a cancelled order.
//!
//! First the charge: a key that may have charged is voided, which refunds it and refuses a late charge. Then the
//! seat. Each step is idempotent and repeated until it is confirmed or the order becomes a dead letter.

use std::time::Duration;

use super::saga::{change, step};
use super::{CheckoutState, Inner, retry_after};
use crate::client::{Context, Error, Request};
use crate::services::payment_gateway::Void;
use crate::store::{Change, Effect, Job, Order, OrderState, Step, StoreError, millis};
use breakerbox_resilience::breaker::State;
use breakerbox_telemetry::{QueueOutcome, SagaStep, StepOutcome};

/// Timeout of a void request.
const VOID_TIMEOUT: Duration = Duration::from_secs(2);

impl CheckoutState {
    /// Voids what may have been charged and releases what may be reserved, repeatedly if needed.
    pub(super) async fn unwind(&self, context: &Context, order: Order, job: Option<&Job>) -> Result<(), StoreError> {
        let Inner { queue, settings, .. } = &*self.inner;
        let (steps, failed) = self.give_back(context, &order).await;
        let now = self.now().await?;
        let Some(error) = failed else {
            let change = Change { steps, ..change(OrderState::Cancelled, Effect::Remove, step("", "", "")) };
            if self.store().change(&order, &change, now).await?.is_some()
                && let Some(job) = job.filter(|job| job.parked)
            {
                queue.attempted(QueueOutcome::Done);
                queue.left(Duration::from_millis(u64::try_from(now - job.enqueued_at).unwrap_or(0)));
            }
            self.inner.wake.outbox.notify_one();
            return Ok(());
        };
        let turned_away = matches!(error, Error::Open { .. } | Error::BulkheadFull | Error::Throttled);
        let attempts = job.map_or(0, |job| job.attempts) + i64::from(!turned_away);
        let effect = if attempts >= i64::from(settings.queue.max_attempts) {
            queue.attempted(QueueOutcome::Dead);
            tracing::error!(order = order.id, %error, "compensation of the order failed; manual action required");
            Effect::Bury { error: format!("not compensated: {error}, {attempts} attempts") }
        } else {
            queue.attempted(if turned_away { QueueOutcome::Postponed } else { QueueOutcome::Retried });
            let delay = if turned_away { retry_after(&error) } else { settings.queue.delay(attempts) };
            Effect::Park {
                due_at: now + millis(delay.min(settings.queue.longest_pause())),
                attempts,
                error: format!("not given back: {error}"),
                blocked: self.blocked_by(&error),
            }
        };
        let change = Change { steps, ..change(OrderState::Cancelling, effect, step("", "", "")) };
        self.store().change(&order, &change, now).await.map(|_| ())
    }

    /// Voids a key. The queue repeats it for as long as needed, so it neither counts for the breaker nor uses its
    /// probes; while the breaker is open it is not sent either.
    async fn void(&self, context: &Context, key: &str) -> Result<Void, Error> {
        if let Some(refused) = self.turned_away() {
            return Err(refused);
        }
        let payment = &self.inner.clients.payment;
        let request = Request::post(format!("/charges/{key}/void")).repeatable();
        let context = context.within(VOID_TIMEOUT);
        let void = payment.bare.call_json::<Void>(&context, request);
        tokio::time::timeout(VOID_TIMEOUT, void).await.unwrap_or(Err(Error::TimedOut))
    }

    /// The error with which the payment gateway's breaker would reject a call now, if it would.
    pub(super) fn turned_away(&self) -> Option<Error> {
        let now = self.inner.clients.payment.protected.snapshot()?;
        match now.state {
            State::ForcedOpen => Some(Error::Open { retry_after: VOID_TIMEOUT }),
            State::Open if !now.open_remaining.is_zero() => Some(Error::Open { retry_after: now.open_remaining }),
            _ => None,
        }
    }

    /// The steps that were undone, and the error that prevented the rest.
    async fn give_back(&self, context: &Context, order: &Order) -> (Vec<Step>, Option<Error>) {
        let Inner { clients, telemetry, .. } = &*self.inner;
        let mut steps = Vec::new();
        if order.charge_sent {
            match self.void(context, &order.id).await {
                Ok(Void { refunded }) => {
                    telemetry.step(SagaStep::Void, StepOutcome::Done);
                    steps.push(step("void", "done", if refunded { "refunded" } else { "nothing was charged" }));
                }
                Err(error) => {
                    telemetry.step(SagaStep::Void, StepOutcome::Failed);
                    steps.push(step("void", "failed", error.to_string()));
                    return (steps, Some(error));
                }
            }
        }
        let request = Request::post(format!("/reservations/{}/release", order.id)).repeatable();
        match clients.inventory.of(context).call(context, request).await {
            Ok(_) => {
                telemetry.step(SagaStep::Release, StepOutcome::Done);
                steps.push(step("release", "done", ""));
                (steps, None)
            }
            Err(error) => {
                telemetry.step(SagaStep::Release, StepOutcome::Failed);
                steps.push(step("release", "failed", error.to_string()));
                (steps, Some(error))
            }
        }
    }
}
