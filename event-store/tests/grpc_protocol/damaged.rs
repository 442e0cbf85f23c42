//! A log that rots is told as what it is, and not as a server that is away.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use event_store::{
    ClientStore, EmbeddedOptions, EmbeddedStore, EventStore, ExpectedRevision, ReadAll, ReadError,
    StoreError,
};
use futures::TryStreamExt;
use tempfile::TempDir;

use crate::server::{Server, event, stream};

const FIRST: &str = "00000000000000000001.log";

/// What stands in every event.
const IN_EVENTS: &[u8] = b"number";

#[tokio::test]
async fn a_client_is_told_where_the_log_is_damaged() {
    let folder = TempDir::new().expect("folder");
    let options = EmbeddedOptions::folder(folder.path()).segment_bytes(3000);
    let store = EmbeddedStore::open(options).await.expect("store");
    for number in 0..30 {
        let events = vec![event(number)];
        store.append(&stream("told"), ExpectedRevision::Any, events).await.expect("append");
    }
    let segment = folder.path().join(FIRST);
    let bytes = fs::read(&segment).expect("the first segment");
    let inside = bytes.windows(IN_EVENTS.len()).position(|window| window == IN_EVENTS);
    let inside = inside.expect("an event") as u64;
    let file = OpenOptions::new().write(true).open(segment).expect("the first segment");
    file.write_all_at(b"N", inside).expect("write");
    let server = Server::over(Arc::new(store), "127.0.0.1:0").await;
    let client = ClientStore::new(&server.connection_string()).expect("connection string");
    for asked in [&*server.store, &client as &dyn EventStore] {
        let told = match asked.read_all(ReadAll::forward()).await {
            Ok(events) => events.try_collect::<Vec<_>>().await.map(drop),
            Err(error) => Err(error),
        };
        let Err(ReadError::Store(StoreError::Corrupt { place, reason })) = told else {
            panic!("told otherwise: {told:?}");
        };
        assert!(place.contains(FIRST) && place.contains("offset"), "{place}");
        assert!(!reason.is_empty() && !reason.contains("details"), "{reason}");
    }
}
