//! Measures the cost of a scrape, compared with `prometheus-client` on the same families, in one run. See
//! `../README.md`.

mod ours;
mod peer;

use std::hint::black_box;
use std::io::Write;
use std::time::{Duration, Instant};

use breakerbox_telemetry::{Format, encode, sampler, span_layer};
use flate2::Compression;
use flate2::write::GzEncoder;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use tracing_subscriber::layer::SubscriberExt;

use ours::Ours;
use peer::{grouped, mirror, samples, scrape};

/// Rounds of each subject; subjects alternate, so that a disturbance of the machine affects all of them.
const ROUNDS: usize = 41;

/// Discards spans: they are recorded so that buckets have exemplars.
#[derive(Debug)]
struct Nowhere;

impl SpanExporter for Nowhere {
    async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
        Ok(())
    }
}

/// A subject that answers a scrape.
struct Subject<'a> {
    name: &'static str,
    answer: Box<dyn Fn() -> Vec<u8> + 'a>,
}

fn main() {
    let provider = SdkTracerProvider::builder().with_simple_exporter(Nowhere).with_sampler(sampler(1.0)).build();
    let spans = tracing_subscriber::registry().with(span_layer(&provider));
    let recorded = tracing::subscriber::set_default(spans);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime can be built");
    println!("| | samples | ms | bytes | allocations |");
    println!("|---|---:|---:|---:|---:|");
    rows("default topology", &runtime.block_on(ours::default_topology()));
    for many in [10, 100, 1_000] {
        rows(&format!("{} breakers", grouped(many)), &runtime.block_on(ours::breakers(many as usize)));
    }
    drop(recorded);
}

fn rows(title: &str, ours: &Ours) {
    let metrics = &ours.metrics;
    let families = metrics.gather();
    let registry = mirror(&families);
    let zipped = |body: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(body).expect("a Vec takes it");
        encoder.finish().expect("a Vec takes it")
    };
    let open = encode(metrics, Format::OpenMetrics).body;
    let subjects = [
        Subject { name: "OpenMetrics", answer: Box::new(|| encode(metrics, Format::OpenMetrics).body) },
        Subject { name: "text", answer: Box::new(|| encode(metrics, Format::Text).body) },
        Subject {
            name: "of text, collecting",
            answer: Box::new(|| {
                black_box(metrics.gather());
                Vec::new()
            }),
        },
        Subject { name: "prometheus-client, OpenMetrics", answer: Box::new(|| scrape(&registry).into_bytes()) },
        Subject { name: "gzip on top", answer: Box::new(|| zipped(&open)) },
    ];
    let times = medians(&subjects);
    for (Subject { name, answer }, took) in subjects.iter().zip(times) {
        let body = answer();
        let counted = allocation_counter::measure(|| {
            black_box(answer());
        });
        let lines = std::str::from_utf8(&body).map(samples).unwrap_or_default();
        let or_dash = |number: u64| if number == 0 { "–".to_owned() } else { grouped(number) };
        println!(
            "| {title}: {name} | {} | {:.2} | {} | {} |",
            or_dash(lines as u64),
            took.as_secs_f64() * 1e3,
            or_dash(body.len() as u64),
            grouped(counted.count_total),
        );
    }
}

/// Median time of one scrape of each.
fn medians(subjects: &[Subject<'_>]) -> Vec<Duration> {
    let mut rounds = vec![Vec::with_capacity(ROUNDS); subjects.len()];
    // The first round warms up.
    for round in 0..=ROUNDS {
        for (times, subject) in rounds.iter_mut().zip(subjects) {
            let since = Instant::now();
            black_box((subject.answer)());
            if round > 0 {
                times.push(since.elapsed());
            }
        }
    }
    let median = |mut times: Vec<Duration>| {
        times.sort();
        times[ROUNDS / 2]
    };
    rounds.into_iter().map(median).collect()
}
