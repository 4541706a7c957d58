//! The viewers' door.
//!
//! A page always loads. What a page needs from a service that fails is replaced, in this order: by
//! the same answer given earlier, by what most viewers watch, by an honest notice. Each answer says
//! where it came from.
//!
//! `gateway-bare` is this same code with [`Protection::Off`]: no fallback, no breaker, no timeout, and
//! one pool of calls that all dependencies share. A dependency's error is its own error, and a
//! dependency that hangs takes every place in the pool, until pages that never needed it fail too.

mod shop;

use std::future::Ready;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::problem::{Body, Problem, Query};
use super::user::SOURCE_HEADER;
use super::wire::{
    Film, FilmList, FilmPage, History, Home, HomeRow, LoginReply, LoginRequest, Profile, Recommendation,
    Recommendations, Source, VerifyReply, VerifyRequest,
};
use super::{ServiceName, params};
use crate::client::{Cache, Client, Context, Error, FallbackKind, Fallbacks, Reply, Request, Telemetry};
use crate::resilience::fallback::{Aged, Chain, FallbackSettings, Served};
use crate::resilience::limiter::RateLimiterSettings;
use crate::telemetry::Playback;

/// What viewers read when the catalog's rows are not the live ones.
pub const CATALOG_NOTICE: &str = "영화 목록을 잠시 사용할 수 없습니다";
/// Films in a row of the home page.
const ROW: u32 = 12;

/// Whether the door is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// Policies and fallbacks.
    On,
    /// Neither.
    Off,
}

/// The gateway's own settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct GatewaySettings {
    /// Time a page may take in all; every hop behind it gets what remains.
    #[serde(with = "humantime_serde")]
    pub page_budget: Duration,
    /// How old an answer may be that is served again.
    #[serde(with = "humantime_serde")]
    pub stale_after: Duration,
    /// Answers kept for that, for each kind of page.
    pub cached_answers: usize,
    /// How long a token that was verified is believed while nobody can verify it.
    #[serde(with = "humantime_serde")]
    pub session_grace: Duration,
    /// Orders a viewer may place or look at.
    pub rate_limit: RateLimiterSettings,
}

impl Default for GatewaySettings {
    fn default() -> Self {
        Self {
            page_budget: Duration::from_secs(3),
            stale_after: Duration::from_secs(600),
            cached_answers: 512,
            session_grace: Duration::from_secs(300),
            rate_limit: RateLimiterSettings::default(),
        }
    }
}

impl GatewaySettings {
    /// Says which field is wrong, and what it may be.
    pub fn validate(&self) -> Result<(), String> {
        if !(Duration::from_millis(50)..=Duration::from_secs(60)).contains(&self.page_budget) {
            return Err(format!("gateway.page-budget: {:?} is not within 50ms–60s", self.page_budget));
        }
        if !(1..=100_000).contains(&self.cached_answers) {
            return Err(format!("gateway.cached-answers: {} is not within 1–100000", self.cached_answers));
        }
        self.rate_limit.validate().map_err(|error| error.within("gateway.rate-limit").to_string())
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
    profiles: Cache<u32, Me>,
    recommended: Cache<u32, Recommendations>,
    shop: shop::Shop,
}

impl GatewayState {
    /// A gateway over these clients; it counts its fallbacks under `service`.
    pub fn new(
        service: ServiceName,
        protection: Protection,
        settings: &GatewaySettings,
        clients: Clients,
        telemetry: &Telemetry,
    ) -> Result<Self, String> {
        use FallbackKind::{Cache as Cached, Notice, Popular};
        let fallbacks = |dependency: ServiceName, kinds: &[FallbackKind]| {
            Fallbacks::new(service.as_str(), dependency.as_str(), kinds, telemetry)
        };
        let (many, stale) = (settings.cached_answers, settings.stale_after);
        let inner = Inner {
            user_fallbacks: fallbacks(ServiceName::User, &[Cached, Notice]),
            catalog_fallbacks: fallbacks(ServiceName::Catalog, &[Cached, Popular, Notice]),
            recommendation_fallbacks: fallbacks(ServiceName::Recommendation, &[Cached, Popular, Notice]),
            clients,
            protection,
            sessions: Cache::new(many, settings.session_grace),
            pages: Cache::new(many, stale),
            films: Cache::new(many, stale),
            popular: Cache::new(1, stale),
            profiles: Cache::new(many, stale),
            recommended: Cache::new(many, stale),
            shop: shop::Shop::new(service, &settings.rate_limit, telemetry)?,
        };
        Ok(Self { inner: Arc::new(inner) })
    }
}

/// Routes of the public API.
pub fn router(state: GatewayState) -> Router {
    Router::new()
        .route("/api/home", get(home))
        .route("/api/movies", get(movies))
        .route("/api/movies/{id}", get(movie))
        .route("/api/recommendations", get(recommendations))
        .route("/api/login", post(login))
        .route("/api/me", get(me))
        .route("/api/checkout", post(shop::checkout))
        .route("/api/orders/{id}", get(shop::order))
        .fallback(|| async { Problem::not_found("no such page; the API begins at /api/home") })
        .with_state(state)
}

/// A page, and what the viewer got with it.
struct Page<T>(T, Source);

impl<T: Serialize> IntoResponse for Page<T> {
    fn into_response(self) -> Response {
        let playback = if self.1 == Source::Live { Playback::Ok } else { Playback::Degraded };
        (Extension(playback), Json(self.0)).into_response()
    }
}

/// A page of films as viewers get it.
#[derive(Debug, Serialize, Deserialize)]
struct Movies {
    source: Source,
    notice: Option<String>,
    #[serde(flatten)]
    page: FilmPage,
}

/// One film as viewers get it.
#[derive(Debug, Serialize, Deserialize)]
struct Movie {
    source: Source,
    notice: Option<String>,
    film: Option<Film>,
}

/// A viewer's own page.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Me {
    source: Source,
    profile: Profile,
    history: History,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MoviesQuery {
    page: Option<String>,
    per_page: Option<String>,
    genre: Option<String>,
    q: Option<String>,
    sort: Option<String>,
}

async fn home(State(state): State<GatewayState>, context: Context, headers: HeaderMap) -> Result<Page<Home>, Problem> {
    let personal = async {
        match state.viewer(&context, &headers).await? {
            Viewer::Known(user) => state.recommended(&context, user).await.map(Some),
            Viewer::Anonymous => Ok(None),
            Viewer::Unverified(reason) => Ok(Some(state.impersonal(reason).await)),
        }
    };
    let (popular, personal) = tokio::join!(state.popular(&context), personal);
    let ((popular, source), personal) = (popular?, personal?);
    let rows = vec![HomeRow { title: "Popular now".to_owned(), items: popular.items }];
    let notice = (source != Source::Live).then(|| CATALOG_NOTICE.to_owned());
    // Nobody who is not logged in misses recommendations of their own.
    let recommendations =
        personal.unwrap_or_else(|| Recommendations { source: Source::Live, items: Vec::new(), notice: None });
    let worst = source.max(recommendations.source);
    Ok(Page(Home { source: worst, rows, recommendations, notice }, worst))
}

async fn movies(
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
    let (films, source) = match state.or_problem(result)? {
        Ok(films) => {
            inner.pages.put(key, films.clone());
            for film in &films.items {
                inner.films.put(film.id, film.clone());
            }
            (films, Source::Live)
        }
        Err(error) => state.cached_page(&key, error.reason(), page, per_page).await,
    };
    let notice = (source != Source::Live).then(|| CATALOG_NOTICE.to_owned());
    Ok(Page(Movies { source, notice, page: films }, source))
}

async fn movie(
    State(state): State<GatewayState>,
    context: Context,
    Path(id): Path<String>,
) -> Result<Page<Movie>, Problem> {
    let id = params::id("id", &id)?;
    let inner = &state.inner;
    let request = Request::get(format!("/films/{id}"));
    let result: Result<Film, Error> = inner.clients.catalog.call_json(&context, request).await;
    let (film, source) = match state.or_problem(result)? {
        Ok(film) => {
            inner.films.put(id, film.clone());
            (Some(film), Source::Live)
        }
        Err(error) => {
            let chain = inner.films.chain_with(&id, Some).await.or(NOTICE, nothing_but(None)).await;
            sourced(inner.catalog_fallbacks.settle(chain, error.reason()))
        }
    };
    let notice = (source != Source::Live).then(|| CATALOG_NOTICE.to_owned());
    Ok(Page(Movie { source, notice, film }, source))
}

async fn recommendations(
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

async fn login(
    State(state): State<GatewayState>,
    context: Context,
    Body(body): Body<LoginRequest>,
) -> Result<Json<LoginReply>, Problem> {
    let request = Request::post("/login").json(&body);
    match state.inner.clients.user.call_json(&context, request).await {
        Ok(reply) => Ok(Json(reply)),
        Err(error) => Err(relayed(error)),
    }
}

async fn me(State(state): State<GatewayState>, context: Context, headers: HeaderMap) -> Result<Json<Me>, Problem> {
    let user = match state.viewer(&context, &headers).await? {
        Viewer::Known(user) => user,
        Viewer::Anonymous => return Err(Problem::unauthorized("log in first: POST /api/login")),
        Viewer::Unverified(_) => return Err(Problem::unavailable("nobody can say who you are just now", None)),
    };
    let inner = &state.inner;
    let profile = state.stored::<Profile>(&context, format!("/users/{user}"));
    let history = state.stored::<History>(&context, format!("/users/{user}/history"));
    let both = async { tokio::try_join!(profile, history) };
    match state.or_problem(both.await)? {
        Ok(((profile, source), (history, other))) => {
            let me = Me { source: source.max(other), profile, history };
            inner.profiles.put(user, me.clone());
            Ok(Json(me))
        }
        Err(error) => match inner.user_fallbacks.settle(inner.profiles.chain(&user).await, error.reason()) {
            Some(served) => Ok(Json(Me { source: Source::Cache, ..served.value })),
            None => Err(error.into()),
        },
    }
}

/// Who asks.
enum Viewer {
    Known(u32),
    Anonymous,
    /// They showed a token that nobody can verify now, for this reason.
    Unverified(&'static str),
}

impl GatewayState {
    /// Without protection an error is the page's error; with it, it's something to fall back from.
    /// What the caller did wrong is theirs either way.
    fn or_problem<T>(&self, result: Result<T, Error>) -> Result<Result<T, Error>, Problem> {
        match result {
            Err(error)
                if error
                    .status()
                    .is_some_and(|status| status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS) =>
            {
                Err(relayed(error))
            }
            Err(error) if self.inner.protection == Protection::Off => Err(error.into()),
            other => Ok(other),
        }
    }

    /// What the user service keeps, and which copy it comes from.
    async fn stored<T: DeserializeOwned>(&self, context: &Context, path: String) -> Result<(T, Source), Error> {
        let reply = self.inner.clients.user.call(context, Request::get(path)).await?;
        let replica = reply.headers.get(SOURCE_HEADER).is_some_and(|source| source == "replica");
        let kept = reply.json().map_err(|error| Error::Failed(error.into()))?;
        Ok((kept, if replica { Source::Replica } else { Source::Live }))
    }

    async fn viewer(&self, context: &Context, headers: &HeaderMap) -> Result<Viewer, Problem> {
        let Some(token) = bearer(headers)? else { return Ok(Viewer::Anonymous) };
        let inner = &self.inner;
        // Verifying changes nothing, so it may be repeated although it is a POST; the token is kept
        // out of the path, which logs and spans may hold.
        let request = Request::post("/verify").json(&VerifyRequest { token: token.to_owned() }).repeatable();
        let result: Result<VerifyReply, Error> = inner.clients.user.call_json(context, request).await;
        match self.or_problem(result)? {
            Ok(verified) => {
                inner.sessions.put(token.to_owned(), verified);
                Ok(Viewer::Known(verified.user_id))
            }
            Err(error) => {
                let chain =
                    inner.sessions.chain_with(&token.to_owned(), |verified| Viewer::Known(verified.user_id)).await;
                let chain = chain.or(NOTICE, nothing_but(Viewer::Unverified(error.reason()))).await;
                let served = inner.user_fallbacks.settle(chain, error.reason());
                Ok(served.map_or(Viewer::Unverified(error.reason()), |served| served.value))
            }
        }
    }

    async fn popular(&self, context: &Context) -> Result<(FilmList, Source), Problem> {
        let inner = &self.inner;
        let request = Request::get(format!("/films/popular?limit={ROW}"));
        let result: Result<FilmList, Error> = inner.clients.catalog.call_json(context, request).await;
        match self.or_problem(result)? {
            Ok(films) => {
                inner.popular.put((), films.clone());
                Ok((films, Source::Live))
            }
            Err(error) => {
                let chain = inner.popular.chain(&()).await.or(NOTICE, nothing_but(FilmList::default())).await;
                Ok(sourced(inner.catalog_fallbacks.settle(chain, error.reason())))
            }
        }
    }

    async fn recommended(&self, context: &Context, user: u32) -> Result<Recommendations, Problem> {
        let inner = &self.inner;
        let request = Request::get(format!("/recommendations/{user}?limit={ROW}"));
        let result: Result<Recommendations, Error> = inner.clients.recommendation.call_json(context, request).await;
        match self.or_problem(result)? {
            Ok(recommendations) => {
                if recommendations.source == Source::Live {
                    inner.recommended.put(user, recommendations.clone());
                }
                Ok(recommendations)
            }
            Err(error) => {
                let chain = inner.recommended.chain_with(&user, |cached| cached.items).await;
                Ok(self.or_impersonal(chain, error.reason()).await)
            }
        }
    }

    /// What most viewers watch, or at least the notice.
    async fn impersonal(&self, reason: &'static str) -> Recommendations {
        self.or_impersonal(Chain::new(&FallbackSettings::default()), reason).await
    }

    async fn or_impersonal(&self, chain: Chain<Vec<Recommendation>>, reason: &'static str) -> Recommendations {
        let Inner { popular, recommendation_fallbacks, .. } = &*self.inner;
        let unranked = |film| Recommendation { film, score: 0.0, because: None };
        let popular = popular.last(&()).map(|Aged { value, age }| {
            let items = value.items.into_iter().map(unranked).collect();
            Aged { value: items, age }
        });
        let chain = chain.or(POPULAR, std::future::ready(popular)).await.or(NOTICE, nothing_but(Vec::new())).await;
        let (items, source) = sourced(recommendation_fallbacks.settle(chain, reason));
        Recommendations::new(source, items)
    }

    async fn cached_page(&self, key: &str, reason: &'static str, page: u32, per_page: u32) -> (FilmPage, Source) {
        let Inner { pages, popular, catalog_fallbacks, .. } = &*self.inner;
        let popular = popular.last(&()).map(|Aged { value: FilmList { items }, age }| {
            let total = items.len();
            Aged { value: FilmPage { items, total, page, per_page }, age }
        });
        let empty = FilmPage { items: Vec::new(), total: 0, page, per_page };
        let chain = pages.chain(&key.to_owned()).await.or(POPULAR, std::future::ready(popular)).await;
        let served = catalog_fallbacks.settle(chain.or(NOTICE, nothing_but(empty.clone())).await, reason);
        served.map_or((empty, Source::None), |served| (served.value, source_of(served.kind)))
    }
}

const POPULAR: &str = FallbackKind::Popular.as_str();
const NOTICE: &str = FallbackKind::Notice.as_str();

/// The last step of a chain: it always has something, if only words around it.
fn nothing_but<T>(value: T) -> Ready<Option<Aged<T>>> {
    std::future::ready(Some(Aged::fresh(value)))
}

/// What a chain with a last step served, and where it came from.
fn sourced<T: Default>(served: Option<Served<T>>) -> (T, Source) {
    served.map_or_else(|| (T::default(), Source::None), |served| (served.value, source_of(served.kind)))
}

fn source_of(kind: &str) -> Source {
    match kind {
        "cache" => Source::Cache,
        "popular" => Source::Popular,
        _ => Source::None,
    }
}

/// The token of `Authorization: Bearer …`; none is fine, another scheme is not.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let wrong = || Problem::unauthorized("Authorization must be `Bearer <token>`, as POST /api/login gives it");
    value.to_str().ok().and_then(|value| value.strip_prefix("Bearer ")).map(Some).ok_or_else(wrong)
}

/// A dependency's own words about the caller's mistake, where it said any.
fn relayed(error: Error) -> Problem {
    #[derive(Deserialize)]
    struct Said {
        detail: String,
    }
    fn said<T: DeserializeOwned>(reply: &Reply) -> Option<T> {
        serde_json::from_slice(&reply.body).ok()
    }
    match (error.status(), error.reply().and_then(said::<Said>)) {
        (Some(status), Some(said)) if status.is_client_error() => Problem::new(status, said.detail),
        _ => error.into(),
    }
}
