//! Metrics of orders, revenue, the retry queue and the payment ledger.
//!
//! All children are created up front: an alert on the increase of a counter detects the first lost order only
//! if the counter existed at zero before.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus::{Gauge, Histogram, IntCounter};
use tokio::time::Instant;

use super::label::{
    Children, KeyOutcome, LedgerEntry, OrderStatus, QueueOutcome, RevenueStatus, SagaStep, StatelessOutcome,
    StepOutcome,
};
use super::metrics::Metrics;
use super::vector::Vector;

/// Handles for the orders of one service. Cheap to clone.
#[derive(Clone)]
pub struct CheckoutTelemetry {
    orders: Arc<Children<OrderStatus, IntCounter>>,
    revenue: Arc<Children<RevenueStatus, IntCounter>>,
    steps: Arc<Children<SagaStep, Children<StepOutcome, IntCounter>>>,
    keys: Arc<Children<KeyOutcome, IntCounter>>,
}

impl CheckoutTelemetry {
    /// Creates all series at zero.
    #[must_use]
    pub fn new(metrics: &Metrics, service: &str) -> Self {
        let f = metrics.families();
        let steps =
            |step| Children::new(move |outcome| f.checkout_saga_steps.with_label_values(&[service, step, outcome]));
        Self {
            orders: Arc::new(Children::new(|outcome| f.checkout_orders.with_label_values(&[service, outcome]))),
            revenue: Arc::new(Children::new(|status| f.checkout_revenue.with_label_values(&[service, status]))),
            steps: Arc::new(Children::new(steps)),
            keys: Arc::new(Children::new(|outcome| f.checkout_idempotency.with_label_values(&[service, outcome]))),
        }
    }

    /// Counts an order that ended, or was queued.
    pub fn order(&self, status: OrderStatus) {
        self.orders.of(status).inc();
    }

    /// Revenue in won was paid, put at risk, kept or lost.
    pub fn revenue(&self, status: RevenueStatus, won: i64) {
        self.revenue.of(status).inc_by(u64::try_from(won).unwrap_or(0));
    }

    /// Counts a finished step of an order's saga.
    pub fn step(&self, step: SagaStep, outcome: StepOutcome) {
        self.steps.of(step).of(outcome).inc();
    }

    /// Counts a request with an idempotency key.
    pub fn key(&self, outcome: KeyOutcome) {
        self.keys.of(outcome).inc();
    }
}

/// State of a queue at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct QueueReading {
    /// Waiting items.
    pub depth: i64,
    /// Dead letters.
    pub dead: i64,
    /// Age of the oldest waiting item; `None` if there is none.
    pub oldest: Option<Duration>,
}

/// Handles for one queue. Cheap to clone.
#[derive(Clone)]
pub struct QueueTelemetry {
    latest: Arc<Mutex<(QueueReading, Instant)>>,
    dropped: IntCounter,
    attempts: Arc<Children<QueueOutcome, IntCounter>>,
    wait: Histogram,
}

impl QueueTelemetry {
    /// Creates all series at zero, and sets the gauge of the queue's capacity.
    #[must_use]
    pub fn new(metrics: &Metrics, service: &str, queue: &str, capacity: u32) -> Self {
        let f = metrics.families();
        let own = [service, queue];
        f.queue_capacity.with_label_values(&own).set(capacity.into());
        let gauge = |vec: &Vector<Gauge>| -> Gauge { vec.with_label_values(&own) };
        let (depth, dead, oldest) = (gauge(&f.queue_depth), gauge(&f.queue_dead), gauge(&f.queue_oldest_age));
        let latest = Arc::new(Mutex::new((QueueReading::default(), Instant::now())));
        let watched = Arc::clone(&latest);
        metrics.on_scrape(move || {
            let (reading, at) = *watched.lock().unwrap_or_else(PoisonError::into_inner);
            depth.set(reading.depth as f64);
            dead.set(reading.dead as f64);
            // While the store is unavailable the last reading is kept, and the age keeps growing.
            oldest.set(reading.oldest.map_or(0.0, |age| (age + at.elapsed()).as_secs_f64()));
        });
        Self {
            latest,
            dropped: f.queue_dropped.with_label_values(&own),
            attempts: Arc::new(Children::new(|outcome| f.queue_attempts.with_label_values(&[service, queue, outcome]))),
            wait: f.queue_wait.with_label_values(&own),
        }
    }

    /// Sets the state of the queue.
    pub fn read(&self, reading: QueueReading) {
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = (reading, Instant::now());
    }

    /// Counts an item that was refused because the queue was full.
    pub fn dropped(&self) {
        self.dropped.inc();
    }

    /// The worker attempted an item.
    pub fn attempted(&self, outcome: QueueOutcome) {
        self.attempts.of(outcome).inc();
    }

    /// Records how long an item was in the queue.
    pub fn left(&self, waited: Duration) {
        self.wait.observe(waited.as_secs_f64());
    }
}

/// State of a service's database at one moment.
#[derive(Clone, Copy, Debug)]
pub struct StoreReading {
    /// Whether the last check succeeded.
    pub up: bool,
    /// Offset of this machine's clock from the database's in milliseconds; `None` if both are the same clock, or
    /// before the first check.
    pub ahead: Option<i64>,
}

/// Exports the state of a service's database, as returned by `read` at each scrape.
pub fn watch_store(metrics: &Metrics, service: &str, read: impl Fn() -> StoreReading + Send + Sync + 'static) {
    let up = metrics.families().store_up.with_label_values(&[service]);
    let ahead = metrics.families().store_clock_ahead.with_label_values(&[service]);
    metrics.on_scrape(move || {
        let reading = read();
        up.set(f64::from(reading.up));
        ahead.set(reading.ahead.unwrap_or(0) as f64 / 1000.0);
    });
}

/// Answer of Prometheus to a stateless breaker.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StatelessReading {
    /// Failure ratio, 0 to 1; `None` while there are too few calls.
    pub failure_ratio: Option<f64>,
    /// Age of the newest sample that it is based on, in seconds.
    pub source_age: Option<f64>,
}

/// Handles for one stateless breaker. Cheap to clone.
#[derive(Clone)]
pub struct StatelessTelemetry {
    decisions: Arc<Children<StatelessOutcome, IntCounter>>,
    rejecting: Gauge,
    failure_ratio: Gauge,
    source_age: Gauge,
}

impl StatelessTelemetry {
    /// Creates all series, counters at zero.
    #[must_use]
    pub fn new(metrics: &Metrics, service: &str, breaker: &str) -> Self {
        let (f, own) = (metrics.families(), [service, breaker]);
        let decisions = Children::new(|outcome| f.stateless_decisions.with_label_values(&[service, breaker, outcome]));
        let telemetry = Self {
            decisions: Arc::new(decisions),
            rejecting: f.stateless_rejecting.with_label_values(&own),
            failure_ratio: f.stateless_failure_ratio.with_label_values(&own),
            source_age: f.stateless_source_age.with_label_values(&own),
        };
        telemetry.show(StatelessReading::default());
        telemetry
    }

    /// A decision about a call.
    pub fn decided(&self, outcome: StatelessOutcome, reading: StatelessReading) {
        self.decisions.of(outcome).inc();
        self.rejecting.set(f64::from(outcome == StatelessOutcome::Rejected));
        self.show(reading);
    }

    fn show(&self, reading: StatelessReading) {
        self.failure_ratio.set(reading.failure_ratio.unwrap_or(f64::NAN));
        self.source_age.set(reading.source_age.unwrap_or(f64::NAN));
    }
}

/// Handles for the payment ledger's metrics. Cheap to clone.
#[derive(Clone)]
pub struct LedgerTelemetry {
    entries: Arc<Children<LedgerEntry, IntCounter>>,
}

impl LedgerTelemetry {
    /// Creates all series at zero.
    #[must_use]
    pub fn new(metrics: &Metrics, service: &str) -> Self {
        let vec = &metrics.families().ledger_entries;
        Self { entries: Arc::new(Children::new(|entry| vec.with_label_values(&[service, entry]))) }
    }

    /// Counts an effect of a request on the ledger.
    pub fn entry(&self, entry: LedgerEntry) {
        self.entries.of(entry).inc();
    }
}
