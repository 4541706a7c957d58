//! The undo log: what was changed, and its previous value.

use std::cell::RefCell;
use std::time::Duration;

use serde_json::{Value, json};

use crate::drill::world::{FaultSeen, Trouble, World};

/// How often an undo is attempted.
const TRIES: u32 = 5;
/// Pause between two attempts.
const PAUSE: Duration = Duration::from_secs(1);

/// One change to undo.
#[derive(Clone, Debug, PartialEq)]
enum Entry {
    Fault { target: String, before: Option<Value> },
    Breaker { service: String, name: String, settings: Option<Value> },
    Replay,
    Run { clear: String },
}

/// All changes to undo. An entry is added before each change, so that a drill can be interrupted at any moment.
#[derive(Debug, Default)]
pub(super) struct Undo {
    entries: RefCell<Vec<Entry>>,
}

impl Undo {
    /// Records a target's fault before it is changed.
    pub(super) fn fault(&self, before: &FaultSeen) {
        // A fault with a time to live must not be set again after it has expired.
        let plan = (!before.at_baseline).then(|| before.plan.clone());
        let same = |entry: &Entry| matches!(entry, Entry::Fault { target, .. } if *target == before.target);
        self.add(Entry::Fault { target: before.target.clone(), before: plan }, same);
    }

    /// Records a breaker before a command; with `settings`, these are restored as well.
    pub(super) fn breaker(&self, service: &str, name: &str, settings: Option<Value>) {
        let changed = settings.is_some();
        let entry = Entry::Breaker { service: service.to_owned(), name: name.to_owned(), settings };
        self.add(entry, |entry| {
            matches!(entry, Entry::Breaker { service: own, name: its, settings }
                if own == service && its == name && (settings.is_some() || !changed))
        });
    }

    /// Records that orders in the retry queue may run out of attempts.
    pub(super) fn replay(&self) {
        self.add(Entry::Replay, |entry| *entry == Entry::Replay);
    }

    /// Records the undo command of a command of the user's.
    pub(super) fn command(&self, clear: &str) {
        self.entries.borrow_mut().push(Entry::Run { clear: clear.to_owned() });
    }

    /// Only the first entry for a thing is kept, because it holds the value from before the drill.
    fn add(&self, entry: Entry, same: impl Fn(&Entry) -> bool) {
        let mut entries = self.entries.borrow_mut();
        if !entries.iter().any(same) {
            entries.push(entry);
        }
    }

    /// Undoes everything, the last change first. Returns what could not be undone, with manual instructions.
    pub(super) async fn restore<W: World>(&self, world: &W) -> Vec<String> {
        let entries = self.entries.take();
        let mut failed = Vec::new();
        for entry in entries.iter().rev() {
            if let Err(trouble) = persistently(world, entry).await {
                failed.push(format!("{}: {trouble}; {}", entry.name(), entry.by_hand()));
            }
        }
        failed
    }
}

async fn persistently<W: World>(world: &W, entry: &Entry) -> Result<(), Trouble> {
    let mut result = entry.put_back(world).await;
    for _ in 1..TRIES {
        if result.is_ok() {
            break;
        }
        tokio::time::sleep(PAUSE).await;
        result = entry.put_back(world).await;
    }
    result
}

impl Entry {
    async fn put_back<W: World>(&self, world: &W) -> Result<(), Trouble> {
        match self {
            Self::Fault { target, before: None } => world.restore_fault(target).await,
            Self::Fault { target, before: Some(plan) } => world.set_fault(target, plan).await,
            Self::Breaker { service, name, settings } => {
                let change = match settings {
                    Some(settings) => json!({"state": "reset", "settings": settings}),
                    None => json!({"state": "reset"}),
                };
                world.change_breaker(service, name, &change).await
            }
            Self::Replay => world.replay_dead_letters().await,
            Self::Run { clear } => world.run(clear).await,
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Fault { target, .. } => format!("the fault at {target}"),
            Self::Breaker { service, name, .. } => format!("breaker {service}/{name}"),
            Self::Replay => "dead letters".to_owned(),
            Self::Run { clear } => format!("command {clear:?}"),
        }
    }

    fn by_hand(&self) -> String {
        match self {
            Self::Fault { target, .. } => format!("run `breakerbox fault clear {target}`"),
            Self::Breaker { service, name, .. } => format!("run `breakerbox breaker reset {service}/{name}`"),
            Self::Replay => "run `breakerbox queue replay --all`".to_owned(),
            Self::Run { .. } => "run it by hand".to_owned(),
        }
    }
}
