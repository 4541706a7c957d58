//! Journeys of viewers.

use std::time::Duration;

use rand::RngExt;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

use crate::store::OrderKind;

/// Number of films known to viewers.
const FILMS: u32 = 140;
const GENRES: &[&str] = &["comedy", "drama", "horror", "western", "adventure", "crime", "romance"];
const SEARCHES: &[&str] = &["night", "man", "love", "house", "king", "train", "moon"];

/// A click.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The home page, personal if they are logged in.
    Home,
    /// A page of a genre.
    Genre(&'static str, u32),
    /// A search.
    Search(&'static str),
    /// One film.
    Film(u32),
    /// Their recommendations.
    Recommendations,
    /// Their profile page.
    Me,
    /// An order.
    Checkout(Order),
}

/// An order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The film.
    pub film: u32,
    /// The kind of the sale.
    pub kind: OrderKind,
    /// Whether the order may be queued and charged later.
    pub retry_later: bool,
    /// Idempotency key, the same for repeated requests.
    pub key: u64,
}

/// A visit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Journey {
    /// The viewer's id, from 1.
    pub viewer: u32,
    /// Whether they log in first.
    pub logged_in: bool,
    /// Their clicks, each with the preceding pause.
    pub steps: Vec<(Duration, Step)>,
}

/// Draws a visit: nearly half browse, a quarter look at their recommendations, a fifth search, some buy, the others
/// look at their profile.
pub fn draw(random: &mut ChaCha8Rng, viewers: u32, think_time: Duration) -> Journey {
    let viewer = random.random_range(1..=viewers.max(1));
    let film = Step::Film(random.random_range(1..=FILMS));
    let genre = Step::Genre(GENRES.choose(random).copied().unwrap_or("drama"), random.random_range(1..=2));
    let search = Step::Search(SEARCHES.choose(random).copied().unwrap_or("night"));
    let (logged_in, steps) = match random.random_range(0..100) {
        0..42 => (random.random_bool(0.5), vec![Step::Home, genre, film]),
        42..50 => (true, vec![Step::Home, film, Step::Checkout(order(random))]),
        50..75 => (true, vec![Step::Home, Step::Recommendations, film]),
        75..95 => (false, vec![search, film]),
        _ => (true, vec![Step::Me, Step::Recommendations]),
    };
    let mut pause = |index: usize| if index == 0 { Duration::ZERO } else { think_time.mul_f64(random.random()) };
    let steps = steps.into_iter().enumerate().map(|(index, step)| (pause(index), step)).collect();
    Journey { viewer, logged_in, steps }
}

/// Mostly rentals; premieres concentrate on the same film. Most orders may be queued.
fn order(random: &mut ChaCha8Rng) -> Order {
    let kind = match random.random_range(0..10) {
        0..6 => OrderKind::Rent,
        6..8 => OrderKind::Buy,
        _ => OrderKind::Premiere,
    };
    let film = if kind == OrderKind::Premiere { random.random_range(1..=3) } else { random.random_range(1..=FILMS) };
    Order { film, kind, retry_later: random.random_bool(0.7), key: random.random() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn a_seed_repeats_its_visits_and_every_kind_of_click_occurs() {
        let visits = || {
            let mut random = ChaCha8Rng::seed_from_u64(3);
            (0..500).map(|_| draw(&mut random, 200, Duration::from_millis(500))).collect::<Vec<_>>()
        };
        let first = visits();
        assert_eq!(first, visits());
        let clicked = |wanted: fn(&Step) -> bool| first.iter().any(|j| j.steps.iter().any(|(_, step)| wanted(step)));
        assert!(clicked(|s| matches!(s, Step::Home)) && clicked(|s| matches!(s, Step::Genre(..))));
        assert!(clicked(|s| matches!(s, Step::Search(_))) && clicked(|s| matches!(s, Step::Film(_))));
        assert!(clicked(|s| matches!(s, Step::Recommendations)) && clicked(|s| matches!(s, Step::Me)));
        assert!(clicked(|s| matches!(s, Step::Checkout(_))));
        assert!(first.iter().all(|journey| journey.steps[0].0.is_zero()));
    }
}
