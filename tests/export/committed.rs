//! The files in `deploy/istio` and `deploy/resilience4j` are what the program exports.
//!
//! ```text
//! BLESS=1 cargo test --test export committed    rewrite them
//! ```

use std::path::Path;

use breakerbox::export::{envoy, istio, resilience4j};

use crate::schema::{documents, faults_of};
use crate::source;

#[test]
fn what_is_committed_is_what_is_exported() {
    let source = source(&[]);
    let files = [
        ("deploy/istio/policies.yaml", istio::policies(&source)),
        ("deploy/istio/beside-library.yaml", istio::beside_library(&source)),
        ("deploy/istio/faults.yaml", istio::faults(&source)),
        ("deploy/istio/gaps.md", istio::lost(&source)),
        ("deploy/envoy/envoy.yaml", envoy::policies(&source)),
        ("deploy/envoy/gaps.md", envoy::lost(&source)),
        ("deploy/resilience4j/application.yml", resilience4j::policies(&source)),
        ("deploy/resilience4j/gaps.md", resilience4j::lost(&source)),
    ];
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (file, wanted) in files {
        if std::env::var_os("BLESS").is_some() {
            std::fs::create_dir_all(root.join(file).parent().unwrap()).unwrap();
            std::fs::write(root.join(file), wanted).unwrap();
            continue;
        }
        let found = std::fs::read_to_string(root.join(file)).unwrap_or_default();
        assert!(found == wanted, "{file} is not what is exported: run with BLESS=1");
    }
}

#[test]
fn every_istio_resource_fits_its_schema() {
    let source = source(&[("BREAKERBOX_FAULTS__ML_API__LATENCY__FIXED", "2s")]);
    let text = [istio::policies(&source), istio::beside_library(&source), istio::faults(&source)];
    let all: Vec<_> = text.iter().flat_map(|text| documents(text)).collect();
    // A VirtualService per dependency and a DestinationRule per relation, twice; two of them with faults.
    assert_eq!(all.len(), 2 * (8 + 9) + 2, "{}", text[0]);
    for resource in all {
        assert_eq!(faults_of(&resource), Vec::<String>::new(), "{}", resource["metadata"]["name"]);
    }
}

#[test]
fn the_schema_check_finds_errors() {
    let valid = documents(&istio::policies(&source(&[]))).pop().unwrap();
    assert_eq!(valid["kind"], "DestinationRule");
    for (pointer, value) in [
        ("/spec/trafficPolicy/connectionPool/tcp/maxConnection", serde_json::json!(3)),
        ("/spec/trafficPolicy/outlierDetection/consecutive5xxErrors", serde_json::json!("3")),
        ("/spec/trafficPolicy/outlierDetection/consecutive5xxErrors", serde_json::json!(-1)),
        ("/spec/host", serde_json::json!(["a"])),
    ] {
        let mut broken = valid.clone();
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        broken.pointer_mut(parent).unwrap()[field] = value;
        assert_eq!(faults_of(&broken).len(), 1, "{pointer}");
    }
    let mut fault = documents(&istio::faults(&source(&[]))).pop().unwrap();
    fault["spec"]["http"][0]["fault"]["abort"]["grpcStatus"] = "UNAVAILABLE".into();
    assert_eq!(faults_of(&fault).len(), 1, "an abort has one status");
}
