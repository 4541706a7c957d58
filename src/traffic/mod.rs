//! Viewers: an open-loop load that measures the effect of a failing service on its users.
//!
//! ## Theory of operation
//!
//! Viewers don't wait for each other. Journeys start at random times drawn in advance (a Poisson process with a
//! constant or a daily changing rate), however slow the service is, and response times count from the *intended* start.
//! A generator that waits for a response before it sends the next request hardly measures an outage ("coordinated
//! omission"); this one does not.
//!
//! Each journey is drawn once and run against every target with the same clicks, so that the results of the targets can
//! be compared.

mod arrivals;
mod journeys;
mod recorder;
mod runner;
mod walk;

pub use arrivals::{Arrivals, Shape};
pub use journeys::{Journey, Order, Step, draw};
pub use recorder::{Outcome, Recorder, Seen};
pub use runner::{Rate, Traffic};
pub use walk::{Listener, Target};

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Settings of the viewers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct TrafficSettings {
    /// Whether viewers run.
    pub enabled: bool,
    /// Journeys per second; the mean over a day if the rate changes.
    pub rate: f64,
    /// How the rate changes over time.
    pub shape: Shape,
    /// Length of a day; short by default, so that it fits into a demonstration.
    #[serde(with = "humantime_serde")]
    pub day: Duration,
    /// Number of different viewers.
    pub viewers: u32,
    /// How long a viewer waits for a page.
    #[serde(with = "humantime_serde")]
    pub patience: Duration,
    /// Longest pause between two clicks of a journey.
    #[serde(with = "humantime_serde")]
    pub think_time: Duration,
    /// Maximum number of journeys in progress per target; further ones fail immediately and count as errors.
    pub max_in_flight: usize,
}

impl Default for TrafficSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            rate: 10.0,
            shape: Shape::Steady,
            day: Duration::from_secs(600),
            viewers: 200,
            patience: Duration::from_secs(10),
            think_time: Duration::from_millis(500),
            max_in_flight: 256,
        }
    }
}

impl TrafficSettings {
    /// Validates the settings; an error names the field and its allowed values.
    pub fn validate(&self) -> Result<(), String> {
        let within =
            |ok: bool, field: &str, allowed: &str| if ok { Ok(()) } else { Err(format!("{field}: must be {allowed}")) };
        within((0.0..=10_000.0).contains(&self.rate), "rate", "within 0–10000 journeys per second")?;
        within((Duration::from_secs(10)..=Duration::from_hours(24)).contains(&self.day), "day", "within 10s–24h")?;
        within((1..=200).contains(&self.viewers), "viewers", "within 1–200")?;
        let patience = Duration::from_millis(100)..=Duration::from_mins(10);
        within(patience.contains(&self.patience), "patience", "within 100ms–10m")?;
        within(self.think_time <= Duration::from_secs(60), "think-time", "at most 60s")?;
        within((1..=100_000).contains(&self.max_in_flight), "max-in-flight", "within 1–100000")
    }
}
