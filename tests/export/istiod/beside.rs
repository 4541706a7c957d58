//! Library and mesh together: the policies that the mesh applies beside the library, and what both do to a call.

use std::process::Command;
use std::time::{Duration, Instant};

use reqwest::Method;

use super::mesh::{Mesh, free_port, spawn};
use super::{PATIENCE, committed, policy, retries};
use crate::world::Child;

#[tokio::test]
#[ignore = "needs an istiod, by ISTIOD"]
async fn beside_the_library_no_retry_and_half_of_the_pods() {
    let mesh = Mesh::start(&[committed("beside-library.yaml")], "gateway", 4).await;
    let out = async || mesh.counted("catalog", "ejections_active").await;
    let until_out = async |wanted: u64| {
        let begun = Instant::now();
        while out().await != wanted {
            assert_eq!((mesh.status(&Method::GET, "catalog").await / 100, mesh.asked("catalog")).1, 1, "no retry");
            assert!(begun.elapsed() < PATIENCE, "{} out, not {wanted}", out().await);
        }
    };
    mesh.pods["catalog"][0].answer(500);
    until_out(1).await;
    for _ in 0..40 {
        assert_eq!(mesh.status(&Method::GET, "catalog").await, 200, "the bad pod is out");
    }
    mesh.answers("catalog", 500);
    mesh.asked("catalog");
    until_out(2).await;
    for _ in 0..100 {
        assert_eq!(mesh.status(&Method::GET, "catalog").await, 500, "the breaker judges, not the mesh with 503");
    }
    assert_eq!(out().await, 2, "half of four");

    let mesh = Mesh::start(&[committed("beside-library.yaml")], "gateway", 1).await;
    mesh.answers("catalog", 500);
    for _ in 0..100 {
        assert_eq!(mesh.status(&Method::GET, "catalog").await, 500, "a single pod is never out");
    }
}

/// A gateway with the library on, whose calls go through the proxy.
struct Gateway {
    pages: String,
    metrics: String,
    client: reqwest::Client,
    _process: Child,
}

impl Gateway {
    async fn start(mesh: &Mesh) -> Self {
        let [port, admin] = [free_port().await, free_port().await];
        let mut command = Command::new(env!("CARGO_BIN_EXE_breakerbox"));
        command.args(["serve", "gateway"]);
        command.env("BREAKERBOX_ADMIN__LISTEN", format!("127.0.0.1:{admin}"));
        for (service, port) in &mesh.ports {
            let variable = format!("BREAKERBOX_SERVICES__{}__URL", service.to_uppercase().replace('-', "_"));
            command.env(variable, format!("http://{}:{port}", mesh.address));
        }
        command.env("BREAKERBOX_SERVICES__GATEWAY__PORT", port.to_string());
        let own = Self {
            pages: format!("http://127.0.0.1:{port}/api/movies?page=1"),
            metrics: format!("http://127.0.0.1:{admin}/metrics"),
            client: mesh.client.clone(),
            _process: spawn(&mesh.folder, "gateway", &mut command),
        };
        let begun = Instant::now();
        while own.page().await != 200 {
            assert!(begun.elapsed() < PATIENCE, "no page: {}", mesh.folder.display());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        own
    }

    async fn page(&self) -> u16 {
        self.client.get(&self.pages).send().await.map_or(0, |answer| answer.status().as_u16())
    }

    /// Whether the breaker of catalog is in this state.
    async fn breaker_is(&self, state: &str) -> bool {
        let text = self.client.get(&self.metrics).send().await.unwrap().text().await.unwrap();
        text.contains(&format!(
            "circuit_breaker_state{{breaker=\"catalog\",service=\"gateway\",state=\"{state}\"}} 1\n"
        ))
    }
}

#[tokio::test]
#[ignore = "needs an istiod, by ISTIOD"]
async fn attempts_of_library_and_mesh_multiply() {
    let attempts = 1 + retries(&policy("gateway", "catalog"));
    for (file, wanted) in [("policies.yaml", attempts * attempts), ("beside-library.yaml", attempts)] {
        let mesh = Mesh::start(&[committed(file)], "gateway", 1).await;
        let gateway = Gateway::start(&mesh).await;
        mesh.answers("catalog", 500);
        mesh.asked("catalog");
        assert_eq!((gateway.page().await, mesh.asked("catalog")), (200, wanted), "{file}");
    }
}

#[tokio::test]
#[ignore = "needs an istiod, by ISTIOD"]
async fn the_mesh_handles_a_bad_pod_and_the_breaker_all() {
    let mesh = Mesh::start(&[committed("beside-library.yaml")], "gateway", 4).await;
    let gateway = Gateway::start(&mesh).await;
    mesh.pods["catalog"][0].answer(500);
    let begun = Instant::now();
    while mesh.counted("catalog", "ejections_active").await == 0 {
        assert_eq!(gateway.page().await, 200);
        assert!(begun.elapsed() < PATIENCE, "the bad pod is not ejected");
    }
    assert!(gateway.breaker_is("closed").await, "one bad pod of four is not the breaker's");

    mesh.answers("catalog", 500);
    let begun = Instant::now();
    while !gateway.breaker_is("open").await {
        assert_eq!(gateway.page().await, 200, "an earlier answer");
        assert!(begun.elapsed() < PATIENCE, "the breaker does not open");
    }
    assert!(mesh.counted("catalog", "ejections_active").await <= 2, "half of four");
    mesh.asked("catalog");
    for _ in 0..100 {
        assert_eq!(gateway.page().await, 200, "an earlier answer");
    }
    assert_eq!(mesh.asked("catalog"), 0, "an open breaker lets no call through");

    mesh.answers("catalog", 200);
    let wait = policy("gateway", "catalog").circuit_breaker.unwrap().wait_duration_in_open_state;
    let begun = Instant::now();
    while !gateway.breaker_is("closed").await {
        assert_eq!(gateway.page().await, 200);
        assert!(begun.elapsed() < wait + Duration::from_secs(5), "ejections keep the breaker open");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    println!("the breaker closed {:?} after the dependency recovered", begun.elapsed());
}
