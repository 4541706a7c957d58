//! A circuit breaker as most callers want it: with a name and a clock, around a future.
//!
//! [`Breaker`] decides, and takes the time as an argument. A [`CircuitBreaker`] is one that can be
//! cloned, has a name, asks a [clock](super::clock) for the time itself, and tells errors from
//! answers: by default every `Err` is a failure.
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
//! # What it costs
//!
//! It reads the clock only for what depends on the time: not for a call through a closed breaker with
//! a window of calls and no slow-call threshold, once for a window of time, and twice where slow
//! calls count or an observer watches.

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
/// carries it, and a literal is handed on without counting who holds it: two atomic additions less.
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

/// Why a call through a [`CircuitBreaker`] has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BreakerError<E> {
    /// The breaker did not let it through; the operation was not started.
    #[error("{name} is {}; retry after {retry_after:?}", state.as_str())]
    Rejected {
        /// The breaker's name.
        name: Name,
        /// The state that rejected it.
        state: State,
        /// When it is worth asking again; see [`Rejected::retry_after`].
        retry_after: Duration,
    },
    /// The operation failed.
    #[error(transparent)]
    Inner(E),
}

impl<E> BreakerError<E> {
    /// When it is worth asking again, if the breaker rejected the call.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Rejected { retry_after, .. } => Some(*retry_after),
            Self::Inner(_) => None,
        }
    }

    /// The operation's own error, if there is one.
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
    /// A builder with the default settings: half of the last hundred calls failed.
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
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The breaker itself, for callers that have the time already.
    #[must_use]
    pub fn breaker(&self) -> &Arc<Breaker> {
        &self.breaker
    }

    /// The state it is in.
    #[must_use]
    pub fn state(&self) -> State {
        self.breaker.state()
    }
}

impl<C: Clock> CircuitBreaker<C> {
    /// Makes a call. Every `Err` counts as a failure. A rejected future is dropped and never polled.
    ///
    /// The returned future can be dropped at any time: the call then counts as cancelled.
    pub async fn call<T, E>(&self, call: impl Future<Output = Result<T, E>>) -> Result<T, BreakerError<E>> {
        self.call_with(by_result, call).await
    }

    /// Makes a call whose result is classified by a closure.
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

    /// Makes a call that blocks.
    pub fn run<T, E>(&self, call: impl FnOnce() -> Result<T, E>) -> Result<T, BreakerError<E>> {
        let mut running = self.start().map_err(|rejected| self.rejected(rejected))?;
        running.at_work = true;
        let result = call();
        running.finish(by_result(&result));
        result.map_err(BreakerError::Inner)
    }

    /// Asks to make a call, for a permit that can move into a spawned task or a response body and
    /// records its outcome there. Dropped, it counts as cancelled.
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

    /// What it looks like now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.breaker.snapshot(self.clock.now())
    }

    /// Does what an operator says; see [`Breaker::command`].
    pub fn command(&self, command: Command) -> Option<Transition> {
        self.observed(self.breaker.command(command, self.clock.now()))
    }

    /// Takes new settings at once; see [`Breaker::reconfigure`].
    pub fn reconfigure(&self, settings: BreakerSettings) -> Result<Option<Transition>, SettingsError> {
        Ok(self.observed(self.breaker.reconfigure(settings, self.clock.now())?))
    }

    /// Changes what time alone changes; see [`Breaker::tick`].
    #[allow(clippy::must_use_candidate, reason = "callers with an observer get the transition there")]
    pub fn tick(&self) -> Option<Transition> {
        self.observed(self.breaker.tick(self.clock.now()))
    }

    #[inline]
    fn start(&self) -> Result<Running<&Self, C>, Rejected> {
        let (pass, start) = self.admit()?;
        Ok(Running::new(self, pass, start))
    }

    /// The right to make a call, and when it began, if anything depends on that.
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
        // The same answer as the next line's, without room for a transition.
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

/// A call between its start and its end; dropped without one, it was cancelled, or it panicked.
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

/// The right to make one call, made by [`CircuitBreaker::acquire`]. It can go anywhere.
#[must_use = "a permit that is dropped counts as a cancelled call"]
pub struct CallPermit<C: Clock = TokioClock>(Running<CircuitBreaker<C>, C>);

impl<C: Clock> CallPermit<C> {
    /// Says what became of the call, which ends now.
    #[allow(clippy::must_use_candidate, reason = "callers without an observer ignore the transition")]
    pub fn record(self, outcome: Outcome) -> Recorded {
        self.0.finish(outcome)
    }

    /// The dependency answered well.
    #[allow(clippy::must_use_candidate, reason = "see record")]
    pub fn succeeded(self) -> Recorded {
        self.record(Outcome::Success)
    }

    /// The dependency answered badly, or not at all.
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

/// Builds a [`CircuitBreaker`] from what differs from the defaults.
#[must_use = "a builder does nothing until it builds"]
pub struct CircuitBreakerBuilder<C = TokioClock> {
    name: Name,
    breaker: BreakerBuilder,
    clock: C,
    observer: Option<Arc<dyn Observer + Send + Sync>>,
}

impl<C: Clock> CircuitBreakerBuilder<C> {
    /// Takes these settings; what is said afterwards changes them.
    pub fn settings(self, settings: BreakerSettings) -> Self {
        self.with(|breaker| breaker.settings(settings))
    }

    /// Trips when this percentage (above 0, up to 100) of the window's calls failed.
    pub fn failure_rate(self, percent: f64) -> Self {
        self.with(|breaker| breaker.failure_rate(percent))
    }

    /// Never trips by the rate of failures. Another threshold has to be given.
    pub fn no_failure_rate(self) -> Self {
        self.with(BreakerBuilder::no_failure_rate)
    }

    /// Trips on this many failures in a row.
    pub fn consecutive_failures(self, failures: u32) -> Self {
        self.with(|breaker| breaker.consecutive_failures(failures))
    }

    /// Trips when this percentage of the window's calls took at least `slow`.
    pub fn slow_calls(self, percent: f64, slow: Duration) -> Self {
        self.with(|breaker| breaker.slow_calls(percent, slow))
    }

    /// Judges the last `calls` calls, 1–100 000.
    pub fn count_window(self, calls: u32) -> Self {
        self.with(|breaker| breaker.count_window(calls))
    }

    /// Judges the calls of the last `span`, 10 ms to 1 h.
    pub fn time_window(self, span: Duration) -> Self {
        self.with(|breaker| breaker.time_window(span))
    }

    /// Judges no rate of fewer calls than these.
    pub fn minimum_calls(self, calls: u32) -> Self {
        self.with(|breaker| breaker.minimum_calls(calls))
    }

    /// How long the first open state lasts.
    pub fn open_for(self, wait: Duration) -> Self {
        self.with(|breaker| breaker.open_for(wait))
    }

    /// Half-open admits this many probes, and this percentage of them has to succeed.
    pub fn probes(self, permitted: u32, success_rate: f64) -> Self {
        self.with(|breaker| breaker.probes(permitted, success_rate))
    }

    /// Says everything else there is to say about the breaker.
    pub fn with(mut self, say: impl FnOnce(BreakerBuilder) -> BreakerBuilder) -> Self {
        self.breaker = say(self.breaker);
        self
    }

    /// Tells the time by this clock.
    pub fn clock<D: Clock>(self, clock: D) -> CircuitBreakerBuilder<D> {
        CircuitBreakerBuilder { name: self.name, breaker: self.breaker, clock, observer: self.observer }
    }

    /// Shows transitions, rejections and ended calls to an observer; permits see it called in whichever
    /// thread they end. It must not panic.
    pub fn observer(mut self, observer: impl Observer + Send + Sync + 'static) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }

    /// The breaker, closed unless the settings say otherwise.
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
