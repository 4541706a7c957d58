//! A real Alertmanager with our configuration: which alerts share a message, and which are sent to no receiver.

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

/// Generous: a deadline for polling, not a pause.
const PATIENCE: Duration = Duration::from_secs(90);

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

/// A port that is free at this moment.
fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Receives what Alertmanager delivers.
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
        assert!(Instant::now() < deadline, "timed out after {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

impl Alertmanager {
    async fn send(&self, alerts: Vec<Value>) {
        let reply = reqwest::Client::new().post(format!("{}/api/v2/alerts", self.url)).json(&alerts).send().await;
        assert!(reply.expect("Alertmanager answers").status().is_success());
    }

    async fn post(&self, alerts: &[Value]) {
        self.send(alerts.iter().map(|labels| json!({ "labels": labels })).collect()).await;
    }

    /// Resolves these alerts.
    async fn end(&self, alerts: &[Value]) {
        let (start, end) = ("2020-01-01T00:00:00Z", "2020-01-01T00:01:00Z");
        let ended = alerts.iter().map(|labels| json!({ "labels": labels, "startsAt": start, "endsAt": end }));
        self.send(ended.collect()).await;
    }

    /// The messages of a group, each as its alerts and their status.
    fn delivered(&self, component: &str) -> Vec<Vec<(String, String)>> {
        let inbox = self.inbox.lock().expect("no panic");
        let own = inbox.iter().filter(|message| message["groupLabels"]["component"] == component);
        own.map(|message| {
            let alerts = message["alerts"].as_array().expect("a list").iter();
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let mut alerts: Vec<_> =
                alerts.map(|alert| (text(&alert["labels"]["alertname"]), text(&alert["status"]))).collect();
            alerts.sort();
            alerts
        })
        .collect()
    }
}

fn alert(name: &str, severity: &str, service: &str, component: &str) -> Value {
    json!({ "alertname": name, "job": "breakerbox", "service": service, "severity": severity, "component": component })
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(name, status)| ((*name).to_owned(), (*status).to_owned())).collect()
}

/// A symptom and its cause are sent in one message, and so is their resolution.
#[tokio::test]
async fn a_symptom_and_its_cause_are_one_message() {
    let Some(program) = tool("ALERTMANAGER") else { return };
    let alertmanager = start(&program, "group").await;
    let risk = alert("PaymentRevenueAtRisk", "critical", "checkout", "payment-gateway");
    let open = alert("CircuitBreakerOpen", "warning", "checkout", "payment-gateway");
    let other = alert("CircuitBreakerOpen", "warning", "gateway", "catalog");
    alertmanager.post(&[risk.clone(), open.clone(), other]).await;
    let fired = pairs(&[("CircuitBreakerOpen", "firing"), ("PaymentRevenueAtRisk", "firing")]);
    until("the first message", async || alertmanager.delivered("payment-gateway") == [fired.clone()]).await;
    alertmanager.end(&[risk, open]).await;
    let ended = pairs(&[("CircuitBreakerOpen", "resolved"), ("PaymentRevenueAtRisk", "resolved")]);
    let both = [fired, ended];
    until("the end of both", async || alertmanager.delivered("payment-gateway") == both).await;
    assert_eq!(alertmanager.delivered("catalog"), [pairs(&[("CircuitBreakerOpen", "firing")])]);
}

/// Every alert that was reported as firing is also reported as resolved, even while a more severe alert of its group
/// fires. With inhibition, the resolved alert would never be reported.
#[tokio::test]
async fn a_resolved_cause_is_reported_while_its_symptom_fires() {
    let Some(program) = tool("ALERTMANAGER") else { return };
    let alertmanager = start(&program, "ends").await;
    let open = alert("CircuitBreakerOpen", "warning", "gateway", "user");
    let down = alert("TargetDown", "critical", "user", "user");
    alertmanager.post(std::slice::from_ref(&open)).await;
    until("the cause", async || alertmanager.delivered("user").len() == 1).await;
    alertmanager.post(&[down]).await;
    alertmanager.end(&[open]).await;
    let last = pairs(&[("CircuitBreakerOpen", "resolved"), ("TargetDown", "firing")]);
    until("its end", async || alertmanager.delivered("user").last() == Some(&last)).await;
}

#[tokio::test]
async fn facts_are_not_routed_and_the_watchdog_is() {
    let Some(program) = tool("ALERTMANAGER") else { return };
    let alertmanager = start(&program, "facts").await;
    let fact = alert("CircuitBreakerTripped", "info", "gateway", "catalog");
    let notice = alert("CircuitBreakerHalfOpen", "notice", "gateway", "catalog");
    alertmanager.post(&[fact, notice, json!({ "alertname": "Watchdog", "severity": "none" })]).await;
    let watchdog = async || {
        let inbox = alertmanager.inbox.lock().expect("no panic");
        inbox.iter().any(|message| message["groupLabels"]["alertname"] == "Watchdog" && message["status"] == "firing")
    };
    until("the watchdog", watchdog).await;
    // The notice came with the fact and had the same group wait: once it is delivered, the fact will not follow.
    let expected = [pairs(&[("CircuitBreakerHalfOpen", "firing")])];
    until("the notice", async || alertmanager.delivered("catalog") == expected).await;
}

#[tokio::test]
async fn two_clusters_are_two_messages() {
    let Some(program) = tool("ALERTMANAGER") else { return };
    let alertmanager = start(&program, "clusters").await;
    let of = |cluster: &str| {
        let mut alert = alert("CircuitBreakerOpen", "warning", "gateway", "catalog");
        alert["cluster"] = cluster.into();
        alert
    };
    alertmanager.post(&[of("one"), of("two")]).await;
    let expected = [pairs(&[("CircuitBreakerOpen", "firing")]), pairs(&[("CircuitBreakerOpen", "firing")])];
    until("both", async || alertmanager.delivered("catalog") == expected).await;
}
