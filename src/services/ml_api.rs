//! ml-api: the recommender behind its own API, like that of an external supplier.
//!
//! `GET /predict/{user}?limit&exclude`. It knows viewers and films by id only. It is made flaky by injected faults,
//! outside this module.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use super::data::{Histories, films};
use super::recommender::{Recommender, Tuning};
use super::wire::{PredictedFilm, Prediction};
use crate::web::params;
use crate::web::problem::{Problem, Query};
use breakerbox_resilience::SettingsError;

/// Methods and routes whose series exist before the first request.
pub const ROUTES: &[(&str, &str)] = &[("GET", "/predict/{user}")];

/// Maximum number of films in a prediction.
pub const MOST_FILMS: u32 = 50;
/// Maximum number of ids in `exclude`.
const MOST_EXCLUDED: usize = 200;

/// Settings of ml-api.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct MlApiSettings {
    /// Parameters of the model.
    pub tuning: Tuning,
}

impl MlApiSettings {
    /// Validates shrinkage (0–1000) and the number of witnesses (1–50).
    pub fn validate(&self) -> Result<(), String> {
        let Tuning { shrinkage, witnesses } = self.tuning;
        if !(0.0..=1000.0).contains(&shrinkage) {
            return Err(SettingsError::new("ml-api.tuning.shrinkage", shrinkage, "from 0 to 1000").to_string());
        }
        if !(1..=50).contains(&witnesses) {
            return Err(SettingsError::new("ml-api.tuning.witnesses", witnesses, "from 1 to 50").to_string());
        }
        Ok(())
    }
}

/// State of ml-api. Cheap to clone.
#[derive(Clone)]
pub struct MlApiState {
    inner: Arc<Inner>,
}

struct Inner {
    histories: Histories,
    model: Recommender,
}

impl MlApiState {
    /// Trains the model on the viewing histories of `seed`, which takes a few milliseconds.
    pub fn new(settings: &MlApiSettings, seed: u64) -> Result<Self, String> {
        settings.validate()?;
        let histories = Histories::seeded(seed);
        let model = Recommender::train(histories.iter(), films::all().len(), settings.tuning);
        Ok(Self { inner: Arc::new(Inner { histories, model }) })
    }
}

/// The service.
pub fn router(state: MlApiState) -> Router {
    Router::new().route("/predict/{user}", get(predict)).with_state(state)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PredictQuery {
    limit: Option<String>,
    exclude: Option<String>,
}

async fn predict(
    State(state): State<MlApiState>,
    Path(user): Path<String>,
    Query(query): Query<PredictQuery>,
) -> Result<Json<Prediction>, Problem> {
    let user = params::id("user", &user)?;
    let limit = params::number("limit", query.limit.as_deref(), 10, &(1..=MOST_FILMS))?;
    let exclude = params::ids("exclude", query.exclude.as_deref(), MOST_EXCLUDED)?;
    let watched =
        state.inner.histories.watched(user).ok_or_else(|| Problem::not_found(format!("there is no viewer {user}")))?;
    let suggestions = state.inner.model.recommend(watched, &exclude, limit as usize);
    let items = suggestions
        .into_iter()
        .map(|suggestion| PredictedFilm {
            film_id: suggestion.film_id,
            score: f64::from(suggestion.score),
            because: suggestion.because,
        })
        .collect();
    Ok(Json(Prediction { items }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::testing::{get, problem};

    fn service() -> Router {
        router(MlApiState::new(&MlApiSettings::default(), 7).unwrap())
    }

    #[tokio::test]
    async fn a_prediction_has_as_many_films_as_asked_for() {
        for (query, films) in [("", 10), ("?limit=1", 1), ("?limit=50", 50)] {
            let prediction: Prediction = get(service(), &format!("/predict/7{query}")).await;
            assert_eq!(prediction.items.len(), films, "{query}");
        }
    }

    #[tokio::test]
    async fn excluded_films_make_way_for_the_next_best() {
        let all: Prediction = get(service(), "/predict/7?limit=3").await;
        let path = format!("/predict/7?limit=2&exclude={}", all.items[0].film_id);
        let rest: Prediction = get(service(), &path).await;
        assert_eq!(rest.items, all.items[1..]);
    }

    #[tokio::test]
    async fn wrong_input_is_refused_by_name() {
        for (path, field) in [
            ("/predict/7?limit=0", "limit"),
            ("/predict/7?limit=51", "limit"),
            ("/predict/7?exclude=a", "exclude"),
            ("/predict/seven", "user"),
            ("/predict/7?lmit=3", "lmit"),
        ] {
            let (status, problem) = problem(service(), path).await;
            assert_eq!((status, problem["field"].as_str()), (400, Some(field)), "{path}: {problem}");
        }
        assert_eq!(problem(service(), "/predict/201").await.0, 404);
        assert_eq!(problem(service(), "/predict/0").await.0, 400);
    }

    #[test]
    fn settings_out_of_range_are_refused_by_name() {
        let refused = |text: &str| toml::from_str::<MlApiSettings>(text).unwrap().validate().unwrap_err();
        assert!(MlApiSettings::default().validate().is_ok());
        assert_eq!(refused("tuning.witnesses = 0"), "ml-api.tuning.witnesses = 0: must be from 1 to 50");
        assert!(refused("tuning.shrinkage = nan").starts_with("ml-api.tuning.shrinkage = NaN"));
    }
}
