//! The `OpenAPI` document of the admin port, generated from its types.
//!
//! The program serves the committed `docs/openapi.json`, and a test holds that against the generated document: the code
//! that describes every type would be half a megabyte of the program, to be run once.

use axum::Router;
use axum::routing::get;
use http::header;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{
    Components, ContactBuilder, Content, InfoBuilder, OpenApi, Ref, RefOr, ResponseBuilder, Responses,
    SecurityRequirement,
};

use crate::drill::service;
use crate::services::checkout;
use crate::{admin, scenario};

const JSON: &str = "application/json";
const PROBLEM: &str = "application/problem+json";
/// Name of the admin token in the document.
const TOKEN: &str = "admin_token";

const COMMITTED: &str = include_str!("../../docs/openapi.json");

/// `GET /openapi.json`.
pub(super) fn routes() -> Router {
    Router::new().route("/openapi.json", get(|| async { ([(header::CONTENT_TYPE, "application/json")], COMMITTED) }))
}

/// The `OpenAPI` 3.1 document of the admin port, as JSON.
#[must_use]
pub fn openapi() -> String {
    let mut text = document().to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}

fn document() -> OpenApi {
    let mut document = admin::openapi();
    document.merge(scenario::openapi());
    document.merge(checkout::openapi());
    document.merge(service::openapi());
    document.info = InfoBuilder::new()
        .title("Breakerbox admin port")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "Metrics, health, circuit breakers, faults, the scenario, the retry queue and delivered alerts. Reading \
             needs no token; every other method needs the admin token if one is set.",
        ))
        .contact(None::<ContactBuilder>.map(ContactBuilder::build))
        .build();
    let token = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    document.components.get_or_insert_with(Components::new).add_security_scheme(TOKEN, token);
    for path in document.paths.paths.values_mut() {
        for command in [&mut path.post, &mut path.put, &mut path.patch, &mut path.delete].into_iter().flatten() {
            let none: [&str; 0] = [];
            // Without a token set, none is needed.
            command.security = Some(vec![SecurityRequirement::new(TOKEN, none), SecurityRequirement::default()]);
        }
        let operations = [&mut path.get, &mut path.post, &mut path.put, &mut path.patch, &mut path.delete];
        for operation in operations.into_iter().flatten() {
            errors_are_problems(&mut operation.responses);
        }
    }
    document
}

/// Adds the type of errors, and the errors that any operation may return: a wrong `Host`, a wrong content type, a
/// repeated parameter.
fn errors_are_problems(responses: &mut Responses) {
    let errors = responses.responses.iter_mut().filter(|(status, _)| status.starts_with(['4', '5']));
    for (_, response) in errors {
        if let RefOr::T(response) = response
            && let Some(content) = response.content.swap_remove(JSON)
        {
            response.content.insert(PROBLEM.to_owned(), content);
        }
    }
    let problem = Content::new(Some(Ref::from_schema_name("Problem")));
    let any = ResponseBuilder::new().description("Any other error").content(PROBLEM, problem).build();
    responses.responses.insert("default".to_owned(), RefOr::T(any));
}
