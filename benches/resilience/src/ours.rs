//! Breakerbox's breaker and policy, and the lower bounds of any implementation.

use std::{
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use breakerbox_resilience::{
    CircuitBreaker,
    breaker::{Breaker, BreakerSettings, Command, Outcome, WindowType},
    bulkhead::{Bulkhead, BulkheadSettings},
    circuit::CircuitBreakerBuilder,
    clock::{Clock, CoarseClock},
    deadline::TimeLimiterSettings,
    policy::{Call, Policy, PolicySettings},
    retry::{Classify, ErrorKind, RetrySettings, Verdict},
};

use tokio::sync::Semaphore;

use crate::{Case, harness::Subject, peers::ready};

/// The coarse clock of all subjects, which one thread refreshes every millisecond.
static COARSE: LazyLock<CoarseClock> = LazyLock::new(|| {
    let clock = CoarseClock::new();
    let refreshed = clock.clone();
    std::thread::spawn(move || {
        loop {
            refreshed.refresh();
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    clock
});

fn leak<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

pub fn floors(case: Case) -> Vec<Subject> {
    let counter: &AtomicU64 = leak(AtomicU64::new(0));
    vec![
        Subject::new("bare call", || (), move |(), index| case.result(index).is_ok()),
        Subject::new(
            "+ one relaxed fetch_add",
            move || counter,
            move |counter, index| {
                counter.fetch_add(1, Ordering::Relaxed);
                case.result(index).is_ok()
            },
        ),
        Subject::new("+ one clock read", || (), move |(), index| (Instant::now(), case.result(index).is_ok())),
        Subject::new(
            "+ two clock reads",
            || (),
            move |(), index| (Instant::now(), case.result(index).is_ok(), Instant::now()),
        ),
    ]
}

fn settings(window: WindowType, size: u32) -> BreakerSettings {
    BreakerSettings {
        sliding_window_type: window,
        sliding_window_size: size,
        // Longer than a run, so that an open breaker stays open.
        wait_duration_in_open_state: Duration::from_hours(1),
        ..BreakerSettings::default()
    }
}

pub fn breaker(case: Case, window: WindowType, size: u32) -> &'static Breaker {
    let now = Instant::now();
    let breaker = Breaker::new(settings(window, size), now, 1).expect("valid settings");
    if case == Case::Open {
        breaker.command(Command::Reset, now);
        for _ in 0..size.max(200) {
            if let Ok(permit) = breaker.try_acquire(now).permit {
                permit.record(Outcome::Failure, now);
            }
        }
        assert!(breaker.try_acquire(now).permit.is_err());
    }
    leak(breaker)
}

/// One call with both instants passed as arguments.
pub fn call(breaker: &Breaker, result: impl FnOnce() -> Result<(), ()>, start: Instant, end: Instant) -> bool {
    let Ok(permit) = breaker.try_acquire(start).permit else {
        return false;
    };
    let result = result();
    let outcome = if result.is_ok() { Outcome::Success } else { Outcome::Failure };
    permit.record(outcome, end);
    result.is_ok()
}

pub fn subjects(case: Case) -> Vec<Subject> {
    let handed_in = |name, window, size| {
        let (breaker, now) = (breaker(case, window, size), Instant::now());
        Subject::new(name, move || breaker, move |breaker, index| call(breaker, || case.result(index), now, now))
    };
    let reading = breaker(case, WindowType::CountBased, 100);
    // Like the calls of the peers: a closure is passed, and the breaker reads the clock itself.
    let around = |name, window: Option<Duration>| {
        let builder = CircuitBreaker::builder("b");
        circuit(name, case, window.into_iter().fold(builder, |builder, span| builder.time_window(span)))
    };
    let coarse = |name, window: Option<Duration>| {
        let builder = CircuitBreaker::builder("b").clock(COARSE.clone());
        circuit(name, case, window.into_iter().fold(builder, |builder, span| builder.time_window(span)))
    };
    let ten = Some(Duration::from_secs(10));
    vec![
        around("breakerbox, CircuitBreaker, last 100", None),
        around("breakerbox, CircuitBreaker, 10 s", ten),
        coarse("breakerbox, CircuitBreaker, last 100, coarse clock", None),
        coarse("breakerbox, CircuitBreaker, 10 s, coarse clock", ten),
        handed_in("breakerbox, last 100", WindowType::CountBased, 100),
        handed_in("breakerbox, last 10 000", WindowType::CountBased, 10_000),
        handed_in("breakerbox, 10 s", WindowType::TimeBased, 10),
        handed_in("breakerbox, 1 h", WindowType::TimeBased, 3_600),
        Subject::new(
            "breakerbox, last 100, reading the clock twice",
            move || reading,
            move |breaker, index| {
                let Ok(permit) = breaker.try_acquire(Instant::now()).permit else {
                    return false;
                };
                let result = case.result(index);
                let outcome = if result.is_ok() { Outcome::Success } else { Outcome::Failure };
                permit.record(outcome, Instant::now());
                result.is_ok()
            },
        ),
    ]
}

fn circuit<C: Clock + Clone + Send + Sync + 'static>(
    name: &'static str,
    case: Case,
    builder: CircuitBreakerBuilder<C>,
) -> Subject {
    let breaker = leak(builder.open_for(Duration::from_hours(1)).build().expect("valid settings"));
    if case == Case::Open {
        for _ in 0..200 {
            let _ = breaker.run(|| Err::<(), ()>(()));
        }
        assert!(breaker.run(|| Ok::<(), ()>(())).is_err());
    }
    Subject::new(name, || (), move |(), index| breaker.run(|| case.result(index)).is_ok())
}

/// A slot taken and returned, with slots left over.
pub fn bulkheads() -> Vec<Subject> {
    let slots = 25;
    let settings = BulkheadSettings { max_concurrent_calls: slots, ..BulkheadSettings::default() };
    let ours: &Bulkhead = leak(Bulkhead::new(&settings).expect("valid settings"));
    let peer: &Semaphore = leak(Semaphore::new(slots as usize));
    vec![
        Subject::new("breakerbox, Bulkhead", || (), move |(), _| ours.try_enter().is_some()),
        Subject::new("tokio, Semaphore", || (), move |(), _| peer.try_acquire().is_ok()),
    ]
}

#[derive(Debug)]
pub struct Failed;

impl Classify for Failed {
    fn verdict(&self) -> Verdict {
        Verdict::of(ErrorKind::ServerError)
    }
}

fn settings_of_policy() -> PolicySettings {
    PolicySettings {
        circuit_breaker: Some(BreakerSettings::default()),
        bulkhead: Some(BulkheadSettings::default()),
        retry: Some(RetrySettings::default()),
        time_limiter: TimeLimiterSettings { total_timeout: Some(Duration::from_secs(3)), ..Default::default() },
        ..PolicySettings::default()
    }
}

pub fn policy() -> &'static Policy {
    leak(Policy::new(settings_of_policy(), Instant::now(), 1).expect("valid settings"))
}

/// The whole policy around a future that is ready. The thread must have entered the runtime.
pub fn policies() -> Vec<Subject> {
    let runtime = leak(tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime"));
    let (whole, bare) = (policy(), leak(policy_of_nothing()));
    let coarse = Policy::builder().settings(settings_of_policy()).clock(COARSE.clone()).build();
    let coarse = leak(coarse.expect("valid settings"));
    let subject = |name, policy: &'static Policy| {
        Subject::new(
            name,
            || runtime.enter(),
            move |_, _| ready(policy.call_with(Call::idempotent(), &(), |_| async { Ok::<_, Failed>(()) })).is_ok(),
        )
    };
    vec![
        Subject::new("two clock reads", || (), |(), _| (Instant::now(), Instant::now())),
        subject("policy: attempt timeout only", bare),
        subject("policy: bulkhead, deadline, retry, breaker", whole),
        subject("policy: the same, coarse clock", coarse),
    ]
}

fn policy_of_nothing() -> Policy {
    Policy::new(PolicySettings::default(), Instant::now(), 1).expect("valid settings")
}
