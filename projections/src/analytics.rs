//! Analytics: the port of what is asked about listenings, whichever engine counts them.

pub mod conformance;

use async_trait::async_trait;
use chrono::NaiveDate;
use event_schemas::TrackId;

use crate::projection::{ModelId, POSTGRES};
use crate::query_error::QueryError;

/// Most days that are told at once.
pub const DAYS_MAX: u32 = 366;

/// How often a track was listened to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrackPlays {
    /// How often.
    pub plays: u64,
    /// By how many people.
    pub listeners: u64,
    /// How long altogether, in milliseconds.
    pub listened_ms: u64,
}

/// The same of one day, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DayPlays {
    /// The day.
    pub day: NaiveDate,
    /// How often.
    pub plays: u64,
    /// How long altogether, in milliseconds.
    pub listened_ms: u64,
}

/// Counts of listenings. Every engine counts the same.
#[async_trait]
pub trait PlayStatistics: Send + Sync + 'static {
    /// The model that is asked, for a reader who waits for its own writes.
    fn model(&self) -> ModelId;

    /// What counts, as operators call it.
    fn engine(&self) -> &'static str {
        POSTGRES
    }

    /// How often tracks were listened to, in no order; those never listened to are left out.
    async fn of_tracks(&self, tracks: &[TrackId])
    -> Result<Vec<(TrackId, TrackPlays)>, QueryError>;

    /// The days on which a track was listened to, latest first, at most [`DAYS_MAX`].
    async fn days(&self, track: TrackId, days: u32) -> Result<Vec<DayPlays>, QueryError>;

    /// How often one track was listened to; zeros when never.
    async fn of_track(&self, track: TrackId) -> Result<TrackPlays, QueryError> {
        let plays = self.of_tracks(&[track]).await?.pop();
        Ok(plays.map(|(_, plays)| plays).unwrap_or_default())
    }
}
