//! The middleware at a service's edge that injects faults.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use http::{HeaderValue, StatusCode, header};
use http_body_util::BodyExt;

use super::registry::{Drawn, TargetFaults};
use super::stream::Connection;
use breakerbox_telemetry::FaultKind;

/// Chunks per second of a slow body, if it has enough bytes.
const PIECES_PER_SECOND: u32 = 10;

/// Marks a response as that of a broken connection if there is no socket: a caller in the same process turns it into
/// its error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severed {
    /// The listener was closed.
    Refused,
    /// The connection was reset.
    Reset,
}

/// The middleware: crash, reset, hang, delay and error are injected before the handler, faults of the body after it. A
/// crash also cuts off requests in flight.
pub async fn inject(State(faults): State<TargetFaults>, request: Request, next: Next) -> Response {
    let connection = request.extensions().get::<ConnectInfo<Connection>>().map(|ConnectInfo(own)| own.clone());
    let drawn = faults.draw();
    let (kind, severed) = if drawn.crash {
        (FaultKind::Crash, Severed::Refused)
    } else if drawn.reset {
        (FaultKind::Reset, Severed::Reset)
    } else {
        tokio::select! {
            biased;
            response = answer(&faults, drawn, request, next) => return response,
            () = faults.crashed() => (FaultKind::Crash, Severed::Reset),
        }
    };
    touch(&faults, kind);
    sever(connection.as_ref(), severed)
}

async fn answer(faults: &TargetFaults, drawn: Drawn, request: Request, next: Next) -> Response {
    if drawn.hang {
        touch(faults, FaultKind::Hang);
        // Until the caller disconnects, which drops this future.
        std::future::pending::<()>().await;
    }
    if let Some(delay) = drawn.delay {
        touch(faults, FaultKind::Latency);
        tokio::time::sleep(delay).await;
    }
    if let Some(status) = drawn.error {
        touch(faults, FaultKind::Error);
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
        let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"))];
        let body =
            format!(r#"{{"status":{},"title":"Injected fault","detail":"this fault was injected"}}"#, status.as_u16());
        return (status, kind, body).into_response();
    }
    let mut response = next.run(request).await;
    if drawn.malformed {
        touch(faults, FaultKind::MalformedBody);
        response = cut(response).await;
    }
    if let Some(bytes_per_second) = drawn.bytes_per_second {
        touch(faults, FaultKind::SlowBody);
        response = slowed(response, bytes_per_second).await;
    }
    response
}

/// Counts the fault, and adds an event to the request's span.
fn touch(faults: &TargetFaults, kind: FaultKind) {
    faults.injected(kind);
    tracing::debug!(fault.target = faults.name(), fault.kind = kind.as_str(), "fault injected");
}

fn sever(connection: Option<&Connection>, severed: Severed) -> Response {
    if let Some(connection) = connection {
        connection.sever();
    }
    let mut response = StatusCode::SERVICE_UNAVAILABLE.into_response();
    response.extensions_mut().insert(severed);
    response
}

/// The first half of the body, with the length of the whole.
async fn cut(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    let bytes = whole(body).await;
    let half = bytes.slice(..bytes.len() / 2);
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(half))
}

/// The same body in slow chunks.
async fn slowed(response: Response, bytes_per_second: u32) -> Response {
    let (mut parts, body) = response.into_parts();
    let bytes = whole(body).await;
    // As in the handler's own response: the length is known, only the bytes are late.
    parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len()));
    let longest = (bytes_per_second / PIECES_PER_SECOND).max(1) as usize;
    let pieces = stream::unfold(bytes, move |mut rest| async move {
        if rest.is_empty() {
            return None;
        }
        let piece = rest.split_to(rest.len().min(longest));
        tokio::time::sleep(Duration::from_secs_f64(piece.len() as f64 / f64::from(bytes_per_second))).await;
        Some((Ok::<_, Infallible>(piece), rest))
    });
    Response::from_parts(parts, Body::from_stream(pieces))
}

async fn whole(body: Body) -> Bytes {
    // Bodies of our own handlers are in memory; one that fails is treated as empty.
    body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex};

    use axum::routing::get;
    use axum::{Router, middleware};
    use tokio::time::Instant;
    use tower::ServiceExt;

    use super::*;
    use crate::faults::{FaultPlan, Faults, OnInjected};

    type Counted = Arc<Mutex<Vec<FaultKind>>>;

    fn app(plan: &str) -> (Router, Counted) {
        let counted = Counted::default();
        let count = Arc::clone(&counted);
        let plan: FaultPlan = serde_json::from_str(plan).unwrap();
        plan.validate().unwrap();
        let baselines = BTreeMap::from([("t".to_owned(), plan)]);
        let on_injected: Arc<OnInjected> = Arc::new(move |_, kind| count.lock().unwrap().push(kind));
        let faults = Faults::new(baselines, 1, &on_injected);
        let target = faults.target("t").unwrap();
        let router = Router::new().route("/", get(|| async { r#"{"answer":42}"# }));
        (router.layer(middleware::from_fn_with_state(target, inject)), counted)
    }

    async fn ask(plan: &str) -> (Response, Vec<FaultKind>) {
        let (app, counted) = app(plan);
        let response = app.oneshot(Request::get("/").body(Body::empty()).unwrap()).await.unwrap();
        let counted = counted.lock().unwrap().clone();
        (response, counted)
    }

    async fn text(response: Response) -> String {
        String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_healthy_target_is_left_alone() {
        let (response, counted) = ask("{}").await;
        assert_eq!((response.status(), counted), (StatusCode::OK, vec![]));
        assert_eq!(text(response).await, r#"{"answer":42}"#);
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_has_the_status_asked_for() {
        let (response, counted) = ask(r#"{"error_rate": 1, "status": 429}"#).await;
        assert_eq!((response.status().as_u16(), counted), (429, vec![FaultKind::Error]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_delay_comes_before_the_answer() {
        let before = Instant::now();
        let (response, counted) = ask(r#"{"latency": {"fixed": "2s"}}"#).await;
        assert_eq!(
            (response.status(), before.elapsed(), counted),
            (StatusCode::OK, Duration::from_secs(2), vec![FaultKind::Latency])
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_hanging_target_never_answers() {
        let (app, _) = app(r#"{"hang_rate": 1}"#);
        let asked = app.oneshot(Request::get("/").body(Body::empty()).unwrap());
        assert!(tokio::time::timeout(Duration::from_secs(3600), asked).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_malformed_body_is_cut_off() {
        let (response, _) = ask(r#"{"malformed_body_rate": 1}"#).await;
        assert!(serde_json::from_str::<serde_json::Value>(&text(response).await).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_body_arrives_whole_in_its_time() {
        let (response, _) = ask(r#"{"slow_body": {"bytes_per_second": 1}}"#).await;
        let before = Instant::now();
        assert_eq!(text(response).await, r#"{"answer":42}"#);
        assert_eq!(before.elapsed(), Duration::from_secs(13));
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_socket_a_reset_reaches_the_transport() {
        let (response, counted) = ask(r#"{"reset_rate": 1}"#).await;
        assert_eq!((response.extensions().get(), counted), (Some(&Severed::Reset), vec![FaultKind::Reset]));
        let (response, counted) = ask(r#"{"crash": true}"#).await;
        assert_eq!((response.extensions().get(), counted), (Some(&Severed::Refused), vec![FaultKind::Crash]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_fast_slow_body_takes_no_longer_than_its_bytes_do() {
        let (response, _) = ask(r#"{"slow_body": {"bytes_per_second": 13000}}"#).await;
        let before = Instant::now();
        assert_eq!(text(response).await, r#"{"answer":42}"#);
        assert!(before.elapsed() <= Duration::from_millis(2), "{:?}", before.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_crash_cuts_off_what_is_in_flight() {
        let plan: FaultPlan = serde_json::from_str(r#"{"hang_rate": 1}"#).unwrap();
        let on_injected: Arc<crate::faults::OnInjected> = Arc::new(|_, _| {});
        let faults = Faults::new(BTreeMap::from([("t".to_owned(), plan)]), 1, &on_injected);
        let app = Router::new()
            .route("/", get(|| async { "never" }))
            .layer(middleware::from_fn_with_state(faults.target("t").unwrap(), inject));
        let asked = tokio::spawn(app.oneshot(Request::get("/").body(Body::empty()).unwrap()));
        tokio::time::sleep(Duration::from_secs(5)).await;
        faults.set("t", FaultPlan { crash: true, ..FaultPlan::default() }).unwrap();
        let response = tokio::time::timeout(Duration::from_secs(1), asked).await.unwrap().unwrap().unwrap();
        assert_eq!(response.extensions().get(), Some(&Severed::Reset));
    }
}
