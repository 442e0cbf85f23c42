//! What is said of a past that is gone.

use event_store::log::SimDisk;
use event_store::{
    AppendError, AsOf, EventStore, ExpectedRevision, Position, ReadAll, ReadError, ReadStream,
    Revision,
};
use futures::TryStreamExt;

use super::{append, event, everything, max_count, seal, set, stream, truncate_before};
use crate::scavenge;
use crate::simulated::open;

/// Given a stream that was truncated, and one whose metadata changed, then a read of either as of
/// before that gives what was seen then, until that is gone; from then on it says so. Others are
/// read as ever.
#[tokio::test]
async fn a_read_of_the_past_gives_it_or_says_that_it_is_gone() {
    let disk = SimDisk::new();
    let store = open(&disk).await.unwrap();
    for number in 0..30 {
        append(&store, ["whole", "user-1", "user-2"][number as usize % 3], number).await;
    }
    set(&store, "user-2", max_count(5)).await;
    let then = AsOf::Position(store.head().await.unwrap());
    set(&store, "user-1", truncate_before(4)).await;
    set(&store, "user-2", max_count(9)).await;
    let now = AsOf::Position(store.head().await.unwrap());
    store.tombstone_stream(&stream("gone"), ExpectedRevision::Any).await.unwrap();
    seal(&store, &disk).await;
    let read = async |name: &str, as_of| -> Result<Vec<u64>, ReadError> {
        let read = ReadStream::forward(stream(name)).as_of(as_of);
        let events = store.read_stream(read).await?;
        events.map_ok(|event| event.revision.get()).try_collect().await
    };
    assert_eq!(read("user-1", then).await.unwrap(), (0..10).collect::<Vec<_>>());
    assert_eq!(read("user-2", then).await.unwrap(), (5..10).collect::<Vec<_>>());
    let found = read("nobody", then).await;
    assert!(matches!(found, Err(ReadError::StreamNotFound(_))), "{found:?}");
    scavenge(&store).await.unwrap();
    for name in ["user-1", "user-2"] {
        let found = read(name, then).await;
        assert!(matches!(found, Err(ReadError::Reclaimed(_))), "{name}: {found:?}");
    }
    assert_eq!(read("whole", then).await.unwrap(), (0..10).collect::<Vec<_>>());
    assert_eq!(read("user-1", now).await.unwrap(), (4..10).collect::<Vec<_>>());
    assert_eq!(read("user-2", now).await.unwrap(), (1..10).collect::<Vec<_>>());
    let found = read("nobody", then).await;
    assert!(matches!(found, Err(ReadError::StreamNotFound(_))), "{found:?}");
    let found = read("gone", now).await;
    assert!(matches!(found, Err(ReadError::Reclaimed(_))), "nobody knows: {found:?}");
}

/// The time of an event is known when it is gone, so the past is found by time as ever.
#[tokio::test]
async fn a_moment_is_found_among_reclaimed_events() {
    let disk = SimDisk::new();
    let store = open(&disk).await.unwrap();
    for number in 0..30 {
        append(&store, "user-1", number).await;
    }
    set(&store, "user-1", max_count(1)).await;
    append(&store, "whole", 99).await;
    seal(&store, &disk).await;
    let all = everything(&store).await.unwrap();
    let mut told = Vec::new();
    for pass in 0..2 {
        for event in &all {
            let read = ReadAll::backward().limit(1).as_of(AsOf::Time(event.recorded_at));
            let last: Vec<_> = store.read_all(read).await.unwrap().try_collect().await.unwrap();
            let last = last.first().map_or(Position::START, |last| last.position);
            match pass {
                0 => told.push(last),
                _ => assert!(last <= told[event.position.get() as usize - 1]),
            }
            if pass == 1 && event.stream.as_str() != "user-1" {
                assert_eq!(last, told[event.position.get() as usize - 1]);
            }
        }
        scavenge(&store).await.unwrap();
    }
}

#[tokio::test]
async fn a_retry_of_reclaimed_events_is_refused_where_a_revision_is_expected() {
    let disk = SimDisk::new();
    let store = open(&disk).await.unwrap();
    for number in 0..30 {
        append(&store, "user-1", number).await;
    }
    set(&store, "user-1", max_count(2)).await;
    seal(&store, &disk).await;
    let retry = async |number: u64| {
        let expected = match number.checked_sub(1) {
            Some(before) => ExpectedRevision::Exactly(Revision::new(before)),
            None => ExpectedRevision::NoStream,
        };
        store.append(&stream("user-1"), expected, vec![event(number)]).await
    };
    for number in 0..30 {
        let known = retry(number).await.unwrap();
        assert_eq!(known.last_revision, Some(Revision::new(number)));
    }
    scavenge(&store).await.unwrap();
    for number in 0..28 {
        let refused = retry(number).await;
        let wrong = matches!(refused, Err(AppendError::WrongExpectedRevision { actual, .. })
            if actual == Some(Revision::new(29)));
        assert!(wrong, "{number}: {refused:?}");
    }
    for number in 28..30 {
        retry(number).await.expect("it is there");
    }
}
