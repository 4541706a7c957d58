//! The policy as a tower layer around HTTP clients and servers.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says where it failed")]

use std::{
    convert::Infallible,
    io,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::body::Body;
use breakerbox_resilience::{
    CircuitBreaker, Policy,
    breaker::{Breaker, State},
    bulkhead::{Bulkhead, BulkheadSettings},
    http::{BulkheadLayer, HttpStatus, repeatable_if_empty},
    policy::{CallError, PolicyLayer},
    retry::{Jitter, RetrySettings},
};
use futures_util::stream;
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use tower::{Layer, Service, ServiceExt, service_fn, util::BoxCloneService};

fn policy() -> Arc<Policy> {
    let retry = RetrySettings { jitter: Jitter::None, ..RetrySettings::default() };
    let breaker = Breaker::builder().consecutive_failures(10);
    Arc::new(Policy::builder().circuit_breaker(breaker).retry(retry).build().unwrap())
}

fn request(method: Method) -> Request<Body> {
    Request::builder().method(method).body(Body::empty()).unwrap()
}

/// Answers `status` this many times and then 200; boxed, so it is not `Sync` and its type is erased.
fn flaky(
    status: StatusCode,
    times: u32,
) -> (BoxCloneService<Request<Body>, Response<Body>, io::Error>, Arc<AtomicU32>) {
    let calls = Arc::new(AtomicU32::new(0));
    let counted = calls.clone();
    let service = service_fn(move |_: Request<Body>| {
        let call = counted.fetch_add(1, Ordering::Relaxed);
        async move {
            let mut answer = Response::new(Body::from(format!("answer {call}")));
            if call < times {
                *answer.status_mut() = status;
            }
            Ok(answer)
        }
    });
    (BoxCloneService::new(service), calls)
}

#[tokio::test(start_paused = true)]
async fn a_boxed_service_of_axum_bodies_is_retried() {
    let (service, calls) = flaky(StatusCode::SERVICE_UNAVAILABLE, 2);
    let layer = PolicyLayer::new(policy()).classify(HttpStatus).clone_request(repeatable_if_empty);
    let client = BoxCloneService::new(layer.layer(service));
    let answer = client.clone().oneshot(request(Method::GET)).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "answer 2");
    assert_eq!(calls.load(Ordering::Relaxed), 3);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_not_idempotent_is_sent_once() {
    let (service, calls) = flaky(StatusCode::SERVICE_UNAVAILABLE, 2);
    let layer = PolicyLayer::new(policy()).classify(HttpStatus).clone_request(repeatable_if_empty);
    let answer = layer.layer(service).oneshot(request(Method::POST)).await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    let (service, calls) = flaky(StatusCode::SERVICE_UNAVAILABLE, 2);
    PolicyLayer::new(policy()).classify(HttpStatus).layer(service).oneshot(request(Method::GET)).await.unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), 1, "no retry without a way to clone the request");
}

#[tokio::test(start_paused = true)]
async fn bad_statuses_open_the_breaker_and_a_404_does_not() {
    for (status, state) in [(StatusCode::INTERNAL_SERVER_ERROR, State::Open), (StatusCode::NOT_FOUND, State::Closed)] {
        let policy = policy();
        let (service, _) = flaky(status, 100);
        let mut client = PolicyLayer::new(policy.clone()).classify(HttpStatus).layer(service);
        for _ in 0..10 {
            client.ready().await.unwrap().call(request(Method::POST)).await.unwrap();
        }
        assert_eq!(policy.breaker().unwrap().state(), state, "{status}");
        let next = client.ready().await.unwrap().call(request(Method::POST)).await;
        assert_eq!(matches!(next, Err(CallError::Open(_))), state == State::Open);
    }
}

/// A service that is ready once per permit of the semaphore.
#[derive(Clone)]
struct Gate(Arc<tokio::sync::Semaphore>);

impl Service<u32> for Gate {
    type Response = u32;
    type Error = Infallible;
    type Future = std::future::Ready<Result<u32, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        match self.0.try_acquire() {
            Ok(permit) => {
                permit.forget();
                Poll::Ready(Ok(()))
            }
            Err(_) => Poll::Pending,
        }
    }

    fn call(&mut self, number: u32) -> Self::Future {
        std::future::ready(Ok(number))
    }
}

#[tokio::test(start_paused = true)]
async fn backpressure_reaches_the_caller() {
    let gate = Gate(Arc::new(tokio::sync::Semaphore::new(1)));
    let mut service = PolicyLayer::new(policy()).layer(gate.clone());
    assert_eq!(service.ready().await.unwrap().call(1).await.unwrap(), 1);
    let waited = tokio::time::timeout(Duration::from_secs(1), service.ready()).await;
    assert!(waited.is_err(), "the caller waits until the service is ready");
    gate.0.add_permits(1);
    let answer = service.ready().await.unwrap().call(2).await;
    assert_eq!(answer.unwrap(), 2, "the instance that reported ready is the one called");
    assert_eq!(gate.0.available_permits(), 0);
}

/// The place is released only when the body has been sent.
#[tokio::test(start_paused = true)]
async fn a_server_counts_a_request_until_its_body_was_sent() {
    let settings = BulkheadSettings { max_concurrent_calls: 1, max_wait_duration: Duration::ZERO };
    let bulkhead = Arc::new(Bulkhead::new(&settings).unwrap());
    let hello = service_fn(|_: Request<Body>| async { Ok::<_, Infallible>(Response::new(Body::from("hello"))) });
    let server = BulkheadLayer::new(bulkhead.clone()).layer(hello);
    let first = server.clone().oneshot(request(Method::GET)).await.unwrap();
    let second = server.clone().oneshot(request(Method::GET)).await.unwrap();
    assert_eq!(second.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(second.headers()["retry-after"], "1");
    assert!(second.into_body().collect().await.unwrap().to_bytes().is_empty());
    assert_eq!(bulkhead.snapshot().in_flight, 1);
    assert_eq!(first.into_body().collect().await.unwrap().to_bytes(), "hello");
    assert_eq!(bulkhead.snapshot().in_flight, 0);
    assert_eq!(server.oneshot(request(Method::GET)).await.unwrap().status(), StatusCode::OK);
}

/// A permit inside a body: the call lasts until the last byte, and dropping the body cancels it.
#[tokio::test(start_paused = true)]
async fn a_permit_can_end_with_a_response_body() {
    let breaker = CircuitBreaker::builder("films").build().unwrap();
    for (read, counted) in [(false, 0), (true, 1)] {
        let permit = breaker.acquire().unwrap();
        let frames = stream::unfold(Some(permit), |permit| async move {
            permit?.succeeded();
            Some((Ok::<_, Infallible>("the last byte"), None))
        });
        let body = Body::from_stream(frames);
        assert_eq!(breaker.snapshot().window_calls, 0, "it is still being sent");
        if read {
            assert_eq!(body.collect().await.unwrap().to_bytes(), "the last byte");
        }
        assert_eq!(breaker.snapshot().window_calls, counted);
    }
}

#[test]
fn the_layers_fit_an_axum_router() {
    let bulkhead = Arc::new(Bulkhead::new(&BulkheadSettings::default()).unwrap());
    let _: axum::Router =
        axum::Router::new().route("/", axum::routing::get(|| async { "hello" })).layer(BulkheadLayer::new(bulkhead));
}
