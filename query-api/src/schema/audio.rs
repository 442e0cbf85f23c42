//! Tracks: what can be listened to.

use access::Permission;
use async_graphql::{Context, Description, Enum, Object};
use chrono::{DateTime, Utc};
use event_schemas::TrackId;
use projections::postgres::{self, tracks};
use uuid::Uuid;

use crate::failure::{Failure, Nullable};
use crate::reader::Reader;
use crate::rows::{ListingsOf, PlaysOf};
use crate::schema::analytics::TrackStatistics;
use crate::schema::commerce::Listing;
use crate::schema::connection::{Connection, connection};
use crate::schema::page::{cost, place};
use crate::schema::user::User;

/// What can be asked about tracks.
#[derive(Default)]
pub struct AudioQuery;

#[Object]
impl AudioQuery {
    /// A track; one that is not published is there for its artist, moderators and administrators
    /// alone, and one whose master was taken down still is there by its id, which orders and
    /// listings have.
    async fn track(&self, context: &Context<'_>, id: Uuid) -> Nullable<Track> {
        async {
            let reader = Reader::of(context);
            let track = reader.fresh(tracks::MODEL).await?.tracks.by_id(TrackId(id)).await?;
            Ok(track.filter(|track| reader.sees_track(track)).map(Track))
        }
        .await
        .transpose()
    }

    /// What is published and can be heard, the last first.
    #[graphql(complexity = "cost(first, child_complexity)")]
    async fn tracks(
        &self,
        context: &Context<'_>,
        #[graphql(default = 20)] first: Option<i32>,
        after: Option<String>,
    ) -> Result<Connection<Track>, Failure> {
        let (after, size) = place(first, after.as_deref())?;
        let tracks = &Reader::of(context).fresh(tracks::MODEL).await?.tracks;
        let page = tracks.published(after, size).await?;
        Ok(connection(page, (after, size), Track))
    }
}

/// Whether a track can be heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "tracks::TrackStatus")]
pub enum TrackStatus {
    /// It is being prepared for streaming.
    Processing,
    /// It can be.
    Ready,
    /// Its recording can't be streamed.
    Failed,
    /// Its master was taken down, so nobody can hear it any more.
    TakenDown,
}

/// What a musician published, or will.
#[derive(Description)]
pub struct Track(pub postgres::Track);

#[Object(use_type_description)]
impl Track {
    /// Which track.
    async fn id(&self) -> Uuid {
        self.0.track_id.0
    }

    /// Its title.
    async fn title(&self) -> &str {
        &self.0.title
    }

    /// Words it is found by.
    async fn tags(&self) -> &[String] {
        &self.0.tags
    }

    /// Whether it can be heard.
    async fn status(&self) -> TrackStatus {
        self.0.status.into()
    }

    /// Why its recording can't be streamed, when that failed.
    async fn failure(&self) -> Option<&str> {
        self.0.failure.as_deref()
    }

    /// How long it plays, in milliseconds, once that is known.
    async fn duration_ms(&self) -> Option<i32> {
        self.0.duration_ms.map(|ms| i32::try_from(ms).unwrap_or(i32::MAX))
    }

    /// When it was published, as recorded: lists of what was published last go by it.
    async fn published_at(&self) -> Option<DateTime<Utc>> {
        self.0.published_at
    }

    /// When it was made, as recorded.
    async fn created_at(&self) -> DateTime<Utc> {
        self.0.created_at
    }

    /// Whose it is.
    async fn artist(&self, context: &Context<'_>) -> Result<User, Failure> {
        Ok(User(Reader::of(context).person(self.0.artist_id).await?))
    }

    /// Where its HLS master playlist is, as a path, when it is published and can be heard.
    async fn playlist_url(&self) -> Option<String> {
        let can_be_heard = self.0.published && is_streamed(&self.0);
        can_be_heard.then(|| format!("/media/tracks/{}/master.m3u8", self.0.track_id))
    }

    /// Whether everybody sees it.
    async fn published(&self) -> bool {
        self.0.published
    }

    /// Whether its master is there, and was not taken down.
    async fn master_available(&self) -> bool {
        self.0.master_available
    }

    /// How often it was listened to.
    async fn plays(&self, context: &Context<'_>) -> Result<i32, Failure> {
        let plays = Reader::of(context).rows.load_one(PlaysOf(self.0.track_id)).await?;
        Ok(i32::try_from(plays.unwrap_or_default().plays).unwrap_or(i32::MAX))
    }

    /// How often, by how many and when it was listened to: for its artist alone.
    async fn statistics(&self, context: &Context<'_>) -> Option<TrackStatistics> {
        let reader = Reader::of(context);
        let is_theirs =
            reader.is_viewer(self.0.artist_id) && reader.may(Permission::ReadOwnStatistics);
        is_theirs.then_some(TrackStatistics(self.0.track_id))
    }

    /// Its offers of licences, newest first.
    #[graphql(complexity = "cost(first, child_complexity)")]
    async fn listings(
        &self,
        context: &Context<'_>,
        #[graphql(default = 20)] first: Option<i32>,
        after: Option<String>,
    ) -> Result<Connection<Listing>, Failure> {
        let place = place(first, after.as_deref())?;
        let page = Reader::of(context).rows.load_one(ListingsOf(self.0.track_id, place)).await?;
        Ok(connection(page.unwrap_or_else(projections::Page::empty), place, Listing))
    }
}

/// Whether a track is there to be streamed: prepared, and its master not taken down since.
pub fn is_streamed(track: &postgres::Track) -> bool {
    track.master_available && track.playlist_key.is_some()
}
