//! JSON messages between the services and for viewers.
//!
//! Requests refuse unknown fields, so that a misspelt one is an error. Responses ignore unknown fields, because a newer
//! service may send more than its caller knows.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::data::Genre;

/// Notice for viewers when recommendations are not live.
pub const RECOMMENDATIONS_NOTICE: &str = "추천 서비스를 잠시 사용할 수 없습니다";

/// A film of the catalog.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Film {
    /// Its id, from 1 to the number of films.
    pub id: u32,
    /// The original English title, or the one under which it is known in English.
    pub title: String,
    /// Year of release.
    pub year: u16,
    /// The director; several are joined by ` & `.
    pub director: String,
    /// Its genres, at least one.
    pub genres: Vec<Genre>,
    /// Running time in minutes.
    pub runtime_minutes: u16,
}

/// A film's id and title.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilmRef {
    /// Its id.
    pub id: u32,
    /// Its title.
    pub title: String,
}

impl From<&Film> for FilmRef {
    fn from(film: &Film) -> Self {
        Self { id: film.id, title: film.title.clone() }
    }
}

/// One page of the catalog.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilmPage {
    /// The films on this page; none past the last page.
    pub items: Vec<Film>,
    /// Number of films on all pages.
    pub total: usize,
    /// Page number, from 1.
    pub page: u32,
    /// Number of films on a full page.
    pub per_page: u32,
}

/// A list of films in display order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilmList {
    /// The films.
    pub items: Vec<Film>,
}

/// A genre and how many films it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GenreCount {
    /// The genre.
    pub genre: Genre,
    /// Number of films in it.
    pub films: usize,
}

/// Source of an answer, from best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// A live answer.
    Live,
    /// Another copy of the data.
    Replica,
    /// An earlier answer, from the cache.
    Cache,
    /// The most watched films.
    Popular,
    /// No answer was available.
    None,
}

/// A recommended film.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recommendation {
    /// The film.
    pub film: Film,
    /// Strength, 0–1. Comparable within one list only.
    pub score: f64,
    /// The most similar watched film; `None` if the film is only popular.
    pub because: Option<FilmRef>,
}

/// Recommendations for a viewer, and their source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recommendations {
    /// Their source.
    pub source: Source,
    /// Best first.
    pub items: Vec<Recommendation>,
    /// Notice for the viewer, unless they are live.
    pub notice: Option<String>,
    /// Age of a cached answer, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_seconds: Option<u64>,
}

impl Recommendations {
    /// Recommendations from `source`, with its notice.
    #[must_use]
    pub fn new(source: Source, items: Vec<Recommendation>) -> Self {
        let notice = (source != Source::Live).then(|| RECOMMENDATIONS_NOTICE.to_owned());
        Self { source, items, notice, age_seconds: None }
    }

    /// Sets the age of a cached answer.
    #[must_use]
    pub fn aged(self, age: Option<Duration>) -> Self {
        Self { age_seconds: age.map(|age| age.as_secs()), ..self }
    }

    /// No recommendations.
    #[must_use]
    pub fn none() -> Self {
        Self::new(Source::None, Vec::new())
    }
}

/// A prediction of ml-api.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// Best first.
    pub items: Vec<PredictedFilm>,
}

/// One film of a prediction. ml-api knows films by id only.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PredictedFilm {
    /// The film.
    pub film_id: u32,
    /// Score, 0–1.
    pub score: f64,
    /// The most similar watched film.
    pub because: u32,
}

/// A login request.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoginRequest {
    /// User name, such as `viewer7`.
    pub username: String,
    /// Password. Never logged: this type has no `Debug`.
    pub password: String,
}

/// A successful login.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginReply {
    /// Token, to be sent as `Authorization: Bearer …`.
    pub token: String,
    /// The viewer's id.
    pub user_id: u32,
    /// When the token expires, in Unix seconds.
    pub expires_at: u64,
}

/// A request to verify a token.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerifyRequest {
    /// The token from the login.
    pub token: String,
}

/// The owner of a valid token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyReply {
    /// The viewer's id.
    pub user_id: u32,
    /// When the token expires, in Unix seconds.
    pub expires_at: u64,
}

/// A viewer's profile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// Their id.
    pub id: u32,
    /// User name for the login.
    pub username: String,
    /// Favourite genres.
    pub favourite_genres: Vec<Genre>,
    /// Number of entries in their history.
    pub films_watched: usize,
}

/// A watched film.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// The film.
    pub film_id: u32,
    /// When it was watched, in Unix seconds.
    pub watched_at: u64,
}

/// A viewer's history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// Newest first.
    pub items: Vec<HistoryEntry>,
    /// Total number of entries, including those beyond the limit of the request.
    pub total: usize,
}

/// A request to add a film to the history.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WatchRequest {
    /// The film.
    pub film_id: u32,
}

/// The home page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Home {
    /// Source of the rows.
    pub source: Source,
    /// Rows of the catalog.
    pub rows: Vec<HomeRow>,
    /// Recommendations for the viewer.
    pub recommendations: Recommendations,
    /// Notice about the page as a whole.
    pub notice: Option<String>,
}

/// A row of films under a heading.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HomeRow {
    /// The heading.
    pub title: String,
    /// Source of the row.
    pub source: Source,
    /// Age of a cached answer, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_seconds: Option<u64>,
    /// The films.
    pub items: Vec<Film>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_notice_is_the_agreed_one_to_the_byte() {
        assert_eq!(
            RECOMMENDATIONS_NOTICE.as_bytes(),
            b"\xec\xb6\x94\xec\xb2\x9c \xec\x84\x9c\xeb\xb9\x84\xec\x8a\xa4\xeb\xa5\xbc \xec\x9e\xa0\xec\x8b\x9c \
              \xec\x82\xac\xec\x9a\xa9\xed\x95\xa0 \xec\x88\x98 \xec\x97\x86\xec\x8a\xb5\xeb\x8b\x88\xeb\x8b\xa4"
        );
    }

    #[test]
    fn only_live_recommendations_come_without_a_notice() {
        assert_eq!(Recommendations::new(Source::Live, Vec::new()).notice, None);
        for source in [Source::Cache, Source::Popular, Source::None] {
            let notice = Recommendations::new(source, Vec::new()).notice;
            assert_eq!(notice.as_deref(), Some(RECOMMENDATIONS_NOTICE));
        }
    }

    #[test]
    fn sources_are_lower_case_and_ordered_best_to_worst() {
        let spelled =
            [Source::Live, Source::Cache, Source::Popular, Source::None].map(|s| serde_json::to_value(s).unwrap());
        assert_eq!(spelled, ["live", "cache", "popular", "none"]);
        assert!(
            Source::Live < Source::Replica
                && Source::Replica < Source::Cache
                && Source::Cache < Source::Popular
                && Source::Popular < Source::None
        );
    }

    #[test]
    fn a_request_with_an_unknown_field_is_refused() {
        let error = serde_json::from_str::<WatchRequest>(r#"{"film_id": 1, "rating": 5}"#).unwrap_err();
        assert!(error.to_string().contains("rating"), "{error}");
    }
}
