//! What keeps strangers from changing anything.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, Method, StatusCode, header};

use super::settings::Secret;
use crate::web::problem::Problem;

/// What locks changes.
#[derive(Clone)]
pub(super) struct Locked(pub(super) Option<Secret>);

pub(super) async fn locked(State(Locked(token)): State<Locked>, request: Request, next: Next) -> Response {
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return next.run(request).await;
    }
    let headers = request.headers();
    if from_another_site(headers, token.is_some()) {
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

/// A browser names the page a request comes from; a command line doesn't. Another site's page may be
/// at a name that leads here, whose owner chose so: without a token only addresses are believed.
fn from_another_site(headers: &HeaderMap, token: bool) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let Some(origin) = headers.get(header::ORIGIN) else { return false };
    let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, origin)| origin);
    let (Some(origin), Some(host)) = (origin, text(header::HOST)) else { return true };
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let address = name == "localhost" || name.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok();
    origin != host || !(token || address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_other_sites_are_known_by_their_origin_and_by_names_that_only_lead_here() {
        let asked = |origin: &str, host: &str, token| {
            let pairs =
                [(header::ORIGIN, origin), (header::HOST, host)].map(|(name, text)| (name, text.parse().unwrap()));
            from_another_site(&HeaderMap::from_iter(pairs), token)
        };
        for own in ["127.0.0.1:8090", "localhost:8090", "[::1]:8090"] {
            assert!(!asked(&format!("http://{own}"), own, false), "{own}");
        }
        assert!(asked("http://evil.example", "127.0.0.1:8090", true));
        // A name of theirs that they let lead to this machine.
        assert!(asked("http://evil.example:8090", "evil.example:8090", false));
        assert!(!asked("http://gateway:8090", "gateway:8090", true), "the token decides");
        assert!(asked("null", "127.0.0.1:8090", false));
        assert!(!from_another_site(&HeaderMap::new(), false), "a command line");
    }
}
