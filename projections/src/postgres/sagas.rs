//! Sagas: an index of their runs, and of what each waits for.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use event_schemas::saga::SagaEvent;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, QueryBuilder, Row, query};

use crate::envelope::{Envelope, Event};
use crate::page::{Cursor, Page, PageSize};
use crate::postgres::columns::stored_enum;
use crate::postgres::{projection, queries};
use crate::projection::{ApplyError, ModelId};
use crate::query_error::QueryError;

/// This model.
pub const MODEL: ModelId = ModelId { name: "sagas", version: 1 };

const TABLES: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS sagas (
        stream text PRIMARY KEY,
        kind text NOT NULL,
        definition_version bigint NOT NULL,
        subject text NOT NULL,
        status text NOT NULL,
        step text,
        waiting_for text,
        due_at timestamptz,
        last_error text,
        started_at timestamptz NOT NULL,
        updated_at timestamptz NOT NULL,
        position bigint NOT NULL
    )",
    "CREATE INDEX IF NOT EXISTS sagas_by_subject ON sagas (subject, position DESC)",
    "CREATE INDEX IF NOT EXISTS sagas_by_status ON sagas (status, position DESC)",
    "CREATE INDEX IF NOT EXISTS sagas_by_position ON sagas (position DESC)",
];

/// Fills the model.
pub struct SagasProjection;

projection!(SagasProjection, MODEL, ["saga"], TABLES);

/// What an event changes of a run; `None` leaves as it is.
struct Change<'a> {
    status: Option<SagaStatus>,
    step: Option<&'a str>,
    waiting_for: Option<String>,
    due_at: Option<DateTime<Utc>>,
    error: Option<&'a str>,
}

impl SagasProjection {
    async fn one(&self, to: &mut PgConnection, envelope: &Envelope) -> Result<(), ApplyError> {
        let Event::Saga(event) = &envelope.event else {
            return Ok(());
        };
        let stream = envelope.recorded.stream.as_str();
        let at = envelope.metadata.occurred_at;
        if let SagaEvent::SagaStarted(event) = event {
            query(
                "INSERT INTO sagas (stream, kind, definition_version, subject, status, started_at,
                                    updated_at, position)
                 VALUES ($1, $2, $3, $4, 'running', $5, $5, $6)",
            )
            .bind(stream)
            .bind(&event.kind)
            .bind(i64::from(event.version))
            .bind(&event.subject)
            .bind(at)
            .bind(envelope.position_column())
            .execute(to)
            .await?;
            return Ok(());
        }
        let change = change(event);
        query(
            "UPDATE sagas SET status = coalesce($2, status), step = coalesce($3, step),
                 waiting_for = $4, due_at = $5, last_error = coalesce($6, last_error),
                 updated_at = $7
             WHERE stream = $1",
        )
        .bind(stream)
        .bind(change.status.map(SagaStatus::as_str))
        .bind(change.step)
        .bind(change.waiting_for)
        .bind(change.due_at)
        .bind(change.error)
        .bind(at)
        .execute(to)
        .await?;
        Ok(())
    }
}

fn change(event: &SagaEvent) -> Change<'_> {
    let nothing = Change { status: None, step: None, waiting_for: None, due_at: None, error: None };
    match event {
        SagaEvent::SagaStarted(_) => nothing,
        SagaEvent::SagaStepCompleted(event) => Change { step: Some(&event.step), ..nothing },
        SagaEvent::SagaStepFailed(event) => Change {
            step: Some(&event.step),
            waiting_for: Some(format!("retry {} of {}", event.attempt, event.step)),
            due_at: Some(event.retry_at),
            error: Some(&event.reason),
            ..nothing
        },
        SagaEvent::SagaStepRefused(event) => Change {
            status: Some(SagaStatus::Compensating),
            step: Some(&event.step),
            error: Some(&event.reason),
            ..nothing
        },
        SagaEvent::SagaTimerSet(event) => Change {
            step: Some(&event.step),
            waiting_for: Some(format!("a signal or the time for {}", event.step)),
            due_at: Some(event.due_at),
            ..nothing
        },
        SagaEvent::SagaTimerFired(event) => Change { step: Some(&event.step), ..nothing },
        SagaEvent::SagaSignalled(event) => Change { step: Some(&event.step), ..nothing },
        SagaEvent::SagaStepCompensated(event) => {
            Change { status: Some(SagaStatus::Compensating), step: Some(&event.step), ..nothing }
        }
        SagaEvent::SagaCompleted(_) => Change { status: Some(SagaStatus::Completed), ..nothing },
        SagaEvent::SagaCompensated(event) => {
            Change { status: Some(SagaStatus::Compensated), error: Some(&event.reason), ..nothing }
        }
        SagaEvent::SagaPaused(event) => Change {
            status: Some(SagaStatus::Paused),
            step: Some(&event.step),
            waiting_for: Some("an operator".to_owned()),
            error: Some(&event.reason),
            ..nothing
        },
        SagaEvent::SagaResumed(event) => {
            Change { status: Some(SagaStatus::Running), step: Some(&event.step), ..nothing }
        }
    }
}

stored_enum! {
    /// How a saga fares.
    SagaStatus {
        /// It goes on by itself.
        Running = "running",
        /// It undoes what was done.
        Compensating = "compensating",
        /// It waits for an operator.
        Paused = "paused",
        /// Every step was done.
        Completed = "completed",
        /// Everything that was done has been undone.
        Compensated = "compensated",
    }
}

/// One run of a saga.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SagaInstance {
    /// Its stream.
    pub stream: String,
    /// Which kind of saga.
    pub kind: String,
    /// The version of its definition.
    pub definition_version: i64,
    /// What it is about, such as an order's id.
    pub subject: String,
    /// How it fares.
    pub status: SagaStatus,
    /// The step that something last happened to.
    pub step: Option<String>,
    /// What it waits for, when it waits.
    pub waiting_for: Option<String>,
    /// Until when at most.
    pub due_at: Option<DateTime<Utc>>,
    /// What last went wrong.
    pub last_error: Option<String>,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When something last happened to it.
    pub updated_at: DateTime<Utc>,
}

queries! {
    /// Queries over runs of sagas.
    Sagas
}

impl Sagas {
    /// The latest run about each subject; subjects without one are left out.
    pub async fn latest_of(
        &self,
        subjects: &[String],
    ) -> Result<HashMap<String, SagaInstance>, QueryError> {
        let rows = query(
            "SELECT DISTINCT ON (subject) * FROM sagas_v1.sagas WHERE subject = ANY ($1)
             ORDER BY subject, position DESC",
        )
        .bind(subjects)
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(|row| instance(row).map(|saga| (saga.subject.clone(), saga))).collect()
    }

    /// The runs that fare so and are about this, or all, newest first.
    pub async fn select(
        &self,
        status: Option<SagaStatus>,
        subject: Option<&str>,
        after: Option<Cursor>,
        size: PageSize,
    ) -> Result<Page<SagaInstance>, QueryError> {
        // A statement a case, so that each is answered by an index of its own.
        let mut select = QueryBuilder::new("SELECT * FROM sagas_v1.sagas WHERE position < ");
        select.push_bind(Cursor::column(after));
        if let Some(status) = status {
            select.push(" AND status = ").push_bind(status.as_str());
        }
        if let Some(subject) = subject {
            select.push(" AND subject = ").push_bind(subject);
        }
        select.push(" ORDER BY position DESC LIMIT ").push_bind(size.and_one());
        let rows = select.build().fetch_all(&self.pool).await?;
        Page::of(rows, size, instance)
    }
}

fn instance(row: &PgRow) -> Result<SagaInstance, QueryError> {
    Ok(SagaInstance {
        stream: row.try_get("stream")?,
        kind: row.try_get("kind")?,
        definition_version: row.try_get("definition_version")?,
        subject: row.try_get("subject")?,
        status: SagaStatus::read(row, "status")?,
        step: row.try_get("step")?,
        waiting_for: row.try_get("waiting_for")?,
        due_at: row.try_get("due_at")?,
        last_error: row.try_get("last_error")?,
        started_at: row.try_get("started_at")?,
        updated_at: row.try_get("updated_at")?,
    })
}
