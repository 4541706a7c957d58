//! The whole site in one process, under a paused clock.

use std::collections::BTreeMap;

use axum::Router;
use axum::body::Body;
use breakerbox::app::{Application, Running};
use breakerbox::client::{Client, Context, Request as Call};
use breakerbox::faults::{FaultPlan, Faults};
use breakerbox::services::ServiceName;
use breakerbox::services::checkout::CheckoutState;
use breakerbox::services::inventory::InventoryState;
use breakerbox::services::payment_gateway::PaymentState;
use breakerbox::settings::Settings;
use breakerbox::store::OrderState;
use breakerbox_resilience::breaker::Snapshot;
use breakerbox_telemetry::{Metrics, TransitionLog};
use http::{HeaderMap, Request};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

/// A response whose body was read completely.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) json: Value,
}

/// The site.
pub(crate) struct World {
    pub(crate) gateway: Router,
    pub(crate) bare: Router,
    pub(crate) checkout: CheckoutState,
    pub(crate) inventory: InventoryState,
    pub(crate) payment: PaymentState,
    pub(crate) faults: Faults,
    pub(crate) metrics: Metrics,
    pub(crate) transitions: TransitionLog,
    clients: Vec<Client>,
    token: String,
    keys: std::cell::Cell<u32>,
    running: Running,
}

/// A runtime with a paused clock. Dropping it ends all its tasks at once, like killing a process.
pub(crate) fn mortal() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
}

impl World {
    /// A site without faults and with cards that are never declined, changed by these variables.
    pub(crate) async fn new(variables: &[(&str, &str)]) -> Self {
        let quiet = [
            ("BREAKERBOX_TRAFFIC__ENABLED", "false"),
            ("BREAKERBOX_SCENARIO__ENABLED", "false"),
            ("BREAKERBOX_STORE__URL", "sqlite::memory:"),
            ("BREAKERBOX_PAYMENT_GATEWAY__DECLINE_RATE", "0.0"),
            ("BREAKERBOX_FAULTS__PAYMENT_GATEWAY__ERROR_RATE", "0.0"),
            ("BREAKERBOX_FAULTS__ML_API__ERROR_RATE", "0.0"),
        ];
        let all: BTreeMap<_, _> = quiet.iter().chain(variables).copied().collect();
        let all = all.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned()));
        let settings = Settings::load(None, all).unwrap();
        let running = Application::in_process(&settings).unwrap().start();
        let parts = running.parts().clone();
        let site = parts.site;
        let mut world = Self {
            gateway: site.routers[&ServiceName::Gateway].clone(),
            bare: site.routers[&ServiceName::GatewayBare].clone(),
            checkout: site.checkout.unwrap(),
            inventory: site.inventory.unwrap(),
            payment: site.payment.unwrap(),
            faults: site.faults,
            metrics: parts.telemetry.metrics,
            transitions: parts.telemetry.transitions,
            clients: site.clients,
            token: String::new(),
            keys: std::cell::Cell::new(0),
            running,
        };
        world.token = world.log_in(7).await;
        world
    }

    pub(crate) async fn log_in(&self, viewer: u32) -> String {
        let body = json!({"username": format!("viewer{viewer}"), "password": "popcorn"});
        let request = Request::post("/api/login").header("content-type", "application/json");
        let answer = send(&self.gateway, request.body(Body::from(body.to_string())).unwrap()).await;
        answer.json["token"].as_str().unwrap().to_owned()
    }

    /// Sets a fault plan on a service.
    pub(crate) fn fault(&self, target: &str, plan: &str) {
        let plan: FaultPlan = serde_json::from_str(plan).unwrap();
        self.faults.set(target, plan).unwrap();
    }

    pub(crate) fn new_key(&self) -> String {
        self.keys.set(self.keys.get() + 1);
        // Worlds may share a database, and therefore its keys.
        format!("key-{:p}-{}", self, self.keys.get())
    }

    /// Places an order as viewer 7 with a fresh key.
    pub(crate) async fn order(&self, body: &Value) -> Answer {
        self.order_with(&self.new_key(), body).await
    }

    pub(crate) async fn order_with(&self, key: &str, body: &Value) -> Answer {
        self.order_at(&self.gateway, &self.token, key, body).await
    }

    pub(crate) async fn order_at(&self, door: &Router, token: &str, key: &str, body: &Value) -> Answer {
        let request = Request::post("/api/checkout")
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {token}"))
            .header("idempotency-key", key);
        send(door, request.body(Body::from(body.to_string())).unwrap()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        let request = Request::get(path).header("authorization", format!("Bearer {}", self.token));
        send(&self.gateway, request.body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn cancel(&self, order: &str) -> Answer {
        self.cancel_as(&self.token, order).await
    }

    pub(crate) async fn cancel_as(&self, token: &str, order: &str) -> Answer {
        let request =
            Request::delete(format!("/api/orders/{order}")).header("authorization", format!("Bearer {token}"));
        send(&self.gateway, request.body(Body::empty()).unwrap()).await
    }

    /// Waits until `reached` holds, for at most a minute.
    pub(crate) async fn until(&self, what: &str, mut reached: impl AsyncFnMut(&Self) -> bool) {
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_mins(1);
        while !reached(self).await {
            assert!(tokio::time::Instant::now() < deadline, "timed out: {what}");
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }

    pub(crate) async fn state_of(&self, order: &str) -> OrderState {
        self.checkout.store().order(order).await.unwrap().unwrap().state
    }

    /// Transitions of the payment breaker: from, to, reason.
    pub(crate) fn payment_transitions(&self) -> Vec<(&'static str, &'static str, &'static str)> {
        let latest = self.transitions.latest();
        let own = latest.iter().filter(|record| record.service == "checkout" && record.breaker == "payment-gateway");
        own.map(|record| (record.from.as_str(), record.to.as_str(), record.reason.as_str())).collect()
    }

    pub(crate) fn payment_client(&self) -> &Client {
        let own = |client: &&Client| (client.service(), client.dependency()) == ("checkout", "payment-gateway");
        self.clients.iter().find(own).unwrap()
    }

    /// The breaker in front of the payment gateway.
    pub(crate) fn payment_breaker(&self) -> Snapshot {
        self.payment_client().snapshot().unwrap()
    }

    /// Makes a charge as checkout does and returns whether it succeeded. There is no order, so no store is needed.
    pub(crate) async fn charge(&self) -> bool {
        let request = Call::post("/charges").header("idempotency-key", &self.new_key());
        let request = request.json(&json!({"user_id": 7, "amount_won": 1000}));
        self.payment_client().call(&Context::new(), request).await.is_ok()
    }

    /// The value of a series.
    pub(crate) fn series(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let families = self.metrics.gather();
        let family = families.iter().find(|family| family.name() == name).unwrap_or_else(|| panic!("no {name}"));
        let matches = |metric: &&prometheus::proto::Metric| {
            labels.iter().all(|(label, value)| {
                metric.get_label().iter().any(|pair| pair.name() == *label && pair.value() == *value)
            })
        };
        let found: Vec<_> = family.get_metric().iter().filter(matches).collect();
        assert!(!found.is_empty(), "{name} {labels:?}");
        found.iter().map(|m| m.get_counter().get_value() + m.get_gauge().get_value()).sum()
    }

    /// Checks that the three books agree: every charge that was not refunded belongs to a paid order of that amount, no
    /// key was charged twice, and seats are held for exactly the orders that may still need them.
    pub(crate) async fn books_agree(&self) {
        let orders = self.checkout.store();
        let (audit, ledger, stock) = (
            orders.audit().await.unwrap(),
            self.payment.ledger().audit().await.unwrap(),
            self.inventory.store().audit().await.unwrap(),
        );
        let paid = orders.in_state(OrderState::Paid).await.unwrap();
        let charged: Vec<_> = ledger.kept.iter().map(|(key, _)| key.clone()).collect();
        assert_eq!(charged, paid, "charged and paid");
        assert_eq!(ledger.kept.iter().map(|(_, won)| won).sum::<i64>(), audit.paid_amount);
        assert!(ledger.doubled.is_empty(), "{:?}", ledger.doubled);
        let mut holders = paid;
        holders.extend(orders.in_state(OrderState::Dead).await.unwrap());
        holders.sort();
        assert_eq!(stock.held, holders, "seats");
        assert_eq!(stock.taken, i64::try_from(holders.len()).unwrap());
        assert_eq!(audit.unfinished, 0);
        assert_eq!(orders.queue().await.unwrap().depth, 0);
    }

    /// Stops the worker gracefully.
    pub(crate) async fn stop(self) {
        self.running.stop().await;
    }
}

async fn send(router: &Router, request: Request<Body>) -> Answer {
    let response = router.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let json = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    Answer { status: parts.status.as_u16(), headers: parts.headers, json }
}
