//! Statistics: what artists are told of listenings.

use async_graphql::{Context, Description, Object, SimpleObject};
use chrono::NaiveDate;
use event_schemas::TrackId;
use projections::analytics::{self, DAYS_MAX, TrackPlays};

use crate::failure::Failure;
use crate::reader::Reader;
use crate::rows::PlaysOf;
use crate::schema::long::Long;

/// How many days are told of where nothing is said, or null.
const DAYS_DEFAULT: i32 = 30;

/// How a track was listened to.
#[derive(Description)]
pub struct TrackStatistics(pub TrackId);

impl TrackStatistics {
    async fn counts(&self, context: &Context<'_>) -> Result<TrackPlays, Failure> {
        let counts = Reader::of(context).rows.load_one(PlaysOf(self.0)).await?;
        Ok(counts.unwrap_or_default())
    }
}

#[Object(use_type_description)]
impl TrackStatistics {
    /// How often.
    async fn plays(&self, context: &Context<'_>) -> Result<i32, Failure> {
        Ok(i32::try_from(self.counts(context).await?.plays).unwrap_or(i32::MAX))
    }

    /// By how many people.
    async fn listeners(&self, context: &Context<'_>) -> Result<i32, Failure> {
        Ok(i32::try_from(self.counts(context).await?.listeners).unwrap_or(i32::MAX))
    }

    /// How long altogether, in milliseconds.
    async fn listened_ms(&self, context: &Context<'_>) -> Result<Long, Failure> {
        Ok(Long(self.counts(context).await?.listened_ms))
    }

    /// The days on which it was listened to, latest first. A day's page is a statement of its own.
    #[graphql(complexity = "20 + child_complexity")]
    async fn days(
        &self,
        context: &Context<'_>,
        #[graphql(default = 30)] last: Option<i32>,
    ) -> Result<Vec<DayPlays>, Failure> {
        let days = u32::try_from(last.unwrap_or(DAYS_DEFAULT))
            .ok()
            .filter(|days| (1..=DAYS_MAX).contains(days));
        let days =
            days.ok_or_else(|| Failure::Validation(format!("`last` must be 1 to {DAYS_MAX}")))?;
        let reader = Reader::of(context);
        let statistics = &reader.parts.statistics;
        reader.freshness.reach(statistics.model()).await?;
        Ok(statistics.days(self.0, days).await?.into_iter().map(DayPlays::from).collect())
    }
}

/// The listenings of one day, in UTC.
#[derive(SimpleObject)]
pub struct DayPlays {
    /// The day.
    day: NaiveDate,
    /// How often.
    plays: i32,
    /// How long altogether, in milliseconds.
    listened_ms: Long,
}

impl From<analytics::DayPlays> for DayPlays {
    fn from(of_day: analytics::DayPlays) -> Self {
        let plays = i32::try_from(of_day.plays).unwrap_or(i32::MAX);
        Self { day: of_day.day, plays, listened_ms: Long(of_day.listened_ms) }
    }
}
