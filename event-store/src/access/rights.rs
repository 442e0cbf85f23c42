//! The rights over a store, which keeps the lists of its streams.

use std::fmt;
use std::sync::Arc;

use super::acl::{DefaultAcls, StreamAction, allows, subject};
use super::principal::Principal;
use crate::error::{ReadError, StoreError};
use crate::port::EventStore;
use crate::stream::StreamName;

/// The stream whose last event has the lists of streams without one.
const SETTINGS: &str = "$settings";

/// Who may do what with the streams of a store. Nothing is remembered: what was acknowledged counts
/// for all that is asked after it. Cheap to clone.
#[derive(Clone)]
pub struct Rights {
    store: Arc<dyn EventStore>,
    settings: StreamName,
}

impl fmt::Debug for Rights {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Rights")
    }
}

impl Rights {
    /// The rights that this store keeps.
    pub fn new(store: Arc<dyn EventStore>) -> Self {
        Self { store, settings: StreamName::recorded(SETTINGS) }
    }

    /// Whether they may do that with the stream; [`StoreError::AccessDenied`] where not. The log is
    /// the stream `$all`.
    pub async fn check(
        &self,
        principal: &Principal,
        stream: &StreamName,
        action: StreamAction,
    ) -> Result<(), StoreError> {
        let meant = subject(stream, action);
        if *principal == Principal::Anybody {
            // The log is not written as a stream, whoever asks.
            let is_log = *stream == StreamName::all();
            return if is_log && meant.is_err() { Err(StoreError::AccessDenied) } else { Ok(()) };
        }
        let (subject, action) = meant.map_err(|_denied| StoreError::AccessDenied)?;
        let may = match principal {
            // Their rights do not depend on lists.
            Principal::Anonymous => false,
            admin if admin.is_admin() => true,
            user => {
                let own = match self.store.stream_metadata(&subject).await {
                    Ok((metadata, _)) => metadata.acl,
                    // Gone with its metadata.
                    Err(ReadError::StreamDeleted(_) | ReadError::StreamNotFound(_)) => None,
                    Err(error) => return Err(of_read(error)),
                };
                let defaults = self.defaults().await?;
                allows(user, action, &subject, own.as_ref(), &defaults)
            }
        };
        if may { Ok(()) } else { Err(StoreError::AccessDenied) }
    }

    async fn defaults(&self) -> Result<DefaultAcls, StoreError> {
        let settings = match self.store.last_event(&self.settings).await {
            Ok(settings) => settings,
            Err(ReadError::StreamDeleted(_) | ReadError::StreamNotFound(_)) => None,
            Err(error) => return Err(of_read(error)),
        };
        // As with metadata, what is no such document counts as none.
        let defaults = settings.and_then(|event| serde_json::from_slice(&event.data).ok());
        Ok(defaults.unwrap_or_default())
    }
}

fn of_read(error: ReadError) -> StoreError {
    match error {
        ReadError::Store(error) => error,
        other => StoreError::Unavailable { reason: other.to_string().into() },
    }
}
