//! One breaker for all instances: what each of them saw, agreed on in the store.
//!
//! ## Theory of operation
//!
//! Instances that live briefly, or that are many, see too few calls to judge by themselves: three
//! instances can see two failures in a row each, and none of them trips. So failures in a row are
//! counted in one row of the store, and whoever makes the count complete trips all.
//!
//! The row is changed by *conditional writes*: a new version only takes the place of the one it was
//! decided on, as `DynamoDB`'s condition expressions do it. Nobody holds a lock, and a writer that died
//! leaves nothing behind.
//!
//! A call asks only the breaker in memory, so it costs what a local one costs. Each instance looks at
//! the row once in a cache period and follows what it finds; its own trips it writes at once. The
//! row is written on failures, on the first success after some, and on changes of state.
//!
//! Half-open is each instance's own: each tries its few probes, and the first to come to a result
//! decides for all.
//!
//! ## How it fails
//!
//! While the store is away, each instance goes on with what it saw itself: the breaker in memory is a
//! whole one. What it wanted to write it writes when the store is back, unless that is over by then
//! or a peer, who could write, has opened the breaker since: then it follows the peer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{broadcast, watch};
use tokio::time::{MissedTickBehavior, interval};

use crate::client::{Client, Error};
use crate::clock::Clock;
use crate::store::{BreakerRecord, SharedBreakers, StoreError, millis};
use breakerbox_resilience::breaker::{Outcome, Reason, State, Transition};
use breakerbox_resilience::retry::Classify;

/// How often a conditional write is tried again when somebody else was faster.
const TRIES: u32 = 8;
const OPEN: &str = "open";
const CLOSED: &str = "closed";

/// This instance's part of a shared breaker.
pub(super) struct Shared {
    breakers: SharedBreakers,
    client: Client,
    /// The row's name.
    name: String,
    /// This instance.
    own: String,
    cache: Duration,
    clock: Clock,
    /// The row as it was last seen.
    seen: Mutex<Option<BreakerRecord>>,
    /// Calls whose outcome matters to the row: true for a failure.
    outcomes: broadcast::Sender<bool>,
    /// Whether the last outcome that was sent is a failure, which the next success ends.
    failing: AtomicBool,
}

impl Shared {
    pub(super) fn new(breakers: SharedBreakers, client: Client, cache: Duration, clock: Clock) -> Self {
        Self {
            name: format!("{}/{}", client.service(), client.dependency()),
            own: format!("{:016x}", rand::random::<u64>()),
            breakers,
            client,
            cache,
            clock,
            seen: Mutex::new(None),
            outcomes: broadcast::channel(256).0,
            failing: AtomicBool::new(false),
        }
    }

    /// Takes note of a call. Never waits: the row is written elsewhere.
    pub(super) fn saw<T>(&self, result: &Result<T, Error>) {
        let failed = match result {
            Ok(_) => false,
            Err(Error::TimedOut) => true,
            Err(Error::Failed(error)) => error.verdict().counts != Outcome::Ignored,
            Err(_) => return,
        };
        // A success after successes changes nothing. What the row says may be older than what was sent.
        let ends_failures = || self.failing.load(Ordering::Relaxed) || self.row_counts_failures();
        if failed || ends_failures() {
            self.failing.store(failed, Ordering::Relaxed);
            // Nobody listens while the process ends.
            let _ = self.outcomes.send(failed);
        }
    }

    /// Keeps this instance and the row in step until `stopped` becomes true.
    pub(super) async fn keep_up(&self, mut stopped: watch::Receiver<bool>) {
        let (mut transitions, mut outcomes) = (self.client.transitions(), self.outcomes.subscribe());
        let mut every = interval(self.cache);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // What this instance decided and could not write yet.
        let mut owed: Option<BreakerRecord> = None;
        loop {
            let done = tokio::select! {
                () = async { drop(stopped.wait_for(|stopped| *stopped).await) } => return,
                Some(transition) = transitions.recv() => match self.decided(&transition) {
                    Some(record) => {
                        owed = Some(record.clone());
                        self.publish(&record).await
                    }
                    None => continue,
                },
                Ok(failed) = outcomes.recv() => {
                    if let Err(error) = self.count(failed).await {
                        tracing::debug!(%error, "a failure is not shared");
                    }
                    continue;
                }
                _ = every.tick() => match &owed {
                    Some(record) => self.publish(record).await,
                    None => self.look().await,
                },
            };
            match done {
                Ok(()) => owed = None,
                Err(error) => tracing::debug!(%error, "the shared breaker goes on by itself"),
            }
        }
    }

    /// What a transition of this instance's breaker means for the row.
    fn decided(&self, transition: &Transition) -> Option<BreakerRecord> {
        if transition.reason == Reason::Shared {
            return None;
        }
        match transition.to {
            State::Open => {
                let wait = transition.open_for.unwrap_or_default();
                Some(self.record(OPEN, self.clock.unix_millis() + millis(wait), 0))
            }
            State::Closed => Some(self.record(CLOSED, 0, 0)),
            _ => None,
        }
    }

    fn record(&self, state: &str, open_until: i64, failures: i64) -> BreakerRecord {
        BreakerRecord { version: 0, state: state.to_owned(), open_until, failures, changed_by: self.own.clone() }
    }

    /// Writes what this instance decided over whatever is there, unless that is newer or goes further.
    async fn publish(&self, wanted: &BreakerRecord) -> Result<(), StoreError> {
        let now = self.clock.unix_millis();
        if wanted.state == OPEN && wanted.open_until <= now {
            return self.look().await;
        }
        // A trip that this instance has not seen: a peer came to another result, and could say so first.
        let known = self.seen().map_or(0, |seen| seen.version);
        let stands = |present: &BreakerRecord| {
            present.state == OPEN
                && present.open_until > now
                && if wanted.state == OPEN { present.open_until >= wanted.open_until } else { present.version > known }
        };
        self.write(|present| (!stands(present)).then(|| wanted.clone())).await?;
        if let Some(record) = self.seen().filter(stands) {
            self.follow(&record);
        }
        Ok(())
    }

    /// Counts a failure, or begins anew after a success. Whoever completes the count trips all.
    async fn count(&self, failed: bool) -> Result<(), StoreError> {
        let Some(settings) = self.client.breaker_settings() else { return Ok(()) };
        let Some(threshold) = settings.consecutive_failure_threshold else { return Ok(()) };
        // Probes are the own breaker's to judge; what it makes of them it says itself.
        if self.client.snapshot().is_none_or(|own| own.state != State::Closed) {
            return Ok(());
        }
        let now = self.clock.unix_millis();
        let until = now + millis(settings.wait_duration_in_open_state);
        self.write(|present| {
            // A trip that is over, and whose instances are gone: nobody is left to say that it is.
            let over = present.state == OPEN && present.open_until <= now;
            let failures = if over { 0 } else { present.failures };
            match failed {
                _ if present.state == OPEN && !over => None,
                true if failures + 1 >= i64::from(threshold) => Some(self.record(OPEN, until, 0)),
                true => Some(self.record(CLOSED, 0, failures + 1)),
                false => (failures > 0).then(|| self.record(CLOSED, 0, 0)),
            }
        })
        .await?;
        if let Some(record) = self.seen().filter(|record| record.state == OPEN) {
            self.follow(&record);
        }
        Ok(())
    }

    /// Changes the row by a conditional write, as often as somebody else is faster.
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
        Ok(())
    }

    /// Looks at the row and follows it.
    async fn look(&self) -> Result<(), StoreError> {
        let Some(record) = self.breakers.read(&self.name).await? else { return Ok(()) };
        if record.version > self.seen().map_or(0, |seen| seen.version) {
            if record.changed_by != self.own {
                self.follow(&record);
            }
            self.remember(record);
        }
        Ok(())
    }

    /// Does what the row says, if that is still news.
    fn follow(&self, record: &BreakerRecord) {
        let left = u64::try_from(record.open_until - self.clock.unix_millis()).unwrap_or(0);
        let closed = self.client.snapshot().is_some_and(|now| now.state == State::Closed);
        if record.state == OPEN {
            if left > 0 {
                self.client.follow(Some(Duration::from_millis(left)));
            }
        } else if record.failures == 0 && !closed {
            self.client.follow(None);
        }
    }

    /// The one question that every call asks; it copies nothing.
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
    use breakerbox_resilience::policy::preset;
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
        let policy = preset("payment-gateway").unwrap();
        let transport = Transport::InProcess(slot);
        let client = Client::new("checkout", "payment-gateway", &policy, transport, &telemetry, 1).unwrap();
        let store = CheckoutStore::new("sqlite::memory:", &StoreSettings::default(), false).unwrap();
        let (cache, clock) = (Duration::from_secs(1), Clock::system());
        let shared = Shared::new(store.breakers(), client.clone(), cache, clock);
        // Both in one round, so that what changes on the machine changes for both.
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
