//! Forwards commands to other processes.

use axum::Router;
use axum::body::Body as HttpBody;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::{get, post};
use http::{HeaderMap, Method, StatusCode, header};
use serde_json::Value;

use super::Admin;
use super::peers::{Answer, Command, FORWARDED, is_name};
use super::wire::{Page, ScenarioChoice, Unreachable};
use crate::services::ServiceName;
use crate::web::problem::{Body, Problem};

/// The process that runs the scenario if services run in separate processes.
const SCENARIO_PROCESS: &str = "traffic";

impl Admin {
    /// The scenario's routes of a process without one: they are forwarded to the process called `traffic`.
    #[must_use = "routes do nothing until they are served"]
    pub fn scenario_elsewhere(&self) -> Router {
        async fn forward(State(admin): State<Admin>, request: Request) -> Result<Response, Problem> {
            let path = request.uri().path();
            let last = path.rsplit('/').next().unwrap_or_default();
            if !is_name(last) {
                return Err(Problem::not_found(format!("no command {last:?}; there are start, pause and stop")));
            }
            let command = Command { method: request.method().clone(), path, body: None };
            let answer = admin.forward_to_one(SCENARIO_PROCESS, &command, request.headers()).await;
            answer.unwrap_or_else(|| Err(Problem::not_found("no scenario runs in this process")))
        }
        async fn choose(
            State(admin): State<Admin>,
            headers: HeaderMap,
            Body(choice): Body<ScenarioChoice>,
        ) -> Result<Response, Problem> {
            let body = serde_json::to_value(&choice).unwrap_or_default();
            let command = Command { method: Method::POST, path: "/scenario", body: Some(&body) };
            let answer = admin.forward_to_one(SCENARIO_PROCESS, &command, &headers).await;
            answer.unwrap_or_else(|| Err(Problem::not_found("no scenario runs in this process")))
        }
        Router::new()
            .route("/scenario", get(forward).post(choose))
            .route("/scenario/{command}", post(forward))
            .route("/scenario/step/{name}", post(forward))
            .with_state(self.clone())
    }

    /// The retry queue's routes of a process without checkout. All instances of checkout share the queue in the
    /// store, so that any of them can answer.
    #[must_use = "routes do nothing until they are served"]
    pub fn queue_elsewhere(&self) -> Router {
        async fn any(admin: &Admin, command: Command<'_>, headers: &HeaderMap) -> Result<Response, Problem> {
            let answer = admin.forward_to_one(ServiceName::Checkout.as_str(), &command, headers).await;
            answer.unwrap_or_else(|| {
                Err(Problem::not_found("no checkout runs in this process, and admin.peers.checkout is not set"))
            })
        }
        async fn read(State(admin): State<Admin>, request: Request) -> Result<Response, Problem> {
            let command = Command { method: Method::GET, path: request.uri().path(), body: None };
            any(&admin, command, request.headers()).await
        }
        async fn replay(
            State(admin): State<Admin>,
            headers: HeaderMap,
            Body(body): Body<Value>,
        ) -> Result<Response, Problem> {
            any(&admin, Command { method: Method::POST, path: "/queue/replay", body: Some(&body) }, &headers).await
        }
        Router::new()
            .route("/queue", get(read))
            .route("/queue/dead", get(read))
            .route("/queue/replay", post(replay))
            .with_state(self.clone())
    }

    pub(super) async fn to_peer(
        &self,
        target: &str,
        command: &Command<'_>,
        headers: &HeaderMap,
    ) -> Result<Response, Problem> {
        if is_name(target)
            && let Some(answer) = self.forward(target, command, headers).await
        {
            return answer;
        }
        let mut known = self.inner.parts.faults.targets();
        known.extend(self.inner.peers.names().map(str::to_owned));
        Err(Problem::not_found(format!("no target {target:?}; there are {}", known.join(", "))))
    }

    /// Forwards a command to each process that runs `service`; `None` if no such process is configured. The first
    /// error is the answer.
    pub(super) async fn forward(
        &self,
        service: &str,
        command: &Command<'_>,
        headers: &HeaderMap,
    ) -> Option<Result<Response, Problem>> {
        let name = self.elsewhere(service, headers)?;
        let answers = match self.inner.peers.tell_all(name, command).await {
            Ok(answers) => answers,
            Err(why) => return Some(Err(Problem::new(StatusCode::BAD_GATEWAY, why))),
        };
        let done = |answer: &Result<Answer, String>| answer.as_ref().is_ok_and(|answer| answer.status.is_success());
        let others = answers.iter().filter(|answer| done(answer)).count();
        let (silent, mut answered): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_err);
        if let Some(Err(why)) = silent.into_iter().next() {
            let rest = if others > 0 { format!("; {others} other applied it") } else { String::new() };
            return Some(Err(Problem::new(StatusCode::BAD_GATEWAY, format!("{why}{rest}"))));
        }
        answered.sort_by_key(done);
        answered.into_iter().flatten().next().map(|answer| Ok(relay(answer)))
    }

    async fn forward_to_one(
        &self,
        service: &str,
        command: &Command<'_>,
        headers: &HeaderMap,
    ) -> Option<Result<Response, Problem>> {
        let name = self.elsewhere(service, headers)?;
        let answer = self.inner.peers.tell_one(name, command).await;
        Some(answer.map(relay).map_err(|why| Problem::new(StatusCode::BAD_GATEWAY, why)))
    }

    /// Names of the processes that run `service`, except this one and those already asked.
    fn elsewhere(&self, service: &str, headers: &HeaderMap) -> Option<&str> {
        let here = headers.contains_key(FORWARDED) || self.inner.parts.services.contains(&service);
        if here { None } else { self.inner.peers.owner(service) }
    }

    /// The page of this process or, with `everywhere`, of all processes: their lists merged, each item with its
    /// process, and the processes that did not answer.
    pub(super) async fn joined<P: Page>(&self, everywhere: bool, own: P) -> P {
        if !everywhere {
            return own;
        }
        let mut page = own;
        let mut unreachable = Vec::new();
        for (name, read) in self.inner.peers.read_all::<P>(&self.inner.parts.services).await {
            match read {
                Ok((instance, mut theirs)) => {
                    page.items().extend(theirs.items().drain(..).map(|mut item| {
                        P::name_process(&mut item, &instance.address);
                        item
                    }));
                }
                Err(why) => unreachable.push(Unreachable { name, why }),
            }
        }
        page.name_unreachable(unreachable);
        page
    }
}

fn relay(answer: Answer) -> Response {
    let mut relayed = Response::new(HttpBody::from(answer.body));
    *relayed.status_mut() = answer.status;
    if let Some(kind) = answer.content_type {
        relayed.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    relayed
}
