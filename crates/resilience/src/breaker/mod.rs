//! The circuit breaker: stops calls to a failing dependency and probes for its recovery.
//!
//! # Motivation
//!
//! A slow failing dependency takes its callers down with it: their threads, connections and users wait
//! for answers that will not arrive. A breaker detects the failure, rejects calls at once, and so takes
//! load off the dependency so that it can recover.
//!
//! # Theory of operation
//!
//! **Closed**: every call passes, and its outcome is recorded in a sliding [window](BreakerSettings). The
//! breaker *trips* on consecutive failures, on the failure rate of the window, or on its slow-call rate.
//! **Open**: calls are rejected with the remaining wait; each further trip without a recovery can wait
//! longer, with jitter. After the wait, the first call makes the breaker **half-open**: at most N *probes*
//! pass, and their success rate closes or reopens it; if they take too long, the finished probes decide.
//! A recovery can pass through *stages* that admit a growing share of the traffic. By command, a breaker
//! can be forced open, disabled, or set to record without tripping.
//!
//! Every permit carries the **generation** of the state that issued it. An outcome of another generation
//! is *late*: it is counted, but has no other effect. A call sent before the trip cannot close the breaker,
//! and a probe of an earlier half-open state cannot decide the current one. A permit that is dropped,
//! because its caller disconnected or panicked, returns its slot.
//!
//! State, generation and half-open accounting are one atomic word. Passing a closed breaker is one load;
//! recording a success is a few more and at most one store. Every change of the word happens under a short
//! lock.
//! The breaker reads no clock and calls no listener: instants are arguments, transitions are results.
//!
//! # How it fails
//!
//! - A window or minimum that is too small trips on noise; one that is too large trips late.
//! - A threshold on failures alone does not detect a dependency that hangs until its callers disconnect:
//!   set a timeout or a slow-call threshold. Cancelled calls beyond that threshold count as slow.
//! - One breaker for many hosts or endpoints also blocks the healthy ones; see
//!   [`Registry`](crate::registry::Registry) for one per key.
//! - If a thread unwinds for another reason while a permit is dropped, the call is recorded as panicked.
//!
//! # When not to use it
//!
//! For calls so rare that the window never fills, for calls whose failure does not matter (logging,
//! statistics), and for work that a queue retries anyway. Against gradual overload, [throttling](crate::throttle)
//! is gentler: a breaker admits all calls or none.
//!
//! # Example
//!
//! ```
//! use std::time::{Duration, Instant};
//! use breakerbox_resilience::breaker::{Breaker, BreakerSettings, Outcome, State};
//!
//! let settings = BreakerSettings {
//!     consecutive_failure_threshold: Some(3),
//!     wait_duration_in_open_state: Duration::from_mins(5),
//!     ..BreakerSettings::default()
//! };
//! let now = Instant::now();
//! let breaker = Breaker::new(settings, now, 42)?;
//! for _ in 0..3 {
//!     let permit = breaker.try_acquire(now).permit.expect("closed");
//!     permit.record(Outcome::Failure, now);
//! }
//! let rejected = breaker.try_acquire(now).permit.unwrap_err();
//! assert_eq!(rejected.state, State::Open);
//! assert_eq!(rejected.retry_after, Duration::from_mins(5));
//! # Ok::<(), breakerbox_resilience::SettingsError>(())
//! ```

mod builder;
mod control;
mod memo;
mod permit;
mod settings;
mod snapshot;
#[cfg(test)]
mod tests;
mod thresholds;
mod types;
mod window;
mod word;

use std::time::{Duration, Instant};

pub(crate) use self::types::spelled;
pub(crate) use self::window::{RecentCalls, Sample};
pub use self::{
    builder::BreakerBuilder,
    permit::{Admission, OwnedAdmission, OwnedPermit, Permit},
    settings::{AfterMaxWait, BreakerSettings, InitialState, WindowType},
    snapshot::Snapshot,
    types::{Command, Outcome, Reason, Recorded, Rejected, State, Transition},
    window::WindowSnapshot,
};

use self::{
    control::Control,
    thresholds::Thresholds,
    window::{Recording, Window},
    word::Word,
};
use super::{
    random::Rng,
    settings::SettingsError,
    sync::{AtomicU64, Mutex, Ordering, Padded, fence, lock},
};

/// Longest retry hint of half-open: its end depends on its probes.
const HALF_OPEN_HINT: Duration = Duration::from_secs(1);

/// A circuit breaker. Share it by reference or in an `Arc`; see the [module](self).
#[derive(Debug)]
pub struct Breaker {
    /// State, generation and payload. Written only under `control`.
    word: Padded<AtomicU64>,
    thresholds: Thresholds,
    /// End of the open wait, in nanoseconds since the origin. Like the next field, it is written under `control`
    /// before its state is published. They are two, so that a reader that still sees one state cannot read the end
    /// of the other.
    open_until: AtomicU64,
    /// Time at which half-open is overdue.
    half_open_until: AtomicU64,
    origin: Instant,
    rng: Rng,
    id: memo::Id,
    window: Window,
    late: AtomicU64,
    control: Mutex<Control>,
}

/// The word of the state that admitted a call: a permit without its obligation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pass(Word);

/// A finished call, as recorded by the window. The time is only read if it is needed.
struct Ended<N> {
    outcome: Outcome,
    sample: Sample,
    now: N,
}

impl Breaker {
    /// Creates a breaker in its [initial state](BreakerSettings::initial_state). `now` is its origin: earlier
    /// instants count as this one. `seed` determines its jitter and which calls a stage of recovery admits.
    pub fn new(settings: BreakerSettings, now: Instant, seed: u64) -> Result<Self, SettingsError> {
        settings.validate()?;
        let epoch = 1;
        let (state, rng) = (settings.initial_state.state(), Rng::new(seed));
        let payload = if matches!(state, State::Closed | State::MetricsOnly) { epoch } else { 0 };
        let open_until = if state == State::Open { nanos_of(settings.open_wait(1, rng.uniform())) } else { 0 };
        Ok(Self {
            word: Padded(AtomicU64::new(Word::new(1, state, payload).0)),
            thresholds: Thresholds::new(&settings),
            open_until: AtomicU64::new(open_until),
            half_open_until: AtomicU64::new(0),
            origin: now,
            rng,
            id: memo::Id::new(),
            window: Window::new(&settings, epoch),
            late: AtomicU64::new(0),
            control: Mutex::new(Control::new(settings, epoch)),
        })
    }

    /// Asks for a permit for a call that starts `now`.
    #[allow(clippy::inline_always, reason = "measured: a call costs more than the work")]
    #[inline(always)]
    pub fn try_acquire(&self, now: Instant) -> Admission<'_> {
        let word = self.word();
        if word.state() == State::Closed {
            return Admission { permit: Ok(Permit::new(self, word, now)), transition: None };
        }
        self.admit(word, now)
    }

    /// Whether a call would be rejected `now`, without asking for a permit.
    #[must_use]
    #[inline]
    pub fn would_reject(&self, now: Instant) -> Option<Rejected> {
        let word = self.word();
        if word.state() == State::Closed { None } else { self.refusal(word, self.nanos(now)) }
    }

    /// Current state.
    #[must_use]
    pub fn state(&self) -> State {
        self.word().state()
    }

    /// Admission in every state except closed. Rejections need no lock.
    #[inline(never)]
    fn admit(&self, word: Word, now: Instant) -> Admission<'_> {
        let refusal = match word.state() {
            State::Closed | State::Disabled | State::MetricsOnly => {
                return Admission { permit: Ok(Permit::new(self, word, now)), transition: None };
            }
            State::HalfOpen => self.refusal(word, self.nanos(now)).or_else(|| self.held_back(word, now)),
            State::Open | State::ForcedOpen => self.refusal(word, self.nanos(now)),
        };
        match refusal {
            Some(rejected) => Admission { permit: Err(rejected), transition: None },
            None => self.admit_under_lock(now),
        }
    }

    /// The rejection in this state, unless it has to be decided under the lock.
    #[inline]
    fn refusal(&self, word: Word, nanos: u64) -> Option<Rejected> {
        let state = word.state();
        let retry_after = match state {
            State::Closed | State::Disabled | State::MetricsOnly => return None,
            State::ForcedOpen => self.thresholds.open_wait(),
            State::Open => {
                let left = self.open_until.load(Ordering::Relaxed).saturating_sub(nanos);
                if left == 0 {
                    return None;
                }
                Duration::from_nanos(left)
            }
            State::HalfOpen => {
                let left = self.half_open_until.load(Ordering::Relaxed).saturating_sub(nanos);
                if left == 0 || word.probes().used() < self.thresholds.permitted() {
                    return None;
                }
                Duration::from_nanos(left).min(HALF_OPEN_HINT)
            }
        };
        Some(Rejected { state, retry_after })
    }

    /// A stage of recovery admits only its share of the traffic.
    fn held_back(&self, word: Word, now: Instant) -> Option<Rejected> {
        let share = self.thresholds.share();
        let left = self.half_open_until.load(Ordering::Relaxed).saturating_sub(self.nanos(now));
        // An overdue half-open is decided by the next caller, not only by its probes.
        (share < 1.0 && left > 0 && self.rng.uniform() >= share)
            .then(|| Rejected { state: word.state(), retry_after: Duration::from_nanos(left).min(HALF_OPEN_HINT) })
    }

    /// Whether slow calls can affect a decision.
    #[inline]
    pub(crate) fn judges_slowness(&self) -> bool {
        self.thresholds.judge_slowness()
    }

    /// Admission by a closed breaker, which needs no time.
    #[inline]
    pub(crate) fn pass_closed(&self) -> Option<Pass> {
        let word = self.word();
        (word.state() == State::Closed).then_some(Pass(word))
    }

    /// Records the outcome of a call that lasted from one instant to the other. What most calls are, a further
    /// success of a closed breaker, is handled here, in a window of time if this thread [remembers](memo) its bucket.
    #[allow(clippy::inline_always, reason = "measured: a call costs more than the work")]
    #[inline(always)]
    pub(crate) fn settle_between(&self, pass: Pass, (start, end): (Instant, Instant), outcome: Outcome) -> Recorded {
        if !self.window.is_timed() {
            let slow = self.is_slow(end.saturating_duration_since(start));
            return self.settle(pass, slow, outcome, || end);
        }
        let issued = pass.0;
        if outcome == Outcome::Success
            && issued.state() == State::Closed
            && let Some(bucket) = memo::recall(self.id, self.thresholds.slow_nanos(), start, end)
            // Every change of the state begins another epoch, so that this fails for a late result.
            && self.window.time.count_again_in(bucket, issued.epoch())
        {
            self.window.succeeded(issued.epoch());
            return Recorded { transition: None, late: false, slow: false };
        }
        self.settle_timed(pass, (start, end), outcome)
    }

    #[inline(never)]
    fn settle_timed(&self, pass: Pass, (start, end): (Instant, Instant), outcome: Outcome) -> Recorded {
        self.settle(pass, self.is_slow(end.saturating_duration_since(start)), outcome, || end)
    }

    /// Whether a call of this duration is slow.
    #[inline]
    pub(crate) fn is_slow(&self, took: Duration) -> bool {
        self.thresholds.is_slow(nanos_of(took))
    }

    /// Records the outcome of a call. The common case, a further success of a closed breaker, is handled here; the
    /// rest is in a separate function.
    #[allow(clippy::inline_always, reason = "measured: a call costs more than the work")]
    #[inline(always)]
    pub(crate) fn settle(&self, pass: Pass, slow: bool, outcome: Outcome, now: impl Fn() -> Instant) -> Recorded {
        let Pass(issued) = pass;
        if issued.state() == State::Closed && outcome == Outcome::Success && !slow && self.word() == issued {
            if self.window.is_healthy(issued.epoch()) {
                // Nor is there a run of failures to end: the window would hold them.
                return Recorded { transition: None, late: false, slow };
            }
            let call = Ended { outcome, sample: Sample { failed: false, slow }, now };
            let transition = match self.record(issued.epoch(), &call) {
                Recording::Counted => {
                    self.window.succeeded(issued.epoch());
                    None
                }
                other => self.follow_up(other, issued, &call),
            };
            return Recorded { transition, late: false, slow };
        }
        self.settle_otherwise(issued, outcome, slow, now)
    }

    /// Records every outcome except a fast success of a closed breaker.
    #[inline(never)]
    fn settle_otherwise(&self, issued: Word, outcome: Outcome, slow: bool, now: impl Fn() -> Instant) -> Recorded {
        let current = self.word();
        if current.generation() != issued.generation() {
            self.late.fetch_add(1, Ordering::Relaxed);
            return Recorded { transition: None, late: true, slow };
        }
        let transition = match issued.state() {
            State::Closed | State::MetricsOnly => self.thresholds.sample(outcome, slow).and_then(|sample| {
                let call = Ended { outcome, sample, now };
                self.follow_up(self.record(current.epoch(), &call), current, &call)
            }),
            State::HalfOpen => return self.settle_probe(issued, outcome, slow, now()),
            // These record nothing, or admit nothing.
            State::Disabled | State::Open | State::ForcedOpen => None,
        };
        Recorded { transition, late: false, slow }
    }

    #[allow(clippy::inline_always, reason = "measured: a call costs more than the work")]
    #[inline(always)]
    fn record(&self, epoch: u32, call: &Ended<impl Fn() -> Instant>) -> Recording {
        self.window.record(epoch, call.sample, || self.bucket_number((call.now)()))
    }

    /// Number of the bucket of a window of time that a call ended in.
    #[inline]
    fn bucket_number(&self, now: Instant) -> u64 {
        match memo::recall(self.id, self.thresholds.slow_nanos(), now, now) {
            Some(bucket) if self.window.time.has(bucket) => bucket.number,
            _ => self.bucket_number_anew(now),
        }
    }

    #[inline(never)]
    fn bucket_number_anew(&self, now: Instant) -> u64 {
        let (bucket, shares) = self.window.time.bucket_at(self.nanos(now));
        memo::remember((self.id, self.thresholds.slow_nanos()), now, shares, bucket);
        bucket.number
    }

    /// What follows a recording: nothing, an evaluation, or another attempt.
    #[inline(never)]
    fn follow_up(
        &self,
        mut recording: Recording,
        mut current: Word,
        call: &Ended<impl Fn() -> Instant>,
    ) -> Option<Transition> {
        while recording == Recording::Stale {
            current = self.after_change(current)?;
            recording = self.record(current.epoch(), call);
        }
        let streak = if call.sample.failed {
            loop {
                match self.window.failed(current.epoch()) {
                    Some(streak) => break streak,
                    None => current = self.after_change(current)?,
                }
            }
        } else {
            if call.outcome == Outcome::Success {
                self.window.succeeded(current.epoch());
            }
            0
        };
        let Recording::Judge(totals) = recording else { return None };
        if current.state() != State::Closed {
            return None;
        }
        // This counts and then reads the thresholds; `reconfigure` writes the thresholds and then
        // reads the counts. With a fence in both, at least one of them sees the other.
        fence(Ordering::SeqCst);
        let reason = self.thresholds.judge(totals, streak)?;
        self.trip(current, reason, totals, (call.now)())
    }

    /// Waits for a concurrent change of the window and returns the word after it; `None`, and one more late
    /// result, if it was a change of state.
    fn after_change(&self, before: Word) -> Option<Word> {
        drop(lock(&self.control));
        let current = self.word();
        if current.generation() == before.generation() {
            return Some(current);
        }
        self.late.fetch_add(1, Ordering::Relaxed);
        None
    }

    /// Called when a permit is dropped without an outcome. Without a clock its call has no duration, so it cannot
    /// count as slow; [`Policy`](crate::policy::Policy) records such calls itself, with the time.
    #[cold]
    fn abandon(&self, issued: Word, start: Instant) {
        let outcome = if std::thread::panicking() { Outcome::Panicked } else { Outcome::Cancelled };
        if let Some(transition) = self.settle(Pass(issued), self.thresholds.is_slow(0), outcome, || start).transition {
            lock(&self.control).keep(transition);
        }
    }

    #[inline]
    fn word(&self) -> Word {
        Word(self.word.0.load(Ordering::Acquire))
    }

    /// Nanoseconds since the origin; 0 for instants before it.
    #[inline]
    fn nanos(&self, now: Instant) -> u64 {
        nanos_of(now.saturating_duration_since(self.origin))
    }
}

/// A duration in nanoseconds. 584 years fit, so that the product cannot overflow in practice.
#[inline]
fn nanos_of(duration: Duration) -> u64 {
    duration.as_secs().wrapping_mul(1_000_000_000).wrapping_add(u64::from(duration.subsec_nanos()))
}
