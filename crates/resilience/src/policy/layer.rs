//! The policy as a [`tower::Layer`], for clients that are tower services.

use std::{
    fmt,
    future::Future,
    mem,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Instant,
};

use tower::{Layer, Service, ServiceExt};

use super::{
    Attempt, Call, CallError, Observer, Policy,
    request::{Judged, judge, unjudged},
};
use crate::retry::{AnyError, Classifier, Classify, ErrorKind, OwnError, Verdict};

/// Puts a policy around a tower service.
///
/// Every error counts as a failure unless a [classifier](Self::classify) is set, and no request is
/// repeated unless [`clone_request`](Self::clone_request) is set. The service need not be `Sync` and the
/// request need not be `Clone`: streaming bodies and boxed services are supported.
///
/// The layer is ready when the inner service is, so that backpressure reaches the caller. Further attempts
/// wait until a clone of the service is ready, within their timeouts.
///
/// ```
/// use std::{io, sync::Arc};
/// use breakerbox_resilience::{Policy, policy::PolicyLayer};
/// use tower::{Layer, ServiceExt, service_fn};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let policy = Arc::new(Policy::builder().attempts(3).build()?);
/// let service = PolicyLayer::new(policy)
///     .clone_request(|number: &u32| Some(*number))
///     .layer(service_fn(|number: u32| async move { Ok::<_, io::Error>(number * 2) }));
/// assert_eq!(service.oneshot(21).await.expect("it works"), 42);
/// # Ok::<(), breakerbox_resilience::SettingsError>(())
/// # }).unwrap();
/// ```
pub struct PolicyLayer<R, O = (), C = AnyError> {
    policy: Arc<Policy>,
    observer: O,
    classifier: C,
    clone_request: fn(&R) -> Option<R>,
    deadline: fn(&R) -> Option<Instant>,
}

impl<R> PolicyLayer<R> {
    /// Creates a layer from a policy.
    #[must_use]
    pub fn new(policy: Arc<Policy>) -> Self {
        Self { policy, observer: (), classifier: AnyError, clone_request: |_| None, deadline: |_| None }
    }
}

impl<R, O, C> PolicyLayer<R, O, C> {
    /// Clones requests for retries and hedges; requests without a clone are not repeated. Unset by default.
    #[must_use]
    pub fn clone_request(mut self, clone_request: fn(&R) -> Option<R>) -> Self {
        self.clone_request = clone_request;
        self
    }

    /// Returns the deadline of a request.
    #[must_use]
    pub fn deadline(mut self, deadline: fn(&R) -> Option<Instant>) -> Self {
        self.deadline = deadline;
        self
    }

    /// Reports the events of calls to an observer.
    #[must_use]
    pub fn observer<P: Observer>(self, observer: P) -> PolicyLayer<R, P, C> {
        let Self { policy, classifier, clone_request, deadline, .. } = self;
        PolicyLayer { policy, observer, classifier, clone_request, deadline }
    }

    /// Sets the classifier of results. A response classified as a failure is retried and, after the last
    /// attempt, returned as it is.
    #[must_use]
    pub fn classify<D>(self, classifier: D) -> PolicyLayer<R, O, D> {
        let Self { policy, observer, clone_request, deadline, .. } = self;
        PolicyLayer { policy, observer, classifier, clone_request, deadline }
    }

    /// Uses the classification that the error type implements.
    #[must_use]
    pub fn own_errors(self) -> PolicyLayer<R, O, OwnError> {
        self.classify(OwnError)
    }
}

impl<R, O: Clone, C: Clone> Clone for PolicyLayer<R, O, C> {
    fn clone(&self) -> Self {
        Self {
            policy: self.policy.clone(),
            observer: self.observer.clone(),
            classifier: self.classifier.clone(),
            clone_request: self.clone_request,
            deadline: self.deadline,
        }
    }
}

impl<R, O, C> fmt::Debug for PolicyLayer<R, O, C> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("PolicyLayer").field("policy", &self.policy).finish_non_exhaustive()
    }
}

impl<S, R, O: Clone, C: Clone> Layer<S> for PolicyLayer<R, O, C> {
    type Service = PolicyService<S, R, O, C>;

    fn layer(&self, inner: S) -> Self::Service {
        PolicyService { inner, layer: self.clone() }
    }
}

/// A service with a policy; created by [`PolicyLayer`].
pub struct PolicyService<S, R, O = (), C = AnyError> {
    inner: S,
    layer: PolicyLayer<R, O, C>,
}

impl<S: Clone, R, O: Clone, C: Clone> Clone for PolicyService<S, R, O, C> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), layer: self.layer.clone() }
    }
}

impl<S: fmt::Debug, R, O, C> fmt::Debug for PolicyService<S, R, O, C> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("PolicyService").field("inner", &self.inner).field("layer", &self.layer).finish()
    }
}

impl<S, R, O, C> Service<R> for PolicyService<S, R, O, C>
where
    S: Service<R> + Clone + Send + 'static,
    S::Response: Send,
    S::Error: Send,
    S::Future: Send,
    R: Send + 'static,
    O: Observer + Clone + Send + Sync + 'static,
    C: Classifier<S::Response, S::Error> + Clone + Send + Sync + 'static,
{
    type Response = S::Response;
    type Error = CallError<S::Error>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context).map_err(CallError::Failed)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let spare = self.inner.clone();
        let ready = mem::replace(&mut self.inner, spare.clone());
        let layer = self.layer.clone();
        Box::pin(async move {
            let copy = (layer.clone_request)(&request);
            let call = Call { deadline: (layer.deadline)(&request), idempotent: copy.is_some() };
            let requests = Mutex::new(Requests { first: Some((ready, request)), copy, spare });
            let attempt = |_: Attempt| {
                let sending = requests.lock().unwrap_or_else(PoisonError::into_inner).next(layer.clone_request);
                let classifier = &layer.classifier;
                async move {
                    let Some(Sending { service, request, repeatable }) = sending else {
                        return Err(Sent::Never);
                    };
                    let result = match service {
                        Inner::Ready(mut service) => service.call(request).await,
                        Inner::Spare(service) => service.oneshot(request).await,
                    };
                    judge(classifier, result).map_err(|mut judged| {
                        judged.verdict.retryable &= repeatable;
                        Sent::Failed(judged)
                    })
                }
            };
            let answer = layer.policy.call_with(call, &layer.observer, attempt).await;
            unjudged(answer.map_err(|error| {
                error.map(|sent| match sent {
                    Sent::Failed(judged) => judged,
                    Sent::Never => {
                        unreachable!("only a hedge finds no request, and a first attempt then has the last word")
                    }
                })
            }))
        })
    }
}

/// The service and request of the first attempt, and the source of clones for later ones.
struct Requests<S, R> {
    first: Option<(S, R)>,
    copy: Option<R>,
    spare: S,
}

struct Sending<S, R> {
    service: Inner<S>,
    request: R,
    /// Whether there is a clone of the request for another attempt.
    repeatable: bool,
}

enum Inner<S> {
    Ready(S),
    Spare(S),
}

impl<S: Clone, R> Requests<S, R> {
    fn next(&mut self, clone_request: fn(&R) -> Option<R>) -> Option<Sending<S, R>> {
        if let Some((service, request)) = self.first.take() {
            return Some(Sending { service: Inner::Ready(service), request, repeatable: self.copy.is_some() });
        }
        let request = self.copy.take()?;
        self.copy = clone_request(&request);
        Some(Sending { service: Inner::Spare(self.spare.clone()), request, repeatable: self.copy.is_some() })
    }
}

/// Why an attempt failed.
enum Sent<T, E> {
    Failed(Judged<T, E>),
    /// It was a hedge, and there was no clone of the request left for it.
    Never,
}

impl<T, E> Classify for Sent<T, E> {
    fn verdict(&self) -> Verdict {
        match self {
            Self::Failed(judged) => judged.verdict,
            Self::Never => Verdict::of(ErrorKind::Client),
        }
    }
}
