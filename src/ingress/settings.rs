//! What a port takes.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Bounds of connections, on every port.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ConnectionSettings {
    /// Connections that a gateway's port takes.
    pub gateway: usize,
    /// Connections that a port behind the gateways takes.
    pub internal: usize,
    /// Connections that the admin port takes.
    pub admin: usize,
    /// Largest head of a request, in bytes.
    pub largest_head: usize,
    /// Time that a request's head may take to arrive.
    #[serde(with = "humantime_serde")]
    pub head_timeout: Duration,
    /// Time that a request's body may take to arrive.
    #[serde(with = "humantime_serde")]
    pub body_timeout: Duration,
    /// Time without a request after which a connection is closed; longer than any client here keeps
    /// an idle one, so that none is closed under a request.
    #[serde(with = "humantime_serde")]
    pub idle_timeout: Duration,
    /// Time that a client may leave an answer unread.
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
    /// Says which field is wrong, and what it may be.
    pub fn validate(&self) -> Result<(), String> {
        for (field, number) in [("gateway", self.gateway), ("internal", self.internal), ("admin", self.admin)] {
            if !(8..=100_000).contains(&number) {
                return Err(format!("connections.{field}: {number} is not within 8–100000"));
            }
        }
        // hyper needs 8 KiB to read into.
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

    /// The bounds of a port that takes `connections`.
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

/// The bounds of one port.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time.
    pub connections: usize,
    /// Largest head, in bytes.
    pub largest_head: usize,
    /// Time for a head.
    pub head: Duration,
    /// Time for a body.
    pub body: Duration,
    /// Time between two requests.
    pub idle: Duration,
    /// Time for the client to read on.
    pub write: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_named_with_its_range() {
        assert_eq!(ConnectionSettings::default().validate(), Ok(()));
        let none = ConnectionSettings { gateway: 0, ..ConnectionSettings::default() };
        assert_eq!(none.validate().unwrap_err(), "connections.gateway: 0 is not within 8–100000");
        let tiny = ConnectionSettings { largest_head: 10, ..ConnectionSettings::default() };
        assert!(tiny.validate().unwrap_err().starts_with("connections.largest-head: 10 "));
        let ever = ConnectionSettings { idle_timeout: Duration::MAX, ..ConnectionSettings::default() };
        assert!(ever.validate().unwrap_err().starts_with("connections.idle-timeout: "));
    }
}
