//! All services connected in this process; tests can add viewers and a scenario.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::Body;
use breakerbox::app::{Application, Parts, Running};
use breakerbox::client::{Client, Reply, Request};
use breakerbox::faults::FaultPlan;
use breakerbox::scenario::{self, Mode, Scenario, Timeline};
use breakerbox::services::ServiceName;
use breakerbox::settings::Settings;
use breakerbox::traffic::{Traffic, TrafficSettings};
use breakerbox_telemetry::{Metrics, TransitionRecord};
use prometheus::proto::Metric;
use serde_json::Value;
use tower::ServiceExt;

/// Outcomes of the page requests to one gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlaybackCounts {
    pub ok: u64,
    pub degraded: u64,
    pub error: u64,
}

pub struct TestSite {
    settings: Settings,
    parts: Parts,
    _running: Running,
}

impl TestSite {
    /// The default site with these settings changed; viewers and scenario run only on request.
    pub fn start(variables: &[(&str, &str)]) -> Self {
        let quiet = [
            ("BREAKERBOX_TRAFFIC__ENABLED", "false"),
            ("BREAKERBOX_SCENARIO__ENABLED", "false"),
            // A file would contain the orders of an earlier run.
            ("BREAKERBOX_STORE__URL", "sqlite::memory:"),
        ];
        let variables = quiet
            .iter()
            .chain(variables)
            .copied()
            .collect::<BTreeMap<_, _>>()
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value.to_owned()));
        let settings = Settings::load(None, variables).unwrap();
        let application = Application::in_process(&settings).unwrap();
        Self { settings, parts: application.parts().clone(), _running: application.start() }
    }

    fn traffic(&self, rate: f64) -> Traffic {
        self.parts.viewers(&TrafficSettings { rate, ..self.settings.traffic.clone() }).unwrap()
    }

    /// Runs viewers for this long, and no scenario.
    pub async fn run_traffic(&self, rate: f64, lasts: Duration) {
        self.traffic(rate).run(tokio::time::sleep(lasts)).await;
    }

    /// Runs viewers and the default scenario for this long.
    pub async fn run_scenario(&self, rate: f64, lasts: Duration) {
        let actuator = self.parts.actuator(None).unwrap();
        let scenario = Scenario::new(Timeline::parse(scenario::DEFAULT).unwrap(), &self.parts.telemetry.metrics);
        scenario.set(Mode::Running);
        tokio::select! {
            () = self.run_traffic(rate, lasts) => {}
            () = scenario.run(&actuator) => {}
        }
    }

    pub fn break_service(&self, target: &str, plan: &str) {
        let plan: FaultPlan = serde_json::from_str(plan).unwrap();
        plan.validate().unwrap();
        self.parts.site.faults.set(target, plan).unwrap();
    }

    /// All fault targets.
    pub fn targets(&self) -> Vec<String> {
        self.parts.site.faults.targets()
    }

    pub async fn ask(&self, request: Request) -> Reply {
        self.parts.transport(ServiceName::Gateway).unwrap().send(&request, request.headers().clone()).await.unwrap()
    }

    /// The admin port's routes.
    pub fn admin(&self) -> axum::Router {
        self.parts.admin_router.clone()
    }

    pub async fn log_in(&self, viewer: u32) -> String {
        let body = serde_json::json!({"username": format!("viewer{viewer}"), "password": "popcorn"});
        let reply: Value = self.ask(Request::post("/api/login").json(&body)).await.json().unwrap();
        reply["token"].as_str().unwrap().to_owned()
    }

    pub async fn recommendations(&self, token: &str) -> Value {
        let request = Request::get("/api/recommendations").header("authorization", &format!("Bearer {token}"));
        self.ask(request).await.json().unwrap()
    }

    pub fn transitions(&self) -> Vec<TransitionRecord> {
        self.parts.telemetry.transitions.latest()
    }

    pub fn registry(&self) -> &Metrics {
        &self.parts.telemetry.metrics
    }

    /// Sends any request to any service.
    pub async fn send(&self, service: ServiceName, request: http::Request<Body>) -> http::StatusCode {
        let response = self.parts.site.routers[&service].clone().oneshot(request).await.unwrap();
        response.status()
    }

    pub fn gather(&self) -> Vec<prometheus::proto::MetricFamily> {
        self.parts.telemetry.metrics.gather()
    }

    pub fn playback(&self, service: &str) -> PlaybackCounts {
        let count = |outcome| self.sum("playback_requests_total", &[("service", service), ("outcome", outcome)]);
        PlaybackCounts { ok: count("ok"), degraded: count("degraded"), error: count("error") }
    }

    /// The mean response time of one route.
    pub fn mean_seconds(&self, service: &str, route: &str) -> f64 {
        let labels = [("service", service), ("http_route", route)];
        let (mut seconds, mut count) = (0.0, 0);
        for metric in self.metrics("http_server_request_duration_seconds", &labels) {
            seconds += metric.get_histogram().get_sample_sum();
            count += metric.get_histogram().get_sample_count();
        }
        seconds / count as f64
    }

    /// The value of a gauge that has exactly one series with these labels.
    pub fn gauge(&self, family: &str, labels: &[(&str, &str)]) -> f64 {
        let series = self.metrics(family, labels);
        assert_eq!(series.len(), 1, "{family} {labels:?}");
        series[0].get_gauge().get_value()
    }

    /// The protected client of a caller for its dependency.
    pub fn client(&self, service: &str, dependency: &str) -> &Client {
        let is = |client: &&Client| client.service() == service && client.dependency() == dependency;
        self.parts.site.clients.iter().find(is).unwrap()
    }

    fn sum(&self, family: &str, labels: &[(&str, &str)]) -> u64 {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts are whole")]
        let value = |metric: &Metric| metric.get_counter().get_value() as u64;
        self.metrics(family, labels).iter().map(value).sum()
    }

    fn metrics(&self, family: &str, labels: &[(&str, &str)]) -> Vec<Metric> {
        let families = self.gather();
        let Some(family) = families.iter().find(|f| f.name() == family) else { return Vec::new() };
        let has = |metric: &Metric, name: &str, value: &str| {
            metric.get_label().iter().any(|label| label.name() == name && label.value() == value)
        };
        let all = |metric: &&Metric| labels.iter().all(|(name, value)| has(metric, name, value));
        family.get_metric().iter().filter(all).cloned().collect()
    }
}
