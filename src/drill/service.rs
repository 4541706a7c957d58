//! Drills from the admin port: one at a time, with its stages as they occur.
//!
//! A conductor reports to the thread that created it and is not `Sync`, so a drill gets its own thread. It works
//! through the same ports as `breakerbox drill`, undoes its changes when it is stopped, and is stopped when the process
//! ends.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use utoipa::{OpenApi, ToSchema};

use super::plan::{How, Plan, plans};
use super::report::Outcome;
use super::run::{Conductor, Event, Options};
use super::world::{Access, Live};
use crate::admin::wire::ProblemBody;
use crate::clock;
use crate::web::problem::{Body, Problem};

/// Maximum number of stages kept per run.
const STAGES: usize = 60;

/// `GET /drills`: the plan for each alert, and the current or latest drill.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Drills {
    /// Address of the Prometheus whose alerts are drilled.
    pub prometheus: String,
    /// All plans.
    pub plans: Vec<DrillPlan>,
    /// The current drill, or the latest one.
    pub run: Option<DrillRun>,
}

/// The plan of a drill.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct DrillPlan {
    /// `alertname`.
    pub alert: String,
    /// Its severity.
    pub severity: String,
    /// The steps that raise the alert, or the reason why it cannot be drilled from here.
    pub how: String,
    /// Whether it can be drilled from here.
    pub possible: bool,
    /// Time from the first step until the rule's expression is true, in seconds.
    pub ramp_seconds: f64,
}

/// A drill.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct DrillRun {
    /// `alertname`.
    pub alert: String,
    /// Its severity, if the drill was restricted to one.
    pub severity: Option<String>,
    /// Start time, in seconds since 1970.
    pub began_unix_seconds: f64,
    /// The stages reached, in order.
    pub stages: Vec<DrillStage>,
    /// The condition that it currently waits for.
    pub waiting: Option<String>,
    /// Result: `passed`, `failed`, `refused`, `skipped` or `interrupted`; null while it runs.
    pub outcome: Option<String>,
    /// Reason, if it did not pass.
    pub why: Option<String>,
}

/// A stage of a drill.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct DrillStage {
    /// Time, in seconds since 1970.
    pub unix_seconds: f64,
    /// Description.
    pub text: String,
}

/// `POST /drills`: the alert to drill.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DrillOrder {
    /// `alertname`.
    pub alert: String,
    /// Severity of the rule to drill; all of the alert's rules when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<String>,
}

/// Runs drills. Cheap to clone.
#[derive(Clone)]
pub struct Drillmaster {
    access: Access,
    run: Arc<Mutex<Option<DrillRun>>>,
    stop: watch::Sender<bool>,
}

impl Drillmaster {
    /// Runs drills against these ports.
    #[must_use]
    pub fn new(access: Access) -> Self {
        Self { access, run: Arc::default(), stop: watch::Sender::new(false) }
    }

    /// `GET`, `POST` and `DELETE /drills`.
    #[must_use = "routes do nothing until they are served"]
    pub fn routes(&self) -> Router {
        Router::new().route("/drills", get(drills).post(start).delete(stop)).with_state(self.clone())
    }

    /// Stops the current drill, which restores the previous state.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    fn page(&self) -> Drills {
        let plans = plans().iter().map(DrillPlan::from).collect();
        Drills { prometheus: self.access.prometheus.clone(), plans, run: self.run().clone() }
    }

    fn run(&self) -> MutexGuard<'_, Option<DrillRun>> {
        self.run.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, order: DrillOrder) -> Result<(), Problem> {
        let wanted = |plan: &Plan| {
            plan.alert == order.alert && order.severity.as_ref().is_none_or(|severity| plan.severity == severity)
        };
        let chosen: Vec<_> = plans().into_iter().filter(wanted).collect();
        let possible = |plan: &&Plan| !matches!(plan.how, How::Cannot { .. });
        if chosen.iter().find(possible).is_none() {
            return Err(Problem::bad_request("alert", "no alert of this name can be drilled from here; GET /drills"));
        }
        let live = Live::new(&self.access).map_err(|why| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, why))?;
        let mut run = self.run();
        if run.as_ref().is_some_and(|run| run.outcome.is_none()) {
            return Err(Problem::new(StatusCode::CONFLICT, "a drill is running; DELETE /drills stops it"));
        }
        *run = Some(DrillRun {
            alert: order.alert,
            severity: order.severity,
            began_unix_seconds: unix_seconds(),
            stages: Vec::new(),
            waiting: None,
            outcome: None,
            why: None,
        });
        drop(run);
        self.stop.send_replace(false);
        let own = self.clone();
        let thread = std::thread::Builder::new().name("drill".to_owned());
        let spawned = thread.spawn(move || own.carry_out(&live, &chosen));
        spawned.map(drop).map_err(|error| {
            self.ended(Outcome::Failed, Some(error.to_string()));
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, format!("no thread for the drill: {error}"))
        })
    }

    fn carry_out(&self, live: &Live, chosen: &[Plan]) {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return self.ended(Outcome::Failed, Some(error.to_string())),
        };
        let mut stopped = self.stop.subscribe();
        let options = Options { long: true, ..Options::default() };
        let conductor = Conductor::new(live, &options, |event: Event<'_>| self.tell(&event));
        let interrupted = async {
            // If the sender is gone, the drill can no longer be stopped this way.
            if stopped.wait_for(|stopped| *stopped).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        match runtime.block_on(conductor.run(chosen, interrupted)) {
            Err(refused) => self.ended(Outcome::Refused, Some(refused.to_string())),
            Ok(report) => {
                let worst = [Outcome::Interrupted, Outcome::Failed, Outcome::Refused, Outcome::Passed]
                    .into_iter()
                    .find(|outcome| report.count(*outcome) > 0);
                let outcome = worst.unwrap_or(Outcome::Skipped);
                let drill = report.drills.iter().find(|drill| drill.outcome == outcome);
                self.ended(outcome, drill.and_then(|drill| drill.why.clone()));
            }
        }
    }

    fn ended(&self, outcome: Outcome, why: Option<String>) {
        if let Some(run) = self.run().as_mut() {
            run.outcome = Some(outcome.word().to_lowercase());
            run.why = why;
            run.waiting = None;
        }
    }

    fn tell(&self, event: &Event<'_>) {
        let mut run = self.run();
        let Some(run) = run.as_mut() else { return };
        if let Event::Waiting { what, .. } = event {
            run.waiting = Some((*what).to_owned());
            return;
        }
        run.waiting = None;
        let text = match event {
            Event::Healthy { targets, rules, inbox } => {
                let seen = if *inbox { "notifications arrive" } else { "notifications cannot be seen" };
                format!("targets up: {targets}; alerting rules loaded: {rules}; {seen}")
            }
            Event::Note(note) => (*note).to_owned(),
            Event::Began { plan, budget, .. } => format!(
                "{} begins: {} s to fire, {} s to resolve",
                plan.name(),
                budget.firing.as_secs(),
                budget.resolve.as_secs()
            ),
            Event::Reached { milestone, after } => format!("{} after {}", milestone.words(), tenths(*after)),
            Event::Cleared => "the trouble is over".to_owned(),
            Event::Ended(drill) => {
                format!("{}/{}: {}", drill.alert, drill.severity, drill.outcome.word().to_lowercase())
            }
            Event::NotRestored(trouble) => format!("not put back: {trouble}"),
            Event::Waiting { .. } => return,
        };
        if run.stages.len() < STAGES {
            run.stages.push(DrillStage { unix_seconds: unix_seconds(), text });
        }
    }
}

impl From<&Plan> for DrillPlan {
    fn from(plan: &Plan) -> Self {
        let (how, possible, ramp) = match &plan.how {
            How::Raise(raise) => (raise.what, true, raise.ramp),
            How::Always => ("it always fires: that it arrives is looked at", true, Duration::ZERO),
            How::Cannot { reason, ramp, .. } => (*reason, false, *ramp),
        };
        Self {
            alert: plan.alert.to_owned(),
            severity: plan.severity.to_owned(),
            how: how.to_owned(),
            possible,
            ramp_seconds: ramp.as_secs_f64(),
        }
    }
}

/// The plan for each alert, and the current or latest drill.
#[utoipa::path(get, path = "/drills", responses((status = 200, body = Drills)))]
async fn drills(State(master): State<Drillmaster>) -> Json<Drills> {
    Json(master.page())
}

/// Starts a drill.
#[utoipa::path(
    post,
    path = "/drills",
    request_body = DrillOrder,
    responses((status = 200, body = Drills), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
              (status = 409, body = ProblemBody)),
)]
async fn start(State(master): State<Drillmaster>, Body(order): Body<DrillOrder>) -> Result<Json<Drills>, Problem> {
    master.begin(order)?;
    Ok(Json(master.page()))
}

/// Stops the current drill, which restores the previous state.
#[utoipa::path(delete, path = "/drills", responses((status = 200, body = Drills), (status = 401, body = ProblemBody)))]
async fn stop(State(master): State<Drillmaster>) -> Json<Drills> {
    master.stop();
    Json(master.page())
}

#[derive(OpenApi)]
#[openapi(paths(drills, start, stop))]
struct Paths;

/// The drills' part of the `OpenAPI` document.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    Paths::openapi()
}

fn unix_seconds() -> f64 {
    let now = clock::wall().as_secs_f64();
    (now * 10.0).round() / 10.0
}

fn tenths(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn master() -> Drillmaster {
        let nowhere = "http://127.0.0.1:1".to_owned();
        Drillmaster::new(Access { prometheus: nowhere.clone(), admin: vec![nowhere], ..Access::default() })
    }

    fn order(alert: &str) -> DrillOrder {
        DrillOrder { alert: alert.to_owned(), severity: None }
    }

    #[tokio::test]
    async fn only_one_drill_runs_at_a_time() {
        let master = master();
        assert_eq!(master.begin(order("NoSuchAlert")).unwrap_err().status(), StatusCode::BAD_REQUEST);
        master.begin(order("CircuitBreakerOpen")).unwrap();
        let ended = async {
            while master.page().run.is_some_and(|run| run.outcome.is_none()) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), ended).await.expect("a drill without a stack must end");
        let run = master.page().run.unwrap();
        assert_eq!((run.outcome.as_deref(), run.why.is_some()), (Some("refused"), true), "{run:?}");
    }

    #[test]
    fn every_alert_says_how_it_is_raised() {
        let page = master().page();
        assert!(page.plans.len() > 10 && page.plans.iter().all(|plan| !plan.how.is_empty()));
        assert!(page.plans.iter().any(|plan| !plan.possible));
    }
}
