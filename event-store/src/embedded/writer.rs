//! The one thread that writes: drain, decide, write, sync, publish, acknowledge.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use chrono::{DateTime, Utc};
use tokio::sync::mpsc;

use super::lock::FolderLock;
use super::recent::RecentIds;
use super::recorded_at::{News, RecordedAt};
use super::requests::Request;
use super::sealer::Sealer;
use super::staging::Staging;
use super::store::Shared;
use crate::error::{StoreError, is_full};
use crate::event::RecordedEvent;
use crate::limits::{ALLOCATE_BYTES, CLEAR_BYTES, GROUP_BYTES, QUEUE_APPENDS_MAX};
use crate::log::{CleanMark, Disk, DiskFile, FrameBuilder, NewSegment, NewestMark};

/// All that only the writing thread has.
pub(crate) struct Writer {
    disk: Arc<dyn Disk>,
    // Before the lock, which must be held until the last index is written.
    sealer: Sealer,
    lock: Option<FolderLock>,
    shared: Arc<Shared>,
    recent: RecentIds,
    segment_bytes: u64,
    /// A segment whose index takes so many bytes of memory is full, too.
    index_bytes: usize,
    /// Up to where the active segment has room on the disk, as far as is known.
    allocated: u64,
    /// Up to where that room was written to, as far as is known.
    cleared: u64,
    /// Nothing more goes into the active segment: a new one was begun and could not be finished, or
    /// what was encrypted with its key may have been cut off, or it is not encrypted as it should.
    must_roll: bool,
    poisoned: Option<Arc<str>>,
    times: RecordedAt,
}

impl Writer {
    /// A writer for a log that was just opened.
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        sealer: Sealer,
        lock: Option<FolderLock>,
        shared: Arc<Shared>,
        recent: RecentIds,
        (segment_bytes, index_bytes): (u64, usize),
        must_roll: bool,
    ) -> Self {
        let (allocated, cleared, poisoned, times) = (0, 0, None, RecordedAt::default());
        Self {
            disk,
            sealer,
            lock,
            shared,
            recent,
            segment_bytes,
            index_bytes,
            allocated,
            cleared,
            must_roll,
            poisoned,
            times,
        }
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
            let closed = segment.give_back(length).and_then(|()| mark.write(&*self.disk));
            if let Err(error) = closed {
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
        let recorded_at = self.recorded_at();
        let mut staging =
            Staging::new(&shared.catalog, &self.recent, shared.keys.entropy(), recorded_at);
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
        let writes = !events.is_empty();
        let committed = self.commit(events);
        if writes {
            shared.tell_full(matches!(committed, Err(StoreError::StorageFull)));
        }
        for answer in answers {
            answer.give(&committed);
        }
        #[cfg(veza_canary = "acknowledge-before-sync")]
        let _ = shared.catalog.active().0.file().sync();
    }

    /// When what comes now is recorded.
    fn recorded_at(&mut self) -> DateTime<Utc> {
        let last = self.shared.catalog.last_recorded_at_micros();
        let (at, news) = self.times.next(self.shared.clock.now(), last);
        match news {
            None => {}
            Some(News::Behind(seconds)) => tracing::warn!(
                seconds,
                "the clock is behind the log's last event: recorded times hardly move until then"
            ),
            Some(News::Caught) => tracing::info!("the clock has caught up with the log"),
        }
        at
    }

    /// Makes the events durable and then visible, or none of them.
    fn commit(&mut self, events: Vec<RecordedEvent>) -> Result<(), StoreError> {
        if events.is_empty() {
            return Ok(());
        }
        #[cfg(veza_canary = "write-half-batch")]
        if events.len() > 1 {
            let (half, rest) = events.split_at(events.len() / 2);
            return self.commit(half.to_vec()).and(self.commit(rest.to_vec()));
        }
        let (segment, length) = self.shared.catalog.active();
        let begun = self.shared.catalog.active_events() > 0;
        let frame_bytes = FrameBuilder::frame_bytes(&events, &segment.layout) as u64;
        let is_full = length + frame_bytes > self.segment_bytes
            || self.shared.catalog.active_index_bytes() >= self.index_bytes;
        if self.must_roll || (begun && is_full) {
            self.roll()?;
        }
        let (segment, length) = self.shared.catalog.active();
        let file = segment.file();
        let frame_bytes = FrameBuilder::frame_bytes(&events, &segment.layout) as u64;
        let end = length + frame_bytes;
        let room = self.make_room(&**file, end);
        if let Err(error) = room.and_then(|()| self.clear_ahead(&**file, end, frame_bytes)) {
            return Err(self.unwritten(&**file, length, error));
        }
        let (_, chain) = self.shared.catalog.chain();
        let frame = FrameBuilder::encode(&events, &segment.layout, chain);
        if let Err(error) = file.write_at(frame.bytes(), length) {
            // Other bytes must not be encrypted for where these may be.
            self.must_roll = segment.layout.key.is_some();
            return Err(self.unwritten(&**file, length, error));
        }
        let names = self.shared.catalog.names();
        let hashes = names.of_events(&events);
        #[cfg(veza_canary = "visible-before-sync")]
        self.shared.catalog.publish(&events, &hashes, &frame);
        let began = Instant::now();
        if !cfg!(veza_canary = "acknowledge-before-sync")
            && let Err(error) = file.sync()
        {
            return Err(self.poison(&StoreError::Io(Arc::new(error))));
        }
        metrics::histogram!("veza_event_store_sync_seconds").record(began.elapsed());
        metrics::counter!("veza_event_store_events_appended_total").increment(events.len() as u64);
        self.shared.live.keep(&events);
        #[cfg(not(veza_canary = "visible-before-sync"))]
        self.shared.catalog.publish(&events, &hashes, &frame);
        let ids = events.iter().zip(&hashes).map(|(event, hashes)| (event.id, hashes.stream));
        self.recent.add_all(ids, events[0].position.get());
        self.shared.live.tell(&events, &hashes);
        Ok(())
    }

    /// Takes back what was not written whole, where the disk was only full.
    fn unwritten(&mut self, file: &dyn DiskFile, length: u64, error: io::Error) -> StoreError {
        let error = StoreError::from(error);
        if !matches!(error, StoreError::StorageFull) {
            return self.poison(&error);
        }
        (self.allocated, self.cleared) = (0, 0);
        match file.truncate(length) {
            Ok(()) => error,
            Err(error) => self.poison(&error.into()),
        }
    }

    /// Finds room for the active segment up to this length, and ahead of it where the disk has it.
    fn make_room(&mut self, file: &dyn DiskFile, length: u64) -> io::Result<()> {
        if length <= self.allocated {
            return Ok(());
        }
        let step = ALLOCATE_BYTES.min(self.segment_bytes).max(1);
        let ahead = length.next_multiple_of(step).min(self.segment_bytes.max(length));
        let (allocated, is_there) = match file.allocate(ahead) {
            Err(error) if is_full(&error) => (length, file.allocate(length)?),
            found => (ahead, found?),
        };
        self.allocated = allocated;
        if !is_there {
            // Zeros would take room that later frames may need.
            self.cleared = u64::MAX;
        }
        Ok(())
    }

    /// Writes zeros into the room behind a frame that ends here, unless they are there: the sync of
    /// a frame that is written over them has nothing to tell the file system of, which makes it
    /// half again as fast or more. A large frame gains little by that.
    fn clear_ahead(&mut self, file: &dyn DiskFile, end: u64, frame_bytes: u64) -> io::Result<()> {
        let behind = self.allocated.min(end + CLEAR_BYTES as u64);
        if end <= self.cleared || frame_bytes >= CLEAR_BYTES as u64 || behind <= end {
            return Ok(());
        }
        let length = usize::try_from(behind - end).unwrap_or(CLEAR_BYTES);
        file.write_at(&[0; CLEAR_BYTES][..length], end)?;
        self.cleared = behind;
        Ok(())
    }

    /// Begins the next segment, and seals the one before unless it is empty.
    fn roll(&mut self) -> Result<(), StoreError> {
        self.must_roll = true;
        let shared = Arc::clone(&self.shared);
        let (head, chain) = shared.catalog.chain();
        // Nothing was written yet, so nothing is in doubt: a later append may have more luck.
        let mark = NewestMark::file(&*self.disk)?;
        let next = NewSegment::open(&*self.disk, head + 1, &shared.keys)?;
        let next = match next.create(&*self.disk, &shared.keys, chain, shared.clock.now()) {
            Ok(segment) => segment,
            Err(StoreError::StorageFull) => return Err(StoreError::StorageFull),
            Err(error) => return Err(self.poison(&error)),
        };
        // Before its first frame; should it stay empty for want of room, an opening finds it so.
        if !cfg!(veza_canary = "unmarked-newest")
            && let Err(error) = shared.newest.set(&*mark, head + 1)
        {
            return Err(match StoreError::from(error) {
                StoreError::StorageFull => StoreError::StorageFull,
                error => self.poison(&error),
            });
        }
        let length = next.length().map_err(|error| self.poison(&error))?;
        if let Some(sealed) = shared.catalog.roll(Arc::new(next), length) {
            self.sealer.seal(sealed);
        }
        (self.allocated, self.cleared, self.must_roll) = (0, 0, false);
        Ok(())
    }

    /// Stops writing for good: after a failure nobody knows what the disk holds.
    fn poison(&mut self, error: &StoreError) -> StoreError {
        let reason: Arc<str> = match error {
            StoreError::Io(source) => source.to_string().into(),
            other => other.to_string().into(),
        };
        tracing::error!(%reason, "the event store stops writing; open it again to recover");
        metrics::counter!("veza_event_store_poisoned_total").increment(1);
        self.poisoned = (!cfg!(veza_canary = "forgive-failed-sync")).then(|| Arc::clone(&reason));
        StoreError::Poisoned { reason }
    }
}
