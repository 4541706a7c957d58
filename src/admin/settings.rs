//! Settings of the admin port.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use crate::web::secret::Secret;

/// The admin port.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct AdminSettings {
    /// Address to listen on.
    pub listen: SocketAddr,
    /// Token for changes, as `Authorization: Bearer`.
    pub token: Option<Secret>,
    /// File with the token, such as a container's secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// Allows a non-loopback address without a token.
    pub allow_remote_without_token: bool,
    /// Accepted host names besides addresses, `localhost` and the peers' names, separated by commas: the values of
    /// `Host` that browsers and scrapers send.
    pub hosts: String,
    /// Admin addresses of other processes, to which commands for their services are forwarded. A name may have
    /// several, separated by commas, and an address may resolve to several: all instances get the command.
    pub peers: BTreeMap<String, String>,
    /// The Prometheus that drills query.
    pub prometheus: String,
}

impl Default for AdminSettings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8090)),
            token: None,
            token_file: None,
            allow_remote_without_token: false,
            hosts: String::new(),
            peers: BTreeMap::new(),
            prometheus: "http://127.0.0.1:9090".to_owned(),
        }
    }
}

impl AdminSettings {
    /// Reads the token file, if one is configured.
    pub fn read_token(&mut self) -> Result<(), String> {
        if let Some(file) = &self.token_file {
            self.token = Some(Secret::read("admin.token-file", file)?);
        }
        Ok(())
    }

    /// Accepted names besides `localhost`.
    #[must_use]
    pub fn names(&self) -> BTreeSet<String> {
        let peers = self.peers.values().flat_map(|urls| urls.split(','));
        let peers = peers.filter_map(|url| url.trim().strip_prefix("http://")?.split('/').next());
        let own = self.hosts.split(',').map(str::trim).filter(|name| !name.is_empty());
        peers.chain(own).map(super::lock::name_of).collect()
    }

    /// Validates the settings.
    pub fn validate(&self) -> Result<(), String> {
        if self.token.as_ref().is_some_and(|token| token.reveal().is_empty()) {
            return Err("admin.token: must not be empty; leave it out for no token".to_owned());
        }
        if !self.listen.ip().is_loopback() && self.token.is_none() && !self.allow_remote_without_token {
            return Err(format!(
                "admin.listen: {} is reachable from other machines, where anyone could inject faults: set \
                 BREAKERBOX_ADMIN_TOKEN, or admin.allow-remote-without-token = true if that is meant",
                self.listen
            ));
        }
        for (peer, urls) in &self.peers {
            if let Some(url) = urls.split(',').map(str::trim).find(|url| !url.starts_with("http://")) {
                return Err(format!(
                    "admin.peers.{peer}: {url:?} must be an http:// address such as http://{peer}:8090"
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remote_admin_port_needs_a_token_or_a_setting() {
        let remote = AdminSettings { listen: "0.0.0.0:8090".parse().unwrap(), ..AdminSettings::default() };
        assert!(remote.validate().unwrap_err().contains("BREAKERBOX_ADMIN_TOKEN"));
        assert!(AdminSettings { token: Some(Secret::new("t")), ..remote.clone() }.validate().is_ok());
        assert!(AdminSettings { allow_remote_without_token: true, ..remote }.validate().is_ok());
    }

    #[test]
    fn a_token_can_come_from_a_file() {
        let file = std::env::temp_dir().join(format!("breakerbox-token-{}", std::process::id()));
        std::fs::write(&file, "from-a-file\n").unwrap();
        let mut settings = AdminSettings { token_file: Some(file.clone()), ..AdminSettings::default() };
        settings.read_token().unwrap();
        std::fs::remove_file(&file).unwrap();
        assert!(settings.token.as_ref().is_some_and(|token| token.matches("from-a-file")));
        assert!(settings.read_token().unwrap_err().starts_with("admin.token-file: "));
    }

    #[test]
    fn a_secret_is_never_shown() {
        let settings = AdminSettings { token: Some(Secret::new("hush")), ..AdminSettings::default() };
        assert!(!format!("{settings:?}").contains("hush"));
        assert!(!serde_json::to_string(&settings).unwrap().contains("hush"));
    }
}
