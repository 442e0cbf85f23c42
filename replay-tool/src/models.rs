//! `projections`: the read models, how far each has come, and what it could not take.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use event_store::{EventStore, Filter, Position, ReadAll};
use futures::TryStreamExt as _;
use projections::kafka::{self, EventBus};
use projections::runner::{Checkpoint, NOT_RUN, SILENT, prepare};
use projections::{ModelId, Projection, checkpoints};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::command::{ReplayError, Verdict};
use crate::output::Output;

/// Most events that a model's lag is counted up to; behind that it is only known to be more.
const LAG_EVENTS_MAX: u64 = 10_000;

/// The read models that the settings ask for, and the database that knows how they fare.
pub struct Models {
    /// Where they are, and their checkpoints.
    pub pool: PgPool,
    /// What fills them.
    pub projections: Vec<Arc<dyn Projection>>,
    /// Whether the events are published, which has a checkpoint as models have.
    pub publishes: bool,
}

impl Models {
    /// Which they are.
    pub fn ids(&self) -> Vec<ModelId> {
        self.projections.iter().map(|projection| projection.id()).collect()
    }

    /// All that has a checkpoint, and the events that it takes.
    fn followers(&self) -> impl Iterator<Item = (ModelId, Filter)> {
        let models =
            self.projections.iter().map(|projection| (projection.id(), projection.filter()));
        models.chain(self.publishes.then(|| (kafka::MODEL, EventBus::filter())))
    }

    /// The model with this name, with or without its version.
    pub(crate) fn find(&self, name: &str) -> Result<&Arc<dyn Projection>, ReplayError> {
        let is_it = |projection: &&Arc<dyn Projection>| {
            let id = projection.id();
            id.name == name || id.to_string() == name
        };
        self.projections.iter().find(is_it).ok_or_else(|| {
            let known: Vec<_> = self.projections.iter().map(|known| known.id().name).collect();
            ReplayError::NoSuchModel { name: name.to_owned(), known: known.join(", ") }
        })
    }

    /// Makes the runner's tables where no platform has yet, so that they can be asked.
    pub(crate) async fn prepare(&self) -> Result<(), ReplayError> {
        Ok(prepare(&self.pool).await?)
    }
}

/// The events that a model has not taken yet.
struct Lag {
    events: u64,
    more: bool,
    since: Option<DateTime<Utc>>,
}

/// Prints every model and what is published: those of the settings, and those of earlier versions
/// or other settings that are still there.
/// Bad is one that fails, that is of another log, that nobody runs though it was not stopped, or
/// that has parked events.
pub async fn models(
    store: &dyn EventStore,
    read_models: &Models,
    output: &mut Output<'_>,
) -> Result<Verdict, ReplayError> {
    read_models.prepare().await?;
    let rows = checkpoints(&read_models.pool).await?;
    let (mut verdict, now) = (Verdict::Good, Utc::now());
    let mut ids = Vec::new();
    for (id, filter) in read_models.followers() {
        ids.push(id);
        let is_its = |row: &&Checkpoint| {
            row.name == id.name && i64::from(row.version) == i64::from(id.version)
        };
        let row = rows.iter().find(is_its);
        let position = row.map_or(Position::START, |row| row.position);
        let lag = lag(store, filter, position).await?;
        let is_bad = |row: &Checkpoint| {
            row.parked_events > 0
                || row.is_of_another_log()
                || ["retrying", NOT_RUN, SILENT].contains(&row.faring())
        };
        if row.is_some_and(is_bad) {
            verdict = Verdict::Bad;
        }
        print(id.name, i64::from(id.version), row, Some((&lag, now)), output)?;
    }
    for row in &rows {
        let version = i64::from(row.version);
        if !ids.iter().any(|id| id.name == row.name && i64::from(id.version) == version) {
            print(&row.name, version, Some(row), None, output)?;
        }
    }
    Ok(verdict)
}

/// Counted by reading, as positions are no numbers of events.
async fn lag(
    store: &dyn EventStore,
    filter: Filter,
    position: Position,
) -> Result<Lag, ReplayError> {
    let read = ReadAll::forward().filter(filter).limit(LAG_EVENTS_MAX + 2);
    let read = if position > Position::START { read.from(position) } else { read };
    let mut events = store.read_all(read).await?;
    let mut lag = Lag { events: 0, more: false, since: None };
    while let Some(event) = events.try_next().await? {
        if event.position <= position {
            continue;
        }
        lag.since.get_or_insert(event.recorded_at);
        if lag.events == LAG_EVENTS_MAX {
            lag.more = true;
            break;
        }
        lag.events += 1;
    }
    Ok(lag)
}

fn print(
    name: &str,
    version: i64,
    row: Option<&Checkpoint>,
    lag: Option<(&Lag, DateTime<Utc>)>,
    output: &mut Output<'_>,
) -> Result<(), ReplayError> {
    // A model that the settings do not ask for may be of others, or is left behind: then it is
    // nobody's trouble why it did not run.
    let is_left = lag.is_none() && !row.is_some_and(Checkpoint::is_run);
    let status = match row {
        None => "not built",
        Some(_) if is_left => "not in use",
        Some(row) => row.faring(),
    };
    // How far behind this log a model of another one is, can't be said.
    let lag = lag.filter(|_| !row.is_some_and(Checkpoint::is_of_another_log));
    let position = row.filter(|row| row.built).map(|row| row.position.to_string());
    let parked = row.map_or(0, |row| row.parked_events);
    let failing = row.filter(|_| !is_left);
    let reason = failing.and_then(|row| row.reason.as_deref());
    let seconds = lag.and_then(|(lag, now)| {
        lag.since.map(|since| (now - since).max(chrono::TimeDelta::zero()).as_seconds_f64())
    });
    let document = json!({
        "name": name,
        "version": version,
        "position": position,
        "status": status,
        "reason": reason,
        "failing_position": failing.and_then(|row| row.failing_position).map(|it| it.to_string()),
        "lag_events": lag.map(|(lag, _)| lag.events),
        "lag_is_more": lag.map(|(lag, _)| lag.more),
        "lag_seconds": lag.map(|_| seconds.unwrap_or_default()),
        "parked_events": parked,
        "updated_at": row.map_or(Value::Null, |row| json!(row.updated_at)),
    });
    let behind = match lag {
        None => String::new(),
        Some((lag, _)) if lag.events == 0 => "  up to date".to_owned(),
        Some((lag, _)) => {
            let more = if lag.more { "more than " } else { "" };
            let since = seconds.unwrap_or_default();
            format!("  {more}{} events behind, for {since:.1} s", lag.events)
        }
    };
    let position = position.as_deref().unwrap_or("-");
    let line = format!("{name:<12} v{version:<3} {position:>12}  {status:<10}{behind}");
    let parked = if parked > 0 { format!("  {parked} parked") } else { String::new() };
    let reason = reason.map(|reason| format!("  {reason}")).unwrap_or_default();
    output.result(&document, &format!("{line}{parked}{reason}"))?;
    Ok(())
}
