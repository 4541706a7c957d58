//! recommendation: the predictions of ml-api with titles, or a fallback when they are unavailable.
//!
//! ## The chain
//!
//! live → the viewer's own last live answer, unless it is too old → the most watched films. Each step is worse than the
//! one before and depends on less: the cache on an earlier success, the popular list on nothing. So the chain always
//! has an answer, and `source` and `notice` name it. Failures are not hidden: every fallback is counted, with its
//! reason and the age of the answer.
//!
//! Without protection there is no chain: ml-api's failure is passed on to the caller.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use super::data::{Histories, VIEWERS, films};
use super::ml_api::MOST_FILMS;
use super::wire::{PredictedFilm, Prediction, Recommendation, Recommendations, Source};
use crate::client::{Cache, Client, Context, Error, FallbackKind, Fallbacks, Request, Telemetry};
use crate::web::params;
use crate::web::problem::{Problem, Query};
use breakerbox_resilience::SettingsError;
use breakerbox_resilience::fallback::Aged;
use breakerbox_telemetry::FallbackReason;

/// Methods and routes whose series exist before the first request.
pub const ROUTES: &[(&str, &str)] = &[("GET", "/recommendations/{user}")];

/// Number of films requested from ml-api for every caller, so that one cached answer serves all.
const PREDICTED: u32 = MOST_FILMS;

/// Settings of recommendation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct RecommendationSettings {
    /// Capacity of the cache of live answers, in viewers. 200 viewers take about 200 KiB.
    pub cache_capacity: usize,
    /// Age from which a cached answer is no longer served.
    #[serde(with = "humantime_serde")]
    pub cache_stale_after: Duration,
}

impl Default for RecommendationSettings {
    fn default() -> Self {
        Self { cache_capacity: 10_000, cache_stale_after: Duration::from_mins(10) }
    }
}

impl RecommendationSettings {
    /// Validates capacity (1–100 000) and maximum age (1 s to 1 day).
    pub fn validate(&self) -> Result<(), String> {
        if !(1..=100_000).contains(&self.cache_capacity) {
            let size = self.cache_capacity;
            return Err(SettingsError::new("recommendation.cache-capacity", size, "from 1 to 100000").to_string());
        }
        if !(Duration::from_secs(1)..=Duration::from_hours(24)).contains(&self.cache_stale_after) {
            let age = humantime::format_duration(self.cache_stale_after);
            return Err(SettingsError::new("recommendation.cache-stale-after", age, "from 1s to 1day").to_string());
        }
        Ok(())
    }
}

/// The two clients of ml-api.
#[derive(Clone)]
pub struct MlApiClients {
    /// With the policy.
    pub protected: Client,
    /// For requests without protection.
    pub bare: Client,
}

/// State of recommendation. Cheap to clone.
#[derive(Clone)]
pub struct RecommendationState {
    inner: Arc<Inner>,
}

struct Inner {
    ml_api: MlApiClients,
    fallbacks: Fallbacks,
    last_live: Cache<u32, Arc<[PredictedFilm]>>,
    popular: Vec<Recommendation>,
}

impl RecommendationState {
    /// A service that calls ml-api. `seed` is that of the viewing histories, which determine popularity.
    pub fn new(
        settings: &RecommendationSettings,
        ml_api: MlApiClients,
        telemetry: &Telemetry,
        seed: u64,
    ) -> Result<Self, String> {
        settings.validate()?;
        let kinds = [FallbackKind::Cache, FallbackKind::Popular];
        let (service, dependency) = (ml_api.protected.service(), ml_api.protected.dependency());
        let fallbacks = Fallbacks::new(service, dependency, &kinds, telemetry);
        let last_live = Cache::new(settings.cache_capacity, settings.cache_stale_after);
        let popular = popular(seed);
        Ok(Self { inner: Arc::new(Inner { ml_api, fallbacks, last_live, popular }) })
    }

    async fn live(&self, context: &Context, user: u32) -> Result<Arc<[PredictedFilm]>, Error> {
        let MlApiClients { protected, bare } = &self.inner.ml_api;
        let client = if context.protection { protected } else { bare };
        let request = Request::get(format!("/predict/{user}")).query(&[("limit", &PREDICTED.to_string())]);
        client.call_json(context, request).await.map(|prediction: Prediction| prediction.items.into())
    }

    async fn fallback(&self, user: u32, limit: usize, reason: FallbackReason) -> Recommendations {
        let Inner { fallbacks, last_live, popular, .. } = &*self.inner;
        let cached = |films: Arc<[PredictedFilm]>| (Source::Cache, with_titles(&films, limit));
        let popular = || (Source::Popular, popular.iter().take(limit).cloned().collect());
        let chain = last_live.chain_with(&user, cached).await;
        let chain = chain.or(FallbackKind::Popular, async { Some(Aged::fresh(popular())) }).await;
        let served = fallbacks.finish(chain, reason);
        let age = served.as_ref().and_then(|served| served.age);
        let (source, items) = served.map_or_else(popular, |served| served.value);
        Recommendations::new(source, items).aged(age)
    }
}

/// The service.
pub fn router(state: RecommendationState) -> Router {
    Router::new().route("/recommendations/{user}", get(recommend)).with_state(state)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RecommendQuery {
    limit: Option<String>,
}

async fn recommend(
    State(state): State<RecommendationState>,
    context: Context,
    Path(user): Path<String>,
    Query(query): Query<RecommendQuery>,
) -> Result<Json<Recommendations>, Problem> {
    let user = params::id("user", &user)?;
    let limit = params::number("limit", query.limit.as_deref(), 10, &(1..=MOST_FILMS))? as usize;
    // Checked here, so that any error of ml-api below counts as its failure and not as the caller's.
    if user > VIEWERS {
        return Err(Problem::not_found(format!("there is no viewer {user}")));
    }
    match state.live(&context, user).await {
        Ok(films) => {
            let items = with_titles(&films, limit);
            state.inner.last_live.put(user, films);
            Ok(Json(Recommendations::new(Source::Live, items)))
        }
        Err(error) if context.protection => Ok(Json(state.fallback(user, limit, error.reason()).await)),
        Err(error) => Err(error.into()),
    }
}

/// The films of a prediction. Films that are missing in this catalog are left out.
fn with_titles(films: &[PredictedFilm], limit: usize) -> Vec<Recommendation> {
    let known = films.iter().filter_map(|predicted| {
        Some(Recommendation {
            film: films::by_id(predicted.film_id)?.clone(),
            score: predicted.score,
            because: films::by_id(predicted.because).map(Into::into),
        })
    });
    known.take(limit).collect()
}

/// The most watched films, scored by the share of viewers who watched them.
fn popular(seed: u64) -> Vec<Recommendation> {
    let viewers = f64::from(VIEWERS);
    let most_watched = Histories::seeded(seed).most_watched();
    let recommend = |(film, views): (&super::wire::Film, u32)| Recommendation {
        film: film.clone(),
        score: f64::from(views) / viewers,
        because: None,
    };
    most_watched.into_iter().take(MOST_FILMS as usize).map(recommend).collect()
}

#[cfg(test)]
mod tests;
