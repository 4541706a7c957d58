//! The functions as AWS runs them: the real binaries behind the Lambda Runtime API, SQS from an emulator, a payment
//! gateway that fails on purpose, and each of the stores.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

/// Declares a test for each of these functions with each store.
macro_rules! over_each_store {
    ($($name:ident),+ $(,)?) => {
        over_each_store!(over_dynamodb DynamoDb $($name)+);
        over_each_store!(over_postgres Postgres $($name)+);
        over_each_store!(over_sqlite Sqlite $($name)+);
    };
    ($module:ident $backend:ident $($name:ident)+) => {
        mod $module {
            $(
                #[tokio::test]
                async fn $name() {
                    super::$name(crate::database::Backend::$backend).await;
                }
            )+
        }
    };
}

mod contract;
mod database;
mod machine;
mod runtime;
mod sql;
mod world;

use std::time::Duration;

use breakerbox_serverless::breaker::State;
use breakerbox_serverless::order::Status;
use serde_json::json;
use tokio::time::sleep;

use database::Backend;
use runtime::Treatment::{Charge, Decline, Fail, Hang, LoseAnswer};
use world::{World, place, request, tool};

const NOTICE: &str = "현재 결제 서비스에 일시적인 오류가 발생했습니다. 나중에 다시 시도해 주세요.";

async fn three_failures_in_a_row_block_payments_for_five_minutes(backend: Backend) {
    let Some(world) = World::new(backend, &[]).await else { return };
    world.gateway.otherwise(Fail);
    let api = world.api().await;
    for number in 0..3 {
        let (status, body) = place(&api, &format!("outage-{number}")).await;
        assert_eq!((status, body["status"].as_str()), (202, Some("queued")), "{body}");
    }
    assert_eq!(world.state().await, State::Open);
    // A new instance rejects as well.
    let (status, body) = place(&world.api().await, "outage-3").await;
    assert_eq!((status, body["notice"].as_str()), (202, Some(NOTICE)), "{body}");
    let wait = body["retry_after_seconds"].as_u64().unwrap();
    assert!((290..=300).contains(&wait), "{wait}");
    assert_eq!(world.gateway.calls(), 3, "an open breaker sends no calls");
    assert!(!world.order("outage-3").await.maybe_charged);
}

async fn four_of_five_probes_close_and_queued_orders_are_paid_once(backend: Backend) {
    let Some(world) = World::new(backend, &[("BREAKER_OPEN_MILLIS", "3000")]).await else { return };
    world.gateway.will(&[Fail, Fail, Fail, Charge, Fail]);
    let api = world.api().await;
    let keys: Vec<_> = (0..6).map(|number| format!("recovery-{number}")).collect();
    for key in &keys {
        place(&api, key).await;
    }
    assert_eq!(world.state().await, State::Open);
    let worker = world.worker().await;
    for key in &keys {
        world.work_until(&worker, async |world| world.is(key, Status::Paid).await).await;
    }
    assert_eq!(world.state().await, State::Closed);
    world.books_agree(&keys).await;
}

async fn a_lost_answer_is_never_charged_twice(backend: Backend) {
    let Some(world) = World::new(backend, &[]).await else { return };
    world.gateway.will(&[LoseAnswer, Charge]);
    let (status, _) = place(&world.api().await, "lost-answer").await;
    assert_eq!(status, 202);
    assert!(world.order("lost-answer").await.maybe_charged);
    let worker = world.worker().await;
    world.work_until(&worker, async |world| world.is("lost-answer", Status::Paid).await).await;
    world.books_agree(&["lost-answer".to_owned()]).await;
}

async fn a_decline_after_a_lost_answer_voids_the_charge(backend: Backend) {
    let Some(world) = World::new(backend, &[]).await else { return };
    world.gateway.will(&[LoseAnswer, Decline]);
    place(&world.api().await, "lost-then-declined").await;
    assert_eq!(world.gateway.charged("lost-then-declined"), Some(3_500));
    let worker = world.worker().await;
    world.work_until(&worker, async |world| world.is("lost-then-declined", Status::Cancelled).await).await;
    world.books_agree(&["lost-then-declined".to_owned()]).await;
}

async fn an_instance_killed_while_charging_is_succeeded(backend: Backend) {
    let Some(world) = World::new(backend, &[]).await else { return };
    world.gateway.will(&[Hang]);
    let api = world.api().await;
    let event = request("POST", "/orders", "killed-key", &json!({"title": "parasite", "amount": 3_500}));
    let charged = async {
        while world.gateway.charged("killed-key").is_none() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        _ = api.invoke(event) => panic!("the gateway hangs"),
        () = charged => {}
    }
    api.kill();
    assert_eq!(world.order("killed-key").await.status, Status::Charging, "the intent is durable");
    let worker = world.worker().await;
    world.work_until(&worker, async |world| world.is("killed-key", Status::Paid).await).await;
    world.books_agree(&["killed-key".to_owned()]).await;
}

async fn the_same_key_makes_one_order_of_many_instances(backend: Backend) {
    let Some(world) = World::new(backend, &[]).await else { return };
    let instances = [world.api().await, world.api().await, world.api().await];
    let (a, b, c) = tokio::join!(
        place(&instances[0], "same-key-1"),
        place(&instances[1], "same-key-1"),
        place(&instances[2], "same-key-1"),
    );
    let paid = [&a, &b, &c].iter().filter(|(status, _)| *status == 200).count();
    assert!(paid >= 1, "{a:?} {b:?} {c:?}");
    assert_eq!(place(&instances[0], "same-key-1").await.0, 200);
    world.books_agree(&["same-key-1".to_owned()]).await;
    let other = request("POST", "/orders", "same-key-1", &json!({"title": "parasite", "amount": 1}));
    assert_eq!(instances[0].invoke(other).await.unwrap()["statusCode"], 422);
}

async fn many_short_lived_instances_share_one_count(backend: Backend) {
    let Some(world) = World::new(backend, &[]).await else { return };
    world.gateway.otherwise(Fail);
    // Each instance serves one request and ends, so none of them observes three failures.
    for number in 0..5 {
        let api = world.api().await;
        place(&api, &format!("short-lived-{number}")).await;
        api.kill();
    }
    assert_eq!(world.state().await, State::Open);
    assert_eq!(world.gateway.calls(), 3);
}

async fn an_order_that_never_gets_through_is_given_up(backend: Backend) {
    let settings = [("MAX_ATTEMPTS", "2"), ("BREAKER_FAILURES", "100")];
    let Some(world) = World::new(backend, &settings).await else { return };
    world.gateway.otherwise(LoseAnswer);
    place(&world.api().await, "given-up").await;
    let worker = world.worker().await;
    world.work_until(&worker, async |world| world.is("given-up", Status::Cancelled).await).await;
    assert_eq!(world.dead_letters().await, 0, "it could be undone");
    world.books_agree(&["given-up".to_owned()]).await;
}

async fn invalid_requests_name_the_field(backend: Backend) {
    let Some(world) = World::new(backend, &[]).await else { return };
    let api = world.api().await;
    for (key, body, status, named) in [
        ("short", json!({"title": "parasite", "amount": 1}), 400, "Idempotency-Key"),
        ("long-enough", json!({"title": "parasite", "amount": 0}), 400, "amount"),
        ("long-enough", json!({"title": "parasite", "amount": 1, "x": 1}), 400, "x"),
        ("long-enough", json!({"title": "unknown", "amount": 1}), 404, "no such title"),
    ] {
        let answer = api.invoke(request("POST", "/orders", key, &body)).await.unwrap();
        assert_eq!(answer["statusCode"], status, "{answer}");
        assert!(answer["body"].as_str().unwrap().contains(named), "{answer}");
    }
    world.store_is_untouched().await;
}

async fn the_stateless_breaker_asks_prometheus(backend: Backend) {
    let ratio = std::sync::Arc::new(std::sync::Mutex::new("0.9"));
    let told = std::sync::Arc::clone(&ratio);
    let router = axum::Router::new().route(
        "/api/v1/query",
        axum::routing::get(move || {
            let value = *told.lock().unwrap();
            async move {
                json!({"status": "success", "data": {"resultType": "vector", "result": [{"metric": {}, "value": [0, value]}]}})
                    .to_string()
            }
        }),
    );
    let prometheus = format!("http://{}", runtime::serve(router).await);
    let settings = [("BREAKER", "stateless"), ("PROMETHEUS_URL", &prometheus), ("BREAKER_QUERY", "ratio")];
    let Some(world) = World::new(backend, &settings).await else { return };
    let api = world.api().await;
    let (status, body) = place(&api, "stateless-1").await;
    assert_eq!((status, body["notice"].as_str(), world.gateway.calls()), (202, Some(NOTICE), 0));
    *ratio.lock().unwrap() = "0.1";
    assert_eq!(place(&api, "stateless-2").await.0, 200);
    assert_eq!(world.breaker().await.version, 0, "nothing is stored");
}

over_each_store! {
    three_failures_in_a_row_block_payments_for_five_minutes,
    four_of_five_probes_close_and_queued_orders_are_paid_once,
    a_lost_answer_is_never_charged_twice,
    a_decline_after_a_lost_answer_voids_the_charge,
    an_instance_killed_while_charging_is_succeeded,
    the_same_key_makes_one_order_of_many_instances,
    many_short_lived_instances_share_one_count,
    an_order_that_never_gets_through_is_given_up,
    invalid_requests_name_the_field,
    the_stateless_breaker_asks_prometheus,
}

#[test]
fn the_template_passes_cfn_lint() {
    let Some(lint) = tool("CFN_LINT") else { return };
    let output =
        std::process::Command::new(lint).arg(world::root().join("deploy/serverless/template.yaml")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
