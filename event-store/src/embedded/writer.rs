//! The one thread that writes: drain, decide, write, sync, publish, acknowledge.

use std::sync::Arc;
use std::time::Instant;

use chrono::DateTime;
use tokio::sync::mpsc;

use super::lock::FolderLock;
use super::recent::RecentIds;
use super::requests::Request;
use super::sealer::Sealer;
use super::staging::Staging;
use super::store::Shared;
use crate::error::StoreError;
use crate::event::RecordedEvent;
use crate::index::stream_hash;
use crate::limits::{GROUP_BYTES, QUEUE_APPENDS_MAX};
use crate::log::{CleanMark, Disk, FrameBuilder, next_segment};

/// All that only the writing thread has.
pub(crate) struct Writer {
    disk: Arc<dyn Disk>,
    // Before the lock, which must be held until the last index is written.
    sealer: Sealer,
    lock: Option<FolderLock>,
    shared: Arc<Shared>,
    recent: RecentIds,
    segment_bytes: u64,
    /// A new segment was begun and could not be finished: nothing more goes into the old one.
    must_roll: bool,
    poisoned: Option<Arc<str>>,
}

impl Writer {
    /// A writer for a log that was just opened.
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        sealer: Sealer,
        lock: Option<FolderLock>,
        shared: Arc<Shared>,
        recent: RecentIds,
        segment_bytes: u64,
    ) -> Self {
        let (must_roll, poisoned) = (false, None);
        Self { disk, sealer, lock, shared, recent, segment_bytes, must_roll, poisoned }
    }

    /// Works until nobody can ask any more, then closes the log in peace.
    pub(crate) fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        while let Some(first) = requests.blocking_recv() {
            self.group(first, &mut requests);
        }
        drop(self.sealer);
        if self.poisoned.is_none() {
            let (segment, length) = self.shared.catalog.active();
            let mark = CleanMark { segment: segment.first, length };
            if let Err(error) = mark.write(&*self.disk) {
                tracing::warn!(%error, "can't mark the log as closed; the next opening checks it");
            }
        }
        drop(self.lock.take());
    }

    /// Commits a request together with those that are waiting behind it.
    fn group(&mut self, first: Request, requests: &mut mpsc::Receiver<Request>) {
        if let Some(reason) = &self.poisoned {
            let error = StoreError::Poisoned { reason: Arc::clone(reason) };
            first.asked.refuse(error);
            return;
        }
        let shared = Arc::clone(&self.shared);
        let now = shared.clock.now().timestamp_micros();
        let at_micros = shared.catalog.last_recorded_at_micros().map_or(now, |last| last.max(now));
        let recorded_at = DateTime::from_timestamp_micros(at_micros).unwrap_or_default();
        let mut staging = Staging::new(&shared.catalog, &self.recent, recorded_at);
        let mut answers = Vec::new();
        let mut next = Some(first);
        while let Some(request) = next {
            let Request { asked, permit } = request;
            answers.push(asked.stage(&mut staging));
            drop(permit);
            let room = staging.bytes() < GROUP_BYTES && answers.len() < QUEUE_APPENDS_MAX;
            next = if room { requests.try_recv().ok() } else { None };
        }
        let events = staging.into_events();
        let committed = self.commit(events);
        for answer in answers {
            answer.give(&committed);
        }
    }

    /// Makes the events durable and then visible, or none of them.
    fn commit(&mut self, events: Vec<RecordedEvent>) -> Result<(), StoreError> {
        if events.is_empty() {
            return Ok(());
        }
        let frame_bytes = FrameBuilder::frame_bytes(&events) as u64;
        let (_, length) = self.shared.catalog.active();
        let begun = self.shared.catalog.active_events() > 0;
        if self.must_roll || (begun && length + frame_bytes > self.segment_bytes) {
            self.roll()?;
        }
        let (segment, length) = self.shared.catalog.active();
        let frame = FrameBuilder::encode(&events, segment.salt);
        let file = segment.file();
        if let Err(error) = file.write_at(frame.bytes(), length) {
            let error = StoreError::from(error);
            if !matches!(error, StoreError::StorageFull) {
                return Err(self.poison(&error));
            }
            return match file.truncate(length) {
                Ok(()) => Err(error),
                Err(error) => Err(self.poison(&error.into())),
            };
        }
        let began = Instant::now();
        if let Err(error) = file.sync() {
            return Err(self.poison(&StoreError::Io(Arc::new(error))));
        }
        metrics::histogram!("event_store_sync_seconds").record(began.elapsed());
        metrics::counter!("event_store_events_appended_total").increment(events.len() as u64);
        self.shared.catalog.publish(&events, frame.record_offsets(), frame.bytes().len());
        for event in &events {
            let hash = stream_hash(event.stream.as_str());
            self.recent.add(event.id, hash, event.position.get());
        }
        self.shared.live.publish(&events);
        Ok(())
    }

    /// Begins the next segment and seals the one before.
    fn roll(&mut self) -> Result<(), StoreError> {
        self.must_roll = true;
        let first = self.shared.catalog.head() + 1;
        let next = match next_segment(&*self.disk, first, self.shared.clock.now()) {
            Ok(segment) => segment,
            Err(StoreError::StorageFull) => return Err(StoreError::StorageFull),
            Err(error) => return Err(self.poison(&error)),
        };
        let length = next.length().map_err(|error| self.poison(&error))?;
        self.sealer.seal(self.shared.catalog.roll(Arc::new(next), length));
        self.must_roll = false;
        Ok(())
    }

    /// Stops writing for good: after a failure nobody knows what the disk holds.
    fn poison(&mut self, error: &StoreError) -> StoreError {
        let reason: Arc<str> = match error {
            StoreError::Io(source) => source.to_string().into(),
            other => other.to_string().into(),
        };
        tracing::error!(%reason, "the event store stops writing; open it again to recover");
        metrics::counter!("event_store_poisoned_total").increment(1);
        self.poisoned = Some(Arc::clone(&reason));
        StoreError::Poisoned { reason }
    }
}
