//! Prometheus and Alertmanager.

use std::time::Duration;

use breakerbox_telemetry::names;
use serde::Deserialize;
use serde_json::Value;

use super::{Live, encoded};
use crate::drill::world::{Instance, Labels, Monitor, Phase, RuleSeen, TargetSeen, Trouble, has};

#[derive(Deserialize)]
struct Answer<T> {
    data: T,
}

#[derive(Deserialize)]
struct Rules {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    interval: f64,
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    labels: Labels,
    #[serde(default)]
    duration: f64,
    /// Present since Prometheus 2.42.
    #[serde(default)]
    keep_firing_for: f64,
    #[serde(default)]
    health: String,
    #[serde(default)]
    last_error: String,
    #[serde(default)]
    alerts: Vec<Alert>,
}

#[derive(Deserialize)]
struct Alert {
    labels: Labels,
    state: String,
}

#[derive(Deserialize)]
struct Vector {
    result: Vec<Sample>,
}

#[derive(Deserialize)]
struct Sample {
    #[serde(default)]
    metric: Labels,
    value: (f64, String),
}

#[derive(Deserialize)]
struct Held {
    labels: Labels,
    status: HeldStatus,
}

#[derive(Deserialize)]
struct HeldStatus {
    state: String,
}

impl Monitor for Live {
    async fn rules(&self) -> Result<Vec<RuleSeen>, Trouble> {
        let answer: Answer<Rules> = self.get(&self.prometheus, "/api/v1/rules?type=alert").await?;
        let mut seen = Vec::new();
        for Group { interval, rules } in answer.data.groups {
            let interval = seconds(interval);
            seen.extend(rules.into_iter().filter(|rule| rule.kind == "alerting").map(|rule| rule.seen(interval)));
        }
        Ok(seen)
    }

    async fn targets(&self) -> Result<Vec<TargetSeen>, Trouble> {
        let own = self.matchers.iter().map(|(name, value)| format!("{name}={value:?}")).collect::<Vec<_>>().join(",");
        // Targets are identified as in alerts/targets.yml: by the name of their job, or else by the metrics they
        // export.
        let query = format!(
            "up{{{own}}} and on (cluster, environment, namespace, job, instance) \
             (up{{job=~\"breakerbox(-.+)?\"}} or present_over_time({}[1h]))",
            names::BUILD_INFO.name
        );
        let samples = self.query(&query).await?;
        let label = |sample: &Sample, name: &str| sample.metric.get(name).cloned().unwrap_or_default();
        let seen = |sample: Sample| TargetSeen {
            name: format!("{} at {}", label(&sample, "job"), label(&sample, "instance")),
            up: sample.value.1 == "1",
        };
        Ok(samples.into_iter().map(seen).collect())
    }

    async fn gives(&self, query: &str) -> Result<bool, Trouble> {
        Ok(!self.query(query).await?.is_empty())
    }

    async fn suppressed(&self, alert: &Instance) -> Option<bool> {
        let place = self.alertmanager.as_ref()?;
        let name = alert.labels.get("alertname")?;
        let path = format!("/api/v2/alerts?filter={}", encoded(&format!("alertname={name:?}")));
        // Alertmanager's alerts also have the external labels.
        let held: Vec<Held> = self.get(place, &path).await.ok()?;
        let wanted = alert.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let own = held.iter().find(|held| has(&held.labels, wanted.clone()))?;
        Some(own.status.state == "suppressed")
    }
}

impl Live {
    async fn query(&self, query: &str) -> Result<Vec<Sample>, Trouble> {
        let answer: Answer<Value> =
            self.get(&self.prometheus, &format!("/api/v1/query?query={}", encoded(query))).await?;
        let vector: Vector =
            serde_json::from_value(answer.data).map_err(|error| Trouble(format!("{query}: {error}")))?;
        Ok(vector.result)
    }
}

impl Rule {
    fn seen(self, interval: Duration) -> RuleSeen {
        let phase = |state: &str| match state {
            "firing" => Some(Phase::Firing),
            "pending" => Some(Phase::Pending),
            _ => None,
        };
        let instances = self.alerts.into_iter();
        RuleSeen {
            alert: self.name,
            labels: self.labels,
            holds: seconds(self.duration),
            keeps: seconds(self.keep_firing_for),
            interval,
            error: (self.health == "err").then_some(self.last_error),
            instances: instances
                .filter_map(|alert| Some(Instance { phase: phase(&alert.state)?, labels: alert.labels }))
                .collect(),
        }
    }
}

fn seconds(number: f64) -> Duration {
    Duration::try_from_secs_f64(number).unwrap_or_default()
}
