//! `GET /live`: changes for an open storefront, as server-sent events.
//!
//! `status` is the list of breakers, sent when one changes its state, and `orders` are the viewer's orders, sent when
//! one of them changes; the page does not poll. Only orders in progress are watched, because a final order does not
//! change: a page that places another order opens a new stream. The viewer is identified by the request's token, which
//! the gateway's own route verifies.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Request, header};
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::json_of;
use super::storefront::{BreakerStatus, Storefront, statuses};
use crate::web::problem::Problem;

/// Polling interval of breakers and of orders in progress.
const TICK: Duration = Duration::from_secs(1);
/// Maximum number of concurrent streams.
const LISTENERS: usize = 256;
/// Tolerance between a wait and the one sent before, in seconds: both are rounded.
const ROUNDING: u64 = 2;
/// Maximum size of a list of orders, in bytes.
const LARGEST: usize = 1 << 20;
/// States of orders in progress.
const UNDER_WAY: [&str; 4] = ["pending", "charging", "queued", "cancelling"];

#[derive(Clone)]
struct Streams {
    storefront: Arc<Storefront>,
    places: Arc<Semaphore>,
}

/// The route for a storefront.
pub(super) fn routes(storefront: Storefront) -> Router {
    let streams = Streams { storefront: Arc::new(storefront), places: Arc::new(Semaphore::new(LISTENERS)) };
    Router::new().route("/live", get(live)).with_state(streams)
}

/// An open page.
struct Listener {
    storefront: Arc<Storefront>,
    viewer: Option<HeaderValue>,
    ticks: Interval,
    breakers: Option<(Instant, Vec<BreakerStatus>)>,
    orders: Value,
    /// Whether orders are watched.
    watching: bool,
    _place: OwnedSemaphorePermit,
}

async fn live(State(streams): State<Streams>, headers: HeaderMap) -> Response {
    let Ok(place) = Arc::clone(&streams.places).try_acquire_owned() else {
        return Problem::unavailable(format!("{LISTENERS} streams are open already"), Some(TICK)).into_response();
    };
    let viewer = headers.get(header::AUTHORIZATION).cloned();
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let listener = Listener {
        storefront: streams.storefront,
        watching: viewer.is_some(),
        viewer,
        ticks,
        breakers: None,
        orders: Value::Null,
        _place: place,
    };
    let events = stream::unfold(listener, |mut listener| async {
        let event = listener.next().await?;
        Some((Ok::<_, Infallible>(event), listener))
    });
    ([(header::CACHE_CONTROL, "no-store")], Sse::new(events).keep_alive(KeepAlive::default())).into_response()
}

impl Listener {
    /// The next change; `None` when the process ends.
    async fn next(&mut self) -> Option<Event> {
        loop {
            self.ticks.tick().await;
            if self.storefront.tasks.is_closed() {
                return None;
            }
            let breakers = statuses(&self.storefront);
            if !self.breakers.as_ref().is_some_and(|(told, before)| same(before, told.elapsed(), &breakers)) {
                let event = Event::default().event("status").json_data(&breakers).ok();
                self.breakers = Some((Instant::now(), breakers));
                return event;
            }
            if self.watching
                && let Some(orders) = self.asked().await
            {
                let items = orders["items"].as_array();
                self.watching = items.into_iter().flatten().any(under_way);
                if orders != self.orders {
                    self.orders = orders;
                    return Event::default().event("orders").json_data(&self.orders).ok();
                }
            }
        }
    }

    /// The viewer's orders according to the gateway; `None` if it is unavailable.
    async fn asked(&self) -> Option<Value> {
        let request = Request::get("/api/orders").header(header::AUTHORIZATION, self.viewer.as_ref()?);
        json_of(&self.storefront.api, request, LARGEST).await
    }
}

/// Whether there is no change: no breaker changed its state, and none waits longer than was sent before, which happens
/// if a probe failed between two polls.
fn same(before: &[BreakerStatus], elapsed: Duration, now: &[BreakerStatus]) -> bool {
    let as_told = |(before, now): (&BreakerStatus, &BreakerStatus)| {
        let left = before.retry_after_seconds.saturating_sub(elapsed.as_secs());
        before.state == now.state && now.retry_after_seconds <= left + ROUNDING
    };
    before.len() == now.len() && before.iter().zip(now).all(as_told)
}

fn under_way(order: &Value) -> bool {
    order["state"].as_str().is_some_and(|state| UNDER_WAY.contains(&state))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::body::Body;
    use futures_util::StreamExt;
    use serde_json::json;
    use tokio_util::task::TaskTracker;
    use tower::ServiceExt;

    use super::*;
    use crate::pages::Side;

    /// A storefront whose viewer has an order that is paid at the third request.
    fn storefront(tasks: TaskTracker) -> Storefront {
        let asked = Arc::new(AtomicUsize::new(0));
        let orders = move |headers: HeaderMap| async move {
            let state = if asked.fetch_add(1, Ordering::Relaxed) < 2 { "queued" } else { "paid" };
            let viewer = headers[header::AUTHORIZATION].to_str().unwrap_or_default().to_owned();
            axum::Json(json!({"items": [{"order_id": viewer, "state": state}]}))
        };
        let api = Router::new().route("/api/orders", get(orders));
        Storefront { side: Side::Protected, twin: None, console: None, clients: Vec::new(), api, tasks }
    }

    #[test]
    fn a_restarted_wait_is_sent_and_a_continuing_one_is_not() {
        let open = |retry_after_seconds| {
            let (service, name) = ("gateway".to_owned(), "catalog".to_owned());
            [BreakerStatus { service, name, state: "open", retry_after_seconds }]
        };
        let after = Duration::from_secs(8);
        assert!(same(&open(10), after, &open(2)) && same(&open(10), after, &open(3)));
        assert!(!same(&open(10), after, &open(9)), "a probe failed meanwhile");
        let closed = [BreakerStatus { state: "closed", ..open(0)[0].clone() }];
        assert!(!same(&open(10), after, &closed));
    }

    #[tokio::test(start_paused = true)]
    async fn an_order_is_sent_when_it_changes_until_it_is_final() {
        let tasks = TaskTracker::new();
        let router = routes(storefront(tasks.clone()));
        let request = Request::get("/live").header(header::AUTHORIZATION, "Bearer me").body(Body::empty()).unwrap();
        let mut body = router.oneshot(request).await.unwrap().into_body().into_data_stream();
        let mut events = String::new();
        while !events.contains("paid") {
            events += std::str::from_utf8(&body.next().await.unwrap().unwrap()).unwrap();
        }
        let seen = |what: &str| events.matches(what).count();
        assert_eq!((seen("event: status"), seen("event: orders"), seen("queued"), seen("Bearer me")), (1, 2, 1, 2));
        // No more events: the stream ends with the process.
        tasks.close();
        while let Some(more) = body.next().await {
            assert!(!std::str::from_utf8(&more.unwrap()).unwrap().contains("data: {"));
        }
    }
}
