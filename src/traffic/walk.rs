//! One visit to one target, click by click.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::StatusCode;
use serde::Deserialize;
use tokio::time::Instant;
use tracing::field::Empty;
use tracing::{Instrument, Span};

use super::journeys::{Journey, Step};
use super::recorder::{Outcome, Recorder};
use crate::client::{Reply, Request, Transport};
use crate::services::checkout::CheckoutRequest;
use crate::services::wire::{LoginReply, LoginRequest, Source};
use breakerbox_telemetry::{TraceContext, TrafficTelemetry};

/// Every demonstration viewer's password.
const PASSWORD: &str = "popcorn";

/// Notified of each request: its intended start, its outcome, and its duration from then.
pub type Listener = dyn Fn(Instant, Outcome, Duration) + Send + Sync;

/// The destination of journeys.
pub struct Target {
    pub(super) name: String,
    pub(super) telemetry: TrafficTelemetry,
    pub(super) recorder: Recorder,
    pub(super) in_flight: AtomicUsize,
    transport: Transport,
    tokens: Mutex<HashMap<u32, String>>,
    listener: Option<Box<Listener>>,
}

impl Target {
    /// A gateway.
    #[must_use]
    pub fn new(name: &str, transport: Transport, telemetry: TrafficTelemetry) -> Arc<Self> {
        Self::with(name, transport, telemetry, None)
    }

    /// A gateway whose requests are reported to a listener.
    #[must_use]
    pub fn watched(
        name: &str,
        transport: Transport,
        telemetry: TrafficTelemetry,
        listener: Box<Listener>,
    ) -> Arc<Self> {
        Self::with(name, transport, telemetry, Some(listener))
    }

    fn with(
        name: &str,
        transport: Transport,
        telemetry: TrafficTelemetry,
        listener: Option<Box<Listener>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            transport,
            telemetry,
            recorder: Recorder::new(),
            tokens: Mutex::default(),
            listener,
            in_flight: AtomicUsize::new(0),
        })
    }

    /// A slot for one more journey; `None` if `most` are in progress.
    pub(super) fn admit(self: &Arc<Self>, most: usize) -> Option<Place> {
        let taken = self.in_flight.fetch_add(1, Ordering::Relaxed);
        // If it is dropped here, the slot is released.
        let place = Place(Arc::clone(self));
        (taken < most).then_some(place)
    }

    /// Counts a journey that was not started, because too many were in progress.
    pub(super) fn shed(&self) {
        self.recorder.shed();
        self.telemetry.journey(Outcome::Error);
    }

    /// A viewer's token; `None` if the login failed, which is counted.
    async fn token(&self, viewer: u32, click: Click) -> Option<String> {
        if let Some(known) = self.tokens().get(&viewer) {
            return Some(known.clone());
        }
        let body = LoginRequest { username: format!("viewer{viewer}"), password: PASSWORD.to_owned() };
        let reply = self.send(&Request::post("/api/login").json(&body), click).await;
        let token = reply.as_ref().and_then(|reply| reply.json::<LoginReply>().ok()).map(|reply| reply.token);
        self.saw(if token.is_some() { Outcome::Ok } else { Outcome::Error }, click);
        if let Some(token) = &token {
            self.tokens().insert(viewer, token.clone());
        }
        token
    }

    async fn send(&self, request: &Request, click: Click) -> Option<Reply> {
        let mut headers = request.headers().clone();
        if let Some(trace) = click.trace {
            trace.inject(&Span::current(), rand::random(), &mut headers);
        }
        let sent = self.transport.send(request, headers);
        tokio::time::timeout_at(click.due + click.patience, sent).await.ok()?.ok()
    }

    fn saw(&self, outcome: Outcome, click: Click) -> Outcome {
        let response_time = click.due.elapsed();
        self.recorder.record(outcome, response_time);
        self.telemetry.request(outcome, response_time);
        if let Some(listener) = &self.listener {
            listener(click.due, outcome, response_time);
        }
        outcome
    }

    fn tokens(&self) -> std::sync::MutexGuard<'_, HashMap<u32, String>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A journey's slot at a target.
pub(super) struct Place(Arc<Target>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The intended start of a request, and its viewer's patience.
#[derive(Clone, Copy)]
struct Click {
    due: Instant,
    patience: Duration,
    /// The journey's trace, if this process exports traces. Otherwise the gateway decides about sampling.
    trace: Option<TraceContext>,
}

impl Place {
    /// Runs a journey to its end, as one trace.
    pub(super) async fn walk(self, journey: &Journey, intended: Instant, patience: Duration) {
        let span =
            tracing::info_span!("journey", otel.name = %format_args!("journey {}", self.0.name), outcome = Empty);
        let walked = self.steps(journey, Click { due: intended, patience, trace: TraceContext::of(&span) });
        let outcome = walked.instrument(span.clone()).await;
        span.record("outcome", outcome.as_str());
    }

    /// After a failed page the viewer continues with the next click.
    async fn steps(self, journey: &Journey, mut click: Click) -> Outcome {
        let target = &*self.0;
        let mut viewer = Visit { target, journey, token: None, worst: Outcome::Ok };
        if journey.logged_in {
            viewer.log_in(click).await;
            click.due = click.due.max(Instant::now());
        }
        for (pause, step) in &journey.steps {
            click.due += *pause;
            tokio::time::sleep_until(click.due).await;
            viewer.click(step, click).await;
            click.due = click.due.max(Instant::now());
        }
        target.telemetry.journey(viewer.worst);
        viewer.worst
    }
}

struct Visit<'a> {
    target: &'a Target,
    journey: &'a Journey,
    token: Option<String>,
    worst: Outcome,
}

impl Visit<'_> {
    async fn log_in(&mut self, click: Click) {
        self.token = self.target.token(self.journey.viewer, click).await;
        if self.token.is_none() {
            self.worst = Outcome::Error;
        }
    }

    async fn click(&mut self, step: &Step, click: Click) {
        // Personal pages need a login, which may have failed; that was already counted.
        let shop = self.target.name.as_str();
        let Some(request) = request(step, shop, self.token.as_deref()) else { return };
        let mut reply = self.target.send(&request, click).await;
        let refused = reply.as_ref().is_some_and(|reply| reply.status == StatusCode::UNAUTHORIZED);
        if refused && self.token.is_some() {
            // The token expired, or the site was restarted: the viewer logs in again and gets the page then.
            self.target.tokens().remove(&self.journey.viewer);
            self.log_in(click).await;
            if let Some(request) = self::request(step, shop, self.token.as_deref()) {
                reply = self.target.send(&request, click).await;
            }
        }
        let outcome = reply.as_ref().map_or(Outcome::Error, judge);
        self.worst = self.worst.max(self.target.saw(outcome, click));
    }
}

/// The request for a click at the gateway called `shop`; `None` for a personal page without a token.
fn request(step: &Step, shop: &str, token: Option<&str>) -> Option<Request> {
    if let Step::Checkout(order) = step {
        let body = CheckoutRequest { film_id: order.film, kind: order.kind, retry_later: order.retry_later };
        // The same visit at another gateway is a separate order.
        let key = format!("{shop}-{:016x}", order.key);
        let request = Request::post("/api/checkout").header("idempotency-key", &key).json(&body);
        return token.map(|token| request.header("authorization", &format!("Bearer {token}")));
    }
    let (path, personal) = match step {
        Step::Home => ("/api/home".to_owned(), false),
        Step::Genre(genre, page) => (format!("/api/movies?genre={genre}&page={page}"), false),
        Step::Search(word) => (format!("/api/movies?q={word}"), false),
        Step::Film(id) => (format!("/api/movies/{id}"), false),
        Step::Recommendations => ("/api/recommendations".to_owned(), true),
        Step::Me | Step::Checkout(_) => ("/api/me".to_owned(), true),
    };
    let request = Request::get(path);
    match token {
        Some(token) => Some(request.header("authorization", &format!("Bearer {token}"))),
        None if personal => None,
        None => Some(request),
    }
}

fn judge(reply: &Reply) -> Outcome {
    #[derive(Deserialize)]
    struct Sourced {
        source: Option<Source>,
    }
    match reply.status {
        // A queued order is not the desired result, but the viewer need not do anything.
        StatusCode::ACCEPTED => return Outcome::Degraded,
        // Sold out, or a declined card: the site behaved correctly.
        StatusCode::CONFLICT | StatusCode::PAYMENT_REQUIRED => return Outcome::Ok,
        status if !status.is_success() => return Outcome::Error,
        _ => {}
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
    use std::sync::atomic::AtomicBool;

    use axum::Router;
    use axum::routing::{get, post};

    use super::*;
    use breakerbox_telemetry::Metrics;

    fn target(router: Router) -> Arc<Target> {
        let slot = OnceLock::new();
        slot.set(router).unwrap();
        Target::new("t", Transport::InProcess(Arc::new(slot)), Metrics::new(&[]).traffic("t"))
    }

    fn slow(delay: Duration) -> Router {
        Router::new().fallback(move || async move {
            tokio::time::sleep(delay).await;
            r#"{"source":"live"}"#
        })
    }

    fn home(viewer: u32, logged_in: bool) -> Journey {
        Journey { viewer, logged_in, steps: vec![(Duration::ZERO, Step::Home)] }
    }

    async fn walk(target: &Arc<Target>, journey: &Journey, intended: Instant) {
        target.admit(1).expect("a place").walk(journey, intended, Duration::from_secs(10)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn time_spent_waiting_for_its_turn_counts() {
        let site = target(slow(Duration::from_millis(500)));
        let intended = Instant::now();
        tokio::time::advance(Duration::from_secs(2)).await;
        walk(&site, &home(1, false), intended).await;
        let seen = site.recorder.seen();
        assert_eq!(seen.ok, 1);
        assert!(seen.p50 >= Duration::from_millis(2475), "{:?}", seen.p50);
    }

    #[tokio::test(start_paused = true)]
    async fn a_viewer_leaves_when_their_patience_ends() {
        let site = target(slow(Duration::from_secs(60)));
        let before = Instant::now();
        walk(&site, &home(1, false), before).await;
        assert_eq!((site.recorder.seen().errors, before.elapsed()), (1, Duration::from_secs(10)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_page_counts_as_degraded_when_part_of_it_was_not_live() {
        for (body, expected) in [
            (r#"{"source":"live"}"#, (1, 0, 0)),
            (r#"{"profile":{}}"#, (1, 0, 0)),
            (r#"{"source":"cache"}"#, (0, 1, 0)),
            (r#"{"source":"none"}"#, (0, 1, 0)),
            (r#"{"source":"li"#, (0, 0, 1)),
        ] {
            let site = target(Router::new().fallback(move || async move { body }));
            walk(&site, &home(1, false), Instant::now()).await;
            let seen = site.recorder.seen();
            assert_eq!((seen.ok, seen.degraded, seen.errors), expected, "{body}");
        }
        let site =
            target(Router::new().fallback(|| async { (StatusCode::SERVICE_UNAVAILABLE, r#"{"source":"live"}"#) }));
        walk(&site, &home(1, false), Instant::now()).await;
        assert_eq!(site.recorder.seen().errors, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_expired_token_costs_a_login_and_no_page() {
        let logins = Arc::new(AtomicUsize::new(0));
        let expired = Arc::new(AtomicBool::new(false));
        let (count, ran_out) = (Arc::clone(&logins), Arc::clone(&expired));
        let login = move || async move {
            let n = count.fetch_add(1, Ordering::Relaxed);
            format!(r#"{{"token":"t{n}","user_id":1,"expires_at":0}}"#)
        };
        let page = move |headers: http::HeaderMap| async move {
            let stale = ran_out.load(Ordering::Relaxed) && headers["authorization"] == "Bearer t0";
            let status = if stale { StatusCode::UNAUTHORIZED } else { StatusCode::OK };
            (status, r#"{"source":"live"}"#)
        };
        let site = target(Router::new().route("/api/login", post(login)).route("/api/home", get(page)));
        walk(&site, &home(7, true), Instant::now()).await;
        walk(&site, &home(7, true), Instant::now()).await;
        assert_eq!(logins.load(Ordering::Relaxed), 1);
        expired.store(true, Ordering::Relaxed);
        walk(&site, &home(7, true), Instant::now()).await;
        let seen = site.recorder.seen();
        assert_eq!((logins.load(Ordering::Relaxed), seen.ok, seen.errors), (2, 5, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn slots_are_bounded_and_released_after_every_journey() {
        let site = target(slow(Duration::from_secs(60)));
        let journey = home(1, false);
        let walk = site.admit(1).unwrap().walk(&journey, Instant::now(), Duration::from_secs(10));
        assert!(site.admit(1).is_none());
        assert_eq!(site.in_flight.load(Ordering::Relaxed), 1);
        drop(walk);
        assert_eq!(site.in_flight.load(Ordering::Relaxed), 0);
    }
}
