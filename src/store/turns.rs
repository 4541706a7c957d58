//! Turns: a schedule of changes to the databases, injected by tests.
//!
//! Time and randomness are arguments here. The order of concurrent changes is the third input that a test must control;
//! otherwise it only sees the interleavings that the scheduler happens to choose. Without a schedule, every change
//! happens immediately.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

/// Completes when a change may be made: true, or false if its process is dead and it must not be made.
pub type Turn = Pin<Box<dyn Future<Output = bool> + Send>>;

/// Decides when each change to a process's databases may happen. Its argument is the database: `checkout`, `inventory`
/// or `ledger`.
#[derive(Clone)]
pub struct Turns(Arc<dyn Fn(&'static str) -> Turn + Send + Sync>);

impl Turns {
    /// Turns given out by this function.
    pub fn new(of: impl Fn(&'static str) -> Turn + Send + Sync + 'static) -> Self {
        Self(Arc::new(of))
    }

    pub(super) fn next(&self, component: &'static str) -> Turn {
        (self.0)(component)
    }
}

impl fmt::Debug for Turns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Turns")
    }
}

impl PartialEq for Turns {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}
