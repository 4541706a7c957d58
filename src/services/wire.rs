//! What the services say to each other and to viewers, as JSON.
//!
//! Requests refuse fields they don't know, so that a misspelt one is an error and not silence.
//! Replies are read leniently: a newer service may say more than its caller understands.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::data::Genre;

/// What a viewer reads when recommendations are not the live ones.
pub const RECOMMENDATIONS_NOTICE: &str = "추천 서비스를 잠시 사용할 수 없습니다";

/// A film of the catalog.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Film {
    /// 1 to the number of films.
    pub id: u32,
    /// In English, or as it is known in English.
    pub title: String,
    /// Of its release.
    pub year: u16,
    /// Several are joined by ` & `.
    pub director: String,
    /// At least one, by name.
    pub genres: Vec<Genre>,
    /// In minutes.
    pub runtime_minutes: u16,
}

/// Enough to name a film and link to it.
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
    /// The films on it; none past the last page.
    pub items: Vec<Film>,
    /// Films on all pages.
    pub total: usize,
    /// Counted from 1.
    pub page: u32,
    /// Films on a full page.
    pub per_page: u32,
}

/// Some films, in the order to show them.
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
    /// Films of it.
    pub films: usize,
}

/// Where an answer comes from, from best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// Made for this request.
    Live,
    /// Another copy of the data.
    Replica,
    /// The same answer, given earlier.
    Cache,
    /// What most viewers watch.
    Popular,
    /// Nothing could be had.
    None,
}

/// A film that a viewer may like.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recommendation {
    /// The film.
    pub film: Film,
    /// How strongly, 0–1. Comparable within one list only.
    pub score: f64,
    /// The watched film that is most similar to it; none if it is only popular.
    pub because: Option<FilmRef>,
}

/// Recommendations for a viewer, and how good they can be expected to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recommendations {
    /// Where they come from.
    pub source: Source,
    /// The best first.
    pub items: Vec<Recommendation>,
    /// What to tell the viewer, unless they are live.
    pub notice: Option<String>,
    /// Age of an answer that was given earlier, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_seconds: Option<u64>,
}

impl Recommendations {
    /// Recommendations from `source`, with the notice that goes with it.
    #[must_use]
    pub fn new(source: Source, items: Vec<Recommendation>) -> Self {
        let notice = (source != Source::Live).then(|| RECOMMENDATIONS_NOTICE.to_owned());
        Self { source, items, notice, age_seconds: None }
    }

    /// The same, of an answer that was given this long ago.
    #[must_use]
    pub fn aged(self, age: Option<Duration>) -> Self {
        Self { age_seconds: age.map(|age| age.as_secs()), ..self }
    }

    /// None at all.
    #[must_use]
    pub fn none() -> Self {
        Self::new(Source::None, Vec::new())
    }
}

/// What ml-api thinks a viewer will like.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// The best first.
    pub items: Vec<PredictedFilm>,
}

/// One film of a prediction. ml-api knows films by id only.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PredictedFilm {
    /// The film.
    pub film_id: u32,
    /// 0–1.
    pub score: f64,
    /// The watched film that is most similar to it.
    pub because: u32,
}

/// Who wants in.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoginRequest {
    /// Such as `viewer7`.
    pub username: String,
    /// Never logged: this type has no `Debug`.
    pub password: String,
}

/// They are in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginReply {
    /// To be sent as `Authorization: Bearer …`.
    pub token: String,
    /// Who they are.
    pub user_id: u32,
    /// When the token ends, in Unix seconds.
    pub expires_at: u64,
}

/// Whose token is this?
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerifyRequest {
    /// As a login gave it.
    pub token: String,
}

/// Theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyReply {
    /// Who they are.
    pub user_id: u32,
    /// When the token ends, in Unix seconds.
    pub expires_at: u64,
}

/// A viewer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// Their id.
    pub id: u32,
    /// What they log in with.
    pub username: String,
    /// What they like.
    pub favourite_genres: Vec<Genre>,
    /// How many entries their history has.
    pub films_watched: usize,
}

/// A film that was watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// The film.
    pub film_id: u32,
    /// When, in Unix seconds.
    pub watched_at: u64,
}

/// What a viewer watched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// The latest first.
    pub items: Vec<HistoryEntry>,
    /// How many there are, those not asked for included.
    pub total: usize,
}

/// A film was watched just now.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WatchRequest {
    /// The film.
    pub film_id: u32,
}

/// The first page a viewer sees.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Home {
    /// Where the rows come from.
    pub source: Source,
    /// Rows of the catalog.
    pub rows: Vec<HomeRow>,
    /// What is recommended to them.
    pub recommendations: Recommendations,
    /// What to tell them about the page as a whole.
    pub notice: Option<String>,
}

/// A row of films under a heading.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HomeRow {
    /// The heading.
    pub title: String,
    /// Where the row comes from.
    pub source: Source,
    /// Age of an answer that was given earlier, in seconds.
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
