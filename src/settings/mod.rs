//! Everything that can be configured, in layers: embedded defaults → a file → `BREAKERBOX_*`
//! variables → flags. The whole is validated before anything starts.
//!
//! `BREAKERBOX_SERVICES__GATEWAY__PORT=9080` sets `services.gateway.port`: two underscores separate levels, one stands
//! for a hyphen.

mod blueprint;
mod layers;
pub(crate) mod policies;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::layers::{Node, Source};
use crate::admin::AdminSettings;
use crate::faults::FaultPlan;
use crate::ingress::ConnectionSettings;
use crate::services::ServiceName;
use crate::services::{catalog, checkout, gateway, inventory, ml_api, payment_gateway, recommendation, user};
use crate::store::StoreSettings;
use crate::traffic::TrafficSettings;
use crate::web::trust::InternalSettings;
use breakerbox_telemetry::TelemetrySettings;

pub use blueprint::{Blueprint, ServiceSettings};

/// The embedded defaults, which also serve as the reference of all settings.
pub const DEFAULTS: &str = include_str!("default.toml");

const PREFIX: &str = "BREAKERBOX_";
/// Upper limit of every duration.
const LONGEST: Duration = Duration::from_hours(365 * 24);
/// Variables of the command line that are not settings.
const NOT_SETTINGS: &[&str] = &["CONFIG", "ADMIN_URL", "PROMETHEUS_URL", "PROMETHEUS_TOKEN", "ALERTMANAGER_URL"];

/// All settings.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// Address that the gateways listen on.
    pub host: IpAddr,
    /// Seed of all randomness: faults, traffic, viewing histories, jitter.
    pub seed: u64,
    /// Services behind the gateways: where they listen, and which callers they trust.
    pub internal: InternalSettings,
    /// Limits of connections, on every port.
    pub connections: ConnectionSettings,
    /// The admin port.
    pub admin: AdminSettings,
    /// Logs and traces.
    pub telemetry: TelemetrySettings,
    /// Where each service listens, and its URL.
    pub services: BTreeMap<ServiceName, ServiceSettings>,
    /// Settings of the gateway.
    pub gateway: gateway::GatewaySettings,
    /// Settings of the user service.
    pub user: user::UserSettings,
    /// Settings of the catalog.
    pub catalog: catalog::CatalogSettings,
    /// Settings of the recommendation service.
    pub recommendation: recommendation::RecommendationSettings,
    /// Settings of the ranking service.
    pub ml_api: ml_api::MlApiSettings,
    /// Settings of checkout.
    pub checkout: checkout::CheckoutSettings,
    /// Settings of the inventory.
    pub inventory: inventory::InventorySettings,
    /// Settings of the payment gateway.
    pub payment_gateway: payment_gateway::PaymentSettings,
    /// Database URLs and connection pools.
    pub store: StoreSettings,
    /// Policies of calls, by service and dependency.
    pub policies: BTreeMap<ServiceName, BTreeMap<ServiceName, serde_json::Value>>,
    /// Default faults.
    #[serde(serialize_with = "hyphenated")]
    pub faults: BTreeMap<ServiceName, FaultPlan>,
    /// The viewers.
    pub traffic: TrafficSettings,
    /// The timeline of faults.
    pub scenario: ScenarioSettings,
    /// The source of each value.
    #[serde(skip, default = "Node::empty")]
    layers: Node,
}

/// Which timeline of faults runs.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ScenarioSettings {
    /// Whether a timeline of faults runs.
    pub enabled: bool,
    /// A file to use instead of the default one.
    pub file: Option<PathBuf>,
}

impl Settings {
    /// Adds `offset` to every port of this process except 0.
    pub(crate) fn move_ports(&mut self, offset: u16) {
        let moved = |port: u16| if port == 0 { 0 } else { port.saturating_add(offset) };
        self.admin.listen.set_port(moved(self.admin.listen.port()));
        for service in self.services.values_mut() {
            service.port = moved(service.port);
        }
    }

    /// Reads all layers except the flags, which the command line applies afterwards.
    ///
    /// `variables` are the environment variables.
    pub fn load(file: Option<&Path>, variables: impl Iterator<Item = (String, String)>) -> Result<Self, String> {
        let mut layers = Node::parse(DEFAULTS, &|_| Source::Default)?;
        if let Some(path) = file {
            layers.lay_over(layers::file(path)?);
        }
        for (path, value) in own_variables(variables) {
            layers.set(&path, value);
        }
        let mut settings: Self = layers.read()?;
        settings.layers = layers;
        settings.admin.read_token()?;
        settings.internal.read_token()?;
        settings.store.read_password()?;
        Ok(settings)
    }

    /// Validates all settings; an error names the field, its allowed values and the source of its value.
    pub fn validate(&self) -> Result<(), String> {
        self.check().map_err(|error| self.layers.located(error))
    }

    /// Records that a flag set the value at `path`.
    pub fn flagged(&mut self, path: &str, flag: &'static str) {
        self.layers.flagged(path, flag);
    }

    fn check(&self) -> Result<(), String> {
        self.check_durations()?;
        self.telemetry.validate()?;
        self.connections.validate()?;
        self.internal.validate()?;
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

    /// Checks that no duration is too long for its end to be represented.
    fn check_durations(&self) -> Result<(), String> {
        fn longer(path: &str, value: &serde_json::Value) -> Option<String> {
            match value {
                serde_json::Value::String(text) => {
                    let duration = humantime::parse_duration(text).ok()?;
                    (duration > LONGEST).then(|| format!("{path}: {text} must be at most 1year"))
                }
                serde_json::Value::Object(table) => table.iter().find_map(|(key, value)| {
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    longer(&path, value)
                }),
                _ => None,
            }
        }
        let all = serde_json::to_value(self).map_err(|error| error.to_string())?;
        longer("", &all).map_or(Ok(()), Err)
    }

    /// The settings from which the server builds the services.
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
                    "policies.{service}.{stray}: not a protected dependency of this service; must be one of {}",
                    known.join(", ")
                ));
            }
        }
        Ok(Blueprint {
            host: self.host,
            internal: self.internal.clone(),
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

/// Fault plans in the spelling of the settings. Their JSON uses underscores; both spellings can be read, but in one
/// table they would be two different fields.
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

/// The variables that are settings, without their prefix. The admin token has a short name as an alias.
fn own_variables(variables: impl Iterator<Item = (String, String)>) -> BTreeMap<String, String> {
    variables
        .filter_map(|(name, value)| {
            let key = name.strip_prefix(PREFIX)?;
            match key {
                "ADMIN_TOKEN" => Some(("ADMIN__TOKEN".to_owned(), value)),
                key if NOT_SETTINGS.contains(&key) => None,
                _ => Some((key.to_owned(), value)),
            }
        })
        .collect()
}

/// The environment variables that belong to this program.
pub fn variables(all: impl Iterator<Item = (OsString, OsString)>) -> Result<Vec<(String, String)>, String> {
    let own = all.filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
    let own = own.filter(|(name, _)| name.starts_with(PREFIX));
    own.map(|(name, value)| match value.into_string() {
        Ok(value) => Ok((name, value)),
        Err(_) => Err(format!("{name}: must be UTF-8 text")),
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
    fn invalid_numbers_are_refused_and_never_rounded() {
        for (variable, value, expected) in [
            (
                "SERVICES__GATEWAY__PORT",
                "8080.7",
                "services.gateway.port: 8080.7 must be a whole number from 0 to 65535",
            ),
            ("SERVICES__GATEWAY__PORT", "65536", "services.gateway.port: 65536 must be a whole number from 0 to 65535"),
            ("TRAFFIC__VIEWERS", "1.9", "traffic.viewers: 1.9 must be a whole number from 0 to 4294967295"),
            ("SEED", "18446744073709551616", "seed: 18446744073709551616 must be a whole number from 0 to"),
            ("SEED", "-1", "seed: -1 must be a whole number from 0 to"),
            ("TRAFFIC__RATE", "NaN", "traffic.rate: NaN must be a number"),
            ("TRAFFIC__ENABLED", "yes", "traffic.enabled: yes must be true or false"),
            ("TRAFFIC", "1", "traffic: 1 must be a table"),
        ] {
            let error = load(&[(&format!("BREAKERBOX_{variable}"), value)]).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
            assert!(error.ends_with(&format!(" (in BREAKERBOX_{variable})")), "{error}");
        }
        let seed = load(&[("BREAKERBOX_SEED", &u64::MAX.to_string())]).unwrap().seed;
        assert_eq!(seed, u64::MAX);
        // A text stays a text, whatever it looks like.
        assert!(load(&[("BREAKERBOX_ADMIN_TOKEN", "123")]).unwrap().admin.token.unwrap().matches("123"));
    }

    #[test]
    fn an_error_names_the_file_and_line() {
        let path = std::env::temp_dir().join(format!("breakerbox-settings-{}.toml", std::process::id()));
        let load = |text: &str, variables: &[(&str, &str)]| {
            std::fs::write(&path, text).unwrap();
            let variables = variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
            Settings::load(Some(&path), variables).and_then(|settings| settings.validate())
        };
        let at = |line: usize| format!("(in {}:{line})", path.display());
        let port = load("seed = 3\n\n[services]\ngateway = { port = 8080.5 }\n", &[]).unwrap_err();
        assert_eq!(port, format!("services.gateway.port: 8080.5 must be a whole number from 0 to 65535 {}", at(4)));
        let rate = load("[traffic]\n# many\nrate = -1\n", &[]).unwrap_err();
        assert!(rate.starts_with("traffic.rate: must be") && rate.ends_with(&at(3)), "{rate}");
        let unknown = load("\n[gateway]\npage-bugdet = \"1s\"\n", &[]).unwrap_err();
        assert!(unknown.contains("page-bugdet") && unknown.ends_with(&at(3)), "{unknown}");
        let policy = load("[policies.gateway.user]\nretry.max-attempts = 0\n", &[]).unwrap_err();
        assert!(policy.starts_with("policies.gateway.user.retry") && policy.ends_with(&at(2)), "{policy}");
        let syntax = load("seed = 3\nhost =\n", &[]).unwrap_err();
        assert!(syntax.starts_with(&format!("{}:2: ", path.display())) && !syntax.contains('\n'), "{syntax}");
        // Only the effective value is validated.
        assert_eq!(load("[traffic]\nrate = -1\n", &[("BREAKERBOX_TRAFFIC__RATE", "1")]), Ok(()));
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn durations_are_bounded() {
        for variable in
            ["CHECKOUT__DUPLICATE_WAIT", "GATEWAY__STALE_AFTER", "GATEWAY__SESSION_GRACE", "INVENTORY__SHOWING"]
        {
            let name = format!("BREAKERBOX_{variable}");
            let error = load(&[(&name, "500000000000y")]).unwrap_err();
            assert!(error.contains("1year") && error.ends_with(&format!("(in {name})")), "{error}");
        }
    }

    #[test]
    fn an_error_names_the_flag() {
        let mut settings = Settings::load(None, std::iter::empty()).unwrap();
        settings.traffic.rate = -1.0;
        settings.flagged("traffic.rate", "--rate");
        assert!(settings.validate().unwrap_err().ends_with("(in --rate)"));
    }

    #[cfg(unix)]
    #[test]
    fn a_variable_that_is_no_text_is_named() {
        use std::os::unix::ffi::OsStringExt as _;
        let bytes = OsString::from_vec(vec![0xff]);
        let foreign = ("OTHER".into(), bytes.clone());
        assert_eq!(variables(std::iter::once(foreign)), Ok(vec![]));
        let own = ("BREAKERBOX_HOST".into(), bytes);
        assert_eq!(variables(std::iter::once(own)).unwrap_err(), "BREAKERBOX_HOST: must be UTF-8 text");
    }

    #[test]
    fn no_secret_is_printed() {
        let settings = load(&[
            ("BREAKERBOX_STORE__URL", "postgres://someone:hush1@db/x"),
            ("BREAKERBOX_CHECKOUT__URL", "postgres://someone:hush2@db/x?password=hush3&a=b"),
            ("BREAKERBOX_PAYMENT_GATEWAY__URL", "postgres://:hush4@db/x"),
            ("BREAKERBOX_INVENTORY__URL", "sqlite:///tmp/x.db"),
            ("BREAKERBOX_ADMIN_TOKEN", "hush5"),
            ("BREAKERBOX_INTERNAL__TOKEN", "hush6 hush6 hush6 hush6"),
            ("BREAKERBOX_USER__TOKEN_KEY", "hush7 hush7 hush7 hush7 hush7 hush7"),
        ])
        .unwrap();
        let printed = toml::to_string(&settings).unwrap();
        assert!(!printed.contains("hush") && printed.contains("postgres://someone:***@db/x"), "{printed}");
        assert!(printed.contains("sqlite:///tmp/x.db"));
        let blueprint = settings.blueprint().unwrap();
        assert!(!format!("{settings:?}{blueprint:?}").contains("hush"), "not in a log line either");
    }

    #[test]
    fn errors_name_the_field() {
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
