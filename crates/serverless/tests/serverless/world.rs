//! One store, two queues, a payment gateway and functions.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use aws_config::SdkConfig;
use breakerbox_serverless::any::AnyStore;
use breakerbox_serverless::breaker::{Record, State};
use breakerbox_serverless::checkout::BREAKER;
use breakerbox_serverless::order::{Order, Status};
use breakerbox_serverless::store::Store;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::database::{Backend, Database};
use crate::runtime::{Gateway, Instance};

pub(crate) const DEADLINE: Duration = Duration::from_secs(45);

/// Path of a program, from `deploy/serverless/emulators --tools`. `None`, with a message, if it cannot be installed; in
/// CI that is a failure.
pub(crate) fn tool(name: &str) -> Option<String> {
    static FOUND: OnceLock<(String, String)> = OnceLock::new();
    if let Ok(given) = std::env::var(name) {
        return Some(given);
    }
    let (found, complaints) = FOUND.get_or_init(|| {
        let output = Command::new(root().join("deploy/serverless/emulators")).arg("--tools").output().unwrap();
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        (text(&output.stdout), text(&output.stderr))
    });
    let path = found.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).map(str::to_owned);
    if path.is_none() {
        assert!(std::env::var_os("CI").is_none(), "{name} is missing:\n{complaints}");
        let _ =
            writeln!(std::io::stderr(), "SKIPPED: {name} is missing, so nothing was checked with it:\n{complaints}");
    }
    path
}

pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Process and address of the emulator, which all tests share.
static EMULATOR: Mutex<Option<(Child, String)>> = Mutex::new(None);

/// Address of the emulator. It is started once for all tests, and ends by itself after them.
async fn emulator() -> Option<String> {
    let program = tool("MOTO_SERVER")?;
    let (address, fresh) = {
        let mut present = EMULATOR.lock().unwrap();
        if let Some((_, address)) = present.as_ref() {
            (address.clone(), false)
        } else {
            let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            // It ends when its input is closed, which happens at the end of this process in any case.
            let child = Command::new("sh")
                .args(["-c", r#""$@" & cat >/dev/null; kill $!"#, "sh"])
                .args([&program, "--host", "127.0.0.1", "--port", &port.to_string()])
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let address = format!("http://127.0.0.1:{port}");
            *present = Some((child, address.clone()));
            (address, true)
        }
    };
    let since = Instant::now();
    while reqwest::get(format!("{address}/moto-api/data.json")).await.is_err() {
        assert!(since.elapsed() < DEADLINE, "the emulator does not answer");
        sleep(Duration::from_millis(100)).await;
    }
    if fresh {
        tracing::debug!(address, "emulator started");
    }
    Some(address)
}

/// Configuration of the AWS clients for the emulator.
pub(crate) async fn emulated() -> Option<SdkConfig> {
    let credentials = aws_sdk_dynamodb::config::Credentials::new("test", "test", None, None, "test");
    let loader = aws_config::defaults(aws_config::BehaviorVersion::latest())
        .endpoint_url(emulator().await?)
        .region(aws_config::Region::new("eu-west-1"))
        .credentials_provider(credentials);
    Some(loader.load().await)
}

/// A unique name.
pub(crate) fn unique() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("checkout-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed))
}

pub(crate) struct World {
    pub(crate) store: AnyStore,
    pub(crate) database: Database,
    pub(crate) gateway: Gateway,
    pub(crate) variables: Vec<(String, String)>,
    sqs: aws_sdk_sqs::Client,
    queue: String,
    dead_letters: String,
}

impl World {
    /// Creates a separate database and queues, with ten items of one title. `extra` overrides the functions' variables.
    pub(crate) async fn new(backend: Backend, extra: &[(&str, &str)]) -> Option<Self> {
        let config = emulated().await?;
        let database = Database::new(backend).await?;
        let name = unique();
        let sqs = aws_sdk_sqs::Client::new(&config);
        let queue = sqs.create_queue().queue_name(&name).send().await.unwrap().queue_url.unwrap();
        let dead = sqs.create_queue().queue_name(format!("{name}-dead")).send().await.unwrap().queue_url.unwrap();
        let gateway = Gateway::default();
        let address = gateway.start().await;
        // As in the template.
        let (variable, store_address) = match backend {
            Backend::DynamoDb => ("TABLE", database.name()),
            Backend::Postgres | Backend::Sqlite => ("STORE", database.address()),
        };
        let mut variables: Vec<(String, String)> = [
            (variable, store_address.as_str()),
            ("QUEUE_URL", &queue),
            ("DEAD_LETTERS_URL", &dead),
            ("PAYMENT_URL", &format!("http://{address}")),
            ("PAYMENT_TIMEOUT_MILLIS", "1500"),
            ("LEASE_MILLIS", "2000"),
            ("FIRST_DELAY_MILLIS", "100"),
            ("AWS_ENDPOINT_URL", config.endpoint_url().unwrap()),
            ("AWS_REGION", "eu-west-1"),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        variables.retain(|(name, _)| extra.iter().all(|(other, _)| other != name));
        variables.extend(extra.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let store = database.store();
        store.stock("parasite", 10).await.unwrap();
        Some(Self { store, database, gateway, variables, sqs, queue, dead_letters: dead })
    }

    pub(crate) async fn api(&self) -> Instance {
        Instance::start(env!("CARGO_BIN_EXE_checkout-api"), &self.variables).await
    }

    pub(crate) async fn worker(&self) -> Instance {
        Instance::start(env!("CARGO_BIN_EXE_checkout-worker"), &self.variables).await
    }

    pub(crate) async fn breaker(&self) -> Record {
        self.store.breaker(BREAKER).await.unwrap()
    }

    pub(crate) async fn state(&self) -> State {
        self.breaker().await.state
    }

    pub(crate) async fn order(&self, key: &str) -> Order {
        self.store.order(key).await.unwrap().unwrap_or_else(|| panic!("no order {key}"))
    }

    /// Passes the queue's messages to a worker, as Lambda's event source does, until `done`.
    pub(crate) async fn work_until(&self, worker: &Instance, done: impl AsyncFn(&Self) -> bool) {
        let since = Instant::now();
        while !done(self).await {
            assert!(since.elapsed() < DEADLINE, "the queue did not get there in {DEADLINE:?}");
            let received = self.sqs.receive_message().queue_url(&self.queue).max_number_of_messages(10);
            let messages = received.visibility_timeout(2).send().await.unwrap().messages.unwrap_or_default();
            if messages.is_empty() {
                sleep(Duration::from_millis(100)).await;
                continue;
            }
            let records: Vec<_> = messages
                .iter()
                .map(|message| json!({"messageId": message.message_id(), "body": message.body(), "eventSource": "aws:sqs"}))
                .collect();
            let answer = worker.invoke(json!({"Records": records})).await.unwrap_or(Value::Null);
            let failed: Vec<_> = answer["batchItemFailures"].as_array().cloned().unwrap_or_default();
            for message in &messages {
                let failed = failed.iter().any(|item| item["itemIdentifier"].as_str() == message.message_id());
                if !failed && answer.is_object() {
                    let receipt = message.receipt_handle().unwrap();
                    self.sqs.delete_message().queue_url(&self.queue).receipt_handle(receipt).send().await.unwrap();
                }
            }
        }
    }

    /// Asserts that nothing was reserved, charged or counted.
    pub(crate) async fn store_is_untouched(&self) {
        assert_eq!(self.store.left("parasite").await.unwrap(), Some(10));
        assert_eq!((self.gateway.calls(), self.breaker().await.version), (0, 0));
    }

    pub(crate) async fn is(&self, key: &str, status: Status) -> bool {
        self.store.order(key).await.unwrap().is_some_and(|order| order.status == status)
    }

    pub(crate) async fn dead_letters(&self) -> usize {
        let received = self.sqs.receive_message().queue_url(&self.dead_letters).send().await.unwrap();
        received.messages.unwrap_or_default().len()
    }

    /// Asserts that charges minus voids equal the price of the paid orders.
    pub(crate) async fn books_agree(&self, keys: &[String]) {
        let mut paid = 0;
        for key in keys {
            let order = self.order(key).await;
            let charged = self.gateway.charged(key).unwrap_or(0);
            match order.status {
                Status::Paid => {
                    assert_eq!(charged, order.amount, "{order:?}");
                    paid += 1;
                }
                Status::Cancelled => assert_eq!(charged, 0, "{order:?}"),
                other => panic!("{key} is {other:?}"),
            }
        }
        assert_eq!(self.store.left("parasite").await.unwrap(), Some(10 - paid), "stock");
    }
}

/// An API gateway event, payload format 2.0.
pub(crate) fn request(method: &str, path: &str, key: &str, body: &Value) -> Value {
    json!({
        "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": "",
        "headers": {"content-type": "application/json", "idempotency-key": key, "host": "checkout"},
        "requestContext": {
            "accountId": "1", "apiId": "a", "domainName": "checkout", "domainPrefix": "checkout",
            "http": {"method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1", "userAgent": "test"},
            "requestId": "r", "routeKey": "$default", "stage": "$default",
            "time": "21/Nov/2026:00:00:00 +0000", "timeEpoch": 0
        },
        "body": body.to_string(), "isBase64Encoded": false
    })
}

/// Places an order through the function, and returns status and body.
pub(crate) async fn place(api: &Instance, key: &str) -> (u64, Value) {
    let order = json!({"title": "parasite", "amount": 3_500});
    let answer = api.invoke(request("POST", "/orders", key, &order)).await.expect("an answer");
    let body = answer["body"].as_str().and_then(|text| serde_json::from_str(text).ok()).unwrap_or(Value::Null);
    (answer["statusCode"].as_u64().unwrap_or_default(), body)
}
