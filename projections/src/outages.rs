//! Engines outside PostgreSQL that do not answer: that is told once when it begins, and once when
//! it is over, by the engine's name and not by each request.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use event_schemas::TrackId;
use sqlx::PgConnection;

use crate::analytics::{DayPlays, PlayStatistics, TrackPlays};
use crate::projection::{ApplyError, ModelId, Target};
use crate::query_error::QueryError;
use crate::runner::with_causes;
use crate::search::{SearchChange, SearchIndex, SearchQuery, Subject};

/// One that comes and goes is told of no more often than this.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// What is known of an engine, and what was told.
#[derive(Debug, Default)]
struct Outage {
    since: Option<Instant>,
    told_at: Option<Instant>,
    /// Whether its end is still to be told.
    is_open: bool,
}

impl Outage {
    /// A query was not answered: whether that is to be told.
    fn failed(&mut self, now: Instant) -> bool {
        let began = self.since.is_none();
        self.since.get_or_insert(now);
        let told_lately = |at| now.saturating_duration_since(at) < TELL_EVERY;
        let is_news = began && !self.told_at.is_some_and(told_lately);
        if is_news {
            (self.told_at, self.is_open) = (Some(now), true);
        }
        is_news
    }

    /// A query was answered: for how long none was, where that is to be told.
    fn answered(&mut self, now: Instant) -> Option<Duration> {
        let away = now.saturating_duration_since(self.since.take()?);
        std::mem::take(&mut self.is_open).then_some(away)
    }
}

/// An engine, and what is heard of it.
pub struct Told<E: ?Sized> {
    engine: Arc<E>,
    outage: Mutex<Outage>,
}

impl<E: ?Sized> Told<E> {
    /// The same engine, whose outages are told.
    pub fn new(engine: Arc<E>) -> Self {
        Self { engine, outage: Mutex::default() }
    }

    fn heard<T>(&self, name: &str, answer: Result<T, QueryError>) -> Result<T, QueryError> {
        let mut outage = self.outage.lock().unwrap_or_else(PoisonError::into_inner);
        match &answer {
            Ok(_) => {
                if let Some(away) = outage.answered(Instant::now()) {
                    let away_seconds = away.as_secs();
                    tracing::info!(engine = name, away_seconds, "an engine answers again");
                }
            }
            Err(QueryError::Analytics(cause) | QueryError::Search(cause)) => {
                let error = with_causes(&**cause);
                if outage.failed(Instant::now()) {
                    tracing::warn!(engine = name, error, "an engine did not answer");
                } else {
                    tracing::debug!(engine = name, error, "an engine did not answer");
                }
            }
            // Those are of the query, or of PostgreSQL.
            Err(_) => {}
        }
        answer
    }
}

#[async_trait]
impl PlayStatistics for Told<dyn PlayStatistics> {
    fn model(&self) -> ModelId {
        self.engine.model()
    }

    fn engine(&self) -> &'static str {
        self.engine.engine()
    }

    async fn of_tracks(
        &self,
        tracks: &[TrackId],
    ) -> Result<Vec<(TrackId, TrackPlays)>, QueryError> {
        self.heard(self.engine(), self.engine.of_tracks(tracks).await)
    }

    async fn days(&self, track: TrackId, days: u32) -> Result<Vec<DayPlays>, QueryError> {
        self.heard(self.engine(), self.engine.days(track, days).await)
    }
}

#[async_trait]
impl SearchIndex for Told<dyn SearchIndex> {
    fn engine(&self) -> &'static str {
        self.engine.engine()
    }

    async fn write(
        &self,
        target: Target,
        connection: &mut PgConnection,
        changes: &[SearchChange],
    ) -> Result<(), ApplyError> {
        self.engine.write(target, connection, changes).await
    }

    async fn search(&self, query: &SearchQuery) -> Result<Vec<Subject>, QueryError> {
        let found = self.engine.search(query).await;
        match found {
            // Nothing is found without asking, too: where the text has nothing to search for.
            Ok(found) if found.is_empty() => Ok(found),
            found => self.heard(self.engine(), found),
        }
    }

    async fn has_live(&self) -> Result<bool, ApplyError> {
        self.engine.has_live().await
    }

    async fn begin_shadow(&self) -> Result<(), ApplyError> {
        self.engine.begin_shadow().await
    }

    async fn swap_shadow(&self) -> Result<(), ApplyError> {
        self.engine.swap_shadow().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_told_when_it_begins_and_when_it_is_over_however_many_meet_it() {
        let (mut outage, began) = (Outage::default(), Instant::now());
        assert_eq!(outage.answered(began), None);
        let seconds = (0..90).map(|second| began + Duration::from_secs(second));
        assert_eq!(seconds.filter(|&now| outage.failed(now)).count(), 1);
        let over = began + Duration::from_secs(90);
        assert_eq!(outage.answered(over), Some(over - began));
        assert_eq!(outage.answered(over), None);
    }

    #[test]
    fn one_that_comes_and_goes_is_told_of_once_a_minute() {
        let (mut outage, began) = (Outage::default(), Instant::now());
        let (mut away, mut back) = (0, 0);
        for now in (0..180).map(|second| began + Duration::from_secs(second)) {
            away += usize::from(outage.failed(now));
            back += usize::from(outage.answered(now).is_some());
        }
        assert_eq!((away, back), (3, 3));
    }
}
