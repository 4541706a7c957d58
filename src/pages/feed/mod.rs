//! The console's one stream: `GET /console/events`, server-sent.
//!
//! A browser that connects gets a `snapshot` of everything, then once a second a `delta` of what changed;
//! it never asks again. Events are numbered; one that reconnects with `Last-Event-ID` gets the deltas it
//! missed while they are still kept, else a new snapshot. Work is done once for all listeners, and beyond
//! the history of what viewers got none is done without listeners.
//!
//! Everything in it is also to be had by a command line: the pages are the admin port's own JSON, the
//! rates come from its metrics. `GET /console/sample` is how another process's console reads this one's numbers.

mod model;
mod sample;

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use futures_util::StreamExt;
use futures_util::stream;
use http::{HeaderMap, Request};
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Semaphore, broadcast, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::sample::Sample;
use super::json_of;
use crate::admin::Admin;
use crate::clock;
use crate::web::problem::Problem;
use breakerbox_telemetry::Metrics;

/// How often what changed is sent.
const TICK: Duration = Duration::from_secs(1);
/// Samples that rates are made of: those of the last five seconds.
const SAMPLES: usize = 6;
/// Seconds of history: a round of the default scenario, and a little more.
const HISTORY: usize = 600;
/// Deltas kept for those who reconnect.
const KEPT: usize = 120;
/// Transitions in a snapshot.
const TRANSITIONS: usize = 300;
/// Streams at once.
const LISTENERS: usize = 256;
/// Largest page of the admin port that is read, in bytes.
const LARGEST_PAGE: usize = 4 << 20;

/// The feed. Cheap to clone.
#[derive(Clone)]
pub struct Feed {
    inner: Arc<Inner>,
}

struct Inner {
    metrics: Metrics,
    admin: Admin,
    /// The admin port's routes, whose pages are shown.
    pages: Router,
    /// Where browsers reach this process's storefront.
    storefront: Option<String>,
    state: Mutex<Known>,
    deltas: broadcast::Sender<Arc<Delta>>,
    places: Arc<Semaphore>,
    /// Cancelled when the process ends: its streams end with it.
    ended: CancellationToken,
    /// Tells this process's numbers from those of the one before it.
    epoch: u64,
}

struct Delta {
    number: u64,
    text: String,
}

#[derive(Default)]
struct Known {
    number: u64,
    samples: VecDeque<(Instant, Sample)>,
    history: VecDeque<Value>,
    entries: BTreeMap<String, Value>,
    transitions: Vec<Value>,
    recent: VecDeque<Arc<Delta>>,
}

impl Feed {
    /// A feed of what these admin routes show; `storefront` is linked from the console.
    #[must_use]
    pub fn new(metrics: Metrics, admin: Admin, pages: Router, storefront: Option<String>) -> Self {
        let epoch = clock::wall().as_secs();
        let inner = Inner {
            metrics,
            admin,
            pages,
            storefront,
            state: Mutex::default(),
            deltas: broadcast::channel(KEPT).0,
            places: Arc::new(Semaphore::new(LISTENERS)),
            ended: CancellationToken::new(),
            epoch,
        };
        Self { inner: Arc::new(inner) }
    }

    /// `GET /console/events` and `GET /console/sample`.
    #[must_use = "routes do nothing until they are served"]
    pub fn routes(&self) -> Router {
        Router::new()
            .route("/console/events", get(events))
            .route("/console/sample", get(own_sample))
            .with_state(self.clone())
    }

    /// Keeps the history and tells listeners what changed, until `stopped` is true.
    pub async fn run(self, mut stopped: watch::Receiver<bool>) {
        let mut every = tokio::time::interval(TICK);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = every.tick() => {}
                _ = stopped.wait_for(|stopped| *stopped) => return self.inner.ended.cancel(),
            }
            let listened = self.inner.deltas.receiver_count() > 0;
            self.measure(listened).await;
            if listened {
                self.publish().await;
            }
        }
    }

    /// Takes a sample; of all processes while there are listeners.
    async fn measure(&self, everywhere: bool) {
        let mut now = sample::take(&self.inner.metrics);
        if everywhere {
            for theirs in self.inner.admin.read_peers("/console/sample").await {
                for (path, value) in theirs.as_object().into_iter().flatten() {
                    *now.entry(path.clone()).or_default() += value.as_f64().unwrap_or_default();
                }
            }
        }
        let mut state = self.state();
        state.samples.push_back((Instant::now(), now));
        if state.samples.len() > SAMPLES {
            state.samples.pop_front();
        }
        let point = model::point(&state.samples, unix_seconds());
        state.history.push_back(point);
        if state.history.len() > HISTORY {
            state.history.pop_front();
        }
    }

    /// Reads the admin port's pages, and sends what is not as it was.
    async fn publish(&self) {
        let (entries, transitions) = self.look().await;
        let mut state = self.state();
        let mut changed = serde_json::Map::new();
        for (key, value) in &entries {
            if state.entries.get(key) != Some(value) {
                changed.insert(key.clone(), value.clone());
            }
        }
        for key in state.entries.keys().filter(|key| !entries.contains_key(*key)) {
            changed.insert(key.clone(), Value::Null);
        }
        let news: Vec<_> = transitions.iter().filter(|one| !state.transitions.contains(one)).cloned().collect();
        state.entries = entries;
        state.transitions = transitions;
        state.number += 1;
        let point = state.history.back().cloned().unwrap_or_default();
        let text = json!({"at": unix_seconds(), "entries": changed, "point": point, "transitions": news}).to_string();
        let delta = Arc::new(Delta { number: state.number, text });
        state.recent.push_back(Arc::clone(&delta));
        if state.recent.len() > KEPT {
            state.recent.pop_front();
        }
        drop(state);
        // A listener may have left meanwhile.
        let _ = self.inner.deltas.send(delta);
    }

    /// Everything as it stands.
    async fn look(&self) -> (BTreeMap<String, Value>, Vec<Value>) {
        let (breakers, faults, transitions, alerts, scenario, queue, actions, drills) = tokio::join!(
            self.page("/breakers?everywhere=true"),
            self.page("/faults?everywhere=true"),
            self.page("/transitions?everywhere=true"),
            self.page("/alerts"),
            self.page("/scenario"),
            self.page("/queue"),
            self.page("/actions"),
            self.page("/drills"),
        );
        let latest = transitions.as_ref().and_then(|page| page["transitions"].as_array());
        let latest = latest.map_or(&[][..], |all| &all[all.len().saturating_sub(TRANSITIONS)..]).to_vec();
        let locked = self.inner.admin.is_locked();
        let storefront = self.inner.storefront.clone();
        let pages = model::Pages { breakers, faults, alerts, scenario, queue, actions, drills, locked, storefront };
        (model::entries(&self.state().samples, &pages), latest)
    }

    /// A page of the admin port; none when it could not be had.
    async fn page(&self, path: &str) -> Option<Value> {
        json_of(&self.inner.pages, Request::get(path), LARGEST_PAGE).await
    }

    fn state(&self) -> MutexGuard<'_, Known> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a listener gets first: the deltas it missed, or everything.
    async fn beginning(&self, last: Option<u64>) -> Vec<Event> {
        if let Some(last) = last {
            let state = self.state();
            let oldest = state.recent.front().map_or(u64::MAX, |delta| delta.number);
            if oldest <= last + 1 && last <= state.number {
                return state
                    .recent
                    .iter()
                    .filter(|delta| delta.number > last)
                    .map(|delta| self.event(delta))
                    .collect();
            }
        }
        let (entries, transitions) = self.look().await;
        let state = self.state();
        let text = json!({
            "at": unix_seconds(), "entries": entries, "history": state.history, "transitions": transitions,
        });
        let id = format!("{}-{}", self.inner.epoch, state.number);
        vec![Event::default().retry(TICK).event("snapshot").id(id).data(text.to_string())]
    }

    fn event(&self, delta: &Delta) -> Event {
        let id = format!("{}-{}", self.inner.epoch, delta.number);
        Event::default().event("delta").id(id).data(&delta.text)
    }

    /// The number in a `Last-Event-ID` of this very process.
    fn number_of(&self, id: &str) -> Option<u64> {
        let (epoch, number) = id.split_once('-')?;
        (epoch.parse() == Ok(self.inner.epoch)).then(|| number.parse().ok())?
    }
}

async fn own_sample(State(feed): State<Feed>) -> Json<Sample> {
    Json(sample::take(&feed.inner.metrics))
}

async fn events(State(feed): State<Feed>, headers: HeaderMap) -> Response {
    let Ok(place) = Arc::clone(&feed.inner.places).try_acquire_owned() else {
        return Problem::unavailable(format!("{LISTENERS} streams are open already"), Some(TICK)).into_response();
    };
    let last = headers.get("last-event-id").and_then(|id| feed.number_of(id.to_str().ok()?));
    // Before the beginning is put together, so that nothing falls between.
    let deltas = feed.inner.deltas.subscribe();
    let beginning = feed.beginning(last).await;
    let ended = feed.inner.ended.clone().cancelled_owned();
    let rest = stream::unfold((feed, deltas, place), |(feed, mut deltas, place)| async move {
        let event = match deltas.recv().await {
            Ok(delta) => feed.event(&delta),
            // Too slow for each delta: sends a new snapshot.
            Err(RecvError::Lagged(_)) => feed.beginning(None).await.pop()?,
            Err(RecvError::Closed) => return None,
        };
        Some((event, (feed, deltas, place)))
    });
    let all = stream::iter(beginning).chain(rest).take_until(ended).map(Ok::<_, Infallible>);
    Sse::new(all).keep_alive(KeepAlive::default()).into_response()
}

fn unix_seconds() -> f64 {
    let now = clock::wall().as_secs_f64();
    (now * 1000.0).round() / 1000.0
}
