//! A receiver of spans that is ill costs spans, and nobody's time.

use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use super::process::Process;

/// Takes connections and never answers: each export ends in its own timeout, three seconds later.
fn black_hole() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut held: Vec<TcpStream> = Vec::new();
        held.extend(listener.incoming().flatten());
    });
    format!("http://{address}")
}

/// The longest that one of so many pages took, four at a time.
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
fn a_receiver_of_spans_that_never_answers_slows_no_request_and_no_farewell() {
    let nowhere = black_hole();
    let endpoint = ("BREAKERBOX_TELEMETRY__OTLP_ENDPOINT", nowhere.as_str());
    let process = Process::start(&["--no-traffic", "--no-scenario"], &[endpoint]);
    // Far more spans than the exporter's queue holds: four or more a page, 2 048 places.
    let longest = longest_of(1200, &format!("{}/api/home", process.site));
    assert!(longest < Duration::from_millis(2500), "a page took {longest:?}: it waited for the exporter");
    let since = Instant::now();
    assert_eq!(process.interrupt(), 0);
    assert!(since.elapsed() < Duration::from_secs(8), "leaving took {:?}", since.elapsed());
}
