//! A breaker around an HTTP client: three bad answers in a row, and nobody is asked any more.
//!
//! ```text
//! cargo run --example breaker_around_reqwest
//! ```

use std::time::{Duration, Instant};

use axum::{Router, http::StatusCode, routing::get};
use breakerbox_resilience::breaker::{Breaker, BreakerSettings, Outcome};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let address = serve_trouble().await?;
    let settings = BreakerSettings {
        consecutive_failure_threshold: Some(3),
        wait_duration_in_open_state: Duration::from_mins(5),
        ..BreakerSettings::default()
    };
    let breaker = Breaker::new(settings, Instant::now(), 42)?;
    let client = reqwest::Client::new();

    for call in 1..=5 {
        match breaker.try_acquire(Instant::now()).permit {
            Ok(permit) => {
                let answer = client.get(format!("http://{address}/")).send().await;
                let failed = answer.is_err() || answer.is_ok_and(|answer| answer.status().is_server_error());
                let outcome = if failed { Outcome::Failure } else { Outcome::Success };
                let recorded = permit.record(outcome, Instant::now());
                println!("call {call}: {}", outcome.as_str());
                if let Some(transition) = recorded.transition {
                    println!("{} -> {}", transition.from.as_str(), transition.to.as_str());
                }
            }
            Err(rejected) => {
                println!("call {call}: rejected, retry in {} s", rejected.retry_after.as_secs_f64().ceil());
            }
        }
    }
    Ok(())
}

/// A server that is up and answers every request with an error.
async fn serve_trouble() -> std::io::Result<std::net::SocketAddr> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let trouble = Router::new().route("/", get(|| async { StatusCode::INTERNAL_SERVER_ERROR }));
    tokio::spawn(async move { axum::serve(listener, trouble).await });
    Ok(address)
}
