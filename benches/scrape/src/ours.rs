//! Our registry: the default topology after some time with viewers, or with this many additional breakers.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use breakerbox::client::{Client, Context, Request, Telemetry, Transport};
use breakerbox_resilience::bulkhead::BulkheadSettings;
use breakerbox_resilience::policy::PolicySettings;
use breakerbox_resilience::retry::RetrySettings;
use breakerbox::scenario::{self, Scenario, Timeline};
use breakerbox::app::Application;
use breakerbox::settings::Settings;
use breakerbox_telemetry::{Metrics, TransitionLog};

/// A registry, and the objects that keep its gauges alive.
pub struct Ours {
    pub metrics: Metrics,
    _alive: Box<dyn std::any::Any>,
}

/// Everything in one process, after a virtual minute of viewers and of ml-api's default faults.
pub async fn default_topology() -> Ours {
    let mut settings = Settings::load(None, std::iter::empty()).expect("the defaults are valid");
    settings.traffic.enabled = false;
    settings.scenario.enabled = false;
    let running = Application::in_process(&settings).expect("it can be built").start();
    let parts = running.parts().clone();
    let metrics = parts.telemetry.metrics.clone();
    let scenario = Scenario::new(Timeline::parse(scenario::DEFAULT).expect("it is valid"), &metrics);
    let traffic = parts.viewers(&settings.traffic).expect("all services are there");
    traffic.run(tokio::time::sleep(Duration::from_secs(60))).await;
    Ours { metrics, _alive: Box::new((running, scenario)) }
}

/// This many breakers with all of their series, each after a hundred calls.
pub async fn breakers(many: usize) -> Ours {
    let metrics = Metrics::new(&[Duration::from_secs(1)]);
    let telemetry = Telemetry { metrics: metrics.clone(), transitions: TransitionLog::new() };
    let router = Router::new().route("/", get(|| async { "fine" }));
    let transport = Transport::InProcess(Arc::new(OnceLock::from(router)));
    let settings = PolicySettings {
        bulkhead: Some(BulkheadSettings::default()),
        retry: Some(RetrySettings::default()),
        ..PolicySettings::default()
    };
    let mut clients = BTreeMap::new();
    for number in 0..many {
        let dependency = format!("dependency-{number:04}");
        let client = Client::new("gateway", &dependency, &settings, transport.clone(), &telemetry, 1)
            .expect("the defaults are valid");
        for _ in 0..100 {
            client.call(&Context::new(), Request::get("/")).await.expect("it answers");
        }
        clients.insert(dependency, client);
    }
    Ours { metrics, _alive: Box::new(clients) }
}
