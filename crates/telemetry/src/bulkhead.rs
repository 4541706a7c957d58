//! Metrics of a bulkhead.

use prometheus::{Gauge, IntCounter};

use super::metrics::Metrics;

/// Handles for one bulkhead.
pub struct BulkheadTelemetry {
    in_flight: Gauge,
    capacity: Gauge,
    queued: Gauge,
    rejected: IntCounter,
}

impl BulkheadTelemetry {
    /// Creates all series of this bulkhead at zero.
    #[must_use]
    pub fn new(metrics: &Metrics, service: &str, bulkhead: &str) -> Self {
        let f = metrics.families();
        let own = [service, bulkhead];
        Self {
            in_flight: f.bulkhead_in_flight.with_label_values(&own),
            capacity: f.bulkhead_capacity.with_label_values(&own),
            queued: f.bulkhead_queue_length.with_label_values(&own),
            rejected: f.bulkhead_rejected.with_label_values(&own),
        }
    }

    /// Counts a call that was rejected because the bulkhead was full.
    pub fn rejected(&self) {
        self.rejected.inc();
    }

    /// Copies the current state into the gauges.
    pub fn read(&self, in_flight: u32, capacity: u32, queued: u32) {
        self.in_flight.set(in_flight.into());
        self.capacity.set(capacity.into());
        self.queued.set(queued.into());
    }
}
