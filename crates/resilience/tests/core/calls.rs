//! The API that most callers use: a named breaker and a policy around futures, and owned permits.

use std::{
    future::pending,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use breakerbox_resilience::{
    BreakerError, CircuitBreaker, Policy,
    breaker::{Breaker, Command, Outcome, State},
    clock::{Clock, ManualClock},
    policy::{CallError, Event, Observer},
    retry::{ErrorKind, Jitter, RetrySettings, Verdict},
};
use tokio::time::timeout;

const REFUSED: io::ErrorKind = io::ErrorKind::ConnectionRefused;

fn breaker(failures: u32) -> CircuitBreaker {
    CircuitBreaker::builder("payments")
        .consecutive_failures(failures)
        .open_for(Duration::from_secs(30))
        .build()
        .unwrap()
}

async fn fail(breaker: &CircuitBreaker<impl Clock>) -> BreakerError<io::Error> {
    breaker.call(async { Err::<(), _>(io::Error::from(REFUSED)) }).await.unwrap_err()
}

#[tokio::test(start_paused = true)]
async fn every_error_counts_unless_a_closure_says_otherwise() {
    let breaker = breaker(2);
    for _ in 0..5 {
        let ignored = breaker.call_with(
            |result: &io::Result<()>| if result.is_ok() { Outcome::Success } else { Outcome::Ignored },
            async { Err(REFUSED.into()) },
        );
        assert!(matches!(ignored.await, Err(BreakerError::Inner(_))));
    }
    assert_eq!(breaker.state(), State::Closed);
    fail(&breaker).await;
    fail(&breaker).await;
    assert_eq!(breaker.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn an_answer_can_count_as_a_failure() {
    let breaker = breaker(1);
    let status = breaker.call_with(
        |status: &Result<u16, io::Error>| match status {
            Ok(500..) | Err(_) => Outcome::Failure,
            Ok(_) => Outcome::Success,
        },
        async { Ok(503) },
    );
    assert_eq!(status.await.unwrap(), 503);
    assert_eq!(breaker.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_rejection_names_the_breaker_and_the_wait() {
    let breaker = breaker(1);
    fail(&breaker).await;
    tokio::time::advance(Duration::from_secs(10)).await;
    let started = AtomicU32::new(0);
    let rejected =
        breaker.call(async { Ok::<_, io::Error>(started.fetch_add(1, Ordering::Relaxed)) }).await.unwrap_err();
    assert_eq!(rejected.retry_after(), Some(Duration::from_secs(20)));
    assert_eq!(rejected.to_string(), "payments is open; retry after 20s");
    assert_eq!(started.load(Ordering::Relaxed), 0, "a rejected call is not started");
    tokio::time::advance(Duration::from_secs(20)).await;
    assert!(breaker.call(async { Ok::<_, io::Error>(()) }).await.is_ok());
    assert_eq!(breaker.state(), State::HalfOpen);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_is_cancelled_and_a_panicking_one_fails() {
    let breaker = CircuitBreaker::builder("b")
        .consecutive_failures(1)
        .slow_calls(100.0, Duration::from_millis(50))
        .count_window(2)
        .build()
        .unwrap();
    let gave_up = timeout(Duration::from_millis(20), breaker.call(pending::<Result<(), io::Error>>())).await;
    assert!(gave_up.is_err());
    assert_eq!(breaker.snapshot().window_calls, 0, "it was not slow yet");
    let gave_up = timeout(Duration::from_millis(60), breaker.call(pending::<Result<(), io::Error>>())).await;
    assert!(gave_up.is_err());
    assert_eq!(breaker.snapshot().slow, 1, "a cancelled call past the threshold counts as slow");
    let shared = breaker.clone();
    let panicked =
        tokio::spawn(async move { shared.call(async { panic!("on purpose") as Result<(), io::Error> }).await });
    assert!(panicked.await.unwrap_err().is_panic());
    assert_eq!(breaker.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_permit_can_leave_for_a_task_and_its_outcome_counts() {
    let breaker = breaker(1);
    let permit = breaker.acquire().unwrap();
    tokio::spawn(async move { permit.failed() }).await.unwrap();
    assert_eq!(breaker.state(), State::Open);
    assert_eq!(breaker.acquire().unwrap_err().state, State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_permit_gives_its_probe_back() {
    let clock = ManualClock::new();
    let breaker =
        CircuitBreaker::builder("b").consecutive_failures(1).probes(1, 100.0).clock(clock.clone()).build().unwrap();
    fail(&breaker).await;
    clock.advance(Duration::from_mins(1));
    let probe = breaker.acquire().unwrap();
    assert!(breaker.acquire().is_err());
    drop(probe);
    breaker.acquire().unwrap().succeeded();
    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn an_owned_permit_outlives_the_scope_of_its_breaker() {
    let now = std::time::Instant::now();
    let breaker = Arc::new(Breaker::builder().consecutive_failures(1).build(now).unwrap());
    let permit = breaker.try_acquire_owned(now).permit.unwrap();
    let watched = Arc::downgrade(&breaker);
    drop(breaker);
    let transition = permit.record(Outcome::Failure, now).transition.unwrap();
    assert_eq!(transition.to, State::Open);
    assert!(watched.upgrade().is_none(), "the permit was the last owner");
}

#[test]
fn a_blocking_call_needs_no_runtime() {
    let breaker = breaker(1);
    assert_eq!(breaker.run(|| Ok::<_, io::Error>(1)).unwrap(), 1);
    assert!(breaker.run(|| Err::<(), _>(io::Error::from(REFUSED))).is_err());
    assert!(matches!(breaker.run(|| Ok::<_, io::Error>(1)), Err(BreakerError::Rejected { .. })));
}

#[test]
fn a_rejection_names_the_breaker_however_it_was_named() {
    let key = 7;
    for builder in [
        CircuitBreaker::builder("shard-7"),
        CircuitBreaker::builder(format!("shard-{key}")),
        CircuitBreaker::builder(Arc::<str>::from("shard-7")),
    ] {
        let breaker = builder.consecutive_failures(1).build().unwrap();
        assert!(breaker.run(|| Err::<(), _>(io::Error::from(REFUSED))).is_err());
        let rejected = breaker.run(|| Ok::<_, io::Error>(())).unwrap_err();
        assert!(rejected.to_string().starts_with("shard-7 is open; "), "{rejected}");
        let BreakerError::Rejected { name, .. } = rejected else { panic!("{rejected:?}") };
        assert_eq!(&*name, "shard-7");
    }
}

/// A closed breaker with a count window does not depend on time.
#[tokio::test]
async fn a_call_that_needs_no_time_does_not_read_the_clock() {
    #[derive(Clone, Default)]
    struct Counting(Arc<AtomicU32>);
    impl Clock for Counting {
        fn now(&self) -> std::time::Instant {
            self.0.fetch_add(1, Ordering::Relaxed);
            std::time::Instant::now()
        }
    }
    let reads = |builder: breakerbox_resilience::circuit::CircuitBreakerBuilder| async {
        let clock = Counting::default();
        let breaker = builder.clock(clock.clone()).build().unwrap();
        let before = clock.0.load(Ordering::Relaxed);
        for _ in 0..100 {
            breaker.call(async { Ok::<_, io::Error>(()) }).await.unwrap();
        }
        clock.0.load(Ordering::Relaxed) - before
    };
    assert_eq!(reads(CircuitBreaker::builder("calls")).await, 0);
    assert_eq!(reads(CircuitBreaker::builder("time").time_window(Duration::from_secs(10))).await, 100);
    let slow = CircuitBreaker::builder("slow").slow_calls(50.0, Duration::from_secs(1));
    assert_eq!(reads(slow).await, 200);
}

#[tokio::test(start_paused = true)]
async fn an_observer_sees_the_outcome_of_calls() {
    struct Log(Arc<Mutex<Vec<String>>>);
    impl Observer for Log {
        fn observe(&self, event: Event<'_>) {
            self.0.lock().unwrap().push(match event {
                Event::Transition(transition) => transition.to.as_str().to_owned(),
                Event::Finished { outcome, .. } => outcome.as_str().to_owned(),
                Event::Rejected(_) => "rejected".to_owned(),
                _ => return,
            });
        }
    }
    let lines = Arc::new(Mutex::new(Vec::new()));
    let breaker = CircuitBreaker::builder("b").consecutive_failures(1).observer(Log(lines.clone())).build().unwrap();
    breaker.call(async { Ok::<_, io::Error>(()) }).await.unwrap();
    fail(&breaker).await;
    fail(&breaker).await;
    breaker.command(Command::Close);
    assert_eq!(*lines.lock().unwrap(), ["success", "open", "failure", "rejected", "closed"]);
}

fn retrying() -> Policy {
    let retry = RetrySettings { jitter: Jitter::None, ..RetrySettings::default() };
    Policy::builder().retry(retry).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn only_idempotent_calls_are_retried() {
    let (policy, made) = (retrying(), AtomicU32::new(0));
    let op = |_| async {
        made.fetch_add(1, Ordering::Relaxed);
        Err::<(), _>("down")
    };
    assert_eq!(policy.call(op).await, Err(CallError::Failed("down")));
    assert_eq!(made.swap(0, Ordering::Relaxed), 1);
    assert_eq!(policy.request().call(op).await, Err(CallError::Failed("down")));
    assert_eq!(made.swap(0, Ordering::Relaxed), 1);
    assert_eq!(policy.request().idempotent().call(op).await, Err(CallError::Failed("down")));
    assert_eq!(made.load(Ordering::Relaxed), 3);
}

#[tokio::test(start_paused = true)]
async fn a_closure_selects_which_errors_are_retried() {
    let made = AtomicU32::new(0);
    let policy = retrying();
    for (kind, attempts) in [(io::ErrorKind::NotFound, 1), (io::ErrorKind::ConnectionReset, 3)] {
        made.store(0, Ordering::Relaxed);
        let answer = policy.request().idempotent().own_errors().call(|_| async {
            made.fetch_add(1, Ordering::Relaxed);
            Err::<(), io::Error>(kind.into())
        });
        assert!(matches!(answer.await, Err(CallError::Failed(_))));
        assert_eq!(made.load(Ordering::Relaxed), attempts, "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_bad_answer_is_retried_and_the_last_one_returned() {
    let policy =
        Policy::builder().attempts(3).circuit_breaker(Breaker::builder().consecutive_failures(3)).build().unwrap();
    let made = AtomicU32::new(0);
    let call = || {
        policy.request().idempotent().classify(by_status).call(|_| async {
            made.fetch_add(1, Ordering::Relaxed);
            Ok::<_, io::Error>(503)
        })
    };
    assert_eq!(call().await.unwrap(), 503);
    assert_eq!(made.load(Ordering::Relaxed), 3);
    assert_eq!(policy.breaker().unwrap().state(), State::Open);
    assert!(matches!(call().await, Err(CallError::Open(_))));
}

/// The breaker of a policy uses the clock of the policy.
#[tokio::test]
async fn a_policy_uses_the_clock_it_is_given() {
    let clock = ManualClock::new();
    let breaker = Breaker::builder().consecutive_failures(1).open_for(Duration::from_secs(30)).probes(1, 100.0);
    let policy = Policy::builder().circuit_breaker(breaker).clock(clock.clone()).build().unwrap();
    let failed = policy.call(|_| async { Err::<(), _>("down") }).await;
    assert_eq!(failed, Err(CallError::Failed("down")));
    let Err(CallError::Open(rejected)) = policy.call(|_| async { Ok::<_, &str>(()) }).await else { panic!("open") };
    assert_eq!(rejected.retry_after, Duration::from_secs(30), "no time has passed");
    clock.advance(Duration::from_secs(30));
    assert_eq!(policy.call(|_| async { Ok::<_, &str>("up") }).await, Ok("up"));
}

fn by_status(result: &Result<u16, io::Error>) -> Option<Verdict> {
    result.as_ref().map_or(Some(Verdict::of(ErrorKind::Connect)), |status| Verdict::of_status(*status))
}

#[test]
fn futures_of_calls_can_be_spawned() {
    fn sendable<T: Send + 'static>(_: T) {}
    let breaker = breaker(1);
    let shared = breaker.clone();
    sendable(async move { shared.call(async { Ok::<_, io::Error>(()) }).await });
    sendable(breaker.acquire().unwrap());
    let policy = Arc::new(retrying());
    sendable(async move { policy.request().idempotent().call(|_| async { Ok::<_, io::Error>(()) }).await });
}
