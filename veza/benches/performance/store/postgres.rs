//! The same durable appends into PostgreSQL, as one would write an event store on it.

use std::sync::Arc;

use event_store::{NewEvent, StreamName};
use sqlx::PgPool;

use super::appends::writers;
use super::open;
use crate::database::Database;
use crate::events::{EVENT_BYTES, Events, stream};
use crate::load::{Call, Caller, closed_loop, on_a_thread};
use crate::machine::scratch;
use crate::scale::{Scale, Span};
use crate::table::Better::Higher;
use crate::table::{Row, TargetOf, tell};

/// How many write at once, each on a connection of its own.
const WRITERS: usize = 16;

const TABLE: &str = "
    CREATE TABLE IF NOT EXISTS events (
        position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        stream text NOT NULL,
        revision bigint NOT NULL,
        id uuid NOT NULL,
        type text NOT NULL,
        metadata bytea NOT NULL,
        data bytea NOT NULL,
        recorded_at timestamptz NOT NULL DEFAULT now(),
        UNIQUE (stream, revision)
    )";

const INSERT: &str = "
    INSERT INTO events (stream, revision, id, type, metadata, data)
    VALUES ($1, $2, $3, $4, $5, $6) RETURNING position";

/// One event at a time, by some at once.
pub async fn appends(scale: Scale) -> anyhow::Result<Row> {
    let span = scale.span(1.0);
    let folder = scratch()?;
    let database = Database::start(folder.path()).await?;
    sqlx::query(TABLE).execute(&database.pool).await?;
    let mut rounds = Vec::new();
    for round in 0..scale.turns_of_disk() {
        let ours = appends_of_store(span).await?;
        sqlx::query("TRUNCATE events").execute(&database.pool).await?;
        let theirs = appends_of_postgres(&database.pool, span).await?;
        tell(round, "beside PostgreSQL", format!("{ours:.0} events/s; PostgreSQL {theirs:.0}"));
        rounds.push((ours, theirs));
    }
    database.stop().await?;
    let row = Row::new(
        format!("store.append.{WRITERS}_writers_postgres"),
        format!("durable appends of {EVENT_BYTES}-byte events, {WRITERS} writers, a stream each"),
        ("events/s", Higher),
        "the same into one table of PostgreSQL, unique by stream and revision, prepared inserts",
        &rounds,
    );
    Ok(row.target(TargetOf::Ratio, 5.0))
}

async fn appends_of_store(span: Span) -> anyhow::Result<f64> {
    let folder = scratch()?;
    let store = Arc::new(open(&folder.path().join("events")).await?);
    let callers = writers(&store, WRITERS, 1, 0);
    let measured = on_a_thread(move || closed_loop(callers, span)).await?;
    store.close().await?;
    Ok(measured.rate)
}

struct Inserter {
    pool: PgPool,
    stream: StreamName,
    events: Events,
    revision: i64,
}

impl Caller for Inserter {
    async fn call(&mut self, _call: Call) -> anyhow::Result<()> {
        let NewEvent { id, event_type, metadata, data, .. } = self.events.next();
        let _position: i64 = sqlx::query_scalar(INSERT)
            .bind(self.stream.as_str())
            .bind(self.revision)
            .bind(id.0)
            .bind(event_type.as_str())
            .bind(&*metadata)
            .bind(&*data)
            .fetch_one(&self.pool)
            .await?;
        self.revision += 1;
        Ok(())
    }
}

async fn appends_of_postgres(pool: &PgPool, span: Span) -> anyhow::Result<f64> {
    let inserter = |number| Inserter {
        pool: pool.clone(),
        stream: stream(number),
        events: Events::new(number as u64),
        revision: 0,
    };
    let inserters: Vec<Inserter> = (0..WRITERS).map(inserter).collect();
    Ok(closed_loop(inserters, span).await?.rate)
}
