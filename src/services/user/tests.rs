use serde_json::json;

use super::*;
use crate::services::testing::{get, post, problem};
use crate::services::wire::Profile;

const NOON: Duration = Duration::from_secs(1_800_000_017);

fn service() -> Router {
    router(UserState::at(&UserSettings::default(), 7, Clock::starting_at(NOON)).unwrap())
}

async fn login_as(service: &Router, name: &str) -> LoginReply {
    let (status, reply) = post(service.clone(), "/login", &json!({"username": name, "password": PASSWORD})).await;
    assert_eq!(status, 200, "{reply}");
    serde_json::from_value(reply).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_login_gives_a_token_that_says_who_it_is() {
    let service = service();
    let login = login_as(&service, "viewer42").await;
    assert_eq!((login.user_id, login.expires_at), (42, NOON.as_secs() + 3600));
    let (status, reply) = post(service, "/verify", &json!({"token": login.token})).await;
    assert_eq!((status, reply), (200, json!({"user_id": 42, "expires_at": login.expires_at})));
}

#[tokio::test(start_paused = true)]
async fn a_token_ends_after_its_lifetime() {
    let service = service();
    let token = json!({"token": login_as(&service, "viewer1").await.token});
    tokio::time::advance(Duration::from_secs(3599)).await;
    assert_eq!(post(service.clone(), "/verify", &token).await.0, 200);
    tokio::time::advance(Duration::from_secs(1)).await;
    let (status, problem) = post(service, "/verify", &token).await;
    assert_eq!(status, 401);
    assert!(problem["detail"].as_str().unwrap().contains("expired"), "{problem}");
}

#[tokio::test]
async fn wrong_names_and_wrong_passwords_get_the_same_answer() {
    let mut answers = Vec::new();
    for (name, password) in [("viewer1", "peanuts"), ("nobody", PASSWORD)] {
        answers.push(post(service(), "/login", &json!({"username": name, "password": password})).await);
    }
    assert_eq!(answers[0].0, 401);
    assert_eq!(answers[0], answers[1]);
}

#[tokio::test]
async fn tokens_of_another_process_need_a_shared_key() {
    let shared = UserSettings { token_key: Some(TokenKey::new("k".repeat(32))), ..UserSettings::default() };
    let start = |settings: &UserSettings| router(UserState::new(settings, 7).unwrap());
    for (settings, expected) in [(UserSettings::default(), 401), (shared, 200)] {
        let token = login_as(&start(&settings), "viewer1").await.token;
        let (status, _) = post(start(&settings), "/verify", &json!({"token": token})).await;
        assert_eq!(status, expected);
    }
}

#[tokio::test]
async fn bad_bodies_are_refused_by_field() {
    let long = "x".repeat(129);
    for (path, body, field) in [
        ("/login", json!({"username": "viewer1"}), "password"),
        ("/login", json!({"username": "viewer1", "password": "x", "remember": true}), "remember"),
        ("/login", json!({"username": "", "password": "x"}), "username"),
        ("/login", json!({"username": "viewer1", "password": long}), "password"),
        ("/verify", json!({"token": 7}), "token"),
        ("/users/1/history", json!({"film_id": 0}), "film_id"),
        ("/users/1/history", json!({"film_id": films::count() + 1}), "film_id"),
        ("/users/1/history", json!({"film_id": "Nosferatu"}), "film_id"),
    ] {
        let (status, problem) = post(service(), path, &body).await;
        assert_eq!(status, 400, "{body}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains(field), "{body}: {problem}");
    }
    let (status, _) = post(service(), "/verify", &json!({"token": "x".repeat(5000)})).await;
    assert_eq!(status, 413);
}

#[tokio::test(start_paused = true)]
async fn what_was_watched_is_the_latest_entry_of_the_history() {
    let service = service();
    let before: Profile = get(service.clone(), "/users/7").await;
    tokio::time::advance(Duration::from_secs(90)).await;
    let (status, entry) = post(service.clone(), "/users/7/history", &json!({"film_id": 5})).await;
    assert_eq!((status, &entry), (201, &json!({"film_id": 5, "watched_at": NOON.as_secs() + 90})));
    let history: History = get(service.clone(), "/users/7/history?limit=2").await;
    assert_eq!(serde_json::to_value(history.items[0]).unwrap(), entry);
    assert_eq!((history.items.len(), history.total), (2, before.films_watched + 1));
    let after: Profile = get(service, "/users/7").await;
    assert_eq!(after, Profile { films_watched: before.films_watched + 1, ..before });
}

#[tokio::test]
async fn unknown_viewers_and_bad_limits_are_told_apart() {
    assert_eq!(problem(service(), "/users/201").await.0, 404);
    assert_eq!(problem(service(), "/users/201/history").await.0, 404);
    assert_eq!(post(service(), "/users/201/history", &json!({"film_id": 5})).await.0, 404);
    for path in ["/users/me", "/users/-1", "/users/7/history?limit=101", "/users/7/history?last=3"] {
        assert_eq!(problem(service(), path).await.0, 400, "{path}");
    }
}

#[test]
fn settings_out_of_range_are_refused_by_name() {
    let settings = |text: &str| toml::from_str::<UserSettings>(text).unwrap().validate();
    let refused = |text: &str| settings(text).unwrap_err();
    assert_eq!(settings(""), Ok(()));
    assert_eq!(refused("token-lifetime = \"0s\""), "user.token-lifetime = 0s: must be from 1s to 30days");
    assert_eq!(refused("token-key = \"secret\""), "user.token-key = 6 bytes: must be at least 32 bytes long");
}
