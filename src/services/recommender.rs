//! The recommender: item-to-item collaborative filtering.
//!
//! ## How it works
//!
//! Two films are similar if the same viewers watched both: the cosine of their columns in the matrix of viewers and
//! films (Sarwar et al., WWW 2001; Linden et al., IEEE Internet Computing 2003), |A ∩ B| / √(|A| |B|). A few common
//! viewers are weak evidence, so for n of them the cosine is shrunk by n / (n + s) (Bell and Koren, 2007). A film's
//! score for a viewer is the mean similarity, 0–1, to the few watched films that are most similar to it, its witnesses;
//! the first of them is the reason given.
//!
//! ## How it fails
//!
//! A film without views is similar to no other and is never recommended, and a viewer without a history gets nothing:
//! callers fall back to popular films. The similarities take films² × 4 bytes, which is 100 KiB here and would be too
//! much for a hundred thousand films.

use serde::{Deserialize, Serialize};

/// Parameters of the model.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Tuning {
    /// Number of common viewers at which the cosine counts half; 0 disables shrinkage.
    pub shrinkage: f32,
    /// Number of watched films that make up a score.
    pub witnesses: usize,
}

impl Default for Tuning {
    fn default() -> Self {
        Self { shrinkage: 2.0, witnesses: 5 }
    }
}

/// A recommended film.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Suggestion {
    /// The film.
    pub film_id: u32,
    /// Mean similarity to the watched films, 0–1.
    pub score: f32,
    /// The most similar watched film.
    pub because: u32,
}

/// A trained model. Equal histories give equal models.
#[derive(Clone, Debug, PartialEq)]
pub struct Recommender {
    films: usize,
    witnesses: usize,
    /// Similarity of film `a + 1` and film `b + 1` at `a * films + b`; 0 on the diagonal.
    likeness: Vec<f32>,
}

impl Recommender {
    /// Trains on histories of film ids, which run from 1 to `films`. Other ids are ignored.
    #[must_use]
    pub fn train<'a>(histories: impl IntoIterator<Item = &'a [u32]>, films: usize, tuning: Tuning) -> Self {
        let mut common = vec![0.0_f32; films * films];
        for history in histories {
            let watched = places(history, films);
            for (a, _) in watched.iter().enumerate().filter(|(_, seen)| **seen) {
                for (b, _) in watched.iter().enumerate().filter(|(_, seen)| **seen) {
                    common[a * films + b] += 1.0;
                }
            }
        }
        let views: Vec<f32> = (0..films).map(|film| common[film * films + film]).collect();
        let mut likeness = common;
        for a in 0..films {
            for b in 0..films {
                let cell = &mut likeness[a * films + b];
                *cell = if a == b { 0.0 } else { tuning.shrunk_cosine(*cell, views[a], views[b]) };
            }
        }
        Self { films, witnesses: tuning.witnesses, likeness }
    }

    /// At most `limit` films for a viewer who watched `watched`, the best first, without those in `watched` and
    /// `exclude`.
    #[must_use]
    pub fn recommend(&self, watched: &[u32], exclude: &[u32], limit: usize) -> Vec<Suggestion> {
        let seen = places(watched, self.films);
        let hidden = places(exclude, self.films);
        let watched: Vec<usize> = (0..self.films).filter(|film| seen[*film]).collect();
        // One list for all films, because this runs for each of them in every request.
        let mut alike = Vec::with_capacity(watched.len());
        let mut suggestions: Vec<Suggestion> = (0..self.films)
            .filter(|film| !seen[*film] && !hidden[*film])
            .filter_map(|film| self.suggest(film, &watched, &mut alike))
            .collect();
        suggestions.sort_unstable_by(|a, b| b.score.total_cmp(&a.score).then(a.film_id.cmp(&b.film_id)));
        suggestions.truncate(limit);
        suggestions
    }

    fn suggest(&self, film: usize, watched: &[usize], alike: &mut Vec<(f32, usize)>) -> Option<Suggestion> {
        let row = &self.likeness[film * self.films..(film + 1) * self.films];
        alike.clear();
        // A film without similarity adds nothing to the sum and is no reason.
        alike.extend(watched.iter().map(|other| (row[*other], *other)).filter(|(likeness, _)| *likeness > 0.0));
        // Equals are in the order of their films.
        alike.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let score =
            alike.iter().take(self.witnesses).map(|(likeness, _)| likeness).sum::<f32>() / self.witnesses as f32;
        let because = id(alike.first()?.1);
        (score > 0.0).then_some(Suggestion { film_id: id(film), score, because })
    }
}

impl Tuning {
    fn shrunk_cosine(self, common: f32, views_a: f32, views_b: f32) -> f32 {
        if common == 0.0 { 0.0 } else { common / (views_a * views_b).sqrt() * (common / (common + self.shrinkage)) }
    }
}

/// Whether each film, by index, is among these ids.
fn places(ids: &[u32], films: usize) -> Vec<bool> {
    let mut places = vec![false; films];
    for id in ids {
        if let Some(place) = (*id as usize).checked_sub(1).and_then(|place| places.get_mut(place)) {
            *place = true;
        }
    }
    places
}

fn id(place: usize) -> u32 {
    u32::try_from(place + 1).expect("places come from ids")
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;
    use crate::services::data::{Histories, VIEWERS, films};

    static SEEDED: LazyLock<(Histories, Recommender)> = LazyLock::new(|| {
        let histories = Histories::seeded(7);
        let model = Recommender::train(histories.iter(), films::all().len(), Tuning::default());
        (histories, model)
    });

    #[test]
    fn films_watched_by_the_same_viewers_recommend_each_other() {
        // 1 and 2 are watched together, and so are 3 and 4.
        let histories: [&[u32]; 4] = [&[1, 2], &[1, 2], &[3, 4], &[4, 3, 2]];
        let model = Recommender::train(histories, 5, Tuning::default());
        let best = model.recommend(&[1], &[], 1)[0];
        assert_eq!((best.film_id, best.because), (2, 1));
        // Two common viewers of 2 and of 3 views, shrunk by 2 / (2 + 2), one witness of five.
        let expected = 2.0 / 6.0_f32.sqrt() * (2.0 / 4.0) / 5.0;
        assert!((best.score - expected).abs() < 1e-6, "{best:?}");
        assert_eq!(model.recommend(&[4], &[], 1)[0].film_id, 3);
    }

    #[test]
    fn no_history_and_no_views_give_no_recommendation() {
        let histories: [&[u32]; 1] = [&[1, 2]];
        let model = Recommender::train(histories, 3, Tuning::default());
        assert_eq!(model.recommend(&[], &[], 9), []);
        assert_eq!(model.recommend(&[1], &[], 9).len(), 1);
        assert_eq!(Recommender::train([], 0, Tuning::default()).recommend(&[1], &[], 9), []);
    }

    #[test]
    fn the_same_seed_recommends_the_same_and_another_something_else() {
        let recommend = |seed| {
            let histories = Histories::seeded(seed);
            let model = Recommender::train(histories.iter(), films::all().len(), Tuning::default());
            model.recommend(histories.watched(1).unwrap(), &[], 10)
        };
        assert_eq!(recommend(7), recommend(7));
        assert_ne!(recommend(7), recommend(8));
    }

    #[test]
    fn viewers_get_different_films_that_fit_their_taste() {
        let (histories, model) = &*SEEDED;
        let ids = |viewer| -> Vec<u32> {
            let watched = histories.watched(viewer).unwrap();
            model.recommend(watched, &[], 10).iter().map(|suggestion| suggestion.film_id).collect()
        };
        let mut lists: Vec<_> = (1..=VIEWERS).map(ids).collect();
        let mut fitting = 0;
        for (list, viewer) in lists.iter().zip(1..) {
            assert_eq!(list.len(), 10);
            let taste = histories.taste(viewer).unwrap();
            let fits = |id: &&u32| films::by_id(**id).unwrap().genres.iter().any(|genre| taste.contains(genre));
            fitting += list.iter().filter(fits).count();
        }
        assert!(fitting * 4 > lists.len() * 10 * 3, "{fitting} of {}", lists.len() * 10);
        lists.sort();
        lists.dedup();
        assert!(lists.len() > 190, "{} different lists", lists.len());
    }

    #[test]
    fn recommendations_differ_from_what_is_popular() {
        let (histories, model) = &*SEEDED;
        let popular: Vec<u32> = histories.most_watched().iter().take(10).map(|(film, _)| film.id).collect();
        let shared: usize = (1..=VIEWERS)
            .flat_map(|viewer| model.recommend(histories.watched(viewer).unwrap(), &[], 10))
            .filter(|suggestion| popular.contains(&suggestion.film_id))
            .count();
        assert!(shared * 2 < VIEWERS as usize * 10, "{shared} of {}", VIEWERS * 10);
    }

    #[test]
    fn the_model_is_small() {
        let (_, model) = &*SEEDED;
        assert!(model.likeness.capacity() * size_of::<f32>() < 256 * 1024);
    }

    /// The model's definition, written without regard to its cost.
    fn defined(model: &Recommender, watched: &[u32], exclude: &[u32], limit: usize) -> Vec<Suggestion> {
        let of = |film: u32, other: u32| model.likeness[(film as usize - 1) * model.films + other as usize - 1];
        let ids = 1..=u32::try_from(model.films).unwrap();
        let mut all = Vec::new();
        for film_id in ids.clone().filter(|film| !watched.contains(film) && !exclude.contains(film)) {
            let mut witnesses: Vec<u32> = ids.clone().filter(|other| watched.contains(other)).collect();
            witnesses.sort_by(|a, b| of(film_id, *b).total_cmp(&of(film_id, *a)));
            let best = witnesses.iter().take(model.witnesses).map(|other| of(film_id, *other));
            let score = best.sum::<f32>() / model.witnesses as f32;
            if score > 0.0 {
                all.push(Suggestion { film_id, score, because: witnesses[0] });
            }
        }
        all.sort_by(|a, b| b.score.total_cmp(&a.score));
        all.truncate(limit);
        all
    }

    proptest! {
        #[test]
        fn recommendations_are_those_of_the_definition(
            watched in prop::collection::vec(0_u32..200, 0..60),
            exclude in prop::collection::vec(0_u32..200, 0..60),
            limit in 0_usize..300,
        ) {
            let (_, model) = &*SEEDED;
            let expected = defined(model, &watched, &exclude, limit);
            prop_assert_eq!(model.recommend(&watched, &exclude, limit), expected);
        }

        #[test]
        fn nothing_watched_or_excluded_is_ever_recommended(
            watched in prop::collection::vec(0_u32..200, 0..60),
            exclude in prop::collection::vec(0_u32..200, 0..60),
            limit in 0_usize..300,
        ) {
            let (_, model) = &*SEEDED;
            let suggestions = model.recommend(&watched, &exclude, limit);
            prop_assert!(suggestions.len() <= limit);
            prop_assert!(suggestions.is_sorted_by(|a, b| a.score >= b.score));
            for suggestion in suggestions {
                prop_assert!(!watched.contains(&suggestion.film_id) && !exclude.contains(&suggestion.film_id));
                prop_assert!(watched.contains(&suggestion.because));
                prop_assert!(suggestion.score > 0.0 && suggestion.score <= 1.0);
            }
        }
    }
}
