//! A policy around hyper's client: two 503 are retried, and the third attempt is answered.
//!
//! ```text
//! cargo run --example hyper_client --features http
//! ```

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use axum::{Router, http::StatusCode, routing::get};
use breakerbox_resilience::{
    Policy,
    breaker::Breaker,
    http::{HttpStatus, repeatable},
    policy::PolicyLayer,
};
use http_body_util::Empty;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tower::{Layer, Service, ServiceExt};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let url = serve_flaky().await?;
    let policy = Policy::builder()
        .circuit_breaker(Breaker::builder().consecutive_failures(5))
        .total_timeout(Duration::from_secs(2))
        .attempts(3)
        .build()?;
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<bytes::Bytes>>();
    let mut client = PolicyLayer::new(Arc::new(policy)).classify(HttpStatus).clone_request(repeatable).layer(client);

    let request = http::Request::get(url).body(Empty::new())?;
    let answer = client.ready().await?.call(request).await?;
    println!("answered {}", answer.status());
    Ok(())
}

/// A server that fails twice before it works.
async fn serve_flaky() -> std::io::Result<String> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let calls = Arc::new(AtomicU32::new(0));
    let flaky = Router::new().route(
        "/",
        get(|| async move {
            if calls.fetch_add(1, Ordering::Relaxed) < 2 { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK }
        }),
    );
    tokio::spawn(async move { axum::serve(listener, flaky).await });
    Ok(format!("http://{address}/"))
}
