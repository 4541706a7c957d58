//! Lambda function of the API gateway: `POST /orders` and `GET /orders/{key}`.
#![forbid(unsafe_code)]

use breakerbox_serverless::NOTICE;
use breakerbox_serverless::any::AnyStore;
use breakerbox_serverless::checkout::{Checkout, Placed};
use breakerbox_serverless::order::{NewOrder, Order, Status, validate_key};
use breakerbox_serverless::settings::Settings;
use lambda_http::http::{Method, StatusCode};
use lambda_http::{Body, Error, Request, Response, run, service_fn, tracing};
use serde_json::{Value, json};

/// Maximum size of a request body; an order has two short fields.
const LONGEST_BODY: usize = 4 * 1_024;

#[tokio::main]
async fn main() -> Result<(), Error> {
    tracing::init_default_subscriber();
    let checkout = Settings::read(|name| std::env::var(name).ok())?.checkout().await?;
    run(service_fn(move |request: Request| {
        let checkout = checkout.clone();
        async move { Ok::<_, Error>(serve(&checkout, &request).await) }
    }))
    .await
}

async fn serve(checkout: &Checkout<AnyStore>, request: &Request) -> Response<Body> {
    let path = request.uri().path().trim_end_matches('/');
    match (request.method(), path.strip_prefix("/orders")) {
        (&Method::POST, Some("")) => place(checkout, request).await,
        (&Method::GET, Some(rest)) if rest.len() > 1 => match checkout.order(&rest[1..]).await {
            Ok(Some(order)) => answer(StatusCode::OK, &described(&order, None), None),
            Ok(None) => problem(StatusCode::NOT_FOUND, "no order with this key"),
            Err(error) => unavailable(&error),
        },
        (_, Some("")) => problem(StatusCode::METHOD_NOT_ALLOWED, "only POST /orders and GET /orders/{key}"),
        _ => problem(StatusCode::NOT_FOUND, "only POST /orders and GET /orders/{key}"),
    }
}

async fn place(checkout: &Checkout<AnyStore>, request: &Request) -> Response<Body> {
    let key = request.headers().get("idempotency-key").and_then(|key| key.to_str().ok()).unwrap_or_default();
    if let Err(error) = validate_key(key) {
        return problem(StatusCode::BAD_REQUEST, &error.to_string());
    }
    let body: &[u8] = request.body().as_ref();
    if body.len() > LONGEST_BODY {
        return problem(StatusCode::PAYLOAD_TOO_LARGE, "an order is at most 4096 bytes");
    }
    let order: NewOrder = match serde_json::from_slice(body) {
        Ok(order) => order,
        Err(error) => return problem(StatusCode::BAD_REQUEST, &format!("body: {error}")),
    };
    if let Err(error) = order.validate() {
        return problem(StatusCode::BAD_REQUEST, &error.to_string());
    }
    match checkout.place(key, &order).await {
        Ok(Placed::Final(order)) => {
            let status = match order.status {
                Status::Paid => StatusCode::OK,
                Status::Cancelled => StatusCode::PAYMENT_REQUIRED,
                _ => StatusCode::ACCEPTED,
            };
            answer(status, &described(&order, None), None)
        }
        Ok(Placed::Waiting(order, delay)) => {
            let seconds = delay.div_ceil(1_000).max(1);
            answer(StatusCode::ACCEPTED, &described(&order, Some(seconds)), Some(seconds))
        }
        Ok(Placed::Conflict) => problem(StatusCode::UNPROCESSABLE_ENTITY, "this Idempotency-Key made another order"),
        Ok(Placed::SoldOut) => problem(StatusCode::CONFLICT, "sold out"),
        Ok(Placed::UnknownTitle) => problem(StatusCode::NOT_FOUND, "no such title"),
        Err(error) => unavailable(&error),
    }
}

fn described(order: &Order, wait: Option<u64>) -> Value {
    let mut body = json!({
        "key": order.id, "title": order.title, "amount": order.amount, "status": order.status.as_str(),
    });
    if let Some(seconds) = wait {
        body["notice"] = NOTICE.into();
        body["retry_after_seconds"] = seconds.into();
    }
    body
}

fn unavailable(error: &breakerbox_serverless::checkout::Error) -> Response<Body> {
    tracing::error!(%error, "order not served");
    problem(StatusCode::SERVICE_UNAVAILABLE, "orders cannot be accepted now; retry with the same key")
}

fn problem(status: StatusCode, detail: &str) -> Response<Body> {
    let body = json!({"title": status.canonical_reason(), "status": status.as_u16(), "detail": detail});
    respond(status, "application/problem+json", &body, None)
}

fn answer(status: StatusCode, body: &Value, retry_after: Option<u64>) -> Response<Body> {
    respond(status, "application/json", body, retry_after)
}

fn respond(status: StatusCode, kind: &str, body: &Value, retry_after: Option<u64>) -> Response<Body> {
    let mut response = Response::builder().status(status).header("content-type", kind);
    if let Some(seconds) = retry_after {
        response = response.header("retry-after", seconds);
    }
    response.body(Body::from(body.to_string())).expect("status and headers are valid")
}
