//! Personal fields in the platform's event store: which they are, and where their keys are.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use anyhow::{Context as _, bail};
use event_schemas::EventFamily as _;
use event_schemas::catalogue::FAMILIES;
use event_schemas::user::UserEvent;
use event_store::limits::UNREADABLE_FIELDS_MAX;
use event_store::{
    EventStore, EventType, Filter, PersonalError, PersonalField, PersonalStore, ReadAll, ReadError,
    StoreError, SubjectKeys, SubjectKeysError, UnreadableFields,
};
use futures::TryStreamExt as _;
use tracing::warn;

use crate::config::Config;

/// Where the keys of people are, below the folder of keys.
const FOLDER: &str = "subjects";

/// How many of the newest events the start looks at for people whose keys are lost.
const LOOKED_AT_EVENTS: u64 = 1000;

/// The type of the first event about a person, with which their key is made.
const SIGNED_UP: &str = "UserRegistered";

static MARKED: LazyLock<HashMap<&str, Vec<PersonalField>>> = LazyLock::new(|| {
    let types = FAMILIES.iter().flat_map(|(_, types)| *types);
    let marked = types.filter(|info| !info.personal.is_empty()).map(|info| {
        let fields = info.personal.iter().map(|field| PersonalField {
            name: field.name,
            subject: field.subject,
            home: UserEvent::CATEGORY,
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

/// What operators are told of the keys of people, for as long as a process has them open.
#[derive(Clone)]
pub struct Watch {
    folder: PathBuf,
    keys: SubjectKeys,
    unreadable: UnreadableFields,
}

impl Watch {
    /// That their folder is there, and the one that was opened; else in a line what is wrong.
    ///
    /// # Errors
    /// When it is not.
    pub fn are_there(&self) -> Result<(), String> {
        self.keys.are_in_place().map_err(|error| {
            let why = match error {
                StoreError::Unavailable { reason } => reason.to_string(),
                error => error.to_string(),
            };
            format!("{why} ({})", self.folder.display())
        })
    }

    /// How many fields this process met that no key opens.
    pub fn unreadable(&self) -> usize {
        self.unreadable.first().map_or(0, |(count, _)| count)
    }

    /// The same in words; none where there are none.
    pub fn told(&self) -> Option<String> {
        let (count, why) = self.unreadable.first()?;
        let more = if count >= UNREADABLE_FIELDS_MAX { " or more" } else { "" };
        Some(format!(
            "{count}{more} personal fields can't be read: {why}; `veza-replay give-up` lists whose"
        ))
    }
}

/// The store with its personal fields open, and sealed as they are appended. The store of keys is
/// made where there is none, unless something was sealed already: whoever has lost all keys is
/// told, and can put a backup of them back. So is whoever has keys that are older than the log, or
/// another's.
///
/// # Errors
/// When the keys are missing, do not open what is sealed of who signed up last, or can't be used,
/// or the log can't be read.
pub async fn over(
    store: Arc<dyn EventStore>,
    config: &Config,
) -> anyhow::Result<(Arc<dyn EventStore>, Watch)> {
    let folder = folder(config);
    if !SubjectKeys::are_in(&folder) && has_sealed(&*store).await? {
        bail!(
            "the keys of people's personal data are missing in {} (setting keys): put a backup of \
             them back, or give up what they opened: veza-replay give-up --all",
            folder.display()
        );
    }
    let options = config.encryption.subject_keys(&folder)?;
    let keys = match SubjectKeys::open(options) {
        Err(error @ (SubjectKeysError::Lost | SubjectKeysError::Damaged { .. })) => bail!(
            "the keys of people in {} (setting keys) can't be opened: {error}, or give up what \
             they opened: veza-replay give-up --all",
            folder.display()
        ),
        Err(error @ SubjectKeysError::Wrapped { .. }) => bail!(
            "the keys of people in {} take the key of the event store (settings \
             event_store_key_file, event_store_key): {error}",
            folder.display()
        ),
        opened => opened.context("can't open the keys of people (setting keys)")?,
    };
    let opened = PersonalStore::over(Arc::clone(&store), keys.clone(), marks);
    if let Some(why) = newest_unreadable(&*store, &opened).await? {
        bail!(
            "the keys of people in {} (setting keys) are older than the log, or of another: {why}; \
             or give up what can't be read any more, which veza-replay give-up lists",
            folder.display()
        );
    }
    look_back(&*store, &opened).await?;
    let watch = Watch { folder, keys, unreadable: opened.unreadable() };
    if let Some(told) = watch.told() {
        warn!("{told}");
    }
    Ok((Arc::new(opened), watch))
}

/// Meets what can't be read of the newest events, so that it is told from the start on.
async fn look_back(log: &dyn EventStore, opened: &PersonalStore) -> anyhow::Result<()> {
    let mut newest = log.read_all(ReadAll::backward().limit(LOOKED_AT_EVENTS)).await?;
    loop {
        match newest.try_next().await {
            Ok(Some(mut event)) => drop(opened.open(&mut event).await?),
            // Damage is told by whoever looks for it.
            Ok(None) | Err(ReadError::Store(StoreError::Corrupt { .. })) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Why who signed up last can't be read. Keys are made in the order in which people sign up, and
/// only in the folder that was opened and looked at so, not in one that took its place: a copy that
/// has this one's has those of all before, and one of another log has not. Single files that were
/// removed or written over while nothing ran are not noticed by it. Where the log is damaged behind
/// that, nobody knows; all else of it is served, so that holds nothing up.
async fn newest_unreadable(
    log: &dyn EventStore,
    opened: &PersonalStore,
) -> anyhow::Result<Option<PersonalError>> {
    let filter = Filter::type_prefixes([SIGNED_UP]);
    let read = ReadAll { filter: Some(filter), ..ReadAll::backward().limit(1) };
    let newest = match log.read_all(read).await?.try_next().await {
        Err(ReadError::Store(error @ StoreError::Corrupt { .. })) => {
            warn!(%error, "whether the keys of people are those of this log is not known");
            None
        }
        newest => newest?,
    };
    let Some(mut newest) = newest else {
        return Ok(None);
    };
    let unreadable = opened.open(&mut newest).await?;
    Ok(unreadable.into_iter().next().map(|field| field.why))
}

/// All events that may have personal fields.
pub fn filter() -> Filter {
    Filter::type_prefixes(MARKED.keys().copied())
}

/// Whether the last event that has personal fields is sealed. Where there is none, this reads the
/// whole log, which is so only before somebody signed up.
async fn has_sealed(store: &dyn EventStore) -> anyhow::Result<bool> {
    let read = ReadAll { filter: Some(filter()), ..ReadAll::backward() };
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
        assert_eq!(names(SIGNED_UP), [("handle", "user_id"), ("display_name", "user_id")]);
        assert_eq!(names("MessagePosted"), [("text", "author_id")]);
        assert!(names("TrackPublished").is_empty() && names("Strange").is_empty());
    }
}
