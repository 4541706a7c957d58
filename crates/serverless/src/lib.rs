//! Checkout as functions: API gateway → Lambda → breaker state in `DynamoDB`, PostgreSQL or SQLite → payment
//! gateway, with retries on SQS or in a Step Functions state machine.
//!
//! | module | what it is |
//! |---|---|
//! | [`breaker`] | the circuit breaker as a pure function of one stored item |
//! | [`order`] | orders and their states |
//! | [`store`] | shared state: orders, idempotency keys, stock, the breaker's item; conditional writes only |
//! | [`dynamo`] | that store in one `DynamoDB` table |
//! | [`sql`] | that store in PostgreSQL or an SQLite file |
//! | [`any`] | the store that is selected by a setting |
//! | [`payment`] | client of the payment gateway |
//! | [`queue`] | the retry queue on SQS |
//! | [`stateless`] | a breaker without stored state, which queries Prometheus |
//! | [`checkout`] | the saga: reserve, get a permit from the breaker, charge, settle |
//! | [`steps`] | the same steps, one at a time, for Step Functions |
//! | [`settings`] | settings of all of these, from environment variables |
//!
//! # Guarantees across instances
//!
//! An instance may be frozen or killed between any two statements, and many run at once. So:
//!
//! - **The intent is durable before the side effect.** An order is stored as `charging` before the gateway is called.
//! - **Every charge carries the order's id as its idempotency key**, so that repeating it is safe.
//! - **Unknown is not declined.** A timeout, a 5xx or a broken connection leaves the order `queued`;
//!   it is cancelled only if the gateway answers that nothing was charged and no earlier attempt is in doubt.
//! - **Every write is conditional** on the version that it was based on; if it fails, the item is read again.
#![forbid(unsafe_code)]

pub mod any;
pub mod breaker;
pub mod checkout;
pub mod dynamo;
pub mod order;
pub mod payment;
pub mod queue;
pub mod settings;
pub mod sql;
pub mod stateless;
pub mod steps;
pub mod store;

/// Message to customers while payments are blocked or in doubt.
pub const NOTICE: &str = "현재 결제 서비스에 일시적인 오류가 발생했습니다. 나중에 다시 시도해 주세요.";
