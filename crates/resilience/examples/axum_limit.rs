//! A server that answers four requests at once and turns the rest away with 503.
//!
//! ```text
//! cargo run --example axum_limit --features http
//! ```

use std::{sync::Arc, time::Duration};

use axum::{Router, routing::get};
use breakerbox_resilience::{
    bulkhead::{Bulkhead, BulkheadSettings},
    http::BulkheadLayer,
};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let settings = BulkheadSettings { max_concurrent_calls: 4, max_wait_duration: Duration::ZERO };
    let bulkhead = Arc::new(Bulkhead::new(&settings)?);
    let slow = get(|| async { tokio::time::sleep(Duration::from_millis(200)).await });
    let app = Router::new().route("/", slow).layer(BulkheadLayer::new(bulkhead.clone()));

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/", listener.local_addr()?);
    tokio::spawn(async move { axum::serve(listener, app).await });

    let answers = futures_util::future::try_join_all((0..10).map(|_| reqwest::get(&url))).await?;
    let accepted = answers.iter().filter(|answer| answer.status().is_success()).count();
    println!("{accepted} answered, {} turned away", bulkhead.snapshot().rejected);
    Ok(())
}
