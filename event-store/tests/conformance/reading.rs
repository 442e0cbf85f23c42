//! Reads: both ways, filtered, and of the past.

use chrono::TimeDelta;
use event_store::{
    AllStart, AsOf, EventType, ExpectedRevision, Filter, FilterSubject, Pattern, Position, ReadAll,
    ReadError, ReadStream, RecordedEvent, Revision, StreamStart, SubscribeError, SubscribeFrom,
};
use futures::{StreamExt, TryStreamExt};

use super::{
    Store, all_of, event, events, exactly, fresh, next, read_error, recorded_later, revisions,
    stream_of,
};

pub async fn a_stream_is_read_both_ways_from_anywhere(store: Store) {
    let stream = fresh();
    store.append(&stream, ExpectedRevision::NoStream, events(6)).await.unwrap();
    let forward = ReadStream::forward(stream.clone());
    let backward = ReadStream::backward(stream.clone());
    let end = ReadStream { start: StreamStart::End, ..forward.clone() };
    let begin = ReadStream { start: StreamStart::Start, ..backward.clone() };
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
        assert_eq!(revisions(&stream_of(&store, read).await), expected, "{told}");
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
        store.append(&stream, ExpectedRevision::Any, part).await.unwrap();
        store.append(&other, ExpectedRevision::Any, events(1)).await.unwrap();
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
        let done = store.append(stream, ExpectedRevision::Any, events(1)).await.unwrap();
        appended.push(done.position.unwrap());
    }
    let ours = |read: Vec<RecordedEvent>| -> Vec<Position> {
        let ours = read.iter().filter(|event| event.stream == one || event.stream == other);
        ours.map(|event| event.position).collect()
    };
    let forward = ReadAll { start: AllStart::Position(before), ..ReadAll::forward() };
    assert_eq!(ours(all_of(&store, forward).await), appended);
    let from = all_of(&store, ReadAll::forward().from(appended[2])).await;
    assert_eq!(from[0].position, appended[2], "forward includes the position");
    let mut reversed: Vec<_> = ours(all_of(&store, ReadAll::backward()).await);
    reversed.reverse();
    assert_eq!(reversed, appended);
    let backward = all_of(&store, ReadAll::backward().from(appended[2]).limit(1)).await;
    assert!(backward[0].position < appended[2], "backward leaves the position out");
    let end = ReadAll { start: AllStart::End, ..ReadAll::forward() };
    assert!(ours(all_of(&store, end).await).is_empty());
}

pub async fn filters_keep_what_matches(store: Store) {
    let stream = fresh();
    let mut offered = events(4);
    offered[1].event_type = EventType::new("Other").unwrap();
    offered[3].event_type = EventType::new("OtherToo").unwrap();
    store.append(&stream, ExpectedRevision::NoStream, offered).await.unwrap();
    store.append(&fresh(), ExpectedRevision::NoStream, events(2)).await.unwrap();
    let name = stream.as_str();
    let regex = |subject, pattern: String| Filter {
        subject,
        pattern: Pattern::Regex(pattern),
        checkpoint_events: None,
    };
    let here = format!("^{name}$");
    for (filter, expected) in [
        (Filter::stream_prefixes([name]), vec![0, 1, 2, 3]),
        (regex(FilterSubject::StreamName, here), vec![0, 1, 2, 3]),
        (Filter::type_prefixes(["Other"]), vec![1, 3]),
        (regex(FilterSubject::EventType, "erToo|Ot.*r$".to_owned()), vec![1, 3]),
        (regex(FilterSubject::EventType, r"^(?!(Num|\$))".to_owned()), vec![1, 3]),
    ] {
        let told = format!("{filter:?}");
        let read = all_of(&store, ReadAll::forward().filter(filter.clone())).await;
        let ours: Vec<_> = read.into_iter().filter(|event| event.stream == stream).collect();
        assert_eq!(revisions(&ours), expected, "{told}");
    }
    let last = ReadAll::backward().filter(Filter::stream_prefixes([name])).limit(2);
    assert_eq!(revisions(&all_of(&store, last).await), [3, 2]);
}

pub async fn a_bad_filter_is_refused(store: Store) {
    let subject = FilterSubject::StreamName;
    let bad = Filter { subject, pattern: Pattern::Regex("(".to_owned()), checkpoint_events: None };
    let refused = match store.read_all(ReadAll::forward().filter(bad.clone())).await {
        Err(error) => error,
        Ok(events) => events.try_collect::<Vec<_>>().await.expect_err("the read fails"),
    };
    assert!(matches!(refused, ReadError::BadFilter(_)), "{refused}");
    let refused = match store.subscribe_all(SubscribeFrom::Start, Some(bad)).await {
        Err(error) => error,
        Ok(mut subscription) => next(&mut subscription).await.unwrap_err(),
    };
    assert!(matches!(refused, SubscribeError::BadFilter(_)), "{refused}");
}

/// Given a filter that keeps few, when a read may look at so many events, then it gives what it
/// found among them and says where it goes on, until it comes to its end, or has what it wants.
pub async fn a_read_looks_at_no_more_than_it_may(store: Store) {
    const SCAN: u64 = 3;
    let (wanted, other) = (fresh(), fresh());
    let no_stream = ExpectedRevision::NoStream;
    let first = store.append(&wanted, no_stream, events(1)).await.unwrap().position.unwrap();
    for stream in [&other, &other, &other, &other, &wanted, &other, &wanted] {
        store.append(stream, ExpectedRevision::Any, events(1)).await.unwrap();
    }
    let filter = Filter::stream_prefixes([wanted.as_str()]);
    let forward = ReadAll::forward().from(first);
    for (read, all) in [(forward, [0, 1, 2]), (ReadAll::backward(), [2, 1, 0])] {
        let read = read.filter(filter.clone()).scan(SCAN);
        let (mut found, mut next, mut reads) = (Vec::new(), read.clone(), 0);
        loop {
            reads += 1;
            let events = store.read_all(next).await.unwrap();
            let events: Vec<_> = events.collect().await;
            let (last, before) = events.split_last().map_or((None, &[][..]), |(last, before)| {
                if last.is_err() { (Some(last), before) } else { (None, &events[..]) }
            });
            found.extend(before.iter().map(|event| event.as_ref().unwrap().revision.get()));
            match last {
                None => break,
                Some(Err(ReadError::ScanEnded { at })) => next = read.clone().from(*at),
                Some(other) => panic!("{other:?}"),
            }
        }
        assert_eq!(found, all);
        assert!(reads >= 3, "{reads} reads");
        let first = all_of(&store, read.limit(1)).await;
        assert_eq!(revisions(&first), all[..1]);
    }
}

pub async fn the_past_is_read_by_position(store: Store) {
    let stream = fresh();
    let one = store.append(&stream, ExpectedRevision::NoStream, events(2)).await.unwrap();
    let then = AsOf::Position(one.position.unwrap());
    store.append(&stream, exactly(1), events(2)).await.unwrap();
    store.delete_stream(&stream, ExpectedRevision::Any).await.unwrap();
    let read = stream_of(&store, ReadStream::forward(stream.clone()).as_of(then)).await;
    assert_eq!(revisions(&read), [0, 1]);
    let first = read[0].position;
    let read = stream_of(&store, ReadStream::backward(stream.clone()).as_of(then).limit(1)).await;
    assert_eq!(revisions(&read), [1]);
    let before = AsOf::Position(Position::new(first.get() - 1));
    let error = read_error(&store, ReadStream::forward(stream.clone()).as_of(before)).await;
    assert!(matches!(error, ReadError::StreamNotFound(_)), "{error}");
    let filter = Filter::stream_prefixes([stream.as_str()]);
    let all = all_of(&store, ReadAll::forward().filter(filter).as_of(then)).await;
    assert_eq!(revisions(&all), [0, 1]);
}

pub async fn the_past_is_read_by_time(store: Store) {
    let stream = fresh();
    store.append(&stream, ExpectedRevision::NoStream, events(1)).await.unwrap();
    let first = stream_of(&store, ReadStream::forward(stream.clone())).await.remove(0).recorded_at;
    let last = recorded_later(&store, &stream).await;
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

pub async fn a_stream_is_read_from_a_time(store: Store) {
    let stream = fresh();
    store.append(&stream, ExpectedRevision::NoStream, events(2)).await.unwrap();
    let time = recorded_later(&store, &stream).await;
    store.append(&stream, ExpectedRevision::Any, events(1)).await.unwrap();
    let end = recorded_later(&store, &stream).await;
    let forward = ReadStream::forward(stream.clone());
    let backward = ReadStream::backward(stream.clone());
    let all = stream_of(&store, forward.clone()).await;
    let step = TimeDelta::microseconds(1);
    for time in [all[0].recorded_at, time, end] {
        for time in [time - step, time, time + step] {
            let (mut from, mut until): (Vec<_>, Vec<_>) = (all.clone(), all.clone());
            from.retain(|event| event.recorded_at >= time);
            until.retain(|event| event.recorded_at <= time);
            until.reverse();
            assert_eq!(stream_of(&store, forward.clone().from_time(time)).await, from);
            assert_eq!(stream_of(&store, backward.clone().from_time(time)).await, until);
            from.truncate(1);
            assert_eq!(stream_of(&store, forward.clone().from_time(time).limit(1)).await, from);
        }
    }
    let then = AsOf::Position(all[1].position);
    assert_eq!(stream_of(&store, forward.as_of(then).from_time(end)).await, []);
    let until = revisions(&stream_of(&store, backward.as_of(then).from_time(end)).await);
    assert_eq!(until, [1, 0]);
}

pub async fn the_log_is_read_from_a_time(store: Store) {
    let stream = fresh();
    store.append(&stream, ExpectedRevision::NoStream, events(2)).await.unwrap();
    let time = recorded_later(&store, &stream).await;
    store.append(&fresh(), ExpectedRevision::NoStream, events(2)).await.unwrap();
    store.append(&stream, ExpectedRevision::Any, events(1)).await.unwrap();
    let all = stream_of(&store, ReadStream::forward(stream.clone())).await;
    let ours = |read: Vec<RecordedEvent>| -> Vec<u64> {
        let ours: Vec<_> = read.into_iter().filter(|event| event.stream == stream).collect();
        revisions(&ours)
    };
    let from = all.iter().filter(|event| event.recorded_at >= time);
    let from: Vec<u64> = from.map(|event| event.revision.get()).collect();
    let until = all.iter().rev().filter(|event| event.recorded_at <= time);
    let until: Vec<u64> = until.map(|event| event.revision.get()).collect();
    assert_eq!(ours(all_of(&store, ReadAll::forward().from_time(time)).await), from);
    assert_eq!(ours(all_of(&store, ReadAll::backward().from_time(time)).await), until);
    let filter = Filter::stream_prefixes([stream.as_str()]);
    let one = ReadAll::forward().filter(filter).from_time(time).limit(1);
    assert_eq!(revisions(&all_of(&store, one).await), from[..1]);
    let late = all.last().unwrap().recorded_at + TimeDelta::days(1);
    assert_eq!(all_of(&store, ReadAll::forward().from_time(late)).await, []);
}

pub async fn the_last_event_is_the_last(store: Store) {
    let stream = fresh();
    let offered = events(3);
    store.append(&stream, ExpectedRevision::NoStream, offered.clone()).await.unwrap();
    let last = store.last_event(&stream).await.unwrap().unwrap();
    assert_eq!((last.id, last.revision), (offered[2].id, Revision::new(2)));
}
