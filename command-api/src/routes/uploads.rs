//! Uploads: audio on its way to become a track.

use access::{Authenticated, IdempotencyKey, Permission, Problem, ProblemType};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use event_schemas::UserId;
use event_schemas::audio::Master;
use media::{ObjectStorage, Upload, UploadError};
use serde::Serialize;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, Schema, SchemaFormat, Type};
use utoipa::{PartialSchema, ToSchema};
use uuid::Uuid;

use crate::CommandApi;
use crate::in_progress::Place;
use crate::refusal::{RETRY_AFTER, in_progress};
use crate::request::upload_id;
use crate::uploaded::{
    Attempt, BROKEN_UPLOADS_MAX, Claim, UNUSED_UPLOADS_MAX, has_too_many, is_spent, recall,
    storage_problem,
};

/// Most uploads of one account at once, in each process.
const UPLOADS_AT_ONCE_MAX: u8 = 4;

/// Audio as it is sent: any bytes. It says what its schema is, and nothing else.
enum AudioFile {}

impl PartialSchema for AudioFile {
    fn schema() -> RefOr<Schema> {
        let binary = SchemaFormat::KnownFormat(KnownFormat::Binary);
        ObjectBuilder::new().schema_type(Type::String).format(Some(binary)).into()
    }
}

impl ToSchema for AudioFile {}

/// Audio that was received.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Uploaded {
    /// What a track is made of it by.
    id: Uuid,
    /// What it is, as its content tells.
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
///
/// What it is, its content tells. An MP3 is known by frames within the first 8 KiB; whatever is
/// before them, it is refused with 415 where they come later. So is sound inside of an archive, a
/// page or a film (of an MP4 or Ogg with pictures the sound is taken), and an M4A with an ID3 tag
/// before it.
///
/// The sound itself is looked at when a track is made of it: the track fails with its reason where
/// the file is cut or damaged, where it holds several recordings one behind the other, where more
/// than a tenth of an MP3 is no sound, and where the sound is coded in a way that is not taken in
/// its container. A WAV or AIFF may have PCM of 8, 16, 24 or 32 bits, floats, A-law or µ-law in it;
/// an Ogg Vorbis, Opus or FLAC; an M4A AAC, ALAC, Opus, FLAC, MP3 or PCM. Damage is found as far as
/// the format tells: PCM has nothing to know it by, and of AAC two packets that can't be decoded
/// are passed over. Sound of more than two channels is mixed down to stereo for streaming.
#[utoipa::path(
    post, path = "/api/v1/uploads", tag = "audio", operation_id = "uploadAudio",
    request_body(content = inline(AudioFile), content_type = "application/octet-stream"),
    security(("bearer" = [])),
    params(
        ("Idempotency-Key" = Option<String>, Header),
    ),
    responses(
        (status = 201, description = "The audio is stored", body = Uploaded),
        (status = 409, description = "Too many uploads have no track, or were broken off; or \
            what was sent with this key before was not used in time"),
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
    if is_form(&headers) {
        let problem = Problem::new(ProblemType::UnsupportedMediaType);
        return Err(problem.with_detail("send the audio itself as the body, and not in a form"));
    }
    // A part that is taken for the whole would be stored as audio that breaks off (RFC 9110, 14.5).
    if headers.contains_key(header::CONTENT_RANGE) {
        let problem = Problem::new(ProblemType::Malformed);
        return Err(problem.with_detail("send the whole file; ranges are not taken"));
    }
    let owner = UserId(principal.user_id);
    let id = upload_id(owner, key.as_ref());
    let _place = api.in_progress().begin(id).ok_or_else(in_progress)?;
    let _slot = slot(&api, owner)?;
    let parts = api.parts();
    let objects = &*parts.objects;
    let before = recall(objects, owner, id, api.now()).await;
    if before.map_err(|error| storage_problem(&error))?.is_none() {
        admit(&api, owner, id).await?;
    }
    let declared = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok())
        .and_then(|length| length.parse().ok());
    let attempt = Attempt::begin(objects, owner, id).await;
    let attempt = attempt.map_err(|error| storage_problem(&error))?;
    let object_key = attempt.master_key();
    let received = parts.uploads.receive(&object_key, declared, body.into_data_stream()).await;
    let master = match received {
        Ok(upload) => master_of(upload),
        Err(error) => {
            given_up(objects, attempt).await;
            return Err(problem(error));
        }
    };
    // Where this fails the note may be there all the same: the sweep finds out.
    let claim = attempt.claim(objects, &master, api.now()).await;
    let claim = claim.map_err(|error| storage_problem(&error))?;
    let master = settled(objects, attempt, claim, master).await?;
    Ok((StatusCode::CREATED, Json(Uploaded::new(id, master))))
}

/// Whether the body is a form with files in it; other types are often what a program says of any
/// body, and the content tells.
fn is_form(headers: &HeaderMap) -> bool {
    const FORMS: &[u8] = b"multipart/";
    let said = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    said.get(..FORMS.len()).is_some_and(|start| start.eq_ignore_ascii_case(FORMS))
}

/// The master of the upload, and nothing left of the attempt beside it.
async fn settled(
    objects: &dyn ObjectStorage,
    attempt: Attempt,
    claim: Claim,
    master: Master,
) -> Result<Master, Problem> {
    let answer = match claim {
        Claim::Own => {
            if let Err(error) = attempt.forget(objects).await {
                tracing::warn!(%error, "the note of an upload that was received stays for a day");
            }
            return Ok(master);
        }
        Claim::Other(first) if first.sha256 == master.sha256 => Ok(first),
        Claim::Other(_) => Err(Problem::new(ProblemType::IdempotencyKeyReused)),
        Claim::Spent => Err(spent()),
        Claim::Late => {
            let problem = Problem::new(ProblemType::RequestTimeout);
            Err(problem.with_detail("an upload may take 23 hours at most"))
        }
    };
    given_up(objects, attempt).await;
    answer
}

/// Refuses what the account has no room for, or what is in the way of.
async fn admit(api: &CommandApi, owner: UserId, id: Uuid) -> Result<(), Problem> {
    let objects = &*api.parts().objects;
    if is_spent(objects, owner, id, api.now()).await.map_err(|error| storage_problem(&error))? {
        return Err(spent());
    }
    if has_too_many(objects, owner).await.map_err(|error| storage_problem(&error))? {
        let detail = format!(
            "{UNUSED_UPLOADS_MAX} uploads have no track, or {BROKEN_UPLOADS_MAX} were broken \
             off: make tracks of them; what has none goes after a day"
        );
        return Err(Problem::new(ProblemType::Conflict).with_detail(detail));
    }
    Ok(())
}

/// Something is stored under the key that can't be used, and is about to go.
fn spent() -> Problem {
    let detail = "no track was made in time of what was sent with this key: send it with another";
    Problem::new(ProblemType::Conflict).with_detail(detail)
}

/// Removes what an attempt left; what stays is swept, and stands in nobody's way until then.
async fn given_up(objects: &dyn ObjectStorage, attempt: Attempt) {
    if let Err(error) = attempt.give_up(objects).await {
        tracing::warn!(%error, "what is left of an upload that came to nothing stays for a day");
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
