//! Orders as their viewers see them: `GET /orders`, `GET /orders/{id}`, `DELETE /orders/{id}`.
//!
//! An order can be cancelled while it waits. Cancelling is a change like any other, conditional on the version on which
//! it is based: if a worker charges at the same moment, either the cancellation comes first and the charge is voided,
//! or the charge comes first and the order is paid.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use serde::Deserialize;

use super::saga::{answer, change, step, text};
use super::{CheckoutState, OrderList, OrderOutcome, OrderStep, OrderView};
use crate::client::Context;
use crate::services::inventory::away;
use crate::store::{Change, Effect, Order, OrderState, StoreError, Tracked, millis};
use crate::web::problem::{Problem, Query};
use breakerbox_telemetry::RevenueStatus;

/// Maximum number of orders in a list.
const LISTED: u32 = 50;
/// How often a cancellation is retried if the order changed in the meantime.
const TRIES: u32 = 3;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OwnerQuery {
    user_id: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    user_id: u32,
}

pub(super) async fn list(
    State(state): State<CheckoutState>,
    Query(query): Query<ListQuery>,
) -> Result<Json<OrderList>, Problem> {
    let orders = state.store().orders_of(query.user_id, LISTED).await.map_err(|error| away(&error))?;
    Ok(Json(OrderList { items: orders.into_iter().map(view).collect() }))
}

pub(super) async fn show(
    State(state): State<CheckoutState>,
    Path(id): Path<String>,
    Query(query): Query<OwnerQuery>,
) -> Result<Json<OrderView>, Problem> {
    state.view(&id, query.user_id).await.map(Json)
}

pub(super) async fn cancel(
    State(state): State<CheckoutState>,
    context: Context,
    Path(id): Path<String>,
    Query(query): Query<OwnerQuery>,
) -> Result<Json<OrderView>, Problem> {
    state.cancel(&context, &id, query.user_id).await?;
    state.view(&id, query.user_id).await.map(Json)
}

impl CheckoutState {
    async fn own(&self, id: &str, user_id: Option<u32>) -> Result<Tracked, Problem> {
        let order = self.store().tracked(id).await.map_err(|error| away(&error))?;
        // An order of another viewer gets the same answer as an unknown one, so that its existence is not revealed.
        let own = order.filter(|found| user_id.is_none_or(|user| user == found.order.user_id));
        own.ok_or_else(|| Problem::not_found("there is no such order"))
    }

    async fn view(&self, id: &str, user_id: Option<u32>) -> Result<OrderView, Problem> {
        let order = self.own(id, user_id).await?;
        let steps = self.store().steps(id).await.map_err(|error| away(&error))?;
        let steps = steps.into_iter().map(|(step, outcome, detail, at)| OrderStep { step, outcome, detail, at });
        Ok(OrderView { steps: steps.collect(), ..view(order) })
    }

    async fn cancel(&self, context: &Context, id: &str, user_id: Option<u32>) -> Result<(), Problem> {
        for _ in 0..TRIES {
            let Tracked { order, .. } = self.own(id, user_id).await?;
            match order.state {
                OrderState::Queued | OrderState::Dead => {
                    if self.cancel_waiting(context, order).await.map_err(|error| away(&error))? {
                        return Ok(());
                    }
                }
                OrderState::Cancelling | OrderState::Cancelled => return Ok(()),
                OrderState::Paid => return Err(Problem::conflict("the order is paid; it can't be cancelled any more")),
                OrderState::Pending | OrderState::Charging => break,
            }
        }
        let busy = Problem::conflict("the order is being processed; retry in a moment");
        Err(busy.after(Some(Duration::from_secs(1))))
    }

    /// Returns whether the order was still unchanged.
    async fn cancel_waiting(&self, context: &Context, order: Order) -> Result<bool, StoreError> {
        let waited = order.state == OrderState::Queued;
        let now = self.now().await?;
        let seize = Effect::Seize { until: now + millis(self.inner.settings.lease) };
        // An order that became a dead letter before its first answer has none so far.
        let answered = text(&answer(&order, OrderOutcome::Cancelled, None));
        let cancelled = Change {
            answer: Some(answered),
            reason: OrderOutcome::Cancelled.as_str().to_owned(),
            ..change(OrderState::Cancelling, seize, step("cancel", "done", "by the viewer"))
        };
        let Some(given_up) = self.store().change(&order, &cancelled, now).await? else { return Ok(false) };
        self.inner.telemetry.order(OrderOutcome::Cancelled.into());
        if waited {
            // The revenue of a dead letter was counted as lost when it died.
            self.inner.telemetry.revenue(RevenueStatus::Lost, given_up.amount);
        }
        self.unwind_beside(context, given_up);
        Ok(true)
    }
}

fn view(tracked: Tracked) -> OrderView {
    let Tracked { order, due_at } = tracked;
    let waits = matches!(order.state, OrderState::Queued | OrderState::Dead);
    OrderView {
        order_id: order.id,
        film_id: order.film_id,
        kind: order.kind,
        amount_won: order.amount,
        state: order.state,
        reason: order.reason,
        created_at: order.created_at,
        can_cancel: waits,
        next_attempt_at: due_at.filter(|_| order.state == OrderState::Queued),
        steps: Vec::new(),
    }
}
