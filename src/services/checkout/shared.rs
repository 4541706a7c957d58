//! One breaker for all instances: their outcomes, combined in the store.
//!
//! ## Theory of operation
//!
//! Instances that are short-lived, or numerous, have too few calls to decide alone: three instances can each have
//! two failures in a row, and none of them trips. So consecutive failures are counted in one row of the store, and
//! the instance that completes the count trips all.
//!
//! The row is changed by *conditional writes*: a new version only replaces the one it was based on, like
//! `DynamoDB`'s condition expressions. There are no locks, and a writer that dies leaves nothing behind.
//!
//! A call only asks the breaker in memory, so it costs as much as a local one. Each instance reads the row once
//! per cache period and follows it; its own trips are written at once. The row is written on failures, on the
//! first success after failures, and on transitions.
//!
//! The state of the instance's own breaker is read from the breaker itself, not from events, which could be
//! missed. A change that could not be written is kept and written at the next read. A breaker forced open by an
//! operator is forced open in all instances, until an operator releases it in any of them.
//!
//! Half-open is local: each instance sends its few probes, and the first result decides for all.
//!
//! ## How it fails
//!
//! While the store is unavailable, each instance continues with its own breaker in memory. Pending changes are
//! written when the store is back, unless they are outdated or a peer has opened the breaker since: then the
//! instance follows the peer.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{MissedTickBehavior, interval};

use crate::client::{Client, Error};
use crate::store::{BreakerRecord, SharedBreakers, StoreError, millis};
use breakerbox_resilience::breaker::{Command, Outcome, Snapshot, State};
use breakerbox_resilience::retry::Classify;

/// Number of retries of a conditional write after conflicts.
const TRIES: u32 = 8;
const OPEN: &str = "open";
const CLOSED: &str = "closed";
const FORCED: &str = "forced_open";

/// This instance's part of a shared breaker.
pub(super) struct Shared {
    breakers: SharedBreakers,
    client: Client,
    /// Name of the row.
    name: String,
    /// Id of this instance.
    own: String,
    cache: Duration,
    /// The row as last read.
    seen: Mutex<Option<BreakerRecord>>,
    /// Outcomes that are not in the row yet.
    tally: Mutex<Tally>,
    /// The own breaker's state as written to the row.
    known: Mutex<Known>,
    /// Wakes the writer.
    poke: Notify,
}

/// Consecutive outcomes.
#[derive(Clone, Copy, Default)]
struct Tally {
    /// Whether a success preceded the failures.
    ended: bool,
    failures: i64,
    /// Whether the last outcome was a failure, so that the next success resets the count.
    failing: bool,
}

#[derive(Clone, Copy, Default)]
struct Known {
    generation: u64,
    forced: bool,
    /// Whether it is not closed: then every outcome may change its state.
    unsettled: bool,
}

impl Known {
    fn of(own: &Snapshot) -> Self {
        let (forced, unsettled) = (own.state == State::ForcedOpen, own.state != State::Closed);
        Self { generation: own.generation, forced, unsettled }
    }
}

/// A pending write.
#[derive(Clone)]
struct Owed {
    record: BreakerRecord,
    /// Whether it releases a state that an operator set.
    releases: bool,
}

impl Shared {
    pub(super) fn new(breakers: SharedBreakers, client: Client, cache: Duration) -> Self {
        let known = client.snapshot().map_or_else(Known::default, |own| Known { forced: false, ..Known::of(&own) });
        Self {
            name: format!("{}/{}", client.service(), client.dependency()),
            own: format!("{:016x}", rand::random::<u64>()),
            breakers,
            client,
            cache,
            seen: Mutex::new(None),
            tally: Mutex::default(),
            known: Mutex::new(known),
            poke: Notify::new(),
        }
    }

    /// Records a call. Never waits: the row is written by another task.
    pub(super) fn saw<T>(&self, result: &Result<T, Error>) {
        let failed = match result {
            Ok(_) => false,
            Err(Error::TimedOut) => true,
            Err(Error::Failed(error)) => error.verdict().counts != Outcome::Ignored,
            Err(_) => return,
        };
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        if failed {
            tally.failures += 1;
        } else if tally.failing || self.row_counts_failures() {
            (tally.ended, tally.failures) = (true, 0);
        } else {
            // A success after successes changes nothing, unless it is a probe's.
            if self.known.lock().unwrap_or_else(PoisonError::into_inner).unsettled {
                self.poke.notify_one();
            }
            return;
        }
        tally.failing = failed;
        self.poke.notify_one();
    }

    /// Synchronizes this instance and the row until `stopped` becomes true.
    pub(super) async fn keep_up(&self, mut stopped: watch::Receiver<bool>) {
        let mut every = interval(self.cache);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut owed: Option<Owed> = None;
        let mut away = false;
        loop {
            tokio::select! {
                _ = stopped.wait_for(|stopped| *stopped) => return,
                () = self.poke.notified() => {}
                _ = every.tick() => {}
            }
            let done = self.step(&mut owed).await;
            if let Err(error) = &done
                && !away
            {
                tracing::warn!(%error, owed = owed.is_some(), "the shared breaker continues with local state");
            }
            away = done.is_err();
        }
    }

    async fn step(&self, owed: &mut Option<Owed>) -> Result<(), StoreError> {
        self.count().await?;
        let now = self.breakers.now().await;
        if let Some(own) = self.own_move(now.as_ref().copied().ok()) {
            *owed = Some(own);
        }
        let now = now?;
        match owed.clone() {
            Some(wanted) => {
                self.publish(&wanted, now).await?;
                *owed = None;
                Ok(())
            }
            None => self.look(now).await,
        }
    }

    /// Transitions of the own breaker that are not in the row yet.
    fn own_move(&self, now: Option<i64>) -> Option<Owed> {
        let own = self.client.snapshot()?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if own.generation == known.generation {
            return None;
        }
        let releases = known.forced && own.state != State::ForcedOpen;
        // Without the store's time, its wait counts from when that is known.
        let now = now?;
        *known = Known::of(&own);
        let record = match own.state {
            State::Open => self.record(OPEN, now + millis(own.open_remaining), 0),
            State::Closed => self.record(CLOSED, 0, 0),
            State::ForcedOpen => self.record(FORCED, 0, 0),
            _ if releases => self.record(CLOSED, 0, 0),
            _ => return None,
        };
        Some(Owed { record, releases })
    }

    fn record(&self, state: &str, open_until: i64, failures: i64) -> BreakerRecord {
        BreakerRecord { version: 0, state: state.to_owned(), open_until, failures, changed_by: self.own.clone() }
    }

    /// Writes this instance's decision, unless the row is newer or stricter.
    async fn publish(&self, owed: &Owed, now: i64) -> Result<(), StoreError> {
        let Owed { record: wanted, releases } = owed;
        if wanted.state == OPEN && wanted.open_until <= now {
            return self.look(now).await;
        }
        // A peer's trip that this instance has not read: the peer came to another result and wrote it first.
        let known = self.seen().map_or(0, |seen| seen.version);
        let stands = |present: &BreakerRecord| {
            if present.state == FORCED {
                return !releases && wanted.state != FORCED;
            }
            wanted.state != FORCED
                && present.state == OPEN
                && present.open_until > now
                && if wanted.state == OPEN { present.open_until >= wanted.open_until } else { present.version > known }
        };
        self.write(|present| (!stands(present)).then(|| wanted.clone())).await?;
        if let Some(record) = self.seen().filter(stands) {
            self.follow(&record, now);
        }
        Ok(())
    }

    /// Adds outcomes to the row. The instance whose failure reaches the threshold trips all. Outcomes that could not be
    /// written are kept for the next time.
    async fn count(&self) -> Result<(), StoreError> {
        let take = || {
            let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
            let taken = *tally;
            (tally.ended, tally.failures) = (false, 0);
            taken
        };
        let Tally { ended, failures, .. } = take();
        if !ended && failures == 0 {
            return Ok(());
        }
        let Some(settings) = self.client.breaker_settings() else { return Ok(()) };
        let Some(threshold) = settings.consecutive_failure_threshold else { return Ok(()) };
        // The own breaker evaluates probes itself, and its transition is written separately.
        if self.client.snapshot().is_none_or(|own| own.state != State::Closed) {
            return Ok(());
        }
        let counted = self.count_in_row(ended, failures, threshold, settings.wait_duration_in_open_state).await;
        if counted.is_err() {
            let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
            if !tally.ended {
                (tally.ended, tally.failures) = (ended, tally.failures + failures);
            }
        }
        counted
    }

    async fn count_in_row(&self, ended: bool, failures: i64, threshold: u32, wait: Duration) -> Result<(), StoreError> {
        let now = self.breakers.now().await?;
        let until = now + millis(wait);
        self.write(|present| {
            if present.state == FORCED {
                return None;
            }
            // The open state has expired, and its instances are gone, so that none could write the end.
            let over = present.state == OPEN && present.open_until <= now;
            if present.state == OPEN && !over {
                return None;
            }
            let before = if over || ended { 0 } else { present.failures };
            let sum = before + failures;
            if sum >= i64::from(threshold) {
                return Some(self.record(OPEN, until, 0));
            }
            (over || sum != present.failures).then(|| self.record(CLOSED, 0, sum))
        })
        .await?;
        if let Some(record) = self.seen().filter(|record| record.state != CLOSED) {
            self.follow(&record, now);
        }
        Ok(())
    }

    /// Changes the row by a conditional write, repeated on conflicts.
    async fn write(&self, next: impl Fn(&BreakerRecord) -> Option<BreakerRecord>) -> Result<(), StoreError> {
        for _ in 0..TRIES {
            let present = self.breakers.read(&self.name).await?.unwrap_or_else(|| self.record(CLOSED, 0, 0));
            let Some(mut record) = next(&present) else {
                self.remember(present);
                return Ok(());
            };
            record.version = present.version + 1;
            if self.breakers.write(&self.name, &record).await? {
                self.remember(record);
                return Ok(());
            }
        }
        // Retried at the next read.
        tracing::warn!(breaker = self.name, "{TRIES} conflicts with other instances; sharing is postponed");
        Err(StoreError::Interrupted)
    }

    /// Reads the row and follows it.
    async fn look(&self, now: i64) -> Result<(), StoreError> {
        let Some(record) = self.breakers.read(&self.name).await? else { return Ok(()) };
        if record.version > self.seen().map_or(0, |seen| seen.version) {
            if record.changed_by != self.own {
                self.follow(&record, now);
            }
            self.remember(record);
        }
        Ok(())
    }

    /// Follows the row, if it is newer.
    fn follow(&self, record: &BreakerRecord, now: i64) {
        let Some(own) = self.client.snapshot() else { return };
        let left = u64::try_from(record.open_until - now).unwrap_or(0);
        match (record.state.as_str(), own.state) {
            (FORCED, State::ForcedOpen) => {}
            (FORCED, _) => self.client.command(Command::ForceOpen),
            (OPEN, State::ForcedOpen) => {
                self.client.command(Command::Reset);
                self.client.follow((left > 0).then(|| Duration::from_millis(left)));
            }
            (OPEN, _) if left > 0 => self.client.follow(Some(Duration::from_millis(left))),
            (CLOSED, State::ForcedOpen) => self.client.command(Command::Reset),
            (CLOSED, state) if record.failures == 0 && state != State::Closed => self.client.follow(None),
            _ => {}
        }
        // A state adopted from the row is not written to it again.
        if let Some(after) = self.client.snapshot() {
            *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Known::of(&after);
        }
    }

    /// The check of every call; it does not copy the row.
    fn row_counts_failures(&self) -> bool {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.as_ref().is_some_and(|record| record.failures > 0)
    }

    fn seen(&self) -> Option<BreakerRecord> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn remember(&self, record: BreakerRecord) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(record);
    }
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;
    use std::sync::{Arc, OnceLock};
    use std::time::Instant;

    use axum::Router;
    use axum::routing::get;

    use super::*;
    use crate::client::{Context, Request, Telemetry, Transport};
    use crate::store::{CheckoutStore, StoreSettings};
    use breakerbox_telemetry::{Metrics, TransitionLog};

    const ROUNDS: u32 = 31;

    /// `cargo test --release --lib what_a_shared_breaker_costs -- --ignored --nocapture`
    #[tokio::test]
    #[ignore = "a measurement"]
    async fn what_a_shared_breaker_costs_a_call_beyond_a_local_one() {
        let telemetry =
            Telemetry { metrics: Metrics::new(&[Duration::from_secs(1)]), transitions: TransitionLog::new() };
        let slot = Arc::new(OnceLock::new());
        slot.set(Router::new().route("/", get(|| async {}))).unwrap();
        let policy = crate::client::preset("payment-gateway").unwrap();
        let transport = Transport::InProcess(slot);
        let client = Client::new("checkout", "payment-gateway", &policy, transport, &telemetry, 1).unwrap();
        let store = CheckoutStore::new("sqlite::memory:", &StoreSettings::default(), false).unwrap();
        let shared = Shared::new(store.breakers(), client.clone(), Duration::from_secs(1));
        // Measured alternately, so that changes of the machine's load affect all.
        let (mut local, mut with_peers, mut noted) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            for (share, times) in [(false, &mut local), (true, &mut with_peers)] {
                let since = Instant::now();
                for _ in 0..2_000 {
                    let result = client.call(&Context::new(), Request::get("/")).await;
                    if share {
                        shared.saw(&result);
                    }
                    assert!(black_box(result).is_ok());
                }
                times.push(since.elapsed().as_secs_f64() / 2_000.0 * 1e9);
            }
            let (result, since) = (Ok::<(), Error>(()), Instant::now());
            for _ in 0..100_000 {
                shared.saw(black_box(&result));
            }
            noted.push(since.elapsed().as_secs_f64() / 100_000.0 * 1e9);
        }
        let median = |mut times: Vec<f64>| {
            times.sort_unstable_by(f64::total_cmp);
            times[times.len() / 2]
        };
        let (local, with_peers, noted) = (median(local), median(with_peers), median(noted));
        eprintln!(
            "a call, local: {local:.0} ns; shared: {with_peers:.0} ns; taking note for the peers alone: {noted:.1} ns"
        );
        assert!(noted < local / 10.0, "{noted} of {local}");
    }
}
