//! Checks of every request, and headers of every response.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::web::problem::Problem;

/// Default policy: responses load nothing.
const POLICY: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");

/// Refuses a request without exactly one host.
pub(super) fn check(headers: &HeaderMap) -> Result<(), Problem> {
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) if !host.is_empty() => Ok(()),
        (Some(_), Some(_)) => Err(Problem::bad_request("Host", "must be given once")),
        _ => Err(Problem::bad_request("Host", "must be given")),
    }
}

/// Adds security headers, and a problem body to an error without one.
pub(super) fn complete(response: Response) -> Response {
    let mut response = if is_bare_error(&response) { explained(&response) } else { response };
    let headers = response.headers_mut();
    headers.entry(header::X_CONTENT_TYPE_OPTIONS).or_insert(HeaderValue::from_static("nosniff"));
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(POLICY);
    response
}

/// Whether this is an error response of the router: an empty body, or a line of plain text.
fn is_bare_error(response: &Response) -> bool {
    let kind = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    response.status().is_client_error() && kind.is_none_or(|kind| kind.starts_with("text/plain"))
}

fn explained(response: &Response) -> Response {
    let (status, headers) = (response.status(), response.headers().clone());
    let detail = match status {
        StatusCode::METHOD_NOT_ALLOWED => "this path takes other methods; Allow names them",
        StatusCode::BAD_REQUEST => "the path or the query can't be decoded",
        StatusCode::PAYLOAD_TOO_LARGE => "the body is too large",
        _ => status.canonical_reason().unwrap_or("refused"),
    };
    let mut explained = Problem::new(status, detail).into_response();
    for (name, value) in &headers {
        if name != header::CONTENT_TYPE && name != header::CONTENT_LENGTH {
            explained.headers_mut().append(name, value.clone());
        }
    }
    *explained.extensions_mut() = response.extensions().clone();
    explained
}

/// The response on a connection that a full port refuses.
pub(super) fn full() -> &'static [u8] {
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nretry-after: 1\r\n\
      x-content-type-options: nosniff\r\nconnection: close\r\ncontent-length: 100\r\n\r\n\
      {\"status\":503,\"title\":\"Service Unavailable\",\"detail\":\"too many connections\",\"retry_after_seconds\":1}"
}

/// Converts a body to axum's type.
pub(super) fn body<B>(body: B) -> Body
where
    B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError>,
{
    Body::new(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_of_a_full_port_is_whole() {
        let text = std::str::from_utf8(full()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())), "{}", body.len());
        let json: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(json["status"], 503);
    }

    #[test]
    fn an_error_without_a_body_gets_one_and_keeps_its_headers() {
        let bare = Response::builder().status(405).header("allow", "GET").body(Body::empty()).unwrap();
        let answer = complete(bare);
        assert_eq!(answer.headers()["allow"], "GET");
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
        assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
        let own = Response::builder().header("content-security-policy", "own").body(Body::empty()).unwrap();
        assert_eq!(complete(own).headers()["content-security-policy"], "own");
    }
}
