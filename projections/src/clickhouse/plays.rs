//! Plays: every listening as a row, counted when asked.
//!
//! Rows are keyed by the event's position and read with `FINAL`, so that a row counts once however
//! often it was inserted: after a crash between the insert and the checkpoint, by a process that
//! lost its lease, or after a swap that PostgreSQL did not learn of. The deduplication token keeps
//! ordinary repetitions from being stored at all, but nothing depends on it: ClickHouse forgets
//! tokens after a window, and a table that was restored has none.

use async_trait::async_trait;
use chrono::{Datelike, NaiveDate};
use clickhouse::Row;
use event_schemas::TrackId;
use event_schemas::analytics::{PlayEvent, TrackPlayed};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::analytics::{DAYS_MAX, DayPlays, PlayStatistics, TrackPlays};
use crate::clickhouse::{ClickHouse, NAME, read, written};
use crate::envelope::{Envelope, Event};
use crate::projection::{ApplyError, ModelId, Projection, Target};
use crate::query_error::QueryError;

/// This model: its checkpoint is in PostgreSQL, its rows are in ClickHouse.
pub const MODEL: ModelId = ModelId { name: "plays_clickhouse", version: 1 };

/// The table that is read.
const LIVE: &str = "plays_v1";

/// The table that a rebuild fills.
const SHADOW: &str = "plays_v1_build";

/// The years that ClickHouse's dates can hold.
const YEARS: std::ops::RangeInclusive<i32> = 1900..=2299;

/// How the shadow is told from a model that was swapped out and not dropped yet; a table's comment
/// goes with it through the swap.
const MARK_SHADOW: &str = "shadow";

/// A listening, as it is kept.
#[derive(Row, Serialize)]
struct Listening {
    #[serde(with = "clickhouse::serde::uuid")]
    track_id: Uuid,
    #[serde(with = "clickhouse::serde::chrono::date32")]
    day: NaiveDate,
    position: u64,
    #[serde(with = "clickhouse::serde::uuid")]
    listener_id: Uuid,
    listened_ms: u64,
}

impl Listening {
    fn of(envelope: &Envelope, played: &TrackPlayed) -> Result<Self, ApplyError> {
        let day = envelope.metadata.occurred_at.date_naive();
        if !YEARS.contains(&day.year()) {
            return Err(ApplyError::poison(format!("{day} is no day that ClickHouse can hold")));
        }
        // What PostgreSQL's model can't hold is refused here, too: every engine counts the same.
        if i64::try_from(played.listened_ms).is_err() {
            let reason = format!("{} is too large for the model", played.listened_ms);
            return Err(ApplyError::poison(reason));
        }
        Ok(Self {
            track_id: played.track_id.0,
            day,
            position: envelope.position().get(),
            listener_id: played.listener_id.0,
            listened_ms: played.listened_ms,
        })
    }
}

/// Fills the model.
pub struct ClickHousePlaysProjection {
    server: ClickHouse,
}

impl ClickHousePlaysProjection {
    /// Fills it on this server.
    pub fn new(server: ClickHouse) -> Self {
        Self { server }
    }

    async fn insert(&self, table: &str, rows: &[Listening]) -> Result<(), ApplyError> {
        let insert = async {
            let insert = self.server.client.insert::<Listening>(table).await?;
            let mut insert = insert
                .with_setting("insert_deduplication_token", token(table, rows))
                // An asynchronous insert could be acknowledged before it is on disk.
                .with_setting("async_insert", "0");
            for row in rows {
                insert.write(row).await?;
            }
            insert.end().await
        };
        written(insert).await
    }
}

/// Names a batch by what is in it. The ends alone would not do: a repetition may have other events
/// between them, when one that was parked is readable now, and would be taken for the first.
fn token(table: &str, rows: &[Listening]) -> String {
    let mut positions = Vec::with_capacity(rows.len() * size_of::<u64>());
    for row in rows {
        positions.extend(row.position.to_be_bytes());
    }
    let (first, last) = (rows.first().map(|r| r.position), rows.last().map(|r| r.position));
    let digest = Uuid::new_v5(&Uuid::NAMESPACE_OID, &positions);
    format!("{MODEL} {table} {}..{} {digest}", first.unwrap_or(0), last.unwrap_or(0))
}

#[async_trait]
impl Projection for ClickHousePlaysProjection {
    fn id(&self) -> ModelId {
        MODEL
    }

    fn categories(&self) -> &'static [&'static str] {
        &["play"]
    }

    fn tables(&self) -> &'static [&'static str] {
        &[]
    }

    async fn apply(
        &self,
        target: Target,
        _connection: &mut PgConnection,
        events: &[Envelope],
    ) -> Result<(), ApplyError> {
        let mut rows = Vec::with_capacity(events.len());
        for envelope in events {
            if let Event::Play(PlayEvent::TrackPlayed(played)) = &envelope.event {
                rows.push(Listening::of(envelope, played)?);
            }
        }
        if rows.is_empty() {
            return Ok(());
        }
        let table = match target {
            Target::Live => LIVE,
            Target::Shadow => SHADOW,
        };
        self.insert(table, &rows).await
    }

    fn pins_batches(&self) -> bool {
        true
    }

    async fn has_live(&self) -> Result<bool, ApplyError> {
        Ok(self.server.comment_of(LIVE).await?.is_some())
    }

    async fn begin_shadow(&self) -> Result<(), ApplyError> {
        self.server.ensure_database().await?;
        self.server.run(&format!("DROP TABLE IF EXISTS {SHADOW}")).await?;
        self.server
            .run(&format!(
                "CREATE TABLE {SHADOW} (
                     track_id UUID, day Date32, position UInt64, listener_id UUID,
                     listened_ms UInt64
                 ) ENGINE = ReplacingMergeTree ORDER BY (track_id, day, position)
                 SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1,
                          fsync_part_directory = 1
                 COMMENT '{MARK_SHADOW}'"
            ))
            .await
    }

    async fn swap_shadow(&self) -> Result<(), ApplyError> {
        let (shadow, live) =
            (self.server.comment_of(SHADOW).await?, self.server.comment_of(LIVE).await?);
        match (shadow.as_deref(), &live) {
            (Some(MARK_SHADOW), None) => {
                self.server.run(&format!("RENAME TABLE {SHADOW} TO {LIVE}")).await?;
            }
            (Some(MARK_SHADOW), Some(_)) => {
                // A live model still marked would be taken for the shadow after the exchange.
                self.server.run(&format!("ALTER TABLE {LIVE} MODIFY COMMENT ''")).await?;
                self.server.run(&format!("EXCHANGE TABLES {SHADOW} AND {LIVE}")).await?;
            }
            // An earlier swap came this far.
            (_, Some(_)) => {}
            (_, None) => return Err(ApplyError::Transient("there is no shadow to swap".into())),
        }
        self.server.run(&format!("DROP TABLE IF EXISTS {SHADOW}")).await
    }
}

/// Queries over listenings.
#[derive(Clone)]
pub struct ClickHousePlays {
    server: ClickHouse,
}

impl ClickHousePlays {
    /// Queries on this server.
    pub fn new(server: ClickHouse) -> Self {
        Self { server }
    }
}

/// A track's counts, as they are read.
#[derive(Row, Deserialize)]
struct TrackRow {
    #[serde(with = "clickhouse::serde::uuid")]
    track_id: Uuid,
    plays: u64,
    listeners: u64,
    listened_ms: u64,
}

/// A day's counts, as they are read.
#[derive(Row, Deserialize)]
struct DayRow {
    #[serde(with = "clickhouse::serde::chrono::date32")]
    day: NaiveDate,
    plays: u64,
    listened_ms: u64,
}

#[async_trait]
impl PlayStatistics for ClickHousePlays {
    fn model(&self) -> ModelId {
        MODEL
    }

    fn engine(&self) -> &'static str {
        NAME
    }

    async fn of_tracks(
        &self,
        tracks: &[TrackId],
    ) -> Result<Vec<(TrackId, TrackPlays)>, QueryError> {
        if tracks.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<String> = tracks.iter().map(ToString::to_string).collect();
        let asked = format!(
            "SELECT track_id, count() AS plays, uniqExact(listener_id) AS listeners,
                    sum({LIVE}.listened_ms) AS listened_ms
             FROM {LIVE} FINAL WHERE track_id IN ? GROUP BY track_id"
        );
        let rows = read(self.server.client.query(&asked).bind(ids).fetch_all::<TrackRow>()).await?;
        let counts = |row: TrackRow| {
            let TrackRow { track_id, plays, listeners, listened_ms } = row;
            (TrackId(track_id), TrackPlays { plays, listeners, listened_ms })
        };
        Ok(rows.into_iter().map(counts).collect())
    }

    async fn days(&self, track: TrackId, days: u32) -> Result<Vec<DayPlays>, QueryError> {
        let asked = format!(
            "SELECT day, count() AS plays, sum({LIVE}.listened_ms) AS listened_ms
             FROM {LIVE} FINAL WHERE track_id = ? GROUP BY day ORDER BY day DESC LIMIT ?"
        );
        let asked = self.server.client.query(&asked).bind(track.to_string());
        let rows = read(asked.bind(days.min(DAYS_MAX)).fetch_all::<DayRow>()).await?;
        let counts =
            |DayRow { day, plays, listened_ms }: DayRow| DayPlays { day, plays, listened_ms };
        Ok(rows.into_iter().map(counts).collect())
    }
}
