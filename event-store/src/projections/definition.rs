//! What a projection is, as the last event of its stream keeps it.
//!
//! The fields are those of the protocol's server. Four are our own: `name`, so that a definition is
//! read alone; `registration`; `firstEpoch`, which says whether it was ever begun anew; and
//! `stoppedAt`, where one that is served from the index was stopped.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::error::ProjectionError;
use super::names::Names;
use super::place::Life;
use super::system::System;
use crate::error::ReadError;
use crate::event::{ContentType, EventId, NewEvent};
use crate::port::EventStore;
use crate::position::Position;
use crate::stream::{ExpectedRevision, Revision};

const UPDATED_TYPE: &str = "$ProjectionUpdated";

/// What handles the events of a projection that has a script.
const SCRIPT_HANDLER: &str = "JS";

/// How long a projection lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProjectionMode {
    /// In memory alone, until nobody asks for it any more.
    Transient,
    /// Until it has read what is there.
    OneTime,
    /// Until it is deleted.
    Continuous,
}

impl ProjectionMode {
    /// Its name in the protocol.
    pub fn name(self) -> &'static str {
        match self {
            Self::Transient => "Transient",
            Self::OneTime => "OneTime",
            Self::Continuous => "Continuous",
        }
    }
}

/// A projection, as it was asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Definition {
    pub name: String,
    pub handler_type: String,
    pub query: String,
    pub mode: ProjectionMode,
    pub enabled: bool,
    pub emit_enabled: bool,
    pub checkpoints_disabled: bool,
    pub track_emitted_streams: bool,
    pub epoch: i64,
    pub version: i64,
    pub registration: u64,
    pub first_epoch: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_at: Option<Position>,
}

impl Definition {
    /// A projection with a script, of which the store knows nothing yet.
    pub(super) fn new(name: &str, mode: ProjectionMode, query: String) -> Self {
        Self {
            name: name.to_owned(),
            handler_type: SCRIPT_HANDLER.to_owned(),
            query,
            mode,
            enabled: true,
            emit_enabled: false,
            checkpoints_disabled: mode != ProjectionMode::Continuous,
            track_emitted_streams: false,
            epoch: -1,
            version: 0,
            registration: 0,
            first_epoch: -1,
            stopped_at: None,
        }
    }

    /// One of the system's, stopped.
    pub(super) fn of_system(system: System) -> Self {
        Self {
            handler_type: system.handler_type(),
            enabled: false,
            emit_enabled: true,
            ..Self::new(system.name(), ProjectionMode::Continuous, String::new())
        }
    }

    /// Which of the system's it is.
    pub(super) fn system(&self) -> Option<System> {
        System::named(&self.name).filter(|system| self.handler_type == system.handler_type())
    }

    pub(super) fn life(&self) -> Life {
        let &Self { registration, epoch, version, .. } = self;
        Life { registration, epoch, version }
    }

    /// Whether it was begun anew, so that what it made before may be there still.
    pub(super) fn was_reset(&self) -> bool {
        self.epoch != self.first_epoch
    }

    /// Whether anything of it is kept.
    pub(super) fn is_kept(&self) -> bool {
        self.mode != ProjectionMode::Transient
    }

    /// Keeps it; its version is the revision that does.
    pub(super) async fn keep(&mut self, store: &dyn EventStore) -> Result<(), ProjectionError> {
        if !self.is_kept() {
            self.version += 1;
            return Ok(());
        }
        let names = Names::new(&self.name);
        let expected = match u64::try_from(self.version) {
            Ok(0) | Err(_) => ExpectedRevision::NoStream,
            Ok(next) => ExpectedRevision::Exactly(Revision::new(next - 1)),
        };
        let json = serde_json::to_string(self).expect("plain structs are always JSON");
        let event =
            NewEvent::system(EventId(Uuid::new_v4()), UPDATED_TYPE, ContentType::Json, json);
        store.append(&names.definition(), expected, vec![event]).await?;
        Ok(())
    }

    /// Reads the one that is kept.
    pub(super) async fn load(
        store: &dyn EventStore,
        name: &str,
    ) -> Result<Option<Self>, ProjectionError> {
        let stream = Names::new(name).definition();
        let event = match store.last_event(&stream).await {
            Ok(event) => event,
            Err(ReadError::StreamDeleted(_) | ReadError::StreamNotFound(_)) => None,
            Err(error) => return Err(error.into()),
        };
        let Some(event) = event else { return Ok(None) };
        let mut read: Self = serde_json::from_slice(&event.data).map_err(|error| {
            let (stream, reason) = (stream.to_string(), error.to_string());
            ProjectionError::Corrupt { stream, reason }
        })?;
        read.version = event.revision.get().cast_signed();
        Ok(Some(read))
    }
}
