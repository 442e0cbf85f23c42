//! Plays: how often tracks are listened to; what analytics is answered from without ClickHouse.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use event_schemas::TrackId;
use event_schemas::analytics::PlayEvent;
use sqlx::{PgConnection, Row, query};
use uuid::Uuid;

use crate::analytics::{DAYS_MAX, DayPlays, PlayStatistics, TrackPlays};
use crate::envelope::{Envelope, Event};
use crate::postgres::columns::unsigned;
use crate::postgres::{bigint, queries};
use crate::projection::{ApplyError, ModelId, Projection, Target};
use crate::query_error::QueryError;

/// This model.
pub const MODEL: ModelId = ModelId { name: "plays", version: 1 };

const TABLES: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS track_days (
        track_id uuid NOT NULL,
        day date NOT NULL,
        plays bigint NOT NULL,
        listened_ms bigint NOT NULL,
        PRIMARY KEY (track_id, day)
    )",
    "CREATE TABLE IF NOT EXISTS track_listeners (
        track_id uuid NOT NULL,
        listener_id uuid NOT NULL,
        PRIMARY KEY (track_id, listener_id)
    )",
];

/// Fills the model, a statement a table for a whole batch.
pub struct PlaysProjection;

#[async_trait]
impl Projection for PlaysProjection {
    fn id(&self) -> ModelId {
        MODEL
    }

    fn categories(&self) -> &'static [&'static str] {
        &["play"]
    }

    fn tables(&self) -> &'static [&'static str] {
        TABLES
    }

    async fn apply(
        &self,
        _target: Target,
        connection: &mut PgConnection,
        events: &[Envelope],
    ) -> Result<(), ApplyError> {
        let (mut tracks, mut listeners) = (Vec::<Uuid>::new(), Vec::<Uuid>::new());
        let (mut listened, mut at) = (Vec::<i64>::new(), Vec::<DateTime<Utc>>::new());
        for envelope in events {
            let Event::Play(PlayEvent::TrackPlayed(event)) = &envelope.event else {
                continue;
            };
            tracks.push(event.track_id.0);
            listeners.push(event.listener_id.0);
            listened.push(bigint(event.listened_ms)?);
            at.push(envelope.metadata.occurred_at);
        }
        query(
            "INSERT INTO track_days (track_id, day, plays, listened_ms)
             SELECT track_id, (at AT TIME ZONE 'UTC')::date, count(*), sum(listened_ms)
             FROM unnest($1::uuid[], $2::bigint[], $3::timestamptz[])
                  AS played (track_id, listened_ms, at)
             GROUP BY 1, 2
             ON CONFLICT (track_id, day) DO UPDATE
             SET plays = track_days.plays + excluded.plays,
                 listened_ms = track_days.listened_ms + excluded.listened_ms",
        )
        .bind(&tracks)
        .bind(&listened)
        .bind(&at)
        .execute(&mut *connection)
        .await?;
        query(
            "INSERT INTO track_listeners (track_id, listener_id)
             SELECT * FROM unnest($1::uuid[], $2::uuid[]) ON CONFLICT DO NOTHING",
        )
        .bind(&tracks)
        .bind(&listeners)
        .execute(connection)
        .await?;
        Ok(())
    }
}

queries! {
    /// Queries over listenings.
    Plays
}

#[async_trait]
impl PlayStatistics for Plays {
    fn model(&self) -> ModelId {
        MODEL
    }

    async fn of_tracks(
        &self,
        tracks: &[TrackId],
    ) -> Result<Vec<(TrackId, TrackPlays)>, QueryError> {
        let ids: Vec<Uuid> = tracks.iter().map(|track| track.0).collect();
        let rows = query(
            "SELECT track_id, sum(plays)::bigint AS plays, sum(listened_ms)::bigint AS listened_ms,
                    (SELECT count(*) FROM plays_v1.track_listeners l
                     WHERE l.track_id = d.track_id) AS listeners
             FROM plays_v1.track_days d WHERE track_id = ANY ($1) GROUP BY track_id",
        )
        .bind(ids)
        .fetch_all(&self.pool)
        .await?;
        let read = |row| {
            let plays = TrackPlays {
                plays: unsigned(row, "plays")?,
                listeners: unsigned(row, "listeners")?,
                listened_ms: unsigned(row, "listened_ms")?,
            };
            Ok((TrackId(row.try_get("track_id")?), plays))
        };
        rows.iter().map(read).collect()
    }

    async fn days(&self, track: TrackId, days: u32) -> Result<Vec<DayPlays>, QueryError> {
        let rows = query(
            "SELECT day, plays, listened_ms FROM plays_v1.track_days
             WHERE track_id = $1 ORDER BY day DESC LIMIT $2",
        )
        .bind(track.0)
        .bind(i64::from(days.min(DAYS_MAX)))
        .fetch_all(&self.pool)
        .await?;
        let read = |row| {
            Ok(DayPlays {
                day: sqlx::Row::try_get(row, "day")?,
                plays: unsigned(row, "plays")?,
                listened_ms: unsigned(row, "listened_ms")?,
            })
        };
        rows.iter().map(read).collect()
    }
}
