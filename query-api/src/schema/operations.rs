//! Sagas and models: for who operates the platform.

use access::Permission;
use async_graphql::{Context, Description, Enum, Object};
use chrono::{DateTime, Utc};
use event_store::{Position, ReadAll};
use futures::StreamExt as _;
use projections::Checkpoint;
use projections::postgres::{self, sagas};

use crate::failure::Failure;
use crate::reader::Reader;
use crate::schema::connection::{Connection, connection, connection_names};
use crate::schema::long::Long;
use crate::schema::page::{cost, place};

/// What can be asked about the platform's own work.
#[derive(Default)]
pub struct OperationsQuery;

#[Object]
impl OperationsQuery {
    /// Runs of sagas, newest first: all, those that fare so, those about something.
    #[graphql(complexity = "cost(first, child_complexity)")]
    async fn sagas(
        &self,
        context: &Context<'_>,
        status: Option<SagaStatus>,
        subject: Option<String>,
        #[graphql(default = 20)] first: Option<i32>,
        after: Option<String>,
    ) -> Result<Sagas, Failure> {
        let reader = Reader::of(context);
        reader.require(Permission::OperatePlatform)?;
        let (after, size) = place(first, after.as_deref())?;
        let sagas = &reader.fresh(sagas::MODEL).await?.sagas;
        let status = status.map(sagas::SagaStatus::from);
        let page = sagas.select(status, subject.as_deref(), after, size).await?;
        Ok(connection(page, (after, size), SagaInstance))
    }

    /// The read models, and how far each has come.
    #[graphql(complexity = "20 + child_complexity")]
    async fn models(&self, context: &Context<'_>) -> Result<Vec<Model>, Failure> {
        let reader = Reader::of(context);
        reader.require(Permission::OperatePlatform)?;
        let checkpoints = reader.parts.watermarks.checkpoints().await;
        let checkpoints = checkpoints.map_err(|error| Failure::internal(&error))?;
        let mut models = Vec::with_capacity(checkpoints.len());
        for checkpoint in checkpoints {
            let lag_ms = lag_ms(reader, checkpoint.position).await?;
            models.push(Model { checkpoint, lag_ms });
        }
        Ok(models)
    }
}

/// How long the oldest event behind a position has waited to be looked at, in milliseconds.
async fn lag_ms(reader: &Reader, position: Position) -> Result<u64, Failure> {
    // A read begins with the event at the position, where there is one.
    let read = ReadAll::forward().limit(2);
    let read = if position > Position::START { read.from(position) } else { read };
    let events = reader.parts.store.read_all(read).await;
    let mut events = events.map_err(|error| Failure::internal(&error))?;
    while let Some(event) = events.next().await {
        let event = event.map_err(|error| Failure::internal(&error))?;
        if event.position > position {
            let waited = (reader.parts.clock)() - event.recorded_at;
            return Ok(waited.num_milliseconds().max(0).unsigned_abs());
        }
    }
    Ok(0)
}

/// How a saga fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "sagas::SagaStatus")]
pub enum SagaStatus {
    /// It goes on by itself.
    Running,
    /// It undoes what was done.
    Compensating,
    /// It waits for an operator.
    Paused,
    /// Every step was done.
    Completed,
    /// Everything that was done has been undone.
    Compensated,
}

connection_names! {
    /// The names of the field, not of its rows.
    SagaNames = "SagaConnection", "SagaEdge"
}

/// A page of runs of sagas.
pub type Sagas = Connection<SagaInstance, SagaNames, SagaNames>;

/// One run of a saga.
#[derive(Description)]
pub struct SagaInstance(pub postgres::SagaInstance);

#[Object(use_type_description)]
impl SagaInstance {
    /// Its stream.
    async fn stream(&self) -> &str {
        &self.0.stream
    }

    /// Which kind of saga.
    async fn kind(&self) -> &str {
        &self.0.kind
    }

    /// The version of its definition.
    async fn definition_version(&self) -> i32 {
        i32::try_from(self.0.definition_version).unwrap_or(i32::MAX)
    }

    /// What it is about, such as an order's id.
    async fn subject(&self) -> &str {
        &self.0.subject
    }

    /// How it fares.
    async fn status(&self) -> SagaStatus {
        self.0.status.into()
    }

    /// The step that something last happened to.
    async fn step(&self) -> Option<&str> {
        self.0.step.as_deref()
    }

    /// What it waits for, when it waits.
    async fn waiting_for(&self) -> Option<&str> {
        self.0.waiting_for.as_deref()
    }

    /// Until when at most.
    async fn due_at(&self) -> Option<DateTime<Utc>> {
        self.0.due_at
    }

    /// What last went wrong: for who operates the platform alone.
    async fn last_error(&self, context: &Context<'_>) -> Option<&str> {
        let sees_inside = Reader::of(context).may(Permission::OperatePlatform);
        self.0.last_error.as_deref().filter(|_| sees_inside)
    }

    /// When it began.
    async fn started_at(&self) -> DateTime<Utc> {
        self.0.started_at
    }

    /// When something last happened to it.
    async fn updated_at(&self) -> DateTime<Utc> {
        self.0.updated_at
    }
}

/// A read model, and how far it has come.
#[derive(Description)]
pub struct Model {
    checkpoint: Checkpoint,
    lag_ms: u64,
}

#[Object(use_type_description)]
impl Model {
    /// Its name.
    async fn name(&self) -> &str {
        &self.checkpoint.name
    }

    /// The version of its shape.
    async fn version(&self) -> i32 {
        self.checkpoint.version
    }

    /// Everything up to here is in it, or parked.
    async fn position(&self) -> String {
        self.checkpoint.position.to_string()
    }

    /// How its projection fares: `running`, `retrying`, `stopped`, `not run` where no process has
    /// it, or `silent` where the one that has it hangs.
    async fn status(&self) -> &str {
        self.checkpoint.faring()
    }

    /// Since when, or when it last came further.
    async fn since(&self) -> DateTime<Utc> {
        self.checkpoint.updated_at
    }

    /// Why it does not run, when it does not.
    async fn reason(&self) -> Option<&str> {
        self.checkpoint.reason.as_deref()
    }

    /// How long the oldest event that it has not looked at has waited, in milliseconds.
    async fn lag(&self) -> Long {
        Long(self.lag_ms)
    }

    /// How many events are parked.
    async fn parked_events(&self) -> Long {
        Long(self.checkpoint.parked_events.max(0).unsigned_abs())
    }
}
