//! Admin ports of other processes.
//!
//! A name may resolve to several processes: the two instances of checkout in the compose stack share one, and a
//! command must reach both. So a name is resolved for each command, which is sent to every address.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Bytes;
use futures_util::future::join_all;
use http::{HeaderValue, StatusCode, header};
use reqwest::{Client, Method, Url};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::settings::{AdminSettings, Secret};
use super::wire::Page;
use crate::services::ServiceName;

/// Timeout of a request to another process's admin port.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Timeout of a page that is merged from many processes.
const PATIENCE: Duration = Duration::from_secs(2);
/// Longest name of a target, a service or a command.
const LONGEST_NAME: usize = 64;
/// Stops two processes that name each other from forwarding in a loop.
pub(super) const FORWARDED: &str = "x-forwarded-admin";

/// Whether a text is a valid path segment. A forwarded name is never more than one segment.
pub(super) fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=LONGEST_NAME).contains(&text.len()) && text.bytes().all(plain)
}

/// The other processes. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Peers {
    urls: BTreeMap<String, String>,
    token: Option<Secret>,
    http: Client,
}

/// A request to an admin port.
#[derive(Clone, Debug)]
pub struct Command<'a> {
    /// Method.
    pub method: Method,
    /// Path, from the first slash on.
    pub path: &'a str,
    /// Body.
    pub body: Option<&'a Value>,
}

/// Answer of an admin port.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: StatusCode,
    /// Content type.
    pub content_type: Option<HeaderValue>,
    /// Body.
    pub body: Bytes,
}

/// A process behind a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Such as `172.18.0.7:8090`, or the name's own `host:port` if it stands for a single process.
    pub address: String,
    base: String,
}

impl Peers {
    /// The configured processes.
    pub fn new(settings: &AdminSettings) -> Result<Self, String> {
        let builder = Client::builder().no_proxy().timeout(TIMEOUT).pool_max_idle_per_host(0);
        let http = builder.build().map_err(|error| error.to_string())?;
        Ok(Self { urls: settings.peers.clone(), token: settings.token.clone(), http })
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.urls.keys().map(String::as_str)
    }

    /// Names of the processes that have `target`, a service or a store: a store is part of its service.
    #[must_use]
    pub fn owner(&self, target: &str) -> Option<&str> {
        let owner = || ServiceName::ALL.iter().find(|owner| owner.stores().contains(&target));
        let found = self.urls.get_key_value(target).or_else(|| self.urls.get_key_value(owner()?.as_str()));
        found.map(|(name, _)| name.as_str())
    }

    /// Configured addresses of a name, as `host:port`.
    #[must_use]
    pub fn addresses(&self, name: &str) -> Vec<String> {
        let urls = self.urls.get(name).map_or("", String::as_str);
        urls.split(',').map(|url| named(url.trim())).collect()
    }

    /// All processes behind a name, in the order of their addresses.
    pub async fn behind(&self, name: &str) -> Result<Vec<Instance>, String> {
        let url = self.urls.get(name).ok_or_else(|| format!("admin.peers.{name} is not set"))?;
        instances(url).await.map_err(|why| format!("the admin port of {name} at {url}: {why}"))
    }

    /// Sends a request to every process behind a name; returns each answer or error.
    pub async fn tell_all(&self, name: &str, command: &Command<'_>) -> Result<Vec<Result<Answer, String>>, String> {
        let instances = self.behind(name).await?;
        Ok(join_all(instances.iter().map(|instance| self.tell(name, instance, command))).await)
    }

    /// Sends a request to the processes behind a name until one answers.
    pub async fn tell_one(&self, name: &str, command: &Command<'_>) -> Result<Answer, String> {
        let mut trouble = format!("no process is behind {name}");
        for instance in self.behind(name).await? {
            match self.tell(name, &instance, command).await {
                Ok(answer) => return Ok(answer),
                Err(why) => trouble = why,
            }
        }
        Err(trouble)
    }

    /// The same page of all processes except those called `but`, by name and address.
    pub(super) async fn read_all<P: Page>(&self, but: &[&str]) -> Vec<(String, Result<(Instance, P), String>)> {
        let command = Command { method: Method::GET, path: P::PATH, body: None };
        let read = |name: String| {
            let command = &command;
            async move {
                let read = async {
                    let instances = match self.behind(&name).await {
                        Ok(instances) => instances,
                        Err(why) => return vec![(name.clone(), Err(why))],
                    };
                    let pages = instances.into_iter().map(|instance| async {
                        let page = self.tell(&name, &instance, command).await.and_then(|answer| answer.json());
                        (name.clone(), page.map(|page| (instance, page)))
                    });
                    join_all(pages).await
                };
                match tokio::time::timeout(PATIENCE, read).await {
                    Ok(pages) => pages,
                    Err(_) => vec![(name.clone(), Err(format!("{name} does not answer in time")))],
                }
            }
        };
        let names = self.names().filter(|name| !but.contains(name)).map(str::to_owned);
        join_all(names.map(read)).await.into_iter().flatten().collect()
    }

    async fn tell(&self, name: &str, instance: &Instance, command: &Command<'_>) -> Result<Answer, String> {
        let Instance { address, base } = instance;
        let mut request = self.http.request(command.method.clone(), format!("{base}{}", command.path));
        request = request.header(FORWARDED, "1");
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.reveal());
        }
        if let Some(body) = command.body {
            request = request.json(body);
        }
        let silent = |_| format!("the admin port of {name} at {address} does not answer");
        let response = request.send().await.map_err(silent)?;
        let (status, content_type) = (response.status(), response.headers().get(header::CONTENT_TYPE).cloned());
        Ok(Answer { status, content_type, body: response.bytes().await.map_err(silent)? })
    }
}

impl Answer {
    fn json<T: DeserializeOwned>(&self) -> Result<T, String> {
        if !self.status.is_success() {
            return Err(format!("answered {}", self.status));
        }
        serde_json::from_slice(&self.body).map_err(|error| error.to_string())
    }
}

/// All processes behind these comma-separated URLs.
pub async fn instances(urls: &str) -> Result<Vec<Instance>, String> {
    let mut all = Vec::new();
    for url in urls.split(',') {
        all.extend(resolved(url.trim()).await?);
    }
    Ok(all)
}

/// All addresses of one URL's host.
async fn resolved(url: &str) -> Result<Vec<Instance>, String> {
    let parsed = Url::parse(url).map_err(|error| error.to_string())?;
    let (Some(host), Some(port)) = (parsed.host_str(), parsed.port_or_known_default()) else {
        return Err("has no host".to_owned());
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let found = tokio::net::lookup_host((host, port)).await.map_err(|_| format!("no address of {host} is known"))?;
    let found: BTreeSet<SocketAddr> = found.collect();
    // A process may have addresses of both families; only one family is used, so that it counts once.
    let family = found.iter().any(SocketAddr::is_ipv4);
    let own: Vec<_> = found.into_iter().filter(|address| address.is_ipv4() == family).collect();
    if let [_] = own[..] {
        return Ok(vec![Instance { address: named(url), base: url.trim_end_matches('/').to_owned() }]);
    }
    let path = parsed.path().trim_end_matches('/');
    Ok(own
        .into_iter()
        .map(|address| Instance { address: address.to_string(), base: format!("http://{address}{path}") })
        .collect())
}

/// `host:port` of a URL.
fn named(url: &str) -> String {
    url.trim_start_matches("http://").trim_end_matches('/').to_owned()
}

impl Instance {
    /// Base URL of its paths.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_is_one_process_and_keeps_its_name() {
        let found = instances("http://127.0.0.1:8090/").await.unwrap();
        assert_eq!(
            found,
            [Instance { address: "127.0.0.1:8090".to_owned(), base: "http://127.0.0.1:8090".to_owned() }]
        );
        // A name with addresses of both families is still one process.
        assert_eq!(instances("http://localhost:8090").await.unwrap().len(), 1);
        let two = instances("http://127.0.0.1:8090, http://127.0.0.1:8091").await.unwrap();
        assert_eq!(
            two.iter().map(Instance::base).collect::<Vec<_>>(),
            ["http://127.0.0.1:8090", "http://127.0.0.1:8091"]
        );
        assert!(instances("nowhere").await.is_err());
    }

    #[test]
    fn a_forwarded_name_is_one_path_segment() {
        assert!(is_name("user-primary") && is_name("ml_api"));
        for other in ["", ".", "..", "../faults", "a/b", "a%2fb", "a?b", "a#b", "a b", "é", &"a".repeat(65)] {
            assert!(!is_name(other), "{other:?}");
        }
    }

    #[test]
    fn a_store_is_reached_where_its_service_is() {
        let urls = BTreeMap::from([("user".to_owned(), "http://user:8090".to_owned())]);
        let settings = AdminSettings { peers: urls, ..AdminSettings::default() };
        let peers = Peers::new(&settings).unwrap();
        assert_eq!(peers.owner("user-primary"), Some("user"));
        assert_eq!(peers.owner("user"), Some("user"));
        assert_eq!(peers.owner("catalog"), None);
    }
}
