//! Addresses and limits, as `BREAKERBOX_*` variables.

use breakerbox::export::Source;
use breakerbox::services::ServiceName;
use serde_json::{Map, Value, json};

use super::{ADMIN_PORT, TRAFFIC, processes};

pub const NAME: &str = "breakerbox-settings";
/// The namespace of the overlays.
const NAMESPACE: &str = "breakerbox";

/// A name as part of a variable's name.
fn variable(name: &str) -> String {
    name.replace('-', "_").to_uppercase()
}

pub fn map(source: &Source) -> Value {
    let mut data = Map::new();
    let mut set = |name: String, value: String| data.insert(format!("BREAKERBOX_{name}"), value.into());
    set("HOST".to_owned(), "0.0.0.0".to_owned());
    set("INTERNAL__HOST".to_owned(), "0.0.0.0".to_owned());
    set("ADMIN__LISTEN".to_owned(), format!("0.0.0.0:{ADMIN_PORT}"));
    // Names under which other namespaces reach it, in particular Alertmanager.
    let names = ["", ".svc", ".svc.cluster.local"].map(|zone| format!("{TRAFFIC}-admin.{NAMESPACE}{zone}"));
    set("ADMIN__HOSTS".to_owned(), names.join(","));
    set("ADMIN__TOKEN_FILE".to_owned(), format!("{}/{}", super::deployments::SECRETS, super::deployments::TOKEN));
    // As many as fit into the memory limit.
    set("CONNECTIONS__GATEWAY".to_owned(), "256".to_owned());
    set("CONNECTIONS__INTERNAL".to_owned(), "128".to_owned());
    set("TELEMETRY__LOG_FORMAT".to_owned(), "json".to_owned());
    for service in ServiceName::ALL {
        let name = variable(service.as_str());
        set(format!("SERVICES__{name}__URL"), format!("http://{service}:{}", source.port(*service)));
    }
    for process in processes() {
        set(format!("ADMIN__PEERS__{}", variable(process)), format!("http://{process}-admin:{ADMIN_PORT}"));
    }
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": NAME}, "data": data})
}
