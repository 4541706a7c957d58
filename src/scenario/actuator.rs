//! Applies a scenario's actions, in this process or through another process's admin port.

use std::sync::Arc;

use reqwest::Method;

use crate::admin::{Command, Peers};
use crate::faults::{FaultPlan, Faults};

type SetRate = dyn Fn(Option<f64>) + Send + Sync;

/// Sets faults and load.
#[derive(Clone)]
pub struct Actuator {
    faults: Faults,
    peers: Peers,
    set_rate: Arc<SetRate>,
}

impl Actuator {
    /// `faults` are those of this process; other targets are reached at the admin ports of `peers`. `set_rate` changes
    /// the load; `None` restores it.
    pub fn new(faults: Faults, peers: Peers, set_rate: Arc<SetRate>) -> Self {
        Self { faults, peers, set_rate }
    }

    /// Sets a fault on a target, unless one was set there by hand.
    pub async fn apply(&self, target: &str, plan: FaultPlan) {
        if self.faults.target(target).is_some() {
            match self.faults.set_by_scenario(target, plan) {
                Ok(true) => {}
                Ok(false) => tracing::info!(target, "a fault set by hand takes precedence; the scenario's is not set"),
                Err(error) => tracing::warn!(target, %error, "fault not set"),
            }
            return;
        }
        let plan = serde_json::to_value(&plan).ok();
        self.send(Method::PUT, target, &format!("/faults/{target}?scenario=true"), plan).await;
    }

    /// Restores a target's default faults, unless a fault was set there by hand.
    pub async fn restore(&self, target: &str) {
        if self.faults.target(target).is_some() {
            if let Err(error) = self.faults.restore_by_scenario(target) {
                tracing::warn!(target, %error, "fault not cleared");
            }
            return;
        }
        self.send(Method::DELETE, target, &format!("/faults/{target}?baseline=true&scenario=true"), None).await;
    }

    /// Changes the load; `None` restores the configured one.
    pub fn rate(&self, rate: Option<f64>) {
        (self.set_rate)(rate);
    }

    async fn send(&self, method: Method, target: &str, path: &str, body: Option<serde_json::Value>) {
        let Some(name) = self.peers.owner(target) else {
            tracing::warn!(target, "no such target here, and admin.peers.{target} is not set");
            return;
        };
        // If the target's process is down, there is nothing to set.
        let answers = match self.peers.tell_all(name, &Command { method, path, body: body.as_ref() }).await {
            Ok(answers) => answers,
            Err(error) => return tracing::warn!(target, error, "fault not delivered"),
        };
        for answer in answers {
            match answer {
                Ok(answer) if answer.status.is_success() => {}
                Ok(answer) => tracing::warn!(target, status = answer.status.as_u16(), "fault refused"),
                Err(error) => tracing::warn!(target, error, "fault not delivered"),
            }
        }
    }
}
