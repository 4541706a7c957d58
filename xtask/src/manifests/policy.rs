//! Requirements on every manifest, checked on the files and on each overlay as built by kustomize.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use breakerbox::services::ServiceName;
use breakerbox::settings::Settings;
use serde_json::{Value, json};

use super::strict::{faults_of, schema};
use super::{config, deployments, monitoring, processes, replicas};
use crate::root;

pub(super) const OVERLAYS: &[&str] = &["minimal", "monitored", "mesh"];

fn folder() -> PathBuf {
    root().join(super::FOLDER)
}

/// All documents in the YAML files of a folder and its subfolders, with their file.
fn documents_in(folder: &Path) -> Vec<(PathBuf, Value)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(documents_in(&path));
        } else if path.extension().is_some_and(|extension| extension == "yaml") && !path.ends_with("adapter-rules.yaml")
        {
            let text = fs::read_to_string(&path).unwrap();
            found.extend(schema::documents(&text).into_iter().map(|document| (path.clone(), document)));
        }
    }
    found
}

/// The output of kustomize for an overlay. Returns `None`, with a message on stderr, without kustomize; in CI that is a
/// failure.
pub(super) fn built(overlay: &str) -> Option<Vec<Value>> {
    let Some(kustomize) = std::env::var_os("KUSTOMIZE") else {
        assert!(std::env::var_os("CI").is_none(), "KUSTOMIZE is missing: scripts/tools.sh finds it");
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: KUSTOMIZE is missing (scripts/tools.sh finds it), so no overlay was built"
        );
        return None;
    };
    let output = Command::new(kustomize).arg("build").arg(folder().join(overlay)).output().unwrap();
    assert!(output.status.success(), "{overlay}: {}", String::from_utf8_lossy(&output.stderr));
    Some(schema::documents(&String::from_utf8(output.stdout).unwrap()))
}

pub(super) fn name(document: &Value) -> &str {
    document["metadata"]["name"].as_str().unwrap_or_default()
}

pub(super) fn of_kind<'a>(all: &'a [Value], kind: &str) -> Vec<&'a Value> {
    all.iter().filter(|document| document["kind"] == kind).collect()
}

#[test]
fn every_file_fits_its_types() {
    let all = documents_in(&folder());
    assert!(all.len() > 60, "only {} documents were found", all.len());
    for (file, document) in all {
        // A patch is not a complete resource.
        if file.ends_with("in-flight/scaling.yaml") {
            continue;
        }
        assert_eq!(faults_of(&document), Vec::<String>::new(), "{}: {}", file.display(), name(&document));
    }
}

#[test]
fn the_type_check_finds_errors() {
    let all = deployments::all(&super::source());
    let deployment = of_kind(&all, "Deployment")[0].clone();
    assert_eq!(faults_of(&deployment), Vec::<String>::new());
    let mut misspelt = deployment.clone();
    misspelt["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = json!({});
    assert_eq!(faults_of(&misspelt), ["spec.template.spec.containers.0.readynessProbe is not a field"]);
    let mut mistyped = deployment;
    mistyped["spec"]["replicas"] = json!("two");
    assert_eq!(faults_of(&mistyped).len(), 1);
}

#[test]
fn every_pod_is_confined_probed_and_limited() {
    for (file, document) in documents_in(&folder()) {
        let pod = &document["spec"]["template"]["spec"];
        if !pod.is_object() {
            continue;
        }
        let place = format!("{}: {}", file.display(), name(&document));
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{place}");
        assert!(pod["securityContext"]["runAsUser"].as_u64().is_some_and(|user| user > 0), "{place}");
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault", "{place}");
        assert_eq!(pod["automountServiceAccountToken"], false, "{place}");
        assert_eq!(pod["enableServiceLinks"], false, "{place}");
        assert_eq!(pod["hostNetwork"], Value::Null, "{place}");
        for container in pod["containers"].as_array().unwrap() {
            let confined = &container["securityContext"];
            assert_eq!(confined["allowPrivilegeEscalation"], false, "{place}");
            assert_eq!(confined["readOnlyRootFilesystem"], true, "{place}");
            assert_eq!(confined["capabilities"], json!({"drop": ["ALL"]}), "{place}");
            for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
                assert!(container[probe].is_object(), "{place} has no {probe}");
            }
            for limit in ["cpu", "memory"] {
                assert!(container["resources"]["limits"][limit].is_string(), "{place} has no limit of {limit}");
                assert!(container["resources"]["requests"][limit].is_string(), "{place} asks for no {limit}");
            }
            assert!(
                container["image"].as_str().is_some_and(|image| image.contains(':') && !image.ends_with(":latest")),
                "{place}"
            );
        }
    }
}

#[test]
fn every_process_has_what_it_needs() {
    let all: Vec<_> = documents_in(&folder().join("base")).into_iter().map(|(_, document)| document).collect();
    let names = |kind: &str| of_kind(&all, kind).into_iter().map(|d| name(d).to_owned()).collect::<BTreeSet<_>>();
    let wanted: BTreeSet<_> = processes().map(str::to_owned).collect();
    assert_eq!(names("Deployment"), wanted);
    let several: BTreeSet<_> = processes().filter(|p| replicas(p) > 1).map(str::to_owned).collect();
    assert_eq!(names("PodDisruptionBudget"), several);
    assert!(
        names("HorizontalPodAutoscaler").is_subset(&several) && names("HorizontalPodAutoscaler").contains("gateway")
    );
    // If an autoscaler sets the replicas, a Deployment must not reset them with every apply.
    for deployment in of_kind(&all, "Deployment") {
        let scaled = names("HorizontalPodAutoscaler").contains(name(deployment));
        assert_eq!(deployment["spec"]["replicas"].is_null(), scaled, "{}", name(deployment));
    }
    let services = names("Service");
    for process in processes() {
        assert!(services.contains(&format!("{process}-admin")), "{process}");
    }
    assert!(ServiceName::ALL.iter().all(|service| services.contains(service.as_str())));
}

/// A Service with a cluster IP sends all calls over a kept connection to one pod.
#[test]
fn callers_see_every_pod_unless_a_mesh_spreads_calls() {
    for overlay in OVERLAYS {
        let Some(all) = built(overlay) else { return };
        for service in ServiceName::ALL {
            let requests = of_kind(&all, "Service").into_iter().find(|one| name(one) == service.as_str()).unwrap();
            let wanted = if *overlay == "mesh" { Value::Null } else { json!("None") };
            assert_eq!(requests["spec"]["clusterIP"], wanted, "{overlay}: {service}");
            assert_eq!(requests["spec"]["publishNotReadyAddresses"], Value::Null, "{overlay}: {service}");
        }
    }
}

/// A caller keeps calling a removed pod until it resolves the name again.
#[test]
fn a_pod_outlasts_its_callers_dns_cache() {
    let stopping = 3 * breakerbox::app::DRAIN.as_secs();
    for deployment in of_kind(&deployments::all(&super::source()), "Deployment") {
        let pod = &deployment["spec"]["template"]["spec"];
        let goes_on = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64().unwrap();
        assert!(goes_on > breakerbox::client::BELIEVED.as_secs(), "{}: {goes_on} s", name(deployment));
        let grace = pod["terminationGracePeriodSeconds"].as_u64().unwrap();
        assert!(grace >= goes_on + stopping, "{}: {grace} s", name(deployment));
    }
}

/// The program itself validates the settings of the pods.
#[test]
fn the_settings_of_the_pods_are_valid() {
    let map = config::map(&super::source());
    let mut variables: BTreeMap<String, String> = map["data"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
        .collect();
    let token = std::env::temp_dir().join(format!("breakerbox-manifests-{}", std::process::id()));
    fs::write(&token, "a-token").unwrap();
    variables.insert("BREAKERBOX_ADMIN__TOKEN_FILE".to_owned(), token.display().to_string());
    for deployment in of_kind(&deployments::all(&super::source()), "Deployment") {
        let mut variables = variables.clone();
        for own in deployment["spec"]["template"]["spec"]["containers"][0]["env"].as_array().unwrap() {
            let key = own["valueFrom"]["secretKeyRef"]["key"].as_str();
            let value = own["value"].as_str().map_or_else(|| secret(key.unwrap()), str::to_owned);
            variables.insert(own["name"].as_str().unwrap().to_owned(), value);
        }
        let settings =
            Settings::load(None, variables.into_iter()).unwrap_or_else(|e| panic!("{}: {e}", name(deployment)));
        settings.validate().unwrap_or_else(|error| panic!("{}: {error}", name(deployment)));
        assert_eq!(settings.admin.peers.len(), processes().count());
        assert_eq!(settings.admin.peers["gateway"], "http://gateway-admin:8090");
    }
    fs::remove_file(token).unwrap();
}

/// A secret's value in the overlay `minimal`.
fn secret(key: &str) -> String {
    let text = fs::read_to_string(folder().join("minimal/kustomization.yaml")).unwrap();
    let line = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("- ")?.strip_prefix(&format!("{key}=")).map(str::to_owned));
    line.unwrap_or_else(|| panic!("minimal/kustomization.yaml has no {key}"))
}

#[test]
fn the_operators_rules_are_the_files() {
    let resources = schema::documents(&fs::read_to_string(folder().join("monitored/rules.yaml")).unwrap());
    let files = monitoring::rule_files();
    assert_eq!(resources.len(), files.len());
    assert!(files.len() >= 8, "{files:?}");
    for (resource, file) in resources.iter().zip(files) {
        assert_eq!(resource["spec"], monitoring::read(&file), "{}", file.display());
    }
}

/// promtool accepts the rules in the resources as it accepts the files.
#[test]
fn promtool_accepts_the_operators_rules() {
    let Some(promtool) = crate::promtool() else { return };
    let file = std::env::temp_dir().join(format!("breakerbox-rules-{}.yml", std::process::id()));
    for resource in monitoring::rules() {
        fs::write(&file, breakerbox::export::yaml::document(&resource["spec"])).unwrap();
        let output = Command::new(&promtool).args(["check", "rules"]).arg(&file).output().unwrap();
        assert!(output.status.success(), "{}: {}", name(&resource), String::from_utf8_lossy(&output.stderr));
    }
    fs::remove_file(file).unwrap();
}

#[test]
fn network_policies_follow_the_calls() {
    let all = super::network::all(&super::source());
    let policy = |wanted: &str| all.iter().find(|policy| name(policy) == wanted).unwrap_or_else(|| panic!("{wanted}"));
    let callers = |service: ServiceName| {
        let from = policy(&format!("{service}-callers"))["spec"]["ingress"][0]["from"].clone();
        let label =
            |pod: &Value| pod["podSelector"]["matchLabels"]["app.kubernetes.io/name"].as_str().unwrap().to_owned();
        from.as_array().map(|from| from.iter().map(label).collect::<Vec<_>>())
    };
    assert_eq!(callers(ServiceName::PaymentGateway).unwrap(), ["checkout"]);
    assert_eq!(callers(ServiceName::User).unwrap(), ["gateway", "gateway-bare", "checkout"]);
    assert_eq!(callers(ServiceName::Gateway), None, "the edge is open");
    let deny = policy("default-deny");
    assert_eq!(deny["spec"], json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}));
}

#[test]
fn every_overlay_is_built_and_valid() {
    for overlay in OVERLAYS {
        let Some(all) = built(overlay) else { return };
        for document in &all {
            assert_eq!(faults_of(document), Vec::<String>::new(), "{overlay}: {}", name(document));
            if document["kind"] != "Namespace" {
                assert_eq!(document["metadata"]["namespace"], "breakerbox", "{overlay}: {}", name(document));
            }
            // `kubectl apply` stores the applied document in an annotation, which is limited to 256 KiB.
            assert!(document.to_string().len() < 256 * 1024, "{overlay}: {} is too large", name(document));
        }
        let count = |kind: &str| of_kind(&all, kind).len();
        assert_eq!(count("Deployment"), processes().count(), "{overlay}");
        assert_eq!(count("StatefulSet"), 1, "{overlay}");
        assert_eq!(count("PodMonitor") > 0, *overlay == "monitored", "{overlay}");
        assert_eq!(count("PrometheusRule") > 0, *overlay == "monitored", "{overlay}");
        assert_eq!(count("DestinationRule") > 0, *overlay == "mesh", "{overlay}");
        // References to generated names must have been updated.
        let secrets: BTreeSet<_> = of_kind(&all, "Secret").into_iter().map(|secret| name(secret).to_owned()).collect();
        for deployment in of_kind(&all, "Deployment") {
            let volume = deployment["spec"]["template"]["spec"]["volumes"][0]["secret"]["secretName"].as_str().unwrap();
            assert!(secrets.contains(volume), "{overlay}: {volume} is none of {secrets:?}");
        }
    }
}

#[test]
fn the_mesh_leaves_admin_ports_alone() {
    let Some(all) = built("mesh") else { return };
    for deployment in of_kind(&all, "Deployment") {
        let annotations = &deployment["spec"]["template"]["metadata"]["annotations"];
        for direction in ["Inbound", "Outbound"] {
            let annotation = &annotations[format!("traffic.sidecar.istio.io/exclude{direction}Ports")];
            assert_eq!(annotation, super::ADMIN_PORT.to_string().as_str(), "{}", name(deployment));
        }
    }
    let namespace = of_kind(&all, "Namespace")[0];
    assert_eq!(namespace["metadata"]["labels"]["istio-injection"], "enabled");
    // Each DestinationRule selects callers that exist.
    for rule in of_kind(&all, "DestinationRule") {
        let caller = &rule["spec"]["workloadSelector"]["matchLabels"]["app.kubernetes.io/name"];
        let fits = |d: &&Value| &d["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/name"] == caller;
        assert!(of_kind(&all, "Deployment").iter().any(fits), "{}", name(rule));
    }
}
