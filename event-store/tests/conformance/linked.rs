//! Streams of links to categories and types, where the system's projections make them: what they
//! are once they were deleted.

use std::sync::Arc;

use event_store::{
    ExpectedRevision, ReadError, ReadStream, Revision, StreamMetadata, StreamName, SubscribeFrom,
};
use futures::TryStreamExt;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use crate::suite::deliveries::until_caught_up;
use crate::suite::{
    Store, events, exactly, is_wrong, next_event, read_error, revisions, stream_of,
};

/// A category that no other test has: a stream of it, and its links.
fn category() -> (StreamName, StreamName) {
    let name = format!("c{}", Uuid::new_v4().simple());
    let [of, links] = [format!("{name}-1"), format!("$ce-{name}")];
    (StreamName::new(of).unwrap(), StreamName::new(links).unwrap())
}

async fn append(store: &Store, stream: &StreamName, count: u64) {
    store.append(stream, ExpectedRevision::Any, events(count)).await.unwrap();
}

/// These links are read, and no others, which way ever; where there are none, nothing is found.
async fn are_left(store: &Store, links: &StreamName, expected: &[u64]) {
    let forward = ReadStream::forward(links.clone());
    let last = store.last_event(links).await.unwrap().map(|last| last.revision.get());
    assert_eq!(last.as_ref(), expected.last());
    if expected.is_empty() {
        let error = read_error(store, forward).await;
        assert!(matches!(error, ReadError::StreamNotFound(_)), "{error}");
        return;
    }
    assert_eq!(revisions(&stream_of(store, forward.clone()).await), expected);
    let mut backward = revisions(&stream_of(store, ReadStream::backward(links.clone())).await);
    backward.reverse();
    assert_eq!(backward, expected);
    let from_the_first = forward.from(Revision::FIRST).limit(1);
    assert_eq!(revisions(&stream_of(store, from_the_first).await), expected[..1]);
}

pub async fn deleted_links_are_gone_and_go_on(store: Store) {
    let (of, links) = category();
    append(&store, &of, 3).await;
    for expected in [exactly(1), exactly(3), ExpectedRevision::NoStream] {
        let error = store.delete_stream(&links, expected).await.unwrap_err();
        assert!(is_wrong(&error, Some(2)), "{expected}: {error}");
    }
    are_left(&store, &links, &[0, 1, 2]).await;
    store.delete_stream(&links, exactly(2)).await.unwrap();
    are_left(&store, &links, &[]).await;
    let exists = ExpectedRevision::StreamExists;
    store.delete_stream(&links, exists).await.expect_err("it is deleted");
    append(&store, &of, 1).await;
    are_left(&store, &links, &[3]).await;
    store.delete_stream(&links, exists).await.unwrap();
    are_left(&store, &links, &[]).await;
    store.delete_stream(&links, ExpectedRevision::NoStream).await.unwrap();
    append(&store, &of, 2).await;
    are_left(&store, &links, &[4, 5]).await;
}

pub async fn metadata_of_deleted_links_bring_nothing_back(store: Store) {
    let (of, links) = category();
    let any = ExpectedRevision::Any;
    let set = async |max_count| {
        let metadata = StreamMetadata { max_count, ..StreamMetadata::default() };
        store.set_stream_metadata(&links, any, metadata).await.unwrap();
    };
    set(Some(1)).await;
    append(&store, &of, 2).await;
    are_left(&store, &links, &[1]).await;
    store.delete_stream(&links, any).await.unwrap();
    are_left(&store, &links, &[]).await;
    append(&store, &of, 2).await;
    are_left(&store, &links, &[2, 3]).await;
    set(None).await;
    are_left(&store, &links, &[2, 3]).await;
    store.delete_stream(&links, any).await.unwrap();
    set(Some(9)).await;
    let empty = stream_of(&store, ReadStream::forward(links.clone())).await;
    assert!(empty.is_empty(), "{empty:?}");
    append(&store, &of, 1).await;
    are_left(&store, &links, &[4]).await;
}

pub async fn the_last_link_is_known_though_it_is_hidden(store: Store) {
    let (of, links) = category();
    let last = async || store.last_revision(&links).await.unwrap().map(Revision::get);
    assert_eq!(last().await, None);
    append(&store, &of, 3).await;
    assert_eq!(last().await, Some(2));
    let any = ExpectedRevision::Any;
    let hiding = StreamMetadata { truncate_before: Some(9), ..StreamMetadata::default() };
    store.set_stream_metadata(&links, any, hiding).await.unwrap();
    assert_eq!(store.last_event(&links).await.unwrap(), None);
    assert_eq!(last().await, Some(2));
    store.delete_stream(&links, any).await.unwrap();
    assert_eq!(last().await, None);
    // What a deletion left is written again, as whoever changes metadata does.
    let (metadata, _) = store.stream_metadata(&links).await.unwrap();
    store.set_stream_metadata(&links, any, metadata).await.unwrap();
    assert_eq!(last().await, Some(2));
    append(&store, &of, 1).await;
    are_left(&store, &links, &[3]).await;
}

pub async fn links_that_never_were_can_not_be_deleted(store: Store) {
    let (of, links) = category();
    let any = ExpectedRevision::Any;
    let error = store.delete_stream(&links, any).await.unwrap_err();
    assert!(is_wrong(&error, None), "{error}");
    let metadata = StreamMetadata { max_count: Some(9), ..StreamMetadata::default() };
    store.set_stream_metadata(&links, any, metadata).await.unwrap();
    store.delete_stream(&links, any).await.unwrap();
    append(&store, &of, 2).await;
    are_left(&store, &links, &[0, 1]).await;
}

pub async fn deleted_links_are_followed_from_behind_the_deletion(store: Store) {
    let (of, links) = category();
    append(&store, &of, 2).await;
    store.delete_stream(&links, exactly(1)).await.unwrap();
    let mut early = store.subscribe_stream(&links, SubscribeFrom::Start).await.unwrap();
    assert!(until_caught_up(&mut early).await.is_empty());
    append(&store, &of, 1).await;
    assert_eq!(next_event(&mut early).await.revision.get(), 2);
    let mut late = store.subscribe_stream(&links, SubscribeFrom::Start).await.unwrap();
    assert_eq!(revisions(&until_caught_up(&mut late).await), [2]);
}

/// Given events that come meanwhile, when links are deleted up to a revision, then none behind it
/// is hidden.
pub async fn no_link_is_deleted_that_was_not_expected(store: Store) {
    const DELETIONS: usize = 20;
    let (of, links) = category();
    append(&store, &of, 1).await;
    let writer = Arc::clone(&store);
    let _writing = AbortOnDropHandle::new(tokio::spawn(async move {
        loop {
            append(&writer, &of, 1).await;
        }
    }));
    let mut deletions = 0;
    while deletions < DELETIONS {
        let Some(last) = store.last_event(&links).await.unwrap() else { continue };
        if store.delete_stream(&links, exactly(last.revision.get())).await.is_err() {
            continue;
        }
        deletions += 1;
        let first = loop {
            match store.read_stream(ReadStream::forward(links.clone()).limit(1)).await {
                Ok(mut read) => match read.try_next().await.unwrap() {
                    Some(first) => break first,
                    None => continue,
                },
                Err(ReadError::StreamNotFound(_)) => {}
                Err(error) => panic!("{error}"),
            }
        };
        assert_eq!(first.revision, last.revision.next());
    }
}
