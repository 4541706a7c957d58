//! The console's event stream: `GET /console/events`, server-sent events.
//!
//! A browser that connects gets a `snapshot` of everything, then a `delta` of the changes once a second; it never
//! polls. Events are numbered; a browser that reconnects with `Last-Event-ID` gets the deltas it missed if they are
//! still stored, else a new snapshot. The work is done once for all listeners; without listeners only the history of
//! viewers' results is kept.
//!
//! All of its data is also available to the command line: the pages are the admin port's own JSON, the rates come from
//! its metrics. The console of another process reads this one's numbers from `GET /console/sample`.

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

/// Interval of deltas.
const TICK: Duration = Duration::from_secs(1);
/// Samples from which rates are computed: those of the last five seconds.
const SAMPLES: usize = 6;
/// Seconds of history: slightly more than a round of the default scenario.
const HISTORY: usize = 600;
/// Deltas stored for listeners that reconnect.
const KEPT: usize = 120;
/// Transitions in a snapshot.
const TRANSITIONS: usize = 300;
/// Maximum number of concurrent streams.
const LISTENERS: usize = 256;
/// Maximum size of a page of the admin port, in bytes.
const LARGEST_PAGE: usize = 4 << 20;

/// The feed. Cheap to clone.
#[derive(Clone)]
pub struct Feed {
    inner: Arc<Inner>,
}

struct Inner {
    metrics: Metrics,
    admin: Admin,
    /// Routes of the admin port that provide the pages.
    pages: Router,
    /// URL of this process's storefront for browsers.
    storefront: Option<String>,
    state: Mutex<Known>,
    deltas: broadcast::Sender<Arc<Delta>>,
    places: Arc<Semaphore>,
    /// Cancelled when the process ends, which ends its streams.
    ended: CancellationToken,
    /// Distinguishes this process's event numbers from those of an earlier process.
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
    /// A feed of these admin routes; the console links to `storefront`.
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

    /// Records the history and sends changes to listeners, until `stopped` is true.
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

    /// Takes a sample, of all processes if there are listeners.
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

    /// Reads the admin port's pages, and sends the changes.
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
        // All listeners may have disconnected by now.
        let _ = self.inner.deltas.send(delta);
    }

    /// The complete current state.
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

    /// A page of the admin port; `None` if it is unavailable.
    async fn page(&self, path: &str) -> Option<Value> {
        json_of(&self.inner.pages, Request::get(path), LARGEST_PAGE).await
    }

    fn state(&self) -> MutexGuard<'_, Known> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first events for a listener: the deltas it missed, or a snapshot.
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

    /// The number in a `Last-Event-ID` that this process issued.
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
    // Subscribed before the snapshot is built, so that no delta is lost in between.
    let deltas = feed.inner.deltas.subscribe();
    let beginning = feed.beginning(last).await;
    let ended = feed.inner.ended.clone().cancelled_owned();
    let rest = stream::unfold((feed, deltas, place), |(feed, mut deltas, place)| async move {
        let event = match deltas.recv().await {
            Ok(delta) => feed.event(&delta),
            // The listener fell behind: it gets a new snapshot.
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
