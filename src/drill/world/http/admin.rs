//! The admin ports: one for the whole site, or one per process.

use std::collections::BTreeSet;
use std::sync::PoisonError;

use reqwest::Method;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Live, Place};
use crate::admin::wire::{AlertStatus, Breaker, Breakers, FaultTarget, Faults, Overview, Transition, Transitions};
use crate::drill::world::{BreakerSeen, FaultSeen, InboxSeen, NoticeSeen, ScenarioSeen, Site, TransitionSeen, Trouble};
use crate::scenario::{Mode, Status};

impl Site for Live {
    async fn faults(&self) -> Result<Vec<FaultSeen>, Trouble> {
        let mut seen = Vec::new();
        for (index, Faults { targets, .. }) in self.everywhere("/faults").await? {
            for FaultTarget { target, plan, active, at_baseline, .. } in targets {
                self.own(&target, index);
                let plan = serde_json::to_value(plan).map_err(|error| Trouble(error.to_string()))?;
                seen.push(FaultSeen { target, plan, active, at_baseline });
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
        for (index, Breakers { breakers, .. }) in self.everywhere("/breakers").await? {
            for Breaker { service, name, state, settings, .. } in breakers {
                self.own(&format!("{service}/{name}"), index);
                seen.push(BreakerSeen { service, name, state: state.as_str().to_owned(), settings });
            }
        }
        Ok(seen)
    }

    async fn change_breaker(&self, service: &str, name: &str, change: &Value) -> Result<(), Trouble> {
        let breaker = format!("{service}/{name}");
        self.tell(&breaker, &Method::PATCH, &format!("/breakers/{breaker}"), Some(change)).await
    }

    async fn replay_dead_letters(&self) -> Result<(), Trouble> {
        // One of the processes has the queue; the others do not have this page.
        let mut trouble = Trouble("no admin port has a retry queue".to_owned());
        for place in &self.admin {
            match self.send(place, Method::POST, "/queue/replay", Some(&serde_json::json!({"all": true}))).await {
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
            .map(|Transition { service, breaker, to, generation, unix_seconds, .. }| TransitionSeen {
                service,
                breaker,
                to,
                generation,
                unix_seconds,
            })
            .collect();
        // A process that is listed twice counts once.
        let name = |seen: &TransitionSeen| (seen.service.clone(), seen.breaker.clone(), seen.generation);
        seen.sort_by(|a, b| a.unix_seconds.total_cmp(&b.unix_seconds).then_with(|| name(a).cmp(&name(b))));
        seen.dedup();
        Ok(seen)
    }

    async fn inbox(&self) -> Result<InboxSeen, Trouble> {
        let mut seen = InboxSeen::default();
        for (_, Overview { pipeline_alive_since_unix_seconds, alerts }) in self.everywhere("/alerts").await? {
            seen.connected |= pipeline_alive_since_unix_seconds.is_some();
            seen.notices.extend(alerts.into_iter().map(|alert| NoticeSeen {
                labels: alert.labels,
                starts_at: alert.starts_at,
                resolved: alert.status == AlertStatus::Resolved,
            }));
        }
        Ok(seen)
    }

    async fn scenario(&self) -> Result<Option<ScenarioSeen>, Trouble> {
        Ok(self.stage().await.map(|(_, scenario)| ScenarioSeen {
            running: scenario.mode == Mode::Running,
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
    /// The same page of every admin port. The first must answer; any of the others may be the one that the drill has
    /// stopped.
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

    /// The admin port of the process that runs the scenario; the others do not have this page.
    async fn stage(&self) -> Option<(&Place, Status)> {
        for place in &self.admin {
            if let Ok(scenario) = self.get::<Status>(place, "/scenario").await {
                return Some((place, scenario));
            }
        }
        None
    }

    fn own(&self, name: &str, index: usize) {
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        owners.entry(name.to_owned()).or_default().insert(index);
    }

    /// Sends a command to every process that has this target or breaker.
    async fn tell(&self, name: &str, method: &Method, path: &str, body: Option<&Value>) -> Result<(), Trouble> {
        let known = self.owners.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        // The first admin port forwards commands for targets of other processes.
        for index in known.unwrap_or_else(|| BTreeSet::from([0])) {
            self.send(&self.admin[index], method.clone(), path, body).await?;
        }
        Ok(())
    }
}
