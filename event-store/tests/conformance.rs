//! The embedded store does what the port promises, in one segment and spread over many.

#[path = "conformance/indexed.rs"]
mod indexed;
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
