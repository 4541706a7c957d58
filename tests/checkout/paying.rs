//! One viewer pays again and again while the payment gateway fails at its default rate; the log of transitions records
//! the breaker's changes of state.

use std::time::Duration;

use breakerbox::services::ServiceName;
use breakerbox::settings::Settings;
use breakerbox_resilience::breaker::State;
use breakerbox_telemetry::TransitionRecord;
use http::HeaderMap;
use serde_json::json;
use tokio::sync::broadcast::{Receiver, error::TryRecvError};
use tokio::time::Instant;

use crate::world::World;

const NOTICE: &str = "현재 결제 서비스에 일시적인 오류가 발생했습니다. 나중에 다시 시도해 주세요.";
const BLOCK: Duration = Duration::from_mins(5);
const PAUSE: Duration = Duration::from_secs(8);
/// Fits into the hour for which a token is valid.
const PAYMENTS_A_LOG_IN: u32 = 350;
const LOG_INS: u32 = 4;

/// The share of payments that fails with default settings.
fn default_error_rate() -> f64 {
    let settings = Settings::load(None, std::iter::empty()).unwrap();
    settings.blueprint().unwrap().faults[&ServiceName::PaymentGateway].error_rate
}

/// A minimal model of the breaker: three failures in a row, five minutes, four of five.
#[derive(Clone, Copy, Debug)]
enum Expected {
    Closed { failures: u32 },
    Open { since: Instant },
    HalfOpen { paid: u32, failed: u32 },
}

type Change = (&'static str, &'static str, &'static str);

impl Expected {
    /// Time for which payments are still rejected.
    fn block(self, now: Instant) -> Option<Duration> {
        match self {
            Self::Open { since } => BLOCK.checked_sub(now - since).filter(|left| !left.is_zero()),
            _ => None,
        }
    }

    /// The state after a payment, and the transitions expected from it.
    fn after(self, paid: bool, now: Instant) -> (Self, Vec<Change>) {
        match self {
            Self::Open { .. } if self.block(now).is_some() => {
                assert!(!paid, "paid through an open breaker");
                (self, Vec::new())
            }
            Self::Open { .. } => {
                let (after, mut changes) = Self::HalfOpen { paid: 0, failed: 0 }.after(paid, now);
                changes.insert(0, ("open", "half_open", "wait_elapsed"));
                (after, changes)
            }
            Self::Closed { .. } if paid => (Self::Closed { failures: 0 }, Vec::new()),
            Self::Closed { failures: 2 } => {
                (Self::Open { since: now }, vec![("closed", "open", "consecutive_failures")])
            }
            Self::Closed { failures } => (Self::Closed { failures: failures + 1 }, Vec::new()),
            Self::HalfOpen { paid: before, failed } => match (before + u32::from(paid), failed + u32::from(!paid)) {
                (_, 2) => (Self::Open { since: now }, vec![("half_open", "open", "probes_failed")]),
                // Closes as soon as four of five successes are certain.
                (4, _) => (Self::Closed { failures: 0 }, vec![("half_open", "closed", "probes_succeeded")]),
                (paid, failed) => (Self::HalfOpen { paid, failed }, Vec::new()),
            },
        }
    }
}

fn new_entries(feed: &mut Receiver<TransitionRecord>) -> Vec<TransitionRecord> {
    let mut entries = Vec::new();
    loop {
        match feed.try_recv() {
            Ok(record) if record.breaker == "payment-gateway" => entries.push(record),
            Ok(_) => {}
            Err(TryRecvError::Empty) => return entries,
            Err(error) => panic!("{error}"),
        }
    }
}

fn change(entry: &TransitionRecord) -> Change {
    (entry.from.as_str(), entry.to.as_str(), entry.reason.as_str())
}

fn retry_after(headers: &HeaderMap) -> u64 {
    headers["retry-after"].to_str().unwrap().parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn paying_at_the_default_failures_goes_through_every_state() {
    let share = default_error_rate();
    assert!((share - 0.3).abs() < 1e-9, "{share}");
    let world = World::new(&[
        ("BREAKERBOX_FAULTS__PAYMENT_GATEWAY__ERROR_RATE", &share.to_string()),
        // The queue holds only refunds here, and polling it through hours of virtual time takes seconds.
        ("BREAKERBOX_CHECKOUT__QUEUE__POLL", "10s"),
    ])
    .await;
    let mut feed = world.transitions.subscribe();
    let (mut state, mut log, mut blocked) = (Expected::Closed { failures: 0 }, Vec::new(), 0);
    for _ in 0..LOG_INS {
        let token = world.log_in(7).await;
        for _ in 0..PAYMENTS_A_LOG_IN {
            let (now, body) = (Instant::now(), json!({"film_id": 3, "kind": "rent"}));
            let answer = world.order_at(&world.gateway, &token, &world.new_key(), &body).await;
            let paid = answer.status == 201;
            if !paid {
                assert_eq!((answer.status, answer.json["detail"].as_str()), (503, Some(NOTICE)), "{answer:?}");
                assert!((1..=300).contains(&retry_after(&answer.headers)), "{answer:?}");
            }
            if let Some(left) = state.block(now) {
                blocked += 1;
                // Rounded up to whole seconds: a viewer who comes back then is not rejected again.
                assert_eq!(retry_after(&answer.headers), left.as_secs() + u64::from(left.subsec_nanos() > 0));
            }
            let (after, changes) = state.after(paid, now);
            let entries = new_entries(&mut feed);
            let told: Vec<Change> = entries.iter().map(change).collect();
            assert_eq!(told, changes, "{state:?}, paid: {paid}");
            (state, log) = (after, [log, entries].concat());
            tokio::time::sleep(PAUSE).await;
        }
    }

    let count = |from, to| log.iter().map(change).filter(|(was, is, _)| (*was, *is) == (from, to)).count();
    assert!(count("closed", "open") >= 3, "{log:?}");
    assert!(count("half_open", "open") >= 3 && count("half_open", "closed") >= 3, "{log:?}");
    assert!(blocked > 500, "{blocked}");
    for (number, entry) in (log[0].generation..).zip(&log) {
        assert_eq!((entry.service.as_str(), entry.generation), ("checkout", number));
        let wait = (entry.to == State::Open).then_some(BLOCK);
        assert_eq!(entry.open_wait, wait, "{entry:?}");
    }
    let changes: Vec<Change> = log.iter().map(change).collect();
    assert_eq!(world.payment_transitions(), changes, "the log that `/transitions` shows");

    world.fault("payment-gateway", "{}");
    tokio::time::sleep(2 * BLOCK).await;
    world.books_agree().await;
    world.stop().await;
}
