//! The store itself: the port's questions, handed to the writer or answered from the log.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use async_trait::async_trait;
use futures::TryStreamExt;
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::audit::{self, Verified};
use super::fullness::{Fullness, News};
use super::indexed;
use super::open::{EmbeddedOptions, OpenError};
use super::reading;
use super::requests::{Asked, Change, Reply, Request, metadata_event};
use super::scavenge::Scavenger;
use super::scrub::Scrubber;
use super::window::metadata_at;
use super::writer::Writer;
use crate::encryption::WrappingKeys;
use crate::error::{
    AppendError, IndexError, MultiAppendError, ReadError, StoreError, SubscribeError,
};
use crate::event::{EventId, NewEvent, RecordedEvent};
use crate::filter::{Filter, Matcher};
use crate::index::Catalog;
use crate::indexed::{Index, IndexReader, IndexSubscription, Ordinal, ReadIndex};
use crate::limits::{QUEUE_APPENDS_MAX, QUEUE_BYTES_MAX};
use crate::log::{
    AuditHead, Clock, Disk, Findings, KeyError, NewestMark, RotatedKeys, SegmentKeys, at_once,
    new_id,
};
use crate::multi::{MultiAppend, MultiAppended};
use crate::port::{Appended, EventStore};
use crate::position::Position;
use crate::read::{EventReader, ReadAll, ReadStream};
use crate::size::checked_size;
use crate::stream::{ExpectedRevision, Revision, StreamMetadata, StreamName};
use crate::subscription::{SubscribeFrom, Subscription};
use crate::subscriptions::{Checkpoints, Live, subscribe_all, subscribe_index, subscribe_stream};

/// An event store in a folder of this machine.
///
/// It needs a Tokio runtime around it. Dropping it closes it as [`EmbeddedStore::close`] does.
pub struct EmbeddedStore {
    pub(super) shared: Arc<Shared>,
    requests: Mutex<Option<mpsc::Sender<Request>>>,
    waiting_bytes: Arc<Semaphore>,
    writer: Mutex<Option<JoinHandle<()>>>,
    torn_bytes: u64,
}

/// What readers, subscribers and the writer share.
pub(crate) struct Shared {
    pub(crate) catalog: Catalog,
    pub(crate) live: Live,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) keys: SegmentKeys,
    pub(crate) disk: Arc<dyn Disk>,
    pub(super) scavenger: Scavenger,
    pub(super) scrubber: Scrubber,
    pub(super) findings: Arc<Findings>,
    pub(super) newest: NewestMark,
    closed: AtomicBool,
    fullness: Fullness,
}

impl Shared {
    pub(crate) fn new(
        catalog: Catalog,
        clock: Arc<dyn Clock>,
        disk: Arc<dyn Disk>,
        keys: SegmentKeys,
        findings: Findings,
        newest: NewestMark,
    ) -> Self {
        let findings = Arc::new(findings);
        catalog.tell(&findings);
        let live = Live::new(catalog.head(), catalog.names());
        let (closed, fullness) = (AtomicBool::new(false), Fullness::default());
        let (scavenger, scrubber) = (Scavenger::new(), Scrubber::default());
        Self {
            catalog,
            live,
            clock,
            keys,
            disk,
            scavenger,
            scrubber,
            findings,
            newest,
            closed,
            fullness,
        }
    }

    /// Keeps whether an append found no room, and says in the log when that began and has ended.
    pub(crate) fn tell_full(&self, is_full: bool) {
        let folder = self.disk.folder().map(|folder| tracing::field::display(folder.display()));
        match self.fullness.found(is_full, Instant::now()) {
            Some(News::Full) => tracing::warn!(folder, "the disk is full: appends are refused"),
            Some(News::HasRoom) => {
                tracing::info!(folder, "the disk has room: appends are taken again");
            }
            None => {}
        }
    }

    fn check_open(&self) -> Result<(), StoreError> {
        if self.closed.load(Ordering::Acquire) { Err(StoreError::Closed) } else { Ok(()) }
    }

    /// Reads something small: at once what is in memory, and else on a thread that may wait.
    pub(crate) async fn read<T, E>(
        self: &Arc<Self>,
        work: impl Fn(&Self) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.check_open()?;
        // Whoever reads one thing after the other lets others have their turn.
        tokio::task::coop::consume_budget().await;
        match at_once(|| work(self)) {
            Some(outcome) => outcome,
            None => self.blocking(work).await,
        }
    }

    /// Does what may wait for the disk on a thread that may wait.
    pub(crate) async fn blocking<T, E>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.check_open()?;
        let shared = Arc::clone(self);
        match tokio::task::spawn_blocking(move || work(&shared)).await {
            Ok(outcome) => outcome,
            Err(error) => Err(StoreError::from(io::Error::other(error)).into()),
        }
    }
}

impl EmbeddedStore {
    /// Opens a store: locks the folder, recovers the log, starts the writer.
    pub async fn open(options: EmbeddedOptions) -> Result<Self, OpenError> {
        match tokio::task::spawn_blocking(move || options.open()).await {
            Ok(opened) => opened,
            Err(error) => Err(StoreError::from(io::Error::other(error)).into()),
        }
    }

    pub(crate) fn start(
        shared: Arc<Shared>,
        writer: Writer,
        torn_bytes: u64,
    ) -> Result<Self, StoreError> {
        let (sender, receiver) = mpsc::channel(QUEUE_APPENDS_MAX);
        let thread = thread::Builder::new()
            .name("event-store".to_owned())
            .spawn(move || writer.run(receiver))?;
        Ok(Self {
            shared,
            requests: Mutex::new(Some(sender)),
            waiting_bytes: Arc::new(Semaphore::new(QUEUE_BYTES_MAX)),
            writer: Mutex::new(Some(thread)),
            torn_bytes,
        })
    }

    /// How many bytes at the end of the log were cut when it was opened, as they were not written
    /// whole. Where others cut the file before, they may be of what was acknowledged.
    pub fn torn_bytes(&self) -> u64 {
        self.torn_bytes
    }

    /// Where its log is, when that is a folder of this machine.
    pub(crate) fn folder(&self) -> Option<PathBuf> {
        self.shared.disk.folder().map(Path::to_path_buf)
    }

    /// Whether the last append was refused because the disk is full; the next that fits is taken.
    pub fn is_full(&self) -> bool {
        self.shared.fullness.is_full()
    }

    /// Reads the log as it is now and checks every byte and the hash chain, while the store serves;
    /// an index that is damaged is made again. What was found damaged before is forgotten then.
    /// With a head that was kept elsewhere, that the log still goes through it: what was changed or
    /// cut since, by whom ever, is found.
    pub async fn verify(&self, known: Option<AuditHead>) -> Result<Verified, StoreError> {
        let verify = move |shared: &Shared| {
            let verified = audit::verify(&shared.catalog, &*shared.disk, &shared.keys, known)?;
            shared.newest.mend(&*shared.disk)?;
            shared.findings.all_whole()?;
            Ok(verified)
        };
        self.shared.blocking(verify).await
    }

    /// Wraps the keys of all segments by the first of these keys, while the store serves, and those
    /// of new segments from now on. All of these must together open what is wrapped now, else
    /// nothing is changed. Once it returns the first key is enough for this log, but each backup
    /// made before needs those it was made with; if it fails, or the process dies, the old and the
    /// new keys are needed until it was done again.
    ///
    /// It does not change whether new segments are encrypted.
    pub async fn rotate_keys(&self, keys: WrappingKeys) -> Result<RotatedKeys, KeyError> {
        let rotate = move |shared: &Shared| shared.keys.rotate(&*shared.disk, Arc::new(keys));
        self.shared.blocking(rotate).await
    }

    /// The hash chain up to the last event, to be kept elsewhere.
    pub fn audit_head(&self) -> AuditHead {
        let (position, chain) = self.shared.catalog.chain();
        AuditHead { position: Position::new(position), chain }
    }

    /// Ends what was asked before, ends all subscriptions, and lets go of the folder. What is asked
    /// afterwards is refused.
    pub async fn close(&self) -> Result<(), StoreError> {
        let scavenger = self.shared.scavenger.close();
        // The writer lets go of the folder, so it ends last.
        let shared = Arc::clone(&self.shared);
        let ended = move || {
            shared.scrubber.close();
            scavenger.map(JoinHandle::join)
        };
        let scavenged = tokio::task::spawn_blocking(ended).await;
        let writer = self.stop();
        let joined = tokio::task::spawn_blocking(move || writer.map(JoinHandle::join)).await;
        match (scavenged, joined) {
            (Ok(None | Some(Ok(()))), Ok(None | Some(Ok(())))) => Ok(()),
            _ => Err(io::Error::other("a thread of the event store panicked").into()),
        }
    }

    fn stop(&self) -> Option<JoinHandle<()>> {
        drop(self.requests.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.shared.closed.store(true, Ordering::Release);
        self.shared.live.close();
        self.writer.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Asks the writer, once so many bytes may wait for it.
    async fn ask<T, E: From<StoreError>>(
        &self,
        bytes: usize,
        asked: impl FnOnce(Reply<T, E>) -> Asked,
    ) -> Result<T, E> {
        let sender = self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let sender = sender.ok_or(StoreError::Closed)?;
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.waiting_bytes)
            .acquire_many_owned(bytes)
            .await
            .map_err(|_| StoreError::Closed)?;
        let (reply, outcome) = oneshot::channel();
        let request = Request { asked: asked(reply), permit };
        sender.send(request).await.map_err(|_| StoreError::Closed)?;
        drop(sender);
        outcome.await.map_err(|_| StoreError::Closed)?
    }

    async fn change(
        &self,
        stream: &StreamName,
        expected: ExpectedRevision,
        change: Change,
        bytes: usize,
    ) -> Result<Appended, AppendError> {
        let stream = stream.clone();
        self.ask(bytes, |reply| Asked::OfStream { stream, expected, change, reply }).await
    }
}

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        // Waits for the last sync, so that the folder can be opened again at once.
        let scavenged = self.shared.scavenger.close().map(JoinHandle::join);
        self.shared.scrubber.close();
        let written = self.stop().map(JoinHandle::join);
        if matches!((scavenged, written), (Some(Err(_)), _) | (_, Some(Err(_)))) {
            tracing::error!("a thread of the event store panicked");
        }
    }
}

#[async_trait]
impl EventStore for EmbeddedStore {
    async fn append(
        &self,
        stream: &StreamName,
        expected: ExpectedRevision,
        events: Vec<NewEvent>,
    ) -> Result<Appended, AppendError> {
        let bytes = checked_size(events.iter())?;
        self.change(stream, expected, Change::Append(events), bytes).await
    }

    async fn append_to_streams(
        &self,
        append: MultiAppend,
    ) -> Result<MultiAppended, MultiAppendError> {
        let bytes = checked_size(append.events.iter().map(|(_, event)| event))?;
        let plan = append.plan()?;
        self.ask(bytes, |reply| Asked::OfStreams { plan, reply }).await
    }

    async fn read_stream(&self, read: ReadStream) -> Result<EventReader, ReadError> {
        let shared = Arc::clone(&self.shared);
        let is_of_now = read.as_of.is_none();
        let begin = move |_: &Shared| reading::read_stream(&shared, &read);
        if is_of_now { self.shared.read(begin).await } else { self.shared.blocking(begin).await }
    }

    async fn read_all(&self, read: ReadAll) -> Result<EventReader, ReadError> {
        let shared = Arc::clone(&self.shared);
        // Others look at more than they return.
        let is_plain = read.filter.is_none() && read.as_of.is_none();
        let begin = move |_: &Shared| reading::read_all(&shared, &read);
        if is_plain { self.shared.read(begin).await } else { self.shared.blocking(begin).await }
    }

    async fn subscribe_stream(
        &self,
        stream: &StreamName,
        from: SubscribeFrom<Revision>,
    ) -> Result<Subscription, SubscribeError> {
        let name = stream.clone();
        let tail = self.shared.read(move |shared| shared.catalog.tail(name.as_str())).await?;
        if tail.tombstoned {
            return Err(SubscribeError::StreamDeleted(stream.clone()));
        }
        let revision = match from {
            SubscribeFrom::Start => 0,
            SubscribeFrom::After(revision) => revision.get().saturating_add(1),
            SubscribeFrom::End => tail.last.map_or(0, |last| last + 1),
        };
        Ok(subscribe_stream(Arc::clone(&self.shared), stream.clone(), revision))
    }

    async fn subscribe_all(
        &self,
        from: SubscribeFrom<Position>,
        filter: Option<Filter>,
    ) -> Result<Subscription, SubscribeError> {
        let checkpoints = Checkpoints::of(filter.as_ref());
        let matcher = filter.map(Matcher::new).transpose().map_err(SubscribeError::BadFilter)?;
        let after = match from {
            SubscribeFrom::Start => 0,
            SubscribeFrom::After(position) => position.get(),
            SubscribeFrom::End => self.shared.catalog.head(),
        };
        Ok(subscribe_all(Arc::clone(&self.shared), after, matcher, checkpoints))
    }

    async fn read_index(&self, read: ReadIndex) -> Result<IndexReader, IndexError> {
        let shared = Arc::clone(&self.shared);
        self.shared.blocking(move |_| indexed::read_index(&shared, read)).await
    }

    async fn subscribe_index(
        &self,
        index: &Index,
        from: SubscribeFrom<Ordinal>,
    ) -> Result<IndexSubscription, IndexError> {
        let start = index.clone();
        let start =
            self.shared.blocking(move |shared| indexed::start(shared, &start, from)).await?;
        Ok(subscribe_index(Arc::clone(&self.shared), index.clone(), start))
    }

    async fn last_event(&self, stream: &StreamName) -> Result<Option<RecordedEvent>, ReadError> {
        match self.read_stream(ReadStream::backward(stream.clone()).limit(1)).await {
            Ok(mut events) => events.try_next().await,
            Err(ReadError::StreamNotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn last_revision(&self, stream: &StreamName) -> Result<Option<Revision>, ReadError> {
        let stream = stream.clone();
        self.shared.read(move |shared| reading::last_revision(shared, &stream)).await
    }

    async fn head(&self) -> Result<Position, StoreError> {
        self.shared.read(|shared| Ok(Position::new(shared.catalog.head()))).await
    }

    async fn stream_metadata(
        &self,
        stream: &StreamName,
    ) -> Result<(StreamMetadata, Option<Revision>), ReadError> {
        let stream = stream.clone();
        let read = move |shared: &Shared| {
            if shared.catalog.tail(stream.as_str())?.tombstoned {
                return Err(ReadError::StreamDeleted(stream.clone()));
            }
            Ok(match metadata_at(&shared.catalog, &stream, u64::MAX)? {
                Some((metadata, revision)) => (metadata, Some(revision)),
                None => (StreamMetadata::default(), None),
            })
        };
        self.shared.read(read).await
    }

    async fn set_stream_metadata(
        &self,
        stream: &StreamName,
        expected: ExpectedRevision,
        metadata: StreamMetadata,
    ) -> Result<Appended, AppendError> {
        let id = EventId(new_id(self.shared.keys.entropy()));
        let event = metadata_event(id, &metadata);
        self.append(&stream.metadata_stream(), expected, vec![event]).await
    }

    async fn delete_stream(
        &self,
        stream: &StreamName,
        expected: ExpectedRevision,
    ) -> Result<Appended, AppendError> {
        self.change(stream, expected, Change::Delete, 0).await
    }

    async fn tombstone_stream(
        &self,
        stream: &StreamName,
        expected: ExpectedRevision,
    ) -> Result<Appended, AppendError> {
        self.change(stream, expected, Change::Tombstone, 0).await
    }
}
