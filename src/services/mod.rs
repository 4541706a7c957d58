//! The streaming site: a file or folder per service, and the types they exchange.

pub mod catalog;
pub mod checkout;
pub mod data;
pub mod gateway;
pub mod inventory;
pub mod ml_api;
pub mod notification;
pub mod payment_gateway;
pub mod recommendation;
pub mod recommender;
#[cfg(test)]
mod testing;
pub mod user;
pub mod wire;

use serde::{Deserialize, Serialize};
use tokio_util::task::TaskTracker;

/// Properties of the process in which services run.
#[derive(Clone, Debug, Default)]
pub struct Host {
    /// Whether Tokio's clock may be paused, which is the case without sockets.
    pub virtual_time: bool,
    /// Seed of random numbers under a paused clock, so that a run can be repeated.
    pub seed: u64,
    /// Tasks that continue after their request was answered. A graceful shutdown waits for them.
    pub tasks: TaskTracker,
}

/// The services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum ServiceName {
    /// The public gateway, with protection.
    Gateway,
    /// The public gateway without protection.
    GatewayBare,
    /// Accounts, tokens, viewing histories.
    User,
    /// The films.
    Catalog,
    /// Personal recommendations.
    Recommendation,
    /// The external party that ranks films; flaky on purpose.
    MlApi,
    /// Orders: rents and sells films.
    Checkout,
    /// Stock and reservations.
    Inventory,
    /// The external party that charges cards; flaky on purpose.
    PaymentGateway,
    /// Notifies viewers about their orders.
    Notification,
}

impl ServiceName {
    /// All services, callers before their dependencies.
    pub const ALL: &[Self] = &[
        Self::Gateway,
        Self::GatewayBare,
        Self::User,
        Self::Catalog,
        Self::Recommendation,
        Self::MlApi,
        Self::Checkout,
        Self::Inventory,
        Self::PaymentGateway,
        Self::Notification,
    ];

    /// Targets of faults that an edge can't inject: work that is done twice, or whose answer is lost or late.
    pub const KEEPS_BOOKS: &[&str] = &[Self::PaymentGateway.as_str()];

    /// Every target of faults: the services, and the stores behind them.
    pub fn fault_targets() -> impl Iterator<Item = &'static str> {
        Self::ALL.iter().flat_map(|service| std::iter::once(service.as_str()).chain(service.stores().iter().copied()))
    }

    /// Whether its callers are viewers rather than other services.
    #[must_use]
    pub const fn is_public(self) -> bool {
        matches!(self, Self::Gateway | Self::GatewayBare)
    }

    /// Its name in labels, settings and on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::GatewayBare => "gateway-bare",
            Self::User => "user",
            Self::Catalog => "catalog",
            Self::Recommendation => "recommendation",
            Self::MlApi => "ml-api",
            Self::Checkout => "checkout",
            Self::Inventory => "inventory",
            Self::PaymentGateway => "payment-gateway",
            Self::Notification => "notification",
        }
    }

    /// Targets of faults inside it: its stores.
    #[must_use]
    pub fn stores(self) -> &'static [&'static str] {
        match self {
            Self::User => &[user::PRIMARY, user::REPLICA],
            _ => &[],
        }
    }

    /// The services that it calls.
    #[must_use]
    pub fn dependencies(self) -> &'static [Self] {
        match self {
            Self::Gateway | Self::GatewayBare => &[Self::User, Self::Catalog, Self::Recommendation, Self::Checkout],
            Self::Recommendation => &[Self::MlApi],
            Self::Checkout => &[Self::User, Self::Inventory, Self::PaymentGateway, Self::Notification],
            Self::User | Self::Catalog | Self::MlApi | Self::Inventory | Self::PaymentGateway | Self::Notification => {
                &[]
            }
        }
    }
}

impl std::fmt::Display for ServiceName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for ServiceName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.iter().find(|service| service.as_str() == text).copied().ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|service| service.as_str()).collect();
            format!("{text:?} is no service; there are {}", known.join(", "))
        })
    }
}
