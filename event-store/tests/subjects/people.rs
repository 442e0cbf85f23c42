//! Events about people, in a store that seals them, for the tests beside this file.

use std::sync::Arc;

use bytes::Bytes;
use event_store::log::SimDisk;
use event_store::{
    AppendError, ContentType, EmbeddedOptions, EmbeddedStore, EventId, EventStore, EventType,
    ExpectedRevision, NewEvent, PersonalError, PersonalField, PersonalStore, ReadAll, ReadError,
    RecordedEvent, StoreError, StreamName, Subject, SubjectKeys, SubjectKeysOptions, WrappingKeys,
};
use futures::TryStreamExt;
use serde_json::{Value, json};
use uuid::Uuid;

const NAMED: &[PersonalField] = &[
    field("name", "who", |who| format!("once {who}")),
    field("bio", "who", |_| "nothing".to_owned()),
    field("friend_name", "friend", |_| "a friend".to_owned()),
];

const fn field(
    name: &'static str,
    subject: &'static str,
    stand_in: fn(&str) -> String,
) -> PersonalField {
    PersonalField { name, subject, home: "home", stand_in }
}

/// The personal fields of these tests.
pub fn marks(event_type: &EventType) -> &'static [PersonalField] {
    match event_type.as_str() {
        "Named" | "NamedToo" => NAMED,
        _ => &[],
    }
}

/// An event of this type with this data, whose id follows from a number.
pub fn event_with(number: u64, event_type: &str, data: &Value) -> NewEvent {
    NewEvent {
        id: EventId(Uuid::from_u128(u128::from(number) + 1)),
        event_type: EventType::new(event_type).unwrap(),
        content_type: ContentType::Json,
        data: data.to_string().into(),
        metadata: Bytes::new(),
    }
}

/// An event that names somebody.
pub fn named(number: u64, who: &str, name: &str) -> NewEvent {
    event_with(number, "Named", &json!({ "who": who, "name": name, "number": number }))
}

pub fn subject(who: &str) -> Subject {
    Subject::new(who)
}

pub fn stream(name: &str) -> StreamName {
    StreamName::new(name).unwrap()
}

/// An empty log.
pub async fn log(disk: &SimDisk) -> Arc<EmbeddedStore> {
    let options = EmbeddedOptions::disk(Arc::new(disk.clone())).segment_bytes(2000);
    Arc::new(EmbeddedStore::open(options).await.unwrap())
}

/// The keys on this disk.
pub fn options(disk: &SimDisk) -> SubjectKeysOptions {
    SubjectKeysOptions::disk(Arc::new(disk.clone()))
}

/// The same, opened.
pub fn keys(disk: &SimDisk) -> SubjectKeys {
    SubjectKeys::open(options(disk)).unwrap()
}

/// A wrapping key of this name, always the same.
pub fn wrapping(names: &[&str]) -> WrappingKeys {
    let line = |name: &&str| format!("{name}:{}\n", name.repeat(64));
    WrappingKeys::from_text(&names.iter().map(line).collect::<String>()).unwrap()
}

/// The log with its personal fields open.
pub fn over(log: &Arc<EmbeddedStore>, keys: &SubjectKeys) -> PersonalStore {
    PersonalStore::over(Arc::clone(log) as _, keys.clone(), marks)
}

pub async fn append(store: &dyn EventStore, event: NewEvent) -> Result<(), AppendError> {
    append_to(store, "person-1", event).await
}

pub async fn append_to(
    store: &dyn EventStore,
    name: &str,
    event: NewEvent,
) -> Result<(), AppendError> {
    store.append(&stream(name), ExpectedRevision::Any, vec![event]).await.map(drop)
}

pub async fn everything(store: &dyn EventStore) -> Result<Vec<RecordedEvent>, ReadError> {
    store.read_all(ReadAll::forward()).await?.try_collect().await
}

/// The data of every event.
pub async fn data_of(store: &dyn EventStore) -> Vec<Value> {
    let events = everything(store).await.unwrap();
    events.iter().map(|event| serde_json::from_slice(&event.data).unwrap()).collect()
}

/// The `name` of every event.
pub async fn names(store: &dyn EventStore) -> Vec<String> {
    let data = data_of(store).await;
    data.iter().map(|data| data["name"].as_str().unwrap().to_owned()).collect()
}

/// What the store could not open when it read all of the log, the first; none when it opened all.
pub async fn unreadable(store: &PersonalStore) -> Option<PersonalError> {
    everything(store).await.unwrap();
    store.unreadable().first().map(|(_, why)| why)
}

/// Whether the append was refused, as somebody's key is lost.
pub fn is_lost(error: &AppendError) -> bool {
    matches!(error, AppendError::Store(StoreError::Personal(PersonalError::KeyLost { .. })))
}

/// The bytes of all files of a disk.
pub fn bytes_of(disk: &SimDisk) -> Vec<(String, Vec<u8>)> {
    use event_store::log::Disk as _;
    let names = disk.list().unwrap();
    names.into_iter().map(|name| (name.clone(), disk.contents(&name).unwrap())).collect()
}

/// The one file that holds keys of subjects.
pub fn bucket_of(disk: &SimDisk, subject: Subject) -> (String, Vec<u8>) {
    let name = format!("{}.keys", &subject.to_string()[..3]);
    let bytes = disk.contents(&name).unwrap();
    (name, bytes)
}
