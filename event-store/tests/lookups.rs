//! Where events are looked for: how much of the log a question touches, counted on a simulated
//! disk.

#[path = "given/events.rs"]
mod given;

use std::sync::Arc;

use event_store::limits::EVENT_BYTES_MAX;
use event_store::log::{Disk as _, SimDisk};
use event_store::{
    Delivery, EmbeddedOptions, EmbeddedStore, EventStore, ExpectedRevision, ReadStream, Revision,
    StreamMetadata, SubscribeFrom,
};
use futures::{StreamExt, TryStreamExt};

use given::{event, everything, stream};

/// A store of which a few events fill a segment.
async fn opened(disk: &SimDisk) -> EmbeddedStore {
    let options = EmbeddedOptions::disk(Arc::new(disk.clone())).segment_bytes(2000);
    EmbeddedStore::open(options).await.unwrap()
}

/// A log with so many sealed segments, of which each has an event of `track-1`.
async fn with_segments(segments: usize) -> SimDisk {
    let disk = SimDisk::new();
    let store = opened(&disk).await;
    let mut number = 0;
    while sealed(&disk) < segments {
        append(&store, "track-1", number).await;
        for filler in 1..12 {
            append(&store, "filler", number + filler).await;
        }
        number += 12;
    }
    append(&store, "other", number).await;
    store.close().await.unwrap();
    disk
}

fn sealed(disk: &SimDisk) -> usize {
    disk.list().unwrap().iter().filter(|name| name.ends_with(".log")).count() - 1
}

async fn append(store: &EmbeddedStore, name: &str, number: u64) {
    let events = vec![event(number)];
    store.append(&stream(name), ExpectedRevision::Any, events).await.unwrap();
}

/// Given a segment of few streams or of many, when an event of any of them is read, then that takes
/// five looks: into the table, at the first record, whose name is compared, at the postings, at the
/// place of the event, and at the event.
#[tokio::test]
async fn an_event_from_anywhere_costs_five_reads() {
    for (streams, segment_bytes) in [(20, 7_000), (2_000, 700_000)] {
        let disk = SimDisk::new();
        let options = EmbeddedOptions::disk(Arc::new(disk.clone())).segment_bytes(segment_bytes);
        let store = EmbeddedStore::open(options.clone()).await.unwrap();
        let mut number = 0;
        while sealed(&disk) == 0 {
            append(&store, &format!("track-{}", number % streams), number).await;
            number += 1;
        }
        assert!(number > 2 * streams, "{number} events, a few of each stream");
        store.close().await.unwrap();
        let store = EmbeddedStore::open(options).await.unwrap();
        let mut reads = 0;
        for track in 0..streams {
            let before = disk.reads();
            let name = stream(&format!("track-{track}"));
            let second = ReadStream::forward(name).from(Revision::new(1)).limit(1);
            let second = store.read_stream(second).await.unwrap();
            let second: Vec<_> = second.try_collect().await.unwrap();
            assert_eq!(second[0].id, event(streams + track).id);
            reads += disk.reads() - before;
        }
        // Now and then the filter is wrong about a stream's metadata.
        let most = 5 * streams + streams / 10;
        assert!((5 * streams..=most).contains(&reads), "{reads} reads of {streams} events");
    }
}

/// Given a stream with events in every segment, when its end is asked for, then the price does not
/// depend on the number of segments: the newest that has the stream is looked into, and no other.
#[tokio::test]
async fn the_end_of_a_stream_costs_the_same_in_any_log() {
    let mut costs = Vec::new();
    for segments in [3, 40] {
        let disk = with_segments(segments).await;
        let store = opened(&disk).await;
        let name = stream("track-1");
        let asked = async |ask: &dyn Fn() -> ReadStream| {
            let before = disk.reads();
            let events = store.read_stream(ask()).await.unwrap();
            let events: Vec<_> = events.try_collect().await.unwrap();
            (events.last().unwrap().revision.get(), disk.reads() - before)
        };
        let all = everything(&store).await.unwrap();
        let count = all.iter().filter(|event| event.stream == name).count() as u64;
        let last = store.last_event(&name).await.unwrap().unwrap().revision;
        assert_eq!(last.get() + 1, count);
        let (found, of_last) = asked(&|| ReadStream::backward(name.clone()).limit(1)).await;
        assert_eq!(found, last.get());
        let (found, of_behind) = asked(&|| ReadStream::forward(name.clone()).from(last)).await;
        assert_eq!(found, last.get());
        let before = disk.reads();
        append(&store, "track-1", 1_000_000).await;
        let of_append = disk.reads() - before;
        // One that is sent again expects what the stream was like before it.
        let before = disk.reads();
        let again = vec![event(1_000_000)];
        store.append(&name, ExpectedRevision::Exactly(last), again).await.unwrap();
        costs.push([of_last, of_behind, of_append, disk.reads() - before]);
        let (found, _) = asked(&|| ReadStream::backward(name.clone())).await;
        assert_eq!(found, 0, "the older ones are looked for as they are read");
        store.close().await.unwrap();
    }
    assert_eq!(
        costs[0], costs[1],
        "reads of the last, of what is behind, of an append, of a retry"
    );
}

/// Given a stream of which a window is to be seen, when it is read from its beginning, then the
/// segments before the window are not looked into.
#[tokio::test]
async fn what_is_before_the_window_is_not_looked_for() {
    let mut costs = Vec::new();
    for segments in [3, 40] {
        let disk = with_segments(segments).await;
        let store = opened(&disk).await;
        let name = stream("track-1");
        let window = StreamMetadata { max_count: Some(1), ..StreamMetadata::default() };
        store.set_stream_metadata(&name, ExpectedRevision::Any, window).await.unwrap();
        let before = disk.reads();
        let events = store.read_stream(ReadStream::forward(name)).await.unwrap();
        assert_eq!(events.try_collect::<Vec<_>>().await.unwrap().len(), 1);
        costs.push(disk.reads() - before);
    }
    assert_eq!(costs[0], costs[1]);
}

/// Given a log of many segments, when a stream is asked for that is in none of them, then only the
/// filters are, which are in memory.
#[tokio::test]
async fn a_stream_that_is_not_there_costs_no_read() {
    let disk = with_segments(40).await;
    let store = opened(&disk).await;
    let mut reads = 0;
    for number in 0..100 {
        let before = disk.reads();
        let name = stream(&format!("nobody-{number}"));
        assert!(store.last_event(&name).await.unwrap().is_none());
        let metadata = store.stream_metadata(&name).await.unwrap();
        assert_eq!(metadata, (StreamMetadata::default(), None));
        reads += disk.reads() - before;
    }
    // A filter is wrong now and then.
    assert!(reads < 200, "{reads} reads for 100 streams over 40 segments");
    let behind = ReadStream::forward(stream("track-1")).from(Revision::new(1_000_000));
    let events = store.read_stream(behind).await.unwrap();
    assert!(events.try_collect::<Vec<_>>().await.unwrap().is_empty());
}

/// Given an open store and a damaged block in an index, when many read there at once, then all are
/// answered, the segment is read for it once, and the index is whole on the disk afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_damaged_index_is_made_again_once() {
    const READERS: usize = 16;
    const BLOCK_BYTES: u64 = 4096;
    let disk = with_segments(5).await;
    let store = Arc::new(opened(&disk).await);
    let read_all = async || {
        let before = disk.read_bytes();
        let readers: Vec<_> = (0..READERS)
            .map(|_| {
                let store = Arc::clone(&store);
                tokio::spawn(async move {
                    let read = ReadStream::forward(stream("track-1"));
                    let events = store.read_stream(read).await.unwrap();
                    events.try_collect::<Vec<_>>().await.unwrap()
                })
            })
            .collect();
        let mut told = Vec::new();
        for reader in readers {
            told.push(reader.await.unwrap());
        }
        (told, disk.read_bytes() - before)
    };
    let (whole, whole_bytes) = read_all().await;
    let files = disk.list().unwrap();
    let name = files.iter().filter(|name| name.ends_with(".idx")).min().unwrap();
    let written = disk.contents(name).unwrap();
    let mut damaged = written.clone();
    damaged[100] ^= 0x11;
    disk.put_into(name, &damaged);
    let (told, bytes) = read_all().await;
    assert_eq!(told, whole);
    let segment = disk.contents(&name.replace(".idx", ".log")).unwrap().len() as u64;
    // Once for what is in memory, and for what is written; each may have come by the damage, and
    // have begun again to wait for that.
    let most = 2 * (whole_bytes + segment + READERS as u64 * BLOCK_BYTES);
    assert!(bytes <= most, "{bytes} bytes, and {whole_bytes} before");
    store.close().await.unwrap();
    assert!(disk.contents(name).unwrap() == written, "the index is mended");
    let store = opened(&disk).await;
    assert_eq!(store.verify(None).await.unwrap().indexes_mended, 0);
}

/// Given metadata as large as they may be, when their stream is appended to and read again and
/// again, then they are read once.
#[tokio::test]
async fn metadata_of_any_size_are_read_once() {
    let disk = SimDisk::new();
    let store = EmbeddedStore::open(EmbeddedOptions::disk(Arc::new(disk.clone()))).await.unwrap();
    let name = stream("track-1");
    let text = "x".repeat(EVENT_BYTES_MAX - 100);
    let custom = [("text".to_owned(), text.into())].into();
    let metadata = StreamMetadata { custom, max_count: Some(3), ..StreamMetadata::default() };
    store.set_stream_metadata(&name, ExpectedRevision::Any, metadata).await.unwrap();
    let before = disk.read_bytes();
    for number in 0..10 {
        append(&store, "track-1", number).await;
        let events = store.read_stream(ReadStream::forward(name.clone())).await.unwrap();
        assert_eq!(events.try_collect::<Vec<_>>().await.unwrap().len() as u64, 3.min(number + 1));
    }
    let bytes = disk.read_bytes() - before;
    assert!(bytes < 2 * EVENT_BYTES_MAX as u64, "{bytes} bytes");
}

/// Given streams that are written in turn, when the index of the segment takes as much memory as it
/// may, then the next segment is begun, and everything is found, after another opening too.
#[tokio::test]
async fn a_segment_ends_where_its_index_is_full() {
    const STREAMS: u64 = 150;
    const TURNS: u64 = 3;
    let disk = SimDisk::new();
    let options = || EmbeddedOptions::disk(Arc::new(disk.clone())).index_bytes(5000);
    let mut store = EmbeddedStore::open(options()).await.unwrap();
    for number in 0..STREAMS * TURNS {
        append(&store, &format!("track-{}", number % STREAMS), number).await;
    }
    assert!((4..20).contains(&sealed(&disk)), "{} segments", sealed(&disk));
    for _ in 0..2 {
        for number in (0..STREAMS).step_by(7) {
            let read = ReadStream::forward(stream(&format!("track-{number}")));
            let events = store.read_stream(read).await.unwrap();
            let events: Vec<_> = events.try_collect().await.unwrap();
            let told = (0..TURNS).map(|turn| event(number + turn * STREAMS).id);
            assert!(events.iter().map(|event| event.id).eq(told));
        }
        store.close().await.unwrap();
        store = EmbeddedStore::open(options()).await.unwrap();
    }
    assert_eq!(store.verify(None).await.unwrap().events, STREAMS * TURNS);
}

/// Given many events that were appended at once, when they are sent again, whatever is expected,
/// then they are looked up in a few reads; and one that is wrong from the first on costs next to
/// nothing.
#[tokio::test]
async fn a_retry_of_many_events_is_looked_up_in_one_pass() {
    const EVENTS: u64 = 20_000;
    let disk = SimDisk::new();
    let store = EmbeddedStore::open(EmbeddedOptions::disk(Arc::new(disk.clone()))).await.unwrap();
    let name = stream("track-1");
    let sent = |first: u64| (first..first + EVENTS).map(event).collect::<Vec<_>>();
    let first = store.append(&name, ExpectedRevision::NoStream, sent(0)).await.unwrap();
    for expected in [ExpectedRevision::NoStream, ExpectedRevision::Any] {
        let before = disk.reads();
        assert_eq!(store.append(&name, expected, sent(0)).await.unwrap(), first, "{expected}");
        let reads = disk.reads() - before;
        assert!(reads < EVENTS / 500, "{reads} reads, {expected}");
    }
    let before = disk.reads();
    let other = sent(EVENTS);
    store.append(&name, ExpectedRevision::NoStream, other).await.unwrap_err();
    assert!(disk.reads() - before < 5, "{} reads", disk.reads() - before);
}

/// Given a stream with events in every segment, when it is read from a late moment on, either way,
/// then only the segments from that moment on are looked into, and time is looked for in one of
/// them.
#[tokio::test]
async fn a_read_from_a_moment_on_looks_into_no_segment_before_it() {
    let mut costs = Vec::new();
    for segments in [4, 40] {
        let disk = with_segments(segments).await;
        let store = opened(&disk).await;
        let all = everything(&store).await.unwrap();
        let name = stream("track-1");
        let late: Vec<_> = all.iter().filter(|event| event.stream == name).rev().take(3).collect();
        let moment = late[2].recorded_at;
        let before = disk.reads();
        let read = ReadStream::forward(name.clone()).from_time(moment);
        let events: Vec<_> = store.read_stream(read).await.unwrap().try_collect().await.unwrap();
        assert!(events.iter().eq(late.iter().rev().copied()));
        let forward = disk.reads() - before;
        let before = disk.reads();
        let read = ReadStream::backward(name.clone()).from_time(moment).limit(1);
        let events: Vec<_> = store.read_stream(read).await.unwrap().try_collect().await.unwrap();
        assert_eq!(&events[0], late[2]);
        costs.push([forward, disk.reads() - before]);
    }
    let [few, many] = costs[..] else { unreachable!("two were counted") };
    assert!((0..2).all(|way| many[way] <= few[way] + 3), "{few:?} reads, and {many:?}");
}

/// Given writers at work and followers who keep up, then these are told once that they are live,
/// and nobody of them ever that they fell behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_keeps_up_stays_live() {
    const WRITERS: u64 = 6;
    const EVENTS: u64 = 300;
    let options = EmbeddedOptions::disk(Arc::new(SimDisk::new()));
    let store = Arc::new(EmbeddedStore::open(options).await.unwrap());
    let mut followers = Vec::new();
    for number in 0..WRITERS {
        let (name, start) = (stream(&format!("track-{number}")), SubscribeFrom::Start);
        followers.push((store.subscribe_stream(&name, start).await.unwrap(), EVENTS));
        let all = store.subscribe_all(SubscribeFrom::Start, None).await.unwrap();
        followers.push((all, WRITERS * EVENTS));
    }
    let following = followers.into_iter().map(|(mut followed, events)| {
        tokio::spawn(async move {
            let (mut told, mut left) = (Vec::new(), events);
            while left > 0 {
                match followed.next().await.unwrap().unwrap() {
                    Delivery::Event(_) => left -= 1,
                    other => told.push(other),
                }
            }
            told
        })
    });
    let following: Vec<_> = following.collect();
    let writing = (0..WRITERS).map(|writer| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for number in 0..EVENTS {
                append(&store, &format!("track-{writer}"), writer * EVENTS + number).await;
            }
        })
    });
    futures::future::try_join_all(writing).await.unwrap();
    for told in futures::future::try_join_all(following).await.unwrap() {
        // Who began while writers were at work may have had it all before it was live.
        assert!(matches!(told[..], [] | [Delivery::CaughtUp]), "{told:?}");
    }
}
