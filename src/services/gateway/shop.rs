//! Orders and premieres: `POST /api/checkout`, `GET /api/orders`, `GET` and `DELETE /api/orders/{id}`, `GET
//! /api/premieres/{id}`.
//!
//! Requests are rate-limited per viewer, by the verified identity and not by address. The unprotected twin has no such
//! limit.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use breakerbox_telemetry::RateLimiterTelemetry;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use tokio::time::Instant;

use super::answers::relayed;
use super::viewer::Viewer;
use super::{GatewayState, Protection};
use crate::client::{Context, Error, Request, Telemetry};
use crate::services::ServiceName;
use crate::services::checkout::{
    CheckoutRequest, OrderAnswer, OrderList, OrderOutcome, OrderRequest, OrderView, PAYMENT_NOTICE, idempotency_key,
};
use crate::services::inventory::Stock;
use crate::web::params;
use crate::web::problem::{Body, Problem};
use breakerbox_resilience::limiter::{KeyedRateLimiter, RateLimiterSettings};

/// Maximum number of viewers that have their own limit at a time.
const MOST_VIEWERS: usize = 10_000;
/// Maximum length of an order id, in bytes.
const LONGEST_ID: usize = 64;

/// The rate limiter and its counters.
pub(super) struct Shop {
    limiter: KeyedRateLimiter<u32>,
    requests: RateLimiterTelemetry,
}

impl Shop {
    pub(super) fn new(
        service: ServiceName,
        limit: &RateLimiterSettings,
        telemetry: &Telemetry,
    ) -> Result<Self, String> {
        let limiter = KeyedRateLimiter::new(limit, MOST_VIEWERS, Instant::now().into_std())
            .map_err(|error| error.within("gateway.rate-limit").to_string())?;
        let requests = telemetry.metrics.rate_limiter(service.as_str());
        Ok(Self { limiter, requests })
    }

    fn admit(&self, viewer: u32) -> Result<(), Problem> {
        match self.limiter.check(viewer, Instant::now().into_std()) {
            Ok(()) => {
                self.requests.allowed();
                Ok(())
            }
            Err(early) => {
                self.requests.limited();
                Err(Problem::too_many_requests("too many orders at once", early.retry_after))
            }
        }
    }
}

impl GatewayState {
    /// Identifies the buyer. A session that is only cached does not suffice: orders need a verified token.
    async fn buyer(&self, context: &Context, headers: &HeaderMap) -> Result<u32, Problem> {
        let buyer = match self.viewer(context, headers).await? {
            Viewer::Known(user) => user,
            Viewer::Anonymous => return Err(Problem::unauthorized("log in first: POST /api/login")),
            Viewer::Unverified(_) => {
                return Err(Problem::unavailable("your token cannot be verified at the moment", None));
            }
        };
        if self.inner.protection == Protection::On {
            self.inner.shop.admit(buyer)?;
        }
        Ok(buyer)
    }
}

pub(super) async fn checkout(
    State(state): State<GatewayState>,
    context: Context,
    headers: HeaderMap,
    Body(body): Body<CheckoutRequest>,
) -> Result<Response, Problem> {
    let user_id = state.buyer(&context, &headers).await?;
    let key = idempotency_key(&headers)?;
    let CheckoutRequest { film_id, kind, retry_later } = body;
    let order = OrderRequest { user_id, film_id, kind, retry_later };
    let request = Request::post("/orders").header("idempotency-key", key).json(&order);
    match state.inner.clients.checkout.call_json::<OrderAnswer>(&context, request).await {
        Ok(answer) => Ok(told(answer)),
        Err(error) => Err(passed_on(error)),
    }
}

/// The response to an order request.
fn told(answer: OrderAnswer) -> Response {
    let wait = answer.retry_after_seconds.map(std::time::Duration::from_secs);
    match answer.outcome {
        OrderOutcome::Paid => (StatusCode::CREATED, at(&answer), Json(answer)).into_response(),
        OrderOutcome::Queued => (StatusCode::ACCEPTED, at(&answer), Json(answer)).into_response(),
        OrderOutcome::PaymentFailed => Problem::unavailable(PAYMENT_NOTICE, wait).into_response(),
        OrderOutcome::Unavailable => {
            Problem::unavailable("the stock can't be looked at just now", wait).into_response()
        }
        OrderOutcome::Declined => {
            Problem::new(StatusCode::PAYMENT_REQUIRED, "the card was declined; nothing was charged").into_response()
        }
        OrderOutcome::SoldOut => Problem::conflict("sold out").into_response(),
        OrderOutcome::Cancelled | OrderOutcome::Expired => {
            Problem::conflict("the order was cancelled; nothing was charged").into_response()
        }
    }
}

/// The `Location` of an order.
fn at(answer: &OrderAnswer) -> [(header::HeaderName, HeaderValue); 1] {
    let path = format!("/api/orders/{}", answer.order_id);
    [(header::LOCATION, HeaderValue::try_from(path).unwrap_or(HeaderValue::from_static("/api/orders")))]
}

pub(super) async fn order(
    State(state): State<GatewayState>,
    context: Context,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Json<OrderView>, Problem> {
    let user = state.buyer(&context, &headers).await?;
    let request = Request::get(path_of(&id, user)?);
    state.inner.clients.checkout.call_json(&context, request).await.map(Json).map_err(passed_on)
}

pub(super) async fn orders(
    State(state): State<GatewayState>,
    context: Context,
    headers: HeaderMap,
) -> Result<Json<OrderList>, Problem> {
    let user = state.buyer(&context, &headers).await?;
    let request = Request::get(format!("/orders?user_id={user}"));
    state.inner.clients.checkout.call_json(&context, request).await.map(Json).map_err(passed_on)
}

pub(super) async fn cancel(
    State(state): State<GatewayState>,
    context: Context,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Json<OrderView>, Problem> {
    let user = state.buyer(&context, &headers).await?;
    let request = Request::delete(path_of(&id, user)?);
    state.inner.clients.checkout.call_json(&context, request).await.map(Json).map_err(passed_on)
}

/// Path of an order in checkout's API, restricted to the viewer's own orders.
fn path_of(id: &str, user: u32) -> Result<String, Problem> {
    if id.is_empty() || id.len() > LONGEST_ID || !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return Err(Problem::not_found("there is no such order"));
    }
    Ok(format!("/orders/{id}?user_id={user}"))
}

/// Seats left at a film's premiere. Needs no login.
pub(super) async fn premiere(
    State(state): State<GatewayState>,
    context: Context,
    Path(id): Path<String>,
) -> Result<Json<Stock>, Problem> {
    let film = params::id("id", &id)?;
    let request = Request::get(format!("/stock/{film}?kind=premiere"));
    state.inner.clients.checkout.call_json(&context, request).await.map(Json).map_err(passed_on)
}

/// Checkout's error, with the time to retry.
fn passed_on(error: Error) -> Problem {
    let wait = error.retry_after();
    relayed(error).after(wait)
}
