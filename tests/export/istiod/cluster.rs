//! A cluster as istiod sees it: Services, and the API server that lists them.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{StatusCode, Uri};
use axum::response::IntoResponse as _;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::NAMESPACE;
use crate::schema::documents;
use crate::tools::root;

/// The Services for requests as in the mesh overlay, which gives them a cluster address. Here it is the address the
/// proxy listens on, so that a caller that knows only this address has its requests matched to their routes.
pub(super) fn services(address: &str) -> Vec<Value> {
    let mut all = documents(&std::fs::read_to_string(root().join("deploy/kubernetes/base/services.yaml")).unwrap());
    all.retain(|one| {
        one["kind"] == "Service" && one["metadata"]["labels"]["app.kubernetes.io/component"] == "requests"
    });
    for service in &mut all {
        service["metadata"]["namespace"] = NAMESPACE.into();
        service["spec"]["clusterIP"] = address.into();
    }
    all
}

pub(super) fn name_and_port(service: &Value) -> (String, u64) {
    (service["metadata"]["name"].as_str().unwrap().to_owned(), service["spec"]["ports"][0]["port"].as_u64().unwrap())
}

/// An API server that has only these Services and endpoints, and never reports a change.
pub(super) async fn api_server(services: Vec<Value>, endpoints: Vec<Value>) -> u16 {
    let lists = Arc::new(BTreeMap::from([
        ("/api/v1/services", services),
        ("/apis/discovery.k8s.io/v1/endpointslices", endpoints),
    ]));
    let answer = move |uri: Uri, method: axum::http::Method| {
        let lists = Arc::clone(&lists);
        async move {
            let (path, query) = (uri.path(), uri.query().unwrap_or_default());
            let failed = |code: u16, reason: &str| {
                let body =
                    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code});
                (StatusCode::from_u16(code).unwrap(), Json(body)).into_response()
            };
            if method != axum::http::Method::GET {
                failed(403, "Forbidden")
            } else if path == "/version" {
                Json(json!({"major": "1", "minor": "33", "gitVersion": "v1.33.0"})).into_response()
            } else if query.contains("sendInitialEvents") {
                // The client then falls back to a list and a watch.
                failed(422, "Invalid")
            } else if query.contains("watch=true") {
                Body::from_stream(futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>()).into_response()
            } else if path.contains("/namespaces/") && !query.contains("limit=") {
                failed(404, "NotFound")
            } else {
                let items = lists.get(path).cloned().unwrap_or_default();
                let mut list = json!({"metadata": {"resourceVersion": "1"}, "items": items});
                if path.ends_with("/customresourcedefinitions") {
                    list["kind"] = "PartialObjectMetadataList".into();
                    list["apiVersion"] = "meta.k8s.io/v1".into();
                }
                Json(list).into_response()
            }
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await.unwrap() });
    port
}
