//! A store of small segments on a simulated disk, for the tests beside this folder.

use std::sync::Arc;

use event_store::log::{Disk, SimDisk};
use event_store::{
    EmbeddedOptions, EmbeddedStore, EventStore, OpenError, ReadError, ReadStream, RecordedEvent,
    StreamName, WrappingKeys,
};
use futures::TryStreamExt;

/// Segments of a few events, so that small tests meet many of them.
const SMALL_SEGMENT_BYTES: u64 = 2000;

/// Opens the store; one that is encrypted goes on so.
pub async fn open(disk: &SimDisk) -> Result<EmbeddedStore, OpenError> {
    let is_encrypted = disk.list().is_ok_and(|names| names.iter().any(|it| it.ends_with(".key")));
    let options = options(disk);
    EmbeddedStore::open(if is_encrypted { options.encryption(keys()) } else { options }).await
}

/// The store on this disk.
pub fn options(disk: &SimDisk) -> EmbeddedOptions {
    EmbeddedOptions::disk(Arc::new(disk.clone())).segment_bytes(SMALL_SEGMENT_BYTES)
}

/// The keys of all encrypted stores here.
pub fn keys() -> WrappingKeys {
    WrappingKeys::from_text(&format!("key:{}", "07".repeat(32))).unwrap()
}

/// Every event of a stream.
pub async fn all_of(store: &EmbeddedStore, name: &str) -> Result<Vec<RecordedEvent>, ReadError> {
    let stream = StreamName::new(name).unwrap();
    store.read_stream(ReadStream::forward(stream)).await?.try_collect().await
}
