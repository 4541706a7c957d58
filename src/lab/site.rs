//! One run of the whole site: the real services in one process, under a paused clock.
//!
//! The services call each other's routers; no sockets are involved. Either viewers walk through their journeys at one
//! gateway, or a load generator only places orders. A timeline of faults runs as in a real process. Databases are
//! SQLite in memory; the clock does not advance while they work.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::arrivals::Arrivals;
use super::dependency::mix;
use super::spec::{Load, Site, Variant};
use super::tally::{End, Moved, RunResult, Tally};
use crate::app::{Application, Parts, Running};
use crate::client::Request;
use crate::scenario::{self, Mode, Scenario, Timeline};
use crate::services::ServiceName;
use crate::settings::Settings;
use crate::traffic::{Outcome, Target, Traffic, TrafficSettings};
use breakerbox_telemetry::TransitionRecord;
use breakerbox_telemetry::names::{self, Family};

/// How long journeys that started before the end may continue.
const DRAIN: Duration = Duration::from_secs(30);
/// Timeout of a caller that only places orders.
const PATIENCE: Duration = Duration::from_secs(10);
/// Number of viewers, each with its own password.
const VIEWERS: u32 = 200;

/// Inputs of one run.
pub(super) struct Plan<'a> {
    pub(super) site: &'a Site,
    pub(super) variant: &'a Variant,
    pub(super) rate: f64,
    pub(super) length: Duration,
    pub(super) seed: u64,
}

/// Executes the run; virtual time passes as fast as it can be computed.
pub(super) fn run(plan: &Plan<'_>) -> Result<RunResult, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .map_err(|error| error.to_string())?;
    runtime.block_on(async { World::build(plan)?.run(plan).await })
}

/// The time line of a site's faults, if it has one.
fn timeline(site: &Site) -> Result<Option<Timeline>, String> {
    let text = match site.scenario.as_deref() {
        None => return Ok(None),
        Some("default") => scenario::DEFAULT,
        Some(text) => text,
    };
    Timeline::parse(text).map(Some)
}

/// The steps of a site's timeline within a run, with their names.
pub(super) fn incidents(site: &Site, length: Duration) -> Vec<((Duration, Duration), String)> {
    let Ok(Some(timeline)) = timeline(site) else { return Vec::new() };
    let rounds = if timeline.looped { length.div_duration_f64(timeline.length).ceil() } else { 1.0 };
    let mut all = Vec::new();
    let mut begin = Duration::ZERO;
    while begin < timeline.length.mul_f64(rounds) {
        let steps = timeline.incidents().filter(|step| begin + step.from < length);
        all.extend(steps.map(|step| ((begin + step.from, (begin + step.to).min(length)), step.name.clone())));
        begin += timeline.length;
    }
    all
}

/// Flattens settings into environment variables, the form in which they override defaults.
fn variables(prefix: &str, value: &Value, all: &mut Vec<(String, String)>) {
    match value {
        Value::Object(table) => {
            for (key, value) in table {
                let key = key.to_uppercase().replace('-', "_");
                let path = if prefix == "BREAKERBOX" { format!("{prefix}_{key}") } else { format!("{prefix}__{key}") };
                variables(&path, value, all);
            }
        }
        Value::String(text) => all.push((prefix.to_owned(), text.clone())),
        other => all.push((prefix.to_owned(), other.to_string())),
    }
}

/// The settings of a run: the defaults, and what the experiment changes.
fn settings(plan: &Plan<'_>) -> Result<Settings, String> {
    let quiet = json!({
        "store": {"url": "sqlite::memory:"},
        // Nothing ever sells out, because that would depend on the time of day.
        // Reservations are pruned an hour after their showing, so that the memory of a run does not grow with its
        // length.
        "inventory": {"premiere-seats": 1_000_000, "licences": 1_000_000, "keep-reservations": "1h"},
        "checkout": {"keep-orders": "1h", "key-lifetime": "1h"},
        "traffic": {"max-in-flight": 100_000, "enabled": false},
        "scenario": {"enabled": false},
        "gateway": {"rate-limit": {"limit-for-period": 1_000_000, "limit-by": "token-bucket"}},
    });
    let mut all = Vec::new();
    let own = [plan.site.settings.as_ref(), plan.variant.settings.as_ref()];
    for value in std::iter::once(&quiet).chain(own.into_iter().flatten()) {
        variables("BREAKERBOX", value, &mut all);
    }
    // Later settings override earlier ones.
    let all: std::collections::BTreeMap<_, _> = all.into_iter().collect();
    let mut settings = Settings::load(None, all.into_iter())?;
    settings.seed = plan.seed;
    settings.traffic.rate = plan.rate;
    settings.validate()?;
    Ok(settings)
}

struct World {
    settings: Settings,
    parts: Parts,
    running: Running,
    epoch: Instant,
    tally: Arc<Mutex<Tally>>,
}

fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    fn build(plan: &Plan<'_>) -> Result<Self, String> {
        let settings = settings(plan)?;
        let application = Application::in_process(&settings)?;
        let spans = incidents(plan.site, plan.length);
        let begin = spans.iter().map(|((from, _), _)| *from).min();
        let end = spans.iter().map(|((_, to), _)| *to).max();
        let tally = Arc::new(Mutex::new(Tally::new(plan.length, begin.zip(end))));
        let parts = application.parts().clone();
        Ok(Self { settings, parts, running: application.start(), epoch: Instant::now(), tally })
    }

    async fn run(self, plan: &Plan<'_>) -> Result<RunResult, String> {
        let gateway = match plan.variant.gateway.as_deref() {
            None | Some("gateway") => ServiceName::Gateway,
            Some("gateway-bare") => ServiceName::GatewayBare,
            Some(other) => return Err(format!("gateway: {other:?} must be gateway or gateway-bare")),
        };
        let mut beside = JoinSet::new();
        self.watch_transitions(plan, &mut beside);
        if let Some(timeline) = timeline(plan.site)? {
            let scenario = Scenario::new(timeline, &self.parts.telemetry.metrics);
            let actuator = self.parts.actuator(None)?;
            scenario.set(Mode::Running);
            beside.spawn(async move { scenario.run(&actuator).await });
        }
        match plan.site.orders {
            Some(rate) => self.orders(plan, gateway, rate).await?,
            None => self.viewers(plan, gateway).await?,
        }
        beside.abort_all();
        while beside.join_next().await.is_some() {}
        self.read_series(plan, gateway);
        let tally = std::mem::replace(&mut *lock(&self.tally), Tally::new(plan.length, None));
        self.running.stop().await;
        Ok(tally.finish())
    }

    fn watch_transitions(&self, plan: &Plan<'_>, beside: &mut JoinSet<()>) {
        let mut feed = self.parts.telemetry.transitions.subscribe();
        let (tally, epoch, only) = (Arc::clone(&self.tally), self.epoch, plan.site.breaker.clone());
        beside.spawn(async move {
            while let Ok(TransitionRecord { service, breaker, from, to, reason, calls, failures, .. }) =
                feed.recv().await
            {
                let name = format!("{service}/{breaker}");
                if only.as_ref().is_none_or(|only| *only == name) {
                    let at = epoch.elapsed().as_secs_f64();
                    lock(&tally).moved(Moved { at, breaker: name, from, to, reason, calls, failures });
                }
            }
        });
    }

    /// Runs the viewers of a real process.
    async fn viewers(&self, plan: &Plan<'_>, gateway: ServiceName) -> Result<(), String> {
        let (tally, epoch) = (Arc::clone(&self.tally), self.epoch);
        let listener = move |due: Instant, outcome: Outcome, took: Duration| {
            let end = match outcome {
                Outcome::Ok => End::Ok,
                Outcome::Degraded => End::Degraded,
                Outcome::Error => End::Error,
            };
            lock(&tally).journey(due.saturating_duration_since(epoch), end, took);
        };
        let name = gateway.as_str();
        let telemetry = self.parts.telemetry.metrics.traffic(name);
        let target = Target::watched(name, self.parts.transport(gateway)?, telemetry, Box::new(listener));
        let settings = TrafficSettings { max_in_flight: 100_000, ..self.settings.traffic.clone() };
        let traffic = Traffic::new(&settings, self.settings.seed, vec![target]);
        let rate = traffic.rate().clone();
        let stop = async {
            sleep(plan.length).await;
            rate.set(Some(0.0));
            sleep(DRAIN).await;
        };
        traffic.run(stop).await;
        Ok(())
    }

    /// Places orders only, each for a random viewer; most viewers accept a delayed payment.
    async fn orders(&self, plan: &Plan<'_>, gateway: ServiceName, rate: f64) -> Result<(), String> {
        let transport = self.parts.transport(gateway)?;
        let mut tokens = Vec::new();
        for viewer in 1..=VIEWERS {
            let body = json!({"username": format!("viewer{viewer}"), "password": "popcorn"});
            let request = Request::post("/api/login").json(&body);
            let reply = transport.send(&request, request.headers().clone()).await.map_err(|e| e.to_string())?;
            let reply: Value = reply.json().map_err(|error| error.to_string())?;
            tokens.push(reply["token"].as_str().unwrap_or_default().to_owned());
        }
        let load = Load { rate, ..Load::default() };
        let mut random = ChaCha8Rng::seed_from_u64(mix(&[plan.seed, 7]));
        let mut orders = JoinSet::new();
        for (number, at) in Arrivals::new(&load, plan.length, mix(&[plan.seed, 1])).enumerate() {
            let due = self.epoch + at;
            sleep_until(due).await;
            let token = &tokens[random.random_range(0..tokens.len())];
            let body = json!({
                "film_id": random.random_range(1..=100_u32),
                "kind": if random.random_bool(0.75) { "rent" } else { "buy" },
                "retry_later": random.random_bool(0.7),
            });
            let request = Request::post("/api/checkout")
                .header("authorization", &format!("Bearer {token}"))
                .header("idempotency-key", &format!("order-{number}"))
                .json(&body);
            let (transport, tally, epoch) = (transport.clone(), Arc::clone(&self.tally), self.epoch);
            orders.spawn(async move {
                let sent = transport.send(&request, request.headers().clone());
                let end = match timeout_at(due + PATIENCE, sent).await {
                    Ok(Ok(reply)) if reply.status == http::StatusCode::ACCEPTED => End::Degraded,
                    Ok(Ok(reply)) if reply.status.is_success() => End::Ok,
                    _ => End::Error,
                };
                lock(&tally).journey(due - epoch, end, due.elapsed());
            });
            while orders.try_join_next().is_some() {}
        }
        sleep_until(self.epoch + plan.length).await;
        while orders.join_next().await.is_some() {}
        Ok(())
    }

    /// Reads the figures that only the site's own metrics contain.
    fn read_series(&self, plan: &Plan<'_>, gateway: ServiceName) {
        let metrics = &self.parts.telemetry.metrics;
        let sum = |family: &Family, wanted: &[(&str, &str)]| -> f64 {
            let mut sum = 0.0;
            metrics.read(&[family], |series| {
                if wanted.iter().all(|(label, value)| series.label(label) == *value) {
                    sum += series.value();
                }
            });
            sum
        };
        let own = plan.site.breaker.as_deref().and_then(|name| name.split_once('/'));
        let calls = |outcome: &str| {
            let mut labels = vec![("outcome", outcome)];
            match own {
                Some((service, breaker)) => labels.extend([("service", service), ("breaker", breaker)]),
                None => labels.push(("service", gateway.as_str())),
            }
            whole(sum(&names::CIRCUIT_BREAKER_CALLS, &labels))
        };
        let revenue = ["kept", "at_risk", "lost"].map(|outcome| sum(&names::CHECKOUT_REVENUE, &[("outcome", outcome)]));
        let mut tally = lock(&self.tally);
        let wasted = calls("failure") + calls("timeout") + calls("cancelled");
        tally.counts.requests = calls("success") + calls("ignored") + wasted;
        tally.counts.wasted = wasted;
        tally.counts.blocked = calls("rejected");
        tally.revenue = Some(revenue);
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a counter of calls")]
fn whole(value: f64) -> u64 {
    value as u64
}
