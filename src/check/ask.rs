//! Queries Prometheus' API.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use breakerbox_telemetry::names;
use reqwest::{Client, StatusCode};
use serde_json::Value;

use super::{Observed, Rule, Target, promql, series};

const TIMEOUT: Duration = Duration::from_secs(10);

/// Address and credentials of Prometheus.
#[derive(Clone, Debug)]
pub struct Access {
    /// Base URL, such as `http://127.0.0.1:9090`.
    pub url: String,
    /// Bearer token.
    pub token: Option<String>,
}

struct Api {
    access: Access,
    http: Client,
}

/// Collects all observations.
pub async fn observe(access: &Access) -> Result<Observed, String> {
    let http = Client::builder().no_proxy().timeout(TIMEOUT).build().map_err(|error| error.to_string())?;
    let api = Api { access: access.clone(), http };
    let build = api.get("status/buildinfo", &[]).await?;
    // Targets of any name count if they have one of our series.
    let any = names::ALL.iter().map(|family| match family.kind {
        names::Kind::Histogram => format!("{}_count", family.name),
        _ => family.name.to_owned(),
    });
    let pattern = any.collect::<Vec<_>>().join("|");
    let ours = api.query(&format!("count by (job, instance) ({{__name__=~\"{pattern}\"}})")).await?;
    let ours: BTreeSet<(String, String)> =
        ours.iter().map(|series| (text(&series["metric"]["job"]), text(&series["metric"]["instance"]))).collect();
    let targets = targets(&api.get("targets", &[("state", "active")]).await?, &ours);
    let mut counts = BTreeMap::new();
    for (what, query) in series::QUERIES {
        if let Some(count) =
            api.query(query).await?.first().and_then(|series| series["value"][1].as_str()?.parse().ok())
        {
            counts.insert(*what, count);
        }
    }
    let flags = api.get("status/flags", &[]).await.unwrap_or_default();
    let managers = api.get("alertmanagers", &[]).await?;
    let labels = api.get("labels", &[("match[]", "circuit_breaker_state")]).await?;
    let known: BTreeSet<_> = names::ALL.iter().flat_map(|family| family.labels.iter().copied()).collect();
    let renamed = labels.as_array().into_iter().flatten().filter_map(|label| label.as_str()?.strip_prefix("exported_"));
    Ok(Observed {
        version: text(&build["version"]),
        targets,
        rules: rules(&api.get("rules", &[]).await?),
        names: api.names().await?,
        counts,
        renamed: renamed.filter(|label| known.contains(label)).map(str::to_owned).collect(),
        alertmanagers: managers["activeAlertmanagers"].as_array().map_or(0, Vec::len),
        exemplars: text(&flags["enable-feature"]).contains("exemplar-storage"),
    })
}

impl Api {
    async fn get(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Value, String> {
        let pairs: String = form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
        let url = format!("{}/api/v1/{path}?{pairs}", self.access.url.trim_end_matches('/'));
        let mut request = self.http.get(&url);
        if let Some(token) = &self.access.token {
            request = request.bearer_auth(token);
        }
        let silent = |error: reqwest::Error| {
            let why = if error.is_timeout() { "no answer within 10 s" } else { "no connection" };
            format!("Prometheus at {} does not answer: {why}", self.access.url)
        };
        let answer = request.send().await.map_err(silent)?;
        let status = answer.status();
        if status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN {
            return Err(format!("{} answers {status}: --prometheus-token gives a bearer token", self.access.url));
        }
        let body: Value = serde_json::from_slice(&answer.bytes().await.map_err(silent)?).unwrap_or_default();
        if body["status"] != "success" {
            let why = body["error"].as_str().unwrap_or("it is no answer of Prometheus' API");
            return Err(format!("{} answers {status} to /api/v1/{path}: {why}", self.access.url));
        }
        Ok(body["data"].clone())
    }

    async fn query(&self, query: &str) -> Result<Vec<Value>, String> {
        let data = self.get("query", &[("query", query)]).await?;
        Ok(data["result"].as_array().cloned().unwrap_or_default())
    }

    /// Names of all metrics that currently have samples.
    async fn names(&self) -> Result<Vec<String>, String> {
        let found = self.query("group by (__name__) ({__name__!=\"\"})").await?;
        Ok(found.iter().map(|series| text(&series["metric"]["__name__"])).collect())
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Targets that are ours by their metrics or by their job's name.
fn targets(data: &Value, ours: &BTreeSet<(String, String)>) -> Vec<Target> {
    let all = data["activeTargets"].as_array().into_iter().flatten().map(|target| {
        let (job, instance) = (text(&target["labels"]["job"]), text(&target["labels"]["instance"]));
        Target {
            ours: ours.contains(&(job.clone(), instance.clone())),
            url: text(&target["scrapeUrl"]),
            up: target["health"] == "up",
            error: text(&target["lastError"]),
            interval: promql::duration(&text(&target["scrapeInterval"])).unwrap_or_default(),
            job,
            instance,
        }
    });
    all.filter(|target| target.ours || target.job == "breakerbox" || target.job.starts_with("breakerbox-")).collect()
}

fn rules(data: &Value) -> Vec<Rule> {
    let mut all = Vec::new();
    for group in data["groups"].as_array().into_iter().flatten() {
        for rule in group["rules"].as_array().into_iter().flatten() {
            all.push(Rule {
                name: text(&rule["name"]),
                alert: rule["type"] == "alerting",
                query: text(&rule["query"]),
                file: text(&group["file"]),
                error: text(&rule["lastError"]),
            });
        }
    }
    all
}
