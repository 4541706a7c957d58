//! HTTP: classification of responses, idempotency of requests, and a concurrency limit for servers.
//!
//! [`HttpStatus`] and [`GrpcStatus`] classify responses for a [`PolicyLayer`](crate::policy::PolicyLayer)
//! or a [`Request`](crate::policy::Request). With hyper's client:
//!
//! ```
//! use std::sync::Arc;
//! use breakerbox_resilience::{Policy, breaker::Breaker, http::{HttpStatus, repeatable}, policy::PolicyLayer};
//! use http::{Request, Response};
//! use tower::{Layer, ServiceExt, service_fn};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! let policy = Policy::builder().circuit_breaker(Breaker::builder()).attempts(3).build()?;
//! let client = service_fn(|_: Request<String>| async { Ok::<_, std::io::Error>(Response::new("hello")) });
//! let client = PolicyLayer::new(Arc::new(policy)).classify(HttpStatus).clone_request(repeatable).layer(client);
//! let answer = client.oneshot(Request::new(String::new())).await.expect("an answer");
//! assert_eq!(*answer.body(), "hello");
//! # Ok::<(), breakerbox_resilience::SettingsError>(())
//! # }).unwrap();
//! ```

mod limit;

use std::time::Duration;

use http::{
    HeaderMap, Method, Request, Response,
    header::{DATE, RETRY_AFTER},
};

use crate::retry::{Classifier, ErrorKind, Verdict};

pub use self::limit::{BulkheadLayer, BulkheadService, HeldBody};

/// Classifies HTTP responses by status, as [`Verdict::of_status`] does, and by `Retry-After`. Every error of
/// the client counts as a connection error.
#[derive(Clone, Copy, Debug, Default)]
pub struct HttpStatus;

impl<B, E> Classifier<Response<B>, E> for HttpStatus {
    fn classify(&self, result: &Result<Response<B>, E>) -> Option<Verdict> {
        match result {
            Ok(answer) => of_answer(answer.status().as_u16(), answer.headers()),
            Err(_) => Some(Verdict::of(ErrorKind::Connect)),
        }
    }
}

/// Classifies gRPC responses by status code, as [`Verdict::of_grpc`] does, if it is in the headers, as for an
/// error without a message. A stream that fails later has its status in the trailers, which are not read here.
#[derive(Clone, Copy, Debug, Default)]
pub struct GrpcStatus;

impl<B, E> Classifier<Response<B>, E> for GrpcStatus {
    fn classify(&self, result: &Result<Response<B>, E>) -> Option<Verdict> {
        let Ok(answer) = result else {
            return Some(Verdict::of(ErrorKind::Connect));
        };
        match answer.headers().get("grpc-status") {
            // What is no number is no status of gRPC's.
            Some(code) => code
                .to_str()
                .ok()
                .and_then(|code| code.parse().ok())
                .map_or_else(|| Some(Verdict::of(ErrorKind::Malformed)), Verdict::of_grpc),
            None => of_answer(answer.status().as_u16(), answer.headers()),
        }
    }
}

pub(crate) fn of_answer(status: u16, headers: &HeaderMap) -> Option<Verdict> {
    let verdict = Verdict::of_status(status)?;
    let asked = retry_after(headers);
    // 503 with the time to come back is a dependency that sheds load.
    let verdict = if status == 503 && asked.is_some() { Verdict::of(ErrorKind::RateLimited) } else { verdict };
    Some(verdict.after(asked))
}

/// The wait requested by a response: `Retry-After` in seconds, or its date relative to the response's `Date`,
/// so that clocks of two machines are not compared. `None` for anything else.
#[must_use]
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name)?.to_str().ok().map(str::trim);
    let asked = text(RETRY_AFTER)?;
    if let Ok(seconds) = asked.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = httpdate::parse_http_date(asked).ok()?;
    let sent = httpdate::parse_http_date(text(DATE)?).ok()?;
    Some(until.duration_since(sent).unwrap_or_default())
}

/// Whether a request may be repeated: its method is idempotent by RFC 9110, or it has an `Idempotency-Key`.
#[must_use]
pub fn is_idempotent(method: &Method, headers: &HeaderMap) -> bool {
    let by_nature = [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE, Method::PUT, Method::DELETE];
    by_nature.contains(method) || headers.contains_key("idempotency-key")
}

/// Clones a request that [may be repeated](is_idempotent), for bodies that can be cloned.
#[must_use]
pub fn repeatable<B: Clone>(request: &Request<B>) -> Option<Request<B>> {
    is_idempotent(request.method(), request.headers()).then(|| request.clone())
}

/// Clones a request that [may be repeated](is_idempotent) and has an empty body, for bodies that are
/// streams.
#[must_use]
pub fn repeatable_if_empty<B: http_body::Body + Default>(request: &Request<B>) -> Option<Request<B>> {
    let empty = request.body().is_end_stream() || request.body().size_hint().exact() == Some(0);
    (empty && is_idempotent(request.method(), request.headers())).then(|| {
        let mut copy = Request::new(B::default());
        *copy.method_mut() = request.method().clone();
        *copy.uri_mut() = request.uri().clone();
        *copy.version_mut() = request.version();
        *copy.headers_mut() = request.headers().clone();
        *copy.extensions_mut() = request.extensions().clone();
        copy
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::breaker::Outcome;

    fn answer(status: u16, headers: &[(&str, &str)]) -> Result<Response<()>, http::Error> {
        let builder = headers.iter().fold(Response::builder(), |builder, (name, value)| builder.header(*name, *value));
        builder.status(status).body(())
    }

    #[test]
    fn answers_are_read_by_their_status() {
        let counts = |status| HttpStatus.classify(&answer(status, &[])).map(|verdict| verdict.counts);
        assert_eq!(counts(200), None);
        assert_eq!(counts(404), Some(Outcome::Ignored));
        assert_eq!(counts(500), Some(Outcome::Failure));
        let broken: Result<Response<()>, ()> = Err(());
        assert_eq!(HttpStatus.classify(&broken).unwrap().kind, ErrorKind::Connect);
    }

    #[test]
    fn retry_after_is_read_in_seconds_and_as_a_date() {
        let asked = |headers: &[(&str, &str)]| HttpStatus.classify(&answer(503, headers)).unwrap();
        let busy = asked(&[("retry-after", "7")]);
        assert_eq!((busy.kind, busy.retry_after), (ErrorKind::RateLimited, Some(Duration::from_secs(7))));
        let (sent, until) = ("Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:50 GMT");
        assert_eq!(asked(&[("date", sent), ("retry-after", until)]).retry_after, Some(Duration::from_secs(13)));
        assert_eq!(asked(&[("date", until), ("retry-after", sent)]).retry_after, Some(Duration::ZERO));
        for nonsense in ["soon", "-1", "1.5", until] {
            assert_eq!(asked(&[("retry-after", nonsense)]).retry_after, None, "{nonsense}");
        }
    }

    #[test]
    fn grpc_errors_are_read_from_the_headers() {
        let verdict = |code| GrpcStatus.classify(&answer(200, &[("grpc-status", code)]));
        assert_eq!(verdict("0"), None);
        assert_eq!(verdict("5").unwrap().counts, Outcome::Ignored);
        assert!(verdict("14").unwrap().retryable);
        assert_eq!(verdict("what").unwrap().kind, ErrorKind::Malformed);
        assert_eq!(GrpcStatus.classify(&answer(200, &[])), None, "the trailers will tell");
        assert_eq!(GrpcStatus.classify(&answer(502, &[])).unwrap().counts, Outcome::Failure);
    }

    #[test]
    fn a_post_is_repeated_only_with_its_key() {
        let request = |method, key: Option<&str>| {
            let mut request = Request::builder().method(method);
            if let Some(key) = key {
                request = request.header("idempotency-key", key);
            }
            request.body("body").unwrap()
        };
        assert!(repeatable(&request(Method::GET, None)).is_some());
        assert!(repeatable(&request(Method::POST, None)).is_none());
        assert_eq!(*repeatable(&request(Method::POST, Some("7"))).unwrap().body(), "body");
    }
}
