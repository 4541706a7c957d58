//! Remaining stock, as reported by inventory: `GET /stock/{film}?kind=premiere`.

use axum::Json;
use axum::extract::{Path, State};
use serde::Deserialize;

use super::CheckoutState;
use crate::client::{Context, Request};
use crate::services::inventory::Stock;
use crate::store::OrderKind;
use crate::web::params;
use crate::web::problem::{Problem, Query};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StockQuery {
    kind: OrderKind,
}

pub(super) async fn stock(
    State(state): State<CheckoutState>,
    context: Context,
    Path(film): Path<String>,
    Query(query): Query<StockQuery>,
) -> Result<Json<Stock>, Problem> {
    let film = params::id("film", &film)?;
    let request = Request::get(format!("/stock/{film}?kind={}", query.kind.as_str()));
    let client = state.inner.clients.inventory.of(&context);
    Ok(Json(client.call_json(&context, request).await?))
}
