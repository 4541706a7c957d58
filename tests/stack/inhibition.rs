//! A real Alertmanager with our configuration: what it mutes, what it delivers.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use std::{fs, io};

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::scratch::Scratch;
use crate::tools::{root, tool};

/// Generous: the deadline of a poll, not a pause.
const PATIENCE: Duration = Duration::from_secs(30);

type Inbox = Arc<Mutex<Vec<Value>>>;

struct Alertmanager {
    process: Child,
    url: String,
    inbox: Inbox,
    _scratch: Scratch,
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A port that was free a moment ago.
fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Takes what Alertmanager delivers.
async fn receiver() -> (String, Inbox) {
    let inbox = Inbox::default();
    let take = |State(inbox): State<Inbox>, Json(message): Json<Value>| async move {
        inbox.lock().expect("no panic").push(message);
    };
    let router = Router::new().route("/alerts/webhook", post(take)).with_state(inbox.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move { axum::serve(listener, router).await });
    (format!("http://{address}/alerts/webhook"), inbox)
}

async fn start(program: &Path, name: &str) -> Alertmanager {
    let scratch = Scratch::new(name);
    let (webhook, inbox) = receiver().await;
    let ours = fs::read_to_string(root().join("prometheus/alertmanager.local.yml")).expect("the file is there");
    assert!(ours.contains("http://127.0.0.1:8090/alerts/webhook"));
    let config = scratch.path().join("alertmanager.yml");
    fs::write(&config, ours.replace("http://127.0.0.1:8090/alerts/webhook", &webhook)).expect("a file can be written");
    let url = format!("http://127.0.0.1:{}", free_port().expect("a port is free"));
    let process = Command::new(program)
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.path={}", scratch.path().join("data").display()))
        .arg(format!("--web.listen-address={}", url.trim_start_matches("http://")))
        .arg("--cluster.listen-address=")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("Alertmanager starts");
    let alertmanager = Alertmanager { process, url, inbox, _scratch: scratch };
    let ready = format!("{}/-/ready", alertmanager.url);
    until("Alertmanager is ready", async || reqwest::get(&ready).await.is_ok_and(|reply| reply.status().is_success()))
        .await;
    alertmanager
}

async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

impl Alertmanager {
    async fn post(&self, alerts: &[Value]) {
        let body: Vec<Value> = alerts.iter().map(|labels| json!({ "labels": labels })).collect();
        let reply = reqwest::Client::new().post(format!("{}/api/v2/alerts", self.url)).json(&body).send().await;
        assert!(reply.expect("Alertmanager answers").status().is_success());
    }

    /// The names of active alerts that are muted or, with `false`, that are not.
    async fn names(&self, inhibited: bool) -> Vec<String> {
        let reply = reqwest::get(format!("{}/api/v2/alerts", self.url)).await.expect("Alertmanager answers");
        let alerts: Vec<Value> = reply.json().await.expect("it is JSON");
        let muted = |alert: &Value| alert["status"]["inhibitedBy"].as_array().is_some_and(|by| !by.is_empty());
        let mut names: Vec<String> = alerts
            .iter()
            .filter(|alert| muted(alert) == inhibited)
            .map(|alert| {
                let labels = &alert["labels"];
                let text = |key: &str| labels[key].as_str().unwrap_or("-").to_owned();
                format!("{} {} {}", text("alertname"), text("job"), text("severity"))
            })
            .collect();
        names.sort();
        names
    }

    async fn expect_muted(&self, expected: &[&str]) {
        let what = format!("muted: {expected:?}");
        until(&what, async || self.names(true).await == expected).await;
    }
}

fn alert(name: &str, job: &str, severity: &str) -> Value {
    let service = job.trim_start_matches("breakerbox-");
    json!({ "alertname": name, "job": job, "service": service, "severity": severity, "breaker": "catalog" })
}

#[tokio::test]
async fn an_open_breaker_mutes_its_symptoms_and_a_critical_alert_its_warning() {
    let Some(program) = tool("ALERTMANAGER") else { return };
    let alertmanager = start(&program, "inhibition-open").await;
    let mut other = alert("RetrySurge", "breakerbox-gateway", "warning");
    other["breaker"] = "user".into();
    alertmanager
        .post(&[
            alert("CircuitBreakerOpen", "breakerbox-gateway", "warning"),
            alert("CircuitBreakerOpen", "breakerbox-gateway", "critical"),
            alert("FallbackShareHigh", "breakerbox-gateway", "warning"),
            alert("FallbackFailing", "breakerbox-gateway", "critical"),
            alert("RetrySurge", "breakerbox-user", "warning"),
            other,
        ])
        .await;
    alertmanager
        .expect_muted(&[
            "CircuitBreakerOpen breakerbox-gateway warning",
            "FallbackShareHigh breakerbox-gateway warning",
        ])
        .await;
    assert_eq!(
        alertmanager.names(false).await,
        [
            "CircuitBreakerOpen breakerbox-gateway critical",
            "FallbackFailing breakerbox-gateway critical",
            "RetrySurge breakerbox-gateway warning",
            "RetrySurge breakerbox-user warning",
        ]
    );
}

/// An alert about one instance.
fn of(instance: &str, mut alert: Value) -> Value {
    alert["instance"] = instance.into();
    alert
}

#[tokio::test]
async fn a_target_that_is_down_mutes_what_it_said_itself_alone() {
    let Some(program) = tool("ALERTMANAGER") else { return };
    let alertmanager = start(&program, "inhibition-down").await;
    let down = alert("TargetDown", "breakerbox-checkout", "critical");
    alertmanager
        .post(&[
            of("one:8090", down),
            of("one:8090", alert("CircuitBreakerOpen", "breakerbox-checkout", "critical")),
            // Another instance lives, and viewers still can't pay.
            of("two:8090", alert("CircuitBreakerStuckHalfOpen", "breakerbox-checkout", "warning")),
            alert("PaymentRevenueAtRisk", "breakerbox-checkout", "critical"),
            of("one:8090", alert("CircuitBreakerOpen", "breakerbox-gateway", "critical")),
            json!({ "alertname": "Watchdog", "severity": "none" }),
        ])
        .await;
    alertmanager.expect_muted(&["CircuitBreakerOpen breakerbox-checkout critical"]).await;
}

#[tokio::test]
async fn a_job_that_is_gone_mutes_the_rest_of_it_and_one_lost_instance_does_not() {
    let Some(program) = tool("ALERTMANAGER") else { return };
    let alertmanager = start(&program, "inhibition-gone").await;
    alertmanager
        .post(&[
            json!({ "alertname": "TargetAbsent", "job": "breakerbox-checkout", "severity": "warning" }),
            alert("RetryQueueStalled", "breakerbox-checkout", "critical"),
            json!({ "alertname": "TargetAbsent", "job": "breakerbox-user", "severity": "warning" }),
            json!({ "alertname": "TargetAbsent", "job": "breakerbox-user", "severity": "critical" }),
            of("user:8090", alert("CircuitBreakerOpen", "breakerbox-user", "critical")),
        ])
        .await;
    alertmanager
        .expect_muted(&["CircuitBreakerOpen breakerbox-user critical", "TargetAbsent breakerbox-user warning"])
        .await;
}

/// A label missing on both sides is equal: `TargetAbsent` has no job when no target is left at all.
#[tokio::test]
async fn an_alert_without_a_job_mutes_nothing() {
    let Some(program) = tool("ALERTMANAGER") else { return };
    let alertmanager = start(&program, "inhibition-absent").await;
    alertmanager
        .post(&[
            json!({ "alertname": "TargetAbsent", "severity": "critical" }),
            json!({ "alertname": "SomebodyElses", "severity": "warning" }),
            json!({ "alertname": "Watchdog", "severity": "none" }),
            json!({ "alertname": "TargetAbsent", "job": "breakerbox-user", "severity": "critical" }),
            alert("NoTraffic", "breakerbox-user", "warning"),
        ])
        .await;
    // The last pair shows that muting had been decided by then.
    alertmanager.expect_muted(&["NoTraffic breakerbox-user warning"]).await;
}

#[tokio::test]
async fn a_firing_alert_reaches_the_webhook() {
    let Some(program) = tool("ALERTMANAGER") else { return };
    let alertmanager = start(&program, "delivery").await;
    alertmanager
        .post(&[
            json!({ "alertname": "Watchdog", "severity": "none" }),
            alert("CircuitBreakerOpen", "breakerbox-gateway", "warning"),
        ])
        .await;
    let delivered = |name: &str| {
        let inbox = alertmanager.inbox.lock().expect("no panic");
        inbox.iter().any(|message| message["groupLabels"]["alertname"] == name && message["status"] == "firing")
    };
    until("both are delivered", async || delivered("Watchdog") && delivered("CircuitBreakerOpen")).await;
    let inbox = alertmanager.inbox.lock().expect("no panic").clone();
    let open =
        inbox.iter().find(|message| message["groupLabels"]["alertname"] == "CircuitBreakerOpen").expect("it came");
    assert_eq!(
        open["groupLabels"],
        json!({ "alertname": "CircuitBreakerOpen", "job": "breakerbox-gateway", "service": "gateway" })
    );
}
