//! Readers and followers that are on their way while segments are written anew.

use event_store::log::SimDisk;
use event_store::{
    AsOf, Delivery, EmbeddedStore, EventReader, EventStore, ExpectedRevision, ReadAll, ReadError,
    ReadStream, RecordedEvent, SubscribeError, SubscribeFrom,
};
use futures::{StreamExt, TryStreamExt};

use super::{append, max_count, seal, set, stream, truncate_before};
use crate::deliveries::{next, until_caught_up};
use crate::scavenge;
use crate::simulated::open;

/// Two streams side by side over many segments, of which one is to be hidden.
async fn two_streams(disk: &SimDisk) -> EmbeddedStore {
    let store = open(disk).await.unwrap();
    for number in 0..200 {
        append(&store, ["whole", "user-1"][number as usize % 2], number).await;
    }
    store
}

/// The first event, and the rest to be read later.
async fn begun(mut reader: EventReader) -> (RecordedEvent, EventReader) {
    let first = reader.next().await.unwrap().unwrap();
    (first, reader)
}

async fn ended((first, rest): (RecordedEvent, EventReader)) -> Vec<u64> {
    let rest: Vec<RecordedEvent> = rest.try_collect().await.unwrap();
    [first].iter().chain(&rest).map(|event| event.revision.get()).collect()
}

#[tokio::test]
async fn a_read_that_is_on_its_way_goes_on() {
    let disk = SimDisk::new();
    let store = two_streams(&disk).await;
    let read = |name: &str| store.read_stream(ReadStream::forward(stream(name)));
    let back = |name: &str| store.read_stream(ReadStream::backward(stream(name)));
    let forward = begun(read("whole").await.unwrap()).await;
    let backward = begun(back("whole").await.unwrap()).await;
    let hidden = begun(read("user-1").await.unwrap()).await;
    let hidden_backward = begun(back("user-1").await.unwrap()).await;
    let (first, all) = begun(store.read_all(ReadAll::forward()).await.unwrap()).await;
    let then = AsOf::Position(store.head().await.unwrap());
    let past = ReadStream::forward(stream("user-1")).as_of(then);
    let (_, past) = begun(store.read_stream(past).await.unwrap()).await;
    set(&store, "user-1", truncate_before(90)).await;
    seal(&store, &disk).await;
    assert!(scavenge(&store).await.unwrap().progress.segments_rewritten > 5);
    assert_eq!(ended(forward).await, (0..100).collect::<Vec<_>>());
    assert_eq!(ended(backward).await, (0..100).rev().collect::<Vec<_>>());
    // What was hidden meanwhile is given or not; never anything else in its place.
    let hidden = ended(hidden).await;
    assert!(hidden.is_sorted() && hidden.ends_with(&(90..100).collect::<Vec<_>>()), "{hidden:?}");
    let backward = ended(hidden_backward).await;
    assert!(backward.starts_with(&(90..100).rev().collect::<Vec<_>>()), "{backward:?}");
    // The past is told whole or not at all.
    let error = past.try_collect::<Vec<_>>().await.expect_err("most of it is gone");
    assert!(matches!(error, ReadError::Reclaimed(_)), "{error}");
    let all: Vec<RecordedEvent> = all.try_collect().await.unwrap();
    let whole = [first].into_iter().chain(all).filter(|event| event.stream.as_str() == "whole");
    assert_eq!(whole.count(), 100);
}

/// Given a store that was opened anew, so that nothing is in memory, when its segments are written
/// anew under followers, then each gets all that is left, and what comes live.
#[tokio::test]
async fn followers_pass_over_what_was_reclaimed() {
    let disk = SimDisk::new();
    let store = two_streams(&disk).await;
    set(&store, "user-1", max_count(1)).await;
    seal(&store, &disk).await;
    store.close().await.unwrap();
    let store = open(&disk).await.unwrap();
    let mut of_all = store.subscribe_all(SubscribeFrom::Start, None).await.unwrap();
    let mut of_whole =
        store.subscribe_stream(&stream("whole"), SubscribeFrom::Start).await.unwrap();
    let mut of_hidden =
        store.subscribe_stream(&stream("user-1"), SubscribeFrom::Start).await.unwrap();
    let followers = [&mut of_all, &mut of_whole, &mut of_hidden];
    for follower in followers {
        assert!(matches!(next(follower).await, Ok(Delivery::Event(_))));
    }
    scavenge(&store).await.unwrap();
    let whole = |events: &[RecordedEvent]| {
        events.iter().filter(|event| event.stream.as_str() == "whole").count()
    };
    assert!(whole(&until_caught_up(&mut of_all).await) >= 99);
    assert_eq!(whole(&until_caught_up(&mut of_whole).await), 99);
    assert_eq!(until_caught_up(&mut of_hidden).await, []);
    let mut afterwards = store.subscribe_all(SubscribeFrom::Start, None).await.unwrap();
    assert_eq!(whole(&until_caught_up(&mut afterwards).await), 100);
    for name in ["whole", "user-1"] {
        append(&store, name, 777).await;
    }
    for follower in [&mut of_all, &mut of_whole, &mut of_hidden, &mut afterwards] {
        assert!(matches!(next(follower).await, Ok(Delivery::Event(_))));
    }
}

#[tokio::test]
async fn a_follower_of_a_stream_that_is_gone_for_good_comes_to_its_end() {
    let disk = SimDisk::new();
    let store = two_streams(&disk).await;
    seal(&store, &disk).await;
    store.close().await.unwrap();
    let store = open(&disk).await.unwrap();
    let mut follower =
        store.subscribe_stream(&stream("user-1"), SubscribeFrom::Start).await.unwrap();
    assert!(matches!(next(&mut follower).await, Ok(Delivery::Event(_))));
    store.tombstone_stream(&stream("user-1"), ExpectedRevision::Any).await.unwrap();
    seal(&store, &disk).await;
    scavenge(&store).await.unwrap();
    let mut last = None;
    let error = loop {
        match next(&mut follower).await {
            Ok(Delivery::Event(event)) => last = Some(event),
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(error, SubscribeError::StreamDeleted(_)), "{error}");
    assert_eq!(last.unwrap().event_type.as_str(), "$streamDeleted");
}
