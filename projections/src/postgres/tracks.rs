//! Tracks: what can be listened to, by id and by artist.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use event_schemas::audio::TrackEvent;
use event_schemas::{TrackId, UserId};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row, query};
use uuid::Uuid;

use crate::envelope::{Envelope, Event};
use crate::page::{Cursor, Page, PageSize, page, pages};
use crate::postgres::columns::stored_enum;
use crate::postgres::{bigint, projection, queries};
use crate::projection::{ApplyError, ModelId};
use crate::query_error::QueryError;

/// This model.
pub const MODEL: ModelId = ModelId { name: "tracks", version: 3 };

const TABLES: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS tracks (
        track_id uuid PRIMARY KEY,
        artist_id uuid NOT NULL,
        title text NOT NULL,
        tags text[] NOT NULL,
        status text NOT NULL,
        failure text,
        duration_ms bigint,
        playlist_key text,
        master_object_key text NOT NULL,
        master_available boolean NOT NULL DEFAULT true,
        published boolean NOT NULL DEFAULT false,
        created_at timestamptz NOT NULL,
        created_position bigint NOT NULL,
        published_at timestamptz,
        published_position bigint
    )",
    "CREATE INDEX IF NOT EXISTS tracks_by_artist ON tracks (artist_id, created_position DESC)",
    "CREATE INDEX IF NOT EXISTS tracks_published_by_artist
        ON tracks (artist_id, published_position DESC) WHERE published",
    "CREATE INDEX IF NOT EXISTS tracks_published
        ON tracks (published_position DESC) WHERE published",
];

/// Fills the model.
pub struct TracksProjection;

projection!(TracksProjection, MODEL, ["track"], TABLES);

impl TracksProjection {
    async fn one(&self, to: &mut PgConnection, envelope: &Envelope) -> Result<(), ApplyError> {
        let Event::Track(event) = &envelope.event else {
            return Ok(());
        };
        let at = envelope.recorded_at();
        let statement = match event {
            TrackEvent::TrackCreated(event) => query(
                "INSERT INTO tracks (track_id, artist_id, title, tags, status, master_object_key,
                                     created_at, created_position)
                 VALUES ($1, $2, $3, $4, 'processing', $5, $6, $7)",
            )
            .bind(event.track_id.0)
            .bind(event.artist_id.0)
            .bind(&event.title)
            .bind(&event.tags)
            .bind(&event.master.object_key)
            .bind(at)
            .bind(envelope.position_column()),
            TrackEvent::TrackTranscoded(event) => query(
                "UPDATE tracks SET status = 'ready', failure = NULL, duration_ms = $2,
                                   playlist_key = $3
                 WHERE track_id = $1",
            )
            .bind(event.track_id.0)
            .bind(bigint(event.properties.duration_ms)?)
            .bind(&event.playlist_key),
            TrackEvent::TrackTranscodeFailed(event) => {
                query("UPDATE tracks SET status = 'failed', failure = $2 WHERE track_id = $1")
                    .bind(event.track_id.0)
                    .bind(&event.reason)
            }
            TrackEvent::TrackPublished(event) => query(
                "UPDATE tracks SET published = true, published_at = $2, published_position = $3
                 WHERE track_id = $1",
            )
            .bind(event.track_id.0)
            .bind(at)
            .bind(envelope.position_column()),
            TrackEvent::TrackMasterTakenDown(event) => {
                query("UPDATE tracks SET master_available = false WHERE track_id = $1")
                    .bind(event.track_id.0)
            }
        };
        statement.execute(to).await?;
        Ok(())
    }
}

stored_enum! {
    /// Whether a track can be streamed.
    TrackStatus {
        /// It is being made.
        Processing = "processing",
        /// It can.
        Ready = "ready",
        /// It could not be made.
        Failed = "failed",
        /// It can't any more, or never will: its master was taken down. Whatever comes of making it
        /// then, so this is told of the master, and not kept with the others.
        TakenDown = "taken_down",
    }
}

/// A track.
#[derive(Clone, Debug, PartialEq)]
pub struct Track {
    /// Which track.
    pub track_id: TrackId,
    /// Whose it is.
    pub artist_id: UserId,
    /// Its title.
    pub title: String,
    /// Words it is found by.
    pub tags: Vec<String>,
    /// Whether it can be streamed.
    pub status: TrackStatus,
    /// Why it can't, for the musician to read.
    pub failure: Option<String>,
    /// How long it plays, in milliseconds; known once it can be streamed.
    pub duration_ms: Option<u64>,
    /// The HLS master playlist among the objects.
    pub playlist_key: Option<String>,
    /// The master among the objects.
    pub master_object_key: String,
    /// Whether the master may be handed out.
    pub master_available: bool,
    /// Whether it is there for everybody.
    pub published: bool,
    /// When it was made of an upload, as recorded.
    pub created_at: DateTime<Utc>,
    /// When it was published, as recorded: lists that go by it are never out of order.
    pub published_at: Option<DateTime<Utc>>,
}

queries! {
    /// Queries over tracks.
    Tracks
}

impl Tracks {
    /// The track with this id, published or not.
    pub async fn by_id(&self, track: TrackId) -> Result<Option<Track>, QueryError> {
        Ok(self.by_ids(&[track]).await?.pop())
    }

    /// The tracks with these ids, in no order; the unknown are left out.
    pub async fn by_ids(&self, tracks: &[TrackId]) -> Result<Vec<Track>, QueryError> {
        let ids: Vec<Uuid> = tracks.iter().map(|track| track.0).collect();
        let rows = query("SELECT * FROM tracks_v3.tracks WHERE track_id = ANY ($1)")
            .bind(ids)
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(track).collect()
    }

    /// An artist's tracks, drafts among them, the one made last first.
    pub async fn by_artist(
        &self,
        artist: UserId,
        after: Option<Cursor>,
        size: PageSize,
    ) -> Result<Page<Track>, QueryError> {
        let sql = "SELECT *, created_position AS position FROM tracks_v3.tracks
                   WHERE artist_id = $1 AND created_position < $2
                   ORDER BY created_position DESC LIMIT $3";
        page(&self.pool, sql, artist.0, (after, size), track).await
    }

    /// Every published track whose master was not taken down, the one published last first.
    pub async fn published(
        &self,
        after: Option<Cursor>,
        size: PageSize,
    ) -> Result<Page<Track>, QueryError> {
        let rows = query(
            "SELECT *, published_position AS position FROM tracks_v3.tracks
             WHERE published AND master_available AND published_position < $1
             ORDER BY published_position DESC LIMIT $2",
        )
        .bind(Cursor::column(after))
        .bind(size.and_one())
        .fetch_all(&self.pool)
        .await?;
        Page::of(rows, size, track)
    }

    /// The same of several artists, each artist's last published first; those without any are left
    /// out.
    pub async fn published_by(
        &self,
        artists: &[UserId],
        after: Option<Cursor>,
        size: PageSize,
    ) -> Result<HashMap<Uuid, Page<Track>>, QueryError> {
        let sql = "SELECT of_one.* FROM unnest($1::uuid[]) AS wanted (id) CROSS JOIN LATERAL (
                       SELECT *, published_position AS position FROM tracks_v3.tracks
                       WHERE artist_id = wanted.id AND published AND master_available
                         AND published_position < $2
                       ORDER BY published_position DESC LIMIT $3) AS of_one";
        let artists = artists.iter().map(|artist| artist.0).collect();
        pages(&self.pool, sql, "artist_id", artists, (after, size), track).await
    }
}

fn track(row: &PgRow) -> Result<Track, QueryError> {
    let duration_ms: Option<i64> = row.try_get("duration_ms")?;
    let master_available = row.try_get("master_available")?;
    let status = match master_available {
        true => TrackStatus::read(row, "status")?,
        false => TrackStatus::TakenDown,
    };
    Ok(Track {
        track_id: TrackId(row.try_get("track_id")?),
        artist_id: UserId(row.try_get("artist_id")?),
        title: row.try_get("title")?,
        tags: row.try_get("tags")?,
        status,
        failure: row.try_get("failure")?,
        duration_ms: duration_ms.map(i64::unsigned_abs),
        playlist_key: row.try_get("playlist_key")?,
        master_object_key: row.try_get("master_object_key")?,
        master_available,
        published: row.try_get("published")?,
        created_at: row.try_get("created_at")?,
        published_at: row.try_get("published_at")?,
    })
}
