//! Appends to streams in one, as far as every store can: of one stream, and of what makes no sense.

use event_store::{
    ExpectedRevision, ExpectedState, MultiAppend, MultiAppendError, ReadError, ReadStream,
    Revision, StreamName, StreamState, Violation,
};

use super::{Store, events, exactly, fresh, read_error, revisions, stream_of};

pub const ANY: ExpectedRevision = ExpectedRevision::Any;

pub fn at(revision: u64) -> ExpectedState {
    ExpectedState::Exactly(Revision::new(revision))
}

/// One event for each of these streams, in turns.
pub fn to(streams: &[&StreamName]) -> MultiAppend {
    streams.iter().fold(MultiAppend::default(), |append, stream| append.events(stream, events(1)))
}

pub async fn refused(store: &Store, append: MultiAppend) -> MultiAppendError {
    store.append_to_streams(append).await.expect_err("it is refused")
}

pub async fn violations(store: &Store, append: MultiAppend) -> Vec<Violation> {
    match refused(store, append).await {
        MultiAppendError::Violated(violations) => violations,
        other => panic!("{other}"),
    }
}

pub async fn is_not_there(store: &Store, stream: &StreamName) {
    let error = read_error(store, ReadStream::forward(stream.clone())).await;
    assert!(matches!(error, ReadError::StreamNotFound(_)), "{error}");
}

pub async fn what_makes_no_sense_is_refused(store: Store) {
    let (one, other) = (fresh(), fresh());
    let exists = ExpectedState::StreamExists;
    let error = refused(&store, MultiAppend::default().check(&one, exists)).await;
    assert!(matches!(error, MultiAppendError::NoEvents), "{error}");
    for twice in [&one, &other] {
        let append = to(&[&one]).check(twice, exists).check(twice, at(3));
        let error = refused(&store, append).await;
        assert!(matches!(error, MultiAppendError::CheckedTwice(_)), "{error}");
    }
    let append = to(&[&one, &other]).check(&other, ExpectedState::Tombstoned);
    let error = refused(&store, append).await;
    assert!(matches!(error, MultiAppendError::TombstonedWritten(_)), "{error}");
    is_not_there(&store, &one).await;
}

pub async fn an_append_of_one_stream_is_like_any_other(store: Store) {
    let stream = fresh();
    let append = |count| MultiAppend::default().events(&stream, events(count));
    let first = append(2).check(&stream, ExpectedState::NoStream);
    let one = store.append_to_streams(first.clone()).await.unwrap();
    assert_eq!(one.revisions, [(stream.clone(), Revision::new(1))]);
    assert_eq!(store.append_to_streams(first.clone()).await.unwrap(), one);
    let free = append(1);
    let two = store.append_to_streams(free.clone()).await.unwrap();
    assert_eq!(store.append_to_streams(free).await.unwrap(), two);
    let exact = append(1).check(&stream, at(2));
    let three = store.append_to_streams(exact).await.unwrap();
    let exists = append(1).check(&stream, ExpectedState::StreamExists);
    let four = store.append_to_streams(exists).await.unwrap();
    let read = stream_of(&store, ReadStream::forward(stream.clone())).await;
    assert_eq!(revisions(&read), [0, 1, 2, 3, 4]);
    assert_eq!((read[3].position, read[4].position), (three.position, four.position));
    let told = violations(&store, append(1).check(&stream, at(9))).await;
    let (check, expected) = (Some(0), Some(at(9)));
    let actual = StreamState::At(Revision::new(4));
    assert_eq!(told, [Violation { stream: stream.clone(), check, expected, actual }]);
    let half = MultiAppend::default()
        .events(&stream, first.events.into_iter().map(|(_, event)| event))
        .events(&stream, events(1));
    let error = refused(&store, half).await;
    assert!(matches!(error, MultiAppendError::HalfKnown), "{error}");
}

pub async fn an_append_of_one_deleted_stream_is_refused_alike(store: Store) {
    let stream = fresh();
    let append = || MultiAppend::default().events(&stream, events(1));
    let exists = || append().check(&stream, ExpectedState::StreamExists);
    let told = violations(&store, exists()).await;
    assert_eq!(told[0].actual, StreamState::NoEvents);
    store.append(&stream, ANY, events(1)).await.unwrap();
    store.delete_stream(&stream, exactly(0)).await.unwrap();
    let told = violations(&store, exists()).await;
    assert!(matches!(told[0].actual, StreamState::SoftDeleted { .. }), "{told:?}");
    store.tombstone_stream(&stream, ANY).await.unwrap();
    for (append, check) in [(append(), None), (exists(), Some(0))] {
        let told = violations(&store, append).await;
        assert_eq!((told[0].check, told[0].actual), (check, StreamState::Tombstoned));
    }
}
