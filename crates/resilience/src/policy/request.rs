//! A single call of a policy: its properties and the classification of its result.

use std::{future::Future, time::Instant};

use super::{Attempt, Call, CallError, Observer, Policy};
use crate::retry::{AnyError, Classifier, Classify, ErrorKind, OwnError, Verdict};

/// A call of a [`Policy`], created by [`Policy::request`]. It is not repeated unless declared
/// [idempotent](Self::idempotent), and every `Err` counts as a failure unless it is
/// [classified](Self::classify).
#[derive(Clone, Copy, Debug)]
#[must_use = "nothing happens before `call`"]
pub struct Request<'a, O = (), C = AnyError> {
    policy: &'a Policy,
    about: Call,
    observer: O,
    classifier: C,
}

impl<'a> Request<'a> {
    pub(super) fn new(policy: &'a Policy) -> Self {
        Self { policy, about: Call::default(), observer: (), classifier: AnyError }
    }
}

impl<'a, O, C> Request<'a, O, C> {
    /// Declares the call idempotent, by its nature or by an idempotency key: it may be retried and hedged.
    pub fn idempotent(mut self) -> Self {
        self.about.idempotent = true;
        self
    }

    /// Sets the caller's deadline.
    pub fn deadline(mut self, deadline: Instant) -> Self {
        self.about.deadline = Some(deadline);
        self
    }

    /// Reports the events of the call to this observer.
    pub fn observer<P: Observer>(self, observer: P) -> Request<'a, P, C> {
        Request { policy: self.policy, about: self.about, observer, classifier: self.classifier }
    }

    /// Sets the [`Classifier`] of its results: a closure from `&Result` to `Option<Verdict>`, or one for a
    /// protocol.
    pub fn classify<D>(self, classifier: D) -> Request<'a, O, D> {
        Request { policy: self.policy, about: self.about, observer: self.observer, classifier }
    }

    /// Uses the classification that the error type implements.
    pub fn own_errors(self) -> Request<'a, O, OwnError> {
        self.classify(OwnError)
    }
}

impl<O: Observer, C> Request<'_, O, C> {
    /// Makes the call, with as many attempts of `op` as are useful and allowed, and returns the last result. An
    /// `Ok` that is classified as a failure is retried and, after the last attempt, returned as it is.
    pub async fn call<T, E, F, Fut>(self, op: F) -> Result<T, CallError<E>>
    where
        C: Classifier<T, E>,
        F: Fn(Attempt) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        let classifier = &self.classifier;
        let judged = |attempt| {
            let answer = op(attempt);
            async move { judge(classifier, answer.await) }
        };
        unjudged(self.policy.call_with(self.about, &self.observer, judged).await)
    }
}

/// A result that counts as a failure.
pub(super) struct Judged<T, E> {
    pub(super) result: Result<T, E>,
    pub(super) verdict: Verdict,
}

impl<T, E> Classify for Judged<T, E> {
    fn verdict(&self) -> Verdict {
        self.verdict
    }
}

pub(super) fn judge<T, E>(classifier: &impl Classifier<T, E>, result: Result<T, E>) -> Result<T, Judged<T, E>> {
    match (classifier.classify(&result), result) {
        (None, Ok(answer)) => Ok(answer),
        // An error that is none to the classifier says nothing about the dependency.
        (None, error) => Err(Judged { result: error, verdict: Verdict::of(ErrorKind::Client) }),
        (Some(verdict), result) => Err(Judged { result, verdict }),
    }
}

pub(super) fn unjudged<T, E>(answer: Result<T, CallError<Judged<T, E>>>) -> Result<T, CallError<E>> {
    answer.or_else(|error| error.map(|judged| judged.result).transposed())
}
