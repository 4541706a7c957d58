//! Metrics of a service's edge: served requests and results of pages.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus::{Gauge, IntCounter};

use super::exemplars::TracedHistogram;
use super::label::{Children, Playback};
use super::metrics::Metrics;
use super::names::OBJECTIVES;

/// Handles for one service's edge. Cheap to clone.
#[derive(Clone)]
pub struct EdgeTelemetry {
    inner: Arc<Inner>,
}

struct Inner {
    service: String,
    metrics: Metrics,
    active: Gauge,
    playback: Option<Children<Playback, IntCounter>>,
    // Routes and statuses form a small closed set, but only some pairs occur.
    durations: Mutex<HashMap<(&'static str, String, u16), TracedHistogram>>,
}

impl EdgeTelemetry {
    /// `pages` says whether this service serves pages to viewers: only then does it export
    /// `playback_requests_total` and the objectives. `routes` are created at zero for status 200.
    #[must_use]
    pub fn new(metrics: &Metrics, service: &str, pages: bool, routes: &[(&'static str, &str)]) -> Self {
        let f = metrics.families();
        let counter = |outcome: &'static str| f.playback.with_label_values(&[service, outcome]);
        let edge = Self {
            inner: Arc::new(Inner {
                service: service.to_owned(),
                metrics: metrics.clone(),
                active: f.http_active.with_label_values(&[service]),
                playback: pages.then(|| Children::new(counter)),
                durations: Mutex::default(),
            }),
        };
        for (slo, objective) in OBJECTIVES.iter().filter(|_| pages) {
            f.slo_objective.with_label_values(&[service, slo]).set(*objective);
        }
        for (method, route) in routes {
            edge.histogram(method, route, 200);
        }
        edge
    }

    /// Counts a request as active until the guard is finished or dropped.
    #[must_use]
    pub fn begin(&self) -> RequestGuard {
        self.inner.active.inc();
        RequestGuard { edge: self.clone() }
    }

    /// Records the result of a viewer's page.
    pub fn playback(&self, outcome: Playback) {
        if let Some(playback) = &self.inner.playback {
            playback.of(outcome).inc();
        }
    }

    /// Records a served request. `status` 499 stands for a client that disconnected.
    pub fn served(&self, method: &'static str, route: &str, status: u16, elapsed: Duration) {
        self.histogram(method, route, status).observe(elapsed.as_secs_f64());
    }

    fn histogram(&self, method: &'static str, route: &str, status: u16) -> TracedHistogram {
        let mut durations = self.inner.durations.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (method, route.to_owned(), status);
        durations
            .entry(key)
            .or_insert_with(|| {
                let status = status.to_string();
                self.inner.metrics.request_duration(&[&self.inner.service, method, route, &status])
            })
            .clone()
    }
}

/// A request in flight.
pub struct RequestGuard {
    edge: EdgeTelemetry,
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        self.edge.inner.active.dec();
    }
}
