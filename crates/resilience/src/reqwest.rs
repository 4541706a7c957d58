//! Support for reqwest: classification of results and, with `reqwest-middleware`, a policy as middleware.
//!
//! [`HttpStatus`] classifies the results of a policy's calls:
//!
//! ```no_run
//! use breakerbox_resilience::{Policy, breaker::Breaker, http::HttpStatus};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let policy = Policy::builder().circuit_breaker(Breaker::builder()).attempts(3).build()?;
//! let client = reqwest::Client::new();
//! let films = policy
//!     .request()
//!     .idempotent()
//!     .classify(HttpStatus)
//!     .call(|_attempt| client.get("http://films.example/top").send())
//!     .await?;
//! # Ok(())
//! # }
//! ```

use reqwest::{Error, Response};

use crate::{
    http::{HttpStatus, of_answer},
    retry::{Classifier, Classify, ErrorKind, Verdict},
};

impl Classify for Error {
    fn verdict(&self) -> Verdict {
        if let Some(verdict) = self.status().and_then(|status| Verdict::of_status(status.as_u16())) {
            return verdict;
        }
        Verdict::of(if self.is_timeout() {
            ErrorKind::Timeout
        } else if self.is_connect() {
            ErrorKind::Connect
        } else if self.is_decode() {
            ErrorKind::Malformed
        } else if self.is_builder() || self.is_redirect() {
            // The request as it was made, or where it was sent to.
            ErrorKind::Client
        } else {
            ErrorKind::Reset
        })
    }
}

impl Classifier<Response, Error> for HttpStatus {
    fn classify(&self, result: &Result<Response, Error>) -> Option<Verdict> {
        match result {
            Ok(answer) => of_answer(answer.status().as_u16(), answer.headers()),
            Err(error) => Some(error.verdict()),
        }
    }
}

#[cfg(feature = "reqwest-middleware")]
mod middleware {
    use std::{convert::Infallible, sync::Arc};

    use http::Extensions;
    use reqwest::{Request, Response};
    use reqwest_middleware::{Error, Middleware, Next};

    use crate::{
        Policy,
        http::{HttpStatus, is_idempotent, of_answer},
        policy::{CallError, Observer},
        retry::{Classifier, Classify, ErrorKind, Verdict},
    };

    impl Classifier<Response, Error> for HttpStatus {
        fn classify(&self, result: &Result<Response, Error>) -> Option<Verdict> {
            Some(match result {
                Ok(answer) => return of_answer(answer.status().as_u16(), answer.headers()),
                Err(Error::Reqwest(error)) => error.verdict(),
                // Another middleware's own affair.
                Err(Error::Middleware(_)) => Verdict::of(ErrorKind::Client),
            })
        }
    }

    /// A policy around each request of a `reqwest-middleware` client.
    ///
    /// Requests are repeated if they [may be](is_idempotent) and their bodies can be cloned. Rejections and
    /// timeouts of the policy are an [`Error::Middleware`] with a [`Refused`].
    #[derive(Clone, Debug)]
    pub struct PolicyMiddleware<O = ()> {
        policy: Arc<Policy>,
        observer: O,
    }

    /// Rejection or timeout by a policy.
    pub type Refused = CallError<Infallible>;

    impl PolicyMiddleware {
        /// Creates a middleware from a policy.
        #[must_use]
        pub fn new(policy: Arc<Policy>) -> Self {
            Self { policy, observer: () }
        }

        /// Reports the events of requests to an observer.
        #[must_use]
        pub fn observer<O: Observer>(self, observer: O) -> PolicyMiddleware<O> {
            PolicyMiddleware { policy: self.policy, observer }
        }
    }

    #[async_trait::async_trait]
    impl<O: Observer + Send + Sync + 'static> Middleware for PolicyMiddleware<O> {
        async fn handle(
            &self,
            request: Request,
            extensions: &mut Extensions,
            next: Next<'_>,
        ) -> reqwest_middleware::Result<Response> {
            let extensions = &*extensions;
            let mut call = self.policy.request().observer(&self.observer).classify(HttpStatus);
            let copied = request.try_clone().filter(|_| is_idempotent(request.method(), request.headers()));
            let Some(pattern) = copied else {
                // It is sent as it is, once.
                let once = std::sync::Mutex::new(Some(request));
                let answer = call.call(|_attempt| {
                    let request = once.lock().ok().and_then(|mut request| request.take());
                    let (next, mut extensions) = (next.clone(), extensions.clone());
                    async move {
                        let request = request.expect("what is not idempotent is not repeated");
                        next.run(request, &mut extensions).await
                    }
                });
                return answer.await.map_err(refused);
            };
            call = call.idempotent();
            let answer = call.call(|_attempt| {
                let request = pattern.try_clone().expect("a copy can be copied");
                let (next, mut extensions) = (next.clone(), extensions.clone());
                async move { next.run(request, &mut extensions).await }
            });
            answer.await.map_err(refused)
        }
    }

    fn refused(error: CallError<Error>) -> Error {
        match error {
            CallError::Failed(error) => error,
            CallError::Open(rejected) => Error::middleware(Refused::Open(rejected)),
            CallError::BulkheadFull(full) => Error::middleware(Refused::BulkheadFull(full)),
            CallError::Throttled => Error::middleware(Refused::Throttled),
            CallError::DeadlineExceeded => Error::middleware(Refused::DeadlineExceeded),
            CallError::TimedOut { after } => Error::middleware(Refused::TimedOut { after }),
        }
    }
}

#[cfg(feature = "reqwest-middleware")]
pub use self::middleware::{PolicyMiddleware, Refused};
