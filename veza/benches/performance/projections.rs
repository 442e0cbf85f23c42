//! Projections: how soon an event is in a model, and how fast models are made anew.
//!
//! - `delivery`: from an append over gRPC to the model, against `NOTIFY`
//! - `rebuild`: whole models from the log, against `COPY` of their rows

mod delivery;
mod rebuild;

use crate::scale::Scale;
use crate::table::Row;

pub async fn measure(scale: Scale) -> anyhow::Result<Vec<Row>> {
    let mut rows = vec![delivery::measure(scale).await?];
    rows.extend(rebuild::measure(scale).await?);
    Ok(rows)
}
