//! Appends that are sent again, whole or in part: known by the ids of their events and by nothing
//! else, as EventStoreDB knows them.

use bytes::Bytes;
use event_store::{
    AppendError, Appended, ContentType, EventType, ExpectedRevision, NewEvent, ReadStream,
    RecordedEvent, Revision, StreamName,
};

use super::{Store, event, events, exactly, fresh, is_wrong, revisions, stream_of};

const FREE: [ExpectedRevision; 2] = [ExpectedRevision::Any, ExpectedRevision::StreamExists];

/// A stream of the events 0, 1 and 2.
async fn stream_of_three(store: &Store) -> (StreamName, Vec<NewEvent>, Vec<RecordedEvent>) {
    let (stream, offered) = (fresh(), events(3));
    store.append(&stream, ExpectedRevision::NoStream, offered.clone()).await.unwrap();
    let held = stream_of(store, ReadStream::forward(stream.clone())).await;
    (stream, offered, held)
}

/// The answer to those who appended these, the last of which is this one.
fn answer(last: &RecordedEvent) -> Appended {
    Appended { last_revision: Some(last.revision), position: Some(last.position) }
}

/// Another event with the same id.
fn changed(of: &NewEvent) -> NewEvent {
    NewEvent {
        event_type: EventType::new("Changed").unwrap(),
        content_type: ContentType::Binary,
        data: Bytes::from_static(b"other bytes"),
        metadata: Bytes::from_static(b"{\"other\":true}"),
        ..of.clone()
    }
}

pub async fn a_retry_is_known_by_its_ids_whatever_its_bytes(store: Store) {
    let (stream, offered, held) = stream_of_three(&store).await;
    let again: Vec<NewEvent> = offered.iter().map(changed).collect();
    let mut asked = vec![(ExpectedRevision::NoStream, 0)];
    asked.extend([(exactly(0), 1), (exactly(1), 2)]);
    asked.extend(FREE.map(|free| (free, 1)));
    for (expected, first) in asked {
        let appended = store.append(&stream, expected, again[first..].to_vec()).await.unwrap();
        assert_eq!(appended, answer(&held[2]), "{expected}");
    }
    // What was recorded first is what counts.
    assert_eq!(stream_of(&store, ReadStream::forward(stream)).await, held);
}

pub async fn a_part_of_what_is_there_is_a_retry_where_it_stands(store: Store) {
    let (stream, offered, held) = stream_of_three(&store).await;
    let mut asked = vec![(ExpectedRevision::NoStream, 0..1), (ExpectedRevision::NoStream, 0..2)];
    asked.extend([(exactly(0), 1..2), (exactly(0), 1..3), (exactly(1), 2..3)]);
    for free in FREE {
        asked.extend([(free, 0..1), (free, 1..2), (free, 1..3), (free, 0..3)]);
    }
    for (expected, part) in asked {
        let last = &held[part.end - 1];
        let appended = store.append(&stream, expected, offered[part.clone()].to_vec()).await;
        assert_eq!(appended.unwrap(), answer(last), "{expected}, {part:?}");
    }
    assert_eq!(stream_of(&store, ReadStream::forward(stream)).await, held);
}

pub async fn what_is_known_in_part_is_refused(store: Store) {
    let (stream, offered, held) = stream_of_three(&store).await;
    let [a, b, c] = [0, 1, 2].map(|number| offered[number].clone());
    let new = event(9);
    let mut asked = vec![
        (ExpectedRevision::NoStream, vec![a.clone(), new.clone()]),
        (ExpectedRevision::NoStream, vec![a.clone(), b.clone(), c.clone(), new.clone()]),
        (ExpectedRevision::NoStream, vec![b.clone()]),
        (exactly(0), vec![b.clone(), new.clone()]),
        (exactly(0), vec![b.clone(), c.clone(), new.clone()]),
        (exactly(0), vec![c.clone(), b.clone()]),
        (exactly(1), vec![new.clone(), c.clone()]),
        (exactly(3), vec![a.clone()]),
    ];
    for free in FREE {
        asked.push((free, vec![c.clone(), new.clone()]));
        asked.push((free, vec![a.clone(), new.clone(), b.clone()]));
    }
    for (expected, events) in asked {
        let error = store.append(&stream, expected, events).await.unwrap_err();
        assert!(is_wrong(&error, Some(2)), "{expected}: {error}");
    }
    assert_eq!(stream_of(&store, ReadStream::forward(stream)).await, held);
}

/// Whoever names the last revision, or begins with an event that is new, has seen what is there:
/// that is no retry, and an id may be in a stream twice.
pub async fn what_begins_anew_is_appended_with_ids_that_are_known(store: Store) {
    let (stream, offered, _) = stream_of_three(&store).await;
    let (known, mut last) = (offered[0].clone(), 2);
    let appended = store.append(&stream, exactly(2), vec![known.clone()]).await.unwrap();
    last += 1;
    assert_eq!(appended.last_revision, Some(Revision::new(last)));
    for free in FREE {
        let appended = store.append(&stream, free, vec![event(9), known.clone()]).await.unwrap();
        last += 2;
        assert_eq!(appended.last_revision, Some(Revision::new(last)), "{free}");
    }
    let read = stream_of(&store, ReadStream::forward(stream)).await;
    assert_eq!(revisions(&read), (0..=last).collect::<Vec<_>>());
}

pub async fn an_id_of_another_stream_is_new_here(store: Store) {
    let (_, offered, _) = stream_of_three(&store).await;
    let [a, b, c] = [0, 1, 2].map(|number| offered[number].clone());
    let (free, exact, first) = (fresh(), fresh(), fresh());
    for (stream, expected) in
        [(&free, ExpectedRevision::Any), (&exact, exactly(0)), (&first, ExpectedRevision::NoStream)]
    {
        if expected != ExpectedRevision::NoStream {
            store.append(stream, ExpectedRevision::NoStream, events(1)).await.unwrap();
        }
        store.append(stream, expected, vec![a.clone(), b.clone()]).await.unwrap();
    }
    // Known there is not known here: one of these is, the other is not.
    store.append(&free, ExpectedRevision::StreamExists, vec![c.clone()]).await.unwrap();
    for (stream, expected) in [(&exact, exactly(0)), (&first, ExpectedRevision::NoStream)] {
        let error: AppendError =
            store.append(stream, expected, vec![a.clone(), c.clone()]).await.unwrap_err();
        assert!(matches!(error, AppendError::WrongExpectedRevision { .. }), "{error}");
    }
    let error = store.append(&exact, ExpectedRevision::Any, vec![a, c]).await.unwrap_err();
    assert!(is_wrong(&error, Some(2)), "{error}");
    for (stream, count) in [(free, 4), (exact, 3), (first, 2)] {
        assert_eq!(stream_of(&store, ReadStream::forward(stream)).await.len(), count);
    }
}
