//! The embedded store does what the port promises, in one segment, spread over many, while what is
//! hidden is reclaimed, and with personal fields sealed.

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
use event_store::{
    EmbeddedOptions, EmbeddedStore, EventType, PersonalField, PersonalStore, SubjectKeys,
    SubjectKeysOptions, WrappingKeys,
};
use tempfile::TempDir;
use tokio_util::task::AbortOnDropHandle;

async fn in_a_folder() -> (suite::Store, TempDir) {
    let folder = TempDir::new().unwrap();
    let options = EmbeddedOptions::folder(folder.path().join("events"));
    (Arc::new(EmbeddedStore::open(options).await.unwrap()), folder)
}

async fn in_many_segments() -> (suite::Store, SimDisk) {
    let disk = SimDisk::new();
    disk.cool();
    (Arc::new(EmbeddedStore::open(small_segments(&disk)).await.unwrap()), disk)
}

async fn encrypted() -> (suite::Store, SimDisk) {
    let disk = SimDisk::new();
    let options = small_segments(&disk).encryption(new_keys());
    (Arc::new(EmbeddedStore::open(options).await.unwrap()), disk)
}

fn small_segments(disk: &SimDisk) -> EmbeddedOptions {
    const SEGMENT_BYTES: u64 = 1500;
    EmbeddedOptions::disk(Arc::new(disk.clone())).segment_bytes(SEGMENT_BYTES)
}

fn new_keys() -> WrappingKeys {
    WrappingKeys::from_text(&WrappingKeys::new_line("key").unwrap()).unwrap()
}

/// A store that seals the numbers of the suite's events.
async fn personal() -> (suite::Store, SimDisk) {
    const NUMBERS: &[PersonalField] = &[PersonalField {
        name: "number",
        subject: "whose",
        home: "home",
        stand_in: str::to_owned,
    }];
    let marks = |event_type: &EventType| match event_type.as_str() {
        "Numbered" => NUMBERS,
        _ => &[],
    };
    let (store, disk) = in_many_segments().await;
    let keys = SubjectKeysOptions::disk(Arc::new(SimDisk::new()));
    (Arc::new(PersonalStore::over(store, SubjectKeys::open(keys).unwrap(), marks)), disk)
}

/// A store of many segments that is scavenged again and again, until the guard is dropped.
async fn always_scavenged(options: EmbeddedOptions) -> (suite::Store, AbortOnDropHandle<()>) {
    let store = Arc::new(EmbeddedStore::open(options).await.unwrap());
    let scavenged = Arc::clone(&store);
    let again = tokio::spawn(async move {
        loop {
            scavenged.scavenge(scavenging::thorough()).await.unwrap();
            tokio::task::yield_now().await;
        }
    });
    (store, AbortOnDropHandle::new(again))
}

mod folder {
    //! On a real file system.
    use super::in_a_folder;
    crate::conformance_suite!(in_a_folder(), several);
}

mod many_segments {
    //! With segments that hold a few events each, so that every path meets sealed ones, on a disk
    //! that has to be waited for now and then.
    use super::in_many_segments;
    crate::conformance_suite!(in_many_segments(), several);
}

mod encrypted_segments {
    //! With the same, encrypted.
    use super::encrypted;
    crate::conformance_suite!(encrypted(), several);
}

mod personal_fields {
    //! With personal fields that are sealed.
    use super::personal;
    crate::conformance_suite!(personal(), several);
}

mod scavenged {
    //! While what is hidden is reclaimed.
    use super::{SimDisk, always_scavenged, small_segments};
    crate::conformance_suite!(
        always_scavenged(small_segments(&SimDisk::new())),
        several_without_past
    );
}

mod encrypted_and_scavenged {
    //! While what is hidden is reclaimed from encrypted segments.
    use super::{SimDisk, always_scavenged, new_keys, small_segments};
    crate::conformance_suite!(
        always_scavenged(small_segments(&SimDisk::new()).encryption(new_keys())),
        several_without_past
    );
}
