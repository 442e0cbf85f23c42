//! Which projections there are, as one stream lists them.

use std::collections::BTreeMap;

use futures::TryStreamExt;
use uuid::Uuid;

use super::error::ProjectionError;
use super::names::REGISTRY;
use crate::error::{AppendError, ReadError};
use crate::event::{ContentType, EventId, NewEvent};
use crate::port::EventStore;
use crate::read::ReadStream;
use crate::stream::{ExpectedRevision, Revision, StreamName};

const INITIALIZED_TYPE: &str = "$ProjectionsInitialized";
const CREATED_TYPE: &str = "$ProjectionCreated";
const DELETED_TYPE: &str = "$ProjectionDeleted";

/// The list of projections; each with the revision that made it known.
#[derive(Debug, Default)]
pub(super) struct Registry {
    last: Option<Revision>,
    pub names: BTreeMap<String, u64>,
}

/// Whether any projection was ever known.
pub(super) async fn is_there(store: &dyn EventStore) -> Result<bool, ProjectionError> {
    Ok(store.last_event(&StreamName::recorded(REGISTRY)).await?.is_some())
}

impl Registry {
    pub(super) async fn load(store: &dyn EventStore) -> Result<Self, ProjectionError> {
        let mut registry = Self::default();
        let read = ReadStream::forward(StreamName::recorded(REGISTRY));
        let mut events = match store.read_stream(read).await {
            Ok(events) => events,
            Err(ReadError::StreamNotFound(_)) => return Ok(registry),
            Err(error) => return Err(error.into()),
        };
        while let Some(event) = events.try_next().await? {
            let name = String::from_utf8_lossy(&event.data).into_owned();
            match event.event_type.as_str() {
                CREATED_TYPE => drop(registry.names.insert(name, event.revision.get())),
                DELETED_TYPE => drop(registry.names.remove(&name)),
                _ => {}
            }
            registry.last = Some(event.revision);
        }
        Ok(registry)
    }

    /// The revision that the next projection is made known by.
    pub(super) fn next(&self) -> u64 {
        // The first says that there is a list.
        self.last.map_or(1, |last| last.next().get())
    }

    pub(super) async fn add(
        &mut self,
        store: &dyn EventStore,
        name: &str,
    ) -> Result<(), ProjectionError> {
        if self.last.is_none() {
            self.append(store, INITIALIZED_TYPE, "").await?;
        }
        self.append(store, CREATED_TYPE, name).await?;
        let revision = self.last.map_or(0, Revision::get);
        self.names.insert(name.to_owned(), revision);
        Ok(())
    }

    pub(super) async fn remove(
        &mut self,
        store: &dyn EventStore,
        name: &str,
    ) -> Result<(), ProjectionError> {
        self.append(store, DELETED_TYPE, name).await?;
        self.names.remove(name);
        Ok(())
    }

    async fn append(
        &mut self,
        store: &dyn EventStore,
        event_type: &str,
        name: &str,
    ) -> Result<(), ProjectionError> {
        let event = NewEvent::system(
            EventId(Uuid::new_v4()),
            event_type,
            ContentType::Binary,
            name.to_owned(),
        );
        let expected = self.last.map_or(ExpectedRevision::NoStream, ExpectedRevision::Exactly);
        let appended = store.append(&StreamName::recorded(REGISTRY), expected, vec![event]).await;
        self.last =
            appended.map_err(|error: AppendError| ProjectionError::from(error))?.last_revision;
        Ok(())
    }
}
