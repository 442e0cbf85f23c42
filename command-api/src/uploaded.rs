//! What is remembered of an upload until a track is made of it: a small object beside the master.

use access::{Problem, ProblemType};
use bytes::Bytes;
use event_schemas::UserId;
use event_schemas::audio::Master;
use futures::stream;
use media::{ByteRange, ObjectKey, ObjectStorage, StorageError};
use uuid::Uuid;

/// Largest note, in bytes.
const NOTE_BYTES_MAX: u64 = 4096;

/// The key of a master: only its owner's tracks can be made of it.
pub(crate) fn master_key(owner: UserId, upload_id: Uuid) -> ObjectKey {
    ObjectKey::new(format!("masters/{owner}/{upload_id}")).expect("ids make valid keys")
}

fn note_key(owner: UserId, upload_id: Uuid) -> ObjectKey {
    ObjectKey::new(format!("uploads/{owner}/{upload_id}.json")).expect("ids make valid keys")
}

/// Remembers a master that was received.
pub(crate) async fn remember(
    objects: &dyn ObjectStorage,
    owner: UserId,
    upload_id: Uuid,
    master: &Master,
) -> Result<(), StorageError> {
    let note = serde_json::to_vec(master).expect("plain data is JSON");
    let body = stream::iter([Ok(Bytes::from(note))]);
    objects.put(&note_key(owner, upload_id), Box::pin(body)).await.map(drop)
}

/// The master that was received under this id; `None` when its owner uploaded no such thing.
pub(crate) async fn recall(
    objects: &dyn ObjectStorage,
    owner: UserId,
    upload_id: Uuid,
) -> Result<Option<Master>, Problem> {
    let reader = match objects.get(&note_key(owner, upload_id), ByteRange::Whole).await {
        Ok(reader) => reader,
        Err(StorageError::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(storage_problem(&error)),
    };
    let note = reader.bytes(NOTE_BYTES_MAX).await.map_err(|error| Problem::internal(&error))?;
    serde_json::from_slice(&note).map(Some).map_err(|error| Problem::internal(&error))
}

/// A storage's failure as a problem.
pub(crate) fn storage_problem(error: &StorageError) -> Problem {
    match error {
        StorageError::Full => Problem::new(ProblemType::StorageFull),
        error => Problem::internal(error),
    }
}
