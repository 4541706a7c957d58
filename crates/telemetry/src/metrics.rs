//! The registry and all its families.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

#[cfg(target_os = "linux")]
use prometheus::core::Collector as _;
use prometheus::proto::MetricFamily;
use prometheus::{Gauge, Histogram, IntCounter, Registry};

use super::breaker;
use super::exemplars::TracedHistogram;
use super::label::{AdminAction, AdminOutcome, AlertStatus, Children, FaultKind, Playback};
use super::names::{self, value};
#[cfg(target_os = "linux")]
use super::process::ProcessCollector;
use super::vector::{Exposed, Value, Vector};

/// Latency bounds in seconds that suit calls between services on one network.
const LATENCY_BOUNDS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Bounds for ages of cached answers, in seconds.
const AGE_BOUNDS: &[f64] = &[1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0];
/// Bounds for ratios between 0 and 1.
const RATIO_BOUNDS: &[f64] = &[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0];

/// Initial capacity for the first exposition, in bytes.
const FIRST_SIZE: usize = 96 * 1024;

type Refresh = Box<dyn Fn() + Send + Sync>;

/// One process's metrics. Cheap to clone; all clones share one registry.
#[derive(Clone)]
pub struct Metrics {
    inner: Arc<Inner>,
}

struct Inner {
    registry: Registry,
    families: Families,
    /// In the order of [`breaker::GAUGES`].
    breaker_gauges: Vec<Vector<Gauge>>,
    refreshers: Mutex<Vec<Refresh>>,
    /// All vectors, by name.
    exposed: Vec<Box<dyn Exposed>>,
    #[cfg(target_os = "linux")]
    process: ProcessCollector,
    /// Size of the latest exposition, in bytes.
    last_size: AtomicUsize,
}

macro_rules! families {
    ($($field:ident: $ty:ty = $family:ident $(($bounds:tt))?;)*) => {
        /// The registered vectors, one field per family.
        pub(super) struct Families { $(pub(super) $field: $ty,)* }
        impl Families {
            fn new(call_bounds: &[f64]) -> Self {
                let _ = call_bounds;
                Self { $($field: <$ty>::new(&names::$family, families!(@b call_bounds $($bounds)?)),)* }
            }

            fn register(&self, registry: &Registry) -> Vec<Box<dyn Exposed>> {
                vec![$(register(registry, &self.$field)),*]
            }
        }
    };
    (@b $call:ident calls) => { $call };
    (@b $call:ident $bounds:tt) => { $bounds };
    (@b $call:ident) => { &[] };
}

families! {
    breaker_state: Vector<Gauge> = CIRCUIT_BREAKER_STATE;
    breaker_transitions: Vector<IntCounter> = CIRCUIT_BREAKER_TRANSITIONS;
    breaker_last_transition: Vector<Gauge> = CIRCUIT_BREAKER_LAST_TRANSITION;
    breaker_calls: Vector<IntCounter> = CIRCUIT_BREAKER_CALLS;
    breaker_slow_calls: Vector<IntCounter> = CIRCUIT_BREAKER_SLOW_CALLS;
    breaker_late_results: Vector<IntCounter> = CIRCUIT_BREAKER_LATE_RESULTS;
    breaker_call_duration: Vector<Histogram> = CIRCUIT_BREAKER_CALL_DURATION (calls);
    breaker_health_points: Vector<Gauge> = CIRCUIT_BREAKER_HEALTH_POINTS;
    breaker_timeout: Vector<Gauge> = CIRCUIT_BREAKER_TIMEOUT;
    fallback_calls: Vector<IntCounter> = FALLBACK_CALLS;
    fallback_failures: Vector<IntCounter> = FALLBACK_FAILURES;
    fallback_staleness: Vector<Histogram> = FALLBACK_STALENESS (AGE_BOUNDS);
    retry_calls: Vector<IntCounter> = RETRY_CALLS;
    retry_attempts: Vector<IntCounter> = RETRY_ATTEMPTS;
    retry_budget_tokens: Vector<Gauge> = RETRY_BUDGET_TOKENS;
    retry_budget_capacity: Vector<Gauge> = RETRY_BUDGET_CAPACITY;
    retry_predicted_success: Vector<Histogram> = RETRY_PREDICTED_SUCCESS (RATIO_BOUNDS);
    hedge_requests: Vector<IntCounter> = HEDGE_REQUESTS;
    bulkhead_in_flight: Vector<Gauge> = BULKHEAD_IN_FLIGHT;
    bulkhead_capacity: Vector<Gauge> = BULKHEAD_CAPACITY;
    bulkhead_queue_length: Vector<Gauge> = BULKHEAD_QUEUE_LENGTH;
    bulkhead_rejected: Vector<IntCounter> = BULKHEAD_REJECTED;
    rate_limiter_requests: Vector<IntCounter> = RATE_LIMITER_REQUESTS;
    http_duration: Vector<Histogram> = HTTP_SERVER_REQUEST_DURATION (LATENCY_BOUNDS);
    http_active: Vector<Gauge> = HTTP_SERVER_ACTIVE_REQUESTS;
    connections_open: Vector<Gauge> = HTTP_SERVER_OPEN_CONNECTIONS;
    connections_capacity: Vector<Gauge> = HTTP_SERVER_CAPACITY_CONNECTIONS;
    connections_dropped: Vector<IntCounter> = HTTP_SERVER_DROPPED_CONNECTIONS;
    playback: Vector<IntCounter> = PLAYBACK_REQUESTS;
    slo_objective: Vector<Gauge> = SLO_OBJECTIVE;
    checkout_orders: Vector<IntCounter> = CHECKOUT_ORDERS;
    checkout_revenue: Vector<IntCounter> = CHECKOUT_REVENUE;
    checkout_saga_steps: Vector<IntCounter> = CHECKOUT_SAGA_STEPS;
    checkout_idempotency: Vector<IntCounter> = CHECKOUT_IDEMPOTENCY;
    queue_depth: Vector<Gauge> = RETRY_QUEUE_DEPTH;
    queue_capacity: Vector<Gauge> = RETRY_QUEUE_CAPACITY;
    queue_oldest_age: Vector<Gauge> = RETRY_QUEUE_OLDEST_AGE;
    queue_dead: Vector<Gauge> = RETRY_QUEUE_DEAD;
    queue_dropped: Vector<IntCounter> = RETRY_QUEUE_DROPPED;
    queue_attempts: Vector<IntCounter> = RETRY_QUEUE_ATTEMPTS;
    queue_wait: Vector<Histogram> = RETRY_QUEUE_WAIT (AGE_BOUNDS);
    store_clock_ahead: Vector<Gauge> = STORE_CLOCK_AHEAD;
    store_up: Vector<Gauge> = STORE_UP;
    stateless_decisions: Vector<IntCounter> = STATELESS_BREAKER_DECISIONS;
    stateless_rejecting: Vector<Gauge> = STATELESS_BREAKER_REJECTING;
    stateless_failure_ratio: Vector<Gauge> = STATELESS_BREAKER_FAILURE_RATIO;
    stateless_source_age: Vector<Gauge> = STATELESS_BREAKER_SOURCE_AGE;
    ledger_entries: Vector<IntCounter> = PAYMENT_LEDGER_ENTRIES;
    fault_active: Vector<Gauge> = FAULT_ACTIVE;
    fault_configured: Vector<Gauge> = FAULT_CONFIGURED;
    fault_injected: Vector<IntCounter> = FAULT_INJECTED;
    traffic_journeys: Vector<IntCounter> = TRAFFIC_JOURNEYS;
    traffic_duration: Vector<Histogram> = TRAFFIC_REQUEST_DURATION (LATENCY_BOUNDS);
    traffic_rate: Vector<Gauge> = TRAFFIC_RATE;
    scenario_step: Vector<Gauge> = SCENARIO_STEP;
    alert_notifications: Vector<IntCounter> = ALERT_WEBHOOK_NOTIFICATIONS;
    admin_actions: Vector<IntCounter> = ADMIN_ACTIONS;
    build_info: Vector<Gauge> = BUILD_INFO;
}

fn register<V: Value>(registry: &Registry, family: &Vector<V>) -> Box<dyn Exposed> {
    registry.register(Box::new(family.clone())).expect("each family is registered once");
    Box::new(family.clone())
}

impl Metrics {
    /// Registers every family.
    ///
    /// `call_timeouts` are the attempt timeouts of the configured dependencies. Each one, and 0.8 of
    /// it, becomes an exact bound of `circuit_breaker_call_duration_seconds`: a quantile can't be
    /// read beyond the last finite bound, so an alert on "p99 at 80 % of the timeout" needs both.
    #[must_use]
    pub fn new(call_timeouts: &[Duration]) -> Self {
        let registry = Registry::new();
        let families = Families::new(&call_bounds(call_timeouts));
        let breaker_gauges: Vec<_> = breaker::GAUGES.iter().map(|(family, _)| Vector::new(family, &[])).collect();
        let mut exposed = families.register(&registry);
        exposed.extend(breaker_gauges.iter().map(|gauge| register(&registry, gauge)));
        exposed.sort_by_key(|family| family.name());
        #[cfg(target_os = "linux")]
        let process = ProcessCollector::default();
        #[cfg(target_os = "linux")]
        registry.register(Box::new(process.clone())).expect("process metrics are registered once");
        families.build_info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1.0);
        let inner = Inner {
            registry,
            families,
            breaker_gauges,
            refreshers: Mutex::new(Vec::new()),
            exposed,
            #[cfg(target_os = "linux")]
            process,
            last_size: AtomicUsize::new(FIRST_SIZE),
        };
        Self { inner: Arc::new(inner) }
    }

    pub(super) fn families(&self) -> &Families {
        &self.inner.families
    }

    /// The gauges of a breaker, in the order of [`breaker::GAUGES`].
    pub(super) fn breaker_gauges(&self) -> &[Vector<Gauge>] {
        &self.inner.breaker_gauges
    }

    /// Duration of calls that ended in `outcome`, with exemplars.
    pub(super) fn call_duration(&self, labels: &[&str]) -> TracedHistogram {
        self.families().breaker_call_duration.traced(labels)
    }

    /// Duration of served requests, with exemplars.
    pub(super) fn request_duration(&self, labels: &[&str]) -> TracedHistogram {
        self.families().http_duration.traced(labels)
    }

    /// Runs `refresh` before each scrape, to copy live state into gauges.
    pub fn on_scrape(&self, refresh: impl Fn() + Send + Sync + 'static) {
        self.inner.refreshers.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(refresh));
    }

    /// All families at this moment.
    #[must_use]
    pub fn gather(&self) -> Vec<MetricFamily> {
        self.refresh();
        self.inner.registry.gather()
    }

    fn refresh(&self) {
        for refresh in self.inner.refreshers.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            refresh();
        }
    }

    /// The current families by name, without those of the process.
    pub(super) fn refreshed(&self) -> impl Iterator<Item = &dyn Exposed> {
        self.refresh();
        self.inner.exposed.iter().map(Box::as_ref)
    }

    /// CPU, memory and descriptors, where the platform has them.
    #[cfg(target_os = "linux")]
    pub(super) fn of_the_process(&self) -> Vec<MetricFamily> {
        self.inner.process.collect()
    }

    /// CPU, memory and descriptors, where the platform has them.
    #[cfg(not(target_os = "linux"))]
    pub(super) fn of_the_process(&self) -> Vec<MetricFamily> {
        Vec::new()
    }

    /// Expected size of an exposition, in bytes.
    pub(super) fn last_size(&self) -> usize {
        self.inner.last_size.load(Ordering::Relaxed)
    }

    /// Records the size of an exposition.
    pub(super) fn encoded(&self, bytes: usize) {
        // The next one is seldom smaller; the margin avoids a second allocation if it is a little larger.
        self.inner.last_size.store(bytes + bytes / 16, Ordering::Relaxed);
    }

    /// Series of the ingress rate limiter of `service`, all at zero.
    #[must_use]
    pub fn rate_limiter(&self, service: &str) -> RateLimiterTelemetry {
        let vec = &self.families().rate_limiter_requests;
        let [allowed, limited] = [value::RATE_LIMIT_OUTCOMES[0], value::RATE_LIMIT_OUTCOMES[1]];
        RateLimiterTelemetry {
            allowed: vec.with_label_values(&[service, allowed]),
            limited: vec.with_label_values(&[service, limited]),
        }
    }

    /// Series of the faults of `target`, all at zero.
    #[must_use]
    pub fn faults(&self, target: &str) -> FaultTelemetry {
        let families = self.families();
        let kind = |kind: &'static str| OfKind {
            active: families.fault_active.with_label_values(&[target, kind]),
            configured: families.fault_configured.with_label_values(&[target, kind]),
            injected: families.fault_injected.with_label_values(&[target, kind]),
        };
        FaultTelemetry { kinds: Arc::new(Children::new(kind)) }
    }

    /// Series of the load sent to `target`, all at zero.
    #[must_use]
    pub fn traffic(&self, target: &str) -> TrafficTelemetry {
        let families = self.families();
        let per = |outcome: &'static str| {
            (
                families.traffic_journeys.with_label_values(&[target, outcome]),
                families.traffic_duration.with_label_values(&[target, outcome]),
            )
        };
        TrafficTelemetry {
            outcomes: Arc::new(Children::new(per)),
            rate: families.traffic_rate.with_label_values(&[target]),
        }
    }

    /// Series of a scenario's steps, all at zero.
    #[must_use]
    pub fn scenario(&self, steps: &[String]) -> ScenarioTelemetry {
        let vec = &self.families().scenario_step;
        ScenarioTelemetry { steps: steps.iter().map(|step| (step.clone(), vec.with_label_values(&[step]))).collect() }
    }

    /// Series of the alert inbox, all at zero.
    #[must_use]
    pub fn inbox(&self) -> InboxTelemetry {
        let vec = &self.families().alert_notifications;
        InboxTelemetry { delivered: Arc::new(Children::new(|status| vec.with_label_values(&[status]))) }
    }

    /// Series of the admin port's commands, all at zero.
    #[must_use]
    pub fn admin(&self) -> AdminTelemetry {
        let vec = &self.families().admin_actions;
        let outcomes = |action| Children::new(move |outcome| vec.with_label_values(&[action, outcome]));
        AdminTelemetry { actions: Arc::new(Children::new(outcomes)) }
    }
}

/// Handles for commands of the admin port.
#[derive(Clone)]
pub struct AdminTelemetry {
    actions: Arc<Children<AdminAction, Children<AdminOutcome, IntCounter>>>,
}

impl AdminTelemetry {
    /// Counts a command that was executed or refused.
    pub fn commanded(&self, action: AdminAction, outcome: AdminOutcome) {
        self.actions.of(action).of(outcome).inc();
    }
}

/// Handles for the ingress rate limiter of one service.
#[derive(Debug)]
pub struct RateLimiterTelemetry {
    allowed: IntCounter,
    limited: IntCounter,
}

impl RateLimiterTelemetry {
    /// Counts an allowed request.
    pub fn allowed(&self) {
        self.allowed.inc();
    }

    /// Counts a rejected request.
    pub fn limited(&self) {
        self.limited.inc();
    }
}

/// Handles for the faults of one target.
#[derive(Clone)]
pub struct FaultTelemetry {
    kinds: Arc<Children<FaultKind, OfKind>>,
}

struct OfKind {
    active: Gauge,
    configured: Gauge,
    injected: IntCounter,
}

impl FaultTelemetry {
    /// Counts a request that was affected by a fault of this kind.
    pub fn injected(&self, kind: FaultKind) {
        self.kinds.of(kind).injected.inc();
    }

    /// Sets the configured shares (0–1) of requests, by kind; 0 for all other kinds.
    pub fn planned(&self, shares: &[(FaultKind, f64)]) {
        for (kind, of) in self.kinds.each() {
            let share = shares.iter().find(|(name, _)| *name == kind).map_or(0.0, |(_, share)| *share);
            of.active.set(f64::from(u8::from(share > 0.0)));
            of.configured.set(share);
        }
    }
}

/// Handles for the load sent to one target.
#[derive(Clone)]
pub struct TrafficTelemetry {
    outcomes: Arc<Children<Playback, (IntCounter, Histogram)>>,
    rate: Gauge,
}

impl TrafficTelemetry {
    /// Records a request that was answered, or abandoned, after `duration` from its intended start.
    pub fn request(&self, outcome: Playback, duration: Duration) {
        self.outcomes.of(outcome).1.observe(duration.as_secs_f64());
    }

    /// Counts a finished journey.
    pub fn journey(&self, outcome: Playback) {
        self.outcomes.of(outcome).0.inc();
    }

    /// Sets the target rate in journeys per second.
    pub fn rate(&self, journeys_per_second: f64) {
        self.rate.set(journeys_per_second);
    }
}

/// Handles for the steps of a scenario.
#[derive(Clone)]
pub struct ScenarioTelemetry {
    steps: Vec<(String, Gauge)>,
}

impl ScenarioTelemetry {
    /// Sets the running steps.
    pub fn active(&self, running: &[String]) {
        for (name, gauge) in &self.steps {
            gauge.set(f64::from(u8::from(running.contains(name))));
        }
    }
}

/// Handles for the alert inbox.
#[derive(Clone)]
pub struct InboxTelemetry {
    delivered: Arc<Children<AlertStatus, IntCounter>>,
}

impl InboxTelemetry {
    /// Counts an alert that Alertmanager delivered.
    pub fn delivered(&self, status: AlertStatus) {
        self.delivered.of(status).inc();
    }
}

/// Standard bounds plus `0.8 × timeout` and `timeout` of each dependency, sorted, without duplicates.
fn call_bounds(timeouts: &[Duration]) -> Vec<f64> {
    // Rounded to microseconds, so that equal bounds do not differ by rounding errors.
    let mut micros: BTreeSet<u64> = LATENCY_BOUNDS.iter().map(|s| Duration::from_secs_f64(*s)).map(as_micros).collect();
    for timeout in timeouts.iter().map(|t| as_micros(*t)).filter(|t| *t > 0) {
        micros.extend([timeout * 4 / 5, timeout]);
    }
    micros.into_iter().map(|us| us as f64 / 1e6).collect()
}

fn as_micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn call_bounds_hold_the_timeout_and_four_fifths_of_it_once() {
        let bounds = call_bounds(&[Duration::from_millis(800), Duration::from_secs(2), Duration::from_millis(800)]);
        for bound in [0.64, 0.8, 1.6, 2.0] {
            assert_eq!(bounds.iter().filter(|b| (**b - bound).abs() < 1e-9).count(), 1, "{bound} in {bounds:?}");
        }
        assert!(bounds.is_sorted());
    }

    #[test]
    fn every_family_of_the_contract_is_registered() {
        let metrics = Metrics::new(&[]);
        // Empty vectors are not gathered, so presence is tested by registering again, which must fail.
        for family in names::ALL {
            let opts = prometheus::Opts::new(family.name, family.help);
            let again = prometheus::GaugeVec::new(opts, family.labels).unwrap();
            assert!(metrics.inner.registry.register(Box::new(again)).is_err(), "{} is not registered", family.name);
        }
    }
}
