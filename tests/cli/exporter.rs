//! OTLP export: a receiver that does not answer delays nothing, and log records carry their trace.

use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use opentelemetry::TraceId;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use prost::Message;

use super::process::{Process, breakerbox, within};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// Accepts connections and never answers: each export runs into its timeout of three seconds.
fn black_hole() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut held: Vec<TcpStream> = Vec::new();
        held.extend(listener.incoming().flatten());
    });
    format!("http://{address}")
}

/// The longest response time of this many page requests, four at a time.
fn longest_of(pages: usize, url: &str) -> Duration {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut longest = Duration::ZERO;
        for _ in 0..pages / 4 {
            let four = (0..4).map(|_| async {
                let since = Instant::now();
                client.get(url).send().await.unwrap().bytes().await.unwrap();
                since.elapsed()
            });
            longest = longest.max(futures_util::future::join_all(four).await.into_iter().max().unwrap());
        }
        longest
    })
}

#[test]
fn a_silent_span_receiver_slows_no_request_and_no_exit() {
    let nowhere = black_hole();
    let endpoint = ("BREAKERBOX_TELEMETRY__OTLP_ENDPOINT", nowhere.as_str());
    let process = Process::start(&["--no-traffic", "--no-scenario"], &[endpoint]);
    // Far more spans than the exporter's queue of 2 048 holds: each page has four or more.
    let longest = longest_of(1200, &format!("{}/api/home", process.site));
    assert!(longest < Duration::from_millis(2500), "a page took {longest:?}: it waited for the exporter");
    let since = Instant::now();
    assert_eq!(process.interrupt(), 0);
    assert!(since.elapsed() < Duration::from_secs(8), "the shutdown took {:?}", since.elapsed());
}

/// A collector that keeps the log records it receives, each with the name of its scope.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<(String, LogRecord)>>>);

impl Collector {
    /// Starts the collector and returns its URL.
    fn start() -> (Self, String) {
        let collector = Self::default();
        let kept = collector.clone();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let receive = move |body: Bytes| {
            let kept = kept.clone();
            async move { kept.keep(ExportLogsServiceRequest::decode(body).unwrap()) }
        };
        let router = Router::new().route("/v1/logs", post(receive)).route("/v1/traces", post(|| async {}));
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                axum::serve(listener, router).await.unwrap();
            });
        });
        (collector, format!("http://{address}"))
    }

    fn keep(&self, request: ExportLogsServiceRequest) {
        let mut kept = self.0.lock().unwrap();
        for scope in request.resource_logs.into_iter().flat_map(|resource| resource.scope_logs) {
            let wrote = scope.scope.map(|scope| scope.name).unwrap_or_default();
            kept.extend(scope.log_records.into_iter().map(|record| (wrote.clone(), record)));
        }
    }

    /// The scopes of all records so far, and the trace ids of the records that contain these words.
    fn seen(&self, words: &str) -> (Vec<String>, Vec<String>) {
        let kept = self.0.lock().unwrap();
        let says = |record: &LogRecord| format!("{:?}", record.body).contains(words);
        let hex = |bytes: &[u8]| TraceId::from_bytes(bytes.try_into().unwrap_or_default()).to_string();
        let wrote = kept.iter().map(|(wrote, _)| wrote.clone()).collect();
        (wrote, kept.iter().filter(|(_, record)| says(record)).map(|(_, record)| hex(&record.trace_id)).collect())
    }
}

#[test]
fn log_records_carry_their_trace_and_omit_the_exporters_own() {
    let (collector, endpoint) = Collector::start();
    let threshold = "BREAKERBOX_POLICIES__GATEWAY__CATALOG__CIRCUIT_BREAKER__CONSECUTIVE_FAILURE_THRESHOLD";
    let process = Process::start(
        &["--no-traffic", "--no-scenario"],
        &[
            ("BREAKERBOX_TELEMETRY__OTLP_ENDPOINT", &endpoint),
            ("BREAKERBOX_TELEMETRY__OTLP_LOGS", "true"),
            // At this level every request of the exporter would itself be logged.
            ("BREAKERBOX_TELEMETRY__LOG_FILTER", "debug"),
            (threshold, "1"),
        ],
    );
    let admin = [("BREAKERBOX_ADMIN_URL", process.admin.as_str())];
    assert_eq!(breakerbox(&["fault", "set", "catalog", "--error-rate", "1"], &admin).code, 0);
    let parent = format!("00-{TRACE}-b7ad6b7169203331-01");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let page = client.get(format!("{}/api/movies", process.site)).header("traceparent", &parent);
        assert!(page.send().await.unwrap().status().is_success());
    });
    within(Duration::from_secs(15), || !collector.seen("circuit breaker state changed").1.is_empty());
    assert_eq!(collector.seen("circuit breaker state changed").1, [TRACE]);
    assert_eq!(collector.seen("fault injected").1.first().map(String::as_str), Some(TRACE));
    assert_eq!(process.interrupt(), 0);
    let way_out = ["h2", "hyper", "opentelemetry", "reqwest"];
    let (wrote, _) = collector.seen("");
    let looped: Vec<_> = wrote.iter().filter(|name| way_out.iter().any(|own| name.starts_with(own))).collect();
    assert!(looped.is_empty(), "{looped:?}");
    assert!(wrote.iter().any(|name| name.starts_with("breakerbox")), "{wrote:?}");
}

#[test]
fn records_without_an_address_are_refused() {
    let done = breakerbox(&["--no-traffic"], &[("BREAKERBOX_TELEMETRY__OTLP_LOGS", "true")]);
    assert_eq!(done.code, 2);
    assert!(done.stderr.contains("telemetry.otlp-logs"), "{}", done.stderr);
}
