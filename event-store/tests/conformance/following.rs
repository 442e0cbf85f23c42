//! Subscriptions: each event once, first the past and then live.

use std::sync::Arc;

use event_store::{
    Delivery, ExpectedRevision, Filter, Position, ReadStream, Revision, StreamMetadata,
    SubscribeError, SubscribeFrom,
};

use super::{
    Store, events, exactly, fresh, next, next_event, revisions, stream_of, until_caught_up,
};

pub async fn a_subscriber_gets_the_past_and_then_live(store: Store) {
    let stream = fresh();
    store.append(&stream, ExpectedRevision::NoStream, events(3)).await.unwrap();
    let filter = Filter::stream_prefixes([stream.as_str()]);
    let mut of_stream = store.subscribe_stream(&stream, SubscribeFrom::Start).await.unwrap();
    let mut of_all = store.subscribe_all(SubscribeFrom::Start, Some(filter)).await.unwrap();
    for subscription in [&mut of_stream, &mut of_all] {
        assert_eq!(revisions(&until_caught_up(subscription).await), [0, 1, 2]);
    }
    for revision in 3..6 {
        store.append(&stream, ExpectedRevision::Any, events(1)).await.unwrap();
        for subscription in [&mut of_stream, &mut of_all] {
            assert_eq!(next_event(subscription).await.revision.get(), revision);
        }
    }
}

pub async fn a_subscriber_begins_after_a_place(store: Store) {
    let stream = fresh();
    store.append(&stream, ExpectedRevision::NoStream, events(4)).await.unwrap();
    let second = stream_of(&store, ReadStream::forward(stream.clone())).await.remove(1).position;
    let filter = || Some(Filter::stream_prefixes([stream.as_str()]));
    let after = SubscribeFrom::After(Revision::new(1));
    let mut of_stream = store.subscribe_stream(&stream, after).await.unwrap();
    let mut of_all = store.subscribe_all(SubscribeFrom::After(second), filter()).await.unwrap();
    assert_eq!(revisions(&until_caught_up(&mut of_stream).await), [2, 3]);
    assert_eq!(revisions(&until_caught_up(&mut of_all).await), [2, 3]);
    let mut of_stream = store.subscribe_stream(&stream, SubscribeFrom::End).await.unwrap();
    let mut of_all = store.subscribe_all(SubscribeFrom::End, filter()).await.unwrap();
    assert!(until_caught_up(&mut of_stream).await.is_empty());
    assert!(until_caught_up(&mut of_all).await.is_empty());
    store.append(&stream, exactly(3), events(1)).await.unwrap();
    assert_eq!(next_event(&mut of_stream).await.revision.get(), 4);
    assert_eq!(next_event(&mut of_all).await.revision.get(), 4);
}

pub async fn a_stream_is_followed_before_it_is_there(store: Store) {
    let stream = fresh();
    let mut subscription = store.subscribe_stream(&stream, SubscribeFrom::Start).await.unwrap();
    assert!(until_caught_up(&mut subscription).await.is_empty());
    store.append(&stream, ExpectedRevision::NoStream, events(2)).await.unwrap();
    assert_eq!(next_event(&mut subscription).await.revision.get(), 0);
    assert_eq!(next_event(&mut subscription).await.revision.get(), 1);
}

pub async fn who_is_live_gets_also_what_is_hidden_at_once(store: Store) {
    let stream = fresh();
    let metadata = StreamMetadata { max_count: Some(3), ..StreamMetadata::default() };
    store.set_stream_metadata(&stream, ExpectedRevision::Any, metadata).await.unwrap();
    let mut subscription = store.subscribe_stream(&stream, SubscribeFrom::Start).await.unwrap();
    assert!(until_caught_up(&mut subscription).await.is_empty());
    for begun in [0, 10] {
        store.append(&stream, ExpectedRevision::Any, events(10)).await.unwrap();
        for revision in begun..begun + 10 {
            assert_eq!(next_event(&mut subscription).await.revision.get(), revision);
        }
    }
    let mut late = store.subscribe_stream(&stream, SubscribeFrom::Start).await.unwrap();
    assert_eq!(revisions(&until_caught_up(&mut late).await), [17, 18, 19]);
}

pub async fn a_tombstone_ends_a_subscription(store: Store) {
    let stream = fresh();
    store.append(&stream, ExpectedRevision::NoStream, events(1)).await.unwrap();
    let mut subscription = store.subscribe_stream(&stream, SubscribeFrom::Start).await.unwrap();
    assert_eq!(until_caught_up(&mut subscription).await.len(), 1);
    store.tombstone_stream(&stream, ExpectedRevision::Any).await.unwrap();
    let error = loop {
        match next(&mut subscription).await {
            Ok(Delivery::Event(event)) => assert_eq!(event.event_type.as_str(), "$streamDeleted"),
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(error, SubscribeError::StreamDeleted(_)), "{error}");
}

pub async fn filtered_subscribers_get_checkpoints(store: Store) {
    let (stream, other) = (fresh(), fresh());
    store.append(&stream, ExpectedRevision::NoStream, events(1)).await.unwrap();
    let last = store.append(&other, ExpectedRevision::NoStream, events(10)).await.unwrap();
    let filter = Filter::stream_prefixes([stream.as_str()]);
    let mut subscription = store.subscribe_all(SubscribeFrom::Start, Some(filter)).await.unwrap();
    let mut place = Position::START;
    while place < last.position.unwrap() {
        match next(&mut subscription).await.unwrap() {
            Delivery::Event(event) => {
                assert_eq!(event.stream, stream);
                place = event.position;
            }
            Delivery::Checkpoint(position) => {
                assert!(position >= place, "checkpoints never go back");
                place = position;
            }
            Delivery::CaughtUp | Delivery::FellBehind => {}
        }
    }
    // Live too, and at once: somebody may wait for what is made of the log to have come so far.
    let other = store.append(&other, ExpectedRevision::Any, events(1)).await.unwrap();
    while place < other.position.unwrap() {
        if let Delivery::Checkpoint(position) = next(&mut subscription).await.unwrap() {
            place = position;
        }
    }
}

pub async fn subscribers_see_each_event_once_under_load(store: Store) {
    const WRITERS: u64 = 4;
    const APPENDS: u64 = 50;
    let stream = fresh();
    let filter = Filter::stream_prefixes([stream.as_str()]);
    let mut of_all = store.subscribe_all(SubscribeFrom::Start, Some(filter)).await.unwrap();
    let mut of_stream = store.subscribe_stream(&stream, SubscribeFrom::Start).await.unwrap();
    for _ in 0..WRITERS {
        let (store, stream) = (Arc::clone(&store), stream.clone());
        tokio::spawn(async move {
            for _ in 0..APPENDS {
                store.append(&stream, ExpectedRevision::Any, events(3)).await.unwrap();
            }
        });
    }
    for revision in 0..WRITERS * APPENDS * 3 {
        assert_eq!(next_event(&mut of_all).await.revision.get(), revision);
        assert_eq!(next_event(&mut of_stream).await.revision.get(), revision);
    }
}
