//! Putting a log back as it was at a moment: exactly, and no append in parts.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, Utc};
use event_store::StreamMetadata;
use event_store::log::Clock;

use super::locked::{files, is_encrypted};
use super::*;
use crate::scavenging::thorough;
use crate::simulated::options;

/// A clock that a test moves.
#[derive(Default)]
pub struct Hand(AtomicI64);

impl Clock for Hand {
    fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(self.0.load(Ordering::Relaxed)).unwrap()
    }
}

/// A log of appends of one to four events, each at a time of its own, and where each append ends.
pub async fn told(
    clock: &Arc<Hand>,
    step_micros: i64,
    encrypted: bool,
) -> (SimDisk, EmbeddedStore, Vec<u64>) {
    let disk = SimDisk::new();
    let options = options(&disk).clock(Arc::clone(clock) as _);
    let options = if encrypted { options.encryption(keys()) } else { options };
    let store = EmbeddedStore::open(options).await.unwrap();
    let (mut number, mut ends) = (0, vec![0]);
    for turn in 0..16 {
        clock.0.fetch_add(step_micros, Ordering::Relaxed);
        let count = turn % 4 + 1;
        append(&store, ["track-1", "track-2"][turn as usize % 2], number..number + count).await;
        number += count;
        ends.push(number);
    }
    (disk, store, ends)
}

/// Given appends in frames of their own, also all at one time, then every position cuts the log
/// where the last append ended that is there as a whole.
#[tokio::test]
async fn every_position_keeps_the_appends_that_are_whole_there() {
    for (step, encrypted) in [(10, false), (0, false), (10, true)] {
        let (disk, store, ends) = told(&Arc::default(), step, encrypted).await;
        let all = everything(&store).await.unwrap();
        let backup = SimDisk::new();
        let end = store.audit_head().position;
        assert!(back_up_to(&disk, end, &backup, None).unwrap().segments > 2);
        for position in 0..=all.len() as u64 {
            let to = SimDisk::new();
            let until = AsOf::Position(Position::new(position));
            let restored = put_back(&backup, &to, Some(until)).unwrap();
            let whole = *ends.iter().rfind(|&&end| end <= position).unwrap();
            assert_eq!(restored.head.position.get(), whole, "{position}");
            is_log_of(&to, &restored, &all[..usize::try_from(whole).unwrap()]).await;
        }
        let behind = AsOf::Position(Position::new(end.get() + 1));
        let refused = put_back(&backup, &SimDisk::new(), Some(behind)).unwrap_err();
        assert!(matches!(refused, BackupError::EndsBefore { .. }), "{refused}");
    }
}

#[tokio::test]
async fn every_time_keeps_exactly_what_was_recorded_until_then() {
    let (disk, store, _) = told(&Arc::default(), 10, false).await;
    let all = everything(&store).await.unwrap();
    let backup = SimDisk::new();
    back_up_to(&disk, store.audit_head().position, &backup, None).unwrap();
    for micros in (0..=175).step_by(5) {
        let time = DateTime::from_timestamp_micros(micros).unwrap();
        let kept: Vec<_> = all.iter().filter(|event| event.recorded_at <= time).cloned().collect();
        let to = SimDisk::new();
        let restored = put_back(&backup, &to, Some(AsOf::Time(time))).unwrap();
        is_log_of(&to, &restored, &kept).await;
    }
}

/// Given a log that was scavenged, whose frames are not those of the appends any more, then still
/// no position parts an append, and the chain is the same.
#[tokio::test]
async fn what_was_scavenged_is_cut_between_appends_too() {
    for encrypted in [false, true] {
        cuts_of_a_scavenged_log(encrypted).await;
    }
}

async fn cuts_of_a_scavenged_log(encrypted: bool) {
    let clock = Arc::default();
    let (disk, store, ends) = told(&clock, 10, encrypted).await;
    clock.0.fetch_add(10, Ordering::Relaxed);
    let hides = StreamMetadata { max_count: Some(1), ..StreamMetadata::default() };
    store.set_stream_metadata(&stream("track-2"), ExpectedRevision::Any, hides).await.unwrap();
    for number in 100..120 {
        append(&store, "filler", number..number + 1).await;
    }
    let whole = everything(&store).await.unwrap();
    assert!(store.scavenge(thorough()).await.unwrap().progress.segments_rewritten > 1);
    let left = everything(&store).await.unwrap();
    assert!(left.len() < whole.len());
    let backup = SimDisk::new();
    back_up_to(&disk, store.audit_head().position, &backup, None).unwrap();
    let (mut exact, mut other_keys) = (0, 0);
    for position in 0..=*ends.last().unwrap() {
        let to = SimDisk::new();
        let until = AsOf::Position(Position::new(position));
        let restored = put_back(&backup, &to, Some(until)).unwrap();
        let kept = restored.head.position;
        assert!(kept.get() <= position && ends.contains(&kept.get()), "{position}: {kept}");
        exact += u32::from(kept.get() == position);
        other_keys += usize::from(is_locked_by_itself(&to, &backup, encrypted));
        let events: Vec<_> = left.iter().filter(|event| event.position <= kept).cloned().collect();
        is_log_of(&to, &restored, &events).await;
        store.verify(Some(restored.head)).await.expect("the log goes through that head");
    }
    assert_eq!(exact as usize, ends.len(), "every end of an append can be had");
    assert_eq!(other_keys > 0, encrypted, "some of the segments were written anew");
}

/// That each segment that was put back is encrypted as the log was, with the key beside it; and
/// whether one of the keys is not in the backup.
fn is_locked_by_itself(to: &SimDisk, backup: &SimDisk, encrypted: bool) -> bool {
    let (logs, put_back) = (files(to, ".log"), files(to, ".key"));
    assert!(logs.iter().all(|name| is_encrypted(to, name) == encrypted), "{logs:?}");
    assert_eq!(put_back.len(), if encrypted { logs.len() } else { 0 }, "{put_back:?}");
    put_back.iter().any(|key| !files(backup, ".key").contains(key))
}
