//! Appends: expectations, retries, limits.

use std::sync::Arc;

use bytes::Bytes;
use event_store::{
    AppendError, ContentType, EventType, ExpectedRevision, Position, ReadError, ReadStream,
    Revision, StreamMetadata, TooLarge,
};

use super::{Store, event, events, exactly, fresh, is_wrong, read_error, revisions, stream_of};

pub async fn an_append_is_read_back_as_it_was(store: Store) {
    let stream = fresh();
    let mut offered = events(2);
    offered[1].content_type = ContentType::Binary;
    offered[1].event_type = EventType::new("Bytes").unwrap();
    offered[1].data = Bytes::from_static(&[0, 255, 1]);
    offered[1].metadata = Bytes::new();
    let appended =
        store.append(&stream, ExpectedRevision::NoStream, offered.clone()).await.unwrap();
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
        store.append(&stream, ExpectedRevision::Any, events(2)).await.unwrap();
    }
    let read = stream_of(&store, ReadStream::forward(stream)).await;
    assert_eq!(revisions(&read), [0, 1, 2, 3, 4, 5]);
    assert!(read.windows(2).all(|pair| pair[0].position < pair[1].position));
    assert!(read.windows(2).all(|pair| pair[0].recorded_at <= pair[1].recorded_at));
    assert!(read[0].position > Position::START);
    assert!(store.head().await.unwrap() >= read[5].position);
}

pub async fn any_takes_whatever_is_there(store: Store) {
    let stream = fresh();
    let first = store.append(&stream, ExpectedRevision::Any, events(1)).await.unwrap();
    let second = store.append(&stream, ExpectedRevision::Any, events(1)).await.unwrap();
    assert_eq!(first.last_revision, Some(Revision::FIRST));
    assert_eq!(second.last_revision, Some(Revision::new(1)));
}

pub async fn no_stream_refuses_a_stream(store: Store) {
    let stream = fresh();
    store.append(&stream, ExpectedRevision::NoStream, events(2)).await.unwrap();
    let error = store.append(&stream, ExpectedRevision::NoStream, events(1)).await.unwrap_err();
    assert!(is_wrong(&error, Some(1)), "{error}");
}

pub async fn an_exact_revision_must_be_the_last(store: Store) {
    let stream = fresh();
    let error = store.append(&stream, exactly(0), events(1)).await.unwrap_err();
    assert!(is_wrong(&error, None), "{error}");
    store.append(&stream, ExpectedRevision::NoStream, events(2)).await.unwrap();
    for wrong in [0, 2, 100] {
        let error = store.append(&stream, exactly(wrong), events(1)).await.unwrap_err();
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
    let metadata = StreamMetadata { max_count: Some(9), ..StreamMetadata::default() };
    store.set_stream_metadata(&stream, ExpectedRevision::Any, metadata).await.unwrap();
    store.append(&stream, exists, events(1)).await.unwrap();
    let appended = store.append(&stream, exists, events(1)).await.unwrap();
    assert_eq!(appended.last_revision, Some(Revision::new(1)));
}

pub async fn a_retry_with_a_revision_appends_nothing(store: Store) {
    let stream = fresh();
    let (first, second) = (events(2), events(2));
    let one = store.append(&stream, ExpectedRevision::NoStream, first.clone()).await.unwrap();
    let two = store.append(&stream, exactly(1), second.clone()).await.unwrap();
    let again = store.append(&stream, ExpectedRevision::NoStream, first.clone()).await.unwrap();
    assert_eq!(again, one);
    assert_eq!(store.append(&stream, exactly(1), second).await.unwrap(), two);
    assert_eq!(stream_of(&store, ReadStream::forward(stream)).await.len(), 4);
}

pub async fn a_retry_without_a_revision_appends_nothing(store: Store) {
    let stream = fresh();
    for expected in [ExpectedRevision::Any, ExpectedRevision::StreamExists] {
        store.append(&stream, ExpectedRevision::Any, events(1)).await.unwrap();
        let offered = events(2);
        let one = store.append(&stream, expected, offered.clone()).await.unwrap();
        assert_eq!(store.append(&stream, expected, offered).await.unwrap(), one);
    }
    assert_eq!(stream_of(&store, ReadStream::forward(stream)).await.len(), 6);
}

pub async fn half_a_retry_is_refused(store: Store) {
    let stream = fresh();
    let first = events(1);
    store.append(&stream, ExpectedRevision::NoStream, first.clone()).await.unwrap();
    let longer = vec![first[0].clone(), event(9)];
    for expected in [ExpectedRevision::NoStream, ExpectedRevision::Any] {
        let error = store.append(&stream, expected, longer.clone()).await.unwrap_err();
        assert!(is_wrong(&error, Some(0)), "{expected}: {error}");
    }
    assert_eq!(stream_of(&store, ReadStream::forward(stream)).await.len(), 1);
}

pub async fn one_id_may_be_in_two_streams(store: Store) {
    let (one, other, offered) = (fresh(), fresh(), events(1));
    store.append(&one, ExpectedRevision::Any, offered.clone()).await.unwrap();
    store.append(&other, ExpectedRevision::Any, offered).await.unwrap();
    assert_eq!(stream_of(&store, ReadStream::forward(other)).await.len(), 1);
}

pub async fn an_empty_append_only_checks(store: Store) {
    let stream = fresh();
    let appended = store.append(&stream, ExpectedRevision::NoStream, vec![]).await.unwrap();
    assert_eq!((appended.last_revision, appended.position), (None, None));
    let error = store.append(&stream, exactly(3), vec![]).await.unwrap_err();
    assert!(is_wrong(&error, None), "{error}");
    store.append(&stream, ExpectedRevision::NoStream, events(1)).await.unwrap();
    let appended = store.append(&stream, exactly(0), vec![]).await.unwrap();
    assert_eq!((appended.last_revision, appended.position), (Some(Revision::FIRST), None));
}

pub async fn one_of_many_writers_wins(store: Store) {
    const WRITERS: usize = 64;
    let stream = fresh();
    store.append(&stream, ExpectedRevision::NoStream, events(1)).await.unwrap();
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
    assert_eq!(stream_of(&store, ReadStream::forward(stream)).await.len(), 2);
}

pub async fn too_large_is_refused(store: Store) {
    let stream = fresh();
    let mut large = event(0);
    large.event_type = EventType::new("Bytes").unwrap();
    large.data = vec![b'x'; event_store::limits::EVENT_BYTES_MAX].into();
    let error = store.append(&stream, ExpectedRevision::Any, vec![large]).await.unwrap_err();
    assert!(matches!(error, AppendError::TooLarge(TooLarge::Event { .. })), "{error}");
    let many = events(event_store::limits::APPEND_EVENTS_MAX as u64 + 1);
    let error = store.append(&stream, ExpectedRevision::Any, many).await.unwrap_err();
    assert!(matches!(error, AppendError::TooLarge(TooLarge::Append { .. })), "{error}");
    let error = read_error(&store, ReadStream::forward(stream)).await;
    assert!(matches!(error, ReadError::StreamNotFound(_)), "{error}");
}
