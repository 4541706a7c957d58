//! Kubernetes manifests, generated from the program where they repeat its facts.
//!
//! Services, ports, callers, rules and dashboards are defined in the code; a hand-written manifest would be outdated by
//! the first change. `cargo xtask manifests` writes `deploy/kubernetes`, and a test fails if a committed file is out of
//! date. Files without such facts (namespace, secrets, the overlays' kustomizations) are written by hand.

// Nothing outside this program uses it, so items shared between its modules are public.
#![allow(missing_docs, unreachable_pub)]

mod config;
mod deployments;
pub mod monitoring;
mod network;
#[cfg(test)]
mod policy;
#[cfg(test)]
mod reach;
mod scaling;
#[cfg(test)]
mod strict;

use breakerbox::export::{Source, yaml};
use breakerbox::services::ServiceName;
use breakerbox::settings::Settings;
use serde_json::{Value, json};

use crate::Generated;

/// The process that runs viewers and scenario. It has no services, and its admin port covers every pod of every
/// service, so it serves the console.
pub const TRAFFIC: &str = "traffic";
/// Port of each pod's admin port.
pub const ADMIN_PORT: u16 = 8090;
const FOLDER: &str = "deploy/kubernetes";
const HEADER: &str = "Written by `cargo xtask manifests`; not to be edited.";

/// Every generated file.
pub fn files() -> Vec<Generated> {
    let source = source();
    let file = |path: &str, comment: &str, documents: &[Value]| Generated {
        path: path.into(),
        text: text(comment, documents),
    };
    let mut files = vec![
        file(
            &format!("{FOLDER}/base/config.yaml"),
            "Settings of every pod: where services and admin ports are.",
            &[config::map(&source)],
        ),
        file(
            &format!("{FOLDER}/base/services.yaml"),
            "A Deployment and two headless Services per service: one for its requests, whose name stands for the pods that are\n\
             ready, one for its admin ports, whose name stands for every pod, so that a command reaches them all.",
            &deployments::all(&source),
        ),
        file(
            &format!("{FOLDER}/base/scaling.yaml"),
            "Disruption budgets and autoscalers of services with more than one pod.",
            &scaling::all(),
        ),
        file(
            &format!("{FOLDER}/base/network.yaml"),
            "Network policies: all traffic is denied, except DNS, the callers of each service, admin ports among pods, and\n\
             the database.",
            &network::all(&source),
        ),
        file(
            &format!("{FOLDER}/monitored/pod-monitor.yaml"),
            "For the Prometheus operator. `instance` is the pod's name, and there is no `pod` label: the rules\n\
             aggregate `without (instance)`, and would see every pod that is replaced as a target that was lost.",
            &[monitoring::pod_monitor()],
        ),
        file(
            &format!("{FOLDER}/in-flight/scaling.yaml"),
            "Scales the gateway on its calls under way as well. Needs prometheus-adapter with adapter-rules.yaml.",
            &[scaling::in_flight_patch(&source)],
        ),
        file(
            &format!("{FOLDER}/in-flight/adapter-rules.yaml"),
            "Values for the prometheus-adapter chart: helm upgrade --install … -f adapter-rules.yaml",
            &[scaling::adapter_rules()],
        ),
        file(
            "grafana/dashboards/kustomization.yaml",
            "The dashboards as ConfigMaps, as the Grafana chart's sidecar finds them. Grafana itself ignores this file.",
            &[monitoring::dashboards()],
        ),
    ];
    files.push(file(
        &format!("{FOLDER}/monitored/rules.yaml"),
        "The files of prometheus/rules and alerts, but for minimal.yml, which says the same again.",
        &monitoring::rules(),
    ));
    files
}

/// The program's default settings, independent of this machine's environment.
fn settings() -> Settings {
    Settings::load(None, std::iter::empty()).expect("the embedded defaults are valid")
}

fn source() -> Source {
    Source::new(settings().blueprint().expect("the embedded defaults are valid"))
}

fn text(comment: &str, documents: &[Value]) -> String {
    let mut text = yaml::comment(&format!("{HEADER}\n{comment}"));
    for (number, document) in documents.iter().enumerate() {
        if number > 0 {
            text += "---\n";
        }
        text += &yaml::document(document);
    }
    text
}

/// Every process: the services, and the viewers.
pub fn processes() -> impl Iterator<Item = &'static str> {
    ServiceName::ALL.iter().map(|service| service.as_str()).chain([TRAFFIC])
}

/// Replicas of each process: two of each service that the protected site needs, one of the others. The external
/// parties, the unprotected gateway and the viewers simulate systems that are not ours, or must be single.
pub fn replicas(process: &str) -> u32 {
    match process {
        "gateway-bare" | "ml-api" | "payment-gateway" | TRAFFIC => 1,
        _ => 2,
    }
}

/// Labels that select a process's pods.
pub fn selector(process: &str) -> Value {
    json!({"app.kubernetes.io/name": process, "app.kubernetes.io/part-of": "breakerbox"})
}

/// The selector's labels plus the job name in Prometheus, which the rules expect.
pub fn labels(process: &str) -> Value {
    let mut labels = selector(process);
    labels["app.kubernetes.io/instance"] = format!("breakerbox-{process}").into();
    labels
}

#[cfg(test)]
mod tests {
    #[test]
    fn committed_files_are_current() {
        crate::check(&super::files()).unwrap();
    }
}
