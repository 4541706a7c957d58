//! The settings that services are built from, policies resolved.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::faults::FaultPlan;
use crate::ingress::ConnectionSettings;
use crate::services::ServiceName;
use crate::services::catalog::CatalogSettings;
use crate::services::checkout::CheckoutSettings;
use crate::services::gateway::GatewaySettings;
use crate::services::inventory::InventorySettings;
use crate::services::ml_api::MlApiSettings;
use crate::services::payment_gateway::PaymentSettings;
use crate::services::recommendation::RecommendationSettings;
use crate::services::user::UserSettings;
use crate::store::StoreSettings;
use crate::web::trust::InternalSettings;
use breakerbox_resilience::policy::PolicySettings;

/// Where a service listens and is reached.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ServiceSettings {
    /// Its port; 0 for any that is free.
    pub port: u16,
    /// How others reach it; when left out, on its host and port.
    pub url: Option<String>,
}

/// Everything that services are built from.
#[derive(Clone, Debug)]
pub struct Blueprint {
    /// Address that the gateways listen on.
    pub host: IpAddr,
    /// Services behind the gateways: where they listen, and which callers they trust.
    pub internal: InternalSettings,
    /// Bounds of connections.
    pub connections: ConnectionSettings,
    /// Seed of faults, histories and jitter.
    pub seed: u64,
    /// Where each service listens and is reached.
    pub services: BTreeMap<ServiceName, ServiceSettings>,
    /// How calls are protected, by caller and dependency.
    pub policies: BTreeMap<(ServiceName, ServiceName), PolicySettings>,
    /// Faults that are there from the start.
    pub faults: BTreeMap<ServiceName, FaultPlan>,
    /// The gateway's own.
    pub gateway: GatewaySettings,
    /// The user service's own.
    pub user: UserSettings,
    /// The catalog's own.
    pub catalog: CatalogSettings,
    /// The recommendation service's own.
    pub recommendation: RecommendationSettings,
    /// The ranking service's own.
    pub ml_api: MlApiSettings,
    /// The checkout's own.
    pub checkout: CheckoutSettings,
    /// The inventory's own.
    pub inventory: InventorySettings,
    /// The payment gateway's own.
    pub payment_gateway: PaymentSettings,
    /// Where databases are.
    pub store: StoreSettings,
}

impl Blueprint {
    /// The address that a service listens on: `host` for a gateway, `internal.host` for what is behind.
    #[must_use]
    pub fn host_of(&self, service: ServiceName) -> IpAddr {
        if service.is_public() { self.host } else { self.internal.host }
    }

    /// Where a service is reached: where the settings say, where this process listens for it
    /// (`bound`), or at its port on the common host.
    pub fn url(&self, bound: &BTreeMap<ServiceName, SocketAddr>, service: ServiceName) -> Result<String, String> {
        let settings = self.services.get(&service).ok_or_else(|| format!("services.{service}: is missing"))?;
        if let Some(url) = &settings.url {
            return Ok(url.clone());
        }
        let address =
            bound.get(&service).copied().unwrap_or_else(|| SocketAddr::new(self.host_of(service), settings.port));
        Ok(format!("http://{address}"))
    }
}
