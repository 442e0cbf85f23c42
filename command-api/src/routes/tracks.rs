//! Tracks: what musicians publish, and how often it is heard.

use access::{Permission, Problem, ValidPath};
use aggregates::analytics::{ListenerDay, ListenerDayId, PlayCommand};
use aggregates::audio::track::{TAG_CHARS_MAX, TAGS_MAX, TITLE_CHARS_MAX};
use aggregates::audio::{Track, TrackCommand, TrackRejection};
use aggregates::{CommandError, Decider as _, text};
use axum::extract::State;
use event_schemas::{PlayId, TrackId};
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::CommandApi;
use crate::answer::{Answer, Done};
use crate::refusal::{WrongFields, not_found, refused, unloaded};
use crate::request::{Command, Nothing};
use crate::uploaded::{keep, made, recall, storage_problem};

/// A track to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewTrack {
    /// Of which upload.
    upload_id: Uuid,
    /// Its title.
    title: String,
    /// Words it is found by.
    #[serde(default)]
    tags: Vec<String>,
}

/// Make a track of an upload. It is transcoded by itself; then it can be published.
#[utoipa::path(
    post, path = "/api/v1/tracks", tag = "audio", operation_id = "createTrack",
    request_body = NewTrack, security(("bearer" = [])),
    params(
        ("Idempotency-Key" = Option<String>, Header),
    ),
    responses(
        (status = 201, description = "The track is there, and is being transcoded", body = Done),
        (status = 404, description = "There is no such upload of one's own"),
    ),
)]
pub(crate) async fn create(
    State(api): State<CommandApi>,
    command: Command<NewTrack>,
) -> Result<Answer, Problem> {
    command.principal.require(Permission::UploadAudio)?;
    let parts = api.parts();
    let track_id = TrackId(command.new_id());
    if let Some(answer) = command.repeated::<Track>(&api, track_id).await? {
        return Ok(answer);
    }
    let (artist_id, upload_id) = (command.user_id(), command.body.upload_id);
    let master = recall(&*parts.objects, artist_id, upload_id, api.now()).await;
    let master = master.map_err(|error| storage_problem(&error))?;
    let master = master.ok_or_else(|| not_found("an upload of yours with this id"))?;
    refuse_wrong(&command.body)?;
    let create = TrackCommand::Create {
        track_id,
        artist_id,
        title: command.body.title.clone(),
        tags: command.body.tags.clone(),
        master: master.clone(),
    };
    // What is refused leaves the upload as it was. Nobody else makes a track of this id, so what is
    // decided here is decided below.
    let decided = Track::default().decide(create.clone());
    decided.map_err(|rejection| refused(CommandError::Rejected(rejection)))?;
    let upload = (artist_id, upload_id);
    let kept = keep(&*parts.objects, upload, track_id, &master, api.now()).await;
    let note = kept.map_err(|error| storage_problem(&error))?;
    let done = parts.handler.execute::<Track>(track_id, create, &command.context).await;
    let done = done.map_err(refused)?;
    if let Err(error) = made(&*parts.objects, upload, &note, &master).await {
        // The track is there; the sweep does the rest.
        let error: &dyn std::error::Error = &error;
        tracing::warn!(%track_id, error, "the upload of a track stays counted for a day");
    }
    Ok(Answer::created(track_id.0, &done))
}

/// Refuses a track of which fields are wrong, and names all of them.
fn refuse_wrong(new: &NewTrack) -> Result<(), Problem> {
    let mut wrong = WrongFields::default();
    wrong.take("title", text::line("title", &new.title, TITLE_CHARS_MAX));
    if new.tags.len() > TAGS_MAX {
        wrong.take("tags", Err::<(), _>(TrackRejection::TooManyTags));
    } else {
        for (index, tag) in new.tags.iter().enumerate() {
            let line = text::line("tag", &tag.to_lowercase(), TAG_CHARS_MAX);
            wrong.take(format!("tags[{index}]"), line);
        }
    }
    wrong.none()
}

/// Let everybody hear a track.
#[utoipa::path(
    post, path = "/api/v1/tracks/{track_id}/publication", tag = "audio",
    operation_id = "publishTrack", security(("bearer" = [])),
    params(
        ("track_id" = Uuid, Path, description = "Which track"),
        ("Idempotency-Key" = Option<String>, Header),
    ),
    responses(
        (status = 200, description = "The track is published", body = Done),
        (status = 404, description = "There is no such track"),
        (status = 409, description = "It is not transcoded, or its master was taken down"),
    ),
)]
pub(crate) async fn publish(
    State(api): State<CommandApi>,
    ValidPath(track_id): ValidPath<Uuid>,
    command: Command<Nothing>,
) -> Result<Answer, Problem> {
    command.principal.require(Permission::PublishTrack)?;
    let publish = TrackCommand::Publish { by: command.user_id() };
    let handler = &api.parts().handler;
    let done = handler.execute::<Track>(TrackId(track_id), publish, &command.context).await;
    Ok(Answer::done(track_id, &done.map_err(refused)?))
}

/// Why a master is taken down.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TakeDown {
    /// For everybody who waits for it to read.
    reason: String,
}

/// Hand a track's master out no longer: it is not played, sold or delivered any more, and an order
/// of it that was not delivered yet is undone when it would be. What was delivered stays: its buyer
/// pays for it and may fetch it, as is so from `DELIVERED` on. Other tracks, those made of the same
/// upload among them, stay as they are.
#[utoipa::path(
    post, path = "/api/v1/tracks/{track_id}/take-down", tag = "audio",
    operation_id = "takeDownMaster", request_body = TakeDown, security(("bearer" = [])),
    params(
        ("track_id" = Uuid, Path, description = "Which track"),
        ("Idempotency-Key" = Option<String>, Header),
    ),
    responses(
        (status = 200, description = "The master is taken down", body = Done),
        (status = 404, description = "There is no such track"),
    ),
)]
pub(crate) async fn take_down_master(
    State(api): State<CommandApi>,
    ValidPath(track_id): ValidPath<Uuid>,
    command: Command<TakeDown>,
) -> Result<Answer, Problem> {
    let moderator = command.principal.may(Permission::TakeDownAnyTrack);
    let enough = [Permission::TakeDownOwnTrack, Permission::TakeDownAnyTrack];
    command.principal.require_one_of(&enough)?;
    let (by, reason) = (command.user_id(), command.body.reason.clone());
    let take_down = TrackCommand::TakeDownMaster { by, moderator, reason };
    let handler = &api.parts().handler;
    let done = handler.execute::<Track>(TrackId(track_id), take_down, &command.context).await;
    Ok(Answer::done(track_id, &done.map_err(refused)?))
}

/// A listening to count.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewPlay {
    /// How long it was listened to, in milliseconds; 30 seconds count, or half of a short track.
    listened_ms: u64,
}

/// Say that one has listened to a track. All of one's plays of a day (UTC) after the first are no
/// longer than the time that passed since that, but for 5 seconds: one that comes sooner is refused
/// with `conflict`.
#[utoipa::path(
    post, path = "/api/v1/tracks/{track_id}/plays", tag = "analytics",
    operation_id = "recordPlay", request_body = NewPlay, security(("bearer" = [])),
    params(
        ("track_id" = Uuid, Path, description = "Which track"),
        ("Idempotency-Key" = Option<String>, Header),
    ),
    responses(
        (status = 201, description = "The play counts", body = Done),
        (status = 404, description = "There is no such published track"),
        (status = 409, description = "There was no time for it, or the master was taken down"),
    ),
)]
pub(crate) async fn play(
    State(api): State<CommandApi>,
    ValidPath(track_id): ValidPath<Uuid>,
    command: Command<NewPlay>,
) -> Result<Answer, Problem> {
    command.principal.require(Permission::PlayTrack)?;
    let handler = &api.parts().handler;
    let (play_id, listener_id) = (PlayId(command.new_id()), command.user_id());
    let now = command.context.now;
    // A play that is repeated after midnight stands in the day before.
    let claimed = handler.claimed::<ListenerDay>(&command.context).await.map_err(refused)?;
    let day = claimed.map_or_else(|| ListenerDayId::of(listener_id, now), ListenerDayId);
    let before = handler.repeated::<ListenerDay>(day, &command.context).await.map_err(refused)?;
    if let Some(before) = before {
        return Ok(Answer::created(play_id.0, &before));
    }
    let track_id = TrackId(track_id);
    let look = |track: &Track| {
        let track = Some(track).filter(|track| track.published)?;
        let duration_ms = track.transcoded.as_ref()?.properties.duration_ms;
        let artist_id = track.created.as_ref()?.artist_id;
        Some((artist_id, duration_ms, track.master().is_some()))
    };
    let found = handler.inspect(track_id, look).await.map_err(unloaded)?;
    let (artist_id, duration_ms, is_there) =
        found.ok_or_else(|| not_found("a published track with this id"))?;
    if !is_there {
        return Err(refused(CommandError::Rejected(TrackRejection::MasterTakenDown)));
    }
    let record = PlayCommand::Record {
        play_id,
        track_id,
        artist_id,
        listener_id,
        listened_ms: command.body.listened_ms,
        duration_ms,
        now,
    };
    let done = handler.execute::<ListenerDay>(day, record, &command.context).await;
    Ok(Answer::created(play_id.0, &done.map_err(refused)?))
}
