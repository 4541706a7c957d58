//! Test requests to a service, without a socket.

use axum::Router;
use axum::body::Body;
use http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tower::ServiceExt;

/// Sends a request and parses the response as JSON.
pub(crate) async fn send(router: Router, request: Request<Body>) -> (u16, Value) {
    let response = router.oneshot(request).await.expect("routers don't fail");
    let (parts, body) = response.into_parts();
    let body = body.collect().await.expect("bodies in tests do not fail").to_bytes();
    let json = serde_json::from_slice(&body).unwrap_or_else(|_| panic!("{}: {body:?}", parts.status));
    if parts.status.is_client_error() || parts.status.is_server_error() {
        assert_eq!(parts.headers[header::CONTENT_TYPE], "application/problem+json", "{json}");
    }
    (parts.status.as_u16(), json)
}

/// A `GET` that must succeed.
pub(crate) async fn get<T: DeserializeOwned>(router: Router, path: &str) -> T {
    let (status, json) = send(router, Request::get(path).body(Body::empty()).expect("a path")).await;
    assert_eq!(status, StatusCode::OK, "{path}: {json}");
    serde_json::from_value(json).expect("the wire type")
}

/// A `GET` that must fail.
pub(crate) async fn problem(router: Router, path: &str) -> (u16, Value) {
    send(router, Request::get(path).body(Body::empty()).expect("a path")).await
}

/// A `POST` with a JSON body.
pub(crate) async fn post(router: Router, path: &str, body: &impl Serialize) -> (u16, Value) {
    let body = Body::from(serde_json::to_vec(body).expect("wire types serialise"));
    let request = Request::builder().method(Method::POST).uri(path).header(header::CONTENT_TYPE, "application/json");
    send(router, request.body(body).expect("a path")).await
}
