//! Deletion and metadata: what hides events from readers.

use event_store::{
    AppendError, ExpectedRevision, Filter, ReadAll, ReadError, ReadStream, Revision,
    StreamMetadata, SubscribeError, SubscribeFrom,
};

use super::{
    Store, all_of, events, exactly, fresh, is_wrong, next, read_error, revisions, stream_of,
};

pub async fn a_deleted_stream_is_gone_and_goes_on(store: Store) {
    let stream = fresh();
    store.append(&stream, ExpectedRevision::NoStream, events(3)).await.unwrap();
    store.delete_stream(&stream, exactly(1)).await.expect_err("another revision is last");
    store.delete_stream(&stream, exactly(2)).await.unwrap();
    let error = read_error(&store, ReadStream::forward(stream.clone())).await;
    assert!(matches!(error, ReadError::StreamNotFound(_)), "{error}");
    assert_eq!(store.last_event(&stream).await.unwrap(), None);
    let exists = ExpectedRevision::StreamExists;
    store.append(&stream, exists, events(1)).await.expect_err("it is deleted");
    let appended = store.append(&stream, ExpectedRevision::NoStream, events(2)).await.unwrap();
    assert_eq!(appended.last_revision, Some(Revision::new(4)));
    let read = stream_of(&store, ReadStream::forward(stream.clone())).await;
    assert_eq!(revisions(&read), [3, 4]);
    store.append(&stream, exactly(4), events(1)).await.unwrap();
    store.append(&stream, exists, events(1)).await.unwrap();
    assert_eq!(revisions(&stream_of(&store, ReadStream::backward(stream)).await), [6, 5, 4, 3]);
}

pub async fn what_never_was_can_not_be_deleted(store: Store) {
    let error = store.delete_stream(&fresh(), ExpectedRevision::Any).await.unwrap_err();
    assert!(is_wrong(&error, None), "{error}");
}

pub async fn a_tombstone_is_for_good(store: Store) {
    let stream = fresh();
    store.append(&stream, ExpectedRevision::NoStream, events(2)).await.unwrap();
    store.tombstone_stream(&stream, exactly(0)).await.expect_err("another revision is last");
    store.tombstone_stream(&stream, exactly(1)).await.unwrap();
    for expected in [ExpectedRevision::Any, ExpectedRevision::NoStream, exactly(1)] {
        let error = store.append(&stream, expected, events(1)).await.unwrap_err();
        assert!(matches!(error, AppendError::StreamDeleted(_)), "{expected}: {error}");
    }
    let error = read_error(&store, ReadStream::backward(stream.clone())).await;
    assert!(matches!(error, ReadError::StreamDeleted(_)), "{error}");
    let filter = Filter::stream_prefixes([stream.as_str()]);
    let all = all_of(&store, ReadAll::forward().filter(filter)).await;
    assert_eq!(all.last().unwrap().event_type.as_str(), "$streamDeleted");
}

pub async fn metadata_of_a_tombstoned_stream_is_written_and_not_read(store: Store) {
    let stream = fresh();
    store.append(&stream, ExpectedRevision::NoStream, events(1)).await.unwrap();
    let set = async |expected| {
        store.set_stream_metadata(&stream, expected, StreamMetadata::default()).await
    };
    set(ExpectedRevision::NoStream).await.unwrap();
    store.delete_stream(&stream, ExpectedRevision::Any).await.unwrap();
    store.tombstone_stream(&stream, ExpectedRevision::Any).await.unwrap();
    for (expected, revision) in [(exactly(1), 2), (ExpectedRevision::Any, 3)] {
        let done = set(expected).await.unwrap();
        assert_eq!(done.last_revision, Some(Revision::new(revision)), "{expected}");
    }
    let error = set(exactly(1)).await.unwrap_err();
    assert!(is_wrong(&error, Some(3)), "{error}");
    let read = store.stream_metadata(&stream).await;
    assert!(matches!(read, Err(ReadError::StreamDeleted(_))), "{read:?}");
    let error = read_error(&store, ReadStream::forward(stream.metadata_stream())).await;
    assert!(matches!(error, ReadError::StreamDeleted(_)), "{error}");
    let error = store.append(&stream, ExpectedRevision::Any, events(1)).await.unwrap_err();
    assert!(matches!(error, AppendError::StreamDeleted(_)), "{error}");
}

pub async fn metadata_is_deleted_for_good_with_its_subject_only(store: Store) {
    let stream = fresh();
    store.append(&stream, ExpectedRevision::NoStream, events(1)).await.unwrap();
    let holder = stream.metadata_stream();
    let error = store.tombstone_stream(&holder, ExpectedRevision::Any).await.unwrap_err();
    assert!(matches!(error, AppendError::Store(_)), "{error}");
    store.delete_stream(&stream, exactly(0)).await.unwrap();
    store.append(&stream, ExpectedRevision::NoStream, events(1)).await.unwrap();
    let read = stream_of(&store, ReadStream::forward(stream)).await;
    assert_eq!(revisions(&read), [1]);
}

pub async fn a_tombstone_needs_no_stream(store: Store) {
    let stream = fresh();
    store.tombstone_stream(&stream, ExpectedRevision::NoStream).await.unwrap();
    let error = store.append(&stream, ExpectedRevision::NoStream, events(1)).await.unwrap_err();
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
    let mut metadata = StreamMetadata { max_age_seconds: Some(60), ..StreamMetadata::default() };
    metadata.custom.insert("owner".to_owned(), "ada".into());
    let no_stream = ExpectedRevision::NoStream;
    store.set_stream_metadata(&stream, no_stream, metadata.clone()).await.unwrap();
    let known = store.stream_metadata(&stream).await.unwrap();
    assert_eq!(known, (metadata.clone(), Some(Revision::FIRST)));
    store.set_stream_metadata(&stream, no_stream, metadata).await.expect_err("there is some");
    let empty = StreamMetadata::default();
    store.set_stream_metadata(&stream, exactly(0), empty.clone()).await.unwrap();
    let known = store.stream_metadata(&stream).await.unwrap();
    assert_eq!(known, (empty, Some(Revision::new(1))));
}

/// Given a deleted stream, when its metadata are read, changed and written again, their `$tb` with
/// them, then it is open again behind its last event; written once more they change nothing of it.
pub async fn metadata_of_a_deletion_open_the_stream(store: Store) {
    let stream = fresh();
    store.append(&stream, ExpectedRevision::NoStream, events(2)).await.unwrap();
    store.delete_stream(&stream, ExpectedRevision::Any).await.unwrap();
    for times in 1..3 {
        let (mut metadata, revision) = store.stream_metadata(&stream).await.unwrap();
        metadata.custom.insert("times".to_owned(), times.into());
        let expected = ExpectedRevision::Exactly(revision.unwrap());
        store.set_stream_metadata(&stream, expected, metadata).await.unwrap();
        let (metadata, _) = store.stream_metadata(&stream).await.unwrap();
        assert_eq!(metadata.truncate_before, Some(2));
        assert_eq!(metadata.custom["times"], times);
        assert_eq!(stream_of(&store, ReadStream::forward(stream.clone())).await, []);
    }
    store.append(&stream, exactly(1), events(1)).await.unwrap();
    assert_eq!(revisions(&stream_of(&store, ReadStream::forward(stream)).await), [2]);
}

pub async fn the_last_revision_is_known_though_it_is_hidden(store: Store) {
    let stream = fresh();
    let last = async || store.last_revision(&stream).await.unwrap().map(Revision::get);
    assert_eq!(last().await, None);
    store.append(&stream, ExpectedRevision::NoStream, events(3)).await.unwrap();
    assert_eq!(last().await, Some(2));
    let none = StreamMetadata::default;
    for hiding in [
        StreamMetadata { max_count: Some(0), ..none() },
        StreamMetadata { truncate_before: Some(9), ..none() },
        StreamMetadata { max_age_seconds: Some(0), ..none() },
    ] {
        store.set_stream_metadata(&stream, ExpectedRevision::Any, hiding).await.unwrap();
        assert_eq!(store.last_event(&stream).await.unwrap(), None);
        assert_eq!(last().await, Some(2));
    }
    let holder = stream.metadata_stream();
    assert_eq!(store.last_revision(&holder).await.unwrap(), Some(Revision::new(2)));
    store.delete_stream(&stream, ExpectedRevision::Any).await.unwrap();
    assert_eq!(last().await, None);
    store.append(&stream, ExpectedRevision::Any, events(1)).await.unwrap();
    assert_eq!(last().await, Some(3));
    store.tombstone_stream(&stream, ExpectedRevision::Any).await.unwrap();
    for gone in [&stream, &holder] {
        let told = store.last_revision(gone).await;
        assert!(matches!(told, Err(ReadError::StreamDeleted(_))), "{told:?}");
    }
}

pub async fn max_count_and_truncation_hide_events(store: Store) {
    let stream = fresh();
    store.append(&stream, ExpectedRevision::NoStream, events(6)).await.unwrap();
    for (max_count, truncate_before, expected) in [
        (Some(2), None, vec![4, 5]),
        (None, Some(3), vec![3, 4, 5]),
        (Some(4), Some(3), vec![3, 4, 5]),
        (Some(1), Some(3), vec![5]),
        (None, Some(6), vec![]),
    ] {
        let metadata = StreamMetadata { max_count, truncate_before, ..StreamMetadata::default() };
        store.set_stream_metadata(&stream, ExpectedRevision::Any, metadata).await.unwrap();
        let mut read = stream_of(&store, ReadStream::forward(stream.clone())).await;
        assert_eq!(revisions(&read), expected);
        read.reverse();
        assert_eq!(stream_of(&store, ReadStream::backward(stream.clone())).await, read);
    }
}

pub async fn a_young_stream_is_read_whole_with_max_age(store: Store) {
    let stream = fresh();
    store.append(&stream, ExpectedRevision::NoStream, events(2)).await.unwrap();
    let metadata = StreamMetadata { max_age_seconds: Some(3600), ..StreamMetadata::default() };
    store.set_stream_metadata(&stream, ExpectedRevision::Any, metadata).await.unwrap();
    assert_eq!(stream_of(&store, ReadStream::forward(stream)).await.len(), 2);
}
