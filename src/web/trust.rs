//! Trust between services: only their peers may place orders for a viewer, shorten a deadline or switch protection off.
//!
//! By default, services behind the gateways listen on loopback, where every caller is a process of this machine. On
//! other addresses they and the gateways share a secret: each request carries it in a header, and a request without it
//! is refused before any of it is used. A gateway never forwards this header from a viewer.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};

use super::problem::Problem;
use super::secret::Secret;

/// The header with the shared secret.
pub const HEADER: &str = "x-internal-token";
/// Minimum length of a secret, in bytes.
const SHORTEST: usize = 16;

/// Settings of the services behind the gateways.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct InternalSettings {
    /// Address on which they listen.
    pub host: IpAddr,
    /// The secret that all services share.
    pub token: Option<Secret>,
    /// A file with the secret, the form in which containers get secrets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// Allows a non-loopback address without a secret.
    pub allow_remote_without_token: bool,
    /// Secret between the parts of this process if there is no shared one.
    #[serde(skip, default = "Secret::random")]
    own: Secret,
}

impl Default for InternalSettings {
    fn default() -> Self {
        Self {
            host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            token: None,
            token_file: None,
            allow_remote_without_token: false,
            own: Secret::random(),
        }
    }
}

impl InternalSettings {
    /// Reads the token file, if one is set.
    pub fn read_token(&mut self) -> Result<(), String> {
        if let Some(file) = &self.token_file {
            self.token = Some(Secret::read("internal.token-file", file)?);
        }
        Ok(())
    }

    /// Validates the settings; an error names the field and its allowed values.
    pub fn validate(&self) -> Result<(), String> {
        if self.token.as_ref().is_some_and(|token| token.reveal().len() < SHORTEST) {
            return Err(format!("internal.token: must be at least {SHORTEST} bytes long"));
        }
        if !self.host.is_loopback() && self.token.is_none() && !self.allow_remote_without_token {
            return Err(format!(
                "internal.host: {} is reachable from other machines, where anyone could place orders in any viewer's \
                 name: set BREAKERBOX_INTERNAL__TOKEN to a secret that all services share, or \
                 internal.allow-remote-without-token = true if that is meant",
                self.host
            ));
        }
        Ok(())
    }

    /// The callers that services with these settings trust.
    #[must_use]
    pub fn trust(&self) -> Trust {
        let required = self.token.is_some();
        Trust { secret: self.token.clone().unwrap_or_else(|| self.own.clone()), required }
    }
}

/// The callers that a service trusts. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Trust {
    secret: Secret,
    required: bool,
}

impl Trust {
    /// The secret that peers send in [`HEADER`].
    #[must_use]
    pub fn secret(&self) -> &Secret {
        &self.secret
    }

    /// Whether a request comes from a peer.
    #[must_use]
    pub fn shown(&self, headers: &HeaderMap) -> bool {
        headers.get(HEADER).and_then(|shown| shown.to_str().ok()).is_some_and(|shown| self.secret.matches(shown))
    }
}

/// The client of a public request that is not a peer: it has its own rate limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outsider(pub IpAddr);

/// Refuses requests that do not come from a peer.
pub async fn peers_only(State(trust): State<Trust>, request: Request, next: Next) -> Response {
    if trust.required && !trust.shown(request.headers()) {
        let detail = format!("only services of this site are answered here, by the secret that they share ({HEADER})");
        return Problem::new(StatusCode::UNAUTHORIZED, detail).into_response();
    }
    next.run(request).await
}

/// Records the client of a public request, unless it is a peer.
pub async fn outsiders(State(trust): State<Trust>, mut request: Request, next: Next) -> Response {
    let client = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(client)| client.ip());
    if let Some(client) = client.filter(|_| !trust.shown(request.headers())) {
        request.extensions_mut().insert(Outsider(client));
    }
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remote_port_needs_a_secret_or_a_setting() {
        let remote = InternalSettings { host: "0.0.0.0".parse().unwrap(), ..InternalSettings::default() };
        assert!(remote.validate().unwrap_err().contains("BREAKERBOX_INTERNAL__TOKEN"));
        let secret = Some(Secret::random());
        assert_eq!(InternalSettings { token: secret, ..remote.clone() }.validate(), Ok(()));
        assert_eq!(InternalSettings { allow_remote_without_token: true, ..remote.clone() }.validate(), Ok(()));
        let short = InternalSettings { token: Some(Secret::new("short")), ..remote };
        assert_eq!(short.validate().unwrap_err(), "internal.token: must be at least 16 bytes long");
    }

    #[test]
    fn only_the_secret_makes_a_peer() {
        let trust = InternalSettings::default().trust();
        let showing =
            |text: &str| HeaderMap::from_iter([(http::HeaderName::from_static(HEADER), text.parse().unwrap())]);
        assert!(trust.shown(&showing(trust.secret().reveal())));
        assert!(!trust.shown(&showing("")) && !trust.shown(&HeaderMap::new()) && !trust.shown(&showing("***")));
        assert!(!InternalSettings::default().trust().shown(&showing(trust.secret().reveal())));
    }
}
