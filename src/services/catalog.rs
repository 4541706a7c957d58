//! catalog: films by page, genre, search text and popularity.
//!
//! `GET /films`, `GET /films/{id}`, `GET /films/popular`, `GET /genres`.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use super::data::{Genre, Histories, films};
use super::wire::{Film, FilmList, FilmPage, GenreCount};
use crate::web::params;
use crate::web::problem::{Problem, Query};
use breakerbox_resilience::SettingsError;

/// Methods and routes whose series exist before the first request.
pub const ROUTES: &[(&str, &str)] = &[("GET", "/films"), ("GET", "/films/{id}"), ("GET", "/films/popular")];

/// Maximum number of films per page.
pub const MOST_PER_PAGE: u32 = 100;
/// Maximum length of a search text, in characters.
const LONGEST_SEARCH: usize = 100;
/// A page number beyond any possible page.
const LAST_PAGE: u32 = 10_000;

/// Settings of the catalog.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct CatalogSettings {
    /// Default number of films per page.
    pub per_page: u32,
}

impl Default for CatalogSettings {
    fn default() -> Self {
        Self { per_page: 20 }
    }
}

impl CatalogSettings {
    /// Validates the number of films per page.
    pub fn validate(&self) -> Result<(), String> {
        if (1..=MOST_PER_PAGE).contains(&self.per_page) {
            return Ok(());
        }
        let allowed = format!("from 1 to {MOST_PER_PAGE}");
        Err(SettingsError::new("catalog.per-page", self.per_page, allowed).to_string())
    }
}

/// State of the catalog. Cheap to clone.
#[derive(Clone)]
pub struct CatalogState {
    per_page: u32,
    /// Sorted by views, most watched first.
    entries: Arc<[Entry]>,
}

struct Entry {
    film: &'static Film,
    /// Title and director in the form used for search.
    text: String,
    title: String,
}

impl CatalogState {
    /// A catalog of the embedded films. `seed` is that of the viewing histories, which determine popularity.
    pub fn new(settings: &CatalogSettings, seed: u64) -> Result<Self, String> {
        settings.validate()?;
        let entry = |film: &'static Film| Entry {
            film,
            text: plain(&format!("{} {}", film.title, film.director)),
            title: sort_title(&film.title),
        };
        let films = Histories::seeded(seed).most_watched();
        Ok(Self { per_page: settings.per_page, entries: films.into_iter().map(|(film, _)| entry(film)).collect() })
    }
}

/// The service.
pub fn router(state: CatalogState) -> Router {
    Router::new()
        .route("/films", get(list))
        .route("/films/popular", get(popular))
        .route("/films/{id}", get(detail))
        .route("/genres", get(genres))
        .with_state(state)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    page: Option<String>,
    per_page: Option<String>,
    genre: Option<String>,
    q: Option<String>,
    sort: Option<String>,
}

#[derive(Clone, Copy)]
enum Sort {
    Popular,
    Title,
    Oldest,
    Newest,
    Runtime,
}

impl Sort {
    const ALLOWED: &str = "must be one of popular, title, year, -year, runtime";

    fn parse(text: Option<&str>) -> Result<Self, Problem> {
        match text {
            None | Some("popular") => Ok(Self::Popular),
            Some("title") => Ok(Self::Title),
            Some("year") => Ok(Self::Oldest),
            Some("-year") => Ok(Self::Newest),
            Some("runtime") => Ok(Self::Runtime),
            Some(_) => Err(Problem::bad_request("sort", Self::ALLOWED)),
        }
    }

    /// Sorts films. They arrive in order of popularity, which decides between equals.
    fn apply(self, entries: &mut [&Entry]) {
        match self {
            Self::Popular => {}
            Self::Title => entries.sort_by_key(|entry| &entry.title),
            Self::Oldest => entries.sort_by_key(|entry| entry.film.year),
            Self::Newest => entries.sort_by_key(|entry| std::cmp::Reverse(entry.film.year)),
            Self::Runtime => entries.sort_by_key(|entry| entry.film.runtime_minutes),
        }
    }
}

async fn list(State(state): State<CatalogState>, Query(query): Query<ListQuery>) -> Result<Json<FilmPage>, Problem> {
    let page = params::number("page", query.page.as_deref(), 1, &(1..=LAST_PAGE))?;
    let per_page = params::number("per_page", query.per_page.as_deref(), state.per_page, &(1..=MOST_PER_PAGE))?;
    let genre = query.genre.as_deref().map(genre).transpose()?;
    let search = search(query.q.as_deref().unwrap_or_default())?;
    let sort = Sort::parse(query.sort.as_deref())?;

    let mut found: Vec<&Entry> = state
        .entries
        .iter()
        .filter(|entry| genre.is_none_or(|genre| entry.film.genres.contains(&genre)))
        .filter(|entry| search.split_whitespace().all(|word| entry.text.contains(word)))
        .collect();
    sort.apply(&mut found);
    let before = (page as usize - 1) * per_page as usize;
    let items = found.iter().skip(before).take(per_page as usize).map(|entry| entry.film.clone()).collect();
    Ok(Json(FilmPage { items, total: found.len(), page, per_page }))
}

fn genre(name: &str) -> Result<Genre, Problem> {
    Genre::parse(name).ok_or_else(|| {
        let names = Genre::ALL.map(Genre::as_str).join(", ");
        Problem::bad_request("genre", format!("must be one of {names}"))
    })
}

fn search(text: &str) -> Result<String, Problem> {
    if text.chars().count() > LONGEST_SEARCH {
        return Err(Problem::bad_request("q", format!("must have at most {LONGEST_SEARCH} characters")));
    }
    Ok(plain(text))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PopularQuery {
    limit: Option<String>,
}

async fn popular(
    State(state): State<CatalogState>,
    Query(query): Query<PopularQuery>,
) -> Result<Json<FilmList>, Problem> {
    let limit = params::number("limit", query.limit.as_deref(), 10, &(1..=MOST_PER_PAGE))?;
    let items = state.entries.iter().take(limit as usize).map(|entry| entry.film.clone()).collect();
    Ok(Json(FilmList { items }))
}

async fn detail(Path(id): Path<String>) -> Result<Json<Film>, Problem> {
    let id = params::id("id", &id)?;
    films::by_id(id).cloned().map(Json).ok_or_else(|| Problem::not_found(format!("there is no film {id}")))
}

async fn genres() -> Json<Vec<GenreCount>> {
    let count = |genre| films::all().iter().filter(|film| film.genres.contains(&genre)).count();
    Json(Genre::ALL.map(|genre| GenreCount { genre, films: count(genre) }).to_vec())
}

/// Lower case without the accents that occur in the catalog, so that `haxan` finds `Häxan`.
fn plain(text: &str) -> String {
    let unaccented = |letter| match letter {
        'á' | 'à' | 'ä' => 'a',
        'é' | 'è' => 'e',
        'ö' => 'o',
        'ñ' => 'n',
        other => other,
    };
    text.to_lowercase().chars().map(unaccented).collect()
}

/// The title without its leading article, for sorting.
fn sort_title(title: &str) -> String {
    let title = plain(title);
    let shelved = ["the ", "a "].iter().find_map(|article| title.strip_prefix(article));
    shelved.map(str::to_owned).unwrap_or(title)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::testing::{get, problem};

    fn service() -> Router {
        router(CatalogState::new(&CatalogSettings::default(), 7).unwrap())
    }

    async fn titles(query: &str) -> Vec<String> {
        let page: FilmPage = get(service(), &format!("/films?{query}")).await;
        page.items.into_iter().map(|film| film.title).collect()
    }

    #[tokio::test]
    async fn pages_hold_every_film_once_and_the_page_after_the_last_none() {
        let mut ids = Vec::new();
        for page in 1.. {
            let found: FilmPage = get(service(), &format!("/films?page={page}&per_page=50")).await;
            assert_eq!((found.total, found.page, found.per_page), (films::all().len(), page, 50));
            if found.items.is_empty() {
                break;
            }
            ids.extend(found.items.into_iter().map(|film| film.id));
        }
        ids.sort_unstable();
        assert_eq!(ids, (1..=films::count()).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_genre_keeps_only_its_films() {
        let page: FilmPage = get(service(), "/films?genre=science-fiction&per_page=100").await;
        assert!(page.total >= 10 && page.items.len() == page.total);
        assert!(page.items.iter().all(|film| film.genres.contains(&Genre::ScienceFiction)));
    }

    #[tokio::test]
    async fn searches_match_titles_and_directors_without_case_or_accents() {
        assert_eq!(titles("q=haxan").await, ["Häxan"]);
        assert_eq!(titles("q=MURNAU+nosferatu").await, ["Nosferatu"]);
        assert_eq!(titles("q=%EC%98%81%ED%99%94").await, Vec::<String>::new());
        assert_eq!(titles("q=").await.len(), 20);
    }

    #[tokio::test]
    async fn films_are_sorted_as_asked() {
        assert_eq!(titles("sort=year&per_page=1").await, ["A Trip to the Moon"]);
        assert_eq!(titles("sort=-year&per_page=1").await, ["Night of the Living Dead"]);
        assert_eq!(titles("sort=runtime&per_page=1").await, ["The Skeleton Dance"]);
        assert_eq!(titles("sort=title&q=lost&per_page=1").await, ["The Lost World"]);
        assert_eq!(titles("sort=title&genre=animation&per_page=1").await, ["The Adventures of Prince Achmed"]);
    }

    #[tokio::test]
    async fn the_most_watched_films_come_first_unless_sorted() {
        let popular: FilmList = get(service(), "/films/popular?limit=20").await;
        let page: FilmPage = get(service(), "/films").await;
        assert_eq!(popular.items, page.items);
    }

    #[tokio::test]
    async fn a_film_is_shown_by_its_id() {
        let film: Film = get(service(), "/films/162").await;
        assert_eq!((film.title.as_str(), film.year), ("Night of the Living Dead", 1968));
        assert_eq!(problem(service(), "/films/163").await.0, 404);
    }

    #[tokio::test]
    async fn wrong_input_is_refused_with_what_is_allowed() {
        let long = "x".repeat(101);
        for (path, field, allowed) in [
            ("/films?page=0", "page", "1 to 10000"),
            ("/films?per_page=101", "per_page", "1 to 100"),
            ("/films?per_page=-1", "per_page", "1 to 100"),
            ("/films?genre=slapstick", "genre", "comedy, crime"),
            ("/films?sort=best", "sort", "popular, title"),
            (&format!("/films?q={long}"), "q", "at most 100"),
            ("/films?pge=1", "pge", "expected one of"),
            ("/films/popular?limit=0", "limit", "1 to 100"),
            ("/films/first", "id", "whole number"),
        ] {
            let (status, problem) = problem(service(), path).await;
            assert_eq!((status, problem["field"].as_str()), (400, Some(field)), "{path}: {problem}");
            assert!(problem["detail"].as_str().unwrap().contains(allowed), "{path}: {problem}");
        }
    }

    #[tokio::test]
    async fn genres_come_with_their_number_of_films() {
        let genres: Vec<GenreCount> = get(service(), "/genres").await;
        assert_eq!(genres.len(), Genre::ALL.len());
        let page: FilmPage = get(service(), "/films?genre=horror&per_page=1").await;
        assert!(genres.contains(&GenreCount { genre: Genre::Horror, films: page.total }));
    }

    #[test]
    fn settings_out_of_range_are_refused_by_name() {
        assert!(CatalogSettings::default().validate().is_ok());
        let error = CatalogSettings { per_page: 101 }.validate().unwrap_err();
        assert_eq!(error, "catalog.per-page = 101: must be from 1 to 100");
    }
}
