//! The groups of a store: made, changed, looked at and consumed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{TimeDelta, Utc};
use futures::TryStreamExt;
use futures::future::join_all;
use tokio::sync::{Mutex as AsyncMutex, MutexGuard as AsyncMutexGuard, mpsc, oneshot};

use super::config::{self, BEFORE_ALL, Definition, Definitions};
use super::consumer::Consumer;
use super::error::PersistentError;
use super::group::{EventSource, GroupId};
use super::info::GroupInfo;
use super::runner::{Command, Desk, Plan, spawn};
use super::settings::{Settings, StartFrom};
use super::source::Source;
use super::streams::GroupStreams;
use crate::error::{ReadError, StoreError};
use crate::filter::{Filter, Pattern};
use crate::index_streams::index_of;
use crate::limits::{
    CONSUMER_BUFFER_MAX, CONSUMER_NAME_BYTES_MAX, GROUP_FILTER_BYTES_MAX, GROUPS_MAX,
};
use crate::port::EventStore;
use crate::read::{ReadAll, ReadStream};
use crate::stream::{Revision, StreamName};

/// How long a link is new to a group that begins at the end of links to categories and types.
const LINKS_NEW_FOR: TimeDelta = TimeDelta::milliseconds(500);

/// A consumer that wants to join a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connecting {
    /// The name of its connection, for [`GroupInfo`]; may be empty, as the others.
    pub name: String,
    /// Where it comes from, as an operator would look for it: an address and port.
    pub from: String,
    /// Which user it is.
    pub user: String,
    /// How many messages it takes at once, 1 to [`CONSUMER_BUFFER_MAX`].
    pub buffer_size: u32,
}

impl Connecting {
    /// A consumer with this name and buffer, of whom nothing else is known.
    pub fn new(name: impl Into<String>, buffer_size: u32) -> Self {
        Self { name: name.into(), from: String::new(), user: String::new(), buffer_size }
    }

    fn check(&self) -> Result<(), PersistentError> {
        if self.buffer_size == 0 || self.buffer_size > CONSUMER_BUFFER_MAX {
            let reason = format!("its buffer is not 1 to {CONSUMER_BUFFER_MAX}");
            return Err(PersistentError::BadConsumer(reason));
        }
        if [&self.name, &self.from, &self.user].iter().any(|it| it.len() > CONSUMER_NAME_BYTES_MAX)
        {
            let reason = format!("its name is longer than {CONSUMER_NAME_BYTES_MAX} bytes");
            return Err(PersistentError::BadConsumer(reason));
        }
        Ok(())
    }
}

/// The persistent subscriptions of one store.
///
/// One process at a time may run those of a store: a group is at work in the process that knows of
/// it. It needs a Tokio runtime around it. Dropping it ends all groups as a kill would.
pub struct PersistentSubscriptions {
    store: Arc<dyn EventStore>,
    /// The revision that keeps the groups; held while they are changed.
    revision: AsyncMutex<Option<Revision>>,
    groups: Mutex<BTreeMap<GroupId, Group>>,
}

struct Group {
    definition: Definition,
    desk: Desk,
}

impl PersistentSubscriptions {
    /// Reads the groups that are kept in the store, and sets them to work.
    pub async fn start(store: Arc<dyn EventStore>) -> Result<Self, PersistentError> {
        let (revision, groups) = (AsyncMutex::new(None), Mutex::default());
        let subscriptions = Self { store, revision, groups };
        let revision = subscriptions.revision.lock().await;
        subscriptions.begin(revision).await?;
        Ok(subscriptions)
    }

    /// Makes a group; a filter is for the log alone. What is kept when this returns survives.
    pub async fn create(
        &self,
        group: &GroupId,
        filter: Option<Filter>,
        settings: Settings,
    ) -> Result<(), PersistentError> {
        let mut revision = self.revision.lock().await;
        let mut definitions = self.definitions();
        // `a` with `b::c` and `a::b` with `c` are two groups with the same streams.
        let id = group.to_string();
        if definitions.keys().any(|other| other.to_string() == id) {
            return Err(PersistentError::Exists(group.clone()));
        }
        if definitions.len() >= GROUPS_MAX {
            return Err(PersistentError::TooManyGroups { max: GROUPS_MAX });
        }
        self.check(group, &settings).await?;
        self.check_filter(group, filter.as_ref()).await?;
        let start_after = self.end_of(group, &settings).await?;
        // A group of that name may have been deleted halfway.
        self.streams(group).forget().await?;
        let definition = Definition { filter, settings, start_after };
        definitions.insert(group.clone(), definition.clone());
        *revision = config::keep(&*self.store, &definitions, *revision).await?;
        self.set_to_work(group.clone(), definition);
        Ok(())
    }

    /// Changes the settings of a group; its consumers are dropped, its filter and checkpoint stay.
    pub async fn update(&self, group: &GroupId, settings: Settings) -> Result<(), PersistentError> {
        let mut revision = self.revision.lock().await;
        let mut definitions = self.definitions();
        let Some(definition) = definitions.get_mut(group) else {
            return Err(PersistentError::DoesNotExist(group.clone()));
        };
        self.check(group, &settings).await?;
        if settings.start_from != definition.settings.start_from {
            definition.start_after = self.end_of(group, &settings).await?;
        }
        definition.settings = settings;
        let definition = definition.clone();
        *revision = config::keep(&*self.store, &definitions, *revision).await?;
        self.end(group, PersistentError::Dropped(group.clone()), true).await;
        self.set_to_work(group.clone(), definition);
        Ok(())
    }

    /// Deletes a group with all that is kept for it; its consumers are told that it does not exist.
    pub async fn delete(&self, group: &GroupId) -> Result<(), PersistentError> {
        let mut revision = self.revision.lock().await;
        let mut definitions = self.definitions();
        if definitions.remove(group).is_none() {
            return Err(PersistentError::DoesNotExist(group.clone()));
        }
        *revision = config::keep(&*self.store, &definitions, *revision).await?;
        self.end(group, PersistentError::DoesNotExist(group.clone()), false).await;
        self.streams(group).forget().await
    }

    /// All groups, or those of one source; none is no error.
    pub async fn list(
        &self,
        source: Option<&EventSource>,
    ) -> Result<Vec<GroupInfo>, PersistentError> {
        let groups: Vec<GroupId> = self.groups().keys().cloned().collect();
        let asked = groups.iter().filter(|it| source.is_none_or(|source| it.source() == source));
        let mut infos = Vec::new();
        for info in join_all(asked.map(|group| self.info(group))).await {
            match info {
                Ok(info) => infos.push(info),
                // It was deleted meanwhile.
                Err(PersistentError::DoesNotExist(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(infos)
    }

    /// How a group is doing.
    pub async fn info(&self, group: &GroupId) -> Result<GroupInfo, PersistentError> {
        self.ask(group, |reply| Command::Info { reply }).await
    }

    /// Joins a group as a consumer.
    pub async fn connect(
        &self,
        group: &GroupId,
        connecting: Connecting,
    ) -> Result<Consumer, PersistentError> {
        connecting.check()?;
        self.ask(group, |reply| Command::Connect { connecting, reply }).await?
    }

    /// Brings parked messages back to the consumers, before all others: those that are parked now,
    /// or of them those before this revision of the stream that keeps them. Returns when the group
    /// was told.
    pub async fn replay_parked(
        &self,
        group: &GroupId,
        before: Option<u64>,
    ) -> Result<(), PersistentError> {
        self.ask(group, |reply| Command::Replay { before, reply }).await
    }

    /// Lets parked messages go without that: those that are parked now, or of them those before
    /// this revision of the stream that keeps them. One that is replayed just now stays with the
    /// consumer that has it. Returns when the group was told.
    pub async fn truncate_parked(
        &self,
        group: &GroupId,
        before: Option<u64>,
    ) -> Result<(), PersistentError> {
        self.ask(group, |reply| Command::Discard { before, reply }).await
    }

    /// Ends all groups, reads what is kept, and begins anew; consumers are dropped.
    pub async fn restart(&self) -> Result<(), PersistentError> {
        let revision = self.revision.lock().await;
        self.end_all(PersistentError::Dropped).await;
        self.begin(revision).await
    }

    /// Ends all groups in peace: with a last checkpoint each. What is asked afterwards finds none.
    pub async fn close(&self) {
        let _revision = self.revision.lock().await;
        self.end_all(|_| StoreError::Closed.into()).await;
    }

    async fn begin(
        &self,
        mut revision: AsyncMutexGuard<'_, Option<Revision>>,
    ) -> Result<(), PersistentError> {
        let (definitions, kept) = config::load(&*self.store).await?;
        *revision = kept;
        for (group, mut definition) in definitions {
            if definition.start_after.is_none() {
                definition.start_after = self.end_of(&group, &definition.settings).await?;
            }
            self.set_to_work(group, definition);
        }
        Ok(())
    }

    async fn end_all(&self, why: impl Fn(GroupId) -> PersistentError) {
        let groups: Vec<GroupId> = self.groups().keys().cloned().collect();
        join_all(groups.iter().map(|group| self.end(group, why(group.clone()), true))).await;
    }

    async fn end(&self, group: &GroupId, why: PersistentError, keeps: bool) {
        let Some(ended) = self.groups().remove(group) else { return };
        let (reply, told) = oneshot::channel();
        // A task that is not there any more has ended.
        if ended.desk.commands.send(Command::End { why, keeps, reply }).await.is_ok() {
            let _ = told.await;
        }
    }

    fn set_to_work(&self, group: GroupId, definition: Definition) {
        let source = Source {
            store: Arc::clone(&self.store),
            source: group.source().clone(),
            filter: definition.filter.clone(),
            resolve_links: definition.settings.resolve_links,
        };
        let (settings, begin) = (definition.settings.clone(), definition.begin());
        let desk = spawn(Plan { group: group.clone(), settings, source, begin });
        self.groups().insert(group, Group { definition, desk });
    }

    fn groups(&self) -> MutexGuard<'_, BTreeMap<GroupId, Group>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn definitions(&self) -> Definitions {
        let groups = self.groups();
        groups.iter().map(|(id, group)| (id.clone(), group.definition.clone())).collect()
    }

    fn streams(&self, group: &GroupId) -> GroupStreams {
        GroupStreams::new(Arc::clone(&self.store), group.clone())
    }

    async fn desk(&self, group: &GroupId) -> Option<mpsc::Sender<Command>> {
        let now = || self.groups().get(group).map(|group| group.desk.commands.clone());
        let desk = now();
        if desk.is_some() {
            return desk;
        }
        // One that is being changed is away for a moment.
        let _revision = self.revision.lock().await;
        now()
    }

    async fn ask<T>(
        &self,
        group: &GroupId,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, PersistentError> {
        let Some(desk) = self.desk(group).await else {
            return Err(PersistentError::DoesNotExist(group.clone()));
        };
        let (reply, answer) = oneshot::channel();
        let sent = desk.send(command(reply)).await.is_ok();
        drop(desk);
        match answer.await {
            Ok(answer) if sent => Ok(answer),
            _ if self.desk(group).await.is_none() => {
                Err(PersistentError::DoesNotExist(group.clone()))
            }
            // It was updated meanwhile, or the store was closed under it.
            _ => Err(PersistentError::Dropped(group.clone())),
        }
    }

    /// Whether a group can be so.
    async fn check(&self, group: &GroupId, settings: &Settings) -> Result<(), PersistentError> {
        let failed = |reason| PersistentError::Failed { group: group.clone(), reason };
        settings.check(group.source()).map_err(failed)?;
        if let (EventSource::All, StartFrom::At(place)) = (group.source(), settings.start_from) {
            let head = self.store.head().await?;
            if place.number() > head.get() {
                return Err(failed(format!("the start {place} is behind the end of the log")));
            }
        }
        Ok(())
    }

    async fn check_filter(
        &self,
        group: &GroupId,
        filter: Option<&Filter>,
    ) -> Result<(), PersistentError> {
        let Some(filter) = filter else { return Ok(()) };
        let bytes = match &filter.pattern {
            Pattern::Prefixes(prefixes) => prefixes.iter().map(String::len).sum(),
            Pattern::Regex(regex) => regex.len(),
        };
        let reason = match group.source() {
            EventSource::Stream(_) => "a stream can't be filtered".to_owned(),
            EventSource::All if bytes > GROUP_FILTER_BYTES_MAX => {
                format!("the filter is longer than {GROUP_FILTER_BYTES_MAX} bytes")
            }
            EventSource::All => {
                // The store knows which filters it can use.
                let read = ReadAll::forward().limit(0).filter(filter.clone());
                drop(self.store.read_all(read).await?);
                return Ok(());
            }
        };
        Err(PersistentError::Failed { group: group.clone(), reason })
    }

    /// The last place that there is, for a group that begins at the end.
    async fn end_of(
        &self,
        group: &GroupId,
        settings: &Settings,
    ) -> Result<Option<i64>, PersistentError> {
        if settings.start_from != StartFrom::End {
            return Ok(None);
        }
        let end = match group.source() {
            EventSource::Stream(stream) => self.end_of_stream(stream).await?,
            EventSource::All => self.store.head().await?.get().cast_signed(),
        };
        Ok(Some(end))
    }

    /// With EventStoreDB a projection writes the links to categories and types, a moment after the
    /// events: who appends, and then makes a group that begins at the end, gets what they appended.
    async fn end_of_stream(&self, stream: &StreamName) -> Result<i64, PersistentError> {
        if index_of(stream.as_str()).is_some() {
            let new = ReadStream::forward(stream.clone()).from_time(Utc::now() - LINKS_NEW_FOR);
            let first = match self.store.read_stream(new.limit(1)).await {
                Ok(mut links) => links.try_next().await?,
                Err(ReadError::StreamNotFound(_)) => None,
                Err(error) => return Err(error.into()),
            };
            if let Some(first) = first {
                return Ok(first.revision.get().cast_signed() - 1);
            }
        }
        let last = self.store.last_event(stream).await?;
        Ok(last.map_or(BEFORE_ALL, |event| event.revision.get().cast_signed()))
    }
}
