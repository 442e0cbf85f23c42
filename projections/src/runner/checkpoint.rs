//! Checkpoints: how far a model has come, and how it fares, in the transaction of its data.

use std::time::Duration;

use chrono::{DateTime, Utc};
use event_store::{EventId, Position};
use sqlx::{FromRow, PgConnection, PgPool, Row, postgres::PgRow};
use uuid::Uuid;

use crate::envelope::{position_column, position_from_column};
use crate::mark::Mark;
use crate::projection::ModelId;
use crate::runner::{lease, supervisor};

/// Whether a projection does its work; how far behind it is, is another question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It applies events as they come.
    Running,
    /// It failed and tries again.
    Retrying,
    /// It was stopped in good order.
    Stopped,
    /// The log is not the one that the model was filled from. It is looked at again, as a store may
    /// only be behind; nothing is applied to the model, and it is not made anew unasked.
    AnotherLog,
}

impl Status {
    /// Its name, as it is kept.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Retrying => "retrying",
            Self::Stopped => "stopped",
            Self::AnotherLog => "another log",
        }
    }
}

/// How long who tries again may be without a word and without the lease: a pause, and what it takes
/// to ask for the lease.
const RETRIED_WITHIN: Duration = supervisor::BACKOFF_MAX.saturating_mul(3);

/// How a projection fares whose process is gone without a word.
pub const NOT_RUN: &str = "not run";

/// How a projection fares whose connection has been at one thing for longer than anything may take:
/// PostgreSQL would have ended it, so the backend there hangs, and nobody else gets the lease.
pub const SILENT: &str = "silent";

/// A projection's row of checkpoints, for operators.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// The model's name.
    pub name: String,
    /// The version of its shape.
    pub version: i32,
    /// Whether it was ever built; until then nothing of it can be read.
    pub built: bool,
    /// Everything up to here is in the model, or parked.
    pub position: Position,
    /// How it fares.
    pub status: String,
    /// Why it does not run, when it does not.
    pub reason: Option<String>,
    /// Where it fails, when that is known.
    pub failing_position: Option<Position>,
    /// When the row last changed.
    pub updated_at: DateTime<Utc>,
    /// How many events are parked.
    pub parked_events: i64,
    /// Whether a process has the lease to run it.
    pub is_leased: bool,
    /// How long the one who has it has been at one batch, when at one.
    pub batch_time: Option<Duration>,
    /// How long ago the row last changed, by the clock of PostgreSQL.
    pub age: Duration,
}

impl Checkpoint {
    /// How it fares by now: the status is the last word of a process that may be gone since. That
    /// it was stopped, or of which log the model is, stays true without anybody.
    pub fn faring(&self) -> &str {
        if self.batch_time.is_some_and(|time| time > lease::WORK_TIME_MAX) {
            return SILENT;
        }
        let at_rest = [Status::Stopped, Status::AnotherLog].map(Status::as_str);
        if self.is_run() || at_rest.contains(&self.status.as_str()) {
            &self.status
        } else {
            NOT_RUN
        }
    }

    /// Whether a process runs it. Who tries again has no lease between two tries, but says of each
    /// that it was in vain.
    pub fn is_run(&self) -> bool {
        let tries_again = self.status == Status::Retrying.as_str() && self.age < RETRIED_WITHIN;
        self.is_leased || tries_again
    }

    /// Whether the model is of another log than the one that is there.
    pub fn is_of_another_log(&self) -> bool {
        self.status == Status::AnotherLog.as_str()
    }
}

impl FromRow<'_, PgRow> for Checkpoint {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let failing: Option<i64> = row.try_get("failing_position")?;
        let batch_seconds: Option<f64> = row.try_get("batch_seconds")?;
        let age_seconds: f64 = row.try_get("age_seconds")?;
        Ok(Self {
            name: row.try_get("name")?,
            version: row.try_get("version")?,
            built: row.try_get("built")?,
            position: position_from_column(row.try_get("position")?),
            status: row.try_get("status")?,
            reason: row.try_get("reason")?,
            failing_position: failing.map(position_from_column),
            updated_at: row.try_get("updated_at")?,
            parked_events: row.try_get("parked_events")?,
            is_leased: row.try_get("is_leased")?,
            batch_time: batch_seconds.map(|s| Duration::from_secs_f64(s.max(0.0))),
            age: Duration::from_secs_f64(age_seconds.max(0.0)),
        })
    }
}

/// All projections and how they fare. A lease of one bigint stands in `pg_locks` as its two halves
/// (<https://www.postgresql.org/docs/current/view-pg-locks.html>).
pub async fn checkpoints(pool: &PgPool) -> Result<Vec<Checkpoint>, sqlx::Error> {
    sqlx::query_as(
        "WITH leases AS MATERIALIZED (
             SELECT l.classid::bigint << 32 | l.objid::bigint AS key,
                    extract(epoch FROM clock_timestamp() - a.xact_start)::float8 AS batch_seconds
             FROM pg_locks l LEFT JOIN pg_stat_activity a USING (pid)
             WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted
               AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()))
         SELECT c.*, (SELECT count(*) FROM projection.parked p
                      WHERE p.name = c.name AND p.version = c.version AND NOT p.shadow)
                     AS parked_events,
                lease.key IS NOT NULL AS is_leased, lease.batch_seconds,
                extract(epoch FROM clock_timestamp() - c.updated_at)::float8 AS age_seconds
         FROM projection.checkpoints c LEFT JOIN leases lease ON lease.key
             = hashtextextended('veza projection run ' || c.name || '_v' || c.version, 0)
         ORDER BY name, version",
    )
    .fetch_all(pool)
    .await
}

/// Where a model stands in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Everything up to here is in the model, or parked.
    pub(crate) position: Position,
    /// An event there or before it, by which the log is known again; `None` where none was seen.
    pub(crate) mark: Option<Mark>,
}

impl Standing {
    /// Before everything.
    pub(crate) const START: Self = Self { position: Position::START, mark: None };
}

impl FromRow<'_, PgRow> for Standing {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let marked: (Option<i64>, Option<Uuid>) =
            (row.try_get("mark_position")?, row.try_get("mark_event")?);
        let mark = match marked {
            (Some(position), Some(id)) => {
                Some(Mark { position: position_from_column(position), id: EventId(id) })
            }
            _ => None,
        };
        Ok(Self { position: position_from_column(row.try_get("position")?), mark })
    }
}

/// Where the model stands; `None` when it was never built.
pub(crate) async fn load(
    connection: &mut PgConnection,
    id: ModelId,
) -> Result<Option<Standing>, sqlx::Error> {
    sqlx::query_as(
        "SELECT position, mark_position, mark_event FROM projection.checkpoints
         WHERE name = $1 AND version = $2 AND built",
    )
    .bind(id.name)
    .bind(id.version_column())
    .fetch_optional(connection)
    .await
}

/// How far readers may count on a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reached {
    /// It has everything up to here.
    Position(Position),
    /// The same by the last word of who stopped: who runs it now has not looked at its log yet.
    AtRest(Position),
    /// Nothing of it counts: it is of another log.
    OfAnotherLog,
}

impl Reached {
    /// Up to where it has everything of this log.
    pub(crate) fn position(self) -> Position {
        match self {
            Self::Position(position) | Self::AtRest(position) => position,
            Self::OfAnotherLog => Position::START,
        }
    }
}

/// How far readers may count on the model; `None` when it was never built.
pub(crate) async fn reached(
    connection: &mut PgConnection,
    id: ModelId,
) -> Result<Option<Reached>, sqlx::Error> {
    let row: Option<(i64, String)> = sqlx::query_as(
        "SELECT position, status FROM projection.checkpoints
         WHERE name = $1 AND version = $2 AND built",
    )
    .bind(id.name)
    .bind(id.version_column())
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|(position, status)| {
        let position = position_from_column(position);
        if status == Status::AnotherLog.as_str() {
            Reached::OfAnotherLog
        } else if status == Status::Stopped.as_str() {
            Reached::AtRest(position)
        } else {
            Reached::Position(position)
        }
    }))
}

/// Where it stands, built or not, and nobody else moves it until the transaction ends.
pub(crate) async fn lock(
    connection: &mut PgConnection,
    id: ModelId,
) -> Result<Option<Standing>, sqlx::Error> {
    sqlx::query_as(
        "SELECT position, mark_position, mark_event FROM projection.checkpoints
         WHERE name = $1 AND version = $2 FOR UPDATE",
    )
    .bind(id.name)
    .bind(id.version_column())
    .fetch_optional(connection)
    .await
}

/// Moves the checkpoint to here, in the transaction of what it stands for. What moves it is at
/// work, whatever was thought of it; one that was stopped is rebuilt by somebody else.
pub(crate) async fn advance(
    connection: &mut PgConnection,
    id: ModelId,
    to: Standing,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO projection.checkpoints
             (name, version, position, status, mark_position, mark_event)
         VALUES ($1, $2, $3, 'running', $4, $5)
         ON CONFLICT (name, version) DO UPDATE
         SET position = $3, mark_position = $4, mark_event = $5, built = true,
             pinned_position = NULL, updated_at = now(), reason = NULL, failing_position = NULL,
             status = CASE checkpoints.status WHEN 'stopped' THEN 'stopped' ELSE 'running' END",
    )
    .bind(id.name)
    .bind(id.version_column())
    .bind(position_column(to.position))
    .bind(to.mark.map(|mark| position_column(mark.position)))
    .bind(to.mark.map(|mark| mark.id.0))
    .execute(connection)
    .await?;
    Ok(())
}

/// The model is as if it had never been built.
pub(crate) async fn forget(connection: &mut PgConnection, id: ModelId) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE projection.checkpoints
         SET built = false, position = 0, mark_position = NULL, mark_event = NULL,
             pinned_position = NULL, status = 'building'
         WHERE name = $1 AND version = $2",
    )
    .bind(id.name)
    .bind(id.version_column())
    .execute(connection)
    .await?;
    Ok(())
}

/// The model has a row from now on, so that a first build that fails can say why.
pub(crate) async fn enter(connection: &mut PgConnection, id: ModelId) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO projection.checkpoints (name, version, position, status, built)
         VALUES ($1, $2, 0, 'building', false) ON CONFLICT DO NOTHING",
    )
    .bind(id.name)
    .bind(id.version_column())
    .execute(connection)
    .await?;
    Ok(())
}

/// The end of a batch that may have been applied in a sink outside; see
/// [`crate::Projection::pins_batches`].
pub(crate) async fn pinned(
    connection: &mut PgConnection,
    id: ModelId,
) -> Result<Option<Position>, sqlx::Error> {
    let pinned: Option<Option<i64>> = sqlx::query_scalar(
        "SELECT pinned_position FROM projection.checkpoints WHERE name = $1 AND version = $2",
    )
    .bind(id.name)
    .bind(id.version_column())
    .fetch_optional(connection)
    .await?;
    Ok(pinned.flatten().map(position_from_column))
}

/// Remembers where the batch that is about to be applied ends.
pub(crate) async fn pin(
    connection: &mut PgConnection,
    id: ModelId,
    upto: Position,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE projection.checkpoints SET pinned_position = $3 WHERE name = $1 AND version = $2",
    )
    .bind(id.name)
    .bind(id.version_column())
    .bind(position_column(upto))
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes down how the projection fares; only when that changes, never as a heartbeat. One of
/// another log is of another log still when a look at its log fails.
pub(crate) async fn set_status(
    connection: &mut PgConnection,
    id: ModelId,
    status: Status,
    reason: Option<&str>,
    failing_position: Option<Position>,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE projection.checkpoints
         SET status = $3, reason = $4, failing_position = $5, updated_at = now()
         WHERE name = $1 AND version = $2 AND NOT (status = $6 AND $3 = $7)",
    )
    .bind(id.name)
    .bind(id.version_column())
    .bind(status.as_str())
    .bind(reason)
    .bind(failing_position.map(position_column))
    .bind(Status::AnotherLog.as_str())
    .bind(Status::Retrying.as_str())
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes down that a projection stands still that another process has the lease of: it has been
/// at this position for too long. One that has a batch in the works, or tells of itself, is left
/// alone. Tells whether it was written.
pub(crate) async fn stands_still(
    connection: &mut PgConnection,
    id: ModelId,
    position: Position,
    reason: &str,
    next: Position,
) -> Result<bool, sqlx::Error> {
    let told = sqlx::query(
        "WITH still AS (
             SELECT name, version FROM projection.checkpoints
             WHERE name = $1 AND version = $2 AND position = $3 AND status = 'running'
             FOR UPDATE SKIP LOCKED)
         UPDATE projection.checkpoints c
         SET status = 'retrying', reason = $4, failing_position = $5, updated_at = now()
         FROM still WHERE c.name = still.name AND c.version = still.version",
    )
    .bind(id.name)
    .bind(id.version_column())
    .bind(position_column(position))
    .bind(reason)
    .bind(position_column(next))
    .execute(connection)
    .await?;
    Ok(told.rows_affected() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_projection_fares_as_it_says_unless_nobody_can_be_at_it_any_more() {
        let of = |status: Status, is_leased, batch_seconds: Option<u64>, age| Checkpoint {
            name: "a".to_owned(),
            version: 1,
            built: true,
            position: Position::START,
            status: status.as_str().to_owned(),
            reason: None,
            failing_position: None,
            updated_at: DateTime::UNIX_EPOCH,
            parked_events: 0,
            is_leased,
            batch_time: batch_seconds.map(Duration::from_secs),
            age,
        };
        let limit = lease::WORK_TIME_MAX.as_secs();
        let (fresh, stale) = (supervisor::BACKOFF_MAX, RETRIED_WITHIN);
        for (status, is_leased, batch_seconds, age, faring) in [
            (Status::Running, true, None, stale, "running"),
            (Status::Running, true, Some(limit), stale, "running"),
            (Status::Running, true, Some(limit + 1), stale, SILENT),
            (Status::Running, false, None, fresh, NOT_RUN),
            (Status::Retrying, false, None, fresh, "retrying"),
            (Status::Retrying, true, None, stale, "retrying"),
            (Status::Retrying, false, None, stale, NOT_RUN),
            (Status::Retrying, true, Some(limit + 1), fresh, SILENT),
            (Status::Stopped, false, None, stale, "stopped"),
            (Status::AnotherLog, false, None, stale, "another log"),
        ] {
            assert_eq!(of(status, is_leased, batch_seconds, age).faring(), faring, "{status:?}");
        }
    }
}
