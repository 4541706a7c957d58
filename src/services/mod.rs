//! The streaming site: one file per service, the types they speak in, and their errors.

pub mod catalog;
pub mod data;
pub mod gateway;
pub mod ml_api;
mod params;
pub mod problem;
pub mod recommendation;
pub mod recommender;
#[cfg(test)]
mod testing;
pub mod user;
pub mod wire;

use serde::{Deserialize, Serialize};

/// Every service there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum ServiceName {
    /// The viewers' door, protected.
    Gateway,
    /// The same door with every protection off.
    GatewayBare,
    /// Accounts, tokens, viewing histories.
    User,
    /// The films.
    Catalog,
    /// Personal recommendations.
    Recommendation,
    /// The outside party that ranks films; flaky on purpose.
    MlApi,
}

impl ServiceName {
    /// All of them, callers before what they call.
    pub const ALL: &[Self] =
        &[Self::Gateway, Self::GatewayBare, Self::User, Self::Catalog, Self::Recommendation, Self::MlApi];

    /// Spelled as in labels, settings and on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::GatewayBare => "gateway-bare",
            Self::User => "user",
            Self::Catalog => "catalog",
            Self::Recommendation => "recommendation",
            Self::MlApi => "ml-api",
        }
    }

    /// The services it calls.
    #[must_use]
    pub fn dependencies(self) -> &'static [Self] {
        match self {
            Self::Gateway | Self::GatewayBare => &[Self::User, Self::Catalog, Self::Recommendation],
            Self::Recommendation => &[Self::MlApi],
            Self::User | Self::Catalog | Self::MlApi => &[],
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
