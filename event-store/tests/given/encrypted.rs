//! Disks whose stores are encrypted, for the tests that go through both kinds.

use event_store::EmbeddedStore;
use event_store::log::SimDisk;

use crate::simulated::{keys, options};

/// A disk with an empty store, which is encrypted or not.
pub async fn new_disk(encrypted: bool) -> SimDisk {
    let disk = SimDisk::new();
    if encrypted {
        let store = EmbeddedStore::open(options(&disk).encryption(keys())).await.unwrap();
        store.close().await.unwrap();
    }
    disk
}
