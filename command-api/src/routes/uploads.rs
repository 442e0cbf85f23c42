//! Uploads: audio on its way to become a track.

use access::{Authenticated, IdempotencyKey, Permission, Problem, ProblemType};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use event_schemas::UserId;
use event_schemas::audio::Master;
use media::{ObjectStorage, Upload, UploadError};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::CommandApi;
use crate::in_progress::Place;
use crate::refusal::RETRY_AFTER;
use crate::request::upload_id;
use crate::uploaded::{
    BROKEN_UPLOADS_MAX, UNUSED_UPLOADS_MAX, begin, forget, has_too_many, master_key, recall,
    remember, storage_problem,
};

/// Most uploads of one account at once, in each process.
const UPLOADS_AT_ONCE_MAX: u8 = 4;

/// Audio that was received.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Uploaded {
    /// What a track is made of it by.
    id: Uuid,
    /// What it is, as its first bytes tell.
    #[schema(example = "audio/wav")]
    media_type: String,
    /// Its size, in bytes.
    size_bytes: u64,
    /// SHA-256 of its bytes, in hexadecimal.
    sha256: String,
}

impl Uploaded {
    fn new(id: Uuid, master: Master) -> Self {
        let Master { sha256, size_bytes, media_type, .. } = master;
        Self { id, media_type, size_bytes, sha256 }
    }
}

/// Send audio: a WAV, FLAC, MP3, Ogg, AIFF or M4A file as the body. Make a track of it within 23
/// hours; what no track was made of goes then.
#[utoipa::path(
    post, path = "/api/v1/uploads", tag = "audio", operation_id = "uploadAudio",
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    security(("bearer" = [])),
    params(
        ("Idempotency-Key" = Option<String>, Header),
    ),
    responses(
        (status = 201, description = "The audio is stored", body = Uploaded),
        (status = 409, description = "Too many uploads have no track, or were broken off"),
    ),
)]
pub(crate) async fn receive(
    State(api): State<CommandApi>,
    Authenticated(principal): Authenticated,
    key: Option<IdempotencyKey>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Uploaded>), Problem> {
    principal.require(Permission::UploadAudio)?;
    let owner = UserId(principal.user_id);
    let id = upload_id(owner, key.as_ref());
    let _place = api
        .in_progress()
        .begin(id)
        .ok_or_else(|| Problem::new(ProblemType::IdempotencyInProgress))?;
    let _slot = slot(&api, owner)?;
    let parts = api.parts();
    let before = recall(&*parts.objects, owner, id, api.now()).await;
    let before = before.map_err(|error| storage_problem(&error))?;
    if before.is_none() {
        let too_many = has_too_many(&*parts.objects, owner).await;
        if too_many.map_err(|error| storage_problem(&error))? {
            let detail = format!(
                "{UNUSED_UPLOADS_MAX} uploads have no track, or {BROKEN_UPLOADS_MAX} were broken \
                 off: make tracks of them; what has none goes after a day"
            );
            return Err(Problem::new(ProblemType::Conflict).with_detail(detail));
        }
    }
    // A repeated upload is received apart, so that it can be compared before it replaces anything.
    let stored_as = if before.is_some() { Uuid::now_v7() } else { id };
    let object_key = master_key(owner, stored_as);
    let declared = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok())
        .and_then(|length| length.parse().ok());
    let objects = &*parts.objects;
    begin(objects, owner, stored_as).await.map_err(|error| storage_problem(&error))?;
    let received = parts.uploads.receive(&object_key, declared, body.into_data_stream()).await;
    let master = match received {
        Ok(upload) => master_of(upload),
        Err(error) => {
            forgotten(objects, owner, stored_as).await;
            return Err(problem(error));
        }
    };
    if let Some(before) = before {
        objects.delete(&object_key).await.map_err(|error| storage_problem(&error))?;
        forgotten(objects, owner, stored_as).await;
        if before.sha256 != master.sha256 {
            return Err(Problem::new(ProblemType::IdempotencyKeyReused));
        }
        return Ok((StatusCode::CREATED, Json(Uploaded::new(id, before))));
    }
    let remembered = remember(objects, owner, id, &master).await;
    remembered.map_err(|error| storage_problem(&error))?;
    Ok((StatusCode::CREATED, Json(Uploaded::new(id, master))))
}

/// Forgets what was begun; a note that stays is swept, and stands in nobody's way until then.
async fn forgotten(objects: &dyn ObjectStorage, owner: UserId, upload_id: Uuid) {
    if let Err(error) = forget(objects, owner, upload_id).await {
        tracing::warn!(%error, "the note of an upload that came to nothing stays behind");
    }
}

/// One of the few uploads that an account may have under way at once.
fn slot(api: &CommandApi, owner: UserId) -> Result<Place, Problem> {
    let ids = (0..UPLOADS_AT_ONCE_MAX).map(|slot| Uuid::new_v5(&owner.0, &[slot]));
    let free = ids.into_iter().find_map(|id| api.in_progress().begin(id));
    free.ok_or_else(|| {
        let detail = format!("at most {UPLOADS_AT_ONCE_MAX} uploads at once");
        Problem::rate_limited(RETRY_AFTER).with_detail(detail)
    })
}

fn master_of(upload: Upload) -> Master {
    Master {
        object_key: upload.key.as_str().to_owned(),
        sha256: upload.sha256.to_string(),
        size_bytes: upload.size_bytes,
        media_type: upload.format.content_type().to_owned(),
    }
}

fn problem(error: UploadError) -> Problem {
    let kind = match &error {
        UploadError::Storage(error) => return storage_problem(error),
        UploadError::Empty | UploadError::Incomplete { .. } | UploadError::Broken(_) => {
            ProblemType::Malformed
        }
        UploadError::TooLarge { .. } => ProblemType::PayloadTooLarge,
        UploadError::UnknownFormat => ProblemType::UnsupportedMediaType,
        UploadError::Stalled { .. } => ProblemType::RequestTimeout,
    };
    Problem::new(kind).with_detail(error.to_string())
}
