//! Viewing histories from before the start of the program.
//!
//! ## Why they are not random
//!
//! A recommender can only find patterns that exist. Each viewer has a taste, two favourite genres (more often genres
//! with many films), and mostly watches films of those; some films are more popular than others regardless of taste. So
//! "because you watched" is plausible, viewers differ, and the most popular films differ from the best ones for a
//! viewer.
//!
//! ## How they are drawn
//!
//! A film's weight for a viewer is its appeal (log-normal) times how well it fits the taste. Each viewer draws films
//! without replacement with probability proportional to weight, by the keys u^(1/w) of Efraimidis and Spirakis (2006).
//! Every viewer has a separate random stream, so one viewer's history depends only on the seed. Services in different
//! processes with the same seed agree.

use std::ops::RangeInclusive;

use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, LogNormal};

use super::{Genre, films};
use crate::services::wire::Film;

/// The number of viewers. Their ids are 1 to this.
pub const VIEWERS: u32 = 200;

/// The shortest and the longest history.
const LENGTH: RangeInclusive<usize> = 8..=20;

/// The taste and the history of each viewer.
#[derive(Clone, Debug, PartialEq)]
pub struct Histories {
    viewers: Vec<Viewer>,
}

#[derive(Clone, Debug, PartialEq)]
struct Viewer {
    taste: [Genre; 2],
    /// Film ids, most recently watched first.
    watched: Vec<u32>,
}

impl Histories {
    /// The histories for this seed.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let spread = LogNormal::new(0.0, 0.5).expect("a finite mean and a positive deviation");
        let appeal: Vec<f64> = films::all().iter().map(|_| spread.sample(&mut rng)).collect();
        let viewers = (1..=VIEWERS).map(|id| Viewer::seeded(seed, id, &appeal)).collect();
        Self { viewers }
    }

    /// Films that this viewer watched, the latest first; none for an unknown viewer.
    #[must_use]
    pub fn watched(&self, viewer: u32) -> Option<&[u32]> {
        self.viewer(viewer).map(|viewer| viewer.watched.as_slice())
    }

    /// This viewer's favourite genres; none for an unknown viewer.
    #[must_use]
    pub fn taste(&self, viewer: u32) -> Option<[Genre; 2]> {
        self.viewer(viewer).map(|viewer| viewer.taste)
    }

    /// Every viewer's history, by id.
    pub fn iter(&self) -> impl Iterator<Item = &[u32]> {
        self.viewers.iter().map(|viewer| viewer.watched.as_slice())
    }

    /// Every film with the number of viewers who watched it, the most watched first.
    #[must_use]
    pub fn most_watched(&self) -> Vec<(&'static Film, u32)> {
        let mut counted: Vec<_> = films::all().iter().map(|film| (film, 0)).collect();
        for id in self.iter().flatten() {
            counted[*id as usize - 1].1 += 1;
        }
        // A stable sort: films with equally many views stay in order of their ids.
        counted.sort_by_key(|(_, views)| std::cmp::Reverse(*views));
        counted
    }

    fn viewer(&self, id: u32) -> Option<&Viewer> {
        self.viewers.get(usize::try_from(id).ok()?.checked_sub(1)?)
    }
}

impl Viewer {
    fn seeded(seed: u64, id: u32, appeal: &[f64]) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(u64::from(id));
        let taste = taste(&mut rng);
        let length = rng.random_range(LENGTH);
        let mut keyed: Vec<(f64, u32)> = films::all()
            .iter()
            .zip(appeal)
            .map(|(film, appeal)| (rng.random::<f64>().powf(1.0 / (appeal * fit(film, taste))), film.id))
            .collect();
        keyed.sort_by(|a, b| b.0.total_cmp(&a.0));
        Self { taste, watched: keyed.into_iter().take(length).map(|(_, id)| id).collect() }
    }
}

/// Two genres, drawn in proportion to their number of films.
fn taste(rng: &mut ChaCha8Rng) -> [Genre; 2] {
    let films = |genre: &Genre| films::all().iter().filter(|film| film.genres.contains(genre)).count() as f64;
    let drawn = Genre::ALL.sample_weighted(rng, 2, films).expect("every genre has films");
    let mut taste: Vec<Genre> = drawn.copied().collect();
    taste.sort_unstable();
    taste.try_into().expect("there are more than two genres")
}

/// Relative probability of watching a film, by how many favourite genres it has.
fn fit(film: &Film, taste: [Genre; 2]) -> f64 {
    match taste.iter().filter(|genre| film.genres.contains(genre)).count() {
        0 => 0.05,
        1 => 1.0,
        _ => 3.0,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const SEED: u64 = 7;

    #[test]
    fn a_seed_gives_the_same_histories_and_another_seed_others() {
        assert_eq!(Histories::seeded(7), Histories::seeded(7));
        assert_ne!(Histories::seeded(7), Histories::seeded(8));
    }

    #[test]
    fn histories_have_each_film_once_and_only_real_ones() {
        let histories = Histories::seeded(SEED);
        assert_eq!(histories.iter().count(), VIEWERS as usize);
        for watched in histories.iter() {
            assert!(LENGTH.contains(&watched.len()));
            assert_eq!(watched.iter().collect::<HashSet<_>>().len(), watched.len());
            assert!(watched.iter().all(|id| films::by_id(*id).is_some()));
        }
    }

    #[test]
    fn viewers_watch_mostly_what_they_like() {
        let histories = Histories::seeded(SEED);
        let (mut liked, mut all) = (0, 0);
        for id in 1..=VIEWERS {
            let taste = histories.taste(id).unwrap();
            assert_ne!(taste[0], taste[1]);
            for film in histories.watched(id).unwrap() {
                let film = films::by_id(*film).unwrap();
                liked += usize::from(taste.iter().any(|genre| film.genres.contains(genre)));
                all += 1;
            }
        }
        assert!(liked * 10 > all * 8, "{liked} of {all}");
    }

    #[test]
    fn the_most_watched_come_first_and_every_view_is_counted() {
        let histories = Histories::seeded(SEED);
        let counted = histories.most_watched();
        assert!(counted.is_sorted_by(|a, b| a.1 >= b.1));
        let views: u32 = counted.iter().map(|(_, views)| views).sum();
        assert_eq!(views as usize, histories.iter().map(<[u32]>::len).sum::<usize>());
    }

    #[test]
    fn an_unknown_viewer_has_no_history() {
        let histories = Histories::seeded(SEED);
        assert!(histories.watched(0).is_none() && histories.taste(VIEWERS + 1).is_none());
    }
}
