//! Appends to several streams: all or none, checked against one state of all.

use std::sync::Arc;

use event_store::limits::{APPEND_EVENTS_MAX, APPEND_STREAMS_MAX, EVENT_BYTES_MAX};
use event_store::{
    EventType, ExpectedState, Filter, MultiAppend, MultiAppendError, ReadAll, ReadStream, Revision,
    StreamCheck, StreamMetadata, StreamName, StreamState, TooLarge, Violation,
};

use crate::suite::multi::{ANY, at, is_not_there, refused, to, violations};
use crate::suite::{Store, all_of, event, events, fresh, revisions, stream_of};

pub async fn events_of_several_streams_keep_their_order(store: Store) {
    let (one, other) = (fresh(), fresh());
    store.append(&other, ANY, events(3)).await.unwrap();
    let append = to(&[&one, &other, &one, &other, &one]).check(&other, at(2));
    let appended = store.append_to_streams(append.clone()).await.unwrap();
    let revisions_of = [(one.clone(), Revision::new(2)), (other.clone(), Revision::new(4))];
    assert_eq!(appended.revisions, revisions_of);
    let filter = Filter::stream_prefixes([one.as_str(), other.as_str()]);
    let log = all_of(&store, ReadAll::forward().filter(filter)).await;
    let offered: Vec<_> =
        append.events.iter().map(|(stream, event)| (stream, event.id, &event.data)).collect();
    let read: Vec<_> =
        log[3..].iter().map(|event| (&event.stream, event.id, &event.data)).collect();
    assert_eq!(read, offered);
    assert_eq!(log.last().unwrap().position, appended.position);
    assert_eq!(revisions(&stream_of(&store, ReadStream::forward(one)).await), [0, 1, 2]);
    assert_eq!(revisions(&stream_of(&store, ReadStream::forward(other)).await), [0, 1, 2, 3, 4]);
}

/// A stream in each state that there is, with the name of the state.
async fn in_every_state(store: &Store) -> Vec<(StreamName, StreamState)> {
    let streams: Vec<StreamName> = (0..6).map(|_| fresh()).collect();
    for stream in &streams[1..4] {
        store.append(stream, ANY, events(3)).await.unwrap();
    }
    store.delete_stream(&streams[2], ANY).await.unwrap();
    store.tombstone_stream(&streams[3], ANY).await.unwrap();
    let metadata = StreamMetadata { max_count: Some(5), ..StreamMetadata::default() };
    for stream in &streams[4..6] {
        store.set_stream_metadata(stream, ANY, metadata.clone()).await.unwrap();
    }
    store.delete_stream(&streams[5], ANY).await.unwrap();
    let last = Some(Revision::new(2));
    let states = [
        StreamState::NoEvents,
        StreamState::At(Revision::new(2)),
        StreamState::SoftDeleted { last },
        StreamState::Tombstoned,
        StreamState::NoEvents,
        StreamState::SoftDeleted { last: None },
    ];
    streams.into_iter().zip(states).collect()
}

pub async fn checks_of_streams_that_are_not_written_hold_or_not(store: Store) {
    let streams = in_every_state(&store).await;
    for (expected, holds) in [
        (ExpectedState::NoStream, [true, false, true, true, true, true]),
        (ExpectedState::StreamExists, [false, true, false, false, true, false]),
        (ExpectedState::SoftDeleted, [false, false, true, false, false, true]),
        (ExpectedState::Tombstoned, [false, false, false, true, false, false]),
        (at(2), [false, true, true, false, false, false]),
        (at(1), [false; 6]),
        (at(u64::MAX), [false; 6]),
    ] {
        for ((stream, actual), holds) in streams.iter().zip(holds) {
            let written = fresh();
            let append = to(&[&written]).check(stream, expected);
            let got = store.append_to_streams(append).await;
            let Err(error) = got else {
                assert!(holds, "{expected} of {actual}");
                continue;
            };
            assert!(!holds, "{expected} of {actual}: {error}");
            let MultiAppendError::Violated(violations) = error else { panic!("{error}") };
            let (stream, actual) = (stream.clone(), *actual);
            let (check, expected) = (Some(0), Some(expected));
            assert_eq!(violations, [Violation { stream, check, expected, actual }]);
            is_not_there(&store, &written).await;
        }
    }
}

pub async fn every_stream_that_is_not_as_expected_is_told(store: Store) {
    let (one, other, gone, written) = (fresh(), fresh(), fresh(), fresh());
    store.append(&one, ANY, events(3)).await.unwrap();
    store.tombstone_stream(&gone, ANY).await.unwrap();
    let append = to(&[&gone, &written, &one])
        .check(&other, ExpectedState::StreamExists)
        .check(&written, ExpectedState::NoStream)
        .check(&one, at(7));
    let told = violations(&store, append).await;
    let exists = Some(ExpectedState::StreamExists);
    let expected = [
        (&other, Some(0), exists, StreamState::NoEvents),
        (&one, Some(2), Some(at(7)), StreamState::At(Revision::new(2))),
        (&gone, None, None, StreamState::Tombstoned),
    ];
    let told: Vec<_> =
        told.iter().map(|it| (&it.stream, it.check, it.expected, it.actual)).collect();
    assert_eq!(told, expected);
    is_not_there(&store, &written).await;
    assert_eq!(stream_of(&store, ReadStream::forward(one)).await.len(), 3);
}

pub async fn a_deleted_stream_is_opened_among_others(store: Store) {
    for expected in [None, Some(ExpectedState::SoftDeleted), Some(at(2))] {
        let (deleted, other) = (fresh(), fresh());
        store.append(&deleted, ANY, events(3)).await.unwrap();
        store.delete_stream(&deleted, ANY).await.unwrap();
        let mut append = to(&[&other, &deleted, &other, &deleted]);
        append
            .checks
            .extend(expected.map(|expected| StreamCheck { stream: deleted.clone(), expected }));
        let appended = store.append_to_streams(append.clone()).await.unwrap();
        assert_eq!(appended.revisions[1], (deleted.clone(), Revision::new(4)));
        let read = stream_of(&store, ReadStream::forward(deleted.clone())).await;
        assert_eq!(revisions(&read), [3, 4]);
        assert_eq!(stream_of(&store, ReadStream::forward(other)).await.len(), 2);
        assert_eq!(store.append_to_streams(append).await.unwrap(), appended, "{expected:?}");
    }
}

pub async fn metadata_is_written_among_others(store: Store) {
    let stream = fresh();
    let holder = stream.metadata_stream();
    let mut metadata = event(0);
    metadata.data = "{\"$maxCount\":2}".into();
    let append = MultiAppend::default()
        .events(&stream, events(2))
        .events(&holder, [metadata])
        .events(&stream, events(1))
        .check(&holder, ExpectedState::NoStream);
    let appended = store.append_to_streams(append).await.unwrap();
    assert_eq!(appended.revisions[1], (holder.clone(), Revision::FIRST));
    let read = stream_of(&store, ReadStream::forward(stream.clone())).await;
    assert_eq!(revisions(&read), [1, 2]);
    // A deleted stream's metadata and its events in one: each revision is there once.
    store.delete_stream(&stream, ANY).await.unwrap();
    let mut again = event(0);
    again.data = "{\"$maxCount\":3}".into();
    let append = to(&[&stream]).events(&holder, [again]).events(&stream, events(1));
    store.append_to_streams(append).await.unwrap();
    let held = stream_of(&store, ReadStream::forward(holder.clone())).await;
    assert_eq!(held.last().unwrap().revision, Revision::new(3));
    let filter = Filter::stream_prefixes([holder.as_str()]);
    let held = all_of(&store, ReadAll::forward().filter(filter)).await;
    assert_eq!(revisions(&held), [0, 1, 2, 3]);
    assert_eq!(store.last_event(&stream).await.unwrap().unwrap().revision, Revision::new(4));
}

pub async fn a_retry_to_several_streams_appends_nothing(store: Store) {
    let (one, other, checked) = (fresh(), fresh(), fresh());
    store.append(&one, ANY, events(2)).await.unwrap();
    let exact = to(&[&one, &other, &one])
        .check(&other, ExpectedState::NoStream)
        .check(&one, at(1))
        .check(&checked, ExpectedState::NoStream);
    let exact_appended = store.append_to_streams(exact.clone()).await.unwrap();
    let free = to(&[&other, &one]).check(&one, ExpectedState::StreamExists);
    let free_appended = store.append_to_streams(free.clone()).await.unwrap();
    store.append(&checked, ANY, events(1)).await.unwrap();
    store.append(&one, ANY, events(1)).await.unwrap();
    assert_eq!(store.append_to_streams(exact).await.unwrap(), exact_appended);
    assert_eq!(store.append_to_streams(free).await.unwrap(), free_appended);
    assert_eq!(stream_of(&store, ReadStream::forward(one)).await.len(), 6);
    assert_eq!(stream_of(&store, ReadStream::forward(other)).await.len(), 2);
}

pub async fn one_id_may_be_in_several_streams_of_an_append(store: Store) {
    let (one, other, offered) = (fresh(), fresh(), events(1));
    let append = MultiAppend::default().events(&one, offered.clone()).events(&other, offered);
    let appended = store.append_to_streams(append.clone()).await.unwrap();
    assert_eq!(store.append_to_streams(append).await.unwrap(), appended);
    for stream in [one, other] {
        assert_eq!(stream_of(&store, ReadStream::forward(stream)).await.len(), 1);
    }
}

pub async fn a_mixture_of_known_and_new_is_refused(store: Store) {
    let (one, other) = (fresh(), fresh());
    let known = events(2);
    store.append(&one, ANY, known.clone()).await.unwrap();
    let whole = MultiAppend::default().events(&one, known.clone()).events(&other, events(1));
    let half =
        MultiAppend::default().events(&other, events(1)).events(&one, [known[0].clone(), event(9)]);
    let exact = whole.clone().check(&one, ExpectedState::NoStream);
    for append in [whole, half, exact] {
        let error = refused(&store, append).await;
        assert!(matches!(error, MultiAppendError::HalfKnown), "{error}");
    }
    is_not_there(&store, &other).await;
    assert_eq!(stream_of(&store, ReadStream::forward(one)).await.len(), 2);
}

pub async fn too_much_for_several_streams_is_refused(store: Store) {
    let (one, other) = (fresh(), fresh());
    let mut large = event(0);
    large.event_type = EventType::new("Bytes").unwrap();
    large.data = vec![b'x'; EVENT_BYTES_MAX].into();
    let error = refused(&store, to(&[&one]).events(&other, [large.clone()])).await;
    assert!(matches!(error, MultiAppendError::TooLarge(TooLarge::Event { .. })), "{error}");
    large.data.truncate(EVENT_BYTES_MAX - 1000);
    let all_large =
        MultiAppend::default().events(&one, vec![large.clone(); 3]).events(&other, vec![large; 3]);
    let many = MultiAppend::default()
        .events(&one, events(APPEND_EVENTS_MAX as u64))
        .events(&other, events(1));
    let wide = (0..=APPEND_STREAMS_MAX)
        .fold(MultiAppend::default(), |append, _| append.events(&fresh(), events(1)));
    let checked = (0..APPEND_STREAMS_MAX)
        .fold(to(&[&one]), |append, _| append.check(&fresh(), ExpectedState::NoStream));
    for (append, counted) in
        [(all_large, "bytes"), (many, "events"), (wide, "streams"), (checked, "streams")]
    {
        match refused(&store, append).await {
            MultiAppendError::TooLarge(TooLarge::Append { unit, .. }) => assert_eq!(unit, counted),
            other => panic!("{other}"),
        }
    }
    is_not_there(&store, &one).await;
}

/// Two accounts, and many who move from one to the other what they saw: one of them does.
pub async fn one_of_many_writers_to_several_streams_wins(store: Store) {
    const WRITERS: usize = 32;
    let streams = [fresh(), fresh()];
    for stream in &streams {
        store.append(stream, ANY, events(1)).await.unwrap();
    }
    let outcomes = futures::future::join_all((0..WRITERS).map(|writer| {
        let store = Arc::clone(&store);
        let (written, checked) = (streams[writer % 2].clone(), streams[(writer + 1) % 2].clone());
        let append = to(&[&fresh(), &written]).check(&checked, at(0)).check(&written, at(0));
        tokio::spawn(async move { store.append_to_streams(append).await })
    }))
    .await;
    let won = outcomes.into_iter().filter(|outcome| outcome.as_ref().unwrap().is_ok()).count();
    assert_eq!(won, 1, "each reads what the others write");
}
