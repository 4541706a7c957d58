//! payment-gateway: the external party that charges cards and keeps its own ledger.
//!
//! `POST /charges` with an `Idempotency-Key`, `POST /charges/{key}/void`, `GET /charges/{key}`, `GET /ledger`. It
//! honours keys: the same key charges once, and a voided key never again, so that a caller that lost an answer can
//! retry or cancel without a double charge or a charge for nothing. A setting turns that off, to show what happens
//! without it.
//!
//! Plain errors are injected outside this module, in three of ten requests by default. The faults that an edge can't
//! inject are implemented here: charging and losing the answer, answering late, handling a request twice. All of them
//! are part of its fault plan and can be changed at run time.

use std::sync::Arc;

use axum::extract::{ConnectInfo, Path, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};

use super::Host;
use super::inventory::away;
use crate::faults::{Connection, Severed, TargetFaults};
use crate::store::{Charged, DatabaseUrl, LedgerStore, NewCharge, StoreSettings, Voided, check_url};
use crate::web::problem::{Body, Problem};
use breakerbox_resilience::SettingsError;
use breakerbox_telemetry::{LedgerEntry, LedgerTelemetry};

/// Methods and routes whose series exist before the first request.
pub const ROUTES: &[(&str, &str)] = &[("POST", "/charges"), ("POST", "/charges/{key}/void")];

/// Maximum length of a key, in bytes.
const LONGEST_KEY: usize = 128;
/// Largest accepted amount, in won.
const LARGEST_AMOUNT: i64 = 10_000_000;

/// Settings of payment-gateway.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct PaymentSettings {
    /// Its database URL, never shared with another service; if empty, the one in `store`.
    pub url: DatabaseUrl,
    /// Whether the same key charges once. If off, every request charges.
    pub honour_idempotency_keys: bool,
    /// Share of cards that are declined (0–1), determined by the key, so that a retry gets the same result.
    pub decline_rate: f64,
}

impl Default for PaymentSettings {
    fn default() -> Self {
        Self { url: DatabaseUrl::default(), honour_idempotency_keys: true, decline_rate: 0.02 }
    }
}

impl PaymentSettings {
    /// Validates the settings; an error names the field and its allowed values.
    pub fn validate(&self) -> Result<(), String> {
        check_url("payment-gateway.url", &self.url)?;
        if !(0.0..=1.0).contains(&self.decline_rate) {
            let field = "payment-gateway.decline-rate";
            return Err(SettingsError::new(field, self.decline_rate, "from 0 to 1").to_string());
        }
        Ok(())
    }
}

/// State of payment-gateway. Cheap to clone.
#[derive(Clone)]
pub struct PaymentState {
    inner: Arc<Inner>,
}

struct Inner {
    store: LedgerStore,
    settings: PaymentSettings,
    telemetry: LedgerTelemetry,
    /// Faults that the service applies itself, after its work is done; `None` where faults are off.
    faults: Option<TargetFaults>,
}

impl PaymentState {
    /// A payment gateway over the configured database.
    pub fn new(
        settings: &PaymentSettings,
        store: &StoreSettings,
        telemetry: LedgerTelemetry,
        faults: Option<TargetFaults>,
        host: &Host,
    ) -> Result<Self, String> {
        settings.validate()?;
        let url = store.locate("payment-gateway", &settings.url)?;
        let store = LedgerStore::new(&url, store, host.virtual_time)
            .map_err(|error| format!("payment-gateway.url: {error}"))?;
        let faults = faults.map(TargetFaults::carried_out_by_the_service);
        Ok(Self { inner: Arc::new(Inner { store, settings: settings.clone(), telemetry, faults }) })
    }

    /// Its ledger, for comparison with the orders.
    #[must_use]
    pub fn ledger(&self) -> &LedgerStore {
        &self.inner.store
    }

    async fn book(&self, key: &str, request: &ChargeRequest) -> Result<Response, Problem> {
        let Inner { store, settings, telemetry, .. } = &*self.inner;
        let id = format!("ch_{:032x}", rand::random::<u128>());
        let declined = chance(key) < settings.decline_rate;
        let new = NewCharge { key, id: &id, user_id: request.user_id, amount: request.amount_won, declined };
        let now = store.now().await.map_err(|error| away(&error))?;
        let charged = if settings.honour_idempotency_keys || declined {
            store.charge(new, now).await
        } else {
            store.charge_again(new, now).await
        };
        let paid = |charge_id| Charge { charge_id, amount_won: request.amount_won };
        match charged.map_err(|error| away(&error))? {
            Charged::Taken(id) => {
                telemetry.entry(LedgerEntry::Charged);
                Ok((StatusCode::CREATED, Json(paid(id))).into_response())
            }
            Charged::Before(id) => {
                telemetry.entry(LedgerEntry::Replayed);
                Ok(Json(paid(id)).into_response())
            }
            Charged::Declined => {
                telemetry.entry(LedgerEntry::Declined);
                Err(Problem::new(StatusCode::PAYMENT_REQUIRED, "the card was declined"))
            }
            Charged::Mismatch(before) => {
                telemetry.entry(LedgerEntry::Refused);
                let detail = format!("this key was used for another amount before: {before} won");
                Err(Problem::unprocessable(detail))
            }
            Charged::Voided => {
                telemetry.entry(LedgerEntry::Refused);
                Err(Problem::conflict("this key was voided"))
            }
        }
    }
}

/// A number from 0 to 1 that depends only on the key (FNV-1a).
fn chance(key: &str) -> f64 {
    let hash = key
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    (hash >> 11) as f64 / (1_u64 << 53) as f64
}

/// The service.
pub fn router(state: PaymentState) -> Router {
    Router::new()
        .route("/charges", post(charge))
        .route("/charges/{key}/void", post(void))
        .layer(middleware::from_fn_with_state(state.clone(), answer_badly))
        .route("/charges/{key}", get(find))
        .route("/ledger", get(ledger))
        .with_state(state)
}

/// Loses or delays answers after the work was done.
async fn answer_badly(State(state): State<PaymentState>, request: Request, next: Next) -> Response {
    let drawn = state.inner.faults.as_ref().map(TargetFaults::draw_answer).unwrap_or_default();
    let connection = request.extensions().get::<ConnectInfo<Connection>>().cloned();
    let mut response = next.run(request).await;
    if let Some(late_by) = drawn.late {
        tokio::time::sleep(late_by).await;
    }
    if drawn.lost {
        if let Some(ConnectInfo(connection)) = connection {
            connection.sever();
        }
        response = StatusCode::BAD_GATEWAY.into_response();
        response.extensions_mut().insert(Severed::Reset);
    }
    response
}

/// A charge to make.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChargeRequest {
    /// The viewer.
    pub user_id: u32,
    /// The amount, in won.
    pub amount_won: i64,
}

/// A charge that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge {
    /// Its id.
    pub charge_id: String,
    /// The amount, in won.
    pub amount_won: i64,
}

/// Result of a void.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Void {
    /// Whether a charge was refunded.
    pub refunded: bool,
}

async fn charge(
    State(state): State<PaymentState>,
    headers: HeaderMap,
    Body(request): Body<ChargeRequest>,
) -> Result<Response, Problem> {
    let key = headers.get("idempotency-key").and_then(|value| value.to_str().ok()).unwrap_or_default();
    if key.is_empty() || key.len() > LONGEST_KEY {
        return Err(Problem::bad_request("Idempotency-Key", format!("must have 1 to {LONGEST_KEY} bytes")));
    }
    if !(1..=LARGEST_AMOUNT).contains(&request.amount_won) {
        return Err(Problem::bad_request("amount_won", format!("must be from 1 to {LARGEST_AMOUNT}")));
    }
    let answer = state.book(key, &request).await;
    if state.inner.faults.as_ref().is_some_and(TargetFaults::draw_twice) {
        if !state.inner.settings.honour_idempotency_keys {
            state.inner.telemetry.entry(LedgerEntry::ChargedAgain);
        }
        return state.book(key, &request).await;
    }
    answer
}

async fn void(State(state): State<PaymentState>, Path(key): Path<String>) -> Result<Json<Void>, Problem> {
    let Inner { store, telemetry, .. } = &*state.inner;
    let now = store.now().await.map_err(|error| away(&error))?;
    let refunded = match store.void(&key, now).await.map_err(|error| away(&error))? {
        Voided::Refunded => true,
        Voided::Nothing => false,
    };
    telemetry.entry(if refunded { LedgerEntry::Refunded } else { LedgerEntry::Voided });
    Ok(Json(Void { refunded }))
}

async fn find(State(state): State<PaymentState>, Path(key): Path<String>) -> Result<Json<serde_json::Value>, Problem> {
    let found = state.inner.store.find(&key).await.map_err(|error| away(&error))?;
    let (state, charge_id) = found.ok_or_else(|| Problem::not_found("no charge with this key"))?;
    Ok(Json(serde_json::json!({"state": state, "charge_id": charge_id})))
}

/// Totals of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// Keys charged and not refunded.
    pub charges: usize,
    /// Their total, in won.
    pub amount_won: i64,
    /// Keys charged more than once.
    pub charged_twice: usize,
    /// Charges refunded.
    pub refunds: i64,
}

async fn ledger(State(state): State<PaymentState>) -> Result<Json<Ledger>, Problem> {
    let audit = state.inner.store.audit().await.map_err(|error| away(&error))?;
    Ok(Json(Ledger {
        charges: audit.kept.len(),
        amount_won: audit.kept.iter().map(|(_, amount)| amount).sum(),
        charged_twice: audit.doubled.len(),
        refunds: audit.refunded,
    }))
}
