//! The pages of the public API.

use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};

use super::answers::{Sourced, nothing_but, relayed};
use super::viewer::Viewer;
use super::{CATALOG_NOTICE, GatewayState};
use crate::client::{Context, Error, FallbackKind, Request};
use crate::services::wire::{
    Film, FilmPage, History, HistoryEntry, Home, HomeRow, LoginReply, LoginRequest, Profile, Recommendations, Source,
    WatchRequest,
};
use crate::web::params;
use crate::web::problem::{Body, Problem, Query};
use crate::web::trust::Outsider;
use breakerbox_telemetry::Playback;

/// A page and its source.
pub(super) struct Page<T>(T, Source);

impl<T: Serialize> IntoResponse for Page<T> {
    fn into_response(self) -> Response {
        let playback = if self.1 == Source::Live { Playback::Ok } else { Playback::Degraded };
        (Extension(playback), Json(self.0)).into_response()
    }
}

/// A page of films for viewers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Movies {
    source: Source,
    notice: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    age_seconds: Option<u64>,
    #[serde(flatten)]
    page: FilmPage,
}

/// One film for viewers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Movie {
    source: Source,
    notice: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    age_seconds: Option<u64>,
    film: Option<Film>,
}

/// A viewer's own page.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Me {
    source: Source,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    age_seconds: Option<u64>,
    profile: Profile,
    history: History,
}

impl Me {
    /// Default profile of a viewer of whom only the id is known.
    fn default_of(user: u32) -> Self {
        let profile =
            Profile { id: user, username: format!("viewer {user}"), favourite_genres: Vec::new(), films_watched: 0 };
        let history = History { items: Vec::new(), total: 0 };
        Self { source: Source::None, age_seconds: None, profile, history }
    }
}

/// An age in whole seconds.
fn seconds(age: Option<Duration>) -> Option<u64> {
    age.map(|age| age.as_secs())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MoviesQuery {
    page: Option<String>,
    per_page: Option<String>,
    genre: Option<String>,
    q: Option<String>,
    sort: Option<String>,
}

pub(super) async fn home(
    State(state): State<GatewayState>,
    context: Context,
    headers: HeaderMap,
) -> Result<Page<Home>, Problem> {
    let personal = async {
        match state.viewer(&context, &headers).await? {
            Viewer::Known(user) => state.recommended(&context, user).await.map(Some),
            Viewer::Anonymous => Ok(None),
            Viewer::Unverified(reason) => Ok(Some(state.impersonal(reason).await)),
        }
    };
    let (popular, personal) = tokio::join!(state.popular(&context), personal);
    let (Sourced { value: popular, source, age }, personal) = (popular?, personal?);
    let title = "Popular now".to_owned();
    let rows = vec![HomeRow { title, source, age_seconds: seconds(age), items: popular.items }];
    let notice = (source != Source::Live).then(|| CATALOG_NOTICE.to_owned());
    // Anonymous viewers have no recommendations of their own, which is no degradation.
    let recommendations = personal.unwrap_or_else(|| Recommendations::new(Source::Live, Vec::new()));
    let worst = source.max(recommendations.source);
    Ok(Page(Home { source: worst, rows, recommendations, notice }, worst))
}

pub(super) async fn movies(
    State(state): State<GatewayState>,
    context: Context,
    Query(query): Query<MoviesQuery>,
) -> Result<Page<Movies>, Problem> {
    let page = params::number("page", query.page.as_deref(), 1, &(1..=10_000))?;
    let per_page = params::number("per_page", query.per_page.as_deref(), 20, &(1..=100))?;
    let (page_text, per_page_text) = (page.to_string(), per_page.to_string());
    let mut pairs = vec![("page", page_text.as_str()), ("per_page", per_page_text.as_str())];
    let optional = [("genre", &query.genre), ("q", &query.q), ("sort", &query.sort)];
    pairs.extend(optional.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?))));
    let request = Request::get("/films").query(&pairs);

    let key = request.path().to_owned();
    let inner = &state.inner;
    let result: Result<FilmPage, Error> = inner.clients.catalog.call_json(&context, request).await;
    let Sourced { value: films, source, age } = match state.or_problem(result)? {
        Ok(films) => {
            // Searches are not cached, because the same text is seldom searched again.
            if query.q.is_none() {
                inner.pages.put(key, films.clone());
            }
            for film in &films.items {
                inner.films.put(film.id, film.clone());
            }
            Sourced::live(films)
        }
        Err(error) => state.cached_page(&key, error.reason(), page, per_page).await,
    };
    let notice = (source != Source::Live).then(|| CATALOG_NOTICE.to_owned());
    Ok(Page(Movies { source, notice, age_seconds: seconds(age), page: films }, source))
}

pub(super) async fn movie(
    State(state): State<GatewayState>,
    context: Context,
    Path(id): Path<String>,
) -> Result<Page<Movie>, Problem> {
    let id = params::id("id", &id)?;
    let Sourced { value: film, source, age } = state.film(&context, id).await?;
    let notice = (source != Source::Live).then(|| CATALOG_NOTICE.to_owned());
    Ok(Page(Movie { source, notice, age_seconds: seconds(age), film }, source))
}

pub(super) async fn recommendations(
    State(state): State<GatewayState>,
    context: Context,
    headers: HeaderMap,
) -> Result<Page<Recommendations>, Problem> {
    let recommendations = match state.viewer(&context, &headers).await? {
        Viewer::Known(user) => state.recommended(&context, user).await?,
        Viewer::Unverified(reason) => state.impersonal(reason).await,
        Viewer::Anonymous => return Err(Problem::unauthorized("log in first: POST /api/login")),
    };
    let source = recommendations.source;
    Ok(Page(recommendations, source))
}

pub(super) async fn login(
    State(state): State<GatewayState>,
    context: Context,
    outsider: Option<Extension<Outsider>>,
    Body(body): Body<LoginRequest>,
) -> Result<Json<LoginReply>, Problem> {
    if let Some(Extension(client)) = outsider {
        state.inner.limits.login(client, &body.username)?;
    }
    let request = Request::post("/login").json(&body);
    match state.inner.clients.user.call_json(&context, request).await {
        Ok(reply) => Ok(Json(reply)),
        Err(error) => Err(relayed(error)),
    }
}

/// Adds a watched film to the viewer's history, from which recommendations are made.
pub(super) async fn watch(
    State(state): State<GatewayState>,
    context: Context,
    headers: HeaderMap,
    Body(body): Body<WatchRequest>,
) -> Result<(StatusCode, Json<HistoryEntry>), Problem> {
    let user = state.identified(&context, &headers).await?;
    let request = Request::post(format!("/users/{user}/history")).json(&body);
    let result = state.inner.clients.user.call_json(&context, request).await;
    result.map(|entry| (StatusCode::CREATED, Json(entry))).map_err(relayed)
}

pub(super) async fn me(
    State(state): State<GatewayState>,
    context: Context,
    headers: HeaderMap,
) -> Result<Json<Me>, Problem> {
    let user = state.identified(&context, &headers).await?;
    let inner = &state.inner;
    let profile = state.stored::<Profile>(&context, format!("/users/{user}"));
    let history = state.stored::<History>(&context, format!("/users/{user}/history"));
    let both = async { tokio::try_join!(profile, history) };
    match state.or_problem(both.await)? {
        Ok(((profile, source), (history, other))) => {
            let me = Me { source: source.max(other), age_seconds: None, profile, history };
            inner.profiles.put(user, me.clone());
            Ok(Json(me))
        }
        Err(error) => {
            let chain =
                inner.profiles.chain(&user).await.or(FallbackKind::Notice, nothing_but(Me::default_of(user))).await;
            let served = inner.user_fallbacks.finish(chain, error.reason());
            let Sourced { value, source, age } = Sourced::or(served, Me::default_of(user));
            Ok(Json(Me { source, age_seconds: seconds(age), ..value }))
        }
    }
}
