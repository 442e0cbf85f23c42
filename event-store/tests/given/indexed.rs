//! Waiting for indexes, which are written beside the appends, for the tests beside this folder.

use event_store::{EmbeddedStore, ScavengeOptions};

/// Waits until every sealed segment has its index: a pass needs them, and this one finds nothing
/// worth writing anew. Afterwards nothing is written until somebody asks for it.
pub async fn until_indexed(store: &EmbeddedStore) {
    let nothing = ScavengeOptions::default().least_percent(u8::MAX).bytes_per_second(u64::MAX);
    let done = store.scavenge(nothing).await.unwrap().progress;
    assert_eq!((done.segments_done, done.segments_rewritten), (done.segments, 0));
}
