//! Admin ports: one, or one a process.

use std::collections::BTreeSet;
use std::sync::PoisonError;

use reqwest::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{Live, Place};
use crate::drill::world::{
    BreakerSeen, FaultSeen, InboxSeen, Labels, NoticeSeen, ScenarioSeen, Site, TransitionSeen, Trouble,
};

#[derive(Deserialize)]
struct Faults {
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    #[serde(rename = "target")]
    name: String,
    plan: Value,
    active: Vec<String>,
    at_baseline: bool,
}

#[derive(Deserialize)]
struct Breakers {
    breakers: Vec<Breaker>,
}

#[derive(Deserialize)]
struct Breaker {
    service: String,
    name: String,
    state: String,
    settings: Value,
}

#[derive(Deserialize)]
struct Transitions {
    transitions: Vec<Transition>,
}

#[derive(Deserialize)]
struct Transition {
    service: String,
    breaker: String,
    to: String,
    generation: u64,
    unix_seconds: f64,
}

#[derive(Deserialize)]
struct Inbox {
    pipeline_alive_since_unix_seconds: Option<f64>,
    alerts: Vec<Delivered>,
}

#[derive(Deserialize)]
struct Delivered {
    status: String,
    labels: Labels,
    starts_at: String,
}

#[derive(Deserialize)]
struct Scenario {
    mode: String,
    active: Vec<String>,
}

impl Site for Live {
    async fn faults(&self) -> Result<Vec<FaultSeen>, Trouble> {
        let mut seen = Vec::new();
        for (index, Faults { targets }) in self.everywhere("/faults").await? {
            for Target { name, plan, active, at_baseline } in targets {
                self.own(&name, index);
                seen.push(FaultSeen { target: name, plan, active, at_baseline });
            }
        }
        Ok(seen)
    }

    async fn set_fault(&self, target: &str, plan: &Value) -> Result<(), Trouble> {
        self.tell(target, &Method::PUT, &format!("/faults/{target}"), Some(plan)).await
    }

    async fn restore_fault(&self, target: &str) -> Result<(), Trouble> {
        let path = format!("/faults/{target}?baseline=true");
        self.tell(target, &Method::DELETE, &path, None).await
    }

    async fn breakers(&self) -> Result<Vec<BreakerSeen>, Trouble> {
        let mut seen = Vec::new();
        for (index, Breakers { breakers }) in self.everywhere("/breakers").await? {
            for Breaker { service, name, state, settings } in breakers {
                self.own(&format!("{service}/{name}"), index);
                seen.push(BreakerSeen { service, name, state, settings });
            }
        }
        Ok(seen)
    }

    async fn change_breaker(&self, service: &str, name: &str, change: &Value) -> Result<(), Trouble> {
        let breaker = format!("{service}/{name}");
        self.tell(&breaker, &Method::PATCH, &format!("/breakers/{breaker}"), Some(change)).await
    }

    async fn replay_dead_letters(&self) -> Result<(), Trouble> {
        // Whichever process has the queue; the others have no such page.
        let mut trouble = Trouble("no admin port has a retry queue".to_owned());
        for place in &self.admin {
            match self.send(place, Method::POST, "/queue/replay", Some(&Value::Object(Map::new()))).await {
                Ok(_) => return Ok(()),
                Err(refused) => trouble = refused,
            }
        }
        Err(trouble)
    }

    async fn transitions(&self) -> Result<Vec<TransitionSeen>, Trouble> {
        let all: Vec<(_, Transitions)> = self.everywhere("/transitions").await?;
        let all = all.into_iter().flat_map(|(_, page)| page.transitions);
        let mut seen: Vec<_> = all
            .map(|Transition { service, breaker, to, generation, unix_seconds }| TransitionSeen {
                service,
                breaker,
                to,
                generation,
                unix_seconds,
            })
            .collect();
        // A process that is named twice is still one.
        let name = |seen: &TransitionSeen| (seen.service.clone(), seen.breaker.clone(), seen.generation);
        seen.sort_by(|a, b| a.unix_seconds.total_cmp(&b.unix_seconds).then_with(|| name(a).cmp(&name(b))));
        seen.dedup();
        Ok(seen)
    }

    async fn inbox(&self) -> Result<InboxSeen, Trouble> {
        let mut seen = InboxSeen::default();
        for (_, Inbox { pipeline_alive_since_unix_seconds, alerts }) in self.everywhere("/alerts").await? {
            seen.connected |= pipeline_alive_since_unix_seconds.is_some();
            seen.notices.extend(alerts.into_iter().map(|Delivered { status, labels, starts_at }| NoticeSeen {
                labels,
                starts_at,
                resolved: status == "resolved",
            }));
        }
        Ok(seen)
    }

    async fn scenario(&self) -> Result<Option<ScenarioSeen>, Trouble> {
        Ok(self.stage().await.map(|(_, scenario)| ScenarioSeen {
            running: scenario.mode == "running",
            active: !scenario.active.is_empty(),
        }))
    }

    async fn command_scenario(&self, command: &str) -> Result<(), Trouble> {
        let Some((place, _)) = self.stage().await else {
            return Err(Trouble("no admin port has a scenario".to_owned()));
        };
        self.send(place, Method::POST, &format!("/scenario/{command}"), None).await.map(drop)
    }
}

impl Live {
    /// The same page of every admin port. The first must answer; of the others any may be the one
    /// that the drill has stopped.
    async fn everywhere<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<(usize, T)>, Trouble> {
        let pages = self.admin.iter().map(|place| self.get(place, path));
        let mut answered = Vec::new();
        for (index, page) in futures_util::future::join_all(pages).await.into_iter().enumerate() {
            match page {
                Ok(page) => answered.push((index, page)),
                Err(trouble) if index == 0 => return Err(trouble),
                Err(_) => {}
            }
        }
        Ok(answered)
    }

    /// The admin port that has the scenario: a process without one has no such page.
    async fn stage(&self) -> Option<(&Place, Scenario)> {
        for place in &self.admin {
            if let Ok(scenario) = self.get::<Scenario>(place, "/scenario").await {
                return Some((place, scenario));
            }
        }
        None
    }

    fn own(&self, name: &str, index: usize) {
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        owners.entry(name.to_owned()).or_default().insert(index);
    }

    /// Has every process that has this target or breaker do something.
    async fn tell(&self, name: &str, method: &Method, path: &str, body: Option<&Value>) -> Result<(), Trouble> {
        let known = self.owners.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        // The first admin port forwards what it does not have itself.
        for index in known.unwrap_or_else(|| BTreeSet::from([0])) {
            self.send(&self.admin[index], method.clone(), path, body).await?;
        }
        Ok(())
    }
}
