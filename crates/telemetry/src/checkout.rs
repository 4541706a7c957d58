//! Orders, money, the retry queue and the payment gateway's books as series.
//!
//! As everywhere, all children are created up front: an alert on the increase of a counter sees the
//! first order that is lost only if the counter stood at zero before.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus::{Gauge, Histogram, IntCounter, IntCounterVec};
use tokio::time::Instant;

use super::metrics::Metrics;
use super::names::value;

/// Handles for the orders of one service. Cheap to clone.
#[derive(Clone)]
pub struct CheckoutTelemetry {
    orders: Counters,
    revenue: Counters,
    steps: Arc<Vec<(&'static str, Counters)>>,
    keys: Counters,
}

/// One counter for each value of a label.
#[derive(Clone)]
struct Counters(Arc<Vec<(&'static str, IntCounter)>>);

impl Counters {
    fn new(vec: &IntCounterVec, before: &[&str], values: &'static [&'static str]) -> Self {
        let child = |value: &'static str| {
            let labels: Vec<&str> = before.iter().copied().chain([value]).collect();
            (value, vec.with_label_values(&labels))
        };
        Self(Arc::new(values.iter().copied().map(child).collect()))
    }

    fn add(&self, value: &str, by: u64) {
        match self.0.iter().find(|(name, _)| *name == value) {
            Some((_, counter)) => counter.inc_by(by),
            None => debug_assert!(false, "{value} is not in the metrics contract"),
        }
    }
}

impl CheckoutTelemetry {
    /// Creates every series at zero.
    #[must_use]
    pub fn new(metrics: &Metrics, service: &str) -> Self {
        let f = metrics.families();
        let steps = value::SAGA_STEPS
            .iter()
            .map(|step| (*step, Counters::new(&f.checkout_saga_steps, &[service, step], value::SAGA_OUTCOMES)));
        Self {
            orders: Counters::new(&f.checkout_orders, &[service], value::ORDER_OUTCOMES),
            revenue: Counters::new(&f.checkout_revenue, &[service], value::REVENUE_OUTCOMES),
            steps: Arc::new(steps.collect()),
            keys: Counters::new(&f.checkout_idempotency, &[service], value::IDEMPOTENCY_OUTCOMES),
        }
    }

    /// An order ended, or was put off.
    pub fn order(&self, outcome: &str) {
        self.orders.add(outcome, 1);
    }

    /// This many won were paid, put at risk, kept or lost.
    pub fn revenue(&self, outcome: &str, won: i64) {
        self.revenue.add(outcome, u64::try_from(won).unwrap_or(0));
    }

    /// A step of an order ended.
    pub fn step(&self, step: &str, outcome: &str) {
        if let Some((_, outcomes)) = self.steps.iter().find(|(name, _)| *name == step) {
            outcomes.add(outcome, 1);
        }
    }

    /// A request came with an idempotency key.
    pub fn key(&self, outcome: &str) {
        self.keys.add(outcome, 1);
    }
}

/// A queue at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct QueueReading {
    /// Items that wait.
    pub depth: i64,
    /// Items that were given up.
    pub dead: i64,
    /// How long the oldest has waited; nothing when none does.
    pub oldest: Option<Duration>,
}

/// Handles for one queue. Cheap to clone.
#[derive(Clone)]
pub struct QueueTelemetry {
    latest: Arc<Mutex<(QueueReading, Instant)>>,
    dropped: IntCounter,
    attempts: Counters,
    wait: Histogram,
}

impl QueueTelemetry {
    /// Creates every series at zero, with a gauge that says what the queue takes.
    #[must_use]
    pub fn new(metrics: &Metrics, service: &str, queue: &str, capacity: u32) -> Self {
        let f = metrics.families();
        let own = [service, queue];
        f.queue_capacity.with_label_values(&own).set(capacity.into());
        let gauge = |vec: &prometheus::GaugeVec| -> Gauge { vec.with_label_values(&own) };
        let (depth, dead, oldest) = (gauge(&f.queue_depth), gauge(&f.queue_dead), gauge(&f.queue_oldest_age));
        let latest = Arc::new(Mutex::new((QueueReading::default(), Instant::now())));
        let watched = Arc::clone(&latest);
        metrics.on_scrape(move || {
            let (reading, at) = *watched.lock().unwrap_or_else(PoisonError::into_inner);
            depth.set(reading.depth as f64);
            dead.set(reading.dead as f64);
            // While the store is away the last reading stands, and what waits grows older.
            oldest.set(reading.oldest.map_or(0.0, |age| (age + at.elapsed()).as_secs_f64()));
        });
        Self {
            latest,
            dropped: f.queue_dropped.with_label_values(&own),
            attempts: Counters::new(&f.queue_attempts, &own, value::QUEUE_OUTCOMES),
            wait: f.queue_wait.with_label_values(&own),
        }
    }

    /// The queue stands like this.
    pub fn read(&self, reading: QueueReading) {
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = (reading, Instant::now());
    }

    /// An item found the queue full.
    pub fn dropped(&self) {
        self.dropped.inc();
    }

    /// The worker tried an item.
    pub fn attempted(&self, outcome: &str) {
        self.attempts.add(outcome, 1);
    }

    /// An item left the queue after this long.
    pub fn left(&self, waited: Duration) {
        self.wait.observe(waited.as_secs_f64());
    }
}

/// Handles for the payment gateway's books. Cheap to clone.
#[derive(Clone)]
pub struct LedgerTelemetry {
    entries: Counters,
}

impl LedgerTelemetry {
    /// Creates every series at zero.
    #[must_use]
    pub fn new(metrics: &Metrics, service: &str) -> Self {
        let vec = &metrics.families().ledger_entries;
        Self { entries: Counters::new(vec, &[service], value::LEDGER_OUTCOMES) }
    }

    /// A request did this to the books.
    pub fn entry(&self, outcome: &str) {
        self.entries.add(outcome, 1);
    }
}
