//! Every query of every page against a Prometheus that scrapes the running program.
//!
//! ```text
//! PROMETHEUS_URL=http://127.0.0.1:9090 cargo test -p xtask -- --ignored
//! ```
//!
//! Every panel must have data. The test passes at any moment, also in a system
//! at rest, where panels show 0.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::lint::{annotations, panels, queries, text};
use super::pages;

/// Values of Grafana's variables if all values are selected and the time range is 15 minutes.
const EVERYTHING: &[(&str, &str)] = &[
    ("$__rate_interval", "20s"),
    ("$__interval", "5s"),
    ("$__range", "15m"),
    ("$job", ".+"),
    ("$instance", ".+"),
    ("$service", ".+"),
    ("$breaker", ".+"),
];

fn plain(expr: &str) -> String {
    EVERYTHING.iter().fold(expr.to_owned(), |expr, (variable, value)| expr.replace(variable, value))
}

fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("a string takes everything");
        }
        out
    })
}

struct Prometheus {
    url: String,
    client: reqwest::Client,
}

impl Prometheus {
    async fn ask(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Value, String> {
        let parameters: Vec<_> = parameters.iter().map(|(key, value)| format!("{key}={}", encoded(value))).collect();
        let url = format!("{}/api/v1/{path}?{}", self.url, parameters.join("&"));
        let answer = self.client.get(url).send().await.map_err(|e| e.to_string())?;
        let body: Value =
            serde_json::from_slice(&answer.bytes().await.map_err(|e| e.to_string())?).map_err(|e| e.to_string())?;
        if body["status"] == "success" { Ok(body["data"].clone()) } else { Err(body["error"].to_string()) }
    }

    /// Number of values other than NaN that the query returns, over the last minutes or now.
    async fn points(&self, expr: &str, instant: bool) -> Result<usize, String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|e| e.to_string())?.as_secs();
        let (start, end, expr) = ((now - 120).to_string(), now.to_string(), plain(expr));
        let data = if instant {
            self.ask("query", &[("query", &expr), ("time", &end)]).await?
        } else {
            self.ask("query_range", &[("query", &expr), ("start", &start), ("end", &end), ("step", "5")]).await?
        };
        let is_number = |sample: &Value| sample[1].as_str().is_some_and(|value| value != "NaN");
        let series = data["result"].as_array().into_iter().flatten();
        Ok(series
            .map(|one| {
                one["values"]
                    .as_array()
                    .map_or(usize::from(is_number(&one["value"])), |all| all.iter().filter(|s| is_number(s)).count())
            })
            .sum())
    }
}

#[tokio::test]
#[ignore = "needs PROMETHEUS_URL, a Prometheus that scrapes the running program"]
async fn every_panel_has_data() {
    let url = std::env::var("PROMETHEUS_URL").expect("PROMETHEUS_URL is the address of a Prometheus");
    let prometheus = Prometheus { url, client: reqwest::Client::new() };
    let mut wrong = Vec::new();
    for page in pages() {
        let json = page.json();
        for panel in panels(&json) {
            let at = format!("{} / {}", page.uid, text(panel, "title"));
            let (asked, mut points) = (queries(panel), 0);
            for query in &asked {
                match prometheus.points(text(query, "expr"), query["instant"] == true).await {
                    Ok(found) => points += found,
                    Err(error) => wrong.push(format!("{at}: {error} in {}", text(query, "expr"))),
                }
            }
            if points == 0 && !asked.is_empty() {
                wrong.push(format!("{at}: no data"));
            }
        }
        for event in annotations(&json) {
            // There may be no events, but the query must be valid.
            if let Err(error) = prometheus.points(text(event, "expr"), false).await {
                wrong.push(format!("{} / {}: {error}", page.uid, text(event, "name")));
            }
        }
        for variable in json["templating"]["list"].as_array().unwrap() {
            let Some(query) = variable["definition"].as_str() else { continue };
            let inner = query.trim_start_matches("label_values(").trim_end_matches(')');
            let (series, label) = inner.rsplit_once(", ").unwrap();
            let values = prometheus.ask(&format!("label/{label}/values"), &[("match[]", &plain(series))]).await;
            if !values.is_ok_and(|list| list.as_array().is_some_and(|list| !list.is_empty())) {
                wrong.push(format!("{}: variable {} has no values", page.uid, text(variable, "name")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
