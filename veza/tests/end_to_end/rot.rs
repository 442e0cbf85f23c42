//! A byte of the log that rots on the disk: it is told, and the platform goes on serving.

use std::fs;

use bytes::Bytes;
use event_store::{
    ContentType, EmbeddedOptions, EmbeddedStore, EventId, EventStore as _, EventType,
    ExpectedRevision, NewEvent, StreamName,
};
use reqwest::Method;
use uuid::Uuid;

use crate::acts;
use crate::platform::{Platform, eventually};

/// Where the checksum of a segment's first frame is. No reader of events looks at it.
const FRAME_CRC_AT: usize = 132;

#[tokio::test]
async fn what_has_rotted_is_told_by_readiness_while_all_is_served() {
    let settings = [("VEZA_EVENT_STORE_SCRUB_EVERY", "1s"), ("VEZA_LOG", "warn")];
    let platform = Platform::start_with(&settings).await;
    acts::sign_up(&platform, "nina", "artist").await;
    let mut platform = platform.stop_and_keep().await;
    // Segments so small that what there is gets sealed.
    let events = platform.data().join("events");
    let options = EmbeddedOptions::folder(&events).segment_bytes(2000);
    let store = EmbeddedStore::open(options).await.unwrap();
    for _ in 0..3 {
        let filler = NewEvent {
            id: EventId(Uuid::new_v4()),
            event_type: EventType::new("Filled").unwrap(),
            content_type: ContentType::Binary,
            data: Bytes::from_static(&[7; 2000]),
            metadata: Bytes::new(),
        };
        let stream = StreamName::new("filler").unwrap();
        store.append(&stream, ExpectedRevision::Any, vec![filler]).await.unwrap();
    }
    store.close().await.unwrap();
    // The models go past all that before it rots.
    platform.restart().await;
    let mut platform = platform.stop_and_keep().await;
    let mut sealed: Vec<_> = fs::read_dir(&events).unwrap().map(|it| it.unwrap().path()).collect();
    sealed.retain(|path| path.extension().is_some_and(|kind| kind == "log"));
    sealed.sort();
    // Behind who signed up last, which a start looks for.
    let filler = &sealed[2];
    let mut bytes = fs::read(filler).unwrap();
    let at = bytes.windows(100).position(|bytes| bytes == [7; 100]).unwrap();
    bytes[at] ^= 1;
    fs::write(filler, bytes).unwrap();
    let first = events.join("00000000000000000001.log");
    let mut bytes = fs::read(&first).unwrap();
    bytes[FRAME_CRC_AT] ^= 1;
    fs::write(&first, bytes).unwrap();

    platform.restart().await;
    eventually("the rot is told", async || {
        let (status, report) = platform.get("/readyz").await;
        let told = report["parts"]["degraded"].as_str().unwrap_or_default().to_owned();
        status == 200 && told.contains("2 segments of the log have rotted")
    })
    .await;
    eventually("both are counted", async || {
        let metrics = platform.request(Method::GET, "/metrics", None).send().await.unwrap();
        metrics.text().await.unwrap().contains("veza_event_store_rotten_segments 2")
    })
    .await;
    acts::sign_up(&platform, "otis", "listener").await;
    platform.stop().await;
}
