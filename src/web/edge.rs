//! A service's edge: the layers around its handlers.
//!
//! From the outside in: span and trace → context (deadline, protection) → duration and the viewer's result → injected
//! faults → handler. Faults are innermost, so that they appear in span and duration like real faults of the service.

use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::Method;
use tokio::time::Instant;
use tracing::{Instrument, Span};

use super::context::Context;
use breakerbox_telemetry::{EdgeTelemetry, Playback, TraceContext};

/// Status recorded for a caller that disconnected before the response, as nginx does.
const CALLER_LEFT: u16 = 499;
/// Label value for non-standard methods.
const OTHER_METHOD: &str = "_OTHER";

/// The kind of an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Called by other services, whose deadline and protection apply.
    Internal,
    /// Called by viewers, with this time budget per page. Their headers for deadline and protection are ignored.
    Protected(Duration),
    /// Called by viewers, without any protection.
    Bare,
}

/// A service's edge.
#[derive(Clone)]
pub struct Edge {
    service: &'static str,
    entry: Entry,
    telemetry: EdgeTelemetry,
    is_page: fn(&str) -> bool,
}

impl Edge {
    /// The edge of `service`; `is_page` tells which routes are pages for viewers.
    #[must_use]
    pub fn new(service: &'static str, entry: Entry, telemetry: EdgeTelemetry, is_page: fn(&str) -> bool) -> Self {
        Self { service, entry, telemetry, is_page }
    }

    fn context(&self, request: &Request) -> Context {
        match self.entry {
            Entry::Internal => Context::from_headers(request.headers()),
            Entry::Protected(budget) => Context::new().within(budget),
            Entry::Bare => Context::new().unprotected(),
        }
    }
}

/// The middleware.
pub async fn edge(State(edge): State<Edge>, mut request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route_name = route.as_ref().map_or("unmatched", MatchedPath::as_str);
    let method = method_name(request.method());
    let span = tracing::info_span!(
        "request",
        otel.kind = "server",
        otel.name = %format_args!("{} {route_name}", if method == OTHER_METHOD { "HTTP" } else { method }),
        otel.status_code = tracing::field::Empty,
        service = edge.service,
        trace_id = tracing::field::Empty,
        http.request.method = method,
        http.request.method_original = (method == OTHER_METHOD).then(|| request.method().as_str()),
        http.route = route_name,
        http.response.status_code = tracing::field::Empty,
        url.scheme = "http",
        url.path = request.uri().path(),
        error.r#type = tracing::field::Empty,
    );
    let mut context = edge.context(&request);
    context.trace = Some(TraceContext::adopt(&span, request.headers(), rand::random()));
    request.extensions_mut().insert(context);

    let served = Served::begin(&edge, method, route.clone(), span.clone());
    let response = next.run(request).instrument(span.clone()).await;
    let status = response.status();
    span.record("http.response.status_code", status.as_u16());
    if status.is_server_error() {
        span.record("error.type", status.as_str());
        span.record("otel.status_code", "ERROR");
    }
    served.finish(status.as_u16(), response.extensions().get::<Playback>().copied());
    response
}

/// Records a request when it ends, for whatever reason.
struct Served<'a> {
    edge: &'a Edge,
    method: &'static str,
    route: Option<MatchedPath>,
    since: Instant,
    status: u16,
    playback: Option<Playback>,
    span: Span,
    _active: breakerbox_telemetry::RequestGuard,
}

impl<'a> Served<'a> {
    fn begin(edge: &'a Edge, method: &'static str, route: Option<MatchedPath>, span: Span) -> Self {
        // A client that disconnects early got no page.
        let page = route.as_ref().is_some_and(|route| (edge.is_page)(route.as_str()));
        let playback = page.then_some(Playback::Error);
        let active = edge.telemetry.begin();
        Self { edge, method, route, since: Instant::now(), status: CALLER_LEFT, playback, span, _active: active }
    }

    fn finish(mut self, status: u16, playback: Option<Playback>) {
        self.status = status;
        self.playback = match (self.playback, status) {
            (None, _) => None,
            (Some(_), 500..) => Some(Playback::Error),
            // A response to a viewer's own mistake is correct.
            (Some(_), 400..500) => Some(Playback::Ok),
            (Some(_), _) => Some(playback.unwrap_or(Playback::Ok)),
        };
    }
}

impl Drop for Served<'_> {
    fn drop(&mut self) {
        // Within its span, so that its duration gets an exemplar.
        let _within = self.span.enter();
        if self.status == CALLER_LEFT {
            self.span.record("error.type", "cancelled");
        }
        let route = self.route.as_ref().map_or("unmatched", MatchedPath::as_str);
        self.edge.telemetry.served(self.method, route, self.status, self.since.elapsed());
        if let Some(playback) = self.playback {
            self.edge.telemetry.playback(playback);
        }
    }
}

/// Methods allowed as label values; others are replaced.
fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => OTHER_METHOD,
    }
}
