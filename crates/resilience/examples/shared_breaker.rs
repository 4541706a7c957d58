//! One breaker for many tasks: what one of them learns, all of them know.
//!
//! ```text
//! cargo run --example shared_breaker
//! ```

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Instant,
};

use breakerbox_resilience::breaker::{Breaker, BreakerSettings, Outcome};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let settings = BreakerSettings { consecutive_failure_threshold: Some(10), ..BreakerSettings::default() };
    let breaker = Arc::new(Breaker::new(settings, Instant::now(), 42)?);
    let (sent, rejected) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));

    let tasks: Vec<_> = (0..20)
        .map(|_| {
            let (breaker, sent, rejected) = (breaker.clone(), sent.clone(), rejected.clone());
            tokio::spawn(async move {
                for _ in 0..10 {
                    match breaker.try_acquire(Instant::now()).permit {
                        Ok(permit) => {
                            sent.fetch_add(1, Ordering::Relaxed);
                            permit.record(Outcome::Failure, Instant::now());
                        }
                        Err(_) => {
                            rejected.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await?;
    }

    let (sent, rejected) = (sent.load(Ordering::Relaxed), rejected.load(Ordering::Relaxed));
    println!("{} of 200 calls accounted for", sent + rejected);
    println!("the breaker is {} and spared the dependency most of them: {}", breaker.state().as_str(), sent < 50);
    Ok(())
}
