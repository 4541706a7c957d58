//! Every metric family that this program exports.
//!
//! Code, recording rules, alerts and dashboards all use the names, labels and label values defined
//! here; tests fail if a rule or a panel uses any other. No label takes a value from a user, so the
//! number of series is bounded by the settings.

/// Type of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Never decreases while the process lives.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Cumulative buckets, a sum and a count.
    Histogram,
}

/// One metric family: its name, labels and help text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Family {
    /// Full name as scraped, unit and `_total` included.
    pub name: &'static str,
    /// How it is exposed.
    pub kind: Kind,
    /// Label names in the order that values are given in.
    pub labels: &'static [&'static str],
    /// The `# HELP` line.
    pub help: &'static str,
}

macro_rules! families {
    ($($(#[$doc:meta])* $id:ident = $kind:ident $name:literal [$($label:ident),*] $help:literal;)*) => {
        $($(#[$doc])* #[doc = $help] pub const $id: Family = Family {
            name: $name, kind: Kind::$kind, labels: &[$(label::$label),*], help: $help,
        };)*
        /// Every family, in the order they are documented.
        pub const ALL: &[Family] = &[$($id),*];
    };
}

/// Label names.
pub mod label {
    #![allow(missing_docs)]
    pub const SERVICE: &str = "service";
    pub const BREAKER: &str = "breaker";
    pub const STATE: &str = "state";
    pub const FROM: &str = "from";
    pub const TO: &str = "to";
    pub const REASON: &str = "reason";
    pub const OUTCOME: &str = "outcome";
    pub const KIND: &str = "kind";
    pub const BULKHEAD: &str = "bulkhead";
    pub const QUEUE: &str = "queue";
    pub const TARGET: &str = "target";
    pub const SLO: &str = "slo";
    pub const STATUS: &str = "status";
    pub const STEP: &str = "step";
    pub const ACTION: &str = "action";
    pub const VERSION: &str = "version";
    pub const HTTP_REQUEST_METHOD: &str = "http_request_method";
    pub const HTTP_ROUTE: &str = "http_route";
    pub const HTTP_RESPONSE_STATUS_CODE: &str = "http_response_status_code";
}

families! {
    CIRCUIT_BREAKER_STATE = Gauge "circuit_breaker_state" [SERVICE, BREAKER, STATE]
        "1 for the current state of the breaker, 0 for every other state.";
    CIRCUIT_BREAKER_TRANSITIONS = Counter "circuit_breaker_transitions_total" [SERVICE, BREAKER, FROM, TO, REASON]
        "State transitions, by the states before and after and the reason.";
    CIRCUIT_BREAKER_LAST_TRANSITION = Gauge "circuit_breaker_last_transition_timestamp_seconds" [SERVICE, BREAKER]
        "Unix time of the last state transition; before the first one, the start time of the process.";
    CIRCUIT_BREAKER_CALLS = Counter "circuit_breaker_calls_total" [SERVICE, BREAKER, OUTCOME]
        "Calls, by outcome; rejected calls never reached the dependency.";
    CIRCUIT_BREAKER_SLOW_CALLS = Counter "circuit_breaker_slow_calls_total" [SERVICE, BREAKER]
        "Executed calls that took at least the slow-call threshold.";
    CIRCUIT_BREAKER_LATE_RESULTS = Counter "circuit_breaker_late_results_total" [SERVICE, BREAKER]
        "Results of calls that began in an earlier state; they do not affect the current one.";
    CIRCUIT_BREAKER_CALL_DURATION = Histogram "circuit_breaker_call_duration_seconds" [SERVICE, BREAKER, OUTCOME]
        "Duration of executed calls.";
    CIRCUIT_BREAKER_FAILURE_RATIO = Gauge "circuit_breaker_failure_ratio" [SERVICE, BREAKER]
        "Failed share (0-1) of the window's calls; NaN below the minimum number of calls.";
    CIRCUIT_BREAKER_SLOW_CALL_RATIO = Gauge "circuit_breaker_slow_call_ratio" [SERVICE, BREAKER]
        "Slow share (0-1) of the window's calls; NaN below the minimum number of calls.";
    CIRCUIT_BREAKER_WINDOW_CALLS = Gauge "circuit_breaker_window_calls" [SERVICE, BREAKER]
        "Calls currently in the sliding window.";
    CIRCUIT_BREAKER_WINDOW_FAILED_CALLS = Gauge "circuit_breaker_window_failed_calls" [SERVICE, BREAKER]
        "Failed calls currently in the sliding window.";
    CIRCUIT_BREAKER_WINDOW_SIZE_CALLS = Gauge "circuit_breaker_window_size_calls" [SERVICE, BREAKER]
        "Size in calls of a count-based window; NaN for a time-based window.";
    CIRCUIT_BREAKER_WINDOW_MINIMUM_CALLS = Gauge "circuit_breaker_window_minimum_calls" [SERVICE, BREAKER]
        "Minimum number of calls in the window before its ratios are evaluated.";
    CIRCUIT_BREAKER_HALF_OPEN_PERMITS = Gauge "circuit_breaker_half_open_permits_in_use" [SERVICE, BREAKER]
        "Probes of the current half-open state that are in flight or finished.";
    CIRCUIT_BREAKER_OPEN_REMAINING = Gauge "circuit_breaker_open_remaining_seconds" [SERVICE, BREAKER]
        "Time until an open breaker admits a probe; 0 in every other state.";
    CIRCUIT_BREAKER_HEALTH_SCORE = Gauge "circuit_breaker_health_score" [SERVICE, BREAKER]
        "Health 0-1: success rate x (1 - slow rate x 0.5) over the window; 0 while open.";
    CIRCUIT_BREAKER_HEALTH_POINTS = Gauge "circuit_breaker_health_points" [SERVICE, BREAKER]
        "Health 0-100: 70 x success rate of the calls recorded last + 30 for a mean response time of 1 s or less, falling to 0 at 5 s.";
    CIRCUIT_BREAKER_FAILURE_RATIO_THRESHOLD = Gauge "circuit_breaker_failure_ratio_threshold" [SERVICE, BREAKER]
        "Failure ratio (0-1) at which the breaker trips; NaN when it has none.";
    CIRCUIT_BREAKER_SLOW_CALL_RATIO_THRESHOLD = Gauge "circuit_breaker_slow_call_ratio_threshold" [SERVICE, BREAKER]
        "Slow-call ratio (0-1) at which the breaker trips; NaN when it has none.";
    CIRCUIT_BREAKER_CONSECUTIVE_FAILURES = Gauge "circuit_breaker_consecutive_failures" [SERVICE, BREAKER]
        "Current number of consecutive failures; a success resets it to zero.";
    CIRCUIT_BREAKER_CONSECUTIVE_FAILURES_THRESHOLD = Gauge "circuit_breaker_consecutive_failures_threshold"
        [SERVICE, BREAKER]
        "Number of consecutive failures at which the breaker trips; NaN when it has no such threshold.";
    CIRCUIT_BREAKER_TIMEOUT = Gauge "circuit_breaker_timeout_seconds" [SERVICE, BREAKER]
        "Timeout of one attempt.";
    CIRCUIT_BREAKER_OPEN_WAIT = Gauge "circuit_breaker_open_wait_seconds" [SERVICE, BREAKER]
        "Configured wait in the open state before a probe.";
    FALLBACK_CALLS = Counter "fallback_calls_total" [SERVICE, BREAKER, KIND, REASON]
        "Answers served from a fallback, by its kind and the reason for it.";
    FALLBACK_FAILURES = Counter "fallback_failures_total" [SERVICE, BREAKER, KIND]
        "Fallbacks that were tried and had no answer.";
    FALLBACK_STALENESS = Histogram "fallback_staleness_seconds" [SERVICE, BREAKER]
        "Age of cached answers served as fallbacks.";
    RETRY_CALLS = Counter "retry_calls_total" [SERVICE, BREAKER, OUTCOME]
        "Logical calls, by outcome of their retries.";
    RETRY_ATTEMPTS = Counter "retry_attempts_total" [SERVICE, BREAKER, REASON]
        "Attempts after the first, by the error that was retried.";
    RETRY_BUDGET_TOKENS = Gauge "retry_budget_tokens" [SERVICE, BREAKER]
        "Retries that the budget currently allows.";
    RETRY_BUDGET_CAPACITY = Gauge "retry_budget_capacity_tokens" [SERVICE, BREAKER]
        "Retries that the budget allows when it is full.";
    RETRY_PREDICTED_SUCCESS = Histogram "retry_predicted_success_ratio" [SERVICE, BREAKER, OUTCOME]
        "Predicted probability (0-1) that a retry succeeds, by its actual outcome.";
    HEDGE_REQUESTS = Counter "hedge_requests_total" [SERVICE, BREAKER, OUTCOME]
        "Hedged attempts, by outcome.";
    BULKHEAD_IN_FLIGHT = Gauge "bulkhead_in_flight_calls" [SERVICE, BULKHEAD]
        "Calls currently admitted by the bulkhead.";
    BULKHEAD_CAPACITY = Gauge "bulkhead_capacity_calls" [SERVICE, BULKHEAD]
        "Maximum number of concurrent calls in the bulkhead.";
    BULKHEAD_QUEUE_LENGTH = Gauge "bulkhead_queue_length" [SERVICE, BULKHEAD]
        "Calls waiting for admission to the bulkhead.";
    BULKHEAD_REJECTED = Counter "bulkhead_rejected_calls_total" [SERVICE, BULKHEAD]
        "Calls rejected because the bulkhead was full until the end of their wait.";
    RATE_LIMITER_REQUESTS = Counter "rate_limiter_requests_total" [SERVICE, OUTCOME]
        "Requests at the ingress rate limiter, by outcome.";
    HTTP_SERVER_REQUEST_DURATION = Histogram "http_server_request_duration_seconds"
        [SERVICE, HTTP_REQUEST_METHOD, HTTP_ROUTE, HTTP_RESPONSE_STATUS_CODE]
        "Duration of served requests; status 499 is a client that disconnected before the answer.";
    HTTP_SERVER_ACTIVE_REQUESTS = Gauge "http_server_active_requests" [SERVICE]
        "Requests in flight.";
    HTTP_SERVER_OPEN_CONNECTIONS = Gauge "http_server_open_connections" [SERVICE]
        "Open connections; service `admin` is the admin port.";
    HTTP_SERVER_CAPACITY_CONNECTIONS = Gauge "http_server_capacity_connections" [SERVICE]
        "Maximum number of open connections.";
    HTTP_SERVER_DROPPED_CONNECTIONS = Counter "http_server_dropped_connections_total" [SERVICE, REASON]
        "Connections refused or closed by the server, by reason.";
    PLAYBACK_REQUESTS = Counter "playback_requests_total" [SERVICE, OUTCOME]
        "Pages, by result: complete, degraded by a fallback, or an error.";
    SLO_OBJECTIVE = Gauge "slo_objective_ratio" [SERVICE, SLO]
        "Objective: share (0-1) of pages that are not an error (availability) or not degraded (quality).";
    CHECKOUT_ORDERS = Counter "checkout_orders_total" [SERVICE, OUTCOME]
        "Orders, by outcome; a queued order is counted again when it is paid later or becomes a dead letter.";
    CHECKOUT_REVENUE = Counter "checkout_revenue_total" [SERVICE, OUTCOME]
        "Revenue in won: paid at once, at risk because a payment failed, and of that kept or lost.";
    CHECKOUT_SAGA_STEPS = Counter "checkout_saga_steps_total" [SERVICE, STEP, OUTCOME]
        "Steps of order sagas, by outcome.";
    CHECKOUT_IDEMPOTENCY = Counter "checkout_idempotency_requests_total" [SERVICE, OUTCOME]
        "Checkout requests, by state of their idempotency key.";
    RETRY_QUEUE_DEPTH = Gauge "retry_queue_depth_items" [SERVICE, QUEUE]
        "Items waiting for their next attempt.";
    RETRY_QUEUE_CAPACITY = Gauge "retry_queue_capacity_items" [SERVICE, QUEUE]
        "Maximum number of items in the queue.";
    RETRY_QUEUE_OLDEST_AGE = Gauge "retry_queue_oldest_item_age_seconds" [SERVICE, QUEUE]
        "Age of the oldest waiting item; 0 when the queue is empty.";
    RETRY_QUEUE_DEAD = Gauge "retry_queue_dead_items" [SERVICE, QUEUE]
        "Dead letters: items that are out of attempts and need manual action.";
    RETRY_QUEUE_DROPPED = Counter "retry_queue_dropped_items_total" [SERVICE, QUEUE]
        "Items refused because the queue was full.";
    RETRY_QUEUE_ATTEMPTS = Counter "retry_queue_attempts_total" [SERVICE, QUEUE, OUTCOME]
        "Attempts of the worker, by outcome.";
    RETRY_QUEUE_WAIT = Histogram "retry_queue_wait_seconds" [SERVICE, QUEUE]
        "Time from queueing an item to its final state.";
    STORE_CLOCK_AHEAD = Gauge "store_clock_ahead_seconds" [SERVICE]
        "Offset of this machine's clock from its database's; negative when it is behind, 0 where both are the same clock.";
    STORE_UP = Gauge "store_up" [SERVICE]
        "1 while the service's database answers and accepts writes, 0 otherwise.";
    STATELESS_BREAKER_DECISIONS = Counter "stateless_breaker_decisions_total" [SERVICE, BREAKER, OUTCOME]
        "Decisions of a breaker that queries Prometheus, by outcome; only with `checkout.breaker = \"stateless\"`.";
    STATELESS_BREAKER_REJECTING = Gauge "stateless_breaker_rejecting_active" [SERVICE, BREAKER]
        "1 while the last decision of a breaker that queries Prometheus was to reject.";
    STATELESS_BREAKER_FAILURE_RATIO = Gauge "stateless_breaker_failure_ratio" [SERVICE, BREAKER]
        "Failure ratio (0-1) that the last decision was based on; NaN when there were too few calls, or no answer.";
    STATELESS_BREAKER_SOURCE_AGE = Gauge "stateless_breaker_source_age_seconds" [SERVICE, BREAKER]
        "Age of the newest sample that the last decision was based on; NaN when there was none.";
    PAYMENT_LEDGER_ENTRIES = Counter "payment_ledger_entries_total" [SERVICE, OUTCOME]
        "Requests at the payment gateway, by their effect on its ledger.";
    FAULT_ACTIVE = Gauge "fault_active" [TARGET, KIND]
        "1 while a fault of this kind is active at the target.";
    FAULT_CONFIGURED = Gauge "fault_configured_ratio" [TARGET, KIND]
        "Share (0-1) of the target's requests that a fault of this kind is configured to affect, independent of traffic.";
    FAULT_INJECTED = Counter "fault_injected_total" [TARGET, KIND]
        "Requests affected by an injected fault.";
    TRAFFIC_JOURNEYS = Counter "traffic_journeys_total" [TARGET, OUTCOME]
        "Viewer journeys, by outcome as observed by the viewer.";
    TRAFFIC_REQUEST_DURATION = Histogram "traffic_request_duration_seconds" [TARGET, OUTCOME]
        "Response time as observed by the viewer, measured from the intended start.";
    TRAFFIC_RATE = Gauge "traffic_target_rate_journeys_per_second" [TARGET]
        "Target rate of the load generator in journeys per second.";
    SCENARIO_STEP = Gauge "scenario_step_active" [STEP]
        "1 while this step of the scenario is running.";
    ALERT_WEBHOOK_NOTIFICATIONS = Counter "alert_webhook_notifications_total" [STATUS]
        "Alerts that Alertmanager delivered to the webhook inbox.";
    ADMIN_ACTIONS = Counter "admin_actions_total" [ACTION, OUTCOME]
        "Commands to the admin port, by action and outcome.";
    BUILD_INFO = Gauge "breakerbox_build_info" [VERSION]
        "1, with the version of the program.";
}

/// Service level objectives over 30 days: the share of good pages, by [`value::SLOS`]. The burn-rate
/// alerts in `alerts/slo.yml` use the same numbers; a test compares them.
pub const OBJECTIVES: &[(&str, f64)] = &[("availability", 0.99), ("quality", 0.95)];

/// Label values with a closed set.
pub mod value {
    /// `state` of a breaker.
    pub const STATES: &[&str] = &["closed", "open", "half_open", "forced_open", "disabled", "metrics_only"];
    /// `outcome` of `circuit_breaker_calls_total`. A panic is a failure there.
    pub const CALL_OUTCOMES: &[&str] = &["success", "failure", "timeout", "ignored", "cancelled", "rejected"];
    /// `outcome` of `circuit_breaker_call_duration_seconds`: executed calls only.
    pub const EXECUTED_OUTCOMES: &[&str] = &["success", "failure", "timeout", "ignored", "cancelled"];
    /// `reason` of a transition.
    pub const TRANSITION_REASONS: &[&str] = &[
        "consecutive_failures",
        "failure_rate",
        "slow_call_rate",
        "wait_elapsed",
        "probes_succeeded",
        "probes_failed",
        "half_open_timeout",
        "stage_passed",
        "command",
        "shared",
    ];
    /// `kind` of a fallback.
    pub const FALLBACK_KINDS: &[&str] = &["cache", "popular", "replica", "queue", "notice"];
    /// `reason` of a fallback: what kept the live answer away.
    pub const FALLBACK_REASONS: &[&str] = &["open", "bulkhead_full", "timeout", "failure", "rejected"];
    /// `outcome` of `retry_calls_total`.
    pub const RETRY_OUTCOMES: &[&str] = &[
        "success_without_retry",
        "success_with_retry",
        "failed_without_retry",
        "failed_with_retry",
        "budget_exhausted",
        "stopped",
    ];
    /// `reason` of `retry_attempts_total`.
    pub const RETRY_REASONS: &[&str] = &["timeout", "connect", "server_error", "rate_limited", "reset", "malformed"];
    /// `outcome` of `hedge_requests_total`.
    pub const HEDGE_OUTCOMES: &[&str] = &["won", "lost", "failed", "no_budget"];
    /// `outcome` of `rate_limiter_requests_total`.
    pub const RATE_LIMIT_OUTCOMES: &[&str] = &["allowed", "limited"];
    /// `outcome` of `checkout_orders_total`.
    pub const ORDER_OUTCOMES: &[&str] = &[
        "paid",
        "queued",
        "paid_later",
        "sold_out",
        "declined",
        "payment_failed",
        "unavailable",
        "cancelled",
        "expired",
        "dead",
    ];
    /// `outcome` of `checkout_revenue_total`. What is at risk is kept or lost in the end.
    pub const REVENUE_OUTCOMES: &[&str] = &["paid", "at_risk", "kept", "lost"];
    /// `step` of `checkout_saga_steps_total`.
    pub const SAGA_STEPS: &[&str] = &["verify_user", "reserve", "charge", "void", "release", "notify"];
    /// `outcome` of `checkout_saga_steps_total`.
    pub const SAGA_OUTCOMES: &[&str] = &["done", "refused", "failed"];
    /// `outcome` of `checkout_idempotency_requests_total`.
    pub const IDEMPOTENCY_OUTCOMES: &[&str] = &["new", "replayed", "mismatch", "in_progress"];
    /// `outcome` of `stateless_breaker_decisions_total`.
    pub const STATELESS_OUTCOMES: &[&str] = &["permitted", "rejected", "unanswered"];
    /// `outcome` of `retry_queue_attempts_total`.
    pub const QUEUE_OUTCOMES: &[&str] = &["done", "retried", "postponed", "dead"];
    /// `outcome` of `payment_ledger_entries_total`.
    pub const LEDGER_OUTCOMES: &[&str] =
        &["charged", "charged_again", "replayed", "declined", "voided", "refunded", "refused"];
    /// `reason` of `http_server_dropped_connections_total`.
    pub const DROPPED_REASONS: [&str; 6] =
        ["full", "displaced", "slow_head", "slow_body", "slow_reader", "not_accepted"];
    /// `outcome` of `playback_requests_total`.
    pub const PLAYBACK_OUTCOMES: &[&str] = &["ok", "degraded", "error"];
    /// `slo` of an objective.
    pub const SLOS: &[&str] = &["availability", "quality"];
    /// `kind` of a fault.
    pub const FAULT_KINDS: &[&str] = &[
        "error",
        "latency",
        "hang",
        "reset",
        "slow_body",
        "malformed_body",
        "crash",
        "lost_answer",
        "late_answer",
        "handled_twice",
    ];
    /// `outcome` of traffic.
    pub const TRAFFIC_OUTCOMES: &[&str] = &["ok", "degraded", "error"];
    /// `status` of a delivered alert.
    pub const ALERT_STATUSES: &[&str] = &["firing", "resolved"];
    /// `action` of `admin_actions_total`.
    pub const ADMIN_ACTIONS: &[&str] = &["breaker", "fault", "scenario", "queue", "drill"];
    /// `outcome` of `admin_actions_total`.
    pub const ADMIN_OUTCOMES: &[&str] = &["done", "refused", "unauthorized", "failed"];
}
