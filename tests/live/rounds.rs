//! Rounds of the default scenario in real time, and the messages that a receiver gets.
//!
//! The program runs all in one with its default settings; Prometheus and Alertmanager use the repository's own files at
//! their own pace. Each message of Alertmanager is attributed to the scripted incident whose component it names.
//! `BREAKERBOX_ROUNDS` is the number of rounds, one by default; `BREAKERBOX_PROFILE` is one of alerts/profiles/. The
//! table is printed, and kept in target/rounds.md:
//!
//! ```sh
//! BREAKERBOX_ROUNDS=3 cargo test --test live -- --ignored --nocapture rounds
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::Value;
use tokio::time::Instant;

use crate::process::{Process, Scratch, free_ports};
use crate::stack::{self, changed, isolated, prometheus, until};
use crate::tools::Tools;

const ROUND: f64 = 480.0;
/// Time until the payment gateway's breaker, which stays open after its last failure, has closed and the queue has
/// drained.
const BLOCKED: f64 = 360.0;
/// Time from the end of an incident until its breakers are closed and the message about that has arrived.
const AFTER: f64 = 75.0;

/// A scripted incident: name, start, end, and the components that its alerts point at.
const INCIDENTS: &[(&str, f64, f64, &[&str])] = &[
    ("ml-api-outage", 20.0, 65.0, &["ml-api"]),
    ("payment-outage", 95.0, 95.0 + BLOCKED, &["payment-gateway", "checkout"]),
    ("ml-api-slow", 125.0, 170.0, &["ml-api"]),
    ("recommendation-hangs", 220.0, 260.0, &["recommendation", "gateway"]),
    ("user-resets", 300.0, 340.0, &["user", "gateway"]),
    ("catalog-crash", 385.0, 430.0, &["catalog", "gateway"]),
    ("user-primary-down", 415.0, 460.0, &["user-primary", "user"]),
];

type Heard = Arc<Mutex<Vec<(f64, Value)>>>;

/// A message: time, component, and the alerts that are new in it.
struct Message {
    at: f64,
    component: String,
    fired: Vec<String>,
    ended: Vec<String>,
}

#[tokio::test]
#[ignore = "eight minutes a round, in real time"]
async fn rounds_give_at_most_two_messages_an_incident() {
    let Some(tools) = Tools::find() else { return };
    let rounds: u32 = std::env::var("BREAKERBOX_ROUNDS").map_or(1, |rounds| rounds.parse().unwrap());
    let scratch = Scratch::new("rounds");
    let ports = free_ports::<4>();
    let [admin, prometheus, alertmanager, recorder] = ports.map(|port| format!("127.0.0.1:{port}"));
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build().unwrap();
    let heard = Heard::default();
    let begun = Instant::now();
    record(&recorder, heard.clone(), begun).await;
    let _alertmanager = start_alertmanager(&tools, &scratch, &admin, &alertmanager, &recorder);
    let _prometheus = start_prometheus(&tools, &scratch, &admin, &alertmanager, &prometheus);
    for page in [format!("http://{alertmanager}/-/ready"), format!("http://{prometheus}/-/ready")] {
        let there = || async { client.get(&page).send().await.is_ok_and(|answer| answer.status().is_success()) };
        until(&page, Duration::from_secs(90), there).await;
    }
    let program = start_program(&scratch, &admin);
    let ready = format!("http://{admin}/readyz");
    let there = || async { client.get(&ready).send().await.is_ok_and(|answer| answer.status().is_success()) };
    until(&ready, Duration::from_secs(90), there).await;
    let start = begun.elapsed().as_secs_f64();
    // A minute after the last incident, and before the first incident of another round becomes visible.
    let end = Duration::from_secs_f64(start + ROUND * f64::from(rounds) + 40.0);
    tokio::time::sleep_until(begun + end).await;
    let left = firing(&client, &alertmanager).await;
    let messages = messages(&heard.lock().unwrap(), start);
    let (table, wrong) = judged(&messages, rounds);
    let text = format!("{table}\nleft firing a minute after the last incident: {left:?}\n");
    println!("{text}");
    std::fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("target/rounds.md"), &text).unwrap();
    inbox_agrees(&client, &admin, &alertmanager).await;
    drop(program);
    assert!(wrong.is_empty() && left.is_empty(), "{}\n{left:?}", wrong.join("\n"));
}

async fn record(address: &str, heard: Heard, begun: Instant) {
    let take = move |State(heard): State<Heard>, Json(message): Json<Value>| async move {
        heard.lock().unwrap().push((begun.elapsed().as_secs_f64(), message));
    };
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let router = Router::new().route("/", post(take)).with_state(heard);
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
}

fn start_program(scratch: &Scratch, admin: &str) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_breakerbox"));
    command.arg("--config").arg(scratch.write("rounds.toml", &isolated(admin))).args(["--log", "warn"]);
    Process::start(command, &scratch.path("program.log"))
}

fn start_alertmanager(tools: &Tools, scratch: &Scratch, admin: &str, own: &str, recorder: &str) -> Process {
    let webhook = "      - url: http://127.0.0.1:8090/alerts/webhook";
    let both = format!(
        "      - url: http://{recorder}/\n        send_resolved: true\n      - url: http://{admin}/alerts/webhook"
    );
    stack::alertmanager(tools, scratch, &changed("prometheus/alertmanager.local.yml", &[(webhook, &both)]), own)
}

fn start_prometheus(tools: &Tools, scratch: &Scratch, admin: &str, alertmanager: &str, own: &str) -> Process {
    let rules = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut text = changed(
        "prometheus/local.yml",
        &[("127.0.0.1:8090", admin), ("127.0.0.1:9090", own), ("127.0.0.1:9093", alertmanager)],
    );
    if let Ok(profile) = std::env::var("BREAKERBOX_PROFILE") {
        let folder = rules.join("alerts/profiles").join(&profile);
        let (head, rest) = text.split_once("rule_files:").unwrap();
        let (_, tail) = rest.split_once("\nalerting:").unwrap();
        let head = head.replace("interval: 5s", &format!("interval: {profile}"));
        let folder = folder.display();
        text = format!("{head}rule_files:\n  - {folder}/*.yml\n  - {folder}/expected/local.yml\nalerting:{tail}");
    } else {
        let (own, alerts) = (rules.join("prometheus/rules/"), rules.join("alerts/"));
        text = text.replace("- rules/", &format!("- {}", own.display()));
        text = text.replace("- ../alerts/", &format!("- {}", alerts.display()));
    }
    Process::start(prometheus(tools, scratch, &text, own), &scratch.path("prometheus.log"))
}

/// The changes between each message and the previous one of its group, without the watchdog.
fn messages(heard: &[(f64, Value)], start: f64) -> Vec<Message> {
    let mut firing: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut messages = Vec::new();
    for (at, message) in heard {
        let Some(component) = message["groupLabels"]["component"].as_str() else { continue };
        let before = firing.entry(component.to_owned()).or_default();
        let (mut fired, mut ended) = (Vec::new(), Vec::new());
        for alert in message["alerts"].as_array().unwrap() {
            let label = |name: &str| alert["labels"][name].as_str().unwrap_or("");
            let name = format!("{} {}", label("alertname"), label("service")).trim().to_owned();
            if alert["status"] == "firing" && before.insert(name.clone()) {
                fired.push(name);
            } else if alert["status"] == "resolved" && before.remove(&name) {
                ended.push(name);
            }
        }
        if !fired.is_empty() || !ended.is_empty() {
            messages.push(Message { at: at - start, component: component.to_owned(), fired, ended });
        }
    }
    messages
}

/// The incident that a message is about: the latest one that had begun and points at its component.
fn incident_of(message: &Message) -> Option<(u32, &'static str, f64)> {
    let round = Duration::from_secs_f64(message.at.max(0.0)).as_secs() / Duration::from_secs_f64(ROUND).as_secs();
    let round = u32::try_from(round).ok()?;
    [Some(round), round.checked_sub(1)].into_iter().flatten().find_map(|round| {
        let at = message.at - f64::from(round) * ROUND;
        let own = INCIDENTS.iter().rev().filter(|(_, from, ..)| at >= *from);
        let mut own = own.filter(|(.., components)| components.contains(&message.component.as_str()));
        own.next().map(|(name, _, to, _)| (round, *name, at - to))
    })
}

fn judged(messages: &[Message], rounds: u32) -> (String, Vec<String>) {
    let mut table = String::from("| round | incident | fired | ended | messages |\n|---:|---|---:|---:|---|\n");
    let mut wrong = Vec::new();
    for message in messages.iter().filter(|message| incident_of(message).is_none()) {
        wrong.push(format!("{:.0} s: {} is about no incident: {:?}", message.at, message.component, message.fired));
    }
    for round in 0..rounds {
        for (name, ..) in INCIDENTS {
            let own: Vec<_> = messages
                .iter()
                .filter_map(|m| Some((m, incident_of(m)?)))
                .filter(|(_, i)| (i.0, i.1) == (round, *name))
                .collect();
            let fired = own.iter().filter(|(message, _)| !message.fired.is_empty()).count();
            let ended = own.iter().filter(|(message, _)| message.fired.is_empty()).count();
            let words: Vec<_> = own
                .iter()
                .map(|(m, _)| {
                    let (fired, ended) = (m.fired.join(", "), m.ended.join(", "));
                    let sign =
                        |sign: &str, text: &str| if text.is_empty() { String::new() } else { format!(" {sign}{text}") };
                    format!("{:.0} s:{}{}", m.at - f64::from(round) * ROUND, sign("+", &fired), sign("−", &ended))
                })
                .collect();
            writeln!(table, "| {} | {name} | {fired} | {ended} | {} |", round + 1, words.join("; ")).unwrap();
            if fired > 2 || ended > 2 {
                wrong.push(format!("round {}: {name}: {fired} messages fired, {ended} ended", round + 1));
            }
            for (message, (_, _, after)) in own.iter().filter(|(message, _)| !message.fired.is_empty()) {
                if *after > AFTER / 2.0 {
                    wrong.push(format!("round {}: {name}: {:?} {after:.0} s after its end", round + 1, message.fired));
                }
            }
        }
    }
    (table, wrong)
}

/// Active alerts that reach a receiver, without the watchdog.
async fn firing(client: &reqwest::Client, alertmanager: &str) -> Vec<String> {
    let answer = client.get(format!("http://{alertmanager}/api/v2/alerts")).send().await.unwrap();
    let alerts: Vec<Value> = answer.json().await.unwrap();
    let heard =
        alerts.iter().filter(|alert| !["info", "none"].contains(&alert["labels"]["severity"].as_str().unwrap()));
    heard.map(|alert| format!("{} {}", alert["labels"]["alertname"], alert["labels"]["component"])).collect()
}

/// The program's own inbox shows the same firing alerts as Alertmanager.
async fn inbox_agrees(client: &reqwest::Client, admin: &str, alertmanager: &str) {
    let agrees = || async {
        let inbox: Value = client.get(format!("http://{admin}/alerts")).send().await.unwrap().json().await.unwrap();
        let rows = inbox["alerts"].as_array().unwrap().iter().filter(|row| row["status"] == "firing");
        let rows = rows.filter(|row| row["name"] != "Watchdog");
        let mut rows: Vec<_> =
            rows.map(|row| format!("{} {}", row["labels"]["alertname"], row["labels"]["component"])).collect();
        let mut list = firing(client, alertmanager).await;
        rows.sort();
        list.sort();
        rows == list
    };
    until("the inbox to agree with Alertmanager", Duration::from_secs(60), agrees).await;
}
