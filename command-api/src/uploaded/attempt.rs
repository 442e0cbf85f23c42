//! Attempts: each time that the audio of an upload is sent, in whichever process. Each stores its
//! master under a key of its own, and at most one makes the upload.

use chrono::{DateTime, Utc};
use event_schemas::UserId;
use event_schemas::audio::Master;
use futures::stream;
use media::{ObjectKey, ObjectStorage, StorageError};
use uuid::Uuid;

use super::{
    RECEIVING, USABLE_TIME, create, is_old, master_key, modified, note_in_making, read, recall,
    received_key, used_key,
};

/// One time that the audio of an upload is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    owner: UserId,
    upload_id: Uuid,
    id: Uuid,
}

/// Whose master an upload is of, once an attempt has come to its end.
#[derive(Debug, PartialEq)]
pub(crate) enum Claim {
    /// This attempt's.
    Own,
    /// Another attempt's, which was before this one.
    Other(Master),
    /// What is there was not used in time, or broken off, and is about to be swept.
    Spent,
    /// This attempt took so long that its master is about to be swept.
    Late,
}

impl Attempt {
    /// Notes that a master will be received.
    pub(crate) async fn begin(
        objects: &dyn ObjectStorage,
        owner: UserId,
        upload_id: Uuid,
    ) -> Result<Self, StorageError> {
        let attempt = Self { owner, upload_id, id: Uuid::now_v7() };
        objects.put(&attempt.note(), Box::pin(stream::empty())).await?;
        Ok(attempt)
    }

    /// Where its master is stored: nothing else ever is.
    pub(crate) fn master_key(&self) -> ObjectKey {
        master_key(self.owner, self.id)
    }

    /// Makes the upload of the master that was received, unless it is another's.
    pub(crate) async fn claim(
        &self,
        objects: &dyn ObjectStorage,
        master: &Master,
        now: DateTime<Utc>,
    ) -> Result<Claim, StorageError> {
        // A sweep may be about to remove it, and is not to find that it has become an upload.
        let begun = modified(objects, &self.note()).await?;
        if begun.is_none_or(|begun| now - begun >= USABLE_TIME) {
            return Ok(Claim::Late);
        }
        let Self { owner, upload_id, .. } = *self;
        let received = received_key(owner, upload_id);
        if let Some(other) = recall(objects, owner, upload_id, now).await? {
            return Ok(Claim::Other(other));
        }
        if !create(objects, &received, master).await? {
            let other = recall(objects, owner, upload_id, now).await?;
            return Ok(other.map_or(Claim::Spent, Claim::Other));
        }
        // Nothing was in `received/` either if another's has gone on since.
        match gone_on(objects, owner, upload_id).await? {
            Some(other) if other.object_key != master.object_key => {
                // Nobody takes this for the upload meanwhile: what has gone on is taken first.
                objects.delete(&received).await?;
                Ok(Claim::Other(other))
            }
            _ => Ok(Claim::Own),
        }
    }

    /// Forgets the attempt, whose master is the upload's.
    pub(crate) async fn forget(&self, objects: &dyn ObjectStorage) -> Result<(), StorageError> {
        objects.delete(&self.note()).await
    }

    /// Removes what the attempt left.
    pub(crate) async fn give_up(&self, objects: &dyn ObjectStorage) -> Result<(), StorageError> {
        // The note goes last, so that what is interrupted is swept.
        objects.delete(&self.master_key()).await?;
        self.forget(objects).await
    }

    /// Removes what is left of it, by its note, which is a day old: the note alone where its master
    /// is an upload's. Whether there was anything to give up.
    pub(super) async fn sweep(
        &self,
        objects: &dyn ObjectStorage,
        now: DateTime<Utc>,
    ) -> Result<bool, StorageError> {
        if self.has_made_the_upload(objects).await? {
            self.forget(objects).await?;
            return Ok(false);
        }
        // What goes back from `making/`, behind the back of who looks, has no such note any more.
        if !is_old(objects, &self.note(), now).await? {
            return Ok(false);
        }
        self.give_up(objects).await?;
        Ok(true)
    }

    /// Whether a note of the upload names its master.
    async fn has_made_the_upload(&self, objects: &dyn ObjectStorage) -> Result<bool, StorageError> {
        let Self { owner, upload_id, .. } = *self;
        let key = self.master_key();
        let is_its = |master: Master| master.object_key == key.as_str();
        let received = read(objects, &received_key(owner, upload_id)).await?;
        if received.is_some_and(is_its) {
            return Ok(true);
        }
        Ok(gone_on(objects, owner, upload_id).await?.is_some_and(is_its))
    }

    pub(super) fn note(&self) -> ObjectKey {
        let Self { owner, upload_id, id } = self;
        ObjectKey::new(format!("{RECEIVING}/{owner}/{upload_id}/{id}.json"))
            .expect("ids make valid keys")
    }

    /// The attempt that a note in `receiving/` is of.
    pub(super) fn named(note: &ObjectKey) -> Option<Self> {
        let mut parts = note.as_str().strip_suffix(".json")?.rsplit('/');
        let (id, upload_id) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        Some(Self { owner: UserId(parts.next()?.parse().ok()?), upload_id, id })
    }

    /// The attempt that made this upload.
    pub(super) fn of(owner: UserId, upload_id: Uuid, master: &Master) -> Option<Self> {
        let (_, id) = master.object_key.rsplit_once('/')?;
        Some(Self { owner, upload_id, id: id.parse().ok()? })
    }
}

/// The master of an upload of which a track was made, or is being made.
pub(super) async fn gone_on(
    objects: &dyn ObjectStorage,
    owner: UserId,
    upload_id: Uuid,
) -> Result<Option<Master>, StorageError> {
    if let Some(note) = note_in_making(objects, owner, upload_id).await?
        && let Some(master) = read(objects, &note).await?
    {
        return Ok(Some(master));
    }
    read(objects, &used_key(owner, upload_id)).await
}
