//! Connection limits of a process's ports.

use crate::ingress::{ConnectionSettings, Port, descriptors};
use crate::services::ServiceName;
use breakerbox_telemetry::{ConnectionTelemetry, Metrics};

/// Connections that a client keeps to the service it calls: the size of its bulkhead.
const OUTGOING: usize = 32;

/// Connection limit of each port of this process.
pub(super) struct Ports<'a> {
    settings: &'a ConnectionSettings,
    metrics: &'a Metrics,
    needed: u64,
    available: u64,
}

impl<'a> Ports<'a> {
    /// Raises the limit of file descriptors, and logs it. If it stays too low for `services` and `clients`, logs the
    /// number needed.
    pub(super) fn new(
        settings: &'a ConnectionSettings,
        metrics: &'a Metrics,
        services: &[ServiceName],
        clients: usize,
    ) -> Self {
        let accepted: usize = services.iter().map(|service| wanted(settings, *service)).sum();
        let needed = descriptors::needed(accepted + settings.admin, clients * OUTGOING);
        let available = match descriptors::raise() {
            Ok(descriptors) => {
                tracing::info!(needed, before = descriptors.before, now = descriptors.now, "file descriptors");
                descriptors.now
            }
            Err(error) => {
                tracing::warn!(%error, "the limit of file descriptors could not be read");
                needed
            }
        };
        if available < needed {
            tracing::warn!(
                available,
                needed,
                "too few file descriptors: ports take fewer connections; raise the hard limit (ulimit -Hn {needed})"
            );
        }
        Self { settings, metrics, needed, available }
    }

    pub(super) fn service(&self, service: ServiceName) -> Port {
        self.port(service.as_str(), wanted(self.settings, service))
    }

    pub(super) fn admin(&self) -> Port {
        // The admin port's descriptors are reserved.
        self.port("admin", self.settings.admin)
    }

    fn port(&self, name: &'static str, wanted: usize) -> Port {
        let connections = descriptors::share(wanted, self.needed, self.available);
        let telemetry = ConnectionTelemetry::new(self.metrics, name, connections);
        Port { name, limits: self.settings.limits(connections), telemetry }
    }
}

/// Connection limit of a service's port if there are enough descriptors.
fn wanted(settings: &ConnectionSettings, service: ServiceName) -> usize {
    match service {
        ServiceName::Gateway | ServiceName::GatewayBare => settings.gateway,
        _ => settings.internal,
    }
}
