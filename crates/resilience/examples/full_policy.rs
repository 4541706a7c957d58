//! A whole policy from a settings file, around an operation that fails twice before it works.
//!
//! ```text
//! cargo run --example full_policy
//! ```

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Instant,
};

use breakerbox_resilience::{
    policy::{Call, Event, Observer, Policy, PolicySettings},
    retry::{Classify, ErrorKind, Verdict},
};

const SETTINGS: &str = r#"
[circuit-breaker]
failure-rate-threshold = 50
sliding-window-size = 10
wait-duration-in-open-state = "30s"

[bulkhead]
max-concurrent-calls = 10
max-wait-duration = "100ms"

[time-limiter]
timeout-duration = "1s"
total-timeout = "3s"

[retry]
max-attempts = 3
wait-duration = "20ms"
"#;

#[derive(Debug, thiserror::Error)]
#[error("the catalog is busy")]
struct Busy;

impl Classify for Busy {
    fn verdict(&self) -> Verdict {
        Verdict::of(ErrorKind::ServerError)
    }
}

/// Prints what a service would count.
struct Printer;

impl Observer for Printer {
    fn observe(&self, event: Event<'_>) {
        match event {
            Event::Finished { outcome, attempt, .. } => println!("attempt {attempt}: {}", outcome.as_str()),
            Event::RetryEnded { outcome, attempts } => println!("{} after {attempts} attempts", outcome.as_str()),
            _ => {}
        }
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let settings: PolicySettings = toml::from_str(SETTINGS)?;
    let policy = Policy::new(settings, Instant::now(), 42)?;
    let calls = AtomicU32::new(0);
    let film = policy
        .call_with(Call::idempotent(), &Printer, |_attempt| async {
            match calls.fetch_add(1, Ordering::Relaxed) {
                0 | 1 => Err(Busy),
                _ => Ok("Parasite"),
            }
        })
        .await?;
    println!("found {film}");
    Ok(())
}
