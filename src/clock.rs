//! Clocks for calendar time: the system clock, or one that follows Tokio's clock, so that a test under a paused clock
//! can wait for the expiry of a token.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// A source of Unix time.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Kind);

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// The system clock, read each time.
    Wall,
    /// Read once, then advanced by the monotonic clock.
    Counted { start: Instant, unix_at_start: Duration },
}

impl Clock {
    /// The system time, advanced by the monotonic clock from now on: it never goes back.
    #[must_use]
    pub fn system() -> Self {
        Self::starting_at(wall())
    }

    /// The clock for times in a store: the current system time, on which other processes agree even if the machine
    /// slept or its clock was set since they started. `counted` is for a paused clock.
    #[must_use]
    pub fn of_a_store(counted: bool) -> Self {
        // Starts at a whole second, so that results do not depend on the fraction at which a run started.
        if counted { Self::starting_at(Duration::from_secs(wall().as_secs())) } else { Self(Kind::Wall) }
    }

    /// A clock that starts now at this time since 1970.
    #[must_use]
    pub fn starting_at(unix: Duration) -> Self {
        Self(Kind::Counted { start: Instant::now(), unix_at_start: unix })
    }

    fn unix(&self) -> Duration {
        match self.0 {
            Kind::Wall => wall(),
            Kind::Counted { start, unix_at_start } => unix_at_start + start.elapsed(),
        }
    }

    /// Seconds since 1970.
    #[must_use]
    pub fn unix_seconds(&self) -> u64 {
        self.unix().as_secs()
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub fn unix_millis(&self) -> i64 {
        i64::try_from(self.unix().as_millis()).unwrap_or(i64::MAX)
    }
}

/// Simulated clock error of this process in seconds; positive if it is ahead.
static WRONG_BY: AtomicI64 = AtomicI64::new(0);

/// Simulates a clock error of this process: seconds ahead, or behind if negative.
pub fn go_wrong(seconds: i32) {
    WRONG_BY.store(seconds.into(), Ordering::Relaxed);
}

/// The system time since 1970; zero if the clock is set to an earlier time.
#[must_use]
pub fn wall() -> Duration {
    // A clock set before 1970 is treated like one at 1970.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let wrong_by = WRONG_BY.load(Ordering::Relaxed);
    let seconds = Duration::from_secs(wrong_by.unsigned_abs());
    if wrong_by < 0 { now.saturating_sub(seconds) } else { now + seconds }
}
