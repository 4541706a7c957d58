//! `DestinationRule` and `VirtualService` for Istio.
//!
//! # How
//!
//! A `DestinationRule` belongs to a caller and a dependency: its `workloadSelector` restricts it to the caller's
//! proxies, so that two callers of one dependency can have different policies. A `VirtualService` belongs to a
//! dependency only, because Istio reads one per host inside the mesh: its routes distinguish callers by `sourceLabels`.
//!
//! Only GET and HEAD are retried, because a proxy cannot know that a POST carries an idempotency key. Each route
//! without retries has `attempts: 0`, because Istio retries twice by default.
//!
//! # Differences even where a setting can be expressed
//!
//! Outlier detection evaluates each pod and ejects it from load balancing; a breaker evaluates the dependency and
//! rejects calls to it. With `maxEjectionPercent: 100` every pod can be ejected, and the proxy then answers 503.

use serde_json::{Value, json};

use super::{Fate, Relation, Source, attempts, gaps, gaps_page, in_a_row, retried_statuses, seconds, yaml};
use crate::faults::{FaultPlan, Latency};
use crate::services::ServiceName;
use breakerbox_resilience::breaker::{AfterMaxWait, InitialState};
use breakerbox_resilience::policy::PolicySettings;
use breakerbox_resilience::retry::Jitter;

/// The pod label with the name of its service.
pub const SERVICE_LABEL: &str = "app.kubernetes.io/name";

const HEADER: &str = "Written by `breakerbox export istio` from the program's own policies; not to be edited.\n\
    Needs Istio 1.27 or newer: trafficPolicy.retryBudget is younger than the rest.\n\
    Beside each DestinationRule stands what of its policy Istio cannot express; gaps.md has all of it.";
const BESIDE_HEADER: &str = "Written by `breakerbox export istio --beside-library`; not to be edited.\n\
    For callers whose library stays on: the library retries and judges the dependency, the mesh ejects single bad pods and\n\
    limits connections. docs/mesh.md explains the difference.";
/// Largest share of a dependency's pods, in percent, that a mesh may eject beside the library.
const MINORITY: u32 = 50;
const FAULTS_HEADER: &str = "Written by `breakerbox export istio --faults`; not to be edited.\n\
    The faults that the program injects from the start, injected by the callers' proxies instead.\n\
    Apply it over policies.yaml or beside-library.yaml, whose VirtualServices it replaces, and end the program's\n\
    own with `breakerbox fault clear`. A proxy injects before it routes: an injected status is not retried, and\n\
    an injected delay is not part of a timeout. Calls that are spared keep their retries and timeouts.";

/// Differences that apply whatever the settings.
const ALWAYS: &[(&str, &str)] = &[
    ("fallback: an earlier answer, a popular list, a replica, a queue, a notice", "the caller gets 503 and no answer"),
    (
        "a breaker covers the dependency as a whole",
        "outlier detection covers each pod; it cannot distinguish one bad pod from all",
    ),
    (
        "half-open: a few probes decide",
        "an ejected pod gets its whole share back at once, and keeps it for up to a second if it still fails: a proxy merges changes within a second",
    ),
    ("a rejection has the time until the next probe (`Retry-After`)", "a 503 without it"),
    ("idempotency: a POST with a key is retried, one without is not", "only GET and HEAD are retried here"),
    ("the remaining time of the caller's deadline is passed on (`x-deadline-ms`)", "each hop has a timeout of its own"),
    ("`Retry-After` of the dependency ends the attempts", "retried all the same"),
    ("an answer that cannot be parsed is a failure", "a proxy does not read bodies"),
    ("a breaker that all instances share through the store", "each proxy decides for itself"),
];

/// All resources, as one file with several documents.
#[must_use]
pub fn policies(source: &Source) -> String {
    let mut text = yaml::comment(HEADER);
    for dependency in source.dependencies() {
        text += "---\n";
        text += &yaml::document(&virtual_service(source, dependency, None));
    }
    for relation in source.relations() {
        text += "---\n";
        text += &yaml::comment(&format!("{} → {}. Lost here:", relation.caller, relation.dependency));
        for gap in gaps(relation.policy, fate) {
            text += &yaml::comment(&format!("  {} = {}: {}", gap.setting, gap.value, gap.why));
        }
        text += &yaml::document(&destination_rule(relation));
    }
    text
}

/// The part of the policies for a mesh beside the library, as one file with several documents: no retries, which would
/// multiply with the library's, and ejection of single bad pods only. If most pods of a dependency fail, the breaker
/// decides: a mesh that ejected them all would keep answering 503 to the breaker's probes.
#[must_use]
pub fn beside_library(source: &Source) -> String {
    let mut source = source.clone();
    source.policies.values_mut().for_each(|policy| policy.retry = None);
    let mut text = yaml::comment(BESIDE_HEADER);
    for dependency in source.dependencies() {
        text += "---\n";
        text += &yaml::document(&virtual_service(&source, dependency, None));
    }
    for relation in source.relations() {
        let mut rule = destination_rule(relation);
        let outlier = &mut rule["spec"]["trafficPolicy"]["outlierDetection"];
        if outlier.is_object() {
            outlier["maxEjectionPercent"] = MINORITY.into();
            outlier["minHealthPercent"] = MINORITY.into();
        }
        text += "---\n";
        text += &yaml::document(&rule);
    }
    text
}

/// The default faults as Istio fault injection.
#[must_use]
pub fn faults(source: &Source) -> String {
    let mut text = yaml::comment(FAULTS_HEADER);
    for (dependency, plan) in source.faults.iter().filter(|(service, _)| source.dependencies().any(|d| d == **service))
    {
        let (fault, lost) = fault(plan);
        text += "---\n";
        if !lost.is_empty() {
            text += &yaml::comment(&format!("Lost here: {}. Istio injects delays and statuses only.", lost.join(", ")));
        }
        text += &yaml::document(&virtual_service(source, *dependency, fault.as_ref()));
    }
    text
}

/// The page of settings that cannot be expressed.
#[must_use]
pub fn lost(source: &Source) -> String {
    gaps_page(source, "Istio", ALWAYS, fate)
}

fn destination_rule(Relation { caller, dependency, policy }: Relation<'_>) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": {"name": format!("{caller}-{dependency}")},
        "spec": {
            "host": dependency.as_str(),
            "workloadSelector": {"matchLabels": {SERVICE_LABEL: caller.as_str()}},
            "trafficPolicy": traffic_policy(policy),
        },
    })
}

fn traffic_policy(policy: &PolicySettings) -> Value {
    let mut pool = json!({"tcp": {"connectTimeout": seconds(policy.time_limiter.connect_timeout())}});
    if let Some(places) = Places::of(policy) {
        if let Some(connections) = places.connections {
            pool["tcp"]["maxConnections"] = connections.into();
        }
        pool["http"]["http1MaxPendingRequests"] = places.pending.into();
        if let Some(calls) = places.calls {
            pool["http"]["http2MaxRequests"] = calls.into();
        }
    }
    let mut traffic = json!({"connectionPool": pool});
    if attempts(policy) > 1 {
        traffic["retryBudget"] = json!({"percent": policy.retry_budget.retry_percent.min(100.0)});
    }
    if let (Some(failures), Some(breaker)) = (in_a_row(policy), &policy.circuit_breaker) {
        traffic["outlierDetection"] = json!({
            "consecutive5xxErrors": failures,
            "baseEjectionTime": seconds(breaker.wait_duration_in_open_state),
            // Interval of checking whether an ejection has expired.
            "interval": "1s",
            // All pods may be ejected at once, as an open breaker rejects all calls.
            "maxEjectionPercent": 100,
            "minHealthPercent": 0,
        });
    }
    traffic
}

/// What limits calls in a proxy. To it a call is pending while its connection is being made, not only while it waits
/// for one that is busy: fewer pending calls than places would refuse most of a burst that finds few connections.
pub(super) struct Places {
    /// Calls at once; further ones are refused.
    pub(super) calls: Option<u32>,
    /// Calls that have no connection yet.
    pub(super) pending: u32,
    /// Connections; further calls wait for one. Each worker of a proxy may have one more, whose calls a limit of
    /// calls at once would refuse, although they have waited.
    pub(super) connections: Option<u32>,
}

impl Places {
    pub(super) fn of(policy: &PolicySettings) -> Option<Self> {
        let bulkhead = policy.bulkhead.as_ref().map(|bulkhead| {
            let calls = bulkhead.max_concurrent_calls;
            Self { calls: Some(calls), pending: calls, connections: None }
        });
        bulkhead.or_else(|| {
            let pool = policy.pool_bulkhead.as_ref()?;
            let pending = pool.queue_capacity.max(pool.max_size);
            Some(Self { calls: None, pending, connections: Some(pool.max_size) })
        })
    }
}

fn virtual_service(source: &Source, dependency: ServiceName, fault: Option<&Value>) -> Value {
    let mut routes = Vec::new();
    for relation in source.relations().filter(|relation| relation.dependency == dependency) {
        if attempts(relation.policy) > 1 {
            routes.push(route(source, relation, true));
        }
        routes.push(route(source, relation, false));
    }
    // Callers without a policy, in particular gateway-bare: no timeout, and no retries instead of Istio's default of
    // two.
    routes.push(json!({"name": "unprotected", "retries": {"attempts": 0}, "route": to(source, dependency)}));
    if let Some(fault) = fault {
        for route in &mut routes {
            route["fault"] = fault.clone();
        }
    }
    json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": dependency.as_str()},
        "spec": {"hosts": [dependency.as_str()], "http": routes},
    })
}

fn route(source: &Source, Relation { caller, dependency, policy }: Relation<'_>, retried: bool) -> Value {
    let labels = json!({SERVICE_LABEL: caller.as_str()});
    let limits = &policy.time_limiter;
    let mut route = json!({"name": caller.as_str(), "route": to(source, dependency)});
    match (retried, &policy.retry) {
        (true, Some(retry)) => {
            let methods = ["GET", "HEAD"];
            route["name"] = format!("{caller}-retried").into();
            route["match"] =
                methods.map(|method| json!({"method": {"exact": method}, "sourceLabels": labels})).to_vec().into();
            if let Some(total) = limits.total_timeout {
                route["timeout"] = seconds(total).into();
            }
            route["retries"] = json!({
                // Istio counts retries, the policy counts all attempts.
                "attempts": retry.max_attempts - 1,
                "perTryTimeout": seconds(limits.timeout_duration),
                "retryOn": retry_on(),
                "backoff": seconds(retry.wait_duration),
            });
        }
        _ => {
            route["match"] = json!([{"sourceLabels": labels}]);
            route["timeout"] = seconds(limits.timeout_duration).into();
            route["retries"] = json!({"attempts": 0});
        }
    }
    route
}

/// `reset` includes attempts that timed out; the numbers are statuses.
fn retry_on() -> String {
    let statuses = retried_statuses().into_iter().map(|status| status.to_string());
    ["connect-failure", "refused-stream", "reset"]
        .map(str::to_owned)
        .into_iter()
        .chain(statuses)
        .collect::<Vec<_>>()
        .join(",")
}

fn to(source: &Source, dependency: ServiceName) -> Value {
    json!([{"destination": {"host": dependency.as_str(), "port": {"number": source.port(dependency)}}}])
}

/// A fault plan as the fault of a route, and the kinds that cannot be expressed.
fn fault(plan: &FaultPlan) -> (Option<Value>, Vec<&'static str>) {
    let mut fault = json!({});
    if plan.error_rate > 0.0 {
        let percentage = percent(plan.error_rate);
        fault["abort"] = json!({"httpStatus": plan.status.unwrap_or(503), "percentage": {"value": percentage}});
    }
    let mut lost = Vec::new();
    match plan.latency {
        Some(Latency::Fixed(delay)) => {
            let share = percent(plan.latency_rate.unwrap_or(1.0));
            fault["delay"] = json!({"fixedDelay": seconds(delay), "percentage": {"value": share}});
        }
        Some(_) => lost.push("latency that is not fixed"),
        None => {}
    }
    let others = [
        ("hang-rate", plan.hang_rate > 0.0),
        ("reset-rate", plan.reset_rate > 0.0),
        ("slow-body", plan.slow_body.is_some()),
        ("malformed-body-rate", plan.malformed_body_rate > 0.0),
        ("lost-answer-rate", plan.lost_answer_rate > 0.0),
        ("late-answer-rate", plan.late_answer_rate > 0.0),
        ("handled-twice-rate", plan.handled_twice_rate > 0.0),
        ("crash", plan.crash),
    ];
    lost.extend(others.iter().filter(|(_, on)| *on).map(|(kind, _)| *kind));
    let any = fault.as_object().is_some_and(|kinds| !kinds.is_empty());
    (any.then_some(fault), lost)
}

/// A share as a percentage, without rounding errors of binary fractions.
fn percent(share: f64) -> f64 {
    (share * 100.0 * 1e6).round() / 1e6
}

/// The fate of each setting.
#[allow(clippy::match_same_arms, reason = "a table: each line stands for itself")]
#[must_use]
pub fn fate(policy: &PolicySettings, setting: &str) -> Fate {
    let (part, field) = setting.split_once('.').unwrap_or((setting, ""));
    match part {
        "circuit-breaker" => breaker(policy, field),
        "bulkhead" | "pool-bulkhead" => bulkhead(field),
        "time-limiter" => time_limiter(policy, field),
        "retry" => retry(policy, field),
        "retry-budget" => budget(policy, field),
        "hedge" => Fate::Lost("a proxy sends no second request while the first is under way"),
        "throttle" => Fate::Lost("no adaptive throttling at the caller"),
        _ => UNKNOWN,
    }
}

const UNKNOWN: Fate = Fate::Lost("nothing in a proxy corresponds to it");

#[allow(clippy::match_same_arms, reason = "a table: each line stands for itself")]
fn breaker(policy: &PolicySettings, field: &str) -> Fate {
    let Some(breaker) = &policy.circuit_breaker else { return Fate::Idle };
    let slow = breaker.slow_call_rate_threshold.is_some();
    let by_rate = slow || breaker.failure_rate_threshold.is_some();
    match field {
        "consecutive-failure-threshold" => Fate::Exported("trafficPolicy.outlierDetection.consecutive5xxErrors"),
        "wait-duration-in-open-state" if in_a_row(policy).is_some() => {
            Fate::Exported("trafficPolicy.outlierDetection.baseEjectionTime")
        }
        "wait-duration-in-open-state" => Fate::Lost(
            "nothing is ejected: this breaker trips on a rate only, which outlier detection in Istio does not have",
        ),
        "failure-rate-threshold" => {
            Fate::Lost("outlier detection counts errors in a row; Envoy itself has a rate (`breakerbox export envoy`)")
        }
        "slow-call-rate-threshold" => Fate::Lost("no notion of a slow call: a pod that answers late is healthy"),
        "slow-call-duration-threshold" if slow => Fate::Lost("no notion of a slow call"),
        "cancelled-slow-calls-count" if slow => Fate::Lost("no notion of a slow call"),
        "slow-call-duration-threshold" | "cancelled-slow-calls-count" => Fate::Idle,
        "sliding-window-type" | "sliding-window-size" | "minimum-number-of-calls" if by_rate => {
            Fate::Lost("errors in a row need no window")
        }
        "sliding-window-type" | "sliding-window-size" | "minimum-number-of-calls" => Fate::Idle,
        "open-wait-multiplier" => {
            Fate::Lost("a proxy's own growth cannot be changed: the wait times the number of ejections, at most 300 s")
        }
        "max-wait-duration-in-open-state" if breaker.open_wait_multiplier <= 1.0 => Fate::Idle,
        "max-wait-duration-in-open-state" => Fate::Lost("a proxy's is 300 s, or the first wait when that is longer"),
        "open-wait-jitter" if breaker.open_wait_jitter <= 0.0 => Fate::Idle,
        "open-wait-jitter" => Fate::Lost("nothing sets it"),
        "permitted-number-of-calls-in-half-open-state" => {
            Fate::Lost("no half-open: an ejected pod gets its whole share back at once")
        }
        "half-open-success-rate-threshold" | "max-wait-duration-in-half-open-state" => Fate::Lost("no half-open"),
        "automatic-transition-from-open-to-half-open-enabled"
            if !breaker.automatic_transition_from_open_to_half_open_enabled =>
        {
            Fate::Idle
        }
        "state-after-max-wait-in-half-open" if breaker.state_after_max_wait_in_half_open == AfterMaxWait::Judged => {
            Fate::Idle
        }
        "initial-state" if breaker.initial_state == InitialState::Closed => Fate::Idle,
        "recovery-stages" | "recovery-stage-duration" if breaker.recovery_stages.is_empty() => Fate::Idle,
        "recovery-stages" | "recovery-stage-duration" => Fate::Lost("no stages of recovery"),
        "panics-count" => Fate::Lost("a proxy sees a reset connection at most, and counts that as an error"),
        _ => UNKNOWN,
    }
}

fn bulkhead(field: &str) -> Fate {
    match field {
        "max-concurrent-calls" => Fate::Exported("trafficPolicy.connectionPool.http.http2MaxRequests"),
        "max-size" => Fate::Exported("trafficPolicy.connectionPool.tcp.maxConnections"),
        "queue-capacity" => Fate::Exported("trafficPolicy.connectionPool.http.http1MaxPendingRequests"),
        "max-wait-duration" => Fate::Lost(
            "a proxy's queue has no longest wait, so none is exported: calls without a place get 503 at once",
        ),
        "core-size" => Fate::Lost("a connection pool has one size, which is the largest here"),
        "when-full" => Fate::Lost("calls beyond the queue get 503; a proxy has no caller's thread to run them in"),
        _ => UNKNOWN,
    }
}

#[allow(clippy::match_same_arms, reason = "a table: each line stands for itself")]
fn time_limiter(policy: &PolicySettings, field: &str) -> Fate {
    match field {
        "timeout-duration" => Fate::Exported("http.timeout or http.retries.perTryTimeout"),
        "connect-timeout" => Fate::Exported("trafficPolicy.connectionPool.tcp.connectTimeout"),
        "total-timeout" if attempts(policy) > 1 => Fate::Exported("http.timeout of the retried route"),
        "total-timeout" => {
            Fate::Lost("there is one attempt, whose timeout is exported; waiting for a place is not limited")
        }
        "timeout-multiplier" if policy.time_limiter.timeout_multiplier <= 1.0 => Fate::Idle,
        "timeout-multiplier" => Fate::Lost("every attempt has the same timeout"),
        _ => UNKNOWN,
    }
}

#[allow(clippy::match_same_arms, reason = "a table: each line stands for itself")]
fn retry(policy: &PolicySettings, field: &str) -> Fate {
    let Some(retry) = &policy.retry else { return Fate::Idle };
    match field {
        "max-attempts" => Fate::Exported("http.retries.attempts, which counts the further ones"),
        "wait-duration" if attempts(policy) > 1 => Fate::Exported("http.retries.backoff"),
        "wait-duration" => Fate::Idle,
        "enable-exponential-backoff" if retry.enable_exponential_backoff => Fate::Idle,
        "enable-exponential-backoff" => Fate::Lost("a proxy's waits always double"),
        "exponential-backoff-multiplier" if (retry.exponential_backoff_multiplier - 2.0).abs() < f64::EPSILON => {
            Fate::Idle
        }
        "exponential-backoff-multiplier" => Fate::Lost("a proxy's waits double"),
        "exponential-max-wait-duration" => Fate::Lost("a proxy's longest wait is ten times the first"),
        "jitter" if retry.jitter == Jitter::Full => Fate::Idle,
        "jitter" => Fate::Lost("a proxy's waits are anywhere between zero and the whole wait"),
        "stop-failure-rate-threshold" => Fate::Lost("a proxy retries at any failure rate, within its budget"),
        "recent-duration" if retry.stop_failure_rate_threshold.is_none() => Fate::Idle,
        "recent-duration" => Fate::Lost("goes with stop-failure-rate-threshold"),
        field if field.starts_with("adaptive.") => Fate::Lost("a proxy does not learn which retries are worth it"),
        _ => UNKNOWN,
    }
}

#[allow(clippy::match_same_arms, reason = "a table: each line stands for itself")]
fn budget(policy: &PolicySettings, field: &str) -> Fate {
    match field {
        _ if attempts(policy) <= 1 && policy.hedge.is_none() => Fate::Idle,
        "retry-percent" if attempts(policy) > 1 => Fate::Exported(
            "trafficPolicy.retryBudget.percent, of the calls that are under way rather than of all calls",
        ),
        "retry-percent" => Fate::Lost("it pays for hedges here, which a proxy does not send"),
        "min-retries-per-second" => Fate::Lost("a proxy's floor is a number of retries under way, not a rate"),
        "max-tokens" => Fate::Lost("a proxy's budget cannot be saved up"),
        _ => UNKNOWN,
    }
}
