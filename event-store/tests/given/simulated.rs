//! A store of small segments on a simulated disk, for the tests beside this folder.

use std::sync::Arc;

use event_store::log::SimDisk;
use event_store::{
    EmbeddedOptions, EmbeddedStore, EventStore, OpenError, ReadError, ReadStream, RecordedEvent,
    StreamName,
};
use futures::TryStreamExt;

/// Segments of a few events, so that small tests meet many of them.
const SMALL_SEGMENT_BYTES: u64 = 2000;

/// Opens the store.
pub async fn open(disk: &SimDisk) -> Result<EmbeddedStore, OpenError> {
    let options = EmbeddedOptions::disk(Arc::new(disk.clone()));
    EmbeddedStore::open(options.segment_bytes(SMALL_SEGMENT_BYTES)).await
}

/// Every event of a stream.
pub async fn all_of(store: &EmbeddedStore, name: &str) -> Result<Vec<RecordedEvent>, ReadError> {
    let stream = StreamName::new(name).unwrap();
    store.read_stream(ReadStream::forward(stream)).await?.try_collect().await
}
