//! Walks journeys at every target.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::StatusCode;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::Deserialize;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::TrafficSettings;
use super::arrivals::Arrivals;
use super::journeys::{self, Journey, Step};
use super::recorder::{Outcome, Recorder, Seen};
use crate::client::{Reply, Request, Transport};
use crate::services::wire::{LoginReply, LoginRequest, Source};
use crate::telemetry::TrafficTelemetry;

/// Every demonstration viewer's password.
const PASSWORD: &str = "popcorn";

/// Where journeys are walked.
pub struct Target {
    name: String,
    transport: Transport,
    telemetry: TrafficTelemetry,
    recorder: Recorder,
    tokens: Mutex<HashMap<u32, String>>,
    in_flight: AtomicUsize,
}

impl Target {
    /// A gateway.
    #[must_use]
    pub fn new(name: &str, transport: Transport, telemetry: TrafficTelemetry) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            transport,
            telemetry,
            recorder: Recorder::new(),
            tokens: Mutex::default(),
            in_flight: AtomicUsize::new(0),
        })
    }
}

/// Journeys per second, changeable while they are walked. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Rate {
    now: watch::Sender<f64>,
    usual: f64,
}

impl Rate {
    /// A rate that begins at `usual`.
    #[must_use]
    pub fn new(usual: f64) -> Self {
        Self { now: watch::Sender::new(usual), usual }
    }

    /// Changes it; nothing gives back the usual one.
    pub fn set(&self, rate: Option<f64>) {
        self.now.send_replace(rate.unwrap_or(self.usual).max(0.0));
    }

    /// As it is now.
    #[must_use]
    pub fn get(&self) -> f64 {
        *self.now.borrow()
    }
}

/// The load. Cheap to clone.
#[derive(Clone)]
pub struct Traffic {
    inner: Arc<Inner>,
}

struct Inner {
    settings: TrafficSettings,
    seed: u64,
    rate: Rate,
    targets: Vec<Arc<Target>>,
}

impl Traffic {
    /// A load on these targets.
    #[must_use]
    pub fn new(settings: &TrafficSettings, seed: u64, targets: Vec<Arc<Target>>) -> Self {
        let rate = Rate::new(settings.rate);
        Self { inner: Arc::new(Inner { settings: settings.clone(), seed, rate, targets }) }
    }

    /// The rate, to be changed.
    #[must_use]
    pub fn rate(&self) -> &Rate {
        &self.inner.rate
    }

    /// What the viewers of each target saw so far.
    #[must_use]
    pub fn seen(&self) -> Vec<(String, Seen)> {
        self.inner.targets.iter().map(|target| (target.name.clone(), target.recorder.seen())).collect()
    }

    /// Begins journeys until `stop` completes, and lets those under way go, since their viewers
    /// would only be told that the site is closing.
    pub async fn run(&self, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        tokio::select! {
            () = &mut stop => {}
            () = self.generate() => {}
        }
    }

    async fn generate(&self) {
        let Inner { settings, seed, rate, targets } = &*self.inner;
        let mut arrivals = Arrivals::new(settings.shape, settings.day, ChaCha8Rng::seed_from_u64(*seed));
        let mut random = ChaCha8Rng::seed_from_u64(seed.wrapping_add(1));
        let start = Instant::now();
        let mut walks = JoinSet::new();
        let mut rates = rate.now.subscribe();
        loop {
            let now = *rates.borrow_and_update();
            for target in targets {
                target.telemetry.rate(now);
            }
            let next = arrivals.next(now).map(|at| start + at);
            let intended = tokio::select! {
                biased;
                intended = arrival(next) => intended,
                // The sender lives as long as `self`.
                _ = rates.changed() => {
                    arrivals.resume_at(start.elapsed());
                    continue;
                }
            };
            let journey = Arc::new(journeys::draw(&mut random, settings.viewers, settings.think_time));
            for target in targets {
                begin(target, &journey, intended, settings, &mut walks);
            }
            while walks.try_join_next().is_some() {}
        }
    }
}

/// Completes at the instant the next journey is to begin; never when there is none.
async fn arrival(next: Option<Instant>) -> Instant {
    match next {
        Some(intended) => {
            tokio::time::sleep_until(intended).await;
            intended
        }
        None => std::future::pending().await,
    }
}

fn begin(
    target: &Arc<Target>,
    journey: &Arc<Journey>,
    intended: Instant,
    settings: &TrafficSettings,
    walks: &mut JoinSet<()>,
) {
    if target.in_flight.load(Ordering::Relaxed) >= settings.max_in_flight {
        target.telemetry.journey(Outcome::Error.as_str());
        return;
    }
    target.in_flight.fetch_add(1, Ordering::Relaxed);
    let (target, journey, patience) = (Arc::clone(target), Arc::clone(journey), settings.patience);
    walks.spawn(async move {
        let outcome = walk(&target, &journey, intended, patience).await;
        target.telemetry.journey(outcome.as_str());
        target.in_flight.fetch_sub(1, Ordering::Relaxed);
    });
}

/// Walks a journey to its end. A viewer who gets no page tries the next click all the same.
async fn walk(target: &Target, journey: &Journey, intended: Instant, patience: Duration) -> Outcome {
    let mut worst = Outcome::Ok;
    let mut due = intended;
    let mut token = None;
    if journey.logged_in {
        match log_in(target, journey.viewer, due, patience).await {
            Ok(own) => token = Some(own),
            Err(outcome) => worst = outcome,
        }
        due = due.max(Instant::now());
    }
    for (pause, step) in &journey.steps {
        due += *pause;
        tokio::time::sleep_until(due).await;
        let request = request(step, token.as_deref());
        // Personal pages ask for a login that may have failed; that was counted then.
        if let Some(request) = request {
            worst = worst.max(ask(target, &request, due, patience).await.0);
        }
        due = due.max(Instant::now());
    }
    worst
}

async fn log_in(target: &Target, viewer: u32, due: Instant, patience: Duration) -> Result<String, Outcome> {
    let known = target.tokens.lock().unwrap_or_else(PoisonError::into_inner).get(&viewer).cloned();
    if let Some(token) = known {
        return Ok(token);
    }
    let body = LoginRequest { username: format!("viewer{viewer}"), password: PASSWORD.to_owned() };
    let (outcome, reply) = ask(target, &Request::post("/api/login").json(&body), due, patience).await;
    match reply.and_then(|reply| reply.json::<LoginReply>().ok()) {
        Some(LoginReply { token, .. }) => {
            target.tokens.lock().unwrap_or_else(PoisonError::into_inner).insert(viewer, token.clone());
            Ok(token)
        }
        None => Err(outcome.max(Outcome::Error)),
    }
}

fn request(step: &Step, token: Option<&str>) -> Option<Request> {
    let (path, personal) = match step {
        Step::Home => ("/api/home".to_owned(), false),
        Step::Genre(genre, page) => (format!("/api/movies?genre={genre}&page={page}"), false),
        Step::Search(word) => (format!("/api/movies?q={word}"), false),
        Step::Film(id) => (format!("/api/movies/{id}"), false),
        Step::Recommendations => ("/api/recommendations".to_owned(), true),
        Step::Me => ("/api/me".to_owned(), true),
    };
    let request = Request::get(path);
    match token {
        Some(token) => Some(request.header("authorization", &format!("Bearer {token}"))),
        None if personal => None,
        None => Some(request),
    }
}

/// Sends one request and records what the viewer saw.
async fn ask(target: &Target, request: &Request, due: Instant, patience: Duration) -> (Outcome, Option<Reply>) {
    let sent = target.transport.send(request, request.headers().clone());
    let (outcome, reply) = match tokio::time::timeout_at(due + patience, sent).await {
        Ok(Ok(reply)) => (judge(&reply), Some(reply)),
        Ok(Err(_)) | Err(_) => (Outcome::Error, None),
    };
    if reply.as_ref().is_some_and(|reply| reply.status == StatusCode::UNAUTHORIZED) {
        // A token that ran out, or a site that started anew: log in again the next time.
        target.tokens.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
    let response_time = due.elapsed();
    target.recorder.record(outcome, response_time);
    target.telemetry.request(outcome.as_str(), response_time);
    (outcome, reply)
}

fn judge(reply: &Reply) -> Outcome {
    #[derive(Deserialize)]
    struct Sourced {
        source: Option<Source>,
    }
    if !reply.status.is_success() {
        return Outcome::Error;
    }
    match reply.json::<Sourced>() {
        Ok(Sourced { source: None | Some(Source::Live) }) => Outcome::Ok,
        Ok(_) => Outcome::Degraded,
        Err(_) => Outcome::Error,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use axum::Router;
    use axum::routing::get;

    use super::*;
    use crate::telemetry::Metrics;

    fn target(name: &str, delay: Duration) -> Arc<Target> {
        let answer = move || async move {
            tokio::time::sleep(delay).await;
            r#"{"source":"live"}"#
        };
        let router = Router::new().fallback(get(answer).post(answer));
        let slot = OnceLock::new();
        slot.set(router).unwrap();
        Target::new(name, Transport::InProcess(Arc::new(slot)), Metrics::new(&[]).traffic(name))
    }

    fn settings(rate: f64) -> TrafficSettings {
        TrafficSettings { rate, ..TrafficSettings::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_site_does_not_slow_its_viewers_down() {
        let (fast, slow) = (target("fast", Duration::ZERO), target("slow", Duration::from_secs(4)));
        let traffic = Traffic::new(&settings(10.0), 1, vec![Arc::clone(&fast), Arc::clone(&slow)]);
        traffic.run(tokio::time::sleep(Duration::from_secs(60))).await;
        let in_flight = slow.in_flight.load(Ordering::Relaxed);
        // About 10 arrive a second and stay for some 12 s: a closed loop would stay at a handful.
        assert!(in_flight > 60, "{in_flight} in flight");
        assert!(fast.recorder.seen().ok > 1200);
    }

    #[tokio::test(start_paused = true)]
    async fn time_spent_waiting_for_its_turn_counts() {
        let site = target("late", Duration::from_millis(500));
        let due = Instant::now();
        tokio::time::advance(Duration::from_secs(2)).await;
        let (outcome, _) = ask(&site, &Request::get("/api/home"), due, Duration::from_secs(10)).await;
        let p50 = site.recorder.seen().p50;
        assert_eq!(outcome, Outcome::Ok);
        assert!(p50 >= Duration::from_millis(2475), "{p50:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_viewer_leaves_when_their_patience_ends() {
        let site = target("gone", Duration::from_secs(60));
        let before = Instant::now();
        let (outcome, _) = ask(&site, &Request::get("/api/home"), before, Duration::from_secs(10)).await;
        assert_eq!((outcome, before.elapsed()), (Outcome::Error, Duration::from_secs(10)));
    }

    #[tokio::test(start_paused = true)]
    async fn the_rate_can_be_changed_and_given_back() {
        let site = target("any", Duration::ZERO);
        let traffic = Traffic::new(&settings(10.0), 1, vec![Arc::clone(&site)]);
        traffic.rate().set(Some(0.0));
        traffic.run(tokio::time::sleep(Duration::from_secs(10))).await;
        assert_eq!(site.recorder.seen().ok, 0);
        traffic.rate().set(None);
        traffic.run(tokio::time::sleep(Duration::from_secs(10))).await;
        assert!(site.recorder.seen().ok > 100);
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_rate_holds_at_once_even_in_a_long_gap() {
        let site = target("any", Duration::ZERO);
        let traffic = Traffic::new(&settings(0.000_01), 1, vec![Arc::clone(&site)]);
        let rate = traffic.rate().clone();
        let rush = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            rate.set(Some(20.0));
            tokio::time::sleep(Duration::from_secs(10)).await;
        };
        traffic.run(rush).await;
        assert!(site.recorder.seen().ok > 200, "{:?}", site.recorder.seen());
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_next_to_nothing_is_no_rate_too_small() {
        let site = target("any", Duration::ZERO);
        let traffic = Traffic::new(&settings(1e-300), 1, vec![Arc::clone(&site)]);
        traffic.run(tokio::time::sleep(Duration::from_secs(10))).await;
        assert_eq!(site.recorder.seen().ok, 0);
    }
}
