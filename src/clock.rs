//! Calendar time: the wall's, or one that moves with Tokio's clock, so that a paused test can wait out
//! a token.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// Tells Unix time.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Kind);

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Read from the wall each time.
    Wall,
    /// Read once, counted on the monotonic clock from then on.
    Counted { start: Instant, unix_at_start: Duration },
}

impl Clock {
    /// The time of this machine, counted from now on: it never goes back.
    #[must_use]
    pub fn system() -> Self {
        Self::starting_at(wall())
    }

    /// The time of a store: that of this machine as it is now and then, which other processes agree on
    /// even if they began before the machine slept or its clock was set. `counted` is for a paused clock.
    #[must_use]
    pub fn of_a_store(counted: bool) -> Self {
        // From a whole second on: how far into one a run began must not show in its results.
        if counted { Self::starting_at(Duration::from_secs(wall().as_secs())) } else { Self(Kind::Wall) }
    }

    /// A clock that shows this time, since 1970, now.
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

/// Seconds by which this process takes the machine's clock to be ahead of what it shows.
static WRONG_BY: AtomicI64 = AtomicI64::new(0);

/// Makes this process live with a clock that is wrong by this many seconds: ahead, or behind when negative.
pub fn go_wrong(seconds: i32) {
    WRONG_BY.store(seconds.into(), Ordering::Relaxed);
}

/// The time of this machine since 1970; zero where its clock is set to before.
#[must_use]
pub fn wall() -> Duration {
    // A wall clock before 1970 is as good as one at 1970.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let wrong_by = WRONG_BY.load(Ordering::Relaxed);
    let seconds = Duration::from_secs(wrong_by.unsigned_abs());
    if wrong_by < 0 { now.saturating_sub(seconds) } else { now + seconds }
}
