//! The settings from which services are built, with resolved policies.

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

/// Where a service listens, and its URL.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ServiceSettings {
    /// Its port; 0 for any free one.
    pub port: u16,
    /// Its URL for callers; if left out, derived from its host and port.
    pub url: Option<String>,
}

/// Everything from which services are built.
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
    /// Where each service listens, and its URL.
    pub services: BTreeMap<ServiceName, ServiceSettings>,
    /// How calls are protected, by caller and dependency.
    pub policies: BTreeMap<(ServiceName, ServiceName), PolicySettings>,
    /// Default faults.
    pub faults: BTreeMap<ServiceName, FaultPlan>,
    /// Settings of the gateway.
    pub gateway: GatewaySettings,
    /// Settings of the user service.
    pub user: UserSettings,
    /// Settings of the catalog.
    pub catalog: CatalogSettings,
    /// Settings of the recommendation service.
    pub recommendation: RecommendationSettings,
    /// Settings of the ranking service.
    pub ml_api: MlApiSettings,
    /// Settings of checkout.
    pub checkout: CheckoutSettings,
    /// Settings of the inventory.
    pub inventory: InventorySettings,
    /// Settings of the payment gateway.
    pub payment_gateway: PaymentSettings,
    /// Database URLs and connection pools.
    pub store: StoreSettings,
}

impl Blueprint {
    /// The address on which a service listens: `host` for a gateway, `internal.host` for the services behind it.
    #[must_use]
    pub fn host_of(&self, service: ServiceName) -> IpAddr {
        if service.is_public() { self.host } else { self.internal.host }
    }

    /// The URL of a service: the configured one, the address on which this process listens for it (`bound`), or its
    /// port on the common host.
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
