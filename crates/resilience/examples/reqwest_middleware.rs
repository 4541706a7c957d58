//! A policy in a `reqwest-middleware` client: a dependency that fails is not asked any more.
//!
//! ```text
//! cargo run --example reqwest_middleware --features reqwest-middleware
//! ```

use std::sync::Arc;

use axum::{Router, http::StatusCode, routing::get};
use breakerbox_resilience::{Policy, breaker::Breaker, reqwest::PolicyMiddleware};
use reqwest_middleware::ClientBuilder;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let url = serve_trouble().await?;
    let policy = Policy::builder().circuit_breaker(Breaker::builder().consecutive_failures(3)).build()?;
    let client = ClientBuilder::new(reqwest::Client::new()).with(PolicyMiddleware::new(Arc::new(policy))).build();
    for call in 1..=5 {
        match client.get(&url).send().await {
            Ok(answer) => println!("call {call}: {}", answer.status()),
            Err(error) => println!("call {call}: {error}"),
        }
    }
    Ok(())
}

/// A server that is up and answers every request with an error.
async fn serve_trouble() -> std::io::Result<String> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let trouble = Router::new().route("/", get(|| async { StatusCode::INTERNAL_SERVER_ERROR }));
    tokio::spawn(async move { axum::serve(listener, trouble).await });
    Ok(format!("http://{address}/"))
}
