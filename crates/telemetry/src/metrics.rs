//! The registry and every family in it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus::{GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};

use super::breaker;
use super::exemplars::{Exemplars, TracedHistogram};
use super::label::{AdminAction, AdminOutcome, AlertStatus, Children, FaultKind, Playback};
use super::names::{self, Family, Kind, value};

/// Latency bounds in seconds that suit calls between services on one network.
const LATENCY_BOUNDS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Ages of cached answers, seconds.
const AGE_BOUNDS: &[f64] = &[1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0];
/// Shares between 0 and 1.
const RATIO_BOUNDS: &[f64] = &[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0];

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
    breaker_gauges: Vec<GaugeVec>,
    refreshers: Mutex<Vec<Refresh>>,
    exemplars: Exemplars,
    call_bounds: Arc<[f64]>,
    latency_bounds: Arc<[f64]>,
}

macro_rules! families {
    ($($field:ident: $ty:ty = $family:ident $(($bounds:tt))?;)*) => {
        /// The registered vectors, one field a family.
        pub(super) struct Families { $(pub(super) $field: $ty,)* }
        impl Families {
            fn register(registry: &Registry, call_bounds: &[f64]) -> Self {
                let _ = call_bounds;
                Self { $($field: <$ty as Registered>::register(registry, &names::$family, families!(@b call_bounds $($bounds)?)),)* }
            }
        }
    };
    (@b $call:ident calls) => { $call };
    (@b $call:ident $bounds:tt) => { $bounds };
    (@b $call:ident) => { &[] };
}

families! {
    breaker_state: GaugeVec = CIRCUIT_BREAKER_STATE;
    breaker_transitions: IntCounterVec = CIRCUIT_BREAKER_TRANSITIONS;
    breaker_last_transition: GaugeVec = CIRCUIT_BREAKER_LAST_TRANSITION;
    breaker_calls: IntCounterVec = CIRCUIT_BREAKER_CALLS;
    breaker_slow_calls: IntCounterVec = CIRCUIT_BREAKER_SLOW_CALLS;
    breaker_late_results: IntCounterVec = CIRCUIT_BREAKER_LATE_RESULTS;
    breaker_call_duration: HistogramVec = CIRCUIT_BREAKER_CALL_DURATION (calls);
    breaker_health_points: GaugeVec = CIRCUIT_BREAKER_HEALTH_POINTS;
    breaker_timeout: GaugeVec = CIRCUIT_BREAKER_TIMEOUT;
    fallback_calls: IntCounterVec = FALLBACK_CALLS;
    fallback_failures: IntCounterVec = FALLBACK_FAILURES;
    fallback_staleness: HistogramVec = FALLBACK_STALENESS (AGE_BOUNDS);
    retry_calls: IntCounterVec = RETRY_CALLS;
    retry_attempts: IntCounterVec = RETRY_ATTEMPTS;
    retry_budget_tokens: GaugeVec = RETRY_BUDGET_TOKENS;
    retry_budget_capacity: GaugeVec = RETRY_BUDGET_CAPACITY;
    retry_predicted_success: HistogramVec = RETRY_PREDICTED_SUCCESS (RATIO_BOUNDS);
    hedge_requests: IntCounterVec = HEDGE_REQUESTS;
    bulkhead_in_flight: GaugeVec = BULKHEAD_IN_FLIGHT;
    bulkhead_capacity: GaugeVec = BULKHEAD_CAPACITY;
    bulkhead_queue_length: GaugeVec = BULKHEAD_QUEUE_LENGTH;
    bulkhead_rejected: IntCounterVec = BULKHEAD_REJECTED;
    rate_limiter_requests: IntCounterVec = RATE_LIMITER_REQUESTS;
    http_duration: HistogramVec = HTTP_SERVER_REQUEST_DURATION (LATENCY_BOUNDS);
    http_active: GaugeVec = HTTP_SERVER_ACTIVE_REQUESTS;
    connections_open: GaugeVec = HTTP_SERVER_OPEN_CONNECTIONS;
    connections_capacity: GaugeVec = HTTP_SERVER_CAPACITY_CONNECTIONS;
    connections_dropped: IntCounterVec = HTTP_SERVER_DROPPED_CONNECTIONS;
    playback: IntCounterVec = PLAYBACK_REQUESTS;
    slo_objective: GaugeVec = SLO_OBJECTIVE;
    checkout_orders: IntCounterVec = CHECKOUT_ORDERS;
    checkout_revenue: IntCounterVec = CHECKOUT_REVENUE;
    checkout_saga_steps: IntCounterVec = CHECKOUT_SAGA_STEPS;
    checkout_idempotency: IntCounterVec = CHECKOUT_IDEMPOTENCY;
    queue_depth: GaugeVec = RETRY_QUEUE_DEPTH;
    queue_capacity: GaugeVec = RETRY_QUEUE_CAPACITY;
    queue_oldest_age: GaugeVec = RETRY_QUEUE_OLDEST_AGE;
    queue_dead: GaugeVec = RETRY_QUEUE_DEAD;
    queue_dropped: IntCounterVec = RETRY_QUEUE_DROPPED;
    queue_attempts: IntCounterVec = RETRY_QUEUE_ATTEMPTS;
    queue_wait: HistogramVec = RETRY_QUEUE_WAIT (AGE_BOUNDS);
    store_clock_ahead: GaugeVec = STORE_CLOCK_AHEAD;
    store_up: GaugeVec = STORE_UP;
    stateless_decisions: IntCounterVec = STATELESS_BREAKER_DECISIONS;
    stateless_rejecting: GaugeVec = STATELESS_BREAKER_REJECTING;
    stateless_failure_ratio: GaugeVec = STATELESS_BREAKER_FAILURE_RATIO;
    stateless_source_age: GaugeVec = STATELESS_BREAKER_SOURCE_AGE;
    ledger_entries: IntCounterVec = PAYMENT_LEDGER_ENTRIES;
    fault_active: GaugeVec = FAULT_ACTIVE;
    fault_configured: GaugeVec = FAULT_CONFIGURED;
    fault_injected: IntCounterVec = FAULT_INJECTED;
    traffic_journeys: IntCounterVec = TRAFFIC_JOURNEYS;
    traffic_duration: HistogramVec = TRAFFIC_REQUEST_DURATION (LATENCY_BOUNDS);
    traffic_rate: GaugeVec = TRAFFIC_RATE;
    scenario_step: GaugeVec = SCENARIO_STEP;
    alert_notifications: IntCounterVec = ALERT_WEBHOOK_NOTIFICATIONS;
    admin_actions: IntCounterVec = ADMIN_ACTIONS;
    build_info: GaugeVec = BUILD_INFO;
}

trait Registered: Sized {
    fn register(registry: &Registry, family: &Family, bounds: &[f64]) -> Self;
}

impl Registered for GaugeVec {
    fn register(registry: &Registry, family: &Family, _: &[f64]) -> Self {
        debug_assert_eq!(family.kind, Kind::Gauge);
        let vec = Self::new(Opts::new(family.name, family.help), family.labels).expect("names.rs holds valid names");
        registry.register(Box::new(vec.clone())).expect("each family is registered once");
        vec
    }
}

impl Registered for IntCounterVec {
    fn register(registry: &Registry, family: &Family, _: &[f64]) -> Self {
        debug_assert_eq!(family.kind, Kind::Counter);
        let vec = Self::new(Opts::new(family.name, family.help), family.labels).expect("names.rs holds valid names");
        registry.register(Box::new(vec.clone())).expect("each family is registered once");
        vec
    }
}

impl Registered for HistogramVec {
    fn register(registry: &Registry, family: &Family, bounds: &[f64]) -> Self {
        debug_assert_eq!(family.kind, Kind::Histogram);
        let opts = HistogramOpts::new(family.name, family.help).buckets(bounds.to_vec());
        let vec = Self::new(opts, family.labels).expect("names.rs holds valid names and sorted bounds");
        registry.register(Box::new(vec.clone())).expect("each family is registered once");
        vec
    }
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
        let call_bounds = call_bounds(call_timeouts);
        let families = Families::register(&registry, &call_bounds);
        let breaker_gauges = breaker::GAUGES.iter().map(|(family, _)| GaugeVec::register(&registry, family, &[]));
        let breaker_gauges = breaker_gauges.collect();
        #[cfg(target_os = "linux")]
        registry
            .register(Box::new(super::process::ProcessCollector::default()))
            .expect("process metrics are registered once");
        families.build_info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1.0);
        let inner = Inner {
            registry,
            families,
            breaker_gauges,
            refreshers: Mutex::new(Vec::new()),
            exemplars: Exemplars::default(),
            call_bounds: call_bounds.into(),
            latency_bounds: LATENCY_BOUNDS.into(),
        };
        Self { inner: Arc::new(inner) }
    }

    pub(super) fn families(&self) -> &Families {
        &self.inner.families
    }

    /// The gauges of a breaker, in the order of [`breaker::GAUGES`].
    pub(super) fn breaker_gauges(&self) -> &[GaugeVec] {
        &self.inner.breaker_gauges
    }

    pub(super) fn exemplars(&self) -> &Exemplars {
        &self.inner.exemplars
    }

    /// Duration of calls that ended in `outcome`, with exemplars.
    pub(super) fn call_duration(&self, labels: &[&str]) -> TracedHistogram {
        let histogram = self.families().breaker_call_duration.with_label_values(labels);
        let family = names::CIRCUIT_BREAKER_CALL_DURATION.name;
        self.inner.exemplars.attach(family, labels, histogram, &self.inner.call_bounds)
    }

    /// Duration of served requests, with exemplars.
    pub(super) fn request_duration(&self, labels: &[&str]) -> TracedHistogram {
        let histogram = self.families().http_duration.with_label_values(labels);
        let family = names::HTTP_SERVER_REQUEST_DURATION.name;
        self.inner.exemplars.attach(family, labels, histogram, &self.inner.latency_bounds)
    }

    /// Runs `refresh` before each scrape, to copy live state into gauges.
    pub fn on_scrape(&self, refresh: impl Fn() + Send + Sync + 'static) {
        self.inner.refreshers.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(refresh));
    }

    /// Everything as it stands now.
    #[must_use]
    pub fn gather(&self) -> Vec<prometheus::proto::MetricFamily> {
        for refresh in self.inner.refreshers.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            refresh();
        }
        self.inner.registry.gather()
    }

    /// Counts of the ingress rate limiter of `service`: `(allowed, limited)`.
    #[must_use]
    pub fn rate_limiter(&self, service: &str) -> (prometheus::IntCounter, prometheus::IntCounter) {
        let vec = &self.families().rate_limiter_requests;
        let [allowed, limited] = [value::RATE_LIMIT_OUTCOMES[0], value::RATE_LIMIT_OUTCOMES[1]];
        (vec.with_label_values(&[service, allowed]), vec.with_label_values(&[service, limited]))
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

/// Handles for the commands of the admin port.
#[derive(Clone)]
pub struct AdminTelemetry {
    actions: Arc<Children<AdminAction, Children<AdminOutcome, prometheus::IntCounter>>>,
}

impl AdminTelemetry {
    /// A command was answered.
    pub fn commanded(&self, action: AdminAction, outcome: AdminOutcome) {
        self.actions.of(action).of(outcome).inc();
    }
}

/// Handles for the faults of one target.
#[derive(Clone)]
pub struct FaultTelemetry {
    kinds: Arc<Children<FaultKind, OfKind>>,
}

struct OfKind {
    active: prometheus::Gauge,
    configured: prometheus::Gauge,
    injected: prometheus::IntCounter,
}

impl FaultTelemetry {
    /// A request was touched by a fault of this kind.
    pub fn injected(&self, kind: FaultKind) {
        self.kinds.of(kind).injected.inc();
    }

    /// The plan in force touches these shares (0–1) of requests, by kind; of other kinds, none.
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
    outcomes: Arc<Children<Playback, (prometheus::IntCounter, prometheus::Histogram)>>,
    rate: prometheus::Gauge,
}

impl TrafficTelemetry {
    /// A request was answered, or given up, after `duration` from its intended start.
    pub fn request(&self, outcome: Playback, duration: Duration) {
        self.outcomes.of(outcome).1.observe(duration.as_secs_f64());
    }

    /// A journey ended.
    pub fn journey(&self, outcome: Playback) {
        self.outcomes.of(outcome).0.inc();
    }

    /// The load aims at this many journeys per second.
    pub fn rate(&self, journeys_per_second: f64) {
        self.rate.set(journeys_per_second);
    }
}

/// Handles for the steps of a scenario.
#[derive(Clone)]
pub struct ScenarioTelemetry {
    steps: Vec<(String, prometheus::Gauge)>,
}

impl ScenarioTelemetry {
    /// Exactly these steps are running.
    pub fn active(&self, running: &[String]) {
        for (name, gauge) in &self.steps {
            gauge.set(f64::from(u8::from(running.contains(name))));
        }
    }
}

/// Handles for the alert inbox.
#[derive(Clone)]
pub struct InboxTelemetry {
    delivered: Arc<Children<AlertStatus, prometheus::IntCounter>>,
}

impl InboxTelemetry {
    /// Alertmanager delivered an alert.
    pub fn delivered(&self, status: AlertStatus) {
        self.delivered.of(status).inc();
    }
}

/// Standard bounds plus `0.8 × timeout` and `timeout` of each dependency, sorted, without doubles.
fn call_bounds(timeouts: &[Duration]) -> Vec<f64> {
    // Whole microseconds make equal bounds equal, whatever the arithmetic they came from.
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
        // A vector without children is not gathered: registering it a second time is what fails.
        for family in names::ALL {
            let again = GaugeVec::new(Opts::new(family.name, family.help), family.labels).unwrap();
            assert!(metrics.inner.registry.register(Box::new(again)).is_err(), "{} is not registered", family.name);
        }
    }
}
