//! How a scenario reaches what it breaks: here, or through another process's admin port.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;

use crate::faults::{FaultPlan, Faults};
use crate::server::Secret;
use crate::services::ServiceName;

type SetRate = dyn Fn(Option<f64>) + Send + Sync;

/// Switches faults and load.
#[derive(Clone)]
pub struct Actuator {
    faults: Faults,
    peers: BTreeMap<String, String>,
    token: Option<Secret>,
    http: reqwest::Client,
    set_rate: Arc<SetRate>,
}

impl Actuator {
    /// `faults` are those of this process; targets it doesn't have are reached at the admin ports
    /// that `peers` names. `set_rate` changes the load, and given nothing restores it.
    pub fn new(
        faults: Faults,
        peers: BTreeMap<String, String>,
        token: Option<Secret>,
        set_rate: Arc<SetRate>,
    ) -> Result<Self, String> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(5))
            .pool_max_idle_per_host(0)
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Self { faults, peers, token, http, set_rate })
    }

    /// Breaks a target.
    pub async fn apply(&self, target: &str, plan: FaultPlan) {
        if self.faults.target(target).is_some() {
            if let Err(error) = self.faults.set(target, plan) {
                tracing::warn!(target, %error, "fault not set");
            }
            return;
        }
        let plan = serde_json::to_value(&plan).ok();
        self.send(Method::PUT, target, &format!("/faults/{target}"), plan).await;
    }

    /// Gives a target back what is wrong there from the start.
    pub async fn restore(&self, target: &str) {
        if self.faults.target(target).is_some() {
            if let Err(error) = self.faults.restore(target) {
                tracing::warn!(target, %error, "fault not ended");
            }
            return;
        }
        self.send(Method::DELETE, target, &format!("/faults/{target}?baseline=true"), None).await;
    }

    /// Changes the load; nothing gives back the usual one.
    pub fn rate(&self, rate: Option<f64>) {
        (self.set_rate)(rate);
    }

    async fn send(&self, method: Method, target: &str, path: &str, body: Option<serde_json::Value>) {
        // A store is reached where its service is.
        let owner = || ServiceName::ALL.iter().find(|service| service.stores().contains(&target));
        let Some(base) = self.peers.get(target).or_else(|| self.peers.get(owner()?.as_str())) else {
            tracing::warn!(target, "no such target here, and admin.peers.{target} is not set");
            return;
        };
        let mut request = self.http.request(method, format!("{}{path}", base.trim_end_matches('/')));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.reveal());
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        match request.send().await {
            Ok(answer) if answer.status().is_success() => {}
            Ok(answer) => tracing::warn!(target, status = answer.status().as_u16(), "fault refused"),
            // A container that somebody killed can't be broken further.
            Err(error) => tracing::warn!(target, %error, "fault not delivered"),
        }
    }
}
