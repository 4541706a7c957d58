//! Whose turn it is: the order in which changes of the databases happen, as an argument.
//!
//! Time and randomness are arguments here. The order of what goes on at once is the third thing that a test has to
//! choose, or it finds only what the scheduler happens to do. Without a schedule, every change happens as soon as
//! it can.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

/// Completes when a change may be made: true. False when it never may, since its process is dead.
pub type Turn = Pin<Box<dyn Future<Output = bool> + Send>>;

/// Decides when each change of a process's databases may happen. Told which database it is of: `checkout`,
/// `inventory` or `ledger`.
#[derive(Clone)]
pub struct Turns(Arc<dyn Fn(&'static str) -> Turn + Send + Sync>);

impl Turns {
    /// Turns that this gives.
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
