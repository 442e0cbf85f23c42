//! Parked events: one that can't be applied stops its key, in order, and nothing else.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use event_store::{Position, RecordedEvent};
use sqlx::{FromRow, PgConnection, PgPool, Row, postgres::PgRow};

use crate::envelope::{position_column, position_from_column};
use crate::projection::{ModelId, Target};

/// Why an event is parked that could be applied but for an earlier one of its key.
const BEHIND_ANOTHER: &str = "an earlier event of the key is parked";

/// An event that waits for an operator, for operators.
#[derive(Clone, Debug, PartialEq)]
pub struct ParkedEvent {
    /// What is kept in order; by default the stream's name.
    pub key: String,
    /// Where the event is in the log.
    pub position: Position,
    /// Its type.
    pub event_type: String,
    /// Why it is parked.
    pub reason: String,
    /// Since when.
    pub parked_at: DateTime<Utc>,
}

impl FromRow<'_, PgRow> for ParkedEvent {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            key: row.try_get("key")?,
            position: position_from_column(row.try_get("position")?),
            event_type: row.try_get("event_type")?,
            reason: row.try_get("reason")?,
            parked_at: row.try_get("parked_at")?,
        })
    }
}

/// What is parked of a model, in the log's order.
pub async fn parked_events(pool: &PgPool, id: ModelId) -> Result<Vec<ParkedEvent>, sqlx::Error> {
    sqlx::query_as(
        "SELECT key, position, event_type, reason, parked_at FROM projection.parked
         WHERE name = $1 AND version = $2 AND NOT shadow ORDER BY position",
    )
    .bind(id.name)
    .bind(id.version_column())
    .fetch_all(pool)
    .await
}

/// Asks the running projection to try parked events again, in order: a key's, or without one all.
/// Tells how many.
pub async fn retry_parked(
    pool: &PgPool,
    id: ModelId,
    key: Option<&str>,
) -> Result<u64, sqlx::Error> {
    let asked = sqlx::query(
        "UPDATE projection.parked SET retry_requested = true
         WHERE name = $1 AND version = $2 AND NOT shadow AND ($3::text IS NULL OR key = $3)",
    )
    .bind(id.name)
    .bind(id.version_column())
    .bind(key)
    .execute(pool)
    .await?;
    Ok(asked.rows_affected())
}

/// The keys that have parked events.
pub(crate) async fn keys(
    connection: &mut PgConnection,
    id: ModelId,
    target: Target,
) -> Result<HashSet<String>, sqlx::Error> {
    let keys: Vec<String> = sqlx::query_scalar(
        "SELECT DISTINCT key FROM projection.parked
         WHERE name = $1 AND version = $2 AND shadow = $3",
    )
    .bind(id.name)
    .bind(id.version_column())
    .bind(target == Target::Shadow)
    .fetch_all(connection)
    .await?;
    Ok(keys.into_iter().collect())
}

/// Parks an event; without a reason of its own it stands behind another of its key.
pub(crate) async fn park(
    connection: &mut PgConnection,
    id: ModelId,
    target: Target,
    key: &str,
    event: &RecordedEvent,
    reason: Option<&str>,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO projection.parked (name, version, shadow, key, position, event_type, reason)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (name, version, shadow, position)
         DO UPDATE SET reason = excluded.reason, retry_requested = false",
    )
    .bind(id.name)
    .bind(id.version_column())
    .bind(target == Target::Shadow)
    .bind(key)
    .bind(position_column(event.position))
    .bind(event.event_type.as_str())
    .bind(reason.unwrap_or(BEHIND_ANOTHER))
    .execute(connection)
    .await?;
    Ok(())
}

/// The positions of the keys that are to be tried again, in the log's order.
pub(crate) async fn retry_requests(
    connection: &mut PgConnection,
    id: ModelId,
) -> Result<Vec<(String, Position)>, sqlx::Error> {
    let rows: Vec<(String, i64)> = sqlx::query_as(
        "SELECT key, position FROM projection.parked
         WHERE name = $1 AND version = $2 AND NOT shadow AND key IN (
             SELECT key FROM projection.parked
             WHERE name = $1 AND version = $2 AND NOT shadow AND retry_requested)
         ORDER BY position",
    )
    .bind(id.name)
    .bind(id.version_column())
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|(key, position)| (key, position_from_column(position))).collect())
}

/// An event is no longer parked: it was applied.
pub(crate) async fn release(
    connection: &mut PgConnection,
    id: ModelId,
    position: Position,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "DELETE FROM projection.parked
         WHERE name = $1 AND version = $2 AND NOT shadow AND position = $3",
    )
    .bind(id.name)
    .bind(id.version_column())
    .bind(position_column(position))
    .execute(connection)
    .await?;
    Ok(())
}

/// The shadow's parked events take the place of the live model's.
pub(crate) async fn swap(connection: &mut PgConnection, id: ModelId) -> Result<(), sqlx::Error> {
    for statement in [
        "DELETE FROM projection.parked WHERE name = $1 AND version = $2 AND NOT shadow",
        "UPDATE projection.parked SET shadow = false WHERE name = $1 AND version = $2 AND shadow",
    ] {
        sqlx::query(statement)
            .bind(id.name)
            .bind(id.version_column())
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}
