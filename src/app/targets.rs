//! The fault targets of a process, and their series.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::faults::{FaultPlan, Faults, OnInjected};
use crate::services::ServiceName;
use breakerbox_telemetry::Metrics;

/// A target for each service of this process and for each of their stores, with its default faults and its series.
pub(super) fn targets(
    plans: &BTreeMap<ServiceName, FaultPlan>,
    services: &[ServiceName],
    seed: u64,
    metrics: &Metrics,
) -> Faults {
    let plan = |service: &ServiceName| plans.get(service).cloned().unwrap_or_default();
    let mut baselines: BTreeMap<String, FaultPlan> =
        services.iter().map(|service| (service.as_str().to_owned(), plan(service))).collect();
    for service in services {
        baselines.extend(service.stores().iter().map(|store| ((*store).to_owned(), FaultPlan::default())));
    }
    let telemetry: BTreeMap<String, _> = baselines.keys().map(|name| (name.clone(), metrics.faults(name))).collect();
    let injected = telemetry.clone();
    let on_injected: Arc<OnInjected> = Arc::new(move |target, kind| {
        if let Some(target) = injected.get(target) {
            target.injected(kind);
        }
    });
    let faults = Faults::new(baselines, seed, &on_injected);
    let watched = faults.clone();
    metrics.on_scrape(move || {
        for status in watched.snapshot() {
            if let Some(target) = telemetry.get(&status.target) {
                target.planned(&status.plan.shares());
            }
        }
    });
    faults
}
