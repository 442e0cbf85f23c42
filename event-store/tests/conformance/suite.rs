//! What every implementation of the port must do, one function a promise.
//!
//! Each takes a store that may be shared with others, so it uses streams of its own.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::TimeDelta;
use event_store::{
    AllStart, AppendError, AsOf, ContentType, Delivery, EventId, EventStore, EventType,
    ExpectedRevision, Filter, FilterSubject, NewEvent, Pattern, Position, ReadAll, ReadError,
    ReadStream, RecordedEvent, Revision, StreamMetadata, StreamName, StreamStart, SubscribeError,
    SubscribeFrom, Subscription,
};
use futures::{StreamExt, TryStreamExt};
use uuid::Uuid;

/// A store under test.
pub type Store = Arc<dyn EventStore>;

/// Longer than any answer takes, so that a test that would hang fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// One test for each promise; the expression makes a future of a store and of what must live as
/// long as it.
#[macro_export]
macro_rules! conformance_suite {
    ($make:expr) => {
        $crate::conformance_suite!(@each $make,
            an_append_is_read_back_as_it_was, revisions_are_gapless_and_positions_rise,
            any_takes_whatever_is_there, no_stream_refuses_a_stream,
            an_exact_revision_must_be_the_last, an_existing_stream_must_exist,
            a_retry_with_a_revision_appends_nothing, a_retry_without_a_revision_appends_nothing,
            half_a_retry_is_refused, one_id_may_be_in_two_streams,
            an_empty_append_only_checks, one_of_many_writers_wins,
            a_stream_is_read_both_ways_from_anywhere, an_unknown_stream_is_not_found,
            a_long_stream_is_read_whole, the_log_is_read_both_ways,
            filters_keep_what_matches, a_bad_filter_is_refused,
            the_past_is_read_by_position, the_past_is_read_by_time,
            a_deleted_stream_is_gone_and_goes_on, what_never_was_can_not_be_deleted,
            a_tombstone_is_for_good, a_tombstone_needs_no_stream,
            metadata_is_kept_and_versioned, max_count_and_truncation_hide_events,
            a_young_stream_is_read_whole_with_max_age, the_last_event_is_the_last,
            a_subscriber_gets_the_past_and_then_live, a_subscriber_begins_after_a_place,
            a_stream_is_followed_before_it_is_there, a_tombstone_ends_a_subscription,
            filtered_subscribers_get_checkpoints, subscribers_see_each_event_once_under_load,
            too_large_is_refused);
    };
    (@each $make:expr, $($name:ident),+ $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let (store, _guard) = $make.await;
                suite::$name(store).await;
            }
        )+
    };
}

/// A stream that no other test has.
fn fresh() -> StreamName {
    StreamName::new(format!("conformance-{}", Uuid::new_v4())).unwrap()
}

fn event(number: u64) -> NewEvent {
    NewEvent {
        id: EventId(Uuid::new_v4()),
        event_type: EventType::new("Numbered").unwrap(),
        content_type: ContentType::Json,
        data: format!("{{\"number\":{number}}}").into(),
        metadata: Bytes::from_static(b"{\"actor\":\"tester\"}"),
    }
}

fn events(count: u64) -> Vec<NewEvent> {
    (0..count).map(event).collect()
}

fn exactly(revision: u64) -> ExpectedRevision {
    ExpectedRevision::Exactly(Revision::new(revision))
}

async fn stream_of(store: &Store, read: ReadStream) -> Vec<RecordedEvent> {
    let read = async {
        store
            .read_stream(read)
            .await
            .unwrap()
            .try_collect()
            .await
            .unwrap()
    };
    tokio::time::timeout(PATIENCE, read)
        .await
        .expect("a read ends")
}

async fn all_of(store: &Store, read: ReadAll) -> Vec<RecordedEvent> {
    let read = async {
        store
            .read_all(read)
            .await
            .unwrap()
            .try_collect()
            .await
            .unwrap()
    };
    tokio::time::timeout(PATIENCE, read)
        .await
        .expect("a read ends")
}

fn revisions(events: &[RecordedEvent]) -> Vec<u64> {
    events.iter().map(|event| event.revision.get()).collect()
}

async fn read_error(store: &Store, read: ReadStream) -> ReadError {
    match store.read_stream(read).await {
        Err(error) => error,
        Ok(events) => events
            .try_collect::<Vec<_>>()
            .await
            .expect_err("the read fails"),
    }
}

async fn next(subscription: &mut Subscription) -> Result<Delivery, SubscribeError> {
    let next = tokio::time::timeout(PATIENCE, subscription.next()).await;
    next.expect("a delivery comes")
        .expect("a subscription has no end")
}

/// The next event, and whether the subscription said before it that it was live.
async fn next_event(subscription: &mut Subscription) -> RecordedEvent {
    loop {
        if let Delivery::Event(event) = next(subscription).await.unwrap() {
            return event;
        }
    }
}

async fn until_caught_up(subscription: &mut Subscription) -> Vec<RecordedEvent> {
    let mut events = Vec::new();
    loop {
        match next(subscription).await.unwrap() {
            Delivery::Event(event) => events.push(event),
            Delivery::CaughtUp => return events,
            Delivery::Checkpoint(_) | Delivery::FellBehind => {}
        }
    }
}

fn is_wrong(error: &AppendError, found: Option<u64>) -> bool {
    matches!(error, AppendError::WrongExpectedRevision { actual, .. }
        if *actual == found.map(Revision::new))
}

pub async fn an_append_is_read_back_as_it_was(store: Store) {
    let stream = fresh();
    let mut offered = events(2);
    offered[1].content_type = ContentType::Binary;
    offered[1].data = Bytes::from_static(&[0, 255, 1]);
    offered[1].metadata = Bytes::new();
    let appended = store
        .append(&stream, ExpectedRevision::NoStream, offered.clone())
        .await
        .unwrap();
    let read = stream_of(&store, ReadStream::forward(stream.clone())).await;
    assert_eq!(read.len(), 2);
    for (offered, read) in offered.iter().zip(&read) {
        assert_eq!(read.id, offered.id);
        assert_eq!(read.stream, stream);
        assert_eq!(read.event_type, offered.event_type);
        assert_eq!(read.content_type, offered.content_type);
        assert_eq!(read.data, offered.data);
        assert_eq!(read.metadata, offered.metadata);
    }
    assert_eq!(appended.last_revision, Some(Revision::new(1)));
    assert_eq!(appended.position, Some(read[1].position));
}

pub async fn revisions_are_gapless_and_positions_rise(store: Store) {
    let stream = fresh();
    for _ in 0..3 {
        store
            .append(&stream, ExpectedRevision::Any, events(2))
            .await
            .unwrap();
    }
    let read = stream_of(&store, ReadStream::forward(stream)).await;
    assert_eq!(revisions(&read), [0, 1, 2, 3, 4, 5]);
    assert!(
        read.windows(2)
            .all(|pair| pair[0].position < pair[1].position)
    );
    assert!(
        read.windows(2)
            .all(|pair| pair[0].recorded_at <= pair[1].recorded_at)
    );
    assert!(read[0].position > Position::START);
    assert!(store.head().await.unwrap() >= read[5].position);
}

pub async fn any_takes_whatever_is_there(store: Store) {
    let stream = fresh();
    let first = store
        .append(&stream, ExpectedRevision::Any, events(1))
        .await
        .unwrap();
    let second = store
        .append(&stream, ExpectedRevision::Any, events(1))
        .await
        .unwrap();
    assert_eq!(first.last_revision, Some(Revision::FIRST));
    assert_eq!(second.last_revision, Some(Revision::new(1)));
}

pub async fn no_stream_refuses_a_stream(store: Store) {
    let stream = fresh();
    store
        .append(&stream, ExpectedRevision::NoStream, events(2))
        .await
        .unwrap();
    let error = store
        .append(&stream, ExpectedRevision::NoStream, events(1))
        .await
        .unwrap_err();
    assert!(is_wrong(&error, Some(1)), "{error}");
}

pub async fn an_exact_revision_must_be_the_last(store: Store) {
    let stream = fresh();
    let error = store
        .append(&stream, exactly(0), events(1))
        .await
        .unwrap_err();
    assert!(is_wrong(&error, None), "{error}");
    store
        .append(&stream, ExpectedRevision::NoStream, events(2))
        .await
        .unwrap();
    for wrong in [0, 2, 100] {
        let error = store
            .append(&stream, exactly(wrong), events(1))
            .await
            .unwrap_err();
        assert!(is_wrong(&error, Some(1)), "{wrong}: {error}");
    }
    let appended = store.append(&stream, exactly(1), events(1)).await.unwrap();
    assert_eq!(appended.last_revision, Some(Revision::new(2)));
}

pub async fn an_existing_stream_must_exist(store: Store) {
    let stream = fresh();
    let exists = ExpectedRevision::StreamExists;
    let error = store.append(&stream, exists, events(1)).await.unwrap_err();
    assert!(is_wrong(&error, None), "{error}");
    let metadata = StreamMetadata {
        max_count: Some(9),
        ..StreamMetadata::default()
    };
    store
        .set_stream_metadata(&stream, ExpectedRevision::Any, metadata)
        .await
        .unwrap();
    store.append(&stream, exists, events(1)).await.unwrap();
    let appended = store.append(&stream, exists, events(1)).await.unwrap();
    assert_eq!(appended.last_revision, Some(Revision::new(1)));
}

pub async fn a_retry_with_a_revision_appends_nothing(store: Store) {
    let stream = fresh();
    let (first, second) = (events(2), events(2));
    let one = store
        .append(&stream, ExpectedRevision::NoStream, first.clone())
        .await
        .unwrap();
    let two = store
        .append(&stream, exactly(1), second.clone())
        .await
        .unwrap();
    let again = store
        .append(&stream, ExpectedRevision::NoStream, first.clone())
        .await
        .unwrap();
    assert_eq!(again, one);
    assert_eq!(
        store.append(&stream, exactly(1), second).await.unwrap(),
        two
    );
    assert_eq!(
        stream_of(&store, ReadStream::forward(stream)).await.len(),
        4
    );
}

pub async fn a_retry_without_a_revision_appends_nothing(store: Store) {
    let stream = fresh();
    for expected in [ExpectedRevision::Any, ExpectedRevision::StreamExists] {
        store
            .append(&stream, ExpectedRevision::Any, events(1))
            .await
            .unwrap();
        let offered = events(2);
        let one = store
            .append(&stream, expected, offered.clone())
            .await
            .unwrap();
        assert_eq!(store.append(&stream, expected, offered).await.unwrap(), one);
    }
    assert_eq!(
        stream_of(&store, ReadStream::forward(stream)).await.len(),
        6
    );
}

pub async fn half_a_retry_is_refused(store: Store) {
    let stream = fresh();
    let first = events(1);
    store
        .append(&stream, ExpectedRevision::NoStream, first.clone())
        .await
        .unwrap();
    let longer = vec![first[0].clone(), event(9)];
    for expected in [ExpectedRevision::NoStream, ExpectedRevision::Any] {
        let error = store
            .append(&stream, expected, longer.clone())
            .await
            .unwrap_err();
        assert!(is_wrong(&error, Some(0)), "{expected}: {error}");
    }
    assert_eq!(
        stream_of(&store, ReadStream::forward(stream)).await.len(),
        1
    );
}

pub async fn one_id_may_be_in_two_streams(store: Store) {
    let (one, other, offered) = (fresh(), fresh(), events(1));
    store
        .append(&one, ExpectedRevision::Any, offered.clone())
        .await
        .unwrap();
    store
        .append(&other, ExpectedRevision::Any, offered)
        .await
        .unwrap();
    assert_eq!(stream_of(&store, ReadStream::forward(other)).await.len(), 1);
}

pub async fn an_empty_append_only_checks(store: Store) {
    let stream = fresh();
    let appended = store
        .append(&stream, ExpectedRevision::NoStream, vec![])
        .await
        .unwrap();
    assert_eq!((appended.last_revision, appended.position), (None, None));
    let error = store.append(&stream, exactly(3), vec![]).await.unwrap_err();
    assert!(is_wrong(&error, None), "{error}");
    store
        .append(&stream, ExpectedRevision::NoStream, events(1))
        .await
        .unwrap();
    let appended = store.append(&stream, exactly(0), vec![]).await.unwrap();
    assert_eq!(
        (appended.last_revision, appended.position),
        (Some(Revision::FIRST), None)
    );
}

pub async fn one_of_many_writers_wins(store: Store) {
    const WRITERS: usize = 64;
    let stream = fresh();
    store
        .append(&stream, ExpectedRevision::NoStream, events(1))
        .await
        .unwrap();
    let outcomes = futures::future::join_all((0..WRITERS).map(|_| {
        let (store, stream) = (Arc::clone(&store), stream.clone());
        tokio::spawn(async move { store.append(&stream, exactly(0), events(1)).await })
    }))
    .await;
    let outcomes: Vec<_> = outcomes.into_iter().map(Result::unwrap).collect();
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    for error in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
        assert!(is_wrong(error, Some(1)), "{error}");
    }
    assert_eq!(
        stream_of(&store, ReadStream::forward(stream)).await.len(),
        2
    );
}

pub async fn a_stream_is_read_both_ways_from_anywhere(store: Store) {
    let stream = fresh();
    store
        .append(&stream, ExpectedRevision::NoStream, events(6))
        .await
        .unwrap();
    let forward = ReadStream::forward(stream.clone());
    let backward = ReadStream::backward(stream.clone());
    let end = ReadStream {
        start: StreamStart::End,
        ..forward.clone()
    };
    let begin = ReadStream {
        start: StreamStart::Start,
        ..backward.clone()
    };
    let at = Revision::new;
    for (read, expected) in [
        (forward.clone(), vec![0, 1, 2, 3, 4, 5]),
        (backward.clone(), vec![5, 4, 3, 2, 1, 0]),
        (forward.clone().from(at(2)).limit(3), vec![2, 3, 4]),
        (backward.clone().from(at(2)), vec![2, 1, 0]),
        (backward.clone().limit(2), vec![5, 4]),
        (backward.from(at(99)).limit(1), vec![5]),
        (forward.clone().from(at(6)), vec![]),
        (forward.limit(0), vec![]),
        (end, vec![5]),
        (begin, vec![0]),
    ] {
        let told = format!("{read:?}");
        assert_eq!(
            revisions(&stream_of(&store, read).await),
            expected,
            "{told}"
        );
    }
}

pub async fn an_unknown_stream_is_not_found(store: Store) {
    let stream = fresh();
    let error = read_error(&store, ReadStream::forward(stream.clone())).await;
    assert!(matches!(error, ReadError::StreamNotFound(name) if name == stream));
    assert_eq!(store.last_event(&stream).await.unwrap(), None);
}

pub async fn a_long_stream_is_read_whole(store: Store) {
    const EVENTS: u64 = 5_000;
    let (stream, other) = (fresh(), fresh());
    for from in (0..EVENTS).step_by(500) {
        let part = (from..from + 500).map(event).collect();
        store
            .append(&stream, ExpectedRevision::Any, part)
            .await
            .unwrap();
        store
            .append(&other, ExpectedRevision::Any, events(1))
            .await
            .unwrap();
    }
    let mut read = stream_of(&store, ReadStream::forward(stream.clone())).await;
    assert_eq!(revisions(&read), (0..EVENTS).collect::<Vec<_>>());
    let backward = stream_of(&store, ReadStream::backward(stream)).await;
    read.reverse();
    assert_eq!(backward, read);
}

pub async fn the_log_is_read_both_ways(store: Store) {
    let (one, other) = (fresh(), fresh());
    let before = store.head().await.unwrap();
    let mut appended = Vec::new();
    for stream in [&one, &other, &one, &other] {
        let done = store
            .append(stream, ExpectedRevision::Any, events(1))
            .await
            .unwrap();
        appended.push(done.position.unwrap());
    }
    let ours = |read: Vec<RecordedEvent>| -> Vec<Position> {
        let ours = read
            .iter()
            .filter(|event| event.stream == one || event.stream == other);
        ours.map(|event| event.position).collect()
    };
    let forward = ReadAll {
        start: AllStart::Position(before),
        ..ReadAll::forward()
    };
    assert_eq!(ours(all_of(&store, forward).await), appended);
    let from = all_of(&store, ReadAll::forward().from(appended[2])).await;
    assert_eq!(
        from[0].position, appended[2],
        "forward includes the position"
    );
    let mut reversed: Vec<_> = ours(all_of(&store, ReadAll::backward()).await);
    reversed.reverse();
    assert_eq!(reversed, appended);
    let backward = all_of(&store, ReadAll::backward().from(appended[2]).limit(1)).await;
    assert!(
        backward[0].position < appended[2],
        "backward leaves the position out"
    );
    let end = ReadAll {
        start: AllStart::End,
        ..ReadAll::forward()
    };
    assert!(ours(all_of(&store, end).await).is_empty());
}

pub async fn filters_keep_what_matches(store: Store) {
    let stream = fresh();
    let mut offered = events(4);
    offered[1].event_type = EventType::new("Other").unwrap();
    offered[3].event_type = EventType::new("OtherToo").unwrap();
    store
        .append(&stream, ExpectedRevision::NoStream, offered)
        .await
        .unwrap();
    store
        .append(&fresh(), ExpectedRevision::NoStream, events(2))
        .await
        .unwrap();
    let name = stream.as_str();
    let regex = |subject, pattern: String| Filter {
        subject,
        pattern: Pattern::Regex(pattern),
    };
    let here = format!("^{name}$");
    for (filter, expected) in [
        (Filter::stream_prefixes([name]), vec![0, 1, 2, 3]),
        (regex(FilterSubject::StreamName, here), vec![0, 1, 2, 3]),
        (Filter::type_prefixes(["Other"]), vec![1, 3]),
        (
            regex(FilterSubject::EventType, "erToo|Ot.*r$".to_owned()),
            vec![1, 3],
        ),
        (
            regex(FilterSubject::EventType, r"^(?!(Num|\$))".to_owned()),
            vec![1, 3],
        ),
    ] {
        let told = format!("{filter:?}");
        let read = all_of(&store, ReadAll::forward().filter(filter.clone())).await;
        let ours: Vec<_> = read
            .into_iter()
            .filter(|event| event.stream == stream)
            .collect();
        assert_eq!(revisions(&ours), expected, "{told}");
    }
    let last = ReadAll::backward()
        .filter(Filter::stream_prefixes([name]))
        .limit(2);
    assert_eq!(revisions(&all_of(&store, last).await), [3, 2]);
}

pub async fn a_bad_filter_is_refused(store: Store) {
    let subject = FilterSubject::StreamName;
    let bad = Filter {
        subject,
        pattern: Pattern::Regex("(".to_owned()),
    };
    let refused = match store.read_all(ReadAll::forward().filter(bad.clone())).await {
        Err(error) => error,
        Ok(events) => events
            .try_collect::<Vec<_>>()
            .await
            .expect_err("the read fails"),
    };
    assert!(matches!(refused, ReadError::BadFilter(_)), "{refused}");
    let refused = match store.subscribe_all(SubscribeFrom::Start, Some(bad)).await {
        Err(error) => error,
        Ok(mut subscription) => next(&mut subscription).await.unwrap_err(),
    };
    assert!(matches!(refused, SubscribeError::BadFilter(_)), "{refused}");
}

pub async fn the_past_is_read_by_position(store: Store) {
    let stream = fresh();
    let one = store
        .append(&stream, ExpectedRevision::NoStream, events(2))
        .await
        .unwrap();
    let then = AsOf::Position(one.position.unwrap());
    store.append(&stream, exactly(1), events(2)).await.unwrap();
    store
        .delete_stream(&stream, ExpectedRevision::Any)
        .await
        .unwrap();
    let read = stream_of(&store, ReadStream::forward(stream.clone()).as_of(then)).await;
    assert_eq!(revisions(&read), [0, 1]);
    let read = stream_of(
        &store,
        ReadStream::backward(stream.clone()).as_of(then).limit(1),
    )
    .await;
    assert_eq!(revisions(&read), [1]);
    let before = AsOf::Position(Position::new(read[0].position.get() - 2));
    let error = read_error(&store, ReadStream::forward(stream.clone()).as_of(before)).await;
    assert!(matches!(error, ReadError::StreamNotFound(_)), "{error}");
    let filter = Filter::stream_prefixes([stream.as_str()]);
    let all = all_of(&store, ReadAll::forward().filter(filter).as_of(then)).await;
    assert_eq!(revisions(&all), [0, 1]);
}

pub async fn the_past_is_read_by_time(store: Store) {
    let stream = fresh();
    store
        .append(&stream, ExpectedRevision::NoStream, events(1))
        .await
        .unwrap();
    let first = stream_of(&store, ReadStream::forward(stream.clone()))
        .await
        .remove(0)
        .recorded_at;
    let mut last = first;
    while last <= first {
        store
            .append(&stream, ExpectedRevision::Any, events(1))
            .await
            .unwrap();
        last = store
            .last_event(&stream)
            .await
            .unwrap()
            .unwrap()
            .recorded_at;
    }
    let then = ReadStream::forward(stream.clone()).as_of(AsOf::Time(first));
    let read = stream_of(&store, then).await;
    assert!(read.iter().all(|event| event.recorded_at <= first));
    assert_eq!(read[0].revision, Revision::FIRST);
    let now = ReadStream::forward(stream.clone()).as_of(AsOf::Time(last));
    assert!(stream_of(&store, now).await.len() > read.len());
    let long_ago = AsOf::Time(first - TimeDelta::days(36_500));
    let error = read_error(&store, ReadStream::forward(stream).as_of(long_ago)).await;
    assert!(matches!(error, ReadError::StreamNotFound(_)), "{error}");
}

pub async fn a_deleted_stream_is_gone_and_goes_on(store: Store) {
    let stream = fresh();
    store
        .append(&stream, ExpectedRevision::NoStream, events(3))
        .await
        .unwrap();
    store
        .delete_stream(&stream, exactly(1))
        .await
        .expect_err("another revision is last");
    store.delete_stream(&stream, exactly(2)).await.unwrap();
    let error = read_error(&store, ReadStream::forward(stream.clone())).await;
    assert!(matches!(error, ReadError::StreamNotFound(_)), "{error}");
    assert_eq!(store.last_event(&stream).await.unwrap(), None);
    let exists = ExpectedRevision::StreamExists;
    store
        .append(&stream, exists, events(1))
        .await
        .expect_err("it is deleted");
    let appended = store
        .append(&stream, ExpectedRevision::NoStream, events(2))
        .await
        .unwrap();
    assert_eq!(appended.last_revision, Some(Revision::new(4)));
    let read = stream_of(&store, ReadStream::forward(stream.clone())).await;
    assert_eq!(revisions(&read), [3, 4]);
    store.append(&stream, exactly(4), events(1)).await.unwrap();
    store.append(&stream, exists, events(1)).await.unwrap();
    assert_eq!(
        revisions(&stream_of(&store, ReadStream::backward(stream)).await),
        [6, 5, 4, 3]
    );
}

pub async fn what_never_was_can_not_be_deleted(store: Store) {
    let error = store
        .delete_stream(&fresh(), ExpectedRevision::Any)
        .await
        .unwrap_err();
    assert!(is_wrong(&error, None), "{error}");
}

pub async fn a_tombstone_is_for_good(store: Store) {
    let stream = fresh();
    store
        .append(&stream, ExpectedRevision::NoStream, events(2))
        .await
        .unwrap();
    store
        .tombstone_stream(&stream, exactly(0))
        .await
        .expect_err("another revision is last");
    store.tombstone_stream(&stream, exactly(1)).await.unwrap();
    for expected in [
        ExpectedRevision::Any,
        ExpectedRevision::NoStream,
        exactly(1),
    ] {
        let error = store
            .append(&stream, expected, events(1))
            .await
            .unwrap_err();
        assert!(
            matches!(error, AppendError::StreamDeleted(_)),
            "{expected}: {error}"
        );
    }
    let error = read_error(&store, ReadStream::backward(stream.clone())).await;
    assert!(matches!(error, ReadError::StreamDeleted(_)), "{error}");
    let metadata = StreamMetadata::default();
    let set = store
        .set_stream_metadata(&stream, ExpectedRevision::Any, metadata)
        .await;
    assert!(matches!(set, Err(AppendError::StreamDeleted(_))), "{set:?}");
    let filter = Filter::stream_prefixes([stream.as_str()]);
    let all = all_of(&store, ReadAll::forward().filter(filter)).await;
    assert_eq!(all.last().unwrap().event_type.as_str(), "$streamDeleted");
}

pub async fn a_tombstone_needs_no_stream(store: Store) {
    let stream = fresh();
    store
        .tombstone_stream(&stream, ExpectedRevision::NoStream)
        .await
        .unwrap();
    let error = store
        .append(&stream, ExpectedRevision::NoStream, events(1))
        .await
        .unwrap_err();
    assert!(matches!(error, AppendError::StreamDeleted(_)), "{error}");
    let subscription = store.subscribe_stream(&stream, SubscribeFrom::Start).await;
    let error = match subscription {
        Err(error) => error,
        Ok(mut subscription) => loop {
            if let Err(error) = next(&mut subscription).await {
                break error;
            }
        },
    };
    assert!(matches!(error, SubscribeError::StreamDeleted(_)), "{error}");
}

pub async fn metadata_is_kept_and_versioned(store: Store) {
    let stream = fresh();
    let none = store.stream_metadata(&stream).await.unwrap();
    assert_eq!(none, (StreamMetadata::default(), None));
    let mut metadata = StreamMetadata {
        max_age_seconds: Some(60),
        ..StreamMetadata::default()
    };
    metadata.custom.insert("owner".to_owned(), "ada".into());
    let no_stream = ExpectedRevision::NoStream;
    store
        .set_stream_metadata(&stream, no_stream, metadata.clone())
        .await
        .unwrap();
    let known = store.stream_metadata(&stream).await.unwrap();
    assert_eq!(known, (metadata.clone(), Some(Revision::FIRST)));
    store
        .set_stream_metadata(&stream, no_stream, metadata)
        .await
        .expect_err("there is some");
    let empty = StreamMetadata::default();
    store
        .set_stream_metadata(&stream, exactly(0), empty.clone())
        .await
        .unwrap();
    let known = store.stream_metadata(&stream).await.unwrap();
    assert_eq!(known, (empty, Some(Revision::new(1))));
}

pub async fn max_count_and_truncation_hide_events(store: Store) {
    let stream = fresh();
    store
        .append(&stream, ExpectedRevision::NoStream, events(6))
        .await
        .unwrap();
    for (max_count, truncate_before, expected) in [
        (Some(2), None, vec![4, 5]),
        (None, Some(3), vec![3, 4, 5]),
        (Some(4), Some(3), vec![3, 4, 5]),
        (Some(1), Some(3), vec![5]),
        (None, Some(6), vec![]),
    ] {
        let metadata = StreamMetadata {
            max_count,
            truncate_before,
            ..StreamMetadata::default()
        };
        store
            .set_stream_metadata(&stream, ExpectedRevision::Any, metadata)
            .await
            .unwrap();
        let mut read = stream_of(&store, ReadStream::forward(stream.clone())).await;
        assert_eq!(revisions(&read), expected);
        read.reverse();
        assert_eq!(
            stream_of(&store, ReadStream::backward(stream.clone())).await,
            read
        );
    }
}

pub async fn a_young_stream_is_read_whole_with_max_age(store: Store) {
    let stream = fresh();
    store
        .append(&stream, ExpectedRevision::NoStream, events(2))
        .await
        .unwrap();
    let metadata = StreamMetadata {
        max_age_seconds: Some(3600),
        ..StreamMetadata::default()
    };
    store
        .set_stream_metadata(&stream, ExpectedRevision::Any, metadata)
        .await
        .unwrap();
    assert_eq!(
        stream_of(&store, ReadStream::forward(stream)).await.len(),
        2
    );
}

pub async fn the_last_event_is_the_last(store: Store) {
    let stream = fresh();
    let offered = events(3);
    store
        .append(&stream, ExpectedRevision::NoStream, offered.clone())
        .await
        .unwrap();
    let last = store.last_event(&stream).await.unwrap().unwrap();
    assert_eq!((last.id, last.revision), (offered[2].id, Revision::new(2)));
}

pub async fn a_subscriber_gets_the_past_and_then_live(store: Store) {
    let stream = fresh();
    store
        .append(&stream, ExpectedRevision::NoStream, events(3))
        .await
        .unwrap();
    let filter = Filter::stream_prefixes([stream.as_str()]);
    let mut of_stream = store
        .subscribe_stream(&stream, SubscribeFrom::Start)
        .await
        .unwrap();
    let mut of_all = store
        .subscribe_all(SubscribeFrom::Start, Some(filter))
        .await
        .unwrap();
    for subscription in [&mut of_stream, &mut of_all] {
        assert_eq!(revisions(&until_caught_up(subscription).await), [0, 1, 2]);
    }
    for revision in 3..6 {
        store
            .append(&stream, ExpectedRevision::Any, events(1))
            .await
            .unwrap();
        for subscription in [&mut of_stream, &mut of_all] {
            assert_eq!(next_event(subscription).await.revision.get(), revision);
        }
    }
}

pub async fn a_subscriber_begins_after_a_place(store: Store) {
    let stream = fresh();
    store
        .append(&stream, ExpectedRevision::NoStream, events(4))
        .await
        .unwrap();
    let second = stream_of(&store, ReadStream::forward(stream.clone()))
        .await
        .remove(1)
        .position;
    let filter = || Some(Filter::stream_prefixes([stream.as_str()]));
    let after = SubscribeFrom::After(Revision::new(1));
    let mut of_stream = store.subscribe_stream(&stream, after).await.unwrap();
    let mut of_all = store
        .subscribe_all(SubscribeFrom::After(second), filter())
        .await
        .unwrap();
    assert_eq!(revisions(&until_caught_up(&mut of_stream).await), [2, 3]);
    assert_eq!(revisions(&until_caught_up(&mut of_all).await), [2, 3]);
    let mut of_stream = store
        .subscribe_stream(&stream, SubscribeFrom::End)
        .await
        .unwrap();
    let mut of_all = store
        .subscribe_all(SubscribeFrom::End, filter())
        .await
        .unwrap();
    assert!(until_caught_up(&mut of_stream).await.is_empty());
    assert!(until_caught_up(&mut of_all).await.is_empty());
    store.append(&stream, exactly(3), events(1)).await.unwrap();
    assert_eq!(next_event(&mut of_stream).await.revision.get(), 4);
    assert_eq!(next_event(&mut of_all).await.revision.get(), 4);
}

pub async fn a_stream_is_followed_before_it_is_there(store: Store) {
    let stream = fresh();
    let mut subscription = store
        .subscribe_stream(&stream, SubscribeFrom::Start)
        .await
        .unwrap();
    assert!(until_caught_up(&mut subscription).await.is_empty());
    store
        .append(&stream, ExpectedRevision::NoStream, events(2))
        .await
        .unwrap();
    assert_eq!(next_event(&mut subscription).await.revision.get(), 0);
    assert_eq!(next_event(&mut subscription).await.revision.get(), 1);
}

pub async fn a_tombstone_ends_a_subscription(store: Store) {
    let stream = fresh();
    store
        .append(&stream, ExpectedRevision::NoStream, events(1))
        .await
        .unwrap();
    let mut subscription = store
        .subscribe_stream(&stream, SubscribeFrom::Start)
        .await
        .unwrap();
    assert_eq!(until_caught_up(&mut subscription).await.len(), 1);
    store
        .tombstone_stream(&stream, ExpectedRevision::Any)
        .await
        .unwrap();
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
    store
        .append(&stream, ExpectedRevision::NoStream, events(1))
        .await
        .unwrap();
    let last = store
        .append(&other, ExpectedRevision::NoStream, events(10))
        .await
        .unwrap();
    let filter = Filter::stream_prefixes([stream.as_str()]);
    let mut subscription = store
        .subscribe_all(SubscribeFrom::Start, Some(filter))
        .await
        .unwrap();
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
}

pub async fn subscribers_see_each_event_once_under_load(store: Store) {
    const WRITERS: u64 = 4;
    const APPENDS: u64 = 50;
    let stream = fresh();
    let filter = Filter::stream_prefixes([stream.as_str()]);
    let mut of_all = store
        .subscribe_all(SubscribeFrom::Start, Some(filter))
        .await
        .unwrap();
    let mut of_stream = store
        .subscribe_stream(&stream, SubscribeFrom::Start)
        .await
        .unwrap();
    for _ in 0..WRITERS {
        let (store, stream) = (Arc::clone(&store), stream.clone());
        tokio::spawn(async move {
            for _ in 0..APPENDS {
                store
                    .append(&stream, ExpectedRevision::Any, events(3))
                    .await
                    .unwrap();
            }
        });
    }
    for revision in 0..WRITERS * APPENDS * 3 {
        assert_eq!(next_event(&mut of_all).await.revision.get(), revision);
        assert_eq!(next_event(&mut of_stream).await.revision.get(), revision);
    }
}

pub async fn too_large_is_refused(store: Store) {
    let stream = fresh();
    let mut large = event(0);
    large.data = vec![b'x'; event_store::limits::EVENT_BYTES_MAX].into();
    let error = store
        .append(&stream, ExpectedRevision::Any, vec![large])
        .await
        .unwrap_err();
    assert!(
        matches!(error, AppendError::EventTooLarge { .. }),
        "{error}"
    );
    let many = events(event_store::limits::APPEND_EVENTS_MAX as u64 + 1);
    let error = store
        .append(&stream, ExpectedRevision::Any, many)
        .await
        .unwrap_err();
    assert!(
        matches!(error, AppendError::AppendTooLarge { .. }),
        "{error}"
    );
    let error = read_error(&store, ReadStream::forward(stream)).await;
    assert!(matches!(error, ReadError::StreamNotFound(_)), "{error}");
}
