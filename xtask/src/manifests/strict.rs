//! Validates every document against its type, strictly: an unknown field is an error, where an API server would drop it
//! silently.

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use serde::de::DeserializeOwned;
use serde_json::Value;

#[path = "../../../tests/support/schema.rs"]
pub mod schema;

/// The errors in a document; empty if it is valid.
pub fn faults_of(document: &Value) -> Vec<String> {
    let kind = document["kind"].as_str().unwrap_or_default();
    match (document["apiVersion"].as_str().unwrap_or_default(), kind) {
        ("v1", "ConfigMap") => typed::<ConfigMap>(document),
        ("v1", "Namespace") => typed::<Namespace>(document),
        ("v1", "Secret") => {
            // Kustomize wraps long values, and Kubernetes accepts line breaks in base64.
            let mut joined = document.clone();
            for value in joined["data"].as_object_mut().into_iter().flat_map(|data| data.values_mut()) {
                *value = value.as_str().unwrap_or_default().replace('\n', "").into();
            }
            typed::<Secret>(&joined)
        }
        ("v1", "Service") => typed::<Service>(document),
        ("v1", "ServiceAccount") => typed::<ServiceAccount>(document),
        ("apps/v1", "Deployment") => typed::<Deployment>(document),
        ("apps/v1", "StatefulSet") => typed::<StatefulSet>(document),
        ("autoscaling/v2", "HorizontalPodAutoscaler") => typed::<HorizontalPodAutoscaler>(document),
        ("networking.k8s.io/v1", "NetworkPolicy") => typed::<NetworkPolicy>(document),
        ("policy/v1", "PodDisruptionBudget") => typed::<PodDisruptionBudget>(document),
        // Not sent to a cluster.
        ("kustomize.config.k8s.io/v1beta1" | "kustomize.config.k8s.io/v1alpha1", "Kustomization" | "Component") => {
            vec![]
        }
        _ => schema::faults_of(document),
    }
}

fn typed<T: DeserializeOwned>(document: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    let read: Result<T, _> = serde_ignored::deserialize(document, |path| {
        // An optional field appears as a separate `?` step.
        wrong.push(format!("{} is not a field", path.to_string().replace(".?", "")));
    });
    wrong.extend(read.err().map(|error| error.to_string()));
    wrong
}
