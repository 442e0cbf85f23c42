//! The suite that every storage passes: `check` runs all of it against one empty storage.

use std::io;

use bytes::Bytes;
use futures::stream::{self, StreamExt};
use sha2::{Digest, Sha256};

use super::{ByteRange, ByteStream, ObjectStorage, Sha256Digest, StorageError};
use crate::object_key::{KeyPrefix, ObjectKey};

/// Holds a storage to the promises of the port. It must be empty, and is empty again afterwards.
pub(crate) async fn check(storage: &dyn ObjectStorage) {
    what_is_put_is_got_back(storage).await;
    large_objects_come_whole(storage).await;
    ranges_are_exact(storage).await;
    what_is_absent_is_not_found(storage).await;
    a_put_replaces_and_readers_keep_theirs(storage).await;
    a_body_that_fails_changes_nothing(storage).await;
    what_is_created_replaces_nothing(storage).await;
    of_many_who_create_one_does(storage).await;
    creating_and_removing_do_not_fail_each_other(storage).await;
    lists_are_sorted_and_paged(storage).await;
    files_go_in_and_come_out(storage).await;
    writers_of_one_key_do_not_mix(storage).await;
    assert!(storage.free_bytes().await.unwrap() > 0, "what was stored found room");
    let left = storage.list(&KeyPrefix::everything(), None, 10).await.unwrap();
    assert_eq!(left, [], "the suite cleans up");
}

fn key(text: &str) -> ObjectKey {
    ObjectKey::new(text).unwrap()
}

fn body(bytes: impl Into<Bytes>) -> ByteStream {
    let bytes: Bytes = bytes.into();
    let pieces: Vec<_> = bytes.chunks(7_001).map(|p| Ok(Bytes::copy_from_slice(p))).collect();
    stream::iter(pieces).boxed()
}

fn pattern(size_bytes: usize) -> Vec<u8> {
    (0..size_bytes).map(|i| (i * 31 + i / 251) as u8).collect()
}

fn digest(bytes: &[u8]) -> Sha256Digest {
    Sha256Digest::from_bytes(Sha256::digest(bytes).into())
}

async fn read(storage: &dyn ObjectStorage, key: &ObjectKey, range: ByteRange) -> Bytes {
    storage.get(key, range).await.unwrap().bytes(u64::MAX).await.unwrap()
}

async fn what_is_put_is_got_back(storage: &dyn ObjectStorage) {
    for content in [&b""[..], b"x", &pattern(100_000)] {
        let key = key("suite/one");
        let stored = storage.put(&key, body(content.to_vec())).await.unwrap();
        assert_eq!(stored.key, key);
        assert_eq!(stored.size_bytes, content.len() as u64);
        assert_eq!(stored.sha256, digest(content));
        assert_eq!(read(storage, &key, ByteRange::Whole).await, content);
        let head = storage.head(&key).await.unwrap();
        assert_eq!(head.size_bytes, content.len() as u64);
        let age = chrono::Utc::now() - head.modified;
        assert!(age.num_seconds().abs() < 600, "{age}");
    }
    storage.delete(&key("suite/one")).await.unwrap();
}

async fn large_objects_come_whole(storage: &dyn ObjectStorage) {
    let (key, content) = (key("suite/large"), pattern(5 * 1024 * 1024 + 3));
    let stored = storage.put(&key, body(content.clone())).await.unwrap();
    assert_eq!(stored.sha256, digest(&content));
    let got = read(storage, &key, ByteRange::Whole).await;
    assert!(got == content, "every byte is as it was");
    storage.delete(&key).await.unwrap();
}

async fn ranges_are_exact(storage: &dyn ObjectStorage) {
    let (key, content) = (key("suite/ranged"), pattern(300_000));
    storage.put(&key, body(content.clone())).await.unwrap();
    let within = |start, length_bytes| ByteRange::Within { start, length_bytes };
    for (range, expected) in [
        (within(0, 1), 0..1),
        (within(150_000, 140_000), 150_000..290_000),
        (within(299_999, 5), 299_999..300_000),
        (ByteRange::From(299_000), 299_000..300_000),
        (ByteRange::Last(10), 299_990..300_000),
        (ByteRange::Last(1_000_000), 0..300_000),
    ] {
        let reader = storage.get(&key, range).await.unwrap();
        assert_eq!(reader.size_bytes, 300_000);
        assert_eq!(reader.range, expected.start as u64..expected.end as u64);
        assert!(reader.bytes(u64::MAX).await.unwrap() == content[expected], "{range:?}");
    }
    let outside = storage.get(&key, ByteRange::From(300_000)).await;
    let size_bytes = match outside {
        Err(StorageError::RangeNotSatisfiable { size_bytes }) => size_bytes,
        _ => panic!("a range behind the end is refused"),
    };
    assert_eq!(size_bytes, 300_000);
    let reader = storage.get(&key, ByteRange::Whole).await.unwrap();
    assert!(reader.bytes(299_999).await.is_err(), "more than the caller holds is refused");
    storage.delete(&key).await.unwrap();
}

async fn what_is_absent_is_not_found(storage: &dyn ObjectStorage) {
    let key = key("suite/absent");
    let get = storage.get(&key, ByteRange::Whole).await.err();
    let local = storage.local_file(&key).await.err();
    for error in [get, storage.head(&key).await.err(), local] {
        assert!(matches!(error, Some(StorageError::NotFound { key: named }) if named == key));
    }
    storage.delete(&key).await.unwrap();
    let nowhere = KeyPrefix::folder("nowhere/at/all").unwrap();
    assert_eq!(storage.list(&nowhere, None, 10).await.unwrap(), []);
}

async fn a_put_replaces_and_readers_keep_theirs(storage: &dyn ObjectStorage) {
    let (key, old, new) = (key("suite/replaced"), pattern(500_000), vec![9; 1_000]);
    storage.put(&key, body(old.clone())).await.unwrap();
    let reader = storage.get(&key, ByteRange::Whole).await.unwrap();
    storage.put(&key, body(new.clone())).await.unwrap();
    assert_eq!(read(storage, &key, ByteRange::Whole).await, new);
    assert!(reader.bytes(u64::MAX).await.unwrap() == old, "a reader keeps what it began with");
    storage.delete(&key).await.unwrap();
    assert!(matches!(storage.head(&key).await, Err(StorageError::NotFound { .. })));
}

async fn a_body_that_fails_changes_nothing(storage: &dyn ObjectStorage) {
    let key = key("suite/kept");
    let broken = || {
        let broken = io::Error::other("the sender went away");
        stream::iter([Ok(Bytes::from(pattern(2_000_000))), Err(broken)]).boxed()
    };
    let refused = storage.put(&key, broken()).await;
    assert!(matches!(refused, Err(StorageError::Body(_))));
    assert!(matches!(storage.head(&key).await, Err(StorageError::NotFound { .. })));
    storage.put(&key, body("kept")).await.unwrap();
    assert!(storage.put(&key, broken()).await.is_err());
    assert_eq!(read(storage, &key, ByteRange::Whole).await, "kept");
    storage.delete(&key).await.unwrap();
}

async fn what_is_created_replaces_nothing(storage: &dyn ObjectStorage) {
    let (key, content) = (key("suite/created"), pattern(100_000));
    let broken = stream::iter([Err(io::Error::other("the sender went away"))]).boxed();
    assert!(matches!(storage.create(&key, broken).await, Err(StorageError::Body(_))));
    let stored = storage.create(&key, body(content.clone())).await.unwrap().expect("nothing was");
    assert_eq!((&stored.key, stored.size_bytes), (&key, 100_000));
    assert_eq!(stored.sha256, digest(&content));
    assert_eq!(storage.create(&key, body("another")).await.unwrap(), None);
    assert!(read(storage, &key, ByteRange::Whole).await == content, "it is the first still");
    storage.put(&key, body("put")).await.unwrap();
    assert_eq!(storage.create(&key, body("another")).await.unwrap(), None);
    assert_eq!(read(storage, &key, ByteRange::Whole).await, "put");
    storage.delete(&key).await.unwrap();
    assert!(storage.create(&key, body("")).await.unwrap().is_some(), "it is free again");
    assert_eq!(storage.create(&key, body("another")).await.unwrap(), None, "empty is there too");
    storage.delete(&key).await.unwrap();
}

async fn of_many_who_create_one_does(storage: &dyn ObjectStorage) {
    for round in 0..20 {
        let key = key(&format!("suite/new/{round}/created"));
        let creates = (0..8_u8).map(|writer| storage.create(&key, body(vec![writer; 20_000])));
        let created = futures::future::join_all(creates).await;
        let created = created.into_iter().map(Result::unwrap).enumerate();
        let created: Vec<_> = created.filter_map(|(writer, it)| Some((writer, it?))).collect();
        let [(writer, stored)] = &created[..] else {
            panic!("one is the first: {created:?}");
        };
        let got = read(storage, &key, ByteRange::Whole).await;
        assert!(got == vec![*writer as u8; 20_000], "what is there is what the first sent");
        assert_eq!(stored.sha256, digest(&got));
        storage.delete(&key).await.unwrap();
    }
}

async fn creating_and_removing_do_not_fail_each_other(storage: &dyn ObjectStorage) {
    let key = key("suite/contended/deep/created");
    for _ in 0..20 {
        let writers = (0..4_u8).map(|writer| {
            let key = &key;
            async move {
                let created = storage.create(key, body(vec![writer; 9_000])).await.unwrap();
                storage.delete(key).await.unwrap();
                created.is_some()
            }
        });
        let created = futures::future::join_all(writers).await;
        assert!(created.contains(&true), "somebody was the first");
        assert!(matches!(storage.head(&key).await, Err(StorageError::NotFound { .. })));
    }
}

async fn lists_are_sorted_and_paged(storage: &dyn ObjectStorage) {
    let mut names = ["l/b", "l/a/2", "l/a/10", "l/a-b", "l/a.b", "l/c/d/e", "l/B", "lone", "m/x"];
    for name in names {
        storage.put(&key(name), body(name)).await.unwrap();
    }
    names.sort_unstable();
    let everything = KeyPrefix::everything();
    let all = storage.list(&everything, None, 100).await.unwrap();
    let listed: Vec<_> = all.iter().map(|object| object.key.as_str()).collect();
    assert_eq!(listed, names);
    assert!(all.iter().all(|object| object.size_bytes == object.key.as_str().len() as u64));

    let mut paged = Vec::new();
    let mut after: Option<ObjectKey> = None;
    loop {
        let page = storage.list(&everything, after.as_ref(), 2).await.unwrap();
        assert!(page.len() <= 2);
        let Some(last) = page.last() else { break };
        after = Some(last.key.clone());
        paged.extend(page);
    }
    assert_eq!(paged, all);

    let folder = KeyPrefix::folder("l/a").unwrap();
    let inside = storage.list(&folder, None, 100).await.unwrap();
    let inside: Vec<_> = inside.iter().map(|object| object.key.as_str()).collect();
    assert_eq!(inside, ["l/a/10", "l/a/2"]);
    for name in names {
        storage.delete(&key(name)).await.unwrap();
    }
}

async fn files_go_in_and_come_out(storage: &dyn ObjectStorage) {
    let home = tempfile::tempdir().unwrap();
    let (source, content) = (home.path().join("source"), pattern(400_000));
    std::fs::write(&source, &content).unwrap();
    let key = key("suite/file");
    let stored = storage.put_file(&key, &source).await.unwrap();
    assert_eq!(stored.sha256, digest(&content));
    let local = storage.local_file(&key).await.unwrap();
    assert!(std::fs::read(local.path()).unwrap() == content);
    assert!(source.exists());
    let missing = storage.put_file(&key, &home.path().join("missing")).await;
    assert!(matches!(missing, Err(StorageError::Body(_))));
    storage.delete(&key).await.unwrap();
}

async fn writers_of_one_key_do_not_mix(storage: &dyn ObjectStorage) {
    let key = key("suite/contended");
    let puts = (0..8_u8).map(|writer| storage.put(&key, body(vec![writer; 200_000])));
    for stored in futures::future::join_all(puts).await {
        stored.unwrap();
    }
    let got = read(storage, &key, ByteRange::Whole).await;
    assert_eq!(got.len(), 200_000);
    assert!(got.iter().all(|byte| *byte == got[0]), "the object is one writer's alone");
    storage.delete(&key).await.unwrap();
}
