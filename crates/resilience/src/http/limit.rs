//! A server's concurrency limit: excess requests are answered with 503.

use std::{
    future::Future,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{HeaderValue, Request, Response, StatusCode, header::RETRY_AFTER};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use crate::bulkhead::{Bulkhead, OwnedPlace};

/// Puts a [`Bulkhead`] in front of a server. A request occupies a slot until its response has been sent,
/// including the body. If none is free in time, it is answered with 503 and `Retry-After: 1`, so that there is
/// no error to handle.
///
/// ```
/// use std::{sync::Arc, time::Duration};
/// use axum::{Router, routing::get};
/// use breakerbox_resilience::{bulkhead::{Bulkhead, BulkheadSettings}, http::BulkheadLayer};
///
/// let limit = BulkheadSettings { max_concurrent_calls: 100, max_wait_duration: Duration::from_millis(50) };
/// let app: Router = Router::new()
///     .route("/", get(|| async { "hello" }))
///     .layer(BulkheadLayer::new(Arc::new(Bulkhead::new(&limit)?)));
/// # Ok::<(), breakerbox_resilience::SettingsError>(())
/// ```
#[derive(Clone, Debug)]
pub struct BulkheadLayer(Arc<Bulkhead>);

impl BulkheadLayer {
    /// Creates a layer from a shared bulkhead, for example to export its metrics.
    #[must_use]
    pub fn new(bulkhead: Arc<Bulkhead>) -> Self {
        Self(bulkhead)
    }
}

impl<S> Layer<S> for BulkheadLayer {
    type Service = BulkheadService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        BulkheadService { inner, bulkhead: self.0.clone() }
    }
}

/// A server behind a bulkhead; created by [`BulkheadLayer`].
#[derive(Clone, Debug)]
pub struct BulkheadService<S> {
    inner: S,
    bulkhead: Arc<Bulkhead>,
}

impl<S, A, B> Service<Request<A>> for BulkheadService<S>
where
    S: Service<Request<A>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    A: Send + 'static,
{
    type Response = Response<HeldBody<B>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let spare = self.inner.clone();
        let mut inner = mem::replace(&mut self.inner, spare);
        let bulkhead = self.bulkhead.clone();
        Box::pin(async move {
            match bulkhead.enter_owned().await {
                Ok(place) => {
                    Ok(inner.call(request).await?.map(|body| HeldBody { body: Some(body), place: Some(place) }))
                }
                Err(_) => Ok(full()),
            }
        })
    }
}

fn full<B>() -> Response<HeldBody<B>> {
    let mut answer = Response::new(HeldBody { body: None, place: None });
    *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    answer
}

pin_project! {
    /// A body that occupies its slot in the bulkhead until it has been sent or dropped.
    #[derive(Debug)]
    pub struct HeldBody<B> {
        // `None`: the empty body of a rejected request.
        #[pin]
        body: Option<B>,
        place: Option<OwnedPlace>,
    }
}

impl<B: Body> Body for HeldBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.project();
        let Some(body) = this.body.as_pin_mut() else {
            return Poll::Ready(None);
        };
        let frame = ready!(body.poll_frame(context));
        if frame.is_none() {
            *this.place = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}
