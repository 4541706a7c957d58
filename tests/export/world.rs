//! What stands around a real Envoy: dependencies that answer as they are told, files, and processes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::Value;
use tokio::net::TcpListener;

/// A dependency that answers with a status, after a while, and counts.
pub(crate) struct Upstream {
    pub(crate) port: u16,
    status: AtomicU64,
    millis: AtomicU64,
    asked: AtomicU64,
    now: AtomicU64,
    most: AtomicU64,
}

/// Fewer calls under way, also when the caller hung up.
struct Under<'a>(&'a AtomicU64);

impl Drop for Under<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Upstream {
    /// One at this address that answers 200 at once.
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
            StatusCode::from_u16(u16::try_from(own.status.load(Ordering::Relaxed)).unwrap()).unwrap()
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

    /// How often it was asked since this was last looked at.
    pub(crate) fn asked(&self) -> u64 {
        self.asked.swap(0, Ordering::Relaxed)
    }

    /// The most calls it had under way at once since this was last looked at.
    pub(crate) fn most_at_once(&self) -> u64 {
        self.most.swap(0, Ordering::Relaxed)
    }
}

/// A file of its own; removed when dropped.
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

/// A process that ends with the test.
pub(crate) struct Child(pub(crate) std::process::Child);

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
