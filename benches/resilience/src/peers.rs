//! The other breakers, each used as its documentation shows, with equal settings if it has them: trips at a failure
//! rate of 50 % over 100 calls, waits an hour.

use std::{
    future::Future,
    io,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use failsafe::CircuitBreaker as _;
use layered::{Execute, Service as _, Stack};
use seatbelt::{RecoveryInfo, ResilienceContext, breaker::Breaker as Seatbelt};
use tower::Service as _;
use tower_resilience_circuitbreaker::CircuitBreakerLayer;

use crate::{Case, harness::Subject};

const HOUR: Duration = Duration::from_secs(3_600);

/// Polls until a future is ready, which is immediately, or when another thread releases a lock.
pub fn ready<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return value;
        }
        std::hint::spin_loop();
    }
}

fn leak<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

#[derive(Debug)]
struct Failed;

impl std::fmt::Display for Failed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("failed")
    }
}

impl std::error::Error for Failed {}

pub fn subjects(case: Case) -> Vec<Subject> {
    let mut subjects = vec![
        recloser(case),
        failsafe_consecutive(case),
        circuitbreaker_rs(case),
        seatbelt(case),
        tower_resilience(case),
    ];
    // It cannot be tripped before its window has passed.
    if case != Case::Open {
        subjects.push(failsafe_rate(case));
    }
    subjects
}

fn recloser(case: Case) -> Subject {
    let breaker = leak(recloser::Recloser::custom().error_rate(0.5).closed_len(100).open_wait(HOUR).build());
    if case == Case::Open {
        for _ in 0..200 {
            let _ = breaker.call(|| Err::<(), ()>(()));
        }
        assert!(matches!(breaker.call(|| Ok::<(), ()>(())), Err(recloser::Error::Rejected)));
    }
    Subject::new("recloser", move || breaker, move |breaker, index| breaker.call(|| case.result(index)).is_ok())
}

fn failsafe_consecutive(case: Case) -> Subject {
    let policy = failsafe::failure_policy::consecutive_failures(3, failsafe::backoff::constant(HOUR));
    let breaker = leak(failsafe::Config::new().failure_policy(policy).build());
    if case == Case::Open {
        for _ in 0..3 {
            let _ = breaker.call(|| Err::<(), ()>(()));
        }
        assert!(!breaker.is_call_permitted());
    }
    Subject::new(
        "failsafe, consecutive failures",
        move || breaker,
        move |breaker, index| breaker.call(|| case.result(index)).is_ok(),
    )
}

fn failsafe_rate(case: Case) -> Subject {
    let backoff = failsafe::backoff::constant(HOUR);
    let window = Duration::from_secs(10);
    let policy = failsafe::failure_policy::success_rate_over_time_window(0.5, 100, window, backoff);
    let breaker = leak(failsafe::Config::new().failure_policy(policy).build());
    Subject::new(
        "failsafe, rate over 10 s",
        move || breaker,
        move |breaker, index| breaker.call(|| case.result(index)).is_ok(),
    )
}

fn circuitbreaker_rs(case: Case) -> Subject {
    let breaker = circuitbreaker_rs::CircuitBreaker::<circuitbreaker_rs::DefaultPolicy, Failed>::builder()
        .failure_threshold(0.5)
        .min_throughput(100)
        .cooldown(HOUR)
        .build();
    if case == Case::Open {
        breaker.force_open();
    }
    let breaker = leak(breaker);
    Subject::new(
        "circuitbreaker-rs",
        move || breaker,
        move |breaker, index| breaker.call(|| case.result(index).map_err(|()| Failed)).is_ok(),
    )
}

fn seatbelt(case: Case) -> Subject {
    let runtime = leak(tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime"));
    let _entered = runtime.enter();
    let context = ResilienceContext::new(&tick::Clock::new_tokio());
    let stack = (
        Seatbelt::layer("breaker", &context)
            .recovery_with(|result: &Result<(), ()>, _| match result {
                Ok(()) => RecoveryInfo::never(),
                Err(()) => RecoveryInfo::retry(),
            })
            .rejected_input_error(|_: Result<(), ()>, _| ())
            .failure_threshold(0.5)
            .min_throughput(100)
            .break_duration(HOUR),
        Execute::new(|input: Result<(), ()>| async move { input }),
    );
    let service = leak(stack.into_service());
    if case == Case::Open {
        for _ in 0..1_000 {
            let _ = ready(service.execute(Err(())));
        }
        assert!(ready(service.execute(Ok(()))).is_err());
    }
    Subject::new(
        "seatbelt (async)",
        move || service,
        move |service, index| ready(service.execute(case.result(index))).is_ok(),
    )
}

fn tower_resilience(case: Case) -> Subject {
    let layer = CircuitBreakerLayer::builder()
        .failure_rate_threshold(0.5)
        .sliding_window_size(100)
        .minimum_number_of_calls(100)
        .wait_duration_in_open(HOUR)
        .build()
        .expect("valid settings");
    let inner =
        tower::service_fn(
            |input: Result<(), ()>| async move { input.map_err(|()| io::Error::from(io::ErrorKind::Other)) },
        );
    let mut service = layer.layer_fn(inner);
    if case == Case::Open {
        for _ in 0..200 {
            let _ = ready(service.call(Err(())));
        }
        assert!(ready(service.call(Ok(()))).is_err());
    }
    Subject::new(
        "tower-resilience-circuitbreaker (async)",
        move || service.clone(),
        move |service, index| ready(service.call(case.result(index))).is_ok(),
    )
}
