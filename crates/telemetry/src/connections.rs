//! The connections of one port.

use prometheus::{Gauge, IntCounter};

use super::metrics::Metrics;
use super::names::value;

/// Why a connection was not taken, or ended before its client was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// The port was full of requests being served.
    Full,
    /// It made room on a full port.
    Displaced,
    /// A request's head did not arrive in time.
    SlowHead,
    /// A request's body did not.
    SlowBody,
    /// An answer was not read in time.
    SlowReader,
    /// The system gave no connection, for want of descriptors for instance.
    NotAccepted,
}

/// Handles for one port. Cheap to clone.
#[derive(Clone)]
pub struct ConnectionTelemetry {
    open: Gauge,
    dropped: [IntCounter; value::DROPPED_REASONS.len()],
}

impl ConnectionTelemetry {
    /// Series of the port of `service`, all at zero; its capacity is what it takes.
    #[must_use]
    pub fn new(metrics: &Metrics, service: &str, capacity: usize) -> Self {
        let f = metrics.families();
        f.connections_capacity.with_label_values(&[service]).set(capacity as f64);
        Self {
            open: f.connections_open.with_label_values(&[service]),
            dropped: value::DROPPED_REASONS.map(|reason| f.connections_dropped.with_label_values(&[service, reason])),
        }
    }

    /// So many are open.
    pub fn open(&self, connections: usize) {
        self.open.set(connections as f64);
    }

    /// One was dropped.
    pub fn dropped(&self, why: Dropped) {
        let place = match why {
            Dropped::Full => 0,
            Dropped::Displaced => 1,
            Dropped::SlowHead => 2,
            Dropped::SlowBody => 3,
            Dropped::SlowReader => 4,
            Dropped::NotAccepted => 5,
        };
        self.dropped[place].inc();
    }
}
