//! A scripted world, for tests under a paused clock.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    BreakerSeen, FaultSeen, InboxSeen, Instance, Labels, Monitor, NoticeSeen, Phase, RuleSeen, ScenarioSeen, Shell,
    Site, TargetSeen, TransitionSeen, Trouble,
};

/// Events of the world, in seconds since the fault and since its end.
#[derive(Clone, Debug)]
pub(in crate::drill) struct Script {
    pub(in crate::drill) opens: Option<u64>,
    pub(in crate::drill) pending: Option<u64>,
    pub(in crate::drill) fires: Option<u64>,
    /// Delay of the notification after the alert fired.
    pub(in crate::drill) notifies: Option<u64>,
    pub(in crate::drill) resolves: Option<u64>,
    /// Delay of the notification after the alert resolved.
    pub(in crate::drill) tells_end: Option<u64>,
    pub(in crate::drill) suppressed: Option<bool>,
    pub(in crate::drill) already_firing: bool,
    pub(in crate::drill) loaded: bool,
    pub(in crate::drill) connected: bool,
    /// Prometheus does not answer in this range of seconds since the start of the world.
    pub(in crate::drill) silent: std::ops::Range<u64>,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            opens: Some(2),
            pending: Some(3),
            fires: Some(33),
            notifies: Some(5),
            resolves: Some(12),
            tells_end: Some(10),
            suppressed: None,
            already_firing: false,
            loaded: true,
            connected: true,
            silent: 0..0,
        }
    }
}

pub(in crate::drill) struct Fake {
    pub(in crate::drill) script: Script,
    born: Instant,
    fault_at: Cell<Option<Instant>>,
    mended_at: Cell<Option<Instant>>,
    /// How often a fault was set.
    rounds: Cell<u64>,
    pub(in crate::drill) fault: RefCell<FaultSeen>,
    pub(in crate::drill) scenario: RefCell<Option<ScenarioSeen>>,
    /// All changes, in order.
    pub(in crate::drill) log: RefCell<Vec<String>>,
    /// How many of the next changes fail.
    pub(in crate::drill) refusals: Cell<u32>,
}

impl Fake {
    pub(in crate::drill) fn new(script: Script) -> Self {
        let fault = FaultSeen { target: "catalog".to_owned(), plan: json!({}), active: Vec::new(), at_baseline: true };
        Self {
            script,
            born: Instant::now(),
            fault_at: Cell::default(),
            mended_at: Cell::default(),
            rounds: Cell::default(),
            fault: RefCell::new(fault),
            scenario: RefCell::default(),
            log: RefCell::default(),
            refusals: Cell::default(),
        }
    }

    fn change(&self, what: String) -> Result<(), Trouble> {
        if self.refusals.get() > 0 {
            self.refusals.set(self.refusals.get() - 1);
            return Err(Trouble("no".to_owned()));
        }
        self.log.borrow_mut().push(what);
        Ok(())
    }

    fn broken(&self) {
        self.fault_at.set(Some(Instant::now()));
        self.mended_at.set(None);
        self.rounds.set(self.rounds.get() + 1);
    }

    /// Whether the fault has lasted this many seconds, or had when it ended.
    fn after_fault(&self, seconds: Option<u64>) -> bool {
        let (Some(seconds), Some(at)) = (seconds, self.fault_at.get()) else { return false };
        self.mended_at.get().unwrap_or_else(Instant::now) >= at + Duration::from_secs(seconds)
    }

    fn after_end(&self, seconds: Option<u64>) -> bool {
        let (Some(seconds), Some(at)) = (seconds, self.mended_at.get()) else { return false };
        at.elapsed() >= Duration::from_secs(seconds)
    }

    fn phase(&self) -> Option<Phase> {
        if self.script.already_firing {
            return Some(Phase::Firing);
        }
        if self.after_end(self.script.resolves) {
            return None;
        }
        if self.after_fault(self.script.fires) {
            return Some(Phase::Firing);
        }
        (self.mended_at.get().is_none() && self.after_fault(self.script.pending)).then_some(Phase::Pending)
    }
}

fn labels() -> Labels {
    let pairs =
        [("alertname", "CircuitBreakerOpen"), ("severity", "warning"), ("service", "gateway"), ("breaker", "catalog")];
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

fn sum(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    Some(one? + other?)
}

impl Monitor for Fake {
    async fn rules(&self) -> Result<Vec<RuleSeen>, Trouble> {
        if self.script.silent.contains(&self.born.elapsed().as_secs()) {
            return Err(Trouble("Prometheus does not answer".to_owned()));
        }
        let other = RuleSeen { alert: "NoTraffic".to_owned(), ..RuleSeen::default() };
        if !self.script.loaded {
            return Ok(vec![other]);
        }
        let phase = self.phase();
        let rule = RuleSeen {
            alert: "CircuitBreakerOpen".to_owned(),
            labels: BTreeMap::from([("severity".to_owned(), "warning".to_owned())]),
            holds: Duration::from_secs(30),
            interval: Duration::from_secs(5),
            instances: phase.map(|phase| Instance { labels: labels(), phase }).into_iter().collect(),
            ..RuleSeen::default()
        };
        Ok(vec![other, rule])
    }

    async fn targets(&self) -> Result<Vec<TargetSeen>, Trouble> {
        Ok(vec![TargetSeen { name: "breakerbox at here".to_owned(), up: true }])
    }

    async fn gives(&self, _query: &str) -> Result<bool, Trouble> {
        Ok(true)
    }

    async fn suppressed(&self, _alert: &Instance) -> Option<bool> {
        self.script.suppressed
    }
}

impl Site for Fake {
    async fn faults(&self) -> Result<Vec<FaultSeen>, Trouble> {
        Ok(vec![self.fault.borrow().clone()])
    }

    async fn set_fault(&self, target: &str, plan: &Value) -> Result<(), Trouble> {
        self.change(format!("set {target} {plan}"))?;
        if plan.get("error_rate").is_some() {
            self.broken();
        } else {
            self.mended_at.set(Some(Instant::now()));
        }
        Ok(())
    }

    async fn restore_fault(&self, target: &str) -> Result<(), Trouble> {
        self.change(format!("restore {target}"))?;
        self.mended_at.set(Some(Instant::now()));
        Ok(())
    }

    async fn breakers(&self) -> Result<Vec<BreakerSeen>, Trouble> {
        let open = self.after_fault(self.script.opens) && !self.after_end(Some(8));
        Ok(vec![BreakerSeen {
            service: "gateway".to_owned(),
            name: "catalog".to_owned(),
            state: if open { "open" } else { "closed" }.to_owned(),
            settings: json!({"sliding-window-size": 20}),
        }])
    }

    async fn change_breaker(&self, service: &str, name: &str, change: &Value) -> Result<(), Trouble> {
        self.change(format!("breaker {service}/{name} {change}"))
    }

    async fn replay_dead_letters(&self) -> Result<(), Trouble> {
        self.change("replay dead letters".to_owned())
    }

    async fn transitions(&self) -> Result<Vec<TransitionSeen>, Trouble> {
        let transition = |to: &str, generation| TransitionSeen {
            service: "gateway".to_owned(),
            breaker: "catalog".to_owned(),
            to: to.to_owned(),
            generation,
            unix_seconds: 0.0,
        };
        // A transition from before the drill, which does not count.
        let mut all = vec![transition("open", 4), transition("closed", 6)];
        all.extend(self.after_fault(self.script.opens).then(|| transition("open", 6 + self.rounds.get())));
        Ok(all)
    }

    async fn inbox(&self) -> Result<InboxSeen, Trouble> {
        let notice =
            |starts_at: &str, resolved| NoticeSeen { labels: labels(), starts_at: starts_at.to_owned(), resolved };
        // A notice from before the drill, which does not count.
        let mut notices = vec![notice("before", true)];
        if self.after_fault(sum(self.script.fires, self.script.notifies)) {
            let ended = self.after_end(sum(self.script.resolves, self.script.tells_end));
            notices.push(notice(&format!("round {}", self.rounds.get()), ended));
        }
        Ok(InboxSeen { connected: self.script.connected, notices })
    }

    async fn scenario(&self) -> Result<Option<ScenarioSeen>, Trouble> {
        Ok(self.scenario.borrow().clone())
    }

    async fn command_scenario(&self, command: &str) -> Result<(), Trouble> {
        self.change(format!("scenario {command}"))?;
        if let Some(scenario) = &mut *self.scenario.borrow_mut() {
            scenario.running = command == "start";
        }
        Ok(())
    }
}

impl Shell for Fake {
    async fn run(&self, command: &str) -> Result<(), Trouble> {
        self.change(format!("run {command}"))?;
        if command == "raise" {
            self.broken();
        } else {
            self.mended_at.set(Some(Instant::now()));
        }
        Ok(())
    }
}
