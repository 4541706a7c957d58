//! The inbox that Alertmanager's webhook delivers to.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

use breakerbox_telemetry::InboxTelemetry;

/// Alerts kept, and alerts taken from one delivery.
const KEPT: usize = 500;
/// Total bytes kept of all alerts; the oldest are evicted.
const MOST_BYTES: usize = 1024 * 1024;
/// Bytes kept of the labels of one alert, and of its annotations.
const MOST_BYTES_OF_ONE: usize = 8 * 1024;
/// Bytes that an alert takes besides its texts, and each label besides its own text.
const OVERHEAD: usize = 128;
/// Characters kept of any one label or annotation.
const LONGEST_TEXT: usize = 1024;
/// Labels or annotations kept of one alert.
const MOST_LABELS: usize = 64;
/// Name of the alert that always fires.
const WATCHDOG: &str = "Watchdog";

/// Payload of Alertmanager's webhook (version 4), as far as it is used.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub struct Delivery {
    #[serde(default)]
    alerts: Vec<Delivered>,
}

/// One alert of a delivery.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Delivered {
    status: AlertStatus,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    #[serde(default)]
    starts_at: String,
    #[serde(default)]
    ends_at: String,
    #[serde(default)]
    fingerprint: String,
}

/// Whether an alert fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum AlertStatus {
    /// Firing.
    Firing,
    /// Resolved.
    Resolved,
}

impl From<AlertStatus> for breakerbox_telemetry::AlertStatus {
    fn from(status: AlertStatus) -> Self {
        match status {
            AlertStatus::Firing => Self::Firing,
            AlertStatus::Resolved => Self::Resolved,
        }
    }
}

/// Current state of an alert.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Alert {
    /// `alertname`.
    pub name: String,
    /// Whether it fires.
    pub status: AlertStatus,
    /// All labels.
    pub labels: BTreeMap<String, String>,
    /// All annotations.
    pub annotations: BTreeMap<String, String>,
    /// Start of firing according to Prometheus (RFC 3339).
    pub starts_at: String,
    /// End of firing (RFC 3339); empty while it fires.
    pub ends_at: String,
    /// Arrival of the first notification, in seconds since 1970.
    pub received_unix_seconds: f64,
    /// Arrival of the notification of its end, in seconds since 1970.
    pub resolved_unix_seconds: Option<f64>,
    #[serde(skip)]
    fingerprint: String,
}

/// `GET /alerts`: what Alertmanager delivered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Overview {
    /// Start of the watchdog's uninterrupted arrival, in seconds since 1970.
    pub pipeline_alive_since_unix_seconds: Option<f64>,
    /// Newest first.
    pub alerts: Vec<Alert>,
}

/// The inbox. Cheap to clone.
#[derive(Clone)]
pub struct Inbox {
    inner: Arc<Mutex<State>>,
    telemetry: InboxTelemetry,
}

#[derive(Default)]
struct State {
    alerts: VecDeque<Alert>,
    bytes: usize,
    alive_since: Option<f64>,
}

impl Inbox {
    /// Creates an empty inbox.
    #[must_use]
    pub fn new(telemetry: InboxTelemetry) -> Self {
        Self { inner: Arc::default(), telemetry }
    }

    /// Stores a delivery that arrived at `now`.
    pub fn deliver(&self, delivery: Delivery, now: SystemTime) {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let mut state = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        for delivered in delivery.alerts.into_iter().take(KEPT) {
            let resolved = delivered.status == AlertStatus::Resolved;
            self.telemetry.delivered(delivered.status.into());
            state.take(delivered, resolved, now);
        }
    }

    /// Current content.
    #[must_use]
    pub fn overview(&self) -> Overview {
        let state = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let alerts = state.alerts.iter().rev().cloned().collect();
        Overview { pipeline_alive_since_unix_seconds: state.alive_since, alerts }
    }
}

impl Alert {
    /// Approximate size in bytes.
    fn size(&self) -> usize {
        let texts = |labels: &BTreeMap<String, String>| -> usize {
            labels.iter().map(|(key, value)| key.len() + value.len() + OVERHEAD).sum()
        };
        let own = self.name.len() + self.starts_at.len() + self.ends_at.len() + self.fingerprint.len() + OVERHEAD;
        own + texts(&self.labels) + texts(&self.annotations)
    }
}

impl State {
    fn take(&mut self, delivered: Delivered, resolved: bool, now: f64) {
        let name = delivered.labels.get("alertname").map(|name| short(name)).unwrap_or_default();
        if name == WATCHDOG {
            self.alive_since = if resolved { None } else { Some(self.alive_since.unwrap_or(now)) };
        }
        // One row per alert, as in Alertmanager: repeated notifications of one firing change nothing, a later firing
        // replaces the earlier one, and late notifications of an earlier firing are ignored.
        let known = self.alerts.iter().position(|alert| alert.fingerprint == delivered.fingerprint);
        if let Some(alert) = known.map(|at| &mut self.alerts[at]) {
            if alert.starts_at == delivered.starts_at {
                if resolved && alert.status == AlertStatus::Firing {
                    alert.status = AlertStatus::Resolved;
                    let before = alert.size();
                    alert.ends_at = short(&delivered.ends_at);
                    self.bytes = self.bytes + alert.size() - before;
                    alert.resolved_unix_seconds = Some(now);
                    log(alert);
                }
                return;
            }
            if is_before(&delivered.starts_at, &alert.starts_at) {
                return;
            }
        }
        if let Some(replaced) = known.and_then(|at| self.alerts.remove(at)) {
            self.bytes -= replaced.size();
        }
        let alert = Alert {
            name,
            status: if resolved { AlertStatus::Resolved } else { AlertStatus::Firing },
            labels: bounded(delivered.labels),
            annotations: bounded(delivered.annotations),
            starts_at: short(&delivered.starts_at),
            ends_at: if resolved { short(&delivered.ends_at) } else { String::new() },
            received_unix_seconds: now,
            resolved_unix_seconds: resolved.then_some(now),
            fingerprint: short(&delivered.fingerprint),
        };
        log(&alert);
        self.bytes += alert.size();
        self.alerts.push_back(alert);
        while self.alerts.len() > KEPT || self.bytes > MOST_BYTES {
            self.bytes -= self.alerts.pop_front().map_or(self.bytes, |oldest| oldest.size());
        }
    }
}

/// Whether one RFC 3339 time is before another. An invalid time is before none.
fn is_before(one: &str, other: &str) -> bool {
    let time = |text: &str| humantime::parse_rfc3339_weak(text).ok();
    time(one).zip(time(other)).is_some_and(|(one, other)| one < other)
}

fn log(alert: &Alert) {
    let severity = alert.labels.get("severity").map_or("", String::as_str);
    let summary = alert.annotations.get("summary").map_or("", String::as_str);
    tracing::info!(
        alert = alert.name,
        status = breakerbox_telemetry::AlertStatus::from(alert.status).as_str(),
        severity,
        summary,
        "alert notification"
    );
}

fn bounded(labels: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut left = MOST_BYTES_OF_ONE;
    let short = labels.into_iter().take(MOST_LABELS).map(|(key, value)| (short(&key), short(&value)));
    let fitting = short.take_while(|(key, value)| {
        let size = key.len() + value.len();
        let fits = size <= left;
        left = left.saturating_sub(size);
        fits
    });
    fitting.collect()
}

fn short(text: &str) -> String {
    text.chars().take(LONGEST_TEXT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use breakerbox_telemetry::Metrics;

    fn deliver(inbox: &Inbox, name: &str, status: &str, starts_at: &str, at: u64) {
        let json = serde_json::json!({"version": "4", "alerts": [{
            "status": status, "labels": {"alertname": name}, "annotations": {"summary": "s"},
            "startsAt": starts_at, "endsAt": "2026-01-01T00:01:00Z", "fingerprint": name,
        }]});
        let delivery = serde_json::from_value(json).unwrap();
        inbox.deliver(delivery, UNIX_EPOCH + std::time::Duration::from_secs(at));
    }

    #[test]
    fn a_firing_that_is_repeated_and_resolved_is_one_alert() {
        let inbox = Inbox::new(Metrics::new(&[]).inbox());
        deliver(&inbox, "CircuitBreakerOpen", "firing", "t0", 10);
        deliver(&inbox, "CircuitBreakerOpen", "firing", "t0", 20);
        deliver(&inbox, "CircuitBreakerOpen", "resolved", "t0", 30);
        let alerts = inbox.overview().alerts;
        assert_eq!(alerts.len(), 1);
        assert_eq!((alerts[0].status, alerts[0].resolved_unix_seconds), (AlertStatus::Resolved, Some(30.0)));
    }

    #[test]
    fn large_alerts_are_bounded_by_their_bytes() {
        let inbox = Inbox::new(Metrics::new(&[]).inbox());
        for number in 0..KEPT {
            let labels: BTreeMap<_, _> =
                (0..MOST_LABELS).map(|key| (format!("{number}-{key}"), "가".repeat(900))).collect();
            let json = serde_json::json!({"alerts": [{"status": "firing", "labels": labels, "annotations": labels}]});
            let mut delivery: Delivery = serde_json::from_value(json).unwrap();
            delivery.alerts[0].fingerprint = number.to_string();
            inbox.deliver(delivery, UNIX_EPOCH);
        }
        let state = inbox.inner.lock().unwrap();
        assert!(state.bytes <= MOST_BYTES && state.alerts.len() > 20, "{} in {}", state.bytes, state.alerts.len());
        assert_eq!(state.bytes, state.alerts.iter().map(Alert::size).sum::<usize>());
        assert_eq!(state.alerts.back().unwrap().fingerprint, (KEPT - 1).to_string(), "the newest is kept");
    }

    #[test]
    fn a_later_firing_takes_the_row_of_the_one_before() {
        let inbox = Inbox::new(Metrics::new(&[]).inbox());
        deliver(&inbox, "A", "firing", "2026-01-01T00:00:00Z", 10);
        deliver(&inbox, "B", "firing", "2026-01-01T00:00:00Z", 11);
        // The notification of its end never arrived, for example because the alert was muted.
        deliver(&inbox, "A", "firing", "2026-01-01T00:05:00.5Z", 20);
        let rows = || inbox.overview().alerts.into_iter().map(|a| (a.name, a.status)).collect::<Vec<_>>();
        assert_eq!(rows(), [("A".to_owned(), AlertStatus::Firing), ("B".to_owned(), AlertStatus::Firing)]);
        deliver(&inbox, "A", "resolved", "2026-01-01T00:05:00.5Z", 30);
        assert_eq!(rows(), [("A".to_owned(), AlertStatus::Resolved), ("B".to_owned(), AlertStatus::Firing)]);
    }

    #[test]
    fn a_late_delivery_of_an_earlier_firing_is_ignored() {
        let inbox = Inbox::new(Metrics::new(&[]).inbox());
        deliver(&inbox, "A", "firing", "2026-01-01T00:05:00Z", 20);
        deliver(&inbox, "A", "resolved", "2026-01-01T00:00:00Z", 21);
        let alerts = inbox.overview().alerts;
        assert_eq!(alerts.iter().map(|a| a.status).collect::<Vec<_>>(), [AlertStatus::Firing]);
    }

    #[test]
    fn the_watchdog_shows_since_when_the_pipeline_works() {
        let inbox = Inbox::new(Metrics::new(&[]).inbox());
        deliver(&inbox, "Watchdog", "firing", "t0", 10);
        deliver(&inbox, "Watchdog", "firing", "t0", 20);
        assert_eq!(inbox.overview().pipeline_alive_since_unix_seconds, Some(10.0));
        deliver(&inbox, "Watchdog", "resolved", "t0", 30);
        assert_eq!(inbox.overview().pipeline_alive_since_unix_seconds, None);
    }
}
