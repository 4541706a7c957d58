//! Error responses: `application/problem+json` (RFC 9457).

use std::time::Duration;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderValue, StatusCode, header};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Error: a request's body did not arrive in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body did not arrive in time")]
pub struct BodyTooSlow;

/// An error response.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    status: StatusCode,
    detail: String,
    field: Option<String>,
    retry_after: Option<u64>,
}

/// The body of an error response (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody {
    /// The HTTP status.
    pub status: u16,
    /// Name of the status.
    pub title: String,
    /// Description of the error.
    pub detail: String,
    /// The invalid field of the request, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Time to wait before a retry, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_seconds: Option<u64>,
}

impl Problem {
    /// An error response with this status.
    #[must_use]
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), field: None, retry_after: None }
    }

    /// 400: `field` has an invalid value; `allowed` describes the valid ones.
    #[must_use]
    pub fn bad_request(field: &str, allowed: impl Into<String>) -> Self {
        let detail = format!("{field}: {}", allowed.into());
        Self { field: Some(field.to_owned()), ..Self::new(StatusCode::BAD_REQUEST, detail) }
    }

    /// 401.
    #[must_use]
    pub fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, detail)
    }

    /// 404.
    #[must_use]
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// 409.
    #[must_use]
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, detail)
    }

    /// 422.
    #[must_use]
    pub fn unprocessable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
    }

    /// 429, with `Retry-After`.
    #[must_use]
    pub fn too_many_requests(detail: impl Into<String>, retry_after: Duration) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, detail).after(Some(retry_after))
    }

    /// 503, with `Retry-After` if it is known.
    #[must_use]
    pub fn unavailable(detail: impl Into<String>, retry_after: Option<Duration>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail).after(retry_after)
    }

    /// Sets `Retry-After`, if it is known.
    #[must_use]
    pub fn after(mut self, retry_after: Option<Duration>) -> Self {
        // Whole seconds, rounded up: returning early would be rejected once more.
        self.retry_after = retry_after.map(|wait| wait.as_secs() + u64::from(wait.subsec_nanos() > 0));
        self
    }

    /// Its status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Its detail.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self { status, detail, field, retry_after } = self;
        let body = ProblemBody {
            status: status.as_u16(),
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            detail,
            field,
            retry_after_seconds: retry_after,
        };
        let mut response = (status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// A JSON body; errors name the invalid field.
#[derive(Clone, Copy, Debug)]
pub struct Body<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let raw = match Json::<Box<serde_json::value::RawValue>>::from_request(request, state).await {
            Ok(Json(raw)) => raw,
            Err(JsonRejection::BytesRejection(error)) if was_too_slow(&error) => {
                return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, BodyTooSlow.to_string()));
            }
            Err(JsonRejection::BytesRejection(too_large)) => {
                return Err(Problem::new(too_large.status(), too_large.body_text()));
            }
            Err(JsonRejection::MissingJsonContentType(_)) => {
                let detail = "Content-Type must be application/json";
                return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
            }
            Err(other) => return Err(Problem::bad_request("body", other.body_text())),
        };
        // serde also accepts an array with a struct's fields in order.
        if !raw.get().starts_with('{') {
            return Err(Problem::bad_request("body", "must be a JSON object"));
        }
        let json = &mut serde_json::Deserializer::from_str(raw.get());
        match serde_path_to_error::deserialize(json) {
            Ok(body) => Ok(Self(body)),
            Err(error) => {
                let why = without_aliases(&error.inner().to_string());
                Err(Problem::bad_request(&path_or(error.path(), "body"), why))
            }
        }
    }
}

fn was_too_slow(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut causes = std::iter::successors(Some(error), |error| error.source());
    causes.any(|cause| cause.downcast_ref::<BodyTooSlow>().is_some())
}

/// Query parameters; errors name the invalid one.
#[derive(Clone, Copy, Debug)]
pub struct Query<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match axum::extract::Query::try_from_uri(&parts.uri) {
            Ok(axum::extract::Query(query)) => Ok(Self(query)),
            Err(error) => {
                let text = error.body_text();
                let text = text.trim_start_matches("Failed to deserialize query string: ");
                let (field, why) = text.split_once(": ").unwrap_or(("query", text));
                Err(Problem::bad_request(field, why))
            }
        }
    }
}

/// serde lists a field with an alias twice, as `error-rate` and `error_rate`; bodies accept both, and the second one is
/// documented.
fn without_aliases(why: &str) -> String {
    const LIST: &str = "expected one of ";
    let Some((before, names)) = why.split_once(LIST) else { return why.to_owned() };
    let alias = |name: &str| name.contains('-') && names.contains(&name.replace('-', "_"));
    let names: Vec<_> = names.split(", ").filter(|name| !alias(name)).collect();
    format!("{before}{LIST}{}", names.join(", "))
}

fn path_or(path: &serde_path_to_error::Path, otherwise: &str) -> String {
    let path = path.to_string();
    if path == "." { otherwise.to_owned() } else { path }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        #[allow(dead_code, reason = "only parsing is tested")]
        count: u8,
    }

    async fn body(text: &'static str) -> Problem {
        let request =
            Request::post("/").header("content-type", "application/json").body(axum::body::Body::from(text)).unwrap();
        Body::<Sample>::from_request(request, &()).await.unwrap_err()
    }

    #[tokio::test]
    async fn a_bad_body_names_the_field() {
        assert_eq!(body(r#"{"count": 300}"#).await.field.as_deref(), Some("count"));
        let unknown = body(r#"{"count": 1, "cuont": 2}"#).await;
        assert_eq!(unknown.field.as_deref(), Some("cuont"));
        assert!(unknown.detail.contains("expected `count`"), "{}", unknown.detail);
        assert_eq!(body("{").await.field.as_deref(), Some("body"));
        for other in ["[7]", "[]", "7", " null"] {
            let problem = body(other).await;
            assert_eq!((problem.field.as_deref(), problem.detail.contains("object")), (Some("body"), true), "{other}");
        }
    }

    #[test]
    fn a_field_with_two_spellings_is_named_once() {
        let names =
            "expected one of `error-rate`, `error_rate`, `status`, `log-normal`, `late-by`, `late_by` at line 1";
        let said = without_aliases(&format!("unknown field `late-by-far`, {names}"));
        assert_eq!(
            said,
            "unknown field `late-by-far`, expected one of `error_rate`, `status`, `log-normal`, `late_by` at line 1"
        );
        assert_eq!(without_aliases("expected `a-b`"), "expected `a-b`");
    }

    #[tokio::test]
    async fn a_bad_query_names_the_parameter() {
        let (mut parts, ()) = Request::get("/?count=many").body(()).unwrap().into_parts();
        let problem = Query::<Sample>::from_request_parts(&mut parts, &()).await.unwrap_err();
        assert_eq!(problem.field.as_deref(), Some("count"), "{}", problem.detail);
    }

    #[test]
    fn retry_after_is_rounded_up() {
        let problem = Problem::unavailable("open", Some(Duration::from_millis(7200)));
        assert_eq!(problem.into_response().headers()["retry-after"], "8");
    }
}
