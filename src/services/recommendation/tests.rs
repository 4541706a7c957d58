use std::sync::{Mutex, OnceLock};

use axum::response::IntoResponse;
use http::{HeaderMap, Request as HttpRequest, StatusCode};
use serde_json::json;

use super::*;
use crate::client::{SharedPool, Transport};
use crate::services::ml_api::{self, MlApiSettings, MlApiState};
use crate::services::testing::{get, problem, send};
use crate::services::wire::RECOMMENDATIONS_NOTICE;
use breakerbox_resilience::bulkhead::{Bulkhead, BulkheadSettings};
use breakerbox_resilience::policy::PolicySettings;
use breakerbox_telemetry::{Metrics, TransitionLog};

/// An ml-api that answers with this status while one is set.
#[derive(Clone, Default)]
struct Switch(Arc<Mutex<Option<StatusCode>>>);

impl Switch {
    fn fail(&self, status: StatusCode) {
        *self.0.lock().unwrap() = Some(status);
    }

    fn router(&self) -> Router {
        let switch = self.clone();
        let gate = axum::middleware::from_fn(move |request, next: axum::middleware::Next| {
            let status = *switch.0.lock().unwrap();
            async move {
                match status {
                    Some(status) => status.into_response(),
                    None => next.run(request).await,
                }
            }
        });
        ml_api::router(MlApiState::new(&MlApiSettings::default(), 7).unwrap()).layer(gate)
    }
}

fn service() -> (Router, Switch) {
    let switch = Switch::default();
    let telemetry = Telemetry { metrics: Metrics::new(&[]), transitions: TransitionLog::new() };
    let clients = clients(&switch.router(), &telemetry);
    let state = RecommendationState::new(&RecommendationSettings::default(), clients, &telemetry, 7).unwrap();
    (router(state), switch)
}

fn clients(ml_api: &Router, telemetry: &Telemetry) -> MlApiClients {
    let transport = || Transport::InProcess(Arc::new(OnceLock::from(ml_api.clone())));
    let policy = PolicySettings::default();
    let pool = SharedPool::unwatched(Bulkhead::new(&BulkheadSettings::default()).unwrap());
    MlApiClients {
        protected: Client::new("recommendation", "ml-api", &policy, transport(), telemetry, 1).unwrap(),
        bare: Client::bare("recommendation", "ml-api", transport(), &pool),
    }
}

fn films(recommendations: &Recommendations) -> Vec<u32> {
    recommendations.items.iter().map(|item| item.film.id).collect()
}

#[tokio::test(start_paused = true)]
async fn live_recommendations_have_titles_reasons_and_no_notice() {
    let (service, _) = service();
    let live: Recommendations = get(service, "/recommendations/7?limit=5").await;
    assert_eq!((live.source, live.items.len(), live.notice), (Source::Live, 5, None));
    let watched = Histories::seeded(7);
    let watched = watched.watched(7).unwrap();
    for item in live.items {
        let because = item.because.unwrap();
        assert!(watched.contains(&because.id) && !watched.contains(&item.film.id));
        assert!(!because.title.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_serves_the_last_live_answer_with_the_notice() {
    let (service, ml_api) = service();
    let live: Recommendations = get(service.clone(), "/recommendations/7?limit=3").await;
    ml_api.fail(StatusCode::INTERNAL_SERVER_ERROR);
    let cached: Recommendations = get(service.clone(), "/recommendations/7?limit=5").await;
    assert_eq!((cached.source, cached.items.len()), (Source::Cache, 5));
    assert_eq!(cached.items[..3], live.items);
    assert_eq!(cached.notice.as_deref(), Some(RECOMMENDATIONS_NOTICE));
}

#[tokio::test(start_paused = true)]
async fn a_viewer_without_a_live_answer_gets_what_is_popular() {
    let (service, ml_api) = service();
    let live: Recommendations = get(service.clone(), "/recommendations/7").await;
    ml_api.fail(StatusCode::SERVICE_UNAVAILABLE);
    let popular: Recommendations = get(service.clone(), "/recommendations/8").await;
    assert_eq!((popular.source, popular.items.len()), (Source::Popular, 10));
    assert!(popular.items.iter().all(|item| item.because.is_none() && item.score > 0.0 && item.score <= 1.0));
    assert_ne!(films(&popular), films(&live));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_grew_too_old_gives_way_to_what_is_popular() {
    let (service, ml_api) = service();
    let _: Recommendations = get(service.clone(), "/recommendations/7").await;
    ml_api.fail(StatusCode::INTERNAL_SERVER_ERROR);
    // Well below the maximum age, because retries take time, too.
    tokio::time::advance(Duration::from_mins(9)).await;
    let answer: Recommendations = get(service.clone(), "/recommendations/7").await;
    assert_eq!(answer.source, Source::Cache);
    tokio::time::advance(Duration::from_mins(2)).await;
    let answer: Recommendations = get(service.clone(), "/recommendations/7").await;
    assert_eq!(answer.source, Source::Popular);
}

#[tokio::test(start_paused = true)]
async fn without_protection_the_failure_is_passed_on() {
    let (service, ml_api) = service();
    let unprotected = || {
        let mut headers = HeaderMap::new();
        headers.insert(crate::client::PROTECTION_HEADER, "off".parse().unwrap());
        let mut request = HttpRequest::get("/recommendations/7").body(axum::body::Body::empty()).unwrap();
        *request.headers_mut() = headers;
        request
    };
    let (status, live) = send(service.clone(), unprotected()).await;
    assert_eq!((status, &live["source"]), (200, &json!("live")));
    for (theirs, ours) in [(500, 502), (503, 503), (504, 504)] {
        ml_api.fail(StatusCode::from_u16(theirs).unwrap());
        assert_eq!(send(service.clone(), unprotected()).await.0, ours);
    }
}

#[tokio::test(start_paused = true)]
async fn a_protected_page_loads_for_any_answer_of_ml_api() {
    let (service, ml_api) = service();
    for status in [400, 404, 418, 429, 500, 503] {
        ml_api.fail(StatusCode::from_u16(status).unwrap());
        let answer: Recommendations = get(service.clone(), "/recommendations/9").await;
        assert_eq!(answer.source, Source::Popular, "{status}");
    }
}

#[tokio::test]
async fn wrong_input_is_refused_before_ml_api_is_asked() {
    let (service, ml_api) = service();
    ml_api.fail(StatusCode::INTERNAL_SERVER_ERROR);
    for path in ["/recommendations/7?limit=0", "/recommendations/7?limit=51", "/recommendations/me"] {
        assert_eq!(problem(service.clone(), path).await.0, 400, "{path}");
    }
    assert_eq!(problem(service, "/recommendations/201").await.0, 404);
}

#[test]
fn films_the_catalog_does_not_have_are_left_out() {
    let film = |film_id| PredictedFilm { film_id, score: 0.5, because: 9999 };
    let named = with_titles(&[film(9999), film(1), film(2)], 1);
    assert_eq!(named.iter().map(|item| (item.film.id, item.because.clone())).collect::<Vec<_>>(), [(1, None)]);
}

#[test]
fn settings_out_of_range_are_refused_by_name() {
    let settings = |text: &str| toml::from_str::<RecommendationSettings>(text).unwrap().validate();
    assert_eq!(settings(""), Ok(()));
    assert!(settings("cache-capacity = 0").unwrap_err().starts_with("recommendation.cache-capacity = 0"));
    assert!(settings("cache-stale-after = \"2days\"").unwrap_err().starts_with("recommendation.cache-stale-after"));
}
