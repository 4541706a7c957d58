//! Metrics of the connections of one port.

use prometheus::{Gauge, IntCounter};

use super::metrics::Metrics;
use super::names::value;

/// Reason for which the server refused or closed a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// The port was full of requests in flight.
    Full,
    /// It was closed in favour of a new connection, on a full port.
    Displaced,
    /// The head of a request did not arrive in time.
    SlowHead,
    /// The body of a request did not arrive in time.
    SlowBody,
    /// An answer was not read in time.
    SlowReader,
    /// The system could not accept it, for example for lack of descriptors.
    NotAccepted,
}

/// Handles for one port. Cheap to clone.
#[derive(Clone)]
pub struct ConnectionTelemetry {
    open: Gauge,
    dropped: [IntCounter; value::DROPPED_REASONS.len()],
}

impl ConnectionTelemetry {
    /// Creates the series of the port of `service` at zero, and sets its capacity.
    #[must_use]
    pub fn new(metrics: &Metrics, service: &str, capacity: usize) -> Self {
        let f = metrics.families();
        f.connections_capacity.with_label_values(&[service]).set(capacity as f64);
        Self {
            open: f.connections_open.with_label_values(&[service]),
            dropped: value::DROPPED_REASONS.map(|reason| f.connections_dropped.with_label_values(&[service, reason])),
        }
    }

    /// Sets the number of open connections.
    pub fn open(&self, connections: usize) {
        self.open.set(connections as f64);
    }

    /// Counts a connection that was refused or closed.
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
