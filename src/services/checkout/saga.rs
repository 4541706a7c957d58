//! The saga: steps of an order, their sequence, and when an order is cancelled.
//!
//! ```text
//! pending ── reserve ──► charging ── charge ──► paid ── notify
//!    │                      │  │                 ▲
//!    │ sold out, declined,  │  └► queued ────────┘
//!    ▼ not to be had        ▼       │ tried too often
//! cancelling ── void, release ──► cancelled      └► dead
//! ```
//!
//! [`advance`](CheckoutState::advance) continues an order from any state. The request that accepts an order and
//! the worker that recovers one run the same code.
//!
//! The compensation of cancelled orders is in `undo`.

use super::wire::{OrderAnswer, OrderOutcome, PAYMENT_NOTICE};
use super::{CheckoutState, Gate, Inner, retry_after};
use crate::client::{Context, Error, FallbackKind, Request};
use crate::services::inventory::{Reservation, ReservationRequest};
use crate::services::payment_gateway::{Charge, ChargeRequest};
use crate::store::{Change, Effect, Job, Order, OrderState, Step, StoreError, millis};
use breakerbox_telemetry::{OrderStatus, QueueOutcome, RevenueStatus, SagaStep, StepOutcome};
use http::StatusCode;
use std::time::Duration;

/// Result of a charge.
enum Charging {
    /// Charged, once.
    Paid(Charge),
    /// Refused for good.
    Refused(OrderOutcome, &'static str),
    /// The call was rejected locally and never reached the payment gateway.
    NotSent(Error),
    /// Unknown.
    Unknown(Error),
}

/// An order whose charge may be sent: the intent is durable.
struct Intent {
    order: Order,
    /// Whether an earlier run may have sent a charge.
    sent_before: bool,
}

/// Answer to a viewer whose order is not paid.
struct Refusal {
    outcome: OrderOutcome,
    retry_after: Option<Duration>,
    /// Start of its wait in the queue, Unix milliseconds, if it waited.
    parked_since: Option<i64>,
}

impl Refusal {
    fn of(outcome: OrderOutcome) -> Self {
        Self { outcome, retry_after: None, parked_since: None }
    }

    fn parked(self, job: &Job) -> Self {
        Self { parked_since: job.parked.then_some(job.enqueued_at), ..self }
    }
}

impl CheckoutState {
    /// Advances an order until it is final, queued or cancelled. `job` is its item if a worker runs it. Returns
    /// the viewer's answer, if there is one; `None` if another process was faster.
    pub(super) async fn advance(
        &self,
        context: &Context,
        order: Order,
        job: &Job,
    ) -> Result<Option<OrderAnswer>, StoreError> {
        let over = order.deadline > 0 && order.deadline <= self.now().await?;
        if over && matches!(order.state, OrderState::Charging | OrderState::Queued) {
            let expired = step("deadline", "passed", "what it buys is over");
            return self.give_up(context, order, expired, &Refusal::of(OrderOutcome::Expired).parked(job)).await;
        }
        match order.state {
            OrderState::Pending => self.reserve(context, order, job).await,
            OrderState::Charging => match self.take_over(&order).await? {
                Some(order) => self.charge(context, Intent { order, sent_before: true }, job).await,
                None => Ok(None),
            },
            OrderState::Queued => self.charge_again(context, order, job).await,
            OrderState::Cancelling => self.unwind(context, order, Some(job)).await.map(|()| None),
            OrderState::Paid | OrderState::Cancelled | OrderState::Dead => Ok(None),
        }
    }

    async fn reserve(&self, context: &Context, order: Order, job: &Job) -> Result<Option<OrderAnswer>, StoreError> {
        let Inner { clients, telemetry, .. } = &*self.inner;
        let body = ReservationRequest { order_id: order.id.clone(), film_id: order.film_id, kind: order.kind };
        // Idempotent by the order's id, so it may be repeated although it is a POST.
        let request = Request::post("/reservations").json(&body).repeatable();
        match clients.inventory.of(context).call_json::<Reservation>(context, request).await {
            Ok(reservation) => {
                telemetry.step(SagaStep::Reserve, StepOutcome::Done);
                let longest = self.inner.settings.queue.longest_wait;
                let deadline = reservation.ends_at.unwrap_or_else(|| order.created_at.saturating_add(millis(longest)));
                // Recorded before the charge is sent: the process that recovers the order after a crash must
                // know that money may have been taken.
                let change = Change {
                    charge_sent: Some(true),
                    deadline: Some(deadline),
                    ..change(OrderState::Charging, Effect::Keep, step("reserve", "done", ""))
                };
                match self.store().change(&order, &change, self.now().await?).await? {
                    Some(order) => Box::pin(self.charge(context, Intent { order, sent_before: false }, job)).await,
                    None => Ok(None),
                }
            }
            Err(error) if matches!(error.status(), Some(StatusCode::CONFLICT | StatusCode::GONE)) => {
                telemetry.step(SagaStep::Reserve, StepOutcome::Refused);
                let refused = step("reserve", "refused", error.to_string());
                self.give_up(context, order, refused, &Refusal::of(OrderOutcome::SoldOut)).await
            }
            Err(error) => {
                telemetry.step(SagaStep::Reserve, StepOutcome::Failed);
                let failed = step("reserve", "failed", error.to_string());
                let retry_after = Some(retry_after(&error));
                let refusal = Refusal { retry_after, ..Refusal::of(OrderOutcome::Unavailable) };
                self.give_up(context, order, failed, &refusal).await
            }
        }
    }

    /// Takes over an order whose charge was in progress. The process that accepted it may still be running and be
    /// rejected by its breaker: its conclusion that nothing was charged would then be outdated.
    async fn take_over(&self, order: &Order) -> Result<Option<Order>, StoreError> {
        let resumed = step("charge", "resumed", "charge resumed after the previous lease expired");
        let change = Change { charge_sent: Some(true), ..change(OrderState::Charging, Effect::Keep, resumed) };
        self.store().change(order, &change, self.now().await?).await
    }

    /// Charges a queued order. The intent is durable before the charge is sent: a worker that dies between the
    /// charge and its answer leaves an order that records it.
    async fn charge_again(
        &self,
        context: &Context,
        order: Order,
        job: &Job,
    ) -> Result<Option<OrderAnswer>, StoreError> {
        if order.charge_sent {
            return self.charge(context, Intent { order, sent_before: true }, job).await;
        }
        if let Some(refused) = self.turned_away() {
            self.inner.telemetry.step(SagaStep::Charge, StepOutcome::Failed);
            return self.put_off(context, order, job, &refused, false).await;
        }
        let intent = Change {
            charge_sent: Some(true),
            steps: Vec::new(),
            ..change(OrderState::Queued, Effect::Keep, step("", "", ""))
        };
        match self.store().change(&order, &intent, self.now().await?).await? {
            Some(order) => self.charge(context, Intent { order, sent_before: false }, job).await,
            None => Ok(None),
        }
    }

    /// Charges, once the intent is durable. If the order is cancelled from here on, it is voided regardless of the
    /// last answer: any of several attempts may have charged, and a payment gateway that refuses may have charged
    /// before.
    async fn charge(&self, context: &Context, intent: Intent, job: &Job) -> Result<Option<OrderAnswer>, StoreError> {
        let telemetry = &self.inner.telemetry;
        let Intent { order, sent_before } = intent;
        match self.ask_for_money(context, &order).await {
            Charging::Paid(charge) => {
                telemetry.step(SagaStep::Charge, StepOutcome::Done);
                self.mark_paid(order, job, &charge).await
            }
            Charging::Refused(outcome, why) => {
                telemetry.step(SagaStep::Charge, StepOutcome::Refused);
                let refused = step("charge", "refused", why);
                self.give_up(context, order, refused, &Refusal::of(outcome).parked(job)).await
            }
            Charging::NotSent(error) => {
                telemetry.step(SagaStep::Charge, StepOutcome::Failed);
                // This run sent no charge; whether an earlier one did is stored in the order.
                self.put_off(context, Order { charge_sent: sent_before, ..order }, job, &error, false).await
            }
            Charging::Unknown(error) => {
                telemetry.step(SagaStep::Charge, StepOutcome::Failed);
                // A rejected call is no attempt, although one before it may have been sent.
                let tried = !matches!(error, Error::Open { .. } | Error::BulkheadFull | Error::Throttled);
                self.put_off(context, order, job, &error, tried).await
            }
        }
    }

    async fn ask_for_money(&self, context: &Context, order: &Order) -> Charging {
        let Inner { clients, gate, .. } = &*self.inner;
        if let Gate::Stateless(breaker) = gate
            && context.protection
            && let Some(retry_after) = breaker.refusal().await
        {
            return Charging::NotSent(Error::Open { retry_after });
        }
        let body = ChargeRequest { user_id: order.user_id, amount_won: order.amount };
        let request = Request::post("/charges").header("idempotency-key", &order.id).json(&body);
        // The saga outlives its caller, and the policy bounds the call. What is left of a caller's patience
        // would only cut it short, and make a slow store look like a payment gateway that fails.
        let patient = Context { deadline: context.deadline.filter(|_| !context.protection), ..*context };
        let asked = clients.payment.of(context).call_json::<Charge>(&patient, request).await;
        if let Gate::Shared(shared) = gate
            && context.protection
        {
            shared.saw(&asked);
        }
        match asked {
            Ok(charge) if charge.amount_won == order.amount => Charging::Paid(charge),
            Ok(charge) => {
                tracing::error!(
                    order = order.id,
                    asked = order.amount,
                    charged = charge.amount_won,
                    "a different amount was charged than requested; voiding the charge"
                );
                Charging::Refused(OrderOutcome::PaymentFailed, "another amount was charged")
            }
            Err(error) => match (&error, error.status()) {
                (_, Some(StatusCode::PAYMENT_REQUIRED)) => Charging::Refused(OrderOutcome::Declined, "declined"),
                (_, Some(StatusCode::CONFLICT)) => Charging::Refused(OrderOutcome::PaymentFailed, "the key was voided"),
                (Error::Open { .. } | Error::BulkheadFull | Error::Throttled, _) if clients.payment_tried_once => {
                    Charging::NotSent(error)
                }
                _ => Charging::Unknown(error),
            },
        }
    }

    /// The charge succeeded: the order is paid.
    async fn mark_paid(&self, order: Order, job: &Job, charge: &Charge) -> Result<Option<OrderAnswer>, StoreError> {
        let Inner { telemetry, queue, wake, .. } = &*self.inner;
        let answer = answer(&order, OrderOutcome::Paid, None);
        let late = order.state == OrderState::Queued;
        let change = Change {
            answer: Some(text(&answer)),
            ..change(OrderState::Paid, Effect::Remove, step("charge", "done", charge.charge_id.clone()))
        };
        let Some(paid) = self.store().change(&order, &change, self.now().await?).await? else { return Ok(None) };
        if late {
            telemetry.order(OrderStatus::PaidLater);
            telemetry.revenue(RevenueStatus::Kept, paid.amount);
        } else {
            telemetry.order(OrderStatus::Paid);
            telemetry.revenue(RevenueStatus::Paid, paid.amount);
        }
        if job.parked {
            queue.left(Duration::from_millis(u64::try_from(self.now().await? - job.enqueued_at).unwrap_or(0)));
        }
        // The message about it was written with it.
        wake.outbox.notify_one();
        Ok(Some(answer))
    }

    /// Due time of an order that waits for `wait`: limited by its deadline and by the longest wait of all.
    async fn due(&self, order: &Order, wait: Duration) -> Result<i64, StoreError> {
        let due = self.now().await? + millis(wait.min(self.inner.settings.queue.longest_pause()));
        Ok(if order.deadline > 0 { due.min(order.deadline) } else { due })
    }

    /// The charge failed or its result is unknown: queues or cancels the order.
    async fn put_off(
        &self,
        context: &Context,
        order: Order,
        job: &Job,
        error: &Error,
        tried: bool,
    ) -> Result<Option<OrderAnswer>, StoreError> {
        if order.state == OrderState::Queued {
            return self.put_off_again(order, job, error, tried).await.map(|()| None);
        }
        let Inner { telemetry, queue, settings, payment_fallbacks, .. } = &*self.inner;
        let failed = step("charge", "failed", error.to_string());
        let wait = retry_after(error);
        let may_wait = order.retry_later && context.protection;
        // Its place was reserved when it was accepted, if one was free.
        let room = may_wait && job.placed;
        if may_wait && !room {
            queue.dropped();
            payment_fallbacks.failed(FallbackKind::Queue);
        }
        if !room {
            payment_fallbacks.served(FallbackKind::Notice, error.reason(), None);
            let refusal = Refusal { retry_after: Some(wait), ..Refusal::of(OrderOutcome::PaymentFailed) };
            return self.give_up(context, order, failed, &refusal).await;
        }
        let attempts = i64::from(tried);
        let delay = if tried { settings.queue.delay(attempts) } else { wait };
        let park = Effect::Park {
            due_at: self.due(&order, delay).await?,
            attempts,
            error: error.to_string(),
            blocked: self.blocked_by(error),
        };
        let answer = answer(&order, OrderOutcome::Queued, Some(wait));
        let change = Change {
            charge_sent: Some(order.charge_sent),
            answer: Some(text(&answer)),
            ..change(OrderState::Queued, park, failed)
        };
        let Some(queued) = self.store().change(&order, &change, self.now().await?).await? else { return Ok(None) };
        payment_fallbacks.served(FallbackKind::Queue, error.reason(), None);
        telemetry.order(OrderStatus::Queued);
        telemetry.revenue(RevenueStatus::AtRisk, queued.amount);
        Ok(Some(answer))
    }

    /// The next attempt of a queued order failed, or could not be made.
    async fn put_off_again(&self, order: Order, job: &Job, error: &Error, tried: bool) -> Result<(), StoreError> {
        let Inner { telemetry, queue, settings, .. } = &*self.inner;
        if !tried {
            // No attempt was made, so none is counted. The random part of the wait spreads orders that were rejected
            // together.
            let spread = Duration::from_millis(u64::from(self.inner.luck.draw::<u8>()) * 4);
            let park = Effect::Park {
                due_at: self.due(&order, retry_after(error) + spread).await?,
                attempts: job.attempts,
                error: error.to_string(),
                blocked: self.blocked_by(error),
            };
            let put_back = Change {
                charge_sent: Some(order.charge_sent),
                steps: Vec::new(),
                ..change(OrderState::Queued, park, step("", "", ""))
            };
            if self.store().change(&order, &put_back, self.now().await?).await?.is_some() {
                queue.attempted(QueueOutcome::Postponed);
            }
            return Ok(());
        }
        let attempts = job.attempts + 1;
        let failed = step("charge", "failed", error.to_string());
        let reason = error.to_string();
        if attempts >= i64::from(settings.queue.max_attempts) {
            let why = format!("{reason}, {attempts} attempts");
            let change = change(OrderState::Dead, Effect::Bury { error: why.clone() }, failed);
            if let Some(dead) = self.store().change(&order, &change, self.now().await?).await? {
                tracing::error!(
                    order = dead.id,
                    amount = dead.amount,
                    why,
                    "order moved to dead letters; manual action required"
                );
                queue.attempted(QueueOutcome::Dead);
                telemetry.order(OrderStatus::Dead);
                telemetry.revenue(RevenueStatus::Lost, dead.amount);
                self.inner.wake.outbox.notify_one();
            }
            return Ok(());
        }
        let due_at = self.due(&order, settings.queue.delay(attempts)).await?;
        let park = Effect::Park { due_at, attempts, error: reason, blocked: false };
        let change = Change { charge_sent: Some(true), ..change(OrderState::Queued, park, failed) };
        if self.store().change(&order, &change, self.now().await?).await?.is_some() {
            queue.attempted(QueueOutcome::Retried);
        }
        Ok(())
    }

    /// Whether the payment gateway's breaker rejected the charge: then the order is retried as soon as it admits
    /// calls. Does not apply to the stateless breaker, whose recovery is not known here.
    pub(super) fn blocked_by(&self, error: &Error) -> bool {
        let stateless = matches!(self.inner.gate, Gate::Stateless(_)) && self.turned_away().is_none();
        matches!(error, Error::Open { .. }) && !stateless
    }

    /// Cancels an order: the decision first, then the compensation.
    async fn give_up(
        &self,
        context: &Context,
        order: Order,
        why: Step,
        refusal: &Refusal,
    ) -> Result<Option<OrderAnswer>, StoreError> {
        let telemetry = &self.inner.telemetry;
        let first = order.state != OrderState::Queued;
        let answer = answer(&order, refusal.outcome, refusal.retry_after);
        let change = Change {
            charge_sent: Some(order.charge_sent),
            reason: refusal.outcome.as_str().to_owned(),
            answer: Some(text(&answer)),
            ..change(OrderState::Cancelling, Effect::Keep, why)
        };
        let Some(given_up) = self.store().change(&order, &change, self.now().await?).await? else { return Ok(None) };
        telemetry.order(refusal.outcome.into());
        if first && matches!(refusal.outcome, OrderOutcome::PaymentFailed | OrderOutcome::Unavailable) {
            telemetry.revenue(RevenueStatus::AtRisk, given_up.amount);
            telemetry.revenue(RevenueStatus::Lost, given_up.amount);
        } else if !first {
            // Counted as at risk since it was queued.
            telemetry.revenue(RevenueStatus::Lost, given_up.amount);
        }
        if let Some(since) = refusal.parked_since {
            self.inner.queue.left(Duration::from_millis(u64::try_from(self.now().await? - since).unwrap_or(0)));
        }
        self.unwind_beside(context, given_up);
        Ok(Some(answer))
    }

    /// Compensates in the background, so that the caller need not wait.
    pub(super) fn unwind_beside(&self, context: &Context, given_up: Order) {
        let (own, context) = (self.clone(), Context { deadline: None, protection: true, ..*context });
        self.inner.tasks.spawn(async move {
            if let Err(error) = own.unwind(&context, given_up, None).await {
                tracing::warn!(%error, "compensation was interrupted; a worker resumes it when the lease expires");
            }
        });
    }
}

pub(super) fn step(step: &'static str, outcome: &'static str, detail: impl Into<String>) -> Step {
    Step { step, outcome, detail: detail.into() }
}

/// A change to `state` caused by one step.
pub(super) fn change(state: OrderState, effect: Effect, why: Step) -> Change {
    Change { state, charge_sent: None, reason: String::new(), deadline: None, steps: vec![why], effect, answer: None }
}

pub(super) fn answer(order: &Order, outcome: OrderOutcome, wait: Option<Duration>) -> OrderAnswer {
    let notice = match outcome {
        OrderOutcome::Queued | OrderOutcome::PaymentFailed => Some(PAYMENT_NOTICE.to_owned()),
        _ => None,
    };
    OrderAnswer {
        order_id: order.id.clone(),
        outcome,
        amount_won: order.amount,
        notice,
        // Whole seconds, rounded up: returning early would be rejected once more.
        retry_after_seconds: wait.map(|wait| wait.as_secs() + u64::from(wait.subsec_nanos() > 0)),
    }
}

pub(super) fn text(answer: &OrderAnswer) -> String {
    serde_json::to_string(answer).expect("wire types serialise")
}
