//! What is remembered of an upload: a small object beside the master.
//!
//! Until a track is made, the note is in `received/`, and goes after a day with the master; then it
//! is in `uploads/` for good. While a track is made it is in `making/`, by the track: it goes there
//! once nothing but the store can refuse the track, and on to `uploads/` when the store has it. So
//! no master of a track is ever swept, and no track is made of what is about to be. What is left in
//! `making/` for a day is looked up in the store: it goes on where the track is there, and back to
//! `received/` where it is not. A track that is refused leaves its upload as it was.
//!
//! Sweeps run beside all that, and beside each other, and the storage has no locks. So a note goes
//! on by being written in its next folder before it is removed from the last; who looks for it in
//! the order of the folders finds it. Only what is in none but `received/`, and has been there too
//! long to be used, loses its master. What is kept for the same track half a day later is another
//! note, so that nobody removes what was written since they looked.
//!
//! The audio of one upload may be sent more than once, also at once to several processes, and other
//! bytes under the same key. So each attempt stores its master under a key of its own, and nothing
//! is ever replaced. The note in `received/` says which one is the upload's: it is written only
//! where there is none, and whoever wrote it looks whether another's has gone on from there
//! meanwhile. Who is not the first removes their own master, and no other.
//!
//! An attempt is noted in `receiving/`, empty, before its master is there: so a master of one that
//! was cut short behind its last byte goes after a day as well, and nobody has to look for masters
//! without notes. That note may be left behind an attempt which made the upload. So a sweep removes
//! no master that a note of the upload names; it looks for those in the order in which they go on,
//! and what goes back from `making/` forgets its attempt before. An attempt that takes 23 hours
//! makes no upload any more.
//!
//! Former versions noted an attempt by an empty note in `received/`, and the master's key was the
//! upload's id. Those notes go as the others do; until then an empty one stands in for an upload
//! that can't be used.

mod attempt;

use access::{Problem, ProblemType};
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use event_schemas::audio::Master;
use event_schemas::{TrackId, UserId};
use futures::future::BoxFuture;
use futures::stream;
use media::{ByteRange, ByteStream, KeyPrefix, ObjectKey, ObjectStorage, StorageError};
use uuid::Uuid;

use crate::refusal::RETRY_AFTER;
use attempt::gone_on;
pub(crate) use attempt::{Attempt, Claim};

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
/// The folder of the notes of attempts.
const RECEIVING: &str = "receiving";
/// The folder of the notes of uploads of which no track was made.
const RECEIVED: &str = "received";
/// The folder of the notes of uploads of which tracks are being made.
const MAKING: &str = "making";
/// How long what is kept for a track again is the same note. So one that is old enough to be
/// settled is written by nobody any more, unless clocks differ by as much.
const SAME_NOTE_TIME: TimeDelta = TimeDelta::hours(12);
/// How many notes are looked at together.
const PAGE: usize = 100;

/// Tells whether there is a track.
pub(crate) type IsMade = dyn Fn(TrackId) -> BoxFuture<'static, Result<bool, StorageError>> + Sync;

/// The key of the master of an attempt: only its owner's tracks can be made of it.
fn master_key(owner: UserId, attempt_id: Uuid) -> ObjectKey {
    ObjectKey::new(format!("masters/{owner}/{attempt_id}")).expect("ids make valid keys")
}

/// The key of a note while no track was made.
fn received_key(owner: UserId, upload_id: Uuid) -> ObjectKey {
    ObjectKey::new(format!("{RECEIVED}/{owner}/{upload_id}.json")).expect("ids make valid keys")
}

/// The key of a note while a track is made, kept at this time.
fn making_key(owner: UserId, upload_id: Uuid, track_id: TrackId, now: DateTime<Utc>) -> ObjectKey {
    let period = now.timestamp().div_euclid(SAME_NOTE_TIME.num_seconds());
    ObjectKey::new(format!("{MAKING}/{owner}/{upload_id}/{track_id}.{period}.json"))
        .expect("ids make valid keys")
}

/// The key of a note once there is a track.
fn used_key(owner: UserId, upload_id: Uuid) -> ObjectKey {
    ObjectKey::new(format!("uploads/{owner}/{upload_id}.json")).expect("ids make valid keys")
}

/// Whether the account has as many uploads of which no track was made, or that were broken off, as
/// it may.
pub(crate) async fn has_too_many(
    objects: &dyn ObjectStorage,
    owner: UserId,
) -> Result<bool, StorageError> {
    let received = folder(format!("{RECEIVED}/{owner}"));
    let notes = objects.list(&received, None, UNUSED_UPLOADS_MAX + BROKEN_UPLOADS_MAX).await?;
    let broken_before = notes.iter().filter(|note| note.size_bytes == 0).count();
    let receiving = folder(format!("{RECEIVING}/{owner}"));
    let receiving = objects.list(&receiving, None, BROKEN_UPLOADS_MAX).await?;
    let broken = broken_before + receiving.len();
    let making = folder(format!("{MAKING}/{owner}"));
    let making = objects.list(&making, None, UNUSED_UPLOADS_MAX).await?;
    let unused = notes.len() - broken_before + making.len();
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
    let key = received_key(owner, upload_id);
    let received = match modified(objects, &key).await? {
        Some(modified) if now - modified < USABLE_TIME => read(objects, &key).await?,
        _ => None,
    };
    // In the order in which notes go on: one that is on its way is met in one place or the next.
    // What has gone on comes first: where both are there, the other may be of an attempt that has
    // not seen yet that it is not the first.
    Ok(gone_on(objects, owner, upload_id).await?.or(received))
}

/// Whether what can't be recalled of this id stands in the way still, until it is swept.
pub(crate) async fn is_spent(
    objects: &dyn ObjectStorage,
    owner: UserId,
    upload_id: Uuid,
    now: DateTime<Utc>,
) -> Result<bool, StorageError> {
    let key = received_key(owner, upload_id);
    let Some(modified) = modified(objects, &key).await? else {
        return Ok(false);
    };
    Ok(now - modified >= USABLE_TIME || read(objects, &key).await?.is_none())
}

/// Keeps one that was recalled just now, for a track that is about to be made of it; the key of the
/// note.
pub(crate) async fn keep(
    objects: &dyn ObjectStorage,
    (owner, upload_id): (UserId, Uuid),
    track_id: TrackId,
    master: &Master,
    now: DateTime<Utc>,
) -> Result<ObjectKey, StorageError> {
    let making = making_key(owner, upload_id, track_id, now);
    write(objects, &making, master).await?;
    objects.delete(&received_key(owner, upload_id)).await?;
    Ok(making)
}

/// Keeps it for good: the track that this note in `making/` was kept for is there.
pub(crate) async fn made(
    objects: &dyn ObjectStorage,
    (owner, upload_id): (UserId, Uuid),
    making: &ObjectKey,
    master: &Master,
) -> Result<(), StorageError> {
    write(objects, &used_key(owner, upload_id), master).await?;
    // Another track of the same upload may have failed and left it to be swept.
    objects.delete(&received_key(owner, upload_id)).await?;
    objects.delete(making).await
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
                Some((upload, track)) => settle(objects, &note, upload, track, is_made).await?,
                None => objects.delete(&note).await?,
            }
        }
        after = Some(last);
    }
    let mut swept = sweep_attempts(objects, now).await?;
    let mut after = None;
    while let Some((page, last)) = old_notes(objects, RECEIVED, after, now).await? {
        for note in page {
            let Some((owner, id)) = named(&note) else {
                objects.delete(&note).await?;
                continue;
            };
            // In this order: what goes on between two looks is there at the second.
            if note_in_making(objects, owner, id).await?.is_some() {
                // It goes on from there, and its next note may be this one, written anew.
                continue;
            }
            if modified(objects, &used_key(owner, id)).await?.is_some() {
                objects.delete(&note).await?;
                continue;
            }
            let master = read(objects, &note).await?;
            let former = || Ok(master_key(owner, id));
            let master = master.map_or_else(former, |it| ObjectKey::new(it.object_key));
            if is_old(objects, &note, now).await? {
                // The note goes last, so that what is interrupted is begun again.
                if let Ok(master) = master {
                    objects.delete(&master).await?;
                }
                objects.delete(&note).await?;
                swept += 1;
            }
        }
        after = Some(last);
    }
    Ok(swept)
}

/// Removes what is left of attempts that were broken off; of how many there was anything.
async fn sweep_attempts(
    objects: &dyn ObjectStorage,
    now: DateTime<Utc>,
) -> Result<usize, StorageError> {
    let (mut after, mut swept) = (None, 0);
    while let Some((page, last)) = old_notes(objects, RECEIVING, after, now).await? {
        for note in page {
            match Attempt::named(&note) {
                Some(attempt) => swept += usize::from(attempt.sweep(objects, now).await?),
                None => objects.delete(&note).await?,
            }
        }
        after = Some(last);
    }
    Ok(swept)
}

/// An upload that was kept for a track a day ago, by this note: for good where there is the track,
/// and else as if it had been received just now, unless there is another track of it.
async fn settle(
    objects: &dyn ObjectStorage,
    making: &ObjectKey,
    (owner, upload_id): (UserId, Uuid),
    track_id: TrackId,
    is_made: &IsMade,
) -> Result<(), StorageError> {
    let Some(master) = read(objects, making).await? else {
        return objects.delete(making).await;
    };
    if is_made(track_id).await? {
        return made(objects, (owner, upload_id), making, &master).await;
    }
    if let Some(attempt) = Attempt::of(owner, upload_id, &master) {
        // First: who sweeps it does not look back to where this goes.
        attempt.forget(objects).await?;
    }
    if modified(objects, &used_key(owner, upload_id)).await?.is_none() {
        write(objects, &received_key(owner, upload_id), &master).await?;
    }
    objects.delete(making).await
}

/// A note of an upload of which a track may just be made.
async fn note_in_making(
    objects: &dyn ObjectStorage,
    owner: UserId,
    upload_id: Uuid,
) -> Result<Option<ObjectKey>, StorageError> {
    let making = folder(format!("{MAKING}/{owner}/{upload_id}"));
    let notes = objects.list(&making, None, 1).await?;
    Ok(notes.into_iter().next().map(|note| note.key))
}

/// Whether a note is there, and old enough to be swept. One that was looked up before may have been
/// written anew since, by whoever found that its track was not made.
async fn is_old(
    objects: &dyn ObjectStorage,
    note: &ObjectKey,
    now: DateTime<Utc>,
) -> Result<bool, StorageError> {
    let modified = modified(objects, note).await?;
    Ok(modified.is_some_and(|modified| now - modified >= KEPT_TIME))
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
        if is_old(objects, &note.key, now).await? {
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
fn named_with_track(note: &ObjectKey) -> Option<((UserId, Uuid), TrackId)> {
    let mut parts = note.as_str().strip_suffix(".json")?.rsplit('/');
    let track = parts.next()?.split('.').next()?.parse().ok()?;
    let (id, owner) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    Some(((UserId(owner), id), TrackId(track)))
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
    objects.put(key, note_of(master)).await.map(drop)
}

/// Writes a note where there is none; whether there was none.
async fn create(
    objects: &dyn ObjectStorage,
    key: &ObjectKey,
    master: &Master,
) -> Result<bool, StorageError> {
    Ok(objects.create(key, note_of(master)).await?.is_some())
}

fn note_of(master: &Master) -> ByteStream {
    let note = serde_json::to_vec(master).expect("plain data is JSON");
    Box::pin(stream::iter([Ok(Bytes::from(note))]))
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
        StorageError::Unwritable(_) => {
            Problem::logged(ProblemType::Unavailable, error).with_retry_after(RETRY_AFTER)
        }
        error => Problem::internal(error),
    }
}

#[cfg(test)]
mod tests;
