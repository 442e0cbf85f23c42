//! The keys of a process that has callers, loaded once and before anything is started that would
//! have to be stopped again when one of them is bad.

use std::path::Path;
use std::sync::Arc;

use access::{DigestKey, KeyRing, digest_key, key_set};
use chrono::Utc;
use event_schemas::EventFamily as _;
use event_schemas::user::UserEvent;
use event_store::{EventStore, Filter, ReadAll};
use futures::TryStreamExt as _;

/// What a lost key costs, for whoever might have it in a backup.
const COST: &str = "keys are missing and are made anew: tokens that the lost ones signed are \
                    refused, and so are repetitions of commands from before; put a backup back to \
                    have those again";

/// The keys.
#[derive(Clone)]
pub struct Keys {
    /// Those that sign and verify tokens.
    pub ring: Arc<KeyRing>,
    /// The one of digests.
    pub digests: DigestKey,
}

impl Keys {
    /// Loads them from their folder, and makes those that are missing. That is as it should be at
    /// the first start; where people have signed up already it is told in the log.
    ///
    /// # Errors
    /// When a file can't be used, or the log can't be read.
    pub async fn load(folder: &Path, store: &dyn EventStore) -> anyhow::Result<Self> {
        let files = [key_set::SIGNING_KEY_FILE, digest_key::DIGEST_KEY_FILE];
        let missing: Vec<_> =
            files.into_iter().filter(|file| !folder.join(file).exists()).collect();
        let ring = Arc::new(KeyRing::load_or_create(folder, Utc::now())?);
        let digests = DigestKey::load_or_create(folder)?;
        if !missing.is_empty() && has_people(store).await? {
            let missing = missing.join(", ");
            tracing::warn!(folder = %folder.display(), missing, "{COST}");
        }
        Ok(Self { ring, digests })
    }
}

/// Whether anybody has signed up; a cluster may hold events that are not the platform's.
async fn has_people(store: &dyn EventStore) -> anyhow::Result<bool> {
    let filter = Filter::stream_prefixes([format!("{}-", UserEvent::CATEGORY)]);
    let read = ReadAll { filter: Some(filter), ..ReadAll::forward().limit(1) };
    Ok(store.read_all(read).await?.try_next().await?.is_some())
}
