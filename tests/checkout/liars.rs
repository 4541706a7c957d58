//! Faulty counterparts of checkout: a payment gateway whose answers contradict what it did, and a receiver of messages
//! that does not always acknowledge them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use breakerbox::services::notification::Notification;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng};

/// One in this many viewers has payments that never succeed while the gateway lies, so that dead letters occur whatever
/// the seed.
const STUBBORN: u64 = 40;

/// How the answer relates to what was done. The true gateway records what is charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Lie {
    /// The true answer.
    Honest,
    /// Forwarded to the true gateway, but answered with this status instead.
    Instead(u16),
    /// Not forwarded; answered with 500.
    NotAsked,
    /// Forwarded twice concurrently.
    Twice,
    /// Answered with 500 at once and forwarded later, when no caller waits for it any more.
    Late,
    /// Forwarded, and answered after the caller has timed out.
    Slow,
}

const CHARGES: &[(u32, Lie)] = &[
    (6, Lie::Instead(402)),
    (6, Lie::Instead(409)),
    (8, Lie::Instead(500)),
    (5, Lie::NotAsked),
    (6, Lie::Twice),
    (4, Lie::Late),
    (2, Lie::Slow),
];
const VOIDS: &[(u32, Lie)] =
    &[(6, Lie::Instead(500)), (5, Lie::NotAsked), (5, Lie::Twice), (4, Lie::Late), (2, Lie::Slow)];

/// The lying gateway and the receiver of messages. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Outside {
    inner: Arc<Inner>,
}

struct Inner {
    client: reqwest::Client,
    /// URL of the true gateway.
    truth: String,
    honest: AtomicBool,
    chance: Mutex<StdRng>,
    told: Mutex<BTreeMap<String, u32>>,
    stubborn: Mutex<BTreeSet<String>>,
    received: Mutex<BTreeMap<String, (Notification, u32)>>,
}

impl Outside {
    pub(crate) fn new(truth: String, seed: u64) -> Self {
        let inner = Inner {
            client: crate::site::client(Duration::from_secs(10)),
            truth,
            honest: AtomicBool::new(false),
            chance: Mutex::new(StdRng::seed_from_u64(seed)),
            told: Mutex::default(),
            stubborn: Mutex::default(),
            received: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Serves on a port of its own until the test ends.
    pub(crate) async fn serve(&self) -> u16 {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let router = Router::new()
            .route("/charges", post(charge))
            .route("/charges/{key}/void", post(void))
            .route("/notifications", post(notify))
            .with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        port
    }

    /// Makes the gateway answer truthfully from now on.
    pub(crate) fn repent(&self) {
        self.inner.honest.store(true, Ordering::Relaxed);
    }

    /// How often each lie was told.
    pub(crate) fn told(&self) -> BTreeMap<String, u32> {
        self.inner.told.lock().unwrap().clone()
    }

    /// Received messages by id, each with the number of deliveries.
    pub(crate) fn received(&self) -> BTreeMap<String, (Notification, u32)> {
        self.inner.received.lock().unwrap().clone()
    }

    fn honest(&self) -> bool {
        self.inner.honest.load(Ordering::Relaxed)
    }

    fn percent(&self) -> u32 {
        self.inner.chance.lock().unwrap().random_range(0..100)
    }

    fn draw(&self, lies: &[(u32, Lie)]) -> Lie {
        let mut left = self.percent();
        for (percent, lie) in lies {
            if left < *percent {
                return *lie;
            }
            left -= percent;
        }
        Lie::Honest
    }

    async fn ask(&self, path: &str, key: Option<&str>, body: Bytes) -> Response {
        let request = self.inner.client.post(format!("{}{path}", self.inner.truth));
        let request = key.into_iter().fold(request, |request, key| request.header("idempotency-key", key));
        match request.header("content-type", "application/json").body(body).send().await {
            Ok(answer) => {
                let status = StatusCode::from_u16(answer.status().as_u16()).unwrap();
                let body = answer.bytes().await.unwrap_or_default();
                (status, [("content-type", "application/json")], body).into_response()
            }
            Err(_) => StatusCode::BAD_GATEWAY.into_response(),
        }
    }

    async fn answer(&self, lie: Lie, what: &str, path: String, key: Option<String>, body: Bytes) -> Response {
        if !self.honest() {
            *self.inner.told.lock().unwrap().entry(format!("{what} {lie:?}")).or_default() += 1;
        }
        let key = key.as_deref();
        match lie {
            Lie::Honest => self.ask(&path, key, body).await,
            Lie::Instead(status) => {
                self.ask(&path, key, body).await;
                StatusCode::from_u16(status).unwrap().into_response()
            }
            Lie::NotAsked => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            Lie::Twice => tokio::join!(self.ask(&path, key, body.clone()), self.ask(&path, key, body)).0,
            Lie::Late => {
                let (own, key) = (self.clone(), key.map(str::to_owned));
                let after = Duration::from_millis(u64::from(self.percent()) * 30);
                tokio::spawn(async move {
                    tokio::time::sleep(after).await;
                    own.ask(&path, key.as_deref(), body).await;
                });
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
            Lie::Slow => {
                let answer = self.ask(&path, key, body).await;
                tokio::time::sleep(Duration::from_millis(2_500)).await;
                answer
            }
        }
    }
}

async fn charge(State(own): State<Outside>, headers: HeaderMap, body: Bytes) -> Response {
    let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok()).unwrap_or_default().to_owned();
    let asked: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let stubborn = asked["user_id"].as_u64().is_some_and(|viewer| viewer % STUBBORN == 0);
    let lie = match (own.honest(), stubborn) {
        (true, _) => Lie::Honest,
        (false, true) => {
            own.inner.stubborn.lock().unwrap().insert(key.clone());
            if own.percent() < 50 { Lie::Instead(500) } else { Lie::NotAsked }
        }
        (false, false) => own.draw(CHARGES),
    };
    own.answer(lie, "charge", "/charges".to_owned(), Some(key), body).await
}

async fn void(State(own): State<Outside>, Path(key): Path<String>, body: Bytes) -> Response {
    let lie = if own.honest() {
        Lie::Honest
    } else if own.inner.stubborn.lock().unwrap().contains(&key) {
        Lie::NotAsked
    } else {
        own.draw(VOIDS)
    };
    own.answer(lie, "void", format!("/charges/{key}/void"), None, body).await
}

async fn notify(State(own): State<Outside>, Json(message): Json<Notification>) -> StatusCode {
    let drawn = if own.honest() { 99 } else { own.percent() };
    if drawn < 10 {
        return StatusCode::INTERNAL_SERVER_ERROR;
    }
    let mut received = own.inner.received.lock().unwrap();
    let entry = received.entry(message.id.clone()).or_insert_with(|| (message.clone(), 0));
    assert_eq!(entry.0, message, "one message per id");
    entry.1 += 1;
    if drawn < 20 { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::CREATED }
}
