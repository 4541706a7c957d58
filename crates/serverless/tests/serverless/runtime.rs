//! Simulates AWS: the Lambda Runtime API of each function instance, and a payment gateway.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// An instance of a function: its process, and its Runtime API.
pub(crate) struct Instance {
    process: Child,
    events: mpsc::Sender<Event>,
}

/// An event for the function, and the receiver of its answer.
type Event = (Value, oneshot::Sender<Value>);
type Waiting = Arc<Mutex<BTreeMap<String, oneshot::Sender<Value>>>>;

#[derive(Clone)]
struct Api {
    events: Arc<tokio::sync::Mutex<mpsc::Receiver<Event>>>,
    waiting: Waiting,
}

/// Serves a router on a free loopback port.
pub(crate) async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    address
}

impl Instance {
    /// Starts `program` with these variables.
    pub(crate) async fn start(program: &str, variables: &[(String, String)]) -> Self {
        let (events, receiver) = mpsc::channel(1);
        let api = Api { events: Arc::new(tokio::sync::Mutex::new(receiver)), waiting: Waiting::default() };
        let router = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/response", post(answered))
            .route("/2018-06-01/runtime/invocation/{id}/error", post(answered))
            .route("/2018-06-01/runtime/init/error", post(|| async { StatusCode::ACCEPTED }))
            .with_state(api);
        let address = serve(router).await;
        let process = Command::new(program)
            .env_clear()
            .envs(variables.iter().cloned())
            .env("AWS_LAMBDA_RUNTIME_API", address.to_string())
            .env("AWS_LAMBDA_FUNCTION_NAME", "checkout")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "1")
            .env("AWS_LAMBDA_LOG_GROUP_NAME", "checkout")
            .env("AWS_LAMBDA_LOG_STREAM_NAME", "checkout")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { process, events }
    }

    /// Passes an event to the function; `None` if it dies before it answers.
    pub(crate) async fn invoke(&self, event: Value) -> Option<Value> {
        let (sender, receiver) = oneshot::channel();
        self.events.send((event, sender)).await.ok()?;
        timeout(Duration::from_secs(30), receiver).await.ok()?.ok()
    }

    /// Freezes the process, as AWS does between two events.
    pub(crate) fn freeze(&self) {
        self.signal("-STOP");
    }

    /// Ends a freeze.
    pub(crate) fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        assert!(Command::new("kill").args([signal, &self.process.id().to_string()]).status().unwrap().success());
    }

    /// Kills the process.
    pub(crate) fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn next(State(api): State<Api>) -> Response {
    let Some((event, sender)) = api.events.lock().await.recv().await else {
        return StatusCode::GONE.into_response();
    };
    let id = format!("{:032x}", std::ptr::from_ref(&sender).addr() ^ usize::try_from(unix_millis()).unwrap());
    api.waiting.lock().unwrap().insert(id.clone(), sender);
    let headers = [
        ("lambda-runtime-aws-request-id", id),
        ("lambda-runtime-deadline-ms", (unix_millis() + 20_000).to_string()),
        ("lambda-runtime-invoked-function-arn", "arn:aws:lambda:eu-west-1:1:function:checkout".to_owned()),
        ("content-type", "application/json".to_owned()),
    ];
    (headers, event.to_string()).into_response()
}

async fn answered(State(api): State<Api>, Path(id): Path<String>, body: String) -> StatusCode {
    if let Some(sender) = api.waiting.lock().unwrap().remove(&id) {
        let _ = sender.send(serde_json::from_str(&body).unwrap_or(Value::Null));
    }
    StatusCode::ACCEPTED
}

fn unix_millis() -> u64 {
    breakerbox_serverless::checkout::unix_millis()
}

/// Behaviour of the payment gateway for a charge.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Treatment {
    Charge,
    /// 503, nothing charged.
    Fail,
    /// Charged, and answered 500.
    LoseAnswer,
    /// 402, nothing charged.
    Decline,
    /// Charged, and never answered.
    Hang,
}

/// Ledger of the gateway.
#[derive(Default)]
pub(crate) struct Books {
    /// Behaviour for the next calls; after them, `otherwise`.
    pub(crate) next: VecDeque<Treatment>,
    pub(crate) otherwise: Option<Treatment>,
    /// Won charged and not voided, by order.
    pub(crate) charged: BTreeMap<String, i64>,
    pub(crate) calls: u32,
    pub(crate) voids: u32,
}

#[derive(Clone, Default)]
pub(crate) struct Gateway(pub(crate) Arc<Mutex<Books>>);

impl Gateway {
    pub(crate) async fn start(&self) -> SocketAddr {
        let router =
            Router::new().route("/charges", post(charge)).route("/charges/{id}", delete(void)).with_state(self.clone());
        serve(router).await
    }

    pub(crate) fn will(&self, next: &[Treatment]) {
        self.0.lock().unwrap().next.extend(next);
    }

    pub(crate) fn otherwise(&self, treatment: Treatment) {
        self.0.lock().unwrap().otherwise = Some(treatment);
    }

    pub(crate) fn calls(&self) -> u32 {
        self.0.lock().unwrap().calls
    }

    pub(crate) fn charged(&self, order: &str) -> Option<i64> {
        self.0.lock().unwrap().charged.get(order).copied()
    }

    fn take(&self, key: &str, amount: i64) -> Treatment {
        let mut books = self.0.lock().unwrap();
        books.calls += 1;
        let treatment = books.next.pop_front().or(books.otherwise).unwrap_or(Treatment::Charge);
        if matches!(treatment, Treatment::Charge | Treatment::LoseAnswer | Treatment::Hang) {
            // A repeated key is not charged again.
            books.charged.entry(key.to_owned()).or_insert(amount);
        }
        treatment
    }
}

async fn charge(State(gateway): State<Gateway>, headers: HeaderMap, body: String) -> (StatusCode, String) {
    let key = headers["idempotency-key"].to_str().unwrap().to_owned();
    let amount = serde_json::from_str::<Value>(&body).unwrap()["amount"].as_i64().unwrap();
    let status = match gateway.take(&key, amount) {
        Treatment::Charge => StatusCode::OK,
        Treatment::Fail => StatusCode::SERVICE_UNAVAILABLE,
        Treatment::LoseAnswer => StatusCode::INTERNAL_SERVER_ERROR,
        Treatment::Decline => StatusCode::PAYMENT_REQUIRED,
        Treatment::Hang => std::future::pending().await,
    };
    (status, json!({"order": key}).to_string())
}

async fn void(State(gateway): State<Gateway>, Path(id): Path<String>) -> StatusCode {
    let mut books = gateway.0.lock().unwrap();
    books.voids += 1;
    if books.charged.remove(&id).is_some() { StatusCode::OK } else { StatusCode::NOT_FOUND }
}
