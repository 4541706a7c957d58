//! A breaker that keeps nothing: it asks Prometheus how the dependency did lately.
//!
//! For instances that live for one call. All of them together are what Prometheus scraped, so the
//! decision is as good as the scrape is fresh: some seconds late, and blind to what happened since.
//! While calls are turned away none can fail, the ratio goes away with its window, and calls pass
//! again: the window is the wait in the open state.
//!
//! When Prometheus is out of reach it *fails open*: monitoring must not be what takes the site down.

use std::time::Duration;

use http::HeaderMap;
use serde::Deserialize;

use super::settings::StatelessSettings;
use crate::client::{Client, Request, Transport};
use breakerbox_telemetry::names;

/// A stateless breaker.
pub(super) struct Stateless {
    transport: Transport,
    query: String,
    failure_ratio: f64,
    timeout: Duration,
    /// What callers that are turned away are told: by then the window has moved on by half.
    retry_after: Duration,
}

impl Stateless {
    pub(super) fn new(client: &Client, settings: &StatelessSettings) -> Result<Self, String> {
        let transport = Transport::http(&settings.prometheus_url, Some(settings.timeout))
            .map_err(|error| format!("checkout.stateless.prometheus-url: {error}"))?;
        Self::over(transport, client, settings)
    }

    fn over(transport: Transport, client: &Client, settings: &StatelessSettings) -> Result<Self, String> {
        Ok(Self {
            transport,
            query: query(client.service(), client.dependency(), settings)?,
            failure_ratio: settings.failure_ratio,
            timeout: settings.timeout,
            retry_after: settings.window / 2,
        })
    }

    /// How long a call had better wait; nothing when it may be made.
    pub(super) async fn refusal(&self) -> Option<Duration> {
        let request = Request::get("/api/v1/query").query(&[("query", &self.query)]);
        let asked = self.transport.send(&request, HeaderMap::new());
        let ratio = match tokio::time::timeout(self.timeout, asked).await {
            Ok(Ok(reply)) if reply.status.is_success() => reply.json::<Answer>().ok()?.value()?,
            _ => {
                tracing::debug!("Prometheus doesn't answer; the call is let through");
                return None;
            }
        };
        (ratio >= self.failure_ratio).then_some(self.retry_after)
    }
}

/// The failed share of the recent calls, and nothing while there are too few of them.
fn query(service: &str, dependency: &str, settings: &StatelessSettings) -> Result<String, String> {
    let (family, window) = (names::CIRCUIT_BREAKER_CALLS.name, settings.window.as_secs());
    let mut own = format!(r#"service="{service}",breaker="{dependency}""#);
    for (name, value) in settings.matchers()? {
        // As PromQL reads a string.
        let value = value.replace('\\', r"\\").replace('"', r#"\""#);
        own = format!(r#"{own},{name}="{value}""#);
    }
    let calls = |outcomes: &str| format!(r#"sum(increase({family}{{{own},outcome=~"{outcomes}"}}[{window}s]))"#);
    let (failed, all) = (calls("failure|timeout"), calls("success|failure|timeout"));
    Ok(format!("{failed} / ({all} >= {})", settings.minimum_calls))
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
    value: (f64, String),
}

impl Answer {
    /// The one value; NaN is no less and no more than anything, so it turns nothing away.
    fn value(&self) -> Option<f64> {
        self.data.result.first()?.value.1.parse().ok()
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

    /// What a call is told when Prometheus answers this after a while; nothing for one that isn't there.
    async fn refusal(answer: Option<(u16, String, Duration)>) -> Option<Duration> {
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
        Stateless::over(transport, &client, &StatelessSettings::default()).unwrap().refusal().await
    }

    fn ratio(value: &str) -> String {
        format!(
            r#"{{"status":"success","data":{{"resultType":"vector","result":[{{"metric":{{}},"value":[1,"{value}"]}}]}}}}"#
        )
    }

    #[tokio::test(start_paused = true)]
    async fn the_stateless_breaker_turns_away_by_the_failed_share_alone() {
        let at_once = |body: String| refusal(Some((200, body, Duration::ZERO)));
        assert_eq!(at_once(ratio("0.5")).await, Some(Duration::from_secs(30)));
        assert_eq!(at_once(ratio("0.49")).await, None);
        assert_eq!(at_once(ratio("NaN")).await, None);
        assert_eq!(at_once(r#"{"data":{"result":[]}}"#.to_owned()).await, None, "too few calls");
    }

    #[tokio::test(start_paused = true)]
    async fn calls_pass_when_prometheus_is_away_slow_broken_or_incomprehensible() {
        assert_eq!(refusal(None).await, None);
        assert_eq!(refusal(Some((200, ratio("1"), Duration::from_millis(201)))).await, None);
        assert_eq!(refusal(Some((503, ratio("1"), Duration::ZERO))).await, None);
        assert_eq!(refusal(Some((200, "<html>".to_owned(), Duration::ZERO))).await, None);
    }

    #[test]
    fn the_query_names_the_dependency_s_own_calls() {
        let query = query("checkout", "payment-gateway", &StatelessSettings::default()).unwrap();
        let own = r#"{service="checkout",breaker="payment-gateway",outcome=~"failure|timeout"}[60s]"#;
        assert!(query.contains(own) && query.ends_with(">= 5)"), "{query}");
    }

    /// One Prometheus may hold the calls of several clusters, and a trip of one is none of another.
    #[test]
    fn the_query_can_be_narrowed_to_a_cluster_and_a_job() {
        let labels = r#"cluster=eu, job=a"b\c"#.to_owned();
        let settings = StatelessSettings { labels, ..StatelessSettings::default() };
        let query = query("checkout", "payment-gateway", &settings).unwrap();
        let own = r#"{service="checkout",breaker="payment-gateway",cluster="eu",job="a\"b\\c",outcome=~""#;
        assert_eq!(query.matches(own).count(), 2, "failures and all calls alike: {query}");
    }
}
