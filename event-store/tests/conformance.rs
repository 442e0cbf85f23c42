//! The embedded store does what the port promises, in one segment, spread over many, and while what
//! is hidden is reclaimed.

#[path = "conformance/indexed.rs"]
mod indexed;
#[path = "given/scavenging.rs"]
mod scavenging;
#[path = "conformance/several.rs"]
mod several;
#[path = "conformance/suite.rs"]
mod suite;

use std::sync::Arc;

use event_store::log::SimDisk;
use event_store::{EmbeddedOptions, EmbeddedStore};
use tempfile::TempDir;

async fn in_a_folder() -> (suite::Store, TempDir) {
    let folder = TempDir::new().unwrap();
    let options = EmbeddedOptions::folder(folder.path().join("events"));
    (Arc::new(EmbeddedStore::open(options).await.unwrap()), folder)
}

async fn in_many_segments() -> (suite::Store, SimDisk) {
    const SEGMENT_BYTES: u64 = 1500;
    let disk = SimDisk::new();
    let options = EmbeddedOptions::disk(Arc::new(disk.clone())).segment_bytes(SEGMENT_BYTES);
    (Arc::new(EmbeddedStore::open(options).await.unwrap()), disk)
}

/// A store of many segments that is scavenged again and again, until the guard is dropped.
async fn always_scavenged() -> (suite::Store, tokio_util::task::AbortOnDropHandle<()>) {
    const SEGMENT_BYTES: u64 = 1500;
    let options = EmbeddedOptions::disk(Arc::new(SimDisk::new())).segment_bytes(SEGMENT_BYTES);
    let store = Arc::new(EmbeddedStore::open(options).await.unwrap());
    let scavenged = Arc::clone(&store);
    let again = tokio::spawn(async move {
        loop {
            scavenged.scavenge(scavenging::thorough()).await.unwrap();
            tokio::task::yield_now().await;
        }
    });
    (store, tokio_util::task::AbortOnDropHandle::new(again))
}

mod folder {
    //! On a real file system.
    use super::in_a_folder;
    crate::conformance_suite!(in_a_folder(), several);
}

mod many_segments {
    //! With segments that hold a few events each, so that every path meets sealed ones.
    use super::in_many_segments;
    crate::conformance_suite!(in_many_segments(), several);
}

mod scavenged {
    //! While what is hidden is reclaimed.
    use super::always_scavenged;
    crate::conformance_suite!(always_scavenged(), several_without_past);
}
