//! What the Prometheus operator and Grafana need.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::root;

/// What the operator's Prometheus looks for, by the default of its chart.
const RELEASE: &str = "kube-prometheus-stack";

pub fn pod_monitor() -> Value {
    json!({
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PodMonitor",
        "metadata": {"name": "breakerbox", "labels": {"release": RELEASE}},
        "spec": {
            "selector": {"matchLabels": {"app.kubernetes.io/part-of": "breakerbox"}},
            // breakerbox-gateway and so on: the rules look for jobs of these names.
            "jobLabel": "app.kubernetes.io/instance",
            "podMetricsEndpoints": [{
                "port": "http-admin",
                "path": "/metrics",
                "interval": "5s",
                "scrapeTimeout": "4s",
                // `service` is ours: a label of the target must not rename it to exported_service.
                "honorLabels": true,
                "relabelings": [
                    {"sourceLabels": ["__meta_kubernetes_pod_name"], "targetLabel": "instance"},
                    {"action": "labeldrop", "regex": "pod|container|endpoint"},
                ],
            }],
        },
    })
}

/// One resource per file.
pub fn rules() -> Vec<Value> {
    rule_files()
        .iter()
        .map(|file| {
            let folder = if file.parent().is_some_and(|folder| folder.ends_with("rules")) { "rules" } else { "alerts" };
            let stem = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
            json!({
                "apiVersion": "monitoring.coreos.com/v1",
                "kind": "PrometheusRule",
                "metadata": {"name": format!("breakerbox-{folder}-{stem}"), "labels": {"release": RELEASE}},
                "spec": read(file),
            })
        })
        .collect()
}

/// The files that Prometheus loads in the compose stack, in order. minimal.yml says the same again without
/// recording rules, and pipeline.yml watches a Prometheus and an Alertmanager that the operator's own rules watch.
pub fn rule_files() -> Vec<PathBuf> {
    let mut files = Vec::new();
    for folder in ["prometheus/rules", "alerts"] {
        let entries = fs::read_dir(root().join(folder)).expect("the repository has its rules");
        files.extend(entries.flatten().map(|entry| entry.path()).filter(|path| {
            let left_out = ["minimal.yml", "pipeline.yml"].iter().any(|name| path.ends_with(name));
            path.extension().is_some_and(|extension| extension == "yml") && !left_out
        }));
    }
    files.sort();
    files
}

pub fn read(file: &Path) -> Value {
    let text = fs::read_to_string(file).expect("a rule file can be read");
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// A `ConfigMap` per dashboard, by kustomize: the files stay where Grafana's provisioning has them.
pub fn dashboards() -> Value {
    let names = crate::dashboards::files().into_iter().map(|file| {
        let name = file.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        json!({"name": format!("breakerbox-dashboard-{}", name.trim_end_matches(".json")), "files": [name]})
    });
    let generators: Vec<_> = names.collect();
    let mut labels = Map::new();
    labels.insert("grafana_dashboard".to_owned(), "1".into());
    json!({
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "configMapGenerator": generators,
        "generatorOptions": {
            "annotations": {"grafana_folder": "Breakerbox"},
            "disableNameSuffixHash": true,
            "labels": labels,
        },
    })
}
