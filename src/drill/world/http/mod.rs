//! The drill's `World` over HTTP: a live Prometheus, Alertmanager and admin port.

mod admin;
mod prometheus;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::sync::Mutex;
use std::time::Duration;

use reqwest::{Client, Method, Url};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::drill::world::{Shell, Trouble};

/// Timeout of one request.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Timeout of a command of the user's.
const COMMAND: Duration = Duration::from_secs(120);

/// Addresses and credentials.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Prometheus.
    pub prometheus: String,
    /// Its bearer token.
    pub prometheus_token: Option<String>,
    /// Alertmanager.
    pub alertmanager: Option<String>,
    /// Admin ports: first the one with the inbox, then those of other processes.
    pub admin: Vec<String>,
    /// Their token.
    pub admin_token: Option<String>,
    /// Labels of Breakerbox's targets in this Prometheus.
    pub matchers: Vec<(String, String)>,
}

/// A running stack.
pub struct Live {
    client: Client,
    prometheus: Place,
    alertmanager: Option<Place>,
    admin: Vec<Place>,
    matchers: Vec<(String, String)>,
    /// Indices of the admin ports that have each target or breaker: those of all instances of its service.
    owners: Mutex<BTreeMap<String, BTreeSet<usize>>>,
}

/// A server.
#[derive(Clone, Debug)]
struct Place {
    what: &'static str,
    url: String,
    token: Option<String>,
}

impl Place {
    fn new(what: &'static str, url: &str, token: Option<&String>) -> Result<Self, String> {
        let parsed =
            Url::parse(url).map_err(|error| format!("{what} {url:?}: {error}, such as http://127.0.0.1:9090"))?;
        if parsed.scheme() != "http" {
            return Err(format!(
                "{what} {url:?}: only http:// is supported; use `kubectl port-forward`, `ssh -L` or a local proxy"
            ));
        }
        Ok(Self { what, url: url.trim_end_matches('/').to_owned(), token: token.cloned() })
    }
}

impl Live {
    /// Validates the addresses without connecting.
    pub fn new(access: &Access) -> Result<Self, String> {
        let client = Client::builder().no_proxy().timeout(TIMEOUT).build().map_err(|error| error.to_string())?;
        let admin = access.admin.iter().map(|url| Place::new("the admin port", url, access.admin_token.as_ref()));
        let alertmanager = access.alertmanager.as_ref().map(|url| Place::new("Alertmanager", url, None));
        Ok(Self {
            client,
            prometheus: Place::new("Prometheus", &access.prometheus, access.prometheus_token.as_ref())?,
            alertmanager: alertmanager.transpose()?,
            admin: admin.collect::<Result<_, _>>()?,
            matchers: access.matchers.clone(),
            owners: Mutex::default(),
        })
    }

    async fn get<T: DeserializeOwned>(&self, place: &Place, path: &str) -> Result<T, Trouble> {
        let body = self.send(place, Method::GET, path, None).await?;
        serde_json::from_slice(&body)
            .map_err(|error| Trouble(format!("{} at {}{path}: {error}", place.what, place.url)))
    }

    async fn send(&self, place: &Place, method: Method, path: &str, body: Option<&Value>) -> Result<Vec<u8>, Trouble> {
        let Place { what, url, token } = place;
        let mut request = self.client.request(method, format!("{url}{path}"));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(|error| {
            let why = if error.is_timeout() { "does not answer in time" } else { "does not answer" };
            Trouble(format!("{what} at {url} {why}"))
        })?;
        let status = response.status();
        let body = response.bytes().await.map_err(|error| Trouble(format!("{what} at {url}: {error}")))?;
        if status.is_success() {
            return Ok(body.to_vec());
        }
        let json: Value = serde_json::from_slice(&body).unwrap_or_default();
        let said = ["detail", "error"].iter().find_map(|key| json[*key].as_str());
        Err(Trouble(format!(
            "{what} at {url}{path}: {status}{}",
            said.map(|said| format!(", {said}")).unwrap_or_default()
        )))
    }
}

impl Shell for Live {
    async fn run(&self, command: &str) -> Result<(), Trouble> {
        let mut child = tokio::process::Command::new("sh");
        child.arg("-c").arg(command).stdin(Stdio::null()).stdout(Stdio::null());
        let trouble = |why: String| Trouble(format!("command {command:?}: {why}"));
        let run = tokio::time::timeout(COMMAND, child.status()).await;
        let status = run
            .map_err(|_| trouble(format!("is not done after {} s", COMMAND.as_secs())))?
            .map_err(|error| trouble(error.to_string()))?;
        if status.success() { Ok(()) } else { Err(trouble(status.to_string())) }
    }
}

/// Percent-encodes a value of a query string.
fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}
