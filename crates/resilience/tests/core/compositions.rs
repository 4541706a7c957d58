//! The patterns in combination: what each observes of the others, and that nothing leaks wherever a call ends.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    future::{pending, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use breakerbox_resilience::{
    breaker::{BreakerSettings, Outcome, State},
    bulkhead::{BulkheadSettings, PoolSettings, WhenFull},
    deadline::TimeLimiterSettings,
    hedge::HedgeSettings,
    policy::{Call, CallError, Event, HedgeOutcome, Observer, Policy, PolicyLayer, PolicySettings},
    random::Rng,
    retry::{AdaptiveSettings, BudgetSettings, Classify, ErrorKind, Jitter, RetryOutcome, RetrySettings, Verdict},
    throttle::ThrottleSettings,
};
use proptest::prelude::*;
use tokio::time::{sleep, timeout};
use tower::{Layer, ServiceExt, service_fn};

#[derive(Clone, Copy, Debug, PartialEq)]
struct Down;

impl Classify for Down {
    fn verdict(&self) -> Verdict {
        Verdict::of(ErrorKind::ServerError)
    }
}

fn clock() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn policy(settings: PolicySettings) -> Policy {
    Policy::new(settings, clock(), 11).unwrap()
}

fn retrying(attempts: u32) -> RetrySettings {
    RetrySettings { max_attempts: attempts, jitter: Jitter::None, ..RetrySettings::default() }
}

fn in_a_row(failures: u32) -> BreakerSettings {
    BreakerSettings {
        failure_rate_threshold: None,
        consecutive_failure_threshold: Some(failures),
        wait_duration_in_open_state: Duration::from_secs(10),
        permitted_number_of_calls_in_half_open_state: 2,
        ..BreakerSettings::default()
    }
}

fn bulkhead(places: u32) -> BulkheadSettings {
    BulkheadSettings { max_concurrent_calls: places, max_wait_duration: Duration::from_millis(100) }
}

/// Counts events by name.
#[derive(Default)]
struct Tally(RefCell<BTreeMap<String, u32>>);

impl Observer for Tally {
    fn observe(&self, event: Event<'_>) {
        let name = match event {
            Event::Admitted { hedge: false, .. } => "admitted".to_owned(),
            Event::Admitted { hedge: true, .. } => "admitted hedge".to_owned(),
            Event::Finished { outcome, .. } => {
                *self.0.borrow_mut().entry("finished".to_owned()).or_default() += 1;
                outcome.as_str().to_owned()
            }
            Event::Hedge { outcome } => format!("hedge {}", outcome.as_str()),
            Event::RetryEnded { outcome, .. } => outcome.as_str().to_owned(),
            Event::RetryScheduled { .. } => "retry".to_owned(),
            Event::Predicted { .. } => "predicted".to_owned(),
            Event::Rejected(_) => "rejected".to_owned(),
            Event::BulkheadRejected(_) => "full".to_owned(),
            Event::Throttled => "throttled".to_owned(),
            _ => "transition".to_owned(),
        };
        *self.0.borrow_mut().entry(name).or_default() += 1;
    }
}

impl Tally {
    fn of(&self, name: &str) -> u32 {
        self.0.borrow().get(name).copied().unwrap_or_default()
    }
}

#[tokio::test(start_paused = true)]
async fn hanging_attempts_count_and_the_trip_ends_the_retries() {
    let policy = policy(PolicySettings {
        circuit_breaker: Some(in_a_row(2)),
        retry: Some(retrying(5)),
        ..PolicySettings::default()
    });
    let (tally, start) = (Tally::default(), clock());
    let error = policy.call_with(Call::idempotent(), &tally, |_| pending::<Result<(), Down>>()).await.unwrap_err();
    assert_eq!(error, CallError::TimedOut { after: Duration::from_secs(1) });
    assert_eq!(clock() - start, Duration::from_millis(2_100), "two timeouts and one wait");
    assert_eq!((tally.of("timeout"), tally.of("stopped")), (2, 1));
    assert_eq!(policy.breaker().unwrap().state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn timeouts_grow_with_the_attempt_and_never_pass_the_deadline() {
    let policy = policy(PolicySettings {
        time_limiter: TimeLimiterSettings {
            timeout_multiplier: 2.0,
            total_timeout: Some(Duration::from_secs(5)),
            ..TimeLimiterSettings::default()
        },
        retry: Some(retrying(5)),
        ..PolicySettings::default()
    });
    let timeouts = RefCell::new(Vec::new());
    let start = clock();
    let op = |attempt: breakerbox_resilience::policy::Attempt| {
        timeouts.borrow_mut().push(attempt.timeout.as_millis());
        pending::<Result<(), Down>>()
    };
    let error = policy.call_with(Call::idempotent(), &(), op).await.unwrap_err();
    assert_eq!(error, CallError::DeadlineExceeded);
    assert_eq!(*timeouts.borrow(), [1_000, 2_000, 1_700]);
    assert_eq!(clock() - start, Duration::from_secs(5));
}

fn time_boxed(seconds: u64) -> PolicySettings {
    PolicySettings {
        circuit_breaker: Some(BreakerSettings {
            sliding_window_size: 20,
            minimum_number_of_calls: 10,
            ..BreakerSettings::default()
        }),
        time_limiter: TimeLimiterSettings {
            timeout_duration: Duration::from_secs(seconds),
            ..TimeLimiterSettings::default()
        },
        ..PolicySettings::default()
    }
}

/// Regression: deadlines of a quarter of the timeout left the window empty forever.
#[tokio::test(start_paused = true)]
async fn callers_with_short_deadlines_see_a_dependency_that_hangs() {
    for healthy_first in [false, true] {
        let policy = policy(time_boxed(2));
        let breaker = policy.breaker().unwrap();
        if healthy_first {
            for _ in 0..50 {
                let answer = policy.call_with(Call::idempotent(), &(), |_| async {
                    sleep(Duration::from_millis(60)).await;
                    Ok::<_, Down>(())
                });
                answer.await.unwrap();
            }
        }
        let mut hung = 0;
        while breaker.state() == State::Closed && hung < 200 {
            let deadline = Some(clock() + Duration::from_millis(500));
            let _ = policy.call_with(Call::idempotent().by(deadline), &(), |_| pending::<Result<(), Down>>()).await;
            hung += 1;
        }
        assert!(hung < 50, "healthy first: {healthy_first}, {hung} calls");
    }
}

#[tokio::test(start_paused = true)]
async fn impatient_callers_do_not_trip_a_healthy_dependency() {
    let policy = policy(time_boxed(2));
    let call = |patience: u64| {
        let deadline = Some(clock() + Duration::from_millis(patience));
        policy.call_with(Call::idempotent().by(deadline), &(), |_| async {
            sleep(Duration::from_millis(300)).await;
            Ok::<_, Down>(())
        })
    };
    for _ in 0..20 {
        call(1_000).await.unwrap();
    }
    for round in 0..2_000 {
        assert_eq!(call([5, 50, 150, 290][round % 4]).await, Err(CallError::DeadlineExceeded));
    }
    assert_eq!(policy.breaker().unwrap().state(), State::Closed);
    assert_eq!(call(1_000).await, Ok(()), "a call without a short deadline passes");
}

/// Nine callers in ten give up before the response; the tenth gets it.
#[tokio::test(start_paused = true)]
async fn a_few_answers_count_when_most_callers_give_up() {
    let policy = policy(time_boxed(2));
    for round in 0..2_000 {
        let deadline = Some(clock() + Duration::from_millis(if round % 10 == 9 { 1_000 } else { 200 }));
        let op = |_| async {
            sleep(Duration::from_millis(300)).await;
            Ok::<_, Down>(())
        };
        let _ = policy.call_with(Call::idempotent().by(deadline), &(), op).await;
    }
    assert_eq!(policy.breaker().unwrap().state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_for_its_retry_keeps_its_place() {
    let policy =
        policy(PolicySettings { bulkhead: Some(bulkhead(1)), retry: Some(retrying(2)), ..PolicySettings::default() });
    let first = policy.call_with(Call::idempotent(), &(), |_| async { Err::<(), _>(Down) });
    let second = async {
        sleep(Duration::from_millis(50)).await;
        policy.call_with(Call::idempotent(), &(), |_| async { Ok::<_, Down>(()) }).await
    };
    let (first, second) = tokio::join!(first, second);
    assert_eq!(first, Err(CallError::Failed(Down)));
    assert_eq!(second, Ok(()), "served once the first was through");
}

#[tokio::test(start_paused = true)]
async fn a_hedge_needs_a_place_of_its_own() {
    for (places, winner) in [(1, false), (2, true)] {
        let policy = policy(PolicySettings {
            bulkhead: Some(bulkhead(places)),
            hedge: Some(HedgeSettings { delay: Some(Duration::from_millis(10)), ..HedgeSettings::default() }),
            ..PolicySettings::default()
        });
        let tally = Tally::default();
        let answer = policy
            .call_with(Call::idempotent(), &tally, |attempt| async move {
                sleep(Duration::from_millis(if attempt.hedge { 10 } else { 500 })).await;
                Ok::<_, Down>(attempt.hedge)
            })
            .await;
        assert_eq!(answer, Ok(winner));
        assert_eq!(tally.of("hedge won"), u32::from(winner));
        assert_eq!(policy.bulkhead().unwrap().snapshot().in_flight, 0);
    }
}

/// The first request was slow and was cancelled because the hedge had answered: that is no failure.
#[tokio::test(start_paused = true)]
async fn a_probe_beaten_by_its_hedge_does_not_reopen_the_breaker() {
    let policy = policy(PolicySettings {
        circuit_breaker: Some(BreakerSettings {
            slow_call_duration_threshold: Duration::from_millis(200),
            ..in_a_row(1)
        }),
        hedge: Some(HedgeSettings { delay: Some(Duration::from_millis(250)), ..HedgeSettings::default() }),
        ..PolicySettings::default()
    });
    let _ = policy.call_with(Call::idempotent(), &(), |_| async { Err::<(), Down>(Down) }).await;
    assert_eq!(policy.breaker().unwrap().state(), State::Open);
    sleep(Duration::from_secs(20)).await;
    let tally = Tally::default();
    let answer = policy.call_with(Call::idempotent(), &tally, |attempt| async move {
        sleep(Duration::from_millis(if attempt.hedge { 5 } else { 900 })).await;
        Ok::<_, Down>(attempt.hedge)
    });
    assert_eq!(answer.await, Ok(true));
    assert_eq!((tally.of("hedge won"), tally.of("cancelled")), (1, 1));
    assert_ne!(policy.breaker().unwrap().state(), State::Open, "a call that succeeded reopened it");
}

#[tokio::test(start_paused = true)]
async fn a_half_open_breaker_gives_a_hedge_no_more_than_its_probes() {
    let policy = policy(PolicySettings {
        circuit_breaker: Some(in_a_row(1)),
        hedge: Some(HedgeSettings { delay: Some(Duration::from_millis(10)), ..HedgeSettings::default() }),
        ..PolicySettings::default()
    });
    let _ = policy.call_with(Call::idempotent(), &(), |_| async { Err::<(), _>(Down) }).await;
    sleep(Duration::from_secs(10)).await;
    let tally = Tally::default();
    let slow = |_| async {
        sleep(Duration::from_millis(100)).await;
        Ok::<_, Down>(())
    };
    let (one, two) = tokio::join!(
        policy.call_with(Call::idempotent(), &tally, slow),
        policy.call_with(Call::idempotent(), &tally, slow)
    );
    assert_eq!((one, two), (Ok(()), Ok(())));
    assert_eq!((tally.of("admitted"), tally.of("admitted hedge")), (2, 0));
    assert_eq!(tally.of(&format!("hedge {}", HedgeOutcome::NoBudget.as_str())), 2);
}

#[tokio::test(start_paused = true)]
async fn a_retry_budget_bounds_the_load_of_a_total_outage() {
    let policy = policy(PolicySettings {
        retry: Some(RetrySettings { stop_failure_rate_threshold: None, ..retrying(4) }),
        retry_budget: BudgetSettings { retry_percent: 20.0, min_retries_per_second: 0.0, max_tokens: 10 },
        ..PolicySettings::default()
    });
    let attempts = Cell::new(0);
    for _ in 0..500 {
        let op = |_| async {
            attempts.set(attempts.get() + 1);
            Err::<(), _>(Down)
        };
        let _ = policy.call_with(Call::idempotent(), &(), op).await;
    }
    assert!((600..=610).contains(&attempts.get()), "{} instead of 2000", attempts.get());
}

#[tokio::test(start_paused = true)]
async fn adaptive_retries_learn_to_stop_and_report_predictions() {
    let policy = policy(PolicySettings {
        retry: Some(RetrySettings {
            adaptive: Some(AdaptiveSettings::default()),
            stop_failure_rate_threshold: None,
            ..retrying(2)
        }),
        retry_budget: BudgetSettings { retry_percent: 1_000.0, ..BudgetSettings::default() },
        ..PolicySettings::default()
    });
    let tally = Tally::default();
    for _ in 0..400 {
        let _ = policy.call_with(Call::idempotent(), &tally, |_| async { Err::<(), _>(Down) }).await;
    }
    assert_eq!(tally.of("predicted"), tally.of("retry"));
    assert!(tally.of(RetryOutcome::Stopped.as_str()) > 200, "the adaptive limit has learned that these fail");
    let calibration = policy.calibration().unwrap();
    assert_eq!(calibration.bins.iter().map(|bin| bin.retries).sum::<u64>(), u64::from(tally.of("predicted")));
}

#[tokio::test(start_paused = true)]
async fn a_throttle_rejects_calls_likely_to_be_refused() {
    let policy = policy(PolicySettings { throttle: Some(ThrottleSettings::default()), ..PolicySettings::default() });
    let tally = Tally::default();
    for _ in 0..500 {
        let _ = policy.call_with(Call::idempotent(), &tally, |_| async { Err::<(), _>(Down) }).await;
    }
    assert!(tally.of("throttled") > 400, "{}", tally.of("throttled"));
    assert_eq!(tally.of("throttled") + tally.of("admitted"), 500);
}

#[tokio::test(start_paused = true)]
async fn a_pool_in_a_policy_queues_grows_and_rejects() {
    let policy = policy(PolicySettings {
        pool_bulkhead: Some(PoolSettings { core_size: 1, max_size: 2, queue_capacity: 1, when_full: WhenFull::Reject }),
        ..PolicySettings::default()
    });
    let slow = |_| async {
        sleep(Duration::from_millis(10)).await;
        Ok::<_, Down>(())
    };
    let calls = futures_util::future::join_all((0..4).map(|_| policy.call_with(Call::idempotent(), &(), slow))).await;
    assert_eq!(calls.iter().filter(|answer| answer.is_ok()).count(), 3);
    assert_eq!(policy.bulkhead_snapshot().unwrap().rejected, 1);
    assert_eq!(policy.bulkhead_snapshot().unwrap().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn the_layer_retries_only_what_may_be_repeated() {
    let policy = Arc::new(policy(PolicySettings { retry: Some(retrying(3)), ..PolicySettings::default() }));
    let made = Arc::new(std::sync::atomic::AtomicU32::new(0));
    for (idempotent, attempts) in [(false, 1), (true, 3)] {
        made.store(0, std::sync::atomic::Ordering::Relaxed);
        let service = {
            let made = made.clone();
            service_fn(move |_: bool| {
                made.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                async { Err::<(), _>(Down) }
            })
        };
        let layer = PolicyLayer::new(policy.clone())
            .own_errors()
            .clone_request(|idempotent: &bool| idempotent.then_some(*idempotent));
        let answer = layer.layer(service).oneshot(idempotent).await;
        assert_eq!(answer, Err(CallError::Failed(Down)));
        assert_eq!(made.load(std::sync::atomic::Ordering::Relaxed), attempts);
    }
}

/// All patterns at once.
fn everything() -> PolicySettings {
    PolicySettings {
        circuit_breaker: Some(in_a_row(3)),
        bulkhead: Some(bulkhead(2)),
        retry: Some(retrying(3)),
        hedge: Some(HedgeSettings { delay: Some(Duration::from_millis(30)), ..HedgeSettings::default() }),
        time_limiter: TimeLimiterSettings {
            timeout_duration: Duration::from_millis(100),
            total_timeout: Some(Duration::from_millis(400)),
            ..TimeLimiterSettings::default()
        },
        ..PolicySettings::default()
    }
}

async fn some_operation(rng: &Rng) -> Result<(), Down> {
    sleep(Duration::from_millis((rng.uniform() * 150.0) as u64)).await;
    if rng.uniform() < 0.5 { Ok(()) } else { Err(Down) }
}

fn paused(test: impl Future<Output = Result<(), TestCaseError>>) -> Result<(), TestCaseError> {
    let builder = &mut tokio::runtime::Builder::new_current_thread();
    builder.enable_time().start_paused(true).build().unwrap().block_on(test)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn wherever_a_call_is_cancelled_nothing_leaks(
        seed in any::<u64>(), patience in proptest::collection::vec(0_u64..500, 1..40),
    ) {
        paused(async {
            let (policy, rng, tally) = (policy(everything()), Rng::new(seed), Tally::default());
            for patience in patience {
                let calls = (0..3).map(|_| {
                    let call = policy.call_with(Call::idempotent(), &tally, |_| some_operation(&rng));
                    timeout(Duration::from_millis(patience), call)
                });
                futures_util::future::join_all(calls).await;
                prop_assert_eq!(tally.of("admitted") + tally.of("admitted hedge"), tally.of("finished"));
                prop_assert_eq!(policy.bulkhead().unwrap().snapshot().in_flight, 0);
                prop_assert_eq!(policy.bulkhead().unwrap().snapshot().queued, 0);
                sleep(Duration::from_millis((rng.uniform() * 6_000.0) as u64)).await;
            }
            // No permit is lost: the breaker still admits its probes, and closes.
            sleep(Duration::from_mins(2)).await;
            let breaker = policy.breaker().unwrap();
            for _ in 0..4 {
                let _ = breaker.tick(clock());
                let now = clock();
                if let Ok(permit) = breaker.try_acquire(now).permit {
                    permit.record(Outcome::Success, now);
                } else {
                    sleep(Duration::from_secs(10)).await;
                }
            }
            prop_assert_eq!(breaker.state(), State::Closed);
            Ok(())
        })?;
    }

    #[test]
    fn a_hedged_call_gives_one_answer_and_leaves_nothing_behind(
        (first, hedge) in (0_u64..100, 0_u64..100), (first_works, hedge_works) in any::<(bool, bool)>(),
    ) {
        paused(async {
            let policy = policy(PolicySettings {
                bulkhead: Some(bulkhead(2)),
                circuit_breaker: Some(in_a_row(9)),
                hedge: Some(HedgeSettings { delay: Some(Duration::from_millis(20)), ..HedgeSettings::default() }),
                ..PolicySettings::default()
            });
            let (tally, start) = (Tally::default(), clock());
            let answer = policy
                .call_with(Call::idempotent(), &tally, |attempt| async move {
                    let (takes, works) = if attempt.hedge { (hedge, hedge_works) } else { (first, first_works) };
                    sleep(Duration::from_millis(takes)).await;
                    if works { Ok(attempt.hedge) } else { Err(Down) }
                })
                .await;
            let took = (clock() - start).as_millis() as u64;
            let hedged = tally.of("admitted hedge") == 1;
            prop_assert_eq!(hedged, first > 20);
            let by_hedge = hedged && hedge_works;
            let expected = match (first_works, by_hedge) {
                (true, true) => first.min(20 + hedge),
                (true, false) => first,
                (false, true) => 20 + hedge,
                (false, false) => if hedged { first.max(20 + hedge) } else { first },
            };
            prop_assert_eq!(answer.is_ok(), first_works || by_hedge);
            prop_assert_eq!(took, expected, "the first success, or the last failure");
            prop_assert_eq!(tally.of("finished"), 1 + u32::from(hedged));
            let outcomes = tally.of("hedge won") + tally.of("hedge lost") + tally.of("hedge failed");
            prop_assert_eq!(outcomes, u32::from(hedged));
            prop_assert_eq!(policy.bulkhead().unwrap().snapshot().in_flight, 0);
            Ok(())
        })?;
    }
}

/// A layer that catches the panic drops the call after the unwinding has ended.
#[tokio::test(start_paused = true)]
async fn a_caught_panic_counts_as_a_failure() {
    let policy = policy(PolicySettings { circuit_breaker: Some(in_a_row(1)), ..PolicySettings::default() });
    let call = policy.call_with(Call::idempotent(), &(), |_| async {
        tokio::task::yield_now().await;
        resume_unwind(Box::new("the call"));
        #[allow(unreachable_code, reason = "says what kind of answer there would be")]
        Ok::<(), Down>(())
    });
    let mut call = Box::pin(call);
    let caught = poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(context))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(_)) => Poll::Ready(false),
        Err(_) => Poll::Ready(true),
    });
    assert!(caught.await);
    drop(call);
    assert_eq!(policy.breaker().unwrap().state(), State::Open);
}

/// A panic in another future of the same task drops the call, and says nothing about its dependency.
#[tokio::test(start_paused = true)]
async fn a_panic_outside_the_call_does_not_count() {
    let policy = policy(PolicySettings { circuit_breaker: Some(in_a_row(1)), ..PolicySettings::default() });
    let tally = Tally::default();
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        let call = policy.call_with(Call::idempotent(), &tally, |_| pending::<Result<(), Down>>());
        let beside = poll_fn(|_| -> Poll<()> { resume_unwind(Box::new("somebody else")) });
        let mut both = Box::pin(async { tokio::join!(biased; call, beside) });
        let _ = both.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    }));
    assert!(unwound.is_err());
    assert_eq!((tally.of("admitted"), tally.of("cancelled"), tally.of("panicked")), (1, 1, 0));
    assert_eq!(policy.breaker().unwrap().state(), State::Closed);
}
