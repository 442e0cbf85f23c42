//! The feed: a projection that makes documents of events and gives them to an index.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use event_schemas::audio::TrackEvent;
use event_schemas::user::UserEvent;
use event_schemas::{TrackId, UserId};
use sqlx::{PgConnection, Row, query, query_scalar};
use uuid::Uuid;

use crate::envelope::{Envelope, Event};
use crate::projection::{ApplyError, ModelId, Projection, Target};
use crate::search::{SearchChange, SearchDocument, SearchIndex, Subject};

/// The categories that search takes events of.
pub const SEARCH_CATEGORIES: &[&str] = &["track", "user"];

const TABLES: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS people (
        user_id uuid PRIMARY KEY,
        handle text,
        display_name text NOT NULL
    )",
    "CREATE INDEX IF NOT EXISTS people_by_handle ON people USING hash (handle)",
    "CREATE TABLE IF NOT EXISTS tracks (
        track_id uuid PRIMARY KEY,
        artist_id uuid NOT NULL,
        title text NOT NULL,
        tags text[] NOT NULL,
        published boolean NOT NULL DEFAULT false
    )",
    "CREATE INDEX IF NOT EXISTS tracks_by_artist ON tracks (artist_id) WHERE published",
    crate::search::postgres::DOCUMENTS,
    crate::search::postgres::DOCUMENTS_BY_TEXT,
    crate::search::postgres::DOCUMENTS_BY_SQUASHED,
    crate::search::postgres::PERSONS_BY_TEXT,
];

/// Feeds an index.
pub struct SearchFeed {
    model: ModelId,
    index: Arc<dyn SearchIndex>,
}

impl SearchFeed {
    /// Feeds this index; the model tells the checkpoints of different indexes apart.
    pub fn new(model: ModelId, index: Arc<dyn SearchIndex>) -> Self {
        Self { model, index }
    }
}

/// What a batch has touched: what documents must be made of anew.
#[derive(Default)]
struct Touched {
    people: BTreeSet<Uuid>,
    tracks: BTreeSet<Uuid>,
}

#[async_trait]
impl Projection for SearchFeed {
    fn id(&self) -> ModelId {
        self.model
    }

    fn categories(&self) -> &'static [&'static str] {
        SEARCH_CATEGORIES
    }

    fn tables(&self) -> &'static [&'static str] {
        TABLES
    }

    async fn apply(
        &self,
        target: Target,
        connection: &mut PgConnection,
        events: &[Envelope],
    ) -> Result<(), ApplyError> {
        let mut touched = Touched::default();
        for envelope in events {
            match &envelope.event {
                Event::User(event) => user(connection, event, &mut touched).await?,
                Event::Track(event) => track(connection, event, &mut touched).await?,
                _ => {}
            }
        }
        let changes = documents(connection, touched).await?;
        if changes.is_empty() {
            return Ok(());
        }
        self.index.write(target, connection, &changes).await
    }

    async fn has_live(&self) -> Result<bool, ApplyError> {
        self.index.has_live().await
    }

    async fn begin_shadow(&self) -> Result<(), ApplyError> {
        self.index.begin_shadow().await
    }

    async fn swap_shadow(&self) -> Result<(), ApplyError> {
        self.index.swap_shadow().await
    }
}

async fn user(
    to: &mut PgConnection,
    event: &UserEvent,
    touched: &mut Touched,
) -> Result<(), ApplyError> {
    let (user, statement) = match event {
        UserEvent::UserRegistered(event) => {
            // Who never confirmed an address may have lost the handle to this one.
            let lost = "UPDATE people SET handle = NULL WHERE handle = $1 RETURNING user_id";
            let lost = query_scalar(lost).bind(&event.handle).fetch_all(&mut *to).await?;
            touched.people.extend::<Vec<Uuid>>(lost);
            let sql = "INSERT INTO people (user_id, handle, display_name) VALUES ($1, $3, $2)";
            let statement = query(sql).bind(event.user_id.0).bind(&event.display_name);
            (event.user_id, statement.bind(&event.handle))
        }
        UserEvent::UserProfileChanged(event) => {
            let sql = "UPDATE people SET display_name = $2 WHERE user_id = $1";
            (event.user_id, query(sql).bind(event.user_id.0).bind(&event.display_name))
        }
        UserEvent::UserEmailConfirmed(_) | UserEvent::UserRoleGranted(_) => return Ok(()),
    };
    touched.people.insert(user.0);
    statement.execute(to).await?;
    Ok(())
}

async fn track(
    to: &mut PgConnection,
    event: &TrackEvent,
    touched: &mut Touched,
) -> Result<(), ApplyError> {
    let statement = match event {
        TrackEvent::TrackCreated(event) => {
            query("INSERT INTO tracks (track_id, artist_id, title, tags) VALUES ($1, $2, $3, $4)")
                .bind(event.track_id.0)
                .bind(event.artist_id.0)
                .bind(&event.title)
                .bind(&event.tags)
        }
        TrackEvent::TrackPublished(event) => {
            touched.tracks.insert(event.track_id.0);
            query("UPDATE tracks SET published = true WHERE track_id = $1").bind(event.track_id.0)
        }
        // It is found no more, and nothing that happens to it afterwards makes it found again.
        TrackEvent::TrackMasterTakenDown(event) => {
            touched.tracks.insert(event.track_id.0);
            query("DELETE FROM tracks WHERE track_id = $1").bind(event.track_id.0)
        }
        TrackEvent::TrackTranscoded(_) | TrackEvent::TrackTranscodeFailed(_) => return Ok(()),
    };
    statement.execute(to).await?;
    Ok(())
}

/// The documents of what was touched; an artist's new name is in those of their tracks, too. A
/// track that was touched and has none is to be found no more.
async fn documents(
    from: &mut PgConnection,
    touched: Touched,
) -> Result<Vec<SearchChange>, ApplyError> {
    let people: Vec<Uuid> = touched.people.into_iter().collect();
    let mut gone = touched.tracks;
    let tracks: Vec<Uuid> = gone.iter().copied().collect();
    let mut changes = Vec::new();
    if !people.is_empty() {
        let sql = "SELECT user_id, handle, display_name FROM people WHERE user_id = ANY ($1)";
        for row in query(sql).bind(&people).fetch_all(&mut *from).await? {
            changes.push(SearchChange::Put(SearchDocument {
                subject: Subject::Person(UserId(row.try_get("user_id")?)),
                title: row.try_get("display_name")?,
                handle: row.try_get("handle")?,
                words: String::new(),
            }));
        }
    }
    let rows = query(
        "SELECT track_id, title, concat_ws(' ', display_name, handle,
                                           array_to_string(tags, ' ')) AS words
         FROM tracks LEFT JOIN people ON user_id = artist_id
         WHERE published AND (track_id = ANY ($1) OR artist_id = ANY ($2))",
    )
    .bind(&tracks)
    .bind(&people)
    .fetch_all(from)
    .await?;
    for row in rows {
        let track_id = row.try_get("track_id")?;
        gone.remove(&track_id);
        changes.push(SearchChange::Put(SearchDocument {
            subject: Subject::Track(TrackId(track_id)),
            title: row.try_get("title")?,
            handle: None,
            words: row.try_get("words")?,
        }));
    }
    let gone = gone.into_iter().map(|track_id| Subject::Track(TrackId(track_id)));
    changes.extend(gone.map(SearchChange::Remove));
    Ok(changes)
}
