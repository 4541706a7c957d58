//! Calendar time that moves with Tokio's clock, so that a paused test can wait out a token.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// Tells Unix time: read from the wall once, counted on the monotonic clock from then on.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
    unix_at_start: Duration,
}

impl Clock {
    /// The time of this machine.
    #[must_use]
    pub fn system() -> Self {
        // A wall clock before 1970 is as good as one at 1970: tokens are made and read by the same one.
        Self::starting_at(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
    }

    /// A clock that shows this time, since 1970, now.
    #[must_use]
    pub fn starting_at(unix: Duration) -> Self {
        Self { start: Instant::now(), unix_at_start: unix }
    }

    /// Seconds since 1970.
    #[must_use]
    pub fn unix_seconds(&self) -> u64 {
        (self.unix_at_start + self.start.elapsed()).as_secs()
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub fn unix_millis(&self) -> i64 {
        i64::try_from((self.unix_at_start + self.start.elapsed()).as_millis()).unwrap_or(i64::MAX)
    }
}
