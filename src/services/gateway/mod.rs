//! Public API gateway.
//!
//! A page always loads. An answer missing because a service fails is replaced, in this order: by an earlier answer, by
//! the most watched films, by a notice. Each answer names its source.
//!
//! `gateway-bare` is the same code with [`Protection::Off`]: no fallback, no breaker, no timeout, and one pool of slots
//! shared by calls to all dependencies. A dependency's error becomes its own error, and a dependency that hangs
//! occupies every slot of the pool, until pages that do not need it fail, too.

mod answers;
mod limits;
mod pages;
mod shop;
mod viewer;

use std::sync::Arc;
use std::time::Duration;

use axum::routing::{get, post};
use axum::{Router, middleware};
use serde::{Deserialize, Serialize};

use self::pages::Me;
use super::ServiceName;
use super::wire::{Film, FilmList, FilmPage, Recommendations, VerifyReply};
use crate::client::{Cache, Client, FallbackKind, Fallbacks, Telemetry};
use crate::clock::Clock;
use crate::services::data::Histories;
use crate::web::problem::Problem;
use breakerbox_resilience::limiter::{LimitBy, RateLimiterSettings};

/// Methods and routes whose series exist before the first request.
pub const ROUTES: &[(&str, &str)] = &[
    ("GET", "/api/home"),
    ("GET", "/api/movies"),
    ("GET", "/api/movies/{id}"),
    ("GET", "/api/recommendations"),
    ("POST", "/api/login"),
    ("GET", "/api/me"),
    ("POST", "/api/me/history"),
    ("POST", "/api/checkout"),
    ("GET", "/api/orders"),
    ("GET", "/api/orders/{id}"),
    ("DELETE", "/api/orders/{id}"),
    ("GET", "/api/premieres/{id}"),
];

/// Whether a route is a page that viewers look at, rather than an account or order operation.
#[must_use]
pub fn is_page(route: &str) -> bool {
    matches!(route, "/api/home" | "/api/recommendations") || route.starts_with("/api/movies")
}

/// Notice for viewers when the catalog's rows are not live.
pub const CATALOG_NOTICE: &str = "영화 목록을 잠시 사용할 수 없습니다";

/// Whether the gateway is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// Policies and fallbacks.
    On,
    /// Neither.
    Off,
}

/// Settings of the gateway.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct GatewaySettings {
    /// Total time budget of a page; every hop behind the gateway gets the remaining time.
    #[serde(with = "humantime_serde")]
    pub page_budget: Duration,
    /// Maximum age of a cached answer when it is served.
    #[serde(with = "humantime_serde")]
    pub stale_after: Duration,
    /// Capacity of the cache, for each kind of page.
    pub cached_answers: usize,
    /// How long a verified token stays valid while the user service cannot be reached.
    #[serde(with = "humantime_serde")]
    pub session_grace: Duration,
    /// Rate limit of placing and reading orders, per viewer.
    pub rate_limit: RateLimiterSettings,
    /// Rate limit of requests per client address. Trusted peers, such as the load generator, are exempt.
    pub client_limit: RateLimiterSettings,
    /// Rate limit of login attempts per client address.
    pub login_limit: RateLimiterSettings,
    /// Rate limit of login attempts per account, from any address.
    pub account_limit: RateLimiterSettings,
}

impl Default for GatewaySettings {
    fn default() -> Self {
        Self {
            page_budget: Duration::from_secs(3),
            stale_after: Duration::from_secs(600),
            cached_answers: 512,
            session_grace: Duration::from_secs(300),
            rate_limit: RateLimiterSettings { limit_by: LimitBy::SlidingLog, ..RateLimiterSettings::default() },
            client_limit: limits::per(200, 1),
            login_limit: limits::per(60, 60),
            account_limit: limits::per(20, 60),
        }
    }
}

impl GatewaySettings {
    /// Validates the settings; an error names the field and its allowed values.
    pub fn validate(&self) -> Result<(), String> {
        if !(Duration::from_millis(50)..=Duration::from_secs(60)).contains(&self.page_budget) {
            return Err(format!("gateway.page-budget: {:?} is not within 50ms–60s", self.page_budget));
        }
        if !(1..=100_000).contains(&self.cached_answers) {
            return Err(format!("gateway.cached-answers: {} is not within 1–100000", self.cached_answers));
        }
        let limits = [
            ("rate-limit", &self.rate_limit),
            ("client-limit", &self.client_limit),
            ("login-limit", &self.login_limit),
            ("account-limit", &self.account_limit),
        ];
        for (field, limit) in limits {
            limit.validate().map_err(|error| error.within(&format!("gateway.{field}")).to_string())?;
        }
        Ok(())
    }
}

/// The services a gateway calls.
pub struct Clients {
    /// Accounts.
    pub user: Client,
    /// Films.
    pub catalog: Client,
    /// Recommendations.
    pub recommendation: Client,
    /// Orders.
    pub checkout: Client,
}

/// A gateway. Cheap to clone.
#[derive(Clone)]
pub struct GatewayState {
    inner: Arc<Inner>,
}

struct Inner {
    clients: Clients,
    protection: Protection,
    user_fallbacks: Fallbacks,
    catalog_fallbacks: Fallbacks,
    recommendation_fallbacks: Fallbacks,
    sessions: Cache<String, VerifyReply>,
    pages: Cache<String, FilmPage>,
    films: Cache<u32, Film>,
    popular: Cache<(), FilmList>,
    /// The popular titles embedded in the program.
    shipped: FilmList,
    profiles: Cache<u32, Me>,
    recommended: Cache<u32, Recommendations>,
    limits: limits::Limits,
    shop: shop::Shop,
    clock: Clock,
}

impl GatewayState {
    /// A gateway over these clients; it counts its fallbacks under `service`. `seed` is that of the viewing histories,
    /// which determine popularity.
    pub fn new(
        service: ServiceName,
        protection: Protection,
        settings: &GatewaySettings,
        clients: Clients,
        telemetry: &Telemetry,
        seed: u64,
    ) -> Result<Self, String> {
        use FallbackKind::{Cache as Cached, Notice, Popular};
        let most_watched = Histories::seeded(seed).most_watched();
        let shipped = most_watched.into_iter().take(answers::ROW as usize).map(|(film, _)| film.clone()).collect();
        let fallbacks = |dependency: ServiceName, kinds: &[FallbackKind]| {
            Fallbacks::new(service.as_str(), dependency.as_str(), kinds, telemetry)
        };
        let (many, stale) = (settings.cached_answers, settings.stale_after);
        let inner = Inner {
            user_fallbacks: fallbacks(ServiceName::User, &[Cached, Notice]),
            catalog_fallbacks: fallbacks(ServiceName::Catalog, &[Cached, Popular, Notice]),
            recommendation_fallbacks: fallbacks(ServiceName::Recommendation, &[Cached, Popular]),
            clients,
            protection,
            sessions: Cache::new(many, settings.session_grace),
            pages: Cache::new(many, stale),
            films: Cache::new(many, stale),
            popular: Cache::new(1, stale),
            shipped: FilmList { items: shipped },
            profiles: Cache::new(many, stale),
            recommended: Cache::new(many, stale),
            limits: limits::Limits::new(service, settings, telemetry)?,
            shop: shop::Shop::new(service, &settings.rate_limit, telemetry)?,
            clock: Clock::system(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }
}

/// Routes of the public API.
pub fn router(state: GatewayState) -> Router {
    Router::new()
        .route("/api/home", get(pages::home))
        .route("/api/movies", get(pages::movies))
        .route("/api/movies/{id}", get(pages::movie))
        .route("/api/recommendations", get(pages::recommendations))
        .route("/api/login", post(pages::login))
        .route("/api/me", get(pages::me))
        .route("/api/me/history", post(pages::watch))
        .route("/api/checkout", post(shop::checkout))
        .route("/api/orders", get(shop::orders))
        .route("/api/orders/{id}", get(shop::order).delete(shop::cancel))
        .route("/api/premieres/{id}", get(shop::premiere))
        .layer(middleware::from_fn_with_state(state.clone(), limits::client))
        .fallback(|| async { Problem::not_found("no such page; the API begins at /api/home") })
        .with_state(state)
}
