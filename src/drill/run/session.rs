//! What everything in a drill works with.

use std::cell::RefCell;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::event::Event;
use super::undo::Undo;
use crate::drill::plan::Overrides;
use crate::drill::world::Trouble;

/// What a drill may take, and what it looks at.
#[derive(Clone, Debug)]
pub struct Options {
    /// Pause between two looks.
    pub poll: Duration,
    /// How long a notification may take once the alert fires, and once it is over.
    pub notify: Duration,
    /// How long the stack may take to calm down between two drills.
    pub calm: Duration,
    /// How long Prometheus or the admin port may be silent.
    pub silence: Duration,
    /// Budgets of the user's.
    pub budgets: Overrides,
    /// Labels that a target or alert must have to be ours.
    pub matchers: Vec<(String, String)>,
    /// Leaves out what takes more than three minutes.
    pub fast: bool,
    /// Includes what takes more than half an hour.
    pub long: bool,
    /// Not seeing notifications is a reason to refuse.
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

/// The world, what may be done to it, how to undo it, and whom to tell.
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

/// Asks until there is an answer, for at most `silence`.
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
