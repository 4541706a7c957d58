//! What a test with a real Envoy needs around it: configurable dependencies, temporary files and child processes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::AppendHeaders;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// A dependency that answers with a set status and a page without films after a set time, and counts requests.
pub(crate) struct Upstream {
    pub(crate) port: u16,
    status: AtomicU64,
    millis: AtomicU64,
    asked: AtomicU64,
    now: AtomicU64,
    most: AtomicU64,
}

/// Counts a call as finished when dropped, also when the caller disconnects.
struct Under<'a>(&'a AtomicU64);

impl Drop for Under<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Upstream {
    /// Starts one at this address that answers 200 without delay.
    pub(crate) async fn start(address: &str) -> Arc<Self> {
        let listener = TcpListener::bind((address, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let own = Arc::new(Self {
            port,
            status: AtomicU64::new(200),
            millis: AtomicU64::new(0),
            asked: AtomicU64::new(0),
            now: AtomicU64::new(0),
            most: AtomicU64::new(0),
        });
        let answer = |State(own): State<Arc<Self>>| async move {
            own.asked.fetch_add(1, Ordering::Relaxed);
            own.most.fetch_max(own.now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
            let _under = Under(&own.now);
            tokio::time::sleep(Duration::from_millis(own.millis.load(Ordering::Relaxed))).await;
            let status = u16::try_from(own.status.load(Ordering::Relaxed)).unwrap();
            // With it the library's attempts would end.
            let later = matches!(status, 429 | 503).then_some([("retry-after", "30")]);
            let page = Json(json!({"items": [], "total": 0, "page": 1, "per_page": 20}));
            (StatusCode::from_u16(status).unwrap(), later.map(AppendHeaders), page)
        };
        let router = Router::new().fallback(answer).with_state(Arc::clone(&own));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        own
    }

    /// The status of its answers from now on.
    pub(crate) fn answer(&self, status: u64) {
        self.status.store(status, Ordering::Relaxed);
    }

    /// How long its answers take from now on.
    pub(crate) fn take(&self, time: Duration) {
        self.millis.store(u64::try_from(time.as_millis()).unwrap(), Ordering::Relaxed);
    }

    /// Number of requests since the last call of this function.
    pub(crate) fn asked(&self) -> u64 {
        self.asked.swap(0, Ordering::Relaxed)
    }

    /// Highest number of concurrent requests since the last call of this function.
    pub(crate) fn most_at_once(&self) -> u64 {
        self.most.swap(0, Ordering::Relaxed)
    }
}

/// A temporary file, removed when dropped.
pub(crate) struct Written(pub(crate) std::path::PathBuf);

impl Written {
    pub(crate) fn new(name: &str, content: &Value) -> Self {
        let path = std::env::temp_dir().join(format!("breakerbox-envoy-{name}-{}.json", std::process::id()));
        std::fs::write(&path, content.to_string()).unwrap();
        Self(path)
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A child process, killed when dropped.
pub(crate) struct Child(pub(crate) std::process::Child);

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
