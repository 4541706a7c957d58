use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::routing::post;
use http::{Method, StatusCode, header};
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::{Side, Storefront};

/// Maximum compressed size of a page, including its script and style.
const HEAVIEST: usize = 150_000;

fn storefront(side: Side, twin: Option<String>) -> Router {
    let (api, tasks) = (Router::new(), tokio_util::task::TaskTracker::new());
    Storefront { side, twin, console: None, clients: Vec::new(), api, tasks }.routes().unwrap()
}

async fn ask(router: &Router, request: http::request::Builder) -> (StatusCode, http::HeaderMap, Vec<u8>) {
    let request = request.body(Body::empty()).unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    (parts.status, parts.headers, body.collect().await.unwrap().to_bytes().to_vec())
}

#[tokio::test]
async fn the_page_may_load_and_run_only_what_is_its_own() {
    let router = storefront(Side::Protected, None);
    for path in ["/", "/assets/storefront.js", "/assets/storefront.css"] {
        let (status, headers, body) = ask(&router, Request::get(path)).await;
        assert_eq!(status, StatusCode::OK, "{path}");
        let policy = headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self';") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        let text = String::from_utf8(body).unwrap();
        for outside in text
            .match_indices("http")
            .map(|(at, _)| &text[at..])
            .filter(|rest| rest.starts_with("http://") || rest.starts_with("https://"))
        {
            assert!(
                outside.starts_with("http://www.w3.org/"),
                "{path}: {}",
                outside.chars().take(60).collect::<String>()
            );
        }
    }
}

#[tokio::test]
async fn the_page_is_small_and_cached() {
    let router = storefront(Side::Protected, None);
    let mut weight = 0;
    for path in ["/", "/assets/storefront.js", "/assets/storefront.css"] {
        let (_, headers, body) = ask(&router, Request::get(path).header(header::ACCEPT_ENCODING, "gzip")).await;
        weight += body.len();
        let tag = headers[header::ETAG].clone();
        let (status, _, body) = ask(&router, Request::get(path).header(header::IF_NONE_MATCH, tag)).await;
        assert_eq!((status, body.len()), (StatusCode::NOT_MODIFIED, 0), "{path}");
    }
    assert!((10_000..HEAVIEST).contains(&weight), "{weight} bytes");
}

#[tokio::test]
async fn the_twin_is_reached_under_the_same_origin() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let echo = |request: Request| async move {
        let header =
            |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or("-").to_owned();
        let said = format!("{} {} {} {}", request.method(), request.uri(), header("idempotency-key"), header("cookie"));
        (StatusCode::ACCEPTED, [(header::LOCATION, "/api/orders/1")], said)
    };
    let twin = Router::new().route("/api/checkout", post(echo).get(echo));
    tokio::spawn(async move { axum::serve(listener, twin).await });

    let router = storefront(Side::Protected, Some(base));
    let asked = Request::post("/twin/api/checkout?x=1").header("idempotency-key", "k").header("cookie", "secret=1");
    let (status, headers, body) = ask(&router, asked).await;
    assert_eq!(
        (status, String::from_utf8(body).unwrap().as_str()),
        (StatusCode::ACCEPTED, "POST /api/checkout?x=1 k -")
    );
    assert_eq!(headers[header::LOCATION], "/api/orders/1");
    let (status, ..) = ask(&router, Request::builder().method(Method::PUT).uri("/twin/api/checkout")).await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
    // Only the API is forwarded: no other paths of the twin, and no other hosts.
    let (status, ..) = ask(&router, Request::get("/twin/status.json")).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn an_absent_twin_is_reported_and_no_twin_is_no_path() {
    let away = storefront(Side::Protected, Some("http://127.0.0.1:1".to_owned()));
    let (status, _, body) = ask(&away, Request::get("/twin/api/home")).await;
    assert_eq!(status, StatusCode::BAD_GATEWAY);
    assert!(String::from_utf8(body).unwrap().contains("the unprotected twin cannot be reached"));
    let (status, ..) = ask(&storefront(Side::Bare, None), Request::get("/twin/api/home")).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}
