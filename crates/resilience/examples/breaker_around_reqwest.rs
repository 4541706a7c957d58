//! A breaker around an HTTP client: three bad answers in a row, and nobody is asked any more.
//!
//! ```text
//! cargo run --example breaker_around_reqwest
//! ```

use std::time::Duration;

use axum::{Router, http::StatusCode, routing::get};
use breakerbox_resilience::{BreakerError, CircuitBreaker, breaker::Outcome};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let url = serve_trouble().await?;
    let client = reqwest::Client::new();
    let breaker = CircuitBreaker::builder("films").consecutive_failures(3).open_for(Duration::from_mins(5)).build()?;

    for call in 1..=5 {
        match breaker.call_with(by_status, client.get(&url).send()).await {
            Ok(answer) => println!("call {call}: {}", answer.status()),
            Err(BreakerError::Inner(error)) => println!("call {call}: {error}"),
            Err(rejected) => println!("call {call}: {rejected}"),
        }
    }
    println!(
        "{} after {} failures",
        breaker.state().as_str(),
        breaker.snapshot().last_trip.map_or(0, |trip| trip.window.failures)
    );
    Ok(())
}

fn by_status(answer: &reqwest::Result<reqwest::Response>) -> Outcome {
    match answer {
        Ok(answer) if !answer.status().is_server_error() => Outcome::Success,
        _ => Outcome::Failure,
    }
}

/// A server that is up and answers every request with an error.
async fn serve_trouble() -> std::io::Result<String> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let trouble = Router::new().route("/", get(|| async { StatusCode::INTERNAL_SERVER_ERROR }));
    tokio::spawn(async move { axum::serve(listener, trouble).await });
    Ok(format!("http://{address}/"))
}
