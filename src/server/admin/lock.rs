//! What keeps strangers from changing anything.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, Method, StatusCode, header};

use crate::server::settings::Secret;
use crate::services::problem::Problem;

/// What locks changes.
#[derive(Clone)]
pub(super) struct Locked(pub(super) Option<Secret>);

pub(super) async fn locked(State(Locked(token)): State<Locked>, request: Request, next: Next) -> Response {
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return next.run(request).await;
    }
    let headers = request.headers();
    if from_another_site(headers) {
        return Problem::new(StatusCode::FORBIDDEN, "pages of other sites may not change anything here")
            .into_response();
    }
    let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    match token {
        Some(token) if !shown.is_some_and(|shown| token.matches(shown)) => {
            let mut refused =
                Problem::unauthorized("changes take the admin token: Authorization: Bearer <token>").into_response();
            refused.headers_mut().insert(header::WWW_AUTHENTICATE, http::HeaderValue::from_static("Bearer"));
            refused
        }
        _ => next.run(request).await,
    }
}

/// A browser names the page a request comes from; a command line doesn't.
fn from_another_site(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    match (headers.get(header::ORIGIN), text(header::HOST)) {
        (None, _) => false,
        (Some(origin), Some(host)) => {
            origin.to_str().ok().and_then(|o| o.split_once("://")).map(|(_, o)| o) != Some(host)
        }
        (Some(_), None) => true,
    }
}
