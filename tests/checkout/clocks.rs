//! Instances with clock skew.

use std::time::Duration;

use breakerbox::services::checkout::{OrderAnswer, OrderOutcome};
use futures_util::future::join_all;
use serde_json::json;

use crate::postgres::{Postgres, free_port};
use crate::site::{Role, Site, client, ports, until};

const SERVICES: &[&str] = &["user", "inventory", "payment-gateway", "notification"];

/// Value of a series of this instance.
async fn series(client: &reqwest::Client, admin: u16, line: &str) -> Option<f64> {
    let text = client.get(format!("http://127.0.0.1:{admin}/metrics")).send().await.ok()?.text().await.ok()?;
    text.lines().find_map(|found| found.strip_prefix(line)?.trim().parse().ok())
}

/// One instance's clock is 20 s ahead, which is more than a lease, and another's is an hour behind. Each instance pays
/// its own orders, none takes over an order of another as abandoned, and each reports its clock error.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_whose_clocks_are_apart_pay_their_own_orders() {
    let Some(postgres) = Postgres::start("clocks") else { return };
    let (_, services) = ports(SERVICES);
    let settings = format!(
        r#"
        [telemetry]
        log-filter = "warn"
        [store]
        url = "{}"
        [payment-gateway]
        url = "{}"
        decline-rate = 0.0
        [faults.payment-gateway]
        error-rate = 0.0
        late-answer-rate = 1.0
        late-by = "700ms"
        {services}"#,
        postgres.url("shop"),
        postgres.url("ledger"),
    );
    let site = Site::new("clocks", &settings);
    let with = |admin: u16| vec![("BREAKERBOX_ADMIN__LISTEN".to_owned(), format!("127.0.0.1:{admin}"))];
    site.start(Role { name: "others", services: SERVICES, variables: with(0), ..Role::default() });
    let mut instances = Vec::new();
    for (name, wrong_by) in [("right", 0_i32), ("ahead", 20), ("behind", -3600)] {
        let (admin, port) = (free_port(), free_port());
        let mut variables = with(admin);
        variables.push(("BREAKERBOX_SERVICES__CHECKOUT__PORT".to_owned(), port.to_string()));
        let flags = vec!["--clock-wrong-by".to_owned(), wrong_by.to_string()];
        site.start(Role { name, services: &["checkout"], flags, variables, ..Role::default() });
        instances.push((port, admin, f64::from(wrong_by)));
    }
    let client = client(Duration::from_secs(15));
    let order = async |port: u16, key: String| {
        let body = json!({"user_id": 7, "film_id": 3, "kind": "rent", "retry_later": false});
        let url = format!("http://127.0.0.1:{port}/orders");
        let answer = client.post(url).header("idempotency-key", key).json(&body).send().await.ok()?;
        answer.json::<OrderAnswer>().await.ok()
    };
    for (port, ..) in &instances {
        until("it pays", Duration::from_secs(60), async || {
            order(*port, format!("first-{port}-{}", rand::random::<u32>())).await.is_some()
        })
        .await;
    }
    let all = instances.iter().flat_map(|(port, ..)| (0..8).map(move |n| (*port, format!("{port}-{n}"))));
    let answers = join_all(all.map(|(port, key)| order(port, key))).await;
    for answer in answers {
        let answer = answer.expect("an answer, not a conflict with another worker");
        assert_eq!(answer.outcome, OrderOutcome::Paid, "{answer:?}");
    }
    for (_, admin, wrong_by) in instances {
        let ahead = series(&client, admin, r#"store_clock_ahead_seconds{service="checkout"}"#).await.unwrap();
        assert!((ahead - wrong_by).abs() < 1.0, "{ahead} instead of {wrong_by}");
    }
}
