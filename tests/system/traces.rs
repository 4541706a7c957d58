//! Traces: the path of one page through the site, and the events along it.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use axum::body::Body;
use breakerbox::services::ServiceName;
use breakerbox_telemetry::{sampler, span_layer};
use http::Request;
use opentelemetry::trace::{SpanKind, Status};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use tracing::Dispatch;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::layer::SubscriberExt;

use crate::site::TestSite;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// An exporter that keeps spans in memory.
#[derive(Clone, Debug, Default)]
struct Kept(Arc<Mutex<Vec<SpanData>>>);

impl SpanExporter for Kept {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().unwrap().extend(batch);
        Ok(())
    }
}

impl Kept {
    /// Spans of one trace, ordered by start.
    fn of(&self, trace: &str) -> Vec<SpanData> {
        let all = self.0.lock().unwrap();
        let mut spans: Vec<_> =
            all.iter().filter(|span| span.span_context.trace_id().to_string() == trace).cloned().collect();
        spans.sort_by_key(|span| span.start_time);
        spans
    }
}

/// Records this share of new traces on this thread, as the program would.
fn recording(share: f64) -> (Kept, DefaultGuard) {
    // While `tracing` has only one subscriber, a callsite that is first reached on a thread without one, such as
    // another test's, is disabled for all threads. With a second subscriber it is evaluated every time.
    static ANOTHER: OnceLock<Dispatch> = OnceLock::new();
    ANOTHER.get_or_init(|| Dispatch::new(tracing_subscriber::registry()));
    let kept = Kept::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(kept.clone()).with_sampler(sampler(share)).build();
    let subscriber = tracing_subscriber::registry().with(span_layer(&provider));
    (kept, tracing::subscriber::set_default(subscriber))
}

/// Requests a page from the gateway as part of [`TRACE`], whose caller records it or does not.
async fn page(site: &TestSite, path: &str, token: Option<&str>, recorded: bool) {
    let parent = format!("00-{TRACE}-b7ad6b7169203331-{:02x}", u8::from(recorded));
    let mut request = Request::get(path).header("traceparent", parent);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let status = site.send(ServiceName::Gateway, request.body(Body::empty()).unwrap()).await;
    assert!(status.is_success(), "{path}: {status}");
}

fn attribute(span: &SpanData, key: &str) -> Option<String> {
    span.attributes.iter().find(|own| own.key.as_str() == key).map(|own| own.value.to_string())
}

/// Names of a span's events, in order.
fn events(span: &SpanData) -> Vec<&str> {
    span.events.iter().map(|event| &*event.name).collect()
}

fn named<'a>(spans: &'a [SpanData], name: &str, kind: &SpanKind) -> Vec<&'a SpanData> {
    spans.iter().filter(|span| span.name == name && span.span_kind == *kind).collect()
}

fn children<'a>(spans: &'a [SpanData], of: &SpanData) -> Vec<&'a SpanData> {
    spans.iter().filter(|span| span.parent_span_id == of.span_context.span_id()).collect()
}

/// The one server span of this name.
fn served<'a>(spans: &'a [SpanData], name: &str) -> &'a SpanData {
    let [only] = named(spans, name, &SpanKind::Server)[..] else { panic!("expected exactly one {name}: {spans:#?}") };
    only
}

const ML_API: &str = "BREAKERBOX_POLICIES__RECOMMENDATION__ML_API";

#[tokio::test(start_paused = true)]
async fn one_trace_covers_a_whole_visit() {
    let (kept, _recording) = recording(1.0);
    let site = TestSite::start(&[
        (&format!("{ML_API}__RETRY__MAX_ATTEMPTS"), "3"),
        (&format!("{ML_API}__CIRCUIT_BREAKER__CONSECUTIVE_FAILURE_THRESHOLD"), "2"),
    ]);
    let token = site.log_in(7).await;
    site.break_service("ml-api", r#"{"error_rate": 1}"#);
    // Two pages of one visit: the first trips the breaker, the second is rejected by it.
    page(&site, "/api/recommendations", Some(&token), true).await;
    page(&site, "/api/recommendations", Some(&token), true).await;

    let spans = kept.of(TRACE);
    let entries = named(&spans, "GET /api/recommendations", &SpanKind::Server);
    let pages: Vec<_> = entries.iter().map(|entry| recommendations_below(&spans, entry)).collect();
    let [tripping, rejected] = pages[..] else { panic!("{spans:#?}") };
    assert_eq!(
        events(tripping),
        ["retry scheduled", "circuit breaker state changed", "not retried", "fallback served"]
    );
    assert_eq!(events(rejected), ["call rejected", "fallback served"]);
    assert!(children(&spans, rejected).is_empty(), "a rejected call is no attempt");

    let attempts = children(&spans, tripping);
    let resent: Vec<_> = attempts.iter().map(|span| attribute(span, "http.request.resend_count")).collect();
    assert_eq!(resent, [None, Some("1".to_owned())]);
    for attempt in attempts {
        let told = ["error.type", "http.response.status_code", "url.full", "server.address", "peer.service"];
        let told = told.map(|key| attribute(attempt, key).unwrap_or_default());
        assert_eq!(told, ["503", "503", "http://ml-api/predict/7?limit=50", "ml-api", "ml-api"]);
        assert!(matches!(attempt.status, Status::Error { .. }));
        let [broken] = children(&spans, attempt)[..] else { panic!("{spans:#?}") };
        assert_eq!((&*broken.name, events(broken)), ("GET /predict/{user}", vec!["fault injected"]));
        assert_eq!(of_event(broken, "fault.kind").as_deref(), Some("error"));
    }
}

/// The span of the recommendation service for a page.
fn recommendations_below<'a>(spans: &'a [SpanData], page: &SpanData) -> &'a SpanData {
    let is_call = |span: &&&SpanData| attribute(span, "peer.service").as_deref() == Some("recommendation");
    let call = children(spans, page).into_iter().find(|span| is_call(&span)).unwrap();
    let [served] = children(spans, call)[..] else { panic!("{spans:#?}") };
    assert_eq!((&*served.name, &served.span_kind), ("GET /recommendations/{user}", &SpanKind::Server));
    served
}

/// An attribute of a span's only event.
fn of_event(span: &SpanData, key: &str) -> Option<String> {
    let [event] = &span.events.events[..] else { panic!("expected exactly one event: {span:#?}") };
    event.attributes.iter().find(|own| own.key.as_str() == key).map(|own| own.value.to_string())
}

#[tokio::test(start_paused = true)]
async fn a_hedge_and_the_attempt_it_beat_are_distinguishable() {
    let (kept, _recording) = recording(1.0);
    let site = TestSite::start(&[(&format!("{ML_API}__HEDGE__DELAY"), "100ms")]);
    let token = site.log_in(7).await;
    // Faults are seeded, so every run has a page with a slow first attempt and a fast second one.
    site.break_service("ml-api", r#"{"latency": {"fixed": "900ms"}, "latency_rate": 0.5}"#);
    for _ in 0..12 {
        page(&site, "/api/recommendations", Some(&token), true).await;
    }
    let spans = kept.of(TRACE);
    let all = named(&spans, "GET /recommendations/{user}", &SpanKind::Server);
    let won = |span: &&SpanData| events(span) == ["hedge ended"] && of_event(span, "outcome").as_deref() == Some("won");
    let hedged = all.into_iter().find(won).expect("one of twelve hedges won");
    let attempts = children(&spans, hedged);
    let told = |key| attempts.iter().map(|span| attribute(span, key)).collect::<Vec<_>>();
    assert_eq!(told("breakerbox.hedge"), [Some("false".to_owned()), Some("true".to_owned())]);
    assert_eq!(told("error.type"), [Some("cancelled".to_owned()), None]);
    assert!(attempts.iter().all(|span| matches!(span.status, Status::Unset)), "the slower of a pair is no error");
}

#[tokio::test(start_paused = true)]
async fn a_timed_out_attempt_is_marked_on_both_sides() {
    let (kept, _recording) = recording(1.0);
    let site = TestSite::start(&[(&format!("{ML_API}__RETRY__MAX_ATTEMPTS"), "1")]);
    let token = site.log_in(7).await;
    site.break_service("ml-api", r#"{"hang_rate": 1}"#);
    page(&site, "/api/recommendations", Some(&token), true).await;
    let spans = kept.of(TRACE);
    let [attempt] = named(&spans, "GET ml-api", &SpanKind::Client)[..] else { panic!("{spans:#?}") };
    assert_eq!(attribute(attempt, "error.type").as_deref(), Some("timeout"));
    assert!(matches!(attempt.status, Status::Error { .. }));
    let hung = served(&spans, "GET /predict/{user}");
    assert_eq!(events(hung), ["fault injected"]);
    assert_eq!(attribute(hung, "error.type").as_deref(), Some("cancelled"));
}

#[tokio::test(start_paused = true)]
async fn a_full_bulkhead_and_a_broken_connection_are_events_too() {
    let (kept, _recording) = recording(1.0);
    let full = [("MAX_CONCURRENT_CALLS", "1"), ("MAX_WAIT_DURATION", "0s")];
    let full = full.map(|(key, value)| (format!("{ML_API}__BULKHEAD__{key}"), value));
    let site = TestSite::start(&full.each_ref().map(|(key, value)| (key.as_str(), *value)));
    let token = site.log_in(7).await;
    site.break_service("ml-api", r#"{"reset_rate": 1}"#);
    let pages = (0..2).map(|_| page(&site, "/api/recommendations", Some(&token), true));
    futures_util::future::join_all(pages).await;
    let spans = kept.of(TRACE);
    let all = named(&spans, "GET /recommendations/{user}", &SpanKind::Server);
    assert!(all.iter().any(|span| events(span) == ["bulkhead full", "fallback served"]), "{all:#?}");
    let attempts = named(&spans, "GET ml-api", &SpanKind::Client);
    assert!(
        !attempts.is_empty() && attempts.iter().all(|span| attribute(span, "error.type").as_deref() == Some("reset")),
        "{attempts:#?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_caller_s_decision_to_record_is_followed_by_every_service() {
    let page_of = |share: f64, recorded: bool| async move {
        let (kept, _recording) = recording(share);
        page(&TestSite::start(&[]), "/api/movies", None, recorded).await;
        kept.of(TRACE).len()
    };
    assert_eq!(page_of(0.0, true).await, 3, "gateway, its call, catalog");
    assert_eq!(page_of(1.0, false).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_journey_is_one_trace_from_the_viewer_to_the_last_service() {
    let (kept, _recording) = recording(1.0);
    let site = TestSite::start(&[]);
    site.run_traffic(5.0, Duration::from_secs(20)).await;
    let all = kept.0.lock().unwrap().clone();
    let journeys: Vec<_> = all.iter().filter(|span| span.name == "journey gateway").collect();
    assert!(journeys.len() > 20, "{} journeys", journeys.len());
    let whole = journeys.iter().any(|journey| {
        let trace = kept.of(&journey.span_context.trace_id().to_string());
        let names: Vec<_> = trace.iter().map(|span| &*span.name).collect();
        let has = |name| names.contains(&name);
        has("GET /api/home") && has("GET /recommendations/{user}") && has("GET /predict/{user}")
    });
    assert!(whole, "no journey reached ml-api");
    // An entry span without a remote parent would belong to no journey.
    let entries = all.iter().filter(|span| span.name.starts_with("GET /api/"));
    assert!(entries.clone().count() > 20);
    assert_eq!(entries.filter(|span| !span.parent_span_is_remote).count(), 0);
}
