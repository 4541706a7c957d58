//! Everything that can be configured, in layers: embedded defaults → a file → `BREAKERBOX_*`
//! variables → flags. The whole is validated before anything starts.
//!
//! `BREAKERBOX_SERVICES__GATEWAY__PORT=9080` sets `services.gateway.port`: two underscores go a level
//! down, one stands for a hyphen.

mod blueprint;
mod policies;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use config::{Case, Config, Environment, File, FileFormat};
use serde::{Deserialize, Serialize};

use crate::admin::AdminSettings;
use crate::faults::FaultPlan;
use crate::ingress::ConnectionSettings;
use crate::services::ServiceName;
use crate::services::{catalog, checkout, gateway, inventory, ml_api, payment_gateway, recommendation, user};
use crate::store::StoreSettings;
use crate::traffic::TrafficSettings;
use breakerbox_telemetry::TelemetrySettings;

pub use blueprint::{Blueprint, ServiceSettings};

/// The embedded defaults, which double as the reference of what can be set.
pub const DEFAULTS: &str = include_str!("default.toml");

const PREFIX: &str = "BREAKERBOX_";
/// Variables of the command line rather than of the settings.
const NOT_SETTINGS: &[&str] = &["CONFIG", "ADMIN_URL", "PROMETHEUS_URL", "PROMETHEUS_TOKEN", "ALERTMANAGER_URL"];

/// All settings.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// Address that services listen on.
    pub host: IpAddr,
    /// Seed of everything random: faults, traffic, viewing histories, jitter.
    pub seed: u64,
    /// Bounds of connections, on every port.
    pub connections: ConnectionSettings,
    /// The admin port.
    pub admin: AdminSettings,
    /// Logs and traces.
    pub telemetry: TelemetrySettings,
    /// Where each service listens and is reached.
    pub services: BTreeMap<ServiceName, ServiceSettings>,
    /// The gateway's own settings.
    pub gateway: gateway::GatewaySettings,
    /// The user service's own settings.
    pub user: user::UserSettings,
    /// The catalog's own settings.
    pub catalog: catalog::CatalogSettings,
    /// The recommendation service's own settings.
    pub recommendation: recommendation::RecommendationSettings,
    /// The ranking service's own settings.
    pub ml_api: ml_api::MlApiSettings,
    /// The checkout's own settings.
    pub checkout: checkout::CheckoutSettings,
    /// The inventory's own settings.
    pub inventory: inventory::InventorySettings,
    /// The payment gateway's own settings.
    pub payment_gateway: payment_gateway::PaymentSettings,
    /// Where databases are.
    pub store: StoreSettings,
    /// How each service's calls to each dependency are protected.
    pub policies: BTreeMap<ServiceName, BTreeMap<ServiceName, serde_json::Value>>,
    /// Faults that are there from the start.
    #[serde(serialize_with = "hyphenated")]
    pub faults: BTreeMap<ServiceName, FaultPlan>,
    /// The viewers.
    pub traffic: TrafficSettings,
    /// The timeline of faults.
    pub scenario: ScenarioSettings,
}

/// Which timeline of faults runs.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ScenarioSettings {
    /// Whether one runs.
    pub enabled: bool,
    /// A file to use instead of the default one.
    pub file: Option<PathBuf>,
}

impl Settings {
    /// Reads all layers but the flags, which the command line lays over the result.
    ///
    /// `variables` are those of the environment.
    pub fn load(file: Option<&Path>, variables: impl Iterator<Item = (String, String)>) -> Result<Self, String> {
        let mut builder = Config::builder().add_source(File::from_str(DEFAULTS, FileFormat::Toml));
        if let Some(path) = file {
            builder = builder.add_source(File::from(path).format(FileFormat::Toml).required(true));
        }
        let environment = Environment::with_prefix("BREAKERBOX")
            .prefix_separator("_")
            .separator("__")
            .convert_case(Case::Kebab)
            .try_parsing(true)
            .source(Some(own_variables(variables)));
        let layers = builder.add_source(environment).build().map_err(|error| error.to_string())?;
        let mut settings: Self = serde_path_to_error::deserialize(layers).map_err(|error| {
            let path = error.path().to_string();
            let why = error.inner().to_string();
            if path == "." || why.contains(&path) { why } else { format!("{path}: {why}") }
        })?;
        settings.admin.read_token()?;
        Ok(settings)
    }

    /// Says which field is wrong, and what it may be.
    pub fn validate(&self) -> Result<(), String> {
        self.telemetry.validate()?;
        self.connections.validate()?;
        self.admin.validate()?;
        self.gateway.validate()?;
        self.user.validate()?;
        self.catalog.validate()?;
        self.recommendation.validate()?;
        self.ml_api.validate()?;
        self.checkout.validate()?;
        self.inventory.validate()?;
        self.payment_gateway.validate()?;
        self.store.validate()?;
        self.traffic.validate().map_err(|error| format!("traffic.{error}"))?;
        for (service, plan) in &self.faults {
            plan.validate_at(service.as_str(), ServiceName::KEEPS_BOOKS)
                .map_err(|error| format!("faults.{service}.{error}"))?;
        }
        self.blueprint().map(|_| ())
    }

    /// What the server needs to build the services.
    pub fn blueprint(&self) -> Result<Blueprint, String> {
        let mut policies = BTreeMap::new();
        for service in ServiceName::ALL {
            for dependency in service.dependencies() {
                if *service == ServiceName::GatewayBare {
                    continue;
                }
                let written = self.policies.get(service).and_then(|of| of.get(dependency));
                let path = format!("policies.{service}.{dependency}");
                let policy = policies::resolve(written).map_err(|error| format!("{path}: {error}"))?;
                policy.validate().map_err(|error| format!("{path}.{error}"))?;
                policies.insert((*service, *dependency), policy);
            }
        }
        for (service, of) in &self.policies {
            if let Some(stray) = of.keys().find(|dependency| !policies.contains_key(&(*service, **dependency))) {
                let known: Vec<_> = policies.keys().map(|(s, d)| format!("{s}.{d}")).collect();
                return Err(format!(
                    "policies.{service}.{stray}: no such dependency is protected; there are {}",
                    known.join(", ")
                ));
            }
        }
        Ok(Blueprint {
            host: self.host,
            connections: self.connections.clone(),
            seed: self.seed,
            services: self.services.clone(),
            policies,
            faults: self.faults.clone(),
            gateway: self.gateway.clone(),
            user: self.user.clone(),
            catalog: self.catalog.clone(),
            recommendation: self.recommendation.clone(),
            ml_api: self.ml_api.clone(),
            checkout: self.checkout.clone(),
            inventory: self.inventory.clone(),
            payment_gateway: self.payment_gateway.clone(),
            store: self.store.clone(),
        })
    }
}

/// Fault plans as settings spell them. Their JSON has underscores; both can be read, but in one table
/// the two spellings of a field would be two fields.
fn hyphenated<S: serde::Serializer>(
    faults: &BTreeMap<ServiceName, FaultPlan>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    fn rename(value: serde_json::Value) -> serde_json::Value {
        match value {
            serde_json::Value::Object(table) => {
                table.into_iter().map(|(key, value)| (key.replace('_', "-"), rename(value))).collect()
            }
            other => other,
        }
    }
    let json = serde_json::to_value(faults).map_err(serde::ser::Error::custom)?;
    rename(json).serialize(serializer)
}

/// The variables that are settings. An admin token has a short name of its own.
fn own_variables(variables: impl Iterator<Item = (String, String)>) -> config::Map<String, String> {
    variables
        .filter_map(|(name, value)| {
            let key = name.strip_prefix(PREFIX)?;
            match key {
                "ADMIN_TOKEN" => Some((format!("{PREFIX}ADMIN__TOKEN"), value)),
                key if NOT_SETTINGS.contains(&key) => None,
                _ => Some((name, value)),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(variables: &[(&str, &str)]) -> Result<Settings, String> {
        let variables = variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        let settings = Settings::load(None, variables)?;
        settings.validate()?;
        Ok(settings)
    }

    #[test]
    fn the_defaults_are_valid() {
        load(&[]).unwrap();
    }

    #[test]
    fn a_variable_reaches_a_nested_hyphenated_field() {
        let settings =
            load(&[("BREAKERBOX_SERVICES__ML_API__PORT", "9999"), ("BREAKERBOX_ADMIN_TOKEN", "s3cret")]).unwrap();
        assert_eq!(settings.services[&ServiceName::MlApi].port, 9999);
        assert!(settings.admin.token.is_some());
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (variable, value, expected) in [
            ("BREAKERBOX_TRAFIC__RATE", "3", "trafic"),
            ("BREAKERBOX_TRAFFIC__RATE", "-3", "traffic.rate"),
            ("BREAKERBOX_SERVICES__GATEWAY__PORT", "http", "port"),
            ("BREAKERBOX_FAULTS__ML_API__ERROR_RATE", "1.5", "faults.ml-api.error"),
            ("BREAKERBOX_POLICIES__GATEWAY__USER__PRESET", "fast", "policies.gateway.user"),
            ("BREAKERBOX_POLICIES__USER__CATALOG__PRESET", "database", "policies.user.catalog"),
        ] {
            let error = load(&[(variable, value)]).unwrap_err();
            assert!(error.contains(expected), "{variable}={value}: {error}");
        }
    }
}
