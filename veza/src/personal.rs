//! Personal fields in the platform's event store: which they are, and where their keys are.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use anyhow::{Context as _, bail};
use event_schemas::catalogue::FAMILIES;
use event_store::{
    EventStore, EventType, Filter, PersonalField, PersonalStore, ReadAll, SubjectKeys,
};
use futures::TryStreamExt as _;

use crate::config::Config;

/// Where the keys of people are, below the folder of keys.
const FOLDER: &str = "subjects";

static MARKED: LazyLock<HashMap<&str, Vec<PersonalField>>> = LazyLock::new(|| {
    let types = FAMILIES.iter().flat_map(|(_, types)| *types);
    let marked = types.filter(|info| !info.personal.is_empty()).map(|info| {
        let fields = info.personal.iter().map(|field| PersonalField {
            name: field.name,
            subject: field.subject,
            stand_in: field.stand_in,
        });
        (info.name, fields.collect())
    });
    marked.collect()
});

/// The personal fields of a type, as the events' own definitions mark them.
pub fn marks(event_type: &EventType) -> &'static [PersonalField] {
    MARKED.get(event_type.as_str()).map_or(&[], Vec::as_slice)
}

/// The folder with the keys of people.
pub fn folder(config: &Config) -> PathBuf {
    config.keys.join(FOLDER)
}

/// The store with its personal fields open, and sealed as they are appended. The store of keys is
/// made where there is none, unless something was sealed already: whoever has lost all keys is
/// told, and can put a backup of them back.
///
/// # Errors
/// When the keys are missing or can't be used, or the log can't be read.
pub async fn over(
    store: Arc<dyn EventStore>,
    config: &Config,
) -> anyhow::Result<Arc<dyn EventStore>> {
    let folder = folder(config);
    if !SubjectKeys::are_in(&folder) && has_sealed(&*store).await? {
        bail!(
            "the keys of people's personal data are missing in {} (setting keys): put a backup of \
             them back",
            folder.display()
        );
    }
    let options = config.encryption.subject_keys(&folder)?;
    let keys =
        SubjectKeys::open(options).context("can't open the keys of people (setting keys)")?;
    Ok(Arc::new(PersonalStore::over(store, keys, marks)))
}

/// Whether the last event that has personal fields is sealed. Where there is none, this reads the
/// whole log, which is so only before somebody signed up.
async fn has_sealed(store: &dyn EventStore) -> anyhow::Result<bool> {
    let filter = Filter::type_prefixes(MARKED.keys().copied());
    let read = ReadAll { filter: Some(filter), ..ReadAll::backward() };
    let mut events = store.read_all(read).await?;
    while let Some(event) = events.try_next().await? {
        if !marks(&event.event_type).is_empty() {
            return Ok(PersonalStore::is_sealed(&event, marks));
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_events_mark_is_what_the_store_seals() {
        let names = |event_type: &str| {
            let fields = marks(&EventType::new(event_type).unwrap());
            fields.iter().map(|field| (field.name, field.subject)).collect::<Vec<_>>()
        };
        assert_eq!(names("UserRegistered"), [("handle", "user_id"), ("display_name", "user_id")]);
        assert_eq!(names("MessagePosted"), [("text", "author_id")]);
        assert!(names("TrackPublished").is_empty() && names("Strange").is_empty());
    }
}
