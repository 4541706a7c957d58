//! Scenarios that can be chosen at run time: some predefined ones, and one that is drawn from a seed.
//!
//! The drawn scenario is for users who know the others by heart: the seed determines which target fails, when and how.
//! The same seed gives the same scenario, so that a class can examine one incident together.

use std::sync::LazyLock;
use std::time::Duration;

use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::timeline::{Action, Step, Target, Timeline};
use crate::faults::FaultPlan;

/// The name of the drawn scenario.
const DRAWN: &str = "drawn";
/// Default seed.
const SEED: u64 = 1;
/// The predefined scenarios, with their descriptions.
const WRITTEN: [(&str, &str); 3] = [
    (super::DEFAULT, "Every pattern once: outages, slowness, hanging calls, payments, a crash."),
    (include_str!("slow.toml"), "Nothing fails, everything is slow: timeouts, slow-call trips, bulkheads."),
    (include_str!("money.toml"), "Payments and stock fail: orders wait, are paid once, and nothing is lost."),
];
/// Targets of the drawn scenario, and the ways in which each can fail.
const DRAWABLE: [(&str, &[&str]); 7] = [
    ("ml-api", &["errors", "half", "slow", "hangs"]),
    ("recommendation", &["errors", "half", "slow", "hangs", "resets", "crash"]),
    ("catalog", &["errors", "half", "slow", "hangs", "resets", "crash"]),
    ("user", &["errors", "half", "slow", "resets", "crash"]),
    ("user-primary", &["errors", "slow"]),
    ("inventory", &["errors", "slow", "crash"]),
    ("payment-gateway", &["errors", "half", "slow"]),
];
/// Start of the first incident of a drawn scenario; the interval and the length of incidents follow.
const FIRST: Duration = Duration::from_secs(20);
const APART: Duration = Duration::from_secs(65);
const LASTS: Duration = Duration::from_secs(40);

/// A scenario that can be selected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = ScenarioOption)]
pub struct Choice {
    /// Its name.
    pub name: String,
    /// A short description.
    pub note: String,
    /// Whether it is generated from a seed.
    pub seeded: bool,
}

/// The predefined scenarios. A test parses them all.
static TIMELINES: LazyLock<Vec<(Timeline, &str)>> = LazyLock::new(|| {
    let read = |(text, note): &(&str, &'static str)| Timeline::parse(text).ok().map(|timeline| (timeline, *note));
    WRITTEN.iter().filter_map(read).collect()
});

/// All choices; `own` is the configured scenario, added if it is none of the others.
#[must_use]
pub fn choices(own: &Timeline) -> Vec<Choice> {
    let choice = |name: &str, note: &str, seeded| Choice { name: name.to_owned(), note: note.to_owned(), seeded };
    let written = TIMELINES.iter().map(|(timeline, note)| choice(&timeline.name, note, false));
    let mut all: Vec<_> =
        written.chain([choice(DRAWN, "Seven incidents drawn from a seed: find out what they are.", true)]).collect();
    if all.iter().all(|other| other.name != own.name) {
        all.insert(0, choice(&own.name, "The scenario of the settings.", false));
    }
    all
}

/// The scenario with this name, and the seed from which it is drawn.
pub(super) fn find(name: &str, seed: Option<u64>) -> Option<(Timeline, Option<u64>)> {
    if name == DRAWN {
        let seed = seed.unwrap_or(SEED);
        return Some((drawn(seed), Some(seed)));
    }
    let found = TIMELINES.iter().find(|(timeline, _)| timeline.name == name);
    found.map(|(timeline, _)| (timeline.clone(), None))
}

/// One incident per target, in an order and of kinds drawn from the seed.
fn drawn(seed: u64) -> Timeline {
    let mut dice = ChaCha8Rng::seed_from_u64(seed);
    let mut targets = DRAWABLE.to_vec();
    targets.shuffle(&mut dice);
    let mut steps = Vec::new();
    let mut from = FIRST;
    for (target, kinds) in targets {
        let kind = kinds.choose(&mut dice).copied().unwrap_or_default();
        let from_here = from + Duration::from_secs(dice.random_range(0..=10));
        from += APART;
        let Ok(aim) = Target::try_from(target.to_owned()) else { continue };
        steps.push(Step {
            name: format!("{target}-{kind}"),
            note: format!("Drawn from seed {seed}."),
            from: from_here,
            to: from_here + LASTS,
            action: Action::Fault(aim, plan(kind)),
            calm: false,
        });
    }
    Timeline { name: DRAWN.to_owned(), length: Duration::from_mins(8), looped: true, steps }
}

fn plan(kind: &str) -> FaultPlan {
    let usual = FaultPlan::default();
    match kind {
        "half" => FaultPlan { error_rate: 0.5, ..usual },
        "hangs" => FaultPlan { hang_rate: 1.0, ..usual },
        "resets" => FaultPlan { reset_rate: 1.0, ..usual },
        "crash" => FaultPlan { crash: true, ..usual },
        "slow" => FaultPlan { latency: Some(crate::faults::Latency::Fixed(Duration::from_millis(900))), ..usual },
        _ => FaultPlan { error_rate: 1.0, ..usual },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_written_scenario_can_be_read() {
        for (text, note) in WRITTEN {
            let timeline = Timeline::parse(text).unwrap();
            assert!(timeline.looped && !note.is_empty(), "{}", timeline.name);
        }
        assert_eq!(TIMELINES.len(), WRITTEN.len());
    }

    #[test]
    fn a_seed_gives_the_same_scenario_each_time() {
        assert_eq!(drawn(7), drawn(7));
        assert_ne!(drawn(7).steps, drawn(8).steps);
        for seed in 0..200 {
            let timeline = drawn(seed);
            assert_eq!(timeline.steps.len(), DRAWABLE.len());
            for step in &timeline.steps {
                let Action::Fault(target, plan) = &step.action else { panic!("a drawn step sets a fault") };
                plan.validate_at(target.as_str(), crate::services::ServiceName::KEEPS_BOOKS).unwrap();
                assert!(step.to <= timeline.length);
            }
        }
    }

    #[test]
    fn the_configured_scenario_can_be_chosen_again() {
        let own = Timeline { name: "mine".to_owned(), ..drawn(1) };
        let names: Vec<_> = choices(&own).into_iter().map(|choice| choice.name).collect();
        assert_eq!(names, ["mine", "default", "slow", "money", "drawn"]);
        assert_eq!(choices(&TIMELINES[0].0).len(), 4);
        assert!(find("nothing", None).is_none());
    }
}
