//! The context shared by all parts of a drill.

use std::cell::RefCell;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::event::Event;
use super::undo::Undo;
use crate::drill::plan::Overrides;
use crate::drill::world::Trouble;

/// Options of the drills.
#[derive(Clone, Debug)]
pub struct Options {
    /// Pause between two polls.
    pub poll: Duration,
    /// How long a notification may take after the alert fires, and after it resolves.
    pub notify: Duration,
    /// How long the stack may take to become quiet between two drills.
    pub calm: Duration,
    /// How long Prometheus or the admin port may fail to answer.
    pub silence: Duration,
    /// Budgets set by the user.
    pub budgets: Overrides,
    /// Labels that a target or alert must have to belong to the tested stack.
    pub matchers: Vec<(String, String)>,
    /// Skips drills that take more than three minutes.
    pub fast: bool,
    /// Includes drills that take more than half an hour.
    pub long: bool,
    /// Whether to refuse drills if notifications can't be observed.
    pub need_inbox: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            poll: Duration::from_secs(1),
            notify: Duration::from_secs(90),
            calm: Duration::from_secs(180),
            silence: Duration::from_secs(30),
            budgets: Overrides::default(),
            matchers: Vec::new(),
            fast: false,
            long: false,
            need_inbox: false,
        }
    }
}

/// The world, the options, the undo log, and the receiver of events.
pub(super) struct Session<'a, W, L> {
    pub(super) world: &'a W,
    pub(super) options: &'a Options,
    pub(super) undo: Undo,
    tell: RefCell<L>,
}

impl<'a, W, L: FnMut(Event<'_>)> Session<'a, W, L> {
    pub(super) fn new(world: &'a W, options: &'a Options, tell: L) -> Self {
        Self { world, options, undo: Undo::default(), tell: RefCell::new(tell) }
    }

    pub(super) fn tell(&self, event: Event<'_>) {
        (self.tell.borrow_mut())(event);
    }
}

/// Retries until there is an answer, for at most `silence`.
pub(super) async fn patiently<T, F: Future<Output = Result<T, Trouble>>>(
    silence: Duration,
    ask: impl Fn() -> F,
) -> Result<T, Trouble> {
    let begun = Instant::now();
    loop {
        match ask().await {
            Ok(answer) => return Ok(answer),
            Err(trouble) if begun.elapsed() >= silence => return Err(trouble),
            Err(_) => sleep(Duration::from_secs(1)).await,
        }
    }
}
