//! `/twin/api/*` on the protected gateway's port: the unprotected twin on the same origin.
//!
//! Forwards only the API's own methods and the headers that it reads. Its timeout is longer than any hang in the
//! demonstration, because the page shows how long the twin takes; a limit on requests in flight keeps a hanging twin
//! from using up this port's memory.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::response::Response;
use axum::routing::get;
use http::header::{self, HeaderMap, HeaderName};
use http::{Method, StatusCode, Uri};
use reqwest::Client;
use tokio::sync::Semaphore;

use crate::web::problem::Problem;

/// Prefix of the twin's paths on the protected side's port.
pub(super) const PREFIX: &str = "/twin";
/// Timeout of a request to the twin.
const PATIENCE: Duration = Duration::from_secs(60);
/// Maximum number of requests in flight.
const IN_FLIGHT: usize = 64;
/// Maximum size of a request body, in bytes, as at a gateway's own edge.
const LARGEST_BODY: usize = 64 * 1024;
const REQUEST_HEADERS: [HeaderName; 4] =
    [header::ACCEPT, header::AUTHORIZATION, header::CONTENT_TYPE, HeaderName::from_static("idempotency-key")];
const RESPONSE_HEADERS: [HeaderName; 3] = [header::CONTENT_TYPE, header::RETRY_AFTER, header::LOCATION];

#[derive(Clone)]
struct Twin {
    base: Arc<str>,
    http: Client,
    places: Arc<Semaphore>,
}

/// The routes, for a twin at this base URL.
pub(super) fn routes(base: &str) -> Result<Router, String> {
    let builder = Client::builder().no_proxy().timeout(PATIENCE).redirect(reqwest::redirect::Policy::none());
    let http = builder.build().map_err(|error| error.to_string())?;
    let twin = Twin { base: base.trim_end_matches('/').into(), http, places: Arc::new(Semaphore::new(IN_FLIGHT)) };
    let forwarded = get(forward).post(forward).delete(forward);
    Ok(Router::new().route("/twin/api/{*path}", forwarded).layer(DefaultBodyLimit::max(LARGEST_BODY)).with_state(twin))
}

async fn forward(
    State(twin): State<Twin>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let Ok(_place) = twin.places.try_acquire() else {
        return Err(Problem::unavailable(format!("{IN_FLIGHT} requests are waiting for the unprotected twin"), None));
    };
    let path = uri.path_and_query().map_or("", |path| path.as_str());
    let url = format!("{}{}", twin.base, path.strip_prefix(PREFIX).unwrap_or(path));
    let mut request = twin.http.request(method, url).body(body);
    for name in REQUEST_HEADERS {
        if let Some(value) = headers.get(&name) {
            request = request.header(name, value);
        }
    }
    let lost = |error: reqwest::Error| {
        let why = if error.is_timeout() { "did not answer in time" } else { "cannot be reached" };
        Problem::new(StatusCode::BAD_GATEWAY, format!("the unprotected twin {why}"))
    };
    let answer = request.send().await.map_err(lost)?;
    let mut response = Response::builder().status(answer.status());
    for name in RESPONSE_HEADERS {
        if let Some(value) = answer.headers().get(&name) {
            response = response.header(name, value);
        }
    }
    let body = answer.bytes().await.map_err(lost)?;
    response.body(body.into()).map_err(|error| Problem::new(StatusCode::BAD_GATEWAY, error.to_string()))
}
