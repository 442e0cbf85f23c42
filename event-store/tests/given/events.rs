//! Events to append, and a look at all that a store holds, for the tests beside this folder.

use bytes::Bytes;
use event_store::{
    ContentType, EmbeddedStore, EventId, EventStore, EventType, NewEvent, ReadAll, ReadError,
    RecordedEvent, StreamName,
};
use futures::TryStreamExt;
use uuid::Uuid;

/// An event whose id and data follow from a number.
pub fn event(number: u64) -> NewEvent {
    NewEvent {
        id: EventId(Uuid::from_u128(u128::from(number) + 1)),
        event_type: EventType::new("Numbered").unwrap(),
        content_type: ContentType::Json,
        data: format!("{{\"number\":{number}}}").into(),
        metadata: Bytes::new(),
    }
}

/// A stream's name.
pub fn stream(name: &str) -> StreamName {
    StreamName::new(name).unwrap()
}

/// Every event of the log.
pub async fn everything(store: &EmbeddedStore) -> Result<Vec<RecordedEvent>, ReadError> {
    store.read_all(ReadAll::forward()).await?.try_collect().await
}
