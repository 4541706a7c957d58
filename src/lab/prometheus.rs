//! Reads a dependency's profile from a Prometheus that scrapes its caller.

use std::time::Duration;

use serde::Deserialize;

use super::profile::Profile;
use crate::client::{Request, Transport};
use breakerbox_telemetry::names;

const PATIENCE: Duration = Duration::from_secs(10);

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

/// Queries rate, percentiles and failures from Prometheus; `otherwise` supplies what it cannot know: the episodes, the
/// caller's patience, and whether calls are idempotent.
pub async fn ask_prometheus(
    url: &str,
    caller: &str,
    dependency: &str,
    window: Duration,
    otherwise: Profile,
) -> Result<Profile, String> {
    let transport = Transport::http(url, Some(PATIENCE))?;
    let own = format!(r#"service="{}",breaker="{}""#, quoted(caller), quoted(dependency));
    let window = format!("{}s", window.as_secs().max(60));
    let calls = names::CIRCUIT_BREAKER_CALLS.name;
    let times = names::CIRCUIT_BREAKER_CALL_DURATION.name;
    let executed = r#"outcome=~"success|failure|timeout""#;
    let percentile = |share: f64| {
        format!(
            r#"histogram_quantile({share}, sum by (le) (rate({times}_bucket{{{own},outcome="success"}}[{window}])))"#
        )
    };
    let rate = ask(&transport, &format!("sum(rate({calls}{{{own}}}[{window}]))")).await?;
    // The median of the ratio over the window, so that an outage does not count as the normal state.
    let failures = ask(
        &transport,
        &format!(
            r#"quantile_over_time(0.5, (sum(rate({calls}{{{own},outcome=~"failure|timeout"}}[1m])) / sum(rate({calls}{{{own},{executed}}}[1m])))[{window}:30s])"#
        ),
    )
    .await
    .unwrap_or(0.0);
    let (p50, p99) = (ask(&transport, &percentile(0.5)).await?, ask(&transport, &percentile(0.99)).await?);
    let seconds = |value: f64| Duration::try_from_secs_f64(value).map_err(|error| format!("{value}: {error}"));
    // The histogram cannot resolve times below a millisecond.
    let p50 = seconds(p50)?.max(Duration::from_millis(1));
    Ok(Profile { rate, p50, p99: seconds(p99)?.max(p50), failures: failures.clamp(0.0, 0.95), ..otherwise })
}

/// Runs a query whose result must be a single number.
async fn ask(transport: &Transport, query: &str) -> Result<f64, String> {
    let request = Request::get("/api/v1/query").query(&[("query", query)]);
    let asked = tokio::time::timeout(PATIENCE, transport.send(&request, http::HeaderMap::new()));
    let reply = asked.await.map_err(|_| "Prometheus: no answer".to_owned())?;
    let reply = reply.map_err(|error| format!("Prometheus: {error}"))?;
    if !reply.status.is_success() {
        return Err(format!("Prometheus: {} for {query}", reply.status));
    }
    let answer: Answer = reply.json().map_err(|error| format!("Prometheus: {error}"))?;
    let value = answer.data.result.first().and_then(|sample| sample.value.1.parse::<f64>().ok());
    value.filter(|value| value.is_finite()).ok_or_else(|| format!("Prometheus has nothing for {query}"))
}

/// Escapes a label value for a query.
fn quoted(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"")
}
