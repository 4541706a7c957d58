//! The policy as a [`tower::Layer`], for clients that are tower services.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tower::{Layer, Service, ServiceExt};

use super::{Call, CallError, Observer, Policy};
use crate::retry::Classify;

/// Puts a policy around a tower service.
///
/// The request is cloned for each attempt. Nothing is retried or hedged unless
/// [`describing`](Self::describing) says that a request may be repeated.
///
/// ```
/// use std::{convert::Infallible, sync::Arc, time::Instant};
/// use breakerbox_resilience::{
///     policy::{Call, Policy, PolicyLayer, PolicySettings},
///     retry::{Classify, ErrorKind, Verdict},
/// };
/// use tower::{Layer, ServiceExt, service_fn};
///
/// # #[derive(Clone, Debug)]
/// # struct Down;
/// # impl Classify for Down {
/// #     fn verdict(&self) -> Verdict { Verdict::of(ErrorKind::ServerError) }
/// # }
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let policy = Arc::new(Policy::new(PolicySettings::default(), Instant::now(), 1)?);
/// let service = PolicyLayer::new(policy, ())
///     .describing(|_: &u32| Call { deadline: None, idempotent: true })
///     .layer(service_fn(|number: u32| async move { Ok::<_, Down>(number * 2) }));
/// assert_eq!(service.oneshot(21).await.expect("it works"), 42);
/// # Ok::<(), breakerbox_resilience::SettingsError>(())
/// # }).unwrap();
/// ```
pub struct PolicyLayer<R, O = ()> {
    policy: Arc<Policy>,
    observer: O,
    describe: fn(&R) -> Call,
}

impl<R, O> PolicyLayer<R, O> {
    /// A layer of a policy, watched by an observer.
    pub fn new(policy: Arc<Policy>, observer: O) -> Self {
        Self { policy, observer, describe: |_| Call::default() }
    }

    /// Tells of each request until when it is wanted and whether it may be repeated.
    #[must_use]
    pub fn describing(mut self, describe: fn(&R) -> Call) -> Self {
        self.describe = describe;
        self
    }
}

impl<R, O: Clone> Clone for PolicyLayer<R, O> {
    fn clone(&self) -> Self {
        Self { policy: self.policy.clone(), observer: self.observer.clone(), describe: self.describe }
    }
}

impl<S, R, O: Clone> Layer<S> for PolicyLayer<R, O> {
    type Service = PolicyService<S, R, O>;

    fn layer(&self, inner: S) -> Self::Service {
        PolicyService { inner, layer: self.clone() }
    }
}

/// A service with a policy around it; made by [`PolicyLayer`].
pub struct PolicyService<S, R, O = ()> {
    inner: S,
    layer: PolicyLayer<R, O>,
}

impl<S: Clone, R, O: Clone> Clone for PolicyService<S, R, O> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), layer: self.layer.clone() }
    }
}

impl<S, R, O> Service<R> for PolicyService<S, R, O>
where
    S: Service<R> + Clone + Send + Sync + 'static,
    S::Error: Classify + Send,
    S::Response: Send,
    S::Future: Send,
    R: Clone + Send + Sync + 'static,
    O: Observer + Clone + Send + Sync + 'static,
{
    type Response = S::Response;
    type Error = CallError<S::Error>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        // Each attempt waits for its own clone to be ready, inside its timeout.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: R) -> Self::Future {
        let (inner, layer) = (self.inner.clone(), self.layer.clone());
        Box::pin(async move {
            let call = (layer.describe)(&request);
            let attempt = |_| inner.clone().oneshot(request.clone());
            layer.policy.call_with(call, &layer.observer, attempt).await
        })
    }
}
