//! A breaker without state: it queries Prometheus for the recent failure ratio of the dependency.
//!
//! For instances that live for one call. Prometheus has the outcomes of all of them, so a decision is as good as
//! the latest scrape: some seconds old. While calls are rejected none can fail, the ratio disappears with its
//! window, and calls pass again: the window takes the role of the wait in the open state.
//!
//! When Prometheus is unavailable it *fails open*: monitoring must not take the site down.

use std::time::Duration;

use http::HeaderMap;
use serde::Deserialize;

use super::settings::StatelessSettings;
use crate::client::{Client, Request, Transport};
use breakerbox_telemetry::{CallOutcome, Metrics, StatelessOutcome, StatelessReading, StatelessTelemetry, names};

/// Values of the label `is`, which distinguishes the two results of the query.
const RATIO: &str = "ratio";
const AGE: &str = "age";

/// A stateless breaker.
pub(super) struct Stateless {
    transport: Transport,
    query: String,
    failure_ratio: f64,
    timeout: Duration,
    /// `Retry-After` of rejected calls: by then the window has moved on by half.
    retry_after: Duration,
    telemetry: StatelessTelemetry,
}

impl Stateless {
    pub(super) fn new(client: &Client, settings: &StatelessSettings, metrics: &Metrics) -> Result<Self, String> {
        let transport = Transport::http(&settings.prometheus_url, Some(settings.timeout))
            .map_err(|error| format!("checkout.stateless.prometheus-url: {error}"))?;
        Self::over(transport, client, settings, metrics)
    }

    fn over(
        transport: Transport,
        client: &Client,
        settings: &StatelessSettings,
        metrics: &Metrics,
    ) -> Result<Self, String> {
        Ok(Self {
            transport,
            query: query(client.service(), client.dependency(), settings)?,
            failure_ratio: settings.failure_ratio,
            timeout: settings.timeout,
            retry_after: settings.window / 2,
            telemetry: StatelessTelemetry::new(metrics, client.service(), client.dependency()),
        })
    }

    /// Time until a call may be made; `None` if it may be made now.
    pub(super) async fn refusal(&self) -> Option<Duration> {
        let Some(reading) = self.ask().await else {
            tracing::debug!("Prometheus doesn't answer; the call is let through");
            self.telemetry.decided(StatelessOutcome::Unanswered, StatelessReading::default());
            return None;
        };
        let rejects = reading.failure_ratio.is_some_and(|ratio| ratio >= self.failure_ratio);
        let outcome = if rejects { StatelessOutcome::Rejected } else { StatelessOutcome::Permitted };
        self.telemetry.decided(outcome, reading);
        rejects.then_some(self.retry_after)
    }

    /// The answer of Prometheus; `None` if there is no valid one.
    async fn ask(&self) -> Option<StatelessReading> {
        let request = Request::get("/api/v1/query").query(&[("query", &self.query)]);
        let asked = self.transport.send(&request, HeaderMap::new());
        match tokio::time::timeout(self.timeout, asked).await {
            Ok(Ok(reply)) if reply.status.is_success() => Some(reply.json::<Answer>().ok()?.reading()),
            _ => None,
        }
    }
}

/// The failure ratio of recent calls, absent while there are too few, and the age of the newest sample: one query
/// for both, so that a decision costs one round trip.
fn query(service: &str, dependency: &str, settings: &StatelessSettings) -> Result<String, String> {
    let (family, window) = (names::CIRCUIT_BREAKER_CALLS.name, settings.window.as_secs());
    let mut own = format!(r#"service="{service}",breaker="{dependency}""#);
    for (name, value) in settings.matchers()? {
        // Escaped for a PromQL string.
        let value = value.replace('\\', r"\\").replace('"', r#"\""#);
        own = format!(r#"{own},{name}="{value}""#);
    }
    let calls = |outcomes: &[CallOutcome]| {
        let outcomes: Vec<_> = outcomes.iter().map(|outcome| outcome.as_str()).collect();
        format!(r#"sum(increase({family}{{{own},outcome=~"{}"}}[{window}s]))"#, outcomes.join("|"))
    };
    let failed = calls(&[CallOutcome::Failure, CallOutcome::Timeout]);
    let all = calls(&[CallOutcome::Success, CallOutcome::Failure, CallOutcome::Timeout]);
    let named = |what: &str, name: &str| format!(r#"label_replace({what}, "is", "{name}", "", "")"#);
    let ratio = named(&format!("{failed} / ({all} >= {})", settings.minimum_calls), RATIO);
    let age = named(&format!("time() - max(timestamp({family}{{{own}}}))"), AGE);
    Ok(format!("{ratio} or {age}"))
}

#[derive(Deserialize)]
struct Answer {
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    result: Vec<Sample>,
}

#[derive(Deserialize)]
struct Sample {
    metric: Named,
    value: (f64, String),
}

#[derive(Deserialize)]
struct Named {
    is: String,
}

impl Answer {
    fn reading(&self) -> StatelessReading {
        let value = |name: &str| {
            let sample = self.data.result.iter().find(|sample| sample.metric.is == name)?;
            sample.value.1.parse().ok().filter(|value: &f64| value.is_finite())
        };
        StatelessReading { failure_ratio: value(RATIO), source_age: value(AGE) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, OnceLock};

    use axum::Router;
    use axum::routing::get;

    use super::*;
    use crate::client::SharedPool;
    use breakerbox_resilience::bulkhead::{Bulkhead, BulkheadSettings};
    use breakerbox_telemetry::{Format, encode};

    /// The decision if Prometheus returns this answer after this delay (`None`: no Prometheus), and the series exported
    /// after it.
    async fn decide(answer: Option<(u16, String, Duration)>) -> (Option<Duration>, Vec<String>) {
        let slot = Arc::new(OnceLock::new());
        if let Some((status, body, delay)) = answer {
            let reply = move || async move {
                tokio::time::sleep(delay).await;
                (http::StatusCode::from_u16(status).unwrap(), body)
            };
            slot.set(Router::new().route("/api/v1/query", get(reply))).unwrap();
        }
        let transport = Transport::InProcess(slot);
        let pool = SharedPool::unwatched(Bulkhead::new(&BulkheadSettings::default()).unwrap());
        let client = Client::bare("checkout", "payment-gateway", transport.clone(), &pool);
        let metrics = Metrics::new(&[]);
        let breaker = Stateless::over(transport, &client, &StatelessSettings::default(), &metrics).unwrap();
        assert_eq!(series(&metrics).len(), 6, "all exist from the first scrape");
        let refusal = breaker.refusal().await;
        (refusal, series(&metrics))
    }

    fn series(metrics: &Metrics) -> Vec<String> {
        let text = String::from_utf8(encode(metrics, Format::Text).body).unwrap();
        text.lines().filter(|line| line.starts_with("stateless_")).map(str::to_owned).collect()
    }

    async fn refusal(answer: Option<(u16, String, Duration)>) -> Option<Duration> {
        decide(answer).await.0
    }

    fn results(of: &[(&str, &str)]) -> String {
        let one = |(is, value): &(&str, &str)| format!(r#"{{"metric":{{"is":"{is}"}},"value":[1,"{value}"]}}"#);
        let all = of.iter().map(one).collect::<Vec<_>>().join(",");
        format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{all}]}}}}"#)
    }

    fn ratio(value: &str) -> String {
        results(&[("ratio", value), ("age", "3")])
    }

    #[tokio::test(start_paused = true)]
    async fn the_stateless_breaker_rejects_by_failure_ratio_alone() {
        let at_once = |body: String| refusal(Some((200, body, Duration::ZERO)));
        assert_eq!(at_once(ratio("0.5")).await, Some(Duration::from_secs(30)));
        assert_eq!(at_once(ratio("0.49")).await, None);
        assert_eq!(at_once(ratio("NaN")).await, None);
        assert_eq!(at_once(results(&[("age", "3")])).await, None, "too few calls");
        assert_eq!(at_once(results(&[])).await, None, "no calls");
    }

    #[tokio::test(start_paused = true)]
    async fn calls_pass_without_a_usable_answer_of_prometheus() {
        assert_eq!(refusal(None).await, None);
        assert_eq!(refusal(Some((200, ratio("1"), Duration::from_millis(201)))).await, None);
        assert_eq!(refusal(Some((503, ratio("1"), Duration::ZERO))).await, None);
        assert_eq!(refusal(Some((200, "<html>".to_owned(), Duration::ZERO))).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn decisions_and_their_data_are_exported_as_series() {
        let own = r#"breaker="payment-gateway""#;
        let says = async |answer: Option<String>, outcome: &str, rest: [&str; 3]| {
            let (_, series) = decide(answer.map(|body| (200, body, Duration::ZERO))).await;
            let of =
                |name: &str, value: &str| format!("stateless_breaker_{name}{{{own},service=\"checkout\"}} {value}");
            let [rejecting, ratio, age] = rest;
            let decisions = ["permitted", "rejected", "unanswered"].map(|one| {
                let count = u8::from(one == outcome);
                format!(r#"stateless_breaker_decisions_total{{{own},outcome="{one}",service="checkout"}} {count}"#)
            });
            let gauges = [of("failure_ratio", ratio), of("rejecting_active", rejecting), of("source_age_seconds", age)];
            assert_eq!(series, [&decisions[..], &gauges[..]].concat());
        };
        says(Some(ratio("0.75")), "rejected", ["1", "0.75", "3"]).await;
        says(Some(ratio("0.25")), "permitted", ["0", "0.25", "3"]).await;
        says(Some(results(&[("age", "40")])), "permitted", ["0", "NaN", "40"]).await;
        says(None, "unanswered", ["0", "NaN", "NaN"]).await;
    }

    #[test]
    fn the_query_names_the_dependency_s_own_calls() {
        let query = query("checkout", "payment-gateway", &StatelessSettings::default()).unwrap();
        let own = r#"{service="checkout",breaker="payment-gateway",outcome=~"failure|timeout"}[60s]"#;
        assert!(query.contains(own) && query.contains(r#">= 5), "is", "ratio""#), "{query}");
    }

    /// One Prometheus may have the calls of several clusters, and a failure in one must not trip another.
    #[test]
    fn the_query_can_be_narrowed_to_a_cluster_and_a_job() {
        let labels = r#"cluster=eu, job=a"b\c"#.to_owned();
        let settings = StatelessSettings { labels, ..StatelessSettings::default() };
        let query = query("checkout", "payment-gateway", &settings).unwrap();
        let own = r#"{service="checkout",breaker="payment-gateway",cluster="eu",job="a\"b\\c""#;
        assert_eq!(query.matches(own).count(), 3, "failures, all calls and their age alike: {query}");
        let counted = format!(r#"{own},outcome=~""#);
        assert_eq!(query.matches(&counted).count(), 2, "failures and all calls alike: {query}");
    }
}
