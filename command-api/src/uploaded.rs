//! What is remembered of an upload: a small object beside the master.
//!
//! Until a track is made, the note is in `received/`, and goes after a day with the master; then it
//! is in `uploads/` for good. While a track is made it is in `making/`, by the track: it goes there
//! once nothing but the store can refuse the track, and on to `uploads/` when the store has it. So
//! no master of a track is ever swept, and no track is made of what is about to be. What is left in
//! `making/` for a day is looked up in the store: it goes on where the track is there, and back to
//! `received/` where it is not. A track that is refused leaves its upload as it was.
//!
//! The note is there before the master is, empty: so a master whose upload was cut short behind its
//! last byte goes after a day as well, and nobody has to look for masters without notes.

use access::{Problem, ProblemType};
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use event_schemas::audio::Master;
use event_schemas::{TrackId, UserId};
use futures::future::BoxFuture;
use futures::stream;
use media::{ByteRange, KeyPrefix, ObjectKey, ObjectStorage, StorageError};
use uuid::Uuid;

/// Largest note, in bytes.
const NOTE_BYTES_MAX: u64 = 4096;
/// How long an upload of which no track was made can be used.
const USABLE_TIME: TimeDelta = TimeDelta::hours(23);
/// How long it is kept: longer than any request that still uses it takes, on any clock.
const KEPT_TIME: TimeDelta = TimeDelta::hours(24);
/// Most uploads of one account of which no track was made.
pub(crate) const UNUSED_UPLOADS_MAX: usize = 20;
/// Most uploads of one account that were broken off, in a day, of which a note is left.
pub(crate) const BROKEN_UPLOADS_MAX: usize = 100;
/// The folder of the notes of those.
const RECEIVED: &str = "received";
/// The folder of the notes of uploads of which tracks are being made.
const MAKING: &str = "making";
/// How many notes are looked at together.
const PAGE: usize = 100;

/// Tells whether there is a track.
pub(crate) type IsMade = dyn Fn(TrackId) -> BoxFuture<'static, Result<bool, StorageError>> + Sync;

/// The key of a master: only its owner's tracks can be made of it.
pub(crate) fn master_key(owner: UserId, upload_id: Uuid) -> ObjectKey {
    ObjectKey::new(format!("masters/{owner}/{upload_id}")).expect("ids make valid keys")
}

/// The key of a note while no track was made.
fn received_key(owner: UserId, upload_id: Uuid) -> ObjectKey {
    ObjectKey::new(format!("{RECEIVED}/{owner}/{upload_id}.json")).expect("ids make valid keys")
}

/// The key of a note while a track is made.
fn making_key(owner: UserId, upload_id: Uuid, track_id: TrackId) -> ObjectKey {
    ObjectKey::new(format!("{MAKING}/{owner}/{upload_id}/{track_id}.json"))
        .expect("ids make valid keys")
}

/// The key of a note once there is a track.
fn used_key(owner: UserId, upload_id: Uuid) -> ObjectKey {
    ObjectKey::new(format!("uploads/{owner}/{upload_id}.json")).expect("ids make valid keys")
}

/// Notes that a master will be received.
pub(crate) async fn begin(
    objects: &dyn ObjectStorage,
    owner: UserId,
    upload_id: Uuid,
) -> Result<(), StorageError> {
    let nothing = stream::empty();
    objects.put(&received_key(owner, upload_id), Box::pin(nothing)).await.map(drop)
}

/// Forgets what was begun and left no master.
pub(crate) async fn forget(
    objects: &dyn ObjectStorage,
    owner: UserId,
    upload_id: Uuid,
) -> Result<(), StorageError> {
    objects.delete(&received_key(owner, upload_id)).await
}

/// Remembers a master that was received.
pub(crate) async fn remember(
    objects: &dyn ObjectStorage,
    owner: UserId,
    upload_id: Uuid,
    master: &Master,
) -> Result<(), StorageError> {
    write(objects, &received_key(owner, upload_id), master).await
}

/// Whether the account has as many uploads of which no track was made, or that were broken off, as
/// it may.
pub(crate) async fn has_too_many(
    objects: &dyn ObjectStorage,
    owner: UserId,
) -> Result<bool, StorageError> {
    let received = folder(format!("{RECEIVED}/{owner}"));
    let notes = objects.list(&received, None, UNUSED_UPLOADS_MAX + BROKEN_UPLOADS_MAX).await?;
    let broken = notes.iter().filter(|note| note.size_bytes == 0).count();
    let making = folder(format!("{MAKING}/{owner}"));
    let making = objects.list(&making, None, UNUSED_UPLOADS_MAX).await?;
    let unused = notes.len() - broken + making.len();
    Ok(broken >= BROKEN_UPLOADS_MAX || unused >= UNUSED_UPLOADS_MAX)
}

/// The master that was received under this id; `None` when its owner uploaded no such thing, or
/// too long ago.
pub(crate) async fn recall(
    objects: &dyn ObjectStorage,
    owner: UserId,
    upload_id: Uuid,
    now: DateTime<Utc>,
) -> Result<Option<Master>, StorageError> {
    let received = received_key(owner, upload_id);
    if let Some(modified) = modified(objects, &received).await?
        && now - modified < USABLE_TIME
        && let Some(master) = read(objects, &received).await?
    {
        return Ok(Some(master));
    }
    // In the order in which notes go on: one that is on its way is met in one place or the next.
    let making = folder(format!("{MAKING}/{owner}/{upload_id}"));
    if let Some(note) = objects.list(&making, None, 1).await?.first()
        && let Some(master) = read(objects, &note.key).await?
    {
        return Ok(Some(master));
    }
    read(objects, &used_key(owner, upload_id)).await
}

/// Keeps one that was recalled just now, for a track that is about to be made of it.
pub(crate) async fn keep(
    objects: &dyn ObjectStorage,
    owner: UserId,
    upload_id: Uuid,
    track_id: TrackId,
    master: &Master,
) -> Result<(), StorageError> {
    write(objects, &making_key(owner, upload_id, track_id), master).await?;
    objects.delete(&received_key(owner, upload_id)).await
}

/// Keeps it for good: the track is there.
pub(crate) async fn made(
    objects: &dyn ObjectStorage,
    owner: UserId,
    upload_id: Uuid,
    track_id: TrackId,
    master: &Master,
) -> Result<(), StorageError> {
    write(objects, &used_key(owner, upload_id), master).await?;
    // Another track of the same upload may have failed and left it to be swept.
    objects.delete(&received_key(owner, upload_id)).await?;
    objects.delete(&making_key(owner, upload_id, track_id)).await
}

/// Removes the uploads of which no track was made in time, and what is left of those that were
/// broken off; how many there were. `is_made` tells whether there is a track.
pub(crate) async fn sweep(
    objects: &dyn ObjectStorage,
    is_made: &IsMade,
    now: DateTime<Utc>,
) -> Result<usize, StorageError> {
    // First, so that what has become a track is not in `received/` when that is swept.
    let mut after = None;
    while let Some((page, last)) = old_notes(objects, MAKING, after, now).await? {
        for note in page {
            match named_with_track(&note) {
                Some((owner, id, track)) => settle(objects, owner, id, track, is_made).await?,
                None => objects.delete(&note).await?,
            }
        }
        after = Some(last);
    }
    let (mut after, mut swept) = (None, 0);
    while let Some((page, last)) = old_notes(objects, RECEIVED, after, now).await? {
        for note in page {
            // The note goes last, so that what is interrupted is begun again.
            if let Some((owner, id)) = named(&note) {
                objects.delete(&used_key(owner, id)).await?;
                objects.delete(&master_key(owner, id)).await?;
            }
            objects.delete(&note).await?;
            swept += 1;
        }
        after = Some(last);
    }
    Ok(swept)
}

/// An upload that was kept for a track a day ago: for good where there is the track, and else as
/// if it had been received just now, unless there is another track of it.
async fn settle(
    objects: &dyn ObjectStorage,
    owner: UserId,
    upload_id: Uuid,
    track_id: TrackId,
    is_made: &IsMade,
) -> Result<(), StorageError> {
    let making = making_key(owner, upload_id, track_id);
    let Some(master) = read(objects, &making).await? else {
        return objects.delete(&making).await;
    };
    if is_made(track_id).await? {
        return made(objects, owner, upload_id, track_id, &master).await;
    }
    if read(objects, &used_key(owner, upload_id)).await?.is_none() {
        remember(objects, owner, upload_id, &master).await?;
    }
    objects.delete(&making).await
}

/// Those of the next notes in a folder that are old enough to be swept, and the last that was
/// looked at; nothing behind the last.
async fn old_notes(
    objects: &dyn ObjectStorage,
    name: &str,
    after: Option<ObjectKey>,
    now: DateTime<Utc>,
) -> Result<Option<(Vec<ObjectKey>, ObjectKey)>, StorageError> {
    let page = objects.list(&folder(name.to_owned()), after.as_ref(), PAGE).await?;
    let Some(last) = page.last().map(|note| note.key.clone()) else {
        return Ok(None);
    };
    let mut old = Vec::new();
    for note in page {
        let modified = modified(objects, &note.key).await?;
        if modified.is_some_and(|modified| now - modified >= KEPT_TIME) {
            old.push(note.key);
        }
    }
    Ok(Some((old, last)))
}

/// Whose upload a note in `received/` is of, and which.
fn named(note: &ObjectKey) -> Option<(UserId, Uuid)> {
    let mut parts = note.as_str().strip_suffix(".json")?.rsplit('/');
    let (id, owner) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    Some((UserId(owner), id))
}

/// Whose upload a note in `making/` is of, which, and for which track.
fn named_with_track(note: &ObjectKey) -> Option<(UserId, Uuid, TrackId)> {
    let mut parts = note.as_str().strip_suffix(".json")?.rsplit('/');
    let (track, id) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    Some((UserId(parts.next()?.parse().ok()?), id, TrackId(track)))
}

fn folder(name: String) -> KeyPrefix {
    KeyPrefix::folder(name).expect("ids make valid keys")
}

async fn modified(
    objects: &dyn ObjectStorage,
    key: &ObjectKey,
) -> Result<Option<DateTime<Utc>>, StorageError> {
    match objects.head(key).await {
        Ok(head) => Ok(Some(head.modified)),
        Err(StorageError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn write(
    objects: &dyn ObjectStorage,
    key: &ObjectKey,
    master: &Master,
) -> Result<(), StorageError> {
    let note = serde_json::to_vec(master).expect("plain data is JSON");
    let body = stream::iter([Ok(Bytes::from(note))]);
    objects.put(key, Box::pin(body)).await.map(drop)
}

async fn read(
    objects: &dyn ObjectStorage,
    key: &ObjectKey,
) -> Result<Option<Master>, StorageError> {
    let reader = match objects.get(key, ByteRange::Whole).await {
        Ok(reader) => reader,
        Err(StorageError::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    if reader.size_bytes == 0 {
        return Ok(None);
    }
    let note = reader.bytes(NOTE_BYTES_MAX).await.map_err(StorageError::Io)?;
    let master = serde_json::from_slice(&note).map_err(|error| StorageError::Io(error.into()))?;
    Ok(Some(master))
}

/// A storage's failure as a problem.
pub(crate) fn storage_problem(error: &StorageError) -> Problem {
    match error {
        StorageError::Full => Problem::new(ProblemType::StorageFull),
        error => Problem::internal(error),
    }
}

#[cfg(test)]
mod tests {
    use media::FileStorage;

    use super::*;

    const NINA: UserId = UserId(Uuid::from_u128(1));
    const TRACK: TrackId = TrackId(Uuid::from_u128(70));
    const OTHER: TrackId = TrackId(Uuid::from_u128(71));

    /// Sweeps, while the store has these tracks.
    async fn swept(objects: &FileStorage, tracks: &[TrackId], now: DateTime<Utc>) -> usize {
        let tracks = tracks.to_vec();
        let is_made = move |track| {
            let is_made = tracks.contains(&track);
            Box::pin(async move { Ok(is_made) }) as BoxFuture<'static, _>
        };
        sweep(objects, &is_made, now).await.unwrap()
    }

    async fn upload(objects: &FileStorage, id: Uuid) -> Master {
        let key = master_key(NINA, id);
        let stored = objects.put(&key, Box::pin(stream::iter([Ok(Bytes::from("sound"))]))).await;
        let stored = stored.unwrap();
        let master = Master {
            object_key: key.as_str().to_owned(),
            sha256: stored.sha256.to_string(),
            size_bytes: stored.size_bytes,
            media_type: "audio/wav".to_owned(),
        };
        remember(objects, NINA, id, &master).await.unwrap();
        master
    }

    #[tokio::test]
    async fn what_no_track_was_made_of_goes_after_a_day() {
        let home = tempfile::tempdir().unwrap();
        let objects = FileStorage::open(home.path()).unwrap();
        let (used, unused) = (Uuid::from_u128(7), Uuid::from_u128(8));
        let master = upload(&objects, used).await;
        upload(&objects, unused).await;
        let now = Utc::now();
        let recall = async |id, hours| {
            super::recall(&objects, NINA, id, now + TimeDelta::hours(hours)).await.unwrap()
        };
        assert_eq!(recall(used, 0).await.as_ref(), Some(&master));
        keep(&objects, NINA, used, TRACK, &master).await.unwrap();
        made(&objects, NINA, used, TRACK, &master).await.unwrap();
        assert!(recall(unused, 22).await.is_some());
        assert!(recall(unused, 23).await.is_none(), "it is about to be swept");
        assert_eq!(swept(&objects, &[], now + TimeDelta::hours(23)).await, 0);
        assert!(objects.head(&master_key(NINA, unused)).await.is_ok());
        assert_eq!(swept(&objects, &[], now + TimeDelta::hours(25)).await, 1);
        assert!(objects.head(&master_key(NINA, unused)).await.is_err());
        assert!(recall(unused, 0).await.is_none());
        assert_eq!(recall(used, 10_000).await, Some(master));
        assert!(objects.head(&master_key(NINA, used)).await.is_ok());
    }

    #[tokio::test]
    async fn a_master_whose_upload_was_cut_short_goes_after_a_day() {
        let home = tempfile::tempdir().unwrap();
        let objects = FileStorage::open(home.path()).unwrap();
        let (cut, again) = (Uuid::from_u128(7), Uuid::from_u128(8));
        let now = Utc::now();
        for id in [cut, again] {
            begin(&objects, NINA, id).await.unwrap();
            let sound = Box::pin(stream::iter([Ok(Bytes::from("sound"))]));
            objects.put(&master_key(NINA, id), sound).await.unwrap();
            assert_eq!(recall(&objects, NINA, id, now).await.unwrap(), None);
        }
        let master = upload(&objects, again).await;
        keep(&objects, NINA, again, TRACK, &master).await.unwrap();
        made(&objects, NINA, again, TRACK, &master).await.unwrap();
        assert_eq!(swept(&objects, &[], now + TimeDelta::hours(23)).await, 0);
        assert!(objects.head(&master_key(NINA, cut)).await.is_ok());
        assert_eq!(swept(&objects, &[], now + TimeDelta::hours(25)).await, 1);
        assert!(objects.head(&master_key(NINA, cut)).await.is_err());
        assert!(objects.head(&master_key(NINA, again)).await.is_ok());
        assert!(objects.head(&received_key(NINA, cut)).await.is_err());
    }

    #[tokio::test]
    async fn what_was_broken_off_takes_nobodys_place_but_is_bounded() {
        let home = tempfile::tempdir().unwrap();
        let objects = FileStorage::open(home.path()).unwrap();
        for id in 0..BROKEN_UPLOADS_MAX {
            assert!(!has_too_many(&objects, NINA).await.unwrap(), "{id}");
            begin(&objects, NINA, Uuid::from_u128(id as u128)).await.unwrap();
        }
        assert!(has_too_many(&objects, NINA).await.unwrap());
        forget(&objects, NINA, Uuid::nil()).await.unwrap();
        assert!(!has_too_many(&objects, NINA).await.unwrap());
    }

    #[tokio::test]
    async fn a_track_frees_the_place_of_its_upload() {
        let home = tempfile::tempdir().unwrap();
        let objects = FileStorage::open(home.path()).unwrap();
        let mut masters = Vec::new();
        for id in 0..UNUSED_UPLOADS_MAX {
            assert!(!has_too_many(&objects, NINA).await.unwrap(), "{id}");
            masters.push(upload(&objects, Uuid::from_u128(id as u128)).await);
        }
        assert!(has_too_many(&objects, NINA).await.unwrap());
        assert!(!has_too_many(&objects, UserId(Uuid::from_u128(2))).await.unwrap());
        keep(&objects, NINA, Uuid::nil(), TRACK, &masters[0]).await.unwrap();
        assert!(has_too_many(&objects, NINA).await.unwrap(), "there is no track yet");
        made(&objects, NINA, Uuid::nil(), TRACK, &masters[0]).await.unwrap();
        assert!(!has_too_many(&objects, NINA).await.unwrap());
    }

    #[tokio::test]
    async fn what_was_kept_for_a_track_that_failed_can_be_used_again_and_goes_at_last() {
        let home = tempfile::tempdir().unwrap();
        let objects = FileStorage::open(home.path()).unwrap();
        let id = Uuid::from_u128(7);
        let master = upload(&objects, id).await;
        keep(&objects, NINA, id, TRACK, &master).await.unwrap();
        let now = Utc::now();
        let there =
            async || recall(&objects, NINA, id, now).await.unwrap().as_ref() == Some(&master);
        assert!(there().await, "the same command may come again");
        assert_eq!(swept(&objects, &[], now + TimeDelta::hours(23)).await, 0);
        assert!(objects.head(&making_key(NINA, id, TRACK)).await.is_ok());
        // It is put back, and by the clock of this test that was a day before.
        assert_eq!(swept(&objects, &[], now + TimeDelta::hours(25)).await, 1);
        assert!(objects.head(&master_key(NINA, id)).await.is_err());
        for folder in [MAKING, RECEIVED, "uploads"] {
            let left = objects.list(&super::folder(folder.to_owned()), None, 10).await.unwrap();
            assert!(left.is_empty(), "{left:?}");
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn an_upload_is_there_at_every_moment_while_a_track_is_made_of_it() {
        let home = tempfile::tempdir().unwrap();
        let objects = FileStorage::open(home.path()).unwrap();
        for id in (0..100).map(Uuid::from_u128) {
            let master = upload(&objects, id).await;
            let (writer, note) = (objects.clone(), master.clone());
            let making = tokio::spawn(async move {
                keep(&writer, NINA, id, TRACK, &note).await.unwrap();
                made(&writer, NINA, id, TRACK, &note).await.unwrap();
            });
            while !making.is_finished() {
                let recalled = recall(&objects, NINA, id, Utc::now()).await.unwrap();
                assert_eq!(recalled.as_ref(), Some(&master));
            }
            making.await.unwrap();
        }
    }

    /// The process may have died behind the append, and another track of the upload have failed.
    #[tokio::test]
    async fn what_a_track_was_made_of_is_kept_whatever_became_of_others() {
        let home = tempfile::tempdir().unwrap();
        let objects = FileStorage::open(home.path()).unwrap();
        let id = Uuid::from_u128(7);
        let master = upload(&objects, id).await;
        for track in [OTHER, TRACK] {
            keep(&objects, NINA, id, track, &master).await.unwrap();
        }
        for hours in [25, 50, 75] {
            let now = Utc::now() + TimeDelta::hours(hours);
            assert_eq!(swept(&objects, &[OTHER], now).await, 0, "after {hours} hours");
            assert_eq!(recall(&objects, NINA, id, now).await.unwrap().as_ref(), Some(&master));
        }
        assert!(objects.head(&master_key(NINA, id)).await.is_ok());
        let left = objects.list(&folder(MAKING.to_owned()), None, 10).await.unwrap();
        assert!(left.is_empty() && !has_too_many(&objects, NINA).await.unwrap(), "{left:?}");
    }
}
