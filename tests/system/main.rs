//! The whole site in one process with a paused clock: hours take seconds, and every run is identical.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]
#![allow(clippy::float_cmp, reason = "a gauge gives back the very value that it was set to")]
#![allow(unreachable_pub, reason = "the modules of a test binary are its own")]

mod cardinality;
mod openapi;
mod site;
mod traces;

use std::sync::OnceLock;
use std::time::Duration;

use breakerbox::client::Request;
use breakerbox_resilience::breaker::State;
use breakerbox_telemetry::TransitionRecord;
use site::{PlaybackCounts, TestSite};

/// A round of the default scenario.
const LENGTH: Duration = Duration::from_secs(480);

/// One round of the default scenario, run once and shared by all tests that examine it.
struct Round {
    protected: PlaybackCounts,
    bare: PlaybackCounts,
    transitions: Vec<TransitionRecord>,
}

fn round() -> &'static Round {
    static ROUND: OnceLock<Round> = OnceLock::new();
    ROUND.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let site = TestSite::start(&[]);
            site.run_scenario(5.0, LENGTH).await;
            Round {
                protected: site.playback("gateway"),
                bare: site.playback("gateway-bare"),
                transitions: site.transitions(),
            }
        })
    })
}

#[test]
fn pages_load_whatever_breaks_and_the_twin_shows_the_cost() {
    let Round { protected, bare, .. } = round();
    assert_eq!(protected.error, 0, "{protected:?}");
    assert!(protected.ok > 2_500 && protected.degraded > 100, "{protected:?}");
    assert!(bare.error > 500, "{bare:?}");
}

#[test]
fn breakers_open_for_what_is_broken_and_close_when_it_is_mended() {
    let moved = &round().transitions;
    for (service, breaker, reasons) in [
        ("recommendation", "ml-api", &["consecutive_failures", "failure_rate"][..]),
        ("recommendation", "ml-api", &["slow_call_rate"]),
        ("gateway", "recommendation", &["consecutive_failures", "failure_rate", "slow_call_rate"]),
        ("gateway", "user", &["consecutive_failures", "failure_rate"]),
        ("gateway", "catalog", &["consecutive_failures", "failure_rate"]),
    ] {
        let of = |t: &&TransitionRecord| t.service == service && t.breaker == breaker;
        let tripped = moved.iter().filter(of).any(|t| t.to == State::Open && reasons.contains(&t.reason.as_str()));
        assert!(tripped, "{service} → {breaker} never opened for {reasons:?}: {moved:#?}");
        assert_eq!(moved.iter().rfind(of).unwrap().to, State::Closed, "{service} → {breaker} did not recover");
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_incident_opens_a_breaker_that_recovers_in_time() {
    let site = TestSite::start(&[]);
    site.run_scenario(5.0, Duration::from_secs(19)).await;
    assert!(site.transitions().is_empty(), "{:#?}", site.transitions());
    let site = TestSite::start(&[]);
    site.run_scenario(5.0, Duration::from_secs(120)).await;
    let moved = site.transitions();
    let ml_api: Vec<_> = moved.iter().filter(|t| t.breaker == "ml-api").collect();
    assert_eq!((ml_api[0].from, ml_api[0].to), (State::Closed, State::Open));
    assert_eq!(ml_api.last().unwrap().to, State::Closed, "{ml_api:#?}");
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_is_the_same_run() {
    let mut runs = Vec::new();
    for _ in 0..2 {
        let site = TestSite::start(&[]);
        site.run_scenario(4.0, Duration::from_secs(60)).await;
        let moves: Vec<_> =
            site.transitions().into_iter().map(|t| (t.service, t.breaker, t.from, t.to, t.reason, t.calls)).collect();
        runs.push((site.playback("gateway"), site.playback("gateway-bare"), moves));
    }
    assert_eq!(runs[0], runs[1]);
}

#[tokio::test(start_paused = true)]
async fn recommendations_fall_back_from_live_to_cache_to_popular() {
    let site = TestSite::start(&[("BREAKERBOX_FAULTS__ML_API__ERROR_RATE", "0")]);
    let token = site.log_in(7).await;
    let live = site.recommendations(&token).await;
    assert_eq!((live["source"].as_str(), live["notice"].as_str()), (Some("live"), None));

    site.break_service("ml-api", r#"{"error_rate": 1}"#);
    tokio::time::advance(Duration::from_secs(9)).await;
    let cached = site.recommendations(&token).await;
    assert!(
        live.get("age_seconds").is_none() && (9..=10).contains(&cached["age_seconds"].as_u64().unwrap()),
        "{cached}"
    );
    let notice = Some("추천 서비스를 잠시 사용할 수 없습니다");
    assert_eq!((cached["source"].as_str(), cached["notice"].as_str()), (Some("cache"), notice));
    assert_eq!(cached["items"], live["items"]);

    let stranger = site.log_in(8).await;
    let popular = site.recommendations(&stranger).await;
    assert_eq!((popular["source"].as_str(), popular["notice"].as_str()), (Some("popular"), notice));
    assert_ne!(popular["items"], live["items"]);

    site.break_service("recommendation", r#"{"crash": true}"#);
    let behind = site.recommendations(&token).await;
    assert_eq!((behind["source"].as_str(), behind["items"] == live["items"]), (Some("cache"), true));
}

#[tokio::test(start_paused = true)]
async fn each_row_of_a_page_says_where_it_comes_from_and_how_old() {
    let site = TestSite::start(&[]);
    let home = || async { site.ask(Request::get("/api/home")).await.json::<serde_json::Value>().unwrap() };
    let live = home().await;
    assert_eq!((live["rows"][0]["source"].as_str(), live["rows"][0].get("age_seconds")), (Some("live"), None));
    let film = site.ask(Request::get("/api/movies/3")).await.json::<serde_json::Value>().unwrap();
    assert_eq!((film["source"].as_str(), film.get("age_seconds")), (Some("live"), None));

    site.break_service("catalog", r#"{"error_rate": 1}"#);
    tokio::time::advance(Duration::from_secs(42)).await;
    let cached = home().await;
    let row = &cached["rows"][0];
    assert_eq!((row["source"].as_str(), &row["items"]), (Some("cache"), &live["rows"][0]["items"]));
    assert!((42..=44).contains(&row["age_seconds"].as_u64().unwrap()), "{row}");
    // Recommendations need an account; for a viewer without one they do not count as missing.
    assert_eq!(cached["recommendations"]["source"], "live");
    let film = site.ask(Request::get("/api/movies/3")).await.json::<serde_json::Value>().unwrap();
    assert!((42..=46).contains(&film["age_seconds"].as_u64().unwrap()), "{film}");
}

#[tokio::test(start_paused = true)]
async fn watching_a_film_puts_it_on_top_of_the_history() {
    let site = TestSite::start(&[]);
    let bearer = format!("Bearer {}", site.log_in(7).await);
    let watch = |film: u32| Request::post("/api/me/history").json(&serde_json::json!({ "film_id": film }));
    assert_eq!(site.ask(watch(59)).await.status, 401);
    assert_eq!(site.ask(watch(59).header("authorization", &bearer)).await.status, 201);
    assert_eq!(site.ask(watch(9_999).header("authorization", &bearer)).await.status, 400);
    let me: serde_json::Value =
        site.ask(Request::get("/api/me").header("authorization", &bearer)).await.json().unwrap();
    assert_eq!(me["history"]["items"][0]["film_id"], 59);
}

#[tokio::test(start_paused = true)]
async fn seats_of_a_premiere_need_no_login() {
    let site = TestSite::start(&[]);
    let seats: serde_json::Value = site.ask(Request::get("/api/premieres/1")).await.json().unwrap();
    assert_eq!((seats["left"].as_u64(), seats["capacity"].as_u64()), (Some(20), Some(20)));
    assert!((1..=600).contains(&seats["next_showing_seconds"].as_u64().unwrap()), "{seats}");
    assert_eq!(site.ask(Request::get("/api/premieres/x")).await.status, 400);
}

#[tokio::test(start_paused = true)]
async fn a_hanging_dependency_blocks_the_bare_gateways_other_pages() {
    let site = TestSite::start(&[]);
    site.break_service("recommendation", r#"{"hang_rate": 1}"#);
    site.run_traffic(20.0, Duration::from_secs(60)).await;

    // The films page needs no recommendations, but with one shared pool it waits for them.
    let bare = site.mean_seconds("gateway-bare", "/api/movies");
    let protected = site.mean_seconds("gateway", "/api/movies");
    assert!(protected < 0.1, "protected: {protected} s");
    assert!(bare > 3.0, "bare: {bare} s");
}

#[tokio::test(start_paused = true)]
async fn faults_degrade_the_protected_site_and_none_breaks_it() {
    for plan in [
        r#"{"error_rate": 1}"#,
        r#"{"error_rate": 1, "status": 429}"#,
        r#"{"latency": {"fixed": "5s"}}"#,
        r#"{"latency": {"uniform": {"min": "1s", "max": "3s"}}}"#,
        r#"{"latency": {"log_normal": {"median": "2s", "sigma": 1.0}}}"#,
        r#"{"latency": {"pareto": {"scale": "500ms", "shape": 1.1}}}"#,
        r#"{"hang_rate": 1}"#,
        r#"{"reset_rate": 1}"#,
        r#"{"slow_body": {"bytes_per_second": 10}}"#,
        r#"{"malformed_body_rate": 1}"#,
        r#"{"crash": true}"#,
    ] {
        let site = TestSite::start(&[]);
        for target in ["user", "catalog", "recommendation", "ml-api"] {
            site.break_service(target, plan);
        }
        site.run_traffic(10.0, Duration::from_secs(20)).await;
        let playback = site.playback("gateway");
        assert_eq!(playback.error, 0, "{plan}: {playback:?}");
        assert!(playback.degraded > 0, "{plan}: {playback:?}");
        assert!(site.transitions().iter().any(|t| t.to == State::Open), "{plan}: no breaker opened");
    }
}

#[tokio::test(start_paused = true)]
async fn every_series_stands_at_zero_before_the_first_request() {
    let site = TestSite::start(&[]);
    let zero = site.gather();
    let (mut names, mut moved) = (Vec::new(), Vec::new());
    for family in &zero {
        names.push(family.name().to_owned());
        for metric in family.get_metric() {
            if metric.get_counter().get_value() > 0.0 && !family.name().starts_with("process_") {
                moved.push(family.name().to_owned());
            }
        }
    }
    assert!(moved.is_empty(), "{moved:?}");
    // Families of components that this site does not run have no series here.
    let elsewhere = [
        "scenario_step_active",
        "traffic_",
        "alert_webhook",
        "rate_limiter",
        // The payment breaker has its own window.
        "stateless_breaker_",
        // There are no sockets in process.
        "http_server_open_connections",
        "http_server_capacity_connections",
        "http_server_dropped_connections",
    ];
    for family in breakerbox_telemetry::names::ALL {
        let expected = !elsewhere.iter().any(|prefix| family.name.starts_with(prefix));
        assert!(!expected || names.iter().any(|name| name == family.name), "{} has no series", family.name);
    }
}

#[tokio::test(start_paused = true)]
async fn injected_fault_shares_are_exported_without_calls() {
    let site = TestSite::start(&[]);
    let share = |target, kind| site.gauge("fault_configured_ratio", &[("target", target), ("kind", kind)]);
    // Faults that are set at the start are included.
    assert_eq!([share("payment-gateway", "error"), share("user", "error")], [0.3, 0.0]);
    site.break_service("payment-gateway", r#"{"error_rate": 1, "latency": {"fixed": "1s"}, "latency_rate": 0.25}"#);
    assert_eq!([share("payment-gateway", "error"), share("payment-gateway", "latency")], [1.0, 0.25]);
    assert_eq!(site.gauge("fault_active", &[("target", "payment-gateway"), ("kind", "latency")]), 1.0);
    site.break_service("payment-gateway", r#"{"crash": true}"#);
    assert_eq!([share("payment-gateway", "error"), share("payment-gateway", "crash")], [0.0, 1.0]);
}

#[tokio::test(start_paused = true)]
async fn a_breakers_current_thresholds_are_exported() {
    let site = TestSite::start(&[]);
    let at = [("service", "recommendation"), ("breaker", "ml-api")];
    let threshold = || site.gauge("circuit_breaker_consecutive_failures_threshold", &at);
    let settings = site.client("recommendation", "ml-api").breaker_settings().unwrap();
    assert_eq!(threshold(), f64::from(settings.consecutive_failure_threshold.unwrap()));
    let change = |to| serde_json::json!({ "consecutive-failure-threshold": to });
    site.client("recommendation", "ml-api").reconfigure(change(Some(9))).unwrap();
    assert_eq!(threshold(), 9.0);
    site.client("recommendation", "ml-api").reconfigure(change(None)).unwrap();
    assert!(threshold().is_nan());
}
