use std::{
    cell::{Cell, RefCell},
    future::pending,
    time::Duration,
};

use tokio::time::timeout;

use super::*;
use crate::{
    breaker::{BreakerSettings, State},
    bulkhead::BulkheadSettings,
    hedge::HedgeSettings,
    retry::{AdaptiveSettings, BudgetSettings, ErrorKind, Jitter, RetrySettings, Verdict},
};

#[derive(Clone, Copy, Debug, PartialEq)]
struct Broken(ErrorKind);

impl Classify for Broken {
    fn verdict(&self) -> Verdict {
        Verdict::of(self.0)
    }
}

const DOWN: Broken = Broken(ErrorKind::ServerError);

/// Writes down what it sees.
#[derive(Default)]
struct Log(RefCell<Vec<String>>);

impl Observer for Log {
    fn observe(&self, event: Event<'_>) {
        self.0.borrow_mut().push(match event {
            Event::Transition(transition) => transition.reason.as_str().into(),
            Event::Admitted { attempt, hedge } => {
                format!("{attempt}{}", if hedge { " hedged" } else { "" })
            }
            Event::Rejected(_) => "rejected".into(),
            Event::BulkheadRejected(_) => "full".into(),
            Event::Throttled => "throttled".into(),
            Event::Finished { outcome, .. } => outcome.as_str().into(),
            Event::RetryScheduled { delay, .. } => format!("wait {delay:?}"),
            Event::RetryEnded { outcome, .. } => outcome.as_str().into(),
            Event::Predicted { .. } => "predicted".into(),
            Event::Hedge { outcome } => format!("hedge {}", outcome.as_str()),
        });
    }
}

impl Log {
    fn lines(&self) -> String {
        self.0.borrow().join(", ")
    }
}

fn policy(settings: PolicySettings) -> Policy {
    Policy::new(settings, clock(), 7).unwrap()
}

fn retrying() -> PolicySettings {
    PolicySettings {
        retry: Some(RetrySettings { jitter: Jitter::None, ..RetrySettings::default() }),
        ..PolicySettings::default()
    }
}

fn breaking(failures: u32) -> BreakerSettings {
    BreakerSettings {
        failure_rate_threshold: None,
        consecutive_failure_threshold: Some(failures),
        ..BreakerSettings::default()
    }
}

/// Fails the first `failures` times.
fn flaky(failures: u32) -> impl AsyncFn(Attempt) -> Result<u32, Broken> {
    let calls = Cell::new(0);
    async move |attempt: Attempt| {
        calls.set(calls.get() + 1);
        if calls.get() > failures { Ok(attempt.number) } else { Err(DOWN) }
    }
}

#[tokio::test(start_paused = true)]
async fn it_tries_again_after_the_backoff_until_it_succeeds() {
    let (policy, log, start) = (policy(retrying()), Log::default(), clock());
    let op = flaky(2);
    assert_eq!(policy.call_with(Call::idempotent(), &log, |a| op(a)).await, Ok(3));
    assert_eq!(clock() - start, Duration::from_millis(300));
    assert_eq!(log.lines(), "1, failure, wait 100ms, 2, failure, wait 200ms, 3, success, success_with_retry");
}

#[tokio::test(start_paused = true)]
async fn it_gives_the_last_error_after_the_last_attempt() {
    let (policy, log) = (policy(retrying()), Log::default());
    let op = flaky(9);
    let error = policy.call_with(Call::idempotent(), &log, |a| op(a)).await.unwrap_err();
    assert_eq!((error.reason(), error), ("failure", CallError::Failed(DOWN)));
    assert!(log.lines().ends_with("3, failure, failed_with_retry"));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_must_not_be_repeated_is_not_even_after_a_timeout() {
    let (policy, log) = (policy(retrying()), Log::default());
    let call = Call::default();
    let hang = |_| pending::<Result<(), Broken>>();
    let error = policy.call_with(call, &log, hang).await.unwrap_err();
    assert_eq!(error.reason(), "timeout");
    assert_eq!(log.lines(), "1, timeout, failed_without_retry");
}

#[tokio::test(start_paused = true)]
async fn the_deadline_cuts_the_last_attempt_and_starts_no_other() {
    let (policy, log, start) = (policy(retrying()), Log::default(), clock());
    let deadline = Some(start + Duration::from_millis(1_700));
    let hang = |_| pending::<Result<(), Broken>>();
    let error = policy.call_with(Call::idempotent().by(deadline), &log, hang).await.unwrap_err();
    assert_eq!(error, CallError::DeadlineExceeded);
    assert_eq!(clock() - start, Duration::from_millis(1_700));
    assert_eq!(log.lines(), "1, timeout, wait 100ms, 2, timeout, failed_with_retry");
    let error = policy.call_with(Call::idempotent().by(deadline), &(), hang).await.unwrap_err();
    assert_eq!(error, CallError::DeadlineExceeded);
}

#[tokio::test(start_paused = true)]
async fn callers_without_time_do_not_trip_a_healthy_dependency() {
    let policy = policy(PolicySettings { circuit_breaker: Some(breaking(3)), ..PolicySettings::default() });
    let takes_20_ms = |_| async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Ok::<(), Broken>(())
    };
    let log = Log::default();
    for _ in 0..5 {
        let hurry = Some(clock() + Duration::from_millis(2));
        assert_eq!(
            policy.call_with(Call::idempotent().by(hurry), &log, takes_20_ms).await,
            Err(CallError::DeadlineExceeded)
        );
    }
    assert_eq!(policy.breaker().map(crate::breaker::Breaker::state), Some(State::Closed));
    assert_eq!(log.lines(), "1, cancelled, 1, cancelled, 1, cancelled, 1, cancelled, 1, cancelled");
    // Half of the attempt's own timeout is a chance, and counts.
    for _ in 0..3 {
        let deadline = Some(clock() + Duration::from_millis(500));
        let _ = policy.call_with(Call::idempotent().by(deadline), &(), |_| pending::<Result<(), Broken>>()).await;
    }
    assert_eq!(policy.breaker().map(crate::breaker::Breaker::state), Some(State::Open));
}

#[tokio::test(start_paused = true)]
async fn calls_that_this_side_turned_away_earn_no_retries() {
    let budget = BudgetSettings { retry_percent: 100.0, min_retries_per_second: 0.0, max_tokens: 5 };
    let settings = PolicySettings { circuit_breaker: Some(breaking(3)), retry_budget: budget, ..retrying() };
    let policy = policy(settings);
    while policy.retry_budget().withdraw(clock()) {}
    policy.breaker().unwrap().command(crate::breaker::Command::ForceOpen, clock());
    for _ in 0..100 {
        assert!(policy.call_with(Call::idempotent(), &(), |_| async { Ok::<(), Broken>(()) }).await.is_err());
    }
    assert!(policy.retry_budget().snapshot(clock()).tokens < 0.5);
    policy.breaker().unwrap().command(crate::breaker::Command::Reset, clock());
    assert!(policy.call_with(Call::idempotent(), &(), |_| async { Ok::<(), Broken>(()) }).await.is_ok());
    assert!((policy.retry_budget().snapshot(clock()).tokens - 1.0).abs() < 0.01);
}

/// A retry that began in time and was cut by the deadline did not succeed.
#[tokio::test(start_paused = true)]
async fn the_adaptive_model_learns_from_retries_that_the_deadline_cut() {
    let policy = policy(PolicySettings {
        retry: Some(RetrySettings {
            jitter: Jitter::None,
            adaptive: Some(AdaptiveSettings::default()),
            stop_failure_rate_threshold: None,
            ..RetrySettings::default()
        }),
        retry_budget: BudgetSettings { retry_percent: 1_000.0, min_retries_per_second: 1.0, max_tokens: 100 },
        ..PolicySettings::default()
    });
    for _ in 0..200 {
        let deadline = Some(clock() + Duration::from_millis(1_400));
        let _ = policy.call_with(Call::idempotent().by(deadline), &(), |_| pending::<Result<(), Broken>>()).await;
    }
    let calibration = policy.calibration().unwrap();
    assert!(calibration.bins.iter().map(|bin| bin.retries).sum::<u64>() > 5, "{calibration:?}");
}

#[tokio::test(start_paused = true)]
async fn a_breaker_that_opens_ends_the_retries() {
    let policy = policy(PolicySettings { circuit_breaker: Some(breaking(2)), ..retrying() });
    let log = Log::default();
    let op = flaky(9);
    let error = policy.call_with(Call::idempotent(), &log, |a| op(a)).await.unwrap_err();
    assert_eq!(error, CallError::Failed(DOWN));
    assert_eq!(log.lines(), "1, failure, wait 100ms, 2, consecutive_failures, failure, stopped");
    let error = policy.call_with(Call::idempotent(), &log, |a| op(a)).await.unwrap_err();
    assert_eq!(error.reason(), "open");
    assert_eq!(error.retry_after(), Some(Duration::from_mins(1)));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_counts_as_cancelled_and_releases_everything() {
    let policy = policy(PolicySettings {
        circuit_breaker: Some(breaking(1)),
        bulkhead: Some(BulkheadSettings::default()),
        ..PolicySettings::default()
    });
    let log = Log::default();
    let hang = |_| pending::<Result<(), Broken>>();
    let call = policy.call_with(Call::idempotent(), &log, hang);
    assert!(timeout(Duration::from_millis(10), call).await.is_err());
    assert_eq!(log.lines(), "1, cancelled");
    assert_eq!(policy.bulkhead().unwrap().snapshot().in_flight, 0);
    assert_eq!(policy.breaker().unwrap().state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_recorded_and_goes_on_to_the_caller() {
    let policy =
        std::sync::Arc::new(policy(PolicySettings { circuit_breaker: Some(breaking(1)), ..PolicySettings::default() }));
    let shared = policy.clone();
    let task = tokio::spawn(async move {
        let op = |_| async { panic!("the operation") };
        let _: Result<(), CallError<Broken>> = shared.call_with(Call::idempotent(), &(), op).await;
    });
    assert!(task.await.unwrap_err().is_panic());
    assert_eq!(policy.breaker().unwrap().state(), State::Open);
}

fn hedging() -> PolicySettings {
    PolicySettings {
        hedge: Some(HedgeSettings { delay: Some(Duration::from_millis(50)), ..HedgeSettings::default() }),
        ..PolicySettings::default()
    }
}

/// Takes this long, or this long when it is the hedge.
fn race(first: u64, hedge: u64) -> impl AsyncFn(Attempt) -> Result<bool, Broken> {
    async move |attempt: Attempt| {
        let millis = if attempt.hedge { hedge } else { first };
        sleep(Duration::from_millis(millis)).await;
        Ok(attempt.hedge)
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_success_wins_and_the_loser_is_cancelled() {
    let (policy, log) = (policy(hedging()), Log::default());
    let op = race(500, 10);
    assert_eq!(policy.call_with(Call::idempotent(), &log, |a| op(a)).await, Ok(true));
    assert_eq!(log.lines(), "1, 1 hedged, success, hedge won, cancelled");

    let log = Log::default();
    let op = race(60, 500);
    assert_eq!(policy.call_with(Call::idempotent(), &log, |a| op(a)).await, Ok(false));
    assert_eq!(log.lines(), "1, 1 hedged, success, hedge lost, cancelled");
}

#[tokio::test(start_paused = true)]
async fn a_quick_answer_needs_no_hedge() {
    let (policy, log) = (policy(hedging()), Log::default());
    let op = race(10, 0);
    assert_eq!(policy.call_with(Call::idempotent(), &log, |a| op(a)).await, Ok(false));
    assert_eq!(log.lines(), "1, success");
}

#[tokio::test(start_paused = true)]
async fn a_hedge_without_budget_is_not_made() {
    let policy = policy(PolicySettings {
        retry_budget: BudgetSettings { max_tokens: 1, min_retries_per_second: 0.0, retry_percent: 1.0 },
        ..hedging()
    });
    let op = race(500, 10);
    assert_eq!(policy.call_with(Call::idempotent(), &(), |a| op(a)).await, Ok(true));
    let log = Log::default();
    assert_eq!(policy.call_with(Call::idempotent(), &log, |a| op(a)).await, Ok(false));
    assert_eq!(log.lines(), "1, hedge no_budget, success");
}

#[tokio::test(start_paused = true)]
async fn calls_of_a_policy_can_be_spawned() {
    fn sendable<F: Send>(future: F) -> F {
        future
    }
    let policy = policy(hedging());
    let call = sendable(policy.call_with(Call::idempotent(), &(), |_| async { Ok::<_, Broken>(()) }));
    assert_eq!(call.await, Ok(()));
}
