//! Routes of breakers: their state, and commands.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, Method};

use super::wire::{Breaker, BreakerChange, Breakers, HealthSummary, ProblemBody, with_hyphens};
use super::{Admin, Scope, peers};
use crate::web::problem::{Body, Problem, Query};

/// Every breaker, worst health first.
#[utoipa::path(get, path = "/breakers", params(Scope), responses((status = 200, body = Breakers)))]
pub(super) async fn breakers(State(admin): State<Admin>, Query(scope): Query<Scope>) -> Json<Breakers> {
    let breakers = admin.inner.parts.clients.iter().filter_map(Breaker::of).collect();
    let mut page = admin.joined(scope.everywhere, Breakers { breakers, ..Breakers::default() }).await;
    page.sort();
    Json(page)
}

/// Summary of the breakers: overall state, and the open ones.
#[utoipa::path(get, path = "/health", params(Scope), responses((status = 200, body = HealthSummary)))]
pub(super) async fn health(State(admin): State<Admin>, scope: Query<Scope>) -> Json<HealthSummary> {
    let Json(page) = breakers(State(admin), scope).await;
    let open = page.breakers.iter().filter(|breaker| breaker.state.is_open());
    let open = open.map(|breaker| format!("{}/{}", breaker.service, breaker.name)).collect();
    Json(HealthSummary { status: page.status, breakers: page.breakers.len(), open })
}

/// Commands a breaker, or changes its settings.
#[utoipa::path(
    patch,
    path = "/breakers/{service}/{name}",
    params(("service" = String, Path, description = "The calling service"),
           ("name" = String, Path, description = "The called dependency")),
    request_body = BreakerChange,
    responses((status = 200, body = Breaker), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
              (status = 404, body = ProblemBody)),
)]
pub(super) async fn change_breaker(
    State(admin): State<Admin>,
    Path((service, name)): Path<(String, String)>,
    headers: HeaderMap,
    Body(change): Body<BreakerChange>,
) -> Result<Response, Problem> {
    let own = admin.inner.parts.clients.iter().find(|c| c.service() == service && c.dependency() == name);
    let Some(client) = own.filter(|client| client.snapshot().is_some()) else {
        let body = serde_json::to_value(&change).unwrap_or_default();
        let path = format!("/breakers/{service}/{name}");
        let command = peers::Command { method: Method::PATCH, path: &path, body: Some(&body) };
        let names = peers::is_name(&service) && peers::is_name(&name);
        let forwarded = if names { admin.forward(&service, &command, &headers).await } else { None };
        return match forwarded {
            Some(answer) => answer,
            None => Err(Problem::not_found(format!(
                "no breaker {service}/{name} here; there are {}",
                admin.known_breakers()
            ))),
        };
    };
    if change.state.is_none() && change.settings.is_none() {
        return Err(Problem::bad_request("state", "give a state, settings, or both"));
    }
    if let Some(settings) = change.settings {
        let settings = with_hyphens(settings).map_err(|error| Problem::bad_request("settings", error))?;
        client.reconfigure(settings).map_err(|error| Problem::bad_request("settings", error))?;
    }
    if let Some(command) = change.state {
        client.command(command.into());
    }
    Ok(Json(Breaker::of(client)).into_response())
}

impl Admin {
    fn known_breakers(&self) -> String {
        let names = self.inner.parts.clients.iter().map(|c| format!("{}/{}", c.service(), c.dependency()));
        names.collect::<Vec<_>>().join(", ")
    }
}
