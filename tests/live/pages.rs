//! Metrics pages that Prometheus scrapes and a drill can change: files served as they are.

use std::path::PathBuf;

use axum::Router;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::routing::get;

/// The metrics of a healthy exporter of one breaker.
const STATE: &str = "breakerbox_build_info{version=\"0\"} 1\n\
    circuit_breaker_state{service=\"page\",breaker=\"page\",state=\"closed\"} 1\n\
    circuit_breaker_state{service=\"page\",breaker=\"page\",state=\"open\"} 0\n";

/// Serves the files of this folder until the test ends. A missing file gives an error response.
pub(crate) async fn serve(folder: PathBuf, address: &str) {
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("state.prom"), STATE).unwrap();
    std::fs::write(folder.join("pair.prom"), "breakerbox_build_info{version=\"0\"} 1\n").unwrap();
    std::fs::write(folder.join("jaeger.prom"), "jaeger_up 1\n").unwrap();
    let page = move |Path(name): Path<String>| {
        let file = folder.join(name);
        async move { std::fs::read_to_string(file).map_err(|_| StatusCode::SERVICE_UNAVAILABLE) }
    };
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/{name}", get(page))).await.unwrap() });
}
