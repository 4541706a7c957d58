//! Limits of a port.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Limits of connections, on every port.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ConnectionSettings {
    /// Connections on a gateway's port.
    pub gateway: usize,
    /// Connections on the port of a service behind the gateways.
    pub internal: usize,
    /// Connections on the admin port.
    pub admin: usize,
    /// Maximum size of a request's head, in bytes.
    pub largest_head: usize,
    /// Time limit for a request's head.
    #[serde(with = "humantime_serde")]
    pub head_timeout: Duration,
    /// Time limit for a request's body.
    #[serde(with = "humantime_serde")]
    pub body_timeout: Duration,
    /// Idle timeout of a connection; longer than that of the clients here, so that no connection is closed when a
    /// request is sent.
    #[serde(with = "humantime_serde")]
    pub idle_timeout: Duration,
    /// Time that a client may take to read a response.
    #[serde(with = "humantime_serde")]
    pub write_timeout: Duration,
}

impl Default for ConnectionSettings {
    fn default() -> Self {
        Self {
            gateway: 512,
            internal: 256,
            admin: 64,
            largest_head: 16 * 1024,
            head_timeout: Duration::from_secs(5),
            body_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(10),
        }
    }
}

impl ConnectionSettings {
    /// Validates the settings; an error names the field and its allowed values.
    pub fn validate(&self) -> Result<(), String> {
        for (field, number) in [("gateway", self.gateway), ("internal", self.internal), ("admin", self.admin)] {
            if !(8..=100_000).contains(&number) {
                return Err(format!("connections.{field}: {number} is not within 8–100000"));
            }
        }
        // hyper needs a buffer of 8 KiB.
        if !(8192..=1024 * 1024).contains(&self.largest_head) {
            return Err(format!("connections.largest-head: {} is not within 8192–1048576 bytes", self.largest_head));
        }
        let timeouts = [
            ("head-timeout", self.head_timeout),
            ("body-timeout", self.body_timeout),
            ("idle-timeout", self.idle_timeout),
            ("write-timeout", self.write_timeout),
        ];
        for (field, timeout) in timeouts {
            if !(Duration::from_millis(100)..=Duration::from_hours(1)).contains(&timeout) {
                return Err(format!("connections.{field}: {timeout:?} is not within 100ms–1h"));
            }
        }
        Ok(())
    }

    /// The limits of a port with this number of connections.
    #[must_use]
    pub fn limits(&self, connections: usize) -> Limits {
        Limits {
            connections,
            largest_head: self.largest_head,
            head: self.head_timeout,
            body: self.body_timeout,
            idle: self.idle_timeout,
            write: self.write_timeout,
        }
    }
}

/// Limits of one port.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Concurrent connections.
    pub connections: usize,
    /// Maximum size of a head, in bytes.
    pub largest_head: usize,
    /// Time limit for a head.
    pub head: Duration,
    /// Time limit for a body.
    pub body: Duration,
    /// Idle timeout between two requests.
    pub idle: Duration,
    /// Time that the client may pause while reading.
    pub write: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_field_and_its_range() {
        assert_eq!(ConnectionSettings::default().validate(), Ok(()));
        let none = ConnectionSettings { gateway: 0, ..ConnectionSettings::default() };
        assert_eq!(none.validate().unwrap_err(), "connections.gateway: 0 is not within 8–100000");
        let tiny = ConnectionSettings { largest_head: 10, ..ConnectionSettings::default() };
        assert!(tiny.validate().unwrap_err().starts_with("connections.largest-head: 10 "));
        let ever = ConnectionSettings { idle_timeout: Duration::MAX, ..ConnectionSettings::default() };
        assert!(ever.validate().unwrap_err().starts_with("connections.idle-timeout: "));
    }
}
