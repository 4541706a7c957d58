//! Answers of the services behind the gateway, and their fallbacks.

use std::future::Ready;
use std::time::Duration;

use http::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{GatewayState, Inner, Protection};
use crate::client::{Chain, Context, Error, FallbackKind, Reply, Request, Served};
use crate::services::user::SOURCE_HEADER;
use crate::services::wire::{Film, FilmList, FilmPage, Recommendation, Recommendations, Source};
use crate::web::problem::Problem;
use breakerbox_resilience::fallback::{Aged, FallbackSettings};
use breakerbox_telemetry::FallbackReason;

/// Films per row of the home page.
pub(super) const ROW: u32 = 12;

impl GatewayState {
    /// Without protection, a dependency's error becomes the page's error; with protection, it is returned for a
    /// fallback. A caller's own mistake is an error in both cases.
    pub(super) fn or_problem<T>(&self, result: Result<T, Error>) -> Result<Result<T, Error>, Problem> {
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

    /// Data of the user service, and the copy from which it comes.
    pub(super) async fn stored<T: DeserializeOwned>(
        &self,
        context: &Context,
        path: String,
    ) -> Result<(T, Source), Error> {
        let reply = self.inner.clients.user.call(context, Request::get(path)).await?;
        let replica = reply.headers.get(SOURCE_HEADER).is_some_and(|source| source == "replica");
        let kept = reply.json().map_err(|error| Error::Failed(error.into()))?;
        Ok((kept, if replica { Source::Replica } else { Source::Live }))
    }

    pub(super) async fn popular(&self, context: &Context) -> Result<Sourced<FilmList>, Problem> {
        let inner = &self.inner;
        let request = Request::get(format!("/films/popular?limit={ROW}"));
        let result: Result<FilmList, Error> = inner.clients.catalog.call_json(context, request).await;
        match self.or_problem(result)? {
            Ok(films) => {
                inner.popular.put((), films.clone());
                Ok(Sourced::live(films))
            }
            Err(error) => {
                let chain = inner.popular.chain(&()).await.or(FallbackKind::Popular, self.shipped()).await;
                Ok(Sourced::of(inner.catalog_fallbacks.finish(chain, error.reason())))
            }
        }
    }

    /// A film, or a notice without one.
    pub(super) async fn film(&self, context: &Context, id: u32) -> Result<Sourced<Option<Film>>, Problem> {
        let inner = &self.inner;
        let request = Request::get(format!("/films/{id}"));
        let result: Result<Film, Error> = inner.clients.catalog.call_json(context, request).await;
        match self.or_problem(result)? {
            Ok(film) => {
                inner.films.put(id, film.clone());
                Ok(Sourced::live(Some(film)))
            }
            Err(error) => {
                let chain = inner.films.chain_with(&id, Some).await.or(FallbackKind::Notice, nothing_but(None)).await;
                Ok(Sourced::of(inner.catalog_fallbacks.finish(chain, error.reason())))
            }
        }
    }

    pub(super) async fn recommended(&self, context: &Context, user: u32) -> Result<Recommendations, Problem> {
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

    /// Recommendations that are the same for all viewers: the most watched films.
    pub(super) async fn impersonal(&self, reason: FallbackReason) -> Recommendations {
        self.or_impersonal(Chain::new(&FallbackSettings::default()), reason).await
    }

    /// The popular titles embedded in the program: they do not age, and are available before the catalog has answered
    /// for the first time.
    fn shipped(&self) -> Ready<Option<Aged<FilmList>>> {
        nothing_but(self.inner.shipped.clone())
    }

    /// The most watched films: the catalog's last answer, or else the embedded list.
    fn popular_titles(&self) -> Ready<Option<Aged<FilmList>>> {
        self.inner.popular.last(&()).map_or_else(|| self.shipped(), |last| std::future::ready(Some(last)))
    }

    async fn or_impersonal(&self, chain: Chain<Vec<Recommendation>>, reason: FallbackReason) -> Recommendations {
        let Inner { recommendation_fallbacks, .. } = &*self.inner;
        let unranked = |film| Recommendation { film, score: 0.0, because: None };
        let popular = async {
            self.popular_titles().await.map(|Aged { value, age }| {
                let items = value.items.into_iter().map(unranked).collect();
                Aged { value: items, age }
            })
        };
        let chain = chain.or(FallbackKind::Popular, popular).await;
        let Sourced { value, source, age } = Sourced::of(recommendation_fallbacks.finish(chain, reason));
        Recommendations::new(source, value).aged(age)
    }

    pub(super) async fn cached_page(
        &self,
        key: &str,
        reason: FallbackReason,
        page: u32,
        per_page: u32,
    ) -> Sourced<FilmPage> {
        let Inner { pages, catalog_fallbacks, .. } = &*self.inner;
        let popular = async {
            self.popular_titles().await.map(|Aged { value: FilmList { items }, age }| {
                let total = items.len();
                Aged { value: FilmPage { items, total, page, per_page }, age }
            })
        };
        let chain = pages.chain(&key.to_owned()).await.or(FallbackKind::Popular, popular).await;
        let empty = FilmPage { items: Vec::new(), total: 0, page, per_page };
        Sourced::or(catalog_fallbacks.finish(chain, reason), empty)
    }
}

/// The last step of a chain: it always has a value, possibly empty.
pub(super) fn nothing_but<T>(value: T) -> Ready<Option<Aged<T>>> {
    std::future::ready(Some(Aged::fresh(value)))
}

/// An answer with its source and age.
pub(super) struct Sourced<T> {
    pub(super) value: T,
    pub(super) source: Source,
    pub(super) age: Option<Duration>,
}

impl<T> Sourced<T> {
    /// A live answer.
    pub(super) fn live(value: T) -> Self {
        Self { value, source: Source::Live, age: None }
    }

    /// The result of a chain; `empty` if even its last step had no value.
    pub(super) fn or(served: Option<Served<T>>, empty: T) -> Self {
        match served {
            Some(Served { value, kind, age, .. }) => Self { value, source: source_of(kind), age },
            None => Self { value: empty, source: Source::None, age: None },
        }
    }
}

impl<T: Default> Sourced<T> {
    /// The result of a chain whose last step always has a value.
    pub(super) fn of(served: Option<Served<T>>) -> Self {
        Self::or(served, T::default())
    }
}

fn source_of(kind: FallbackKind) -> Source {
    match kind {
        FallbackKind::Cache => Source::Cache,
        FallbackKind::Popular => Source::Popular,
        FallbackKind::Replica | FallbackKind::Queue | FallbackKind::Notice => Source::None,
    }
}

/// The dependency's own error message about the caller's mistake, if it sent one.
pub(super) fn relayed(error: Error) -> Problem {
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
