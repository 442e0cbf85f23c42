//! Events that nobody but a meddler appends, through the running store's door.

use event_schemas::{Actor, Metadata};
use event_store::{
    ClientStore, ContentType, EventId, EventStore as _, EventType, ExpectedRevision, NewEvent,
    Position, StreamName,
};
use serde_json::Value;
use uuid::Uuid;

use crate::platform::Platform;

/// Appends an event, and tells where it is.
pub async fn append(platform: &Platform, stream: &str, event_type: &str, data: &Value) -> Position {
    let address = platform.run_file()["event_store"].as_str().unwrap().to_owned();
    let store = ClientStore::new(&format!("esdb://{address}?tls=false")).unwrap();
    let metadata = Metadata {
        schema_version: 1,
        correlation_id: Uuid::new_v4(),
        causation_id: Uuid::new_v4(),
        actor: Actor::System,
        occurred_at: chrono::Utc::now(),
        traceparent: None,
        command: None,
    };
    let event = NewEvent {
        id: EventId(Uuid::new_v4()),
        event_type: EventType::new(event_type).unwrap(),
        content_type: ContentType::Json,
        data: data.to_string().into(),
        metadata: serde_json::to_vec(&metadata).unwrap().into(),
    };
    let stream = StreamName::new(stream).unwrap();
    let appended = store.append(&stream, ExpectedRevision::Any, vec![event]).await.unwrap();
    appended.position.unwrap()
}
