//! A circuit breaker with a name and a clock, to call a future through.
//!
//! [`Breaker`] is the state machine and takes the time as an argument. A [`CircuitBreaker`] wraps one: it
//! can be cloned, has a name, reads a [clock](super::clock), and classifies results: by default every
//! `Err` is a failure.
//!
//! ```
//! use std::{io, time::Duration};
//! use breakerbox_resilience::{BreakerError, CircuitBreaker};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! let breaker = CircuitBreaker::builder("payments")
//!     .consecutive_failures(3)
//!     .open_for(Duration::from_secs(30))
//!     .build()?;
//!
//! for _ in 0..3 {
//!     let failed = breaker.call(async { Err::<(), _>(io::Error::from(io::ErrorKind::ConnectionRefused)) }).await;
//!     assert!(matches!(failed, Err(BreakerError::Inner(_))));
//! }
//! let rejected = breaker.call(async { Ok::<_, io::Error>("not asked any more") }).await.unwrap_err();
//! assert!(rejected.to_string().starts_with("payments is open; retry after 29.9"));
//! # Ok::<(), breakerbox_resilience::SettingsError>(())
//! # }).unwrap();
//! ```
//!
//! # Cost
//!
//! The clock is read only where a decision depends on the time: not at all for a call through a closed
//! breaker with a count-based window and no slow-call threshold, once for a time-based window, and twice
//! if there is a slow-call threshold or an observer.

use std::{
    borrow::Borrow,
    fmt,
    future::{Future, poll_fn},
    marker::PhantomData,
    ops::Deref,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    breaker::{
        Breaker, BreakerBuilder, BreakerSettings, Command, Outcome, Pass, Recorded, Rejected, Snapshot, State,
        Transition,
    },
    clock::{Clock, TokioClock},
    policy::{Event, Observer},
    settings::SettingsError,
};

/// The name of a [`CircuitBreaker`], made from a literal or from any owned string. Every rejection
/// carries it; a literal needs no reference counting, which saves two atomic additions.
#[derive(Clone)]
pub struct Name(Text);

#[derive(Clone)]
enum Text {
    Literal(&'static str),
    Shared(Arc<str>),
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        match &self.0 {
            Text::Literal(name) => name,
            Text::Shared(name) => name,
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&**self, formatter)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, formatter)
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Name {}

impl From<&'static str> for Name {
    fn from(name: &'static str) -> Self {
        Self(Text::Literal(name))
    }
}

impl From<String> for Name {
    fn from(name: String) -> Self {
        Self(Text::Shared(name.into()))
    }
}

impl From<Arc<str>> for Name {
    fn from(name: Arc<str>) -> Self {
        Self(Text::Shared(name))
    }
}

/// Error of a call through a [`CircuitBreaker`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BreakerError<E> {
    /// The breaker rejected the call; the operation was not started.
    #[error("{name} is {}; retry after {retry_after:?}", state.as_str())]
    Rejected {
        /// Name of the breaker.
        name: Name,
        /// State that rejected the call.
        state: State,
        /// Earliest time at which a retry may succeed; see [`Rejected::retry_after`].
        retry_after: Duration,
    },
    /// The operation failed.
    #[error(transparent)]
    Inner(E),
}

impl<E> BreakerError<E> {
    /// Earliest time at which a retry may succeed, if the breaker rejected the call.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Rejected { retry_after, .. } => Some(*retry_after),
            Self::Inner(_) => None,
        }
    }

    /// The operation's error, if it was called.
    #[must_use]
    pub fn into_inner(self) -> Option<E> {
        match self {
            Self::Rejected { .. } => None,
            Self::Inner(error) => Some(error),
        }
    }
}

/// A [`Breaker`] with a name and a clock; see the [module](self). Clones share the breaker.
#[derive(Clone)]
pub struct CircuitBreaker<C = TokioClock> {
    name: Name,
    breaker: Arc<Breaker>,
    clock: C,
    observer: Option<Arc<dyn Observer + Send + Sync>>,
}

impl<C> fmt::Debug for CircuitBreaker<C> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("CircuitBreaker")
            .field("name", &self.name)
            .field("breaker", &self.breaker)
            .finish_non_exhaustive()
    }
}

impl CircuitBreaker {
    /// Returns a builder with the default settings: trips when half of the last hundred calls failed.
    pub fn builder(name: impl Into<Name>) -> CircuitBreakerBuilder {
        CircuitBreakerBuilder {
            name: name.into(),
            breaker: BreakerBuilder::default(),
            clock: TokioClock,
            observer: None,
        }
    }
}

impl<C> CircuitBreaker<C> {
    /// Name of the breaker.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The underlying [`Breaker`], for callers that pass the time themselves.
    #[must_use]
    pub fn breaker(&self) -> &Arc<Breaker> {
        &self.breaker
    }

    /// Current state.
    #[must_use]
    pub fn state(&self) -> State {
        self.breaker.state()
    }
}

impl<C: Clock> CircuitBreaker<C> {
    /// Calls a future. Every `Err` counts as a failure. A future that is rejected is never polled.
    ///
    /// The returned future can be dropped at any time: the call is then recorded as cancelled.
    pub async fn call<T, E>(&self, call: impl Future<Output = Result<T, E>>) -> Result<T, BreakerError<E>> {
        self.call_with(by_result, call).await
    }

    /// Calls a future and classifies its result with a closure.
    ///
    /// ```
    /// use std::io;
    /// use breakerbox_resilience::{CircuitBreaker, breaker::Outcome};
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// let breaker = CircuitBreaker::builder("cache").build()?;
    /// let missing = breaker
    ///     .call_with(
    ///         |read: &io::Result<String>| match read {
    ///             Ok(_) => Outcome::Success,
    ///             // It answered: that there is no such file is no failure of the disk.
    ///             Err(error) if error.kind() == io::ErrorKind::NotFound => Outcome::Ignored,
    ///             Err(_) => Outcome::Failure,
    ///         },
    ///         async { std::fs::read_to_string("/nowhere") },
    ///     )
    ///     .await;
    /// assert!(missing.is_err());
    /// assert_eq!(breaker.snapshot().failures, 0);
    /// # Ok::<(), breakerbox_resilience::SettingsError>(())
    /// # }).unwrap();
    /// ```
    pub async fn call_with<T, E>(
        &self,
        classify: impl FnOnce(&Result<T, E>) -> Outcome,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<T, BreakerError<E>> {
        let mut running = self.start().map_err(|rejected| self.rejected(rejected))?;
        let mut call = pin!(call);
        let result = poll_fn(|context| {
            // An unwind while this is set was caused by the call.
            running.at_work = true;
            let polled = call.as_mut().poll(context);
            running.at_work = false;
            polled
        })
        .await;
        running.finish(classify(&result));
        result.map_err(BreakerError::Inner)
    }

    /// Calls a blocking closure.
    pub fn run<T, E>(&self, call: impl FnOnce() -> Result<T, E>) -> Result<T, BreakerError<E>> {
        let mut running = self.start().map_err(|rejected| self.rejected(rejected))?;
        running.at_work = true;
        let result = call();
        running.finish(by_result(&result));
        result.map_err(BreakerError::Inner)
    }

    /// Acquires an owned permit for one call, which can be moved into a spawned task or a response body and
    /// records the outcome there. If it is dropped, the call is recorded as cancelled.
    ///
    /// ```
    /// use breakerbox_resilience::CircuitBreaker;
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// let breaker = CircuitBreaker::builder("uploads").build()?;
    /// let permit = breaker.acquire().expect("closed");
    /// let task = tokio::spawn(async move { permit.succeeded() });
    /// assert!(task.await.expect("no panic").transition.is_none());
    /// assert_eq!(breaker.snapshot().window_calls, 1);
    /// # Ok::<(), breakerbox_resilience::SettingsError>(())
    /// # }).unwrap();
    /// ```
    pub fn acquire(&self) -> Result<CallPermit<C>, Rejected>
    where
        C: Clone,
    {
        let (pass, start) = self.admit()?;
        Ok(CallPermit(Running::new(self.clone(), pass, start)))
    }

    /// Snapshot of state, window and thresholds.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.breaker.snapshot(self.clock.now())
    }

    /// Executes an operator's command; see [`Breaker::command`].
    pub fn command(&self, command: Command) -> Option<Transition> {
        self.observed(self.breaker.command(command, self.clock.now()))
    }

    /// Replaces the settings while running; see [`Breaker::reconfigure`].
    pub fn reconfigure(&self, settings: BreakerSettings) -> Result<Option<Transition>, SettingsError> {
        Ok(self.observed(self.breaker.reconfigure(settings, self.clock.now())?))
    }

    /// Performs transitions that are due by time alone; see [`Breaker::tick`].
    #[allow(clippy::must_use_candidate, reason = "callers with an observer get the transition there")]
    pub fn tick(&self) -> Option<Transition> {
        self.observed(self.breaker.tick(self.clock.now()))
    }

    #[inline]
    fn start(&self) -> Result<Running<&Self, C>, Rejected> {
        let (pass, start) = self.admit()?;
        Ok(Running::new(self, pass, start))
    }

    /// Permit of a call, and its start time, if anything depends on it.
    #[inline]
    fn admit(&self) -> Result<(Pass, Option<Instant>), Rejected> {
        if self.observer.is_none()
            && !self.breaker.judges_slowness()
            && let Some(pass) = self.breaker.pass_closed()
        {
            return Ok((pass, None));
        }
        self.admit_timed()
    }

    #[inline(never)]
    fn admit_timed(&self) -> Result<(Pass, Option<Instant>), Rejected> {
        let now = self.clock.now();
        // The same answer as in the next line, without a transition.
        if let Some(rejected) = self.breaker.would_reject(now) {
            self.observe(Event::Rejected(rejected));
            return Err(rejected);
        }
        let admission = self.breaker.try_acquire(now);
        let _ = self.observed(admission.transition);
        match admission.permit {
            Ok(permit) => {
                self.observe(Event::Admitted { attempt: 1, hedge: false });
                Ok((permit.into_pass(), Some(now)))
            }
            Err(rejected) => {
                self.observe(Event::Rejected(rejected));
                Err(rejected)
            }
        }
    }

    #[cold]
    fn rejected<E>(&self, rejected: Rejected) -> BreakerError<E> {
        BreakerError::Rejected { name: self.name.clone(), state: rejected.state, retry_after: rejected.retry_after }
    }

    fn observed(&self, transition: Option<Transition>) -> Option<Transition> {
        if let Some(transition) = &transition {
            self.observe(Event::Transition(transition));
        }
        transition
    }

    #[inline]
    fn observe(&self, event: Event<'_>) {
        if let Some(observer) = &self.observer {
            observer.observe(event);
        }
    }
}

fn by_result<T, E>(result: &Result<T, E>) -> Outcome {
    if result.is_ok() { Outcome::Success } else { Outcome::Failure }
}

/// A call in progress. If it is dropped without an outcome, it is recorded as cancelled, or as a panic.
struct Running<B: Borrow<CircuitBreaker<C>>, C: Clock> {
    circuit: B,
    pass: Pass,
    start: Option<Instant>,
    at_work: bool,
    finished: bool,
    clock: PhantomData<C>,
}

impl<B: Borrow<CircuitBreaker<C>>, C: Clock> Running<B, C> {
    #[inline]
    fn new(circuit: B, pass: Pass, start: Option<Instant>) -> Self {
        Self { circuit, pass, start, at_work: false, finished: false, clock: PhantomData }
    }

    #[inline]
    fn finish(mut self, outcome: Outcome) -> Recorded {
        self.end(outcome)
    }

    #[inline]
    fn end(&mut self, outcome: Outcome) -> Recorded {
        self.finished = true;
        let circuit = self.circuit.borrow();
        match self.start {
            None => circuit.breaker.settle(self.pass, false, outcome, || circuit.clock.now()),
            Some(start) => end_timed(circuit, self.pass, start, outcome),
        }
    }
}

#[inline(never)]
fn end_timed<C: Clock>(circuit: &CircuitBreaker<C>, pass: Pass, start: Instant, outcome: Outcome) -> Recorded {
    let now = circuit.clock.now();
    let elapsed = now.saturating_duration_since(start);
    let recorded = circuit.breaker.settle(pass, circuit.breaker.is_slow(elapsed), outcome, || now);
    let _ = circuit.observed(recorded.transition);
    let Recorded { slow, late, .. } = recorded;
    circuit.observe(Event::Finished { outcome, slow, late, elapsed, attempt: 1, hedge: false });
    recorded
}

impl<B: Borrow<CircuitBreaker<C>>, C: Clock> Drop for Running<B, C> {
    #[inline]
    fn drop(&mut self) {
        if !self.finished {
            self.end(if self.at_work { Outcome::Panicked } else { Outcome::Cancelled });
        }
    }
}

/// Owned permit for one call, returned by [`CircuitBreaker::acquire`]. It is `Send` and `'static`.
#[must_use = "a permit that is dropped counts as a cancelled call"]
pub struct CallPermit<C: Clock = TokioClock>(Running<CircuitBreaker<C>, C>);

impl<C: Clock> CallPermit<C> {
    /// Records the outcome of the call and ends it.
    #[allow(clippy::must_use_candidate, reason = "callers without an observer ignore the transition")]
    pub fn record(self, outcome: Outcome) -> Recorded {
        self.0.finish(outcome)
    }

    /// Records a success.
    #[allow(clippy::must_use_candidate, reason = "see record")]
    pub fn succeeded(self) -> Recorded {
        self.record(Outcome::Success)
    }

    /// Records a failure.
    #[allow(clippy::must_use_candidate, reason = "see record")]
    pub fn failed(self) -> Recorded {
        self.record(Outcome::Failure)
    }
}

impl<C: Clock> fmt::Debug for CallPermit<C> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("CallPermit").field("breaker", &self.0.circuit.name).finish_non_exhaustive()
    }
}

/// Builder of a [`CircuitBreaker`]; starts from the default settings.
#[must_use = "a builder does nothing until it builds"]
pub struct CircuitBreakerBuilder<C = TokioClock> {
    name: Name,
    breaker: BreakerBuilder,
    clock: C,
    observer: Option<Arc<dyn Observer + Send + Sync>>,
}

impl<C: Clock> CircuitBreakerBuilder<C> {
    /// Uses these settings as a base; later calls change them.
    pub fn settings(self, settings: BreakerSettings) -> Self {
        self.with(|breaker| breaker.settings(settings))
    }

    /// Trips when this percentage (above 0, up to 100) of the calls in the window failed.
    pub fn failure_rate(self, percent: f64) -> Self {
        self.with(|breaker| breaker.failure_rate(percent))
    }

    /// Disables the failure-rate threshold. Another threshold must be set.
    pub fn no_failure_rate(self) -> Self {
        self.with(BreakerBuilder::no_failure_rate)
    }

    /// Trips after this number of consecutive failures.
    pub fn consecutive_failures(self, failures: u32) -> Self {
        self.with(|breaker| breaker.consecutive_failures(failures))
    }

    /// Trips when this percentage of the calls in the window took at least `slow`.
    pub fn slow_calls(self, percent: f64, slow: Duration) -> Self {
        self.with(|breaker| breaker.slow_calls(percent, slow))
    }

    /// Uses a count-based window of the last `calls` calls, 1–100 000. Lowers the minimum of calls unless that was set.
    pub fn count_window(self, calls: u32) -> Self {
        self.with(|breaker| breaker.count_window(calls))
    }

    /// Uses a time-based window of the length `span`, 10 ms to 1 h.
    pub fn time_window(self, span: Duration) -> Self {
        self.with(|breaker| breaker.time_window(span))
    }

    /// Minimum number of calls in the window before rates are evaluated.
    pub fn minimum_calls(self, calls: u32) -> Self {
        self.with(|breaker| breaker.minimum_calls(calls))
    }

    /// Duration of the first open state.
    pub fn open_for(self, wait: Duration) -> Self {
        self.with(|breaker| breaker.open_for(wait))
    }

    /// Half-open admits this number of probes, of which this percentage must succeed.
    pub fn probes(self, permitted: u32, success_rate: f64) -> Self {
        self.with(|breaker| breaker.probes(permitted, success_rate))
    }

    /// Changes any other setting of the breaker.
    pub fn with(mut self, say: impl FnOnce(BreakerBuilder) -> BreakerBuilder) -> Self {
        self.breaker = say(self.breaker);
        self
    }

    /// Uses this clock.
    pub fn clock<D: Clock>(self, clock: D) -> CircuitBreakerBuilder<D> {
        CircuitBreakerBuilder { name: self.name, breaker: self.breaker, clock, observer: self.observer }
    }

    /// Reports transitions, rejections and finished calls to an observer; permits call it on the thread on
    /// which they end. It must not panic.
    pub fn observer(mut self, observer: impl Observer + Send + Sync + 'static) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }

    /// Builds the breaker, closed unless the settings say otherwise.
    pub fn build(self) -> Result<CircuitBreaker<C>, SettingsError> {
        Ok(CircuitBreaker {
            name: self.name,
            breaker: Arc::new(self.breaker.build(self.clock.now())?),
            clock: self.clock,
            observer: self.observer,
        })
    }
}

impl<C> fmt::Debug for CircuitBreakerBuilder<C> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut builder = formatter.debug_struct("CircuitBreakerBuilder");
        builder.field("name", &self.name).field("breaker", &self.breaker).finish_non_exhaustive()
    }
}
