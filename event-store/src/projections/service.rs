//! The projections of a store: made, changed, looked at.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::TryStreamExt;
use futures::future::join_all;
use tokio::sync::{Mutex as AsyncMutex, MutexGuard as AsyncMutexGuard};
use uuid::Uuid;

use super::definition::{Definition, ProjectionMode};
use super::error::ProjectionError;
use super::managed::{Asked, Managed};
use super::names::{Names, problem_of_name};
use super::registry::{self, Registry};
use super::statistics::{ProjectionStatistics, Which};
use super::system::System;
use super::worker::Workers;
use crate::error::{AppendError, ReadError};
use crate::index_streams::IndexStreams;
use crate::limits::{PROJECTIONS_MAX, SCRIPT_BYTES_MAX};
use crate::port::EventStore;
use crate::read::ReadStream;
use crate::stream::{ExpectedRevision, StreamName};

/// A projection that is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateProjection {
    /// Its name; none is made up for one that lives until it is done.
    pub name: Option<String>,
    /// How long it lives.
    pub mode: ProjectionMode,
    /// Its script.
    pub query: String,
    /// Whether it may emit.
    pub emit_enabled: bool,
    /// Whether the streams that it emits to are listed, so that they can be deleted with it.
    pub track_emitted_streams: bool,
}

/// What is deleted with a projection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeleteStreams {
    /// The streams that it emitted to, where they were tracked.
    pub emitted: bool,
    /// The states of its partitions.
    pub states: bool,
    /// Its checkpoints.
    pub checkpoint: bool,
}

/// The projections of one store.
///
/// One process at a time may run those of a store. It needs a Tokio runtime around it. Dropping it
/// ends all projections as a kill would.
pub struct Projections {
    store: Arc<dyn EventStore>,
    workers: Arc<Workers>,
    /// Held while the list is changed.
    registry: AsyncMutex<Registry>,
    projections: Mutex<BTreeMap<String, Arc<Managed>>>,
}

impl Projections {
    /// Whether a store has projections that are to be set to work.
    pub async fn are_there(store: &dyn EventStore) -> Result<bool, ProjectionError> {
        registry::is_there(store).await
    }

    /// Reads the projections that are kept in the store, and sets those to work that are enabled;
    /// with `start_standard` all of the system's own, whether they were or not.
    pub async fn start(
        store: Arc<dyn EventStore>,
        start_standard: bool,
    ) -> Result<Self, ProjectionError> {
        // Categories and types are streams of links to projections too.
        let store: Arc<dyn EventStore> = Arc::new(IndexStreams::over(store));
        let (workers, registry) = (Arc::default(), AsyncMutex::default());
        let projections = Self { store, workers, registry, projections: Mutex::default() };
        let registry = projections.registry.lock().await;
        projections.begin(registry).await?;
        if start_standard {
            for system in System::ALL {
                projections.enable(system.name()).await?;
            }
        }
        Ok(projections)
    }

    async fn begin(
        &self,
        mut registry: AsyncMutexGuard<'_, Registry>,
    ) -> Result<(), ProjectionError> {
        let store = &*self.store;
        *registry = Registry::load(store).await?;
        for system in System::ALL {
            if !registry.names.contains_key(system.name()) {
                let definition = Definition::of_system(system);
                self.register(&mut registry, definition).await?;
            }
        }
        let names: Vec<String> = registry.names.keys().cloned().collect();
        for name in names {
            let Some(definition) = Definition::load(store, &name).await? else {
                tracing::warn!(projection.name = name, "a projection has no definition");
                continue;
            };
            self.set_up(definition).await?;
        }
        Ok(())
    }

    /// Keeps a projection that is not there yet.
    async fn register(
        &self,
        registry: &mut Registry,
        mut definition: Definition,
    ) -> Result<Definition, ProjectionError> {
        let store = &*self.store;
        // One of that name may have been there before: its versions go on.
        if let Some(before) = Definition::load(store, &definition.name).await? {
            definition.version = before.version + 1;
            definition.epoch = definition.version;
            definition.first_epoch = definition.version;
        }
        definition.registration = registry.next();
        definition.keep(store).await?;
        registry.add(store, &definition.name).await?;
        Ok(definition)
    }

    async fn set_up(&self, definition: Definition) -> Result<(), ProjectionError> {
        let name = definition.name.clone();
        let (store, workers) = (Arc::clone(&self.store), Arc::clone(&self.workers));
        let managed = Arc::new(Managed::new(store, workers, definition));
        managed.begin().await?;
        self.all().insert(name, managed);
        Ok(())
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Managed>>> {
        self.projections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn named(&self, name: &str) -> Result<Arc<Managed>, ProjectionError> {
        let now = || self.all().get(name).cloned();
        if let Some(found) = now() {
            return Ok(found);
        }
        // While all are started again they are away for a moment.
        let _registry = self.registry.lock().await;
        now().ok_or_else(|| ProjectionError::NotFound(name.to_owned()))
    }

    /// Makes a projection, and sets it to work. One with a script that can't be run is made too,
    /// and has faulted. What is kept when this returns survives.
    pub async fn create(&self, create: CreateProjection) -> Result<String, ProjectionError> {
        let name = create.name.unwrap_or_else(|| Uuid::new_v4().to_string());
        if let Some(problem) = problem_of_name(&name) {
            return Err(ProjectionError::Refused(problem));
        }
        if create.track_emitted_streams && !create.emit_enabled {
            return Err(ProjectionError::TracksNothing);
        }
        check_script(&create.query)?;
        self.forget_idle().await;
        let mut registry = self.registry.lock().await;
        if self.all().contains_key(&name) {
            return Err(ProjectionError::Exists(name));
        }
        if self.all().len() >= PROJECTIONS_MAX {
            return Err(ProjectionError::TooMany { max: PROJECTIONS_MAX });
        }
        let definition = Definition {
            emit_enabled: create.emit_enabled,
            track_emitted_streams: create.track_emitted_streams,
            ..Definition::new(&name, create.mode, create.query)
        };
        let definition = match create.mode {
            ProjectionMode::Transient => definition,
            _ => self.register(&mut registry, definition).await?,
        };
        self.set_up(definition).await?;
        Ok(name)
    }

    /// Changes the script of a projection, and whether it may emit; it goes on where it was.
    pub async fn update(
        &self,
        name: &str,
        query: String,
        emit_enabled: Option<bool>,
    ) -> Result<(), ProjectionError> {
        check_script(&query)?;
        self.named(name).await?.update(query, emit_enabled).await
    }

    /// Sets a projection to work.
    pub async fn enable(&self, name: &str) -> Result<(), ProjectionError> {
        self.named(name).await?.enable().await
    }

    /// Stops a projection, with a last checkpoint.
    pub async fn disable(&self, name: &str) -> Result<(), ProjectionError> {
        self.named(name).await?.disable(true).await
    }

    /// Stops a projection at once.
    pub async fn abort(&self, name: &str) -> Result<(), ProjectionError> {
        self.named(name).await?.disable(false).await
    }

    /// Lets a projection begin anew, with no state, at the start of its events. What it emitted
    /// before is hidden when it writes to those streams again.
    pub async fn reset(&self, name: &str) -> Result<(), ProjectionError> {
        self.named(name).await?.reset().await
    }

    /// Deletes a projection that is not at work; its results stay.
    pub async fn delete(&self, name: &str, streams: DeleteStreams) -> Result<(), ProjectionError> {
        let mut registry = self.registry.lock().await;
        let found = self.all().get(name).cloned();
        let managed = found.ok_or_else(|| ProjectionError::NotFound(name.to_owned()))?;
        let definition = managed.end().await?;
        if definition.is_kept() {
            registry.remove(&*self.store, name).await?;
        }
        self.all().remove(name);
        if definition.is_kept() {
            self.delete_streams(&Names::new(name), streams).await?;
        }
        Ok(())
    }

    async fn delete_streams(
        &self,
        names: &Names,
        streams: DeleteStreams,
    ) -> Result<(), ProjectionError> {
        if streams.emitted {
            for stream in self.listed(&names.emitted_streams()).await? {
                self.delete_stream(&StreamName::recorded(&stream)).await?;
            }
            self.delete_stream(&names.emitted_streams()).await?;
        }
        if streams.states {
            for partition in self.listed(&names.catalog()).await? {
                if let Ok(stream) = names.partition_checkpoint(&partition) {
                    self.delete_stream(&stream).await?;
                }
            }
            self.delete_stream(&names.catalog()).await?;
        }
        if streams.checkpoint {
            self.delete_stream(&names.checkpoint()).await?;
        }
        Ok(())
    }

    /// What the events of a stream list.
    async fn listed(&self, stream: &StreamName) -> Result<Vec<String>, ProjectionError> {
        let events = match self.store.read_stream(ReadStream::forward(stream.clone())).await {
            Ok(events) => events,
            Err(ReadError::StreamNotFound(_) | ReadError::StreamDeleted(_)) => {
                return Ok(Vec::new());
            }
            Err(error) => return Err(error.into()),
        };
        let names = events.map_ok(|event| String::from_utf8_lossy(&event.data).into_owned());
        Ok(names.try_collect().await?)
    }

    async fn delete_stream(&self, stream: &StreamName) -> Result<(), ProjectionError> {
        match self.store.delete_stream(stream, ExpectedRevision::Any).await {
            Ok(_)
            | Err(AppendError::StreamDeleted(_) | AppendError::WrongExpectedRevision { .. }) => {
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The state of a partition as JSON; of the whole, where the partition has no name.
    pub async fn state(
        &self,
        name: &str,
        partition: &str,
    ) -> Result<Option<Arc<str>>, ProjectionError> {
        self.named(name).await?.ask(Asked::State, partition).await
    }

    /// The result of a partition as JSON; of the whole, where the partition has no name.
    pub async fn result(
        &self,
        name: &str,
        partition: &str,
    ) -> Result<Option<Arc<str>>, ProjectionError> {
        self.named(name).await?.ask(Asked::Result, partition).await
    }

    /// How projections are doing.
    pub async fn statistics(
        &self,
        which: &Which,
    ) -> Result<Vec<ProjectionStatistics>, ProjectionError> {
        let asked = match which {
            Which::Named(name) => vec![self.named(name).await?],
            Which::Mode(_) | Which::All => {
                self.forget_idle().await;
                self.all().values().cloned().collect()
            }
        };
        let head = self.store.head().await?;
        let statistics = join_all(asked.iter().map(|managed| managed.statistics(head))).await;
        let wanted = |told: &ProjectionStatistics| match which {
            Which::Mode(mode) => told.mode == *mode,
            Which::Named(_) | Which::All => true,
        };
        Ok(statistics.into_iter().filter(wanted).collect())
    }

    /// Lets transient projections go that nobody has asked for for long.
    async fn forget_idle(&self) {
        let all: Vec<(String, Arc<Managed>)> =
            self.all().iter().map(|(name, managed)| (name.clone(), Arc::clone(managed))).collect();
        for (name, managed) in all {
            if managed.is_idle().await {
                managed.close().await;
                self.all().remove(&name);
            }
        }
    }

    /// Ends all projections, reads what is kept, and begins anew.
    pub async fn restart(&self) -> Result<(), ProjectionError> {
        let registry = self.registry.lock().await;
        self.end_all().await;
        self.begin(registry).await
    }

    /// Ends all projections in peace: with a last checkpoint each.
    pub async fn close(&self) {
        let _registry = self.registry.lock().await;
        self.end_all().await;
    }

    async fn end_all(&self) {
        let ended = std::mem::take(&mut *self.all());
        join_all(ended.values().map(|managed| managed.close())).await;
    }
}

fn check_script(query: &str) -> Result<(), ProjectionError> {
    if query.len() > SCRIPT_BYTES_MAX {
        let reason = format!("the script is longer than {SCRIPT_BYTES_MAX} bytes");
        return Err(ProjectionError::Refused(reason));
    }
    Ok(())
}
