//! A call in the making: what is said about it, and how its result is read.

use std::{future::Future, time::Instant};

use super::{Attempt, Call, CallError, Observer, Policy};
use crate::retry::{AnyError, Classifier, Classify, ErrorKind, OwnError, Verdict};

/// A call of a [`Policy`], made by [`Policy::request`]. Not repeated unless it is said to be
/// [idempotent](Self::idempotent); every `Err` counts as a failure unless it is said how to
/// [classify](Self::classify).
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
    /// Making it twice is the same as making it once, by its nature or by an idempotency key: it may
    /// be retried and hedged.
    pub fn idempotent(mut self) -> Self {
        self.about.idempotent = true;
        self
    }

    /// Its caller stops waiting then.
    pub fn deadline(mut self, deadline: Instant) -> Self {
        self.about.deadline = Some(deadline);
        self
    }

    /// Whatever happens to it is shown to this observer.
    pub fn observer<P: Observer>(self, observer: P) -> Request<'a, P, C> {
        Request { policy: self.policy, about: self.about, observer, classifier: self.classifier }
    }

    /// Its results are read by a [`Classifier`]: a closure from the `&Result` to an
    /// `Option<Verdict>`, or one for a protocol.
    pub fn classify<D>(self, classifier: D) -> Request<'a, O, D> {
        Request { policy: self.policy, about: self.about, observer: self.observer, classifier }
    }

    /// Its errors say themselves what they mean.
    pub fn own_errors(self) -> Request<'a, O, OwnError> {
        self.classify(OwnError)
    }
}

impl<O: Observer, C> Request<'_, O, C> {
    /// Makes the call: as many attempts by `op` as help and are allowed, and the last result. An `Ok`
    /// that was classified as a failure is retried as one and, if it is the last, given as it is.
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
