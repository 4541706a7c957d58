//! Conservation in bulkheads under random arrivals, departures and cancellations: each call that enters also leaves.
//! And the bounds of the retry budget.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use breakerbox_resilience::{
    bulkhead::{Bulkhead, BulkheadFull, BulkheadSettings, PoolBulkhead, PoolSettings, WhenFull},
    retry::{BudgetSettings, RetryBudget},
};
use proptest::{collection::vec, prelude::*};

#[derive(Clone, Copy, Debug)]
enum Step {
    Arrive,
    Leave(usize),
    GiveUp(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => Just(Step::Arrive),
        2 => any::<usize>().prop_map(Step::Leave),
        1 => any::<usize>().prop_map(Step::GiveUp),
    ];
    vec(step, 1..200)
}

type Arrival<'a, P> = Pin<Box<dyn Future<Output = Result<P, BulkheadFull>> + 'a>>;

/// Calls in progress and calls waiting, in order of arrival.
struct House<'a, P> {
    enter: Box<dyn Fn() -> Arrival<'a, P> + 'a>,
    inside: Vec<P>,
    waiting: Vec<Arrival<'a, P>>,
    rejected: u64,
}

impl<'a, P> House<'a, P> {
    fn new(enter: impl Fn() -> Arrival<'a, P> + 'a) -> Self {
        Self { enter: Box::new(enter), inside: Vec::new(), waiting: Vec::new(), rejected: 0 }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Arrive => self.waiting.push((self.enter)()),
            Step::Leave(index) if !self.inside.is_empty() => {
                drop(self.inside.swap_remove(index % self.inside.len()));
            }
            Step::GiveUp(index) if !self.waiting.is_empty() => {
                drop(self.waiting.remove(index % self.waiting.len()));
            }
            _ => {}
        }
        let mut context = Context::from_waker(Waker::noop());
        let mut still = Vec::new();
        for mut arrival in self.waiting.drain(..) {
            match arrival.as_mut().poll(&mut context) {
                Poll::Ready(Ok(place)) => self.inside.push(place),
                Poll::Ready(Err(_)) => self.rejected += 1,
                Poll::Pending => still.push(arrival),
            }
        }
        self.waiting = still;
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

proptest! {
    #[test]
    fn a_semaphore_bulkhead_neither_loses_nor_invents_places(places in 1_u32..6, steps in steps()) {
        let runtime = runtime();
        let _entered = runtime.enter();
        let settings =
            BulkheadSettings { max_concurrent_calls: places, max_wait_duration: Duration::from_hours(1) };
        let bulkhead = Bulkhead::new(&settings).unwrap();
        let mut house = House::new(|| Box::pin(bulkhead.enter()));
        for step in steps {
            house.step(step);
            let snapshot = bulkhead.snapshot();
            prop_assert!(house.inside.len() <= places as usize);
            prop_assert_eq!(snapshot.in_flight as usize, house.inside.len());
            prop_assert_eq!(snapshot.queued as usize, house.waiting.len());
            prop_assert!(house.waiting.is_empty() || house.inside.len() == places as usize, "no call waits while a place is free");
        }
        drop(house);
        let snapshot = bulkhead.snapshot();
        prop_assert_eq!((snapshot.in_flight, snapshot.queued), (0, 0));
    }

    #[test]
    fn a_pool_bulkhead_neither_loses_nor_invents_places(
        (core, more, queue) in (1_u32..4, 0_u32..4, 0_u32..4), rejects in any::<bool>(), steps in steps(),
    ) {
        let when_full = if rejects { WhenFull::Reject } else { WhenFull::CallerRuns };
        let settings = PoolSettings { core_size: core, max_size: core + more, queue_capacity: queue, when_full };
        let pool = PoolBulkhead::new(&settings).unwrap();
        let mut house = House::new(|| Box::pin(pool.enter()));
        for step in steps {
            house.step(step);
            let snapshot = pool.snapshot();
            let outside = house.inside.iter().filter(|place| place.caller_runs()).count();
            prop_assert_eq!(snapshot.caller_runs as usize, outside);
            prop_assert_eq!(snapshot.bulkhead.in_flight as usize, house.inside.len() - outside);
            prop_assert_eq!(snapshot.bulkhead.queued as usize, house.waiting.len());
            prop_assert_eq!(snapshot.bulkhead.rejected, house.rejected);
            prop_assert!(snapshot.bulkhead.in_flight <= core + more && snapshot.bulkhead.queued <= queue);
            prop_assert!(house.waiting.is_empty() || snapshot.bulkhead.in_flight >= core, "no call waits while a place is free");
        }
        drop(house);
        let snapshot = pool.snapshot();
        prop_assert_eq!((snapshot.bulkhead.in_flight, snapshot.bulkhead.queued, snapshot.caller_runs), (0, 0, 0));
    }

    #[test]
    fn a_budget_never_pays_out_more_than_it_earned(
        percent in 1.0..200.0_f64, trickle in 0.0..20.0_f64, capacity in 1_u32..50,
        steps in vec((0_u64..500, 0_u32..20, 0_u32..20), 1..100),
    ) {
        let start = Instant::now();
        let settings =
            BudgetSettings { retry_percent: percent, min_retries_per_second: trickle, max_tokens: capacity };
        let budget = RetryBudget::new(&settings, start).unwrap();
        let (mut now, mut calls, mut retries) = (start, 0, 0);
        for (millis, deposits, withdrawals) in steps {
            now += Duration::from_millis(millis);
            for _ in 0..deposits {
                budget.deposit();
            }
            calls += deposits;
            retries += (0..withdrawals).filter(|_| budget.withdraw(now)).count();
            let snapshot = budget.snapshot(now);
            prop_assert!((0.0..=snapshot.capacity).contains(&snapshot.tokens));
            let earned = f64::from(capacity)
                + f64::from(calls) * percent / 100.0
                + (now - start).as_secs_f64() * trickle;
            // The time that earns a thousandth of a token is rounded to whole nanoseconds: an error of less than 1 %.
            prop_assert!(retries as f64 <= earned * 1.01 + 0.01, "{retries} of {earned}");
        }
    }
}
