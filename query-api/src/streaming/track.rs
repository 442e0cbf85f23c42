//! What is streamed of a track: the files of its HLS package.

use access::Consistency;
use access::{Authenticated, Permission, Principal, Problem, ProblemType, ValidPath};
use axum::extract::State;
use axum::http::{HeaderMap, Method};
use axum::response::Response;
use event_schemas::TrackId;
use media::{HlsFile, MediaId};
use projections::postgres::{Track, tracks};
use uuid::Uuid;

use crate::api::QueryApi;
use crate::freshness::Freshness;
use crate::schema::audio::is_streamed;
use crate::streaming::{Asked, Said, as_of, serve};

/// Sound is the same for good: a track is prepared once. Playlists are looked at again each time,
/// so that one whose master was taken down ends for who has not begun.
const OF_SOUND: &str = "public, max-age=3600";
const OF_PLAYLISTS: &str = "public, no-cache";
const OF_DRAFTS: &str = "private, no-store";

/// A file of a track's package: of a published track for everybody, of a draft for its artist and
/// moderators. A track whose master was taken down streams no more, for nobody.
pub async fn file(
    State(api): State<QueryApi>,
    caller: Option<Authenticated>,
    consistency: Consistency,
    method: Method,
    headers: HeaderMap,
    ValidPath((track_id, path)): ValidPath<(Uuid, String)>,
) -> Result<Response, Problem> {
    let not_found = || Problem::new(ProblemType::NotFound);
    let file = HlsFile::parse(&path).ok_or_else(not_found)?;
    let parts = api.parts();
    let freshness = Freshness::asked(parts.watermarks.clone(), &consistency)?;
    freshness.reach(tracks::MODEL).await?;
    let track = parts.models.tracks.by_id(TrackId(track_id)).await;
    let track = track.map_err(crate::failure::Failure::from)?.ok_or_else(not_found)?;
    let caller = caller.map(|Authenticated(principal)| principal);
    if !is_streamed(&track) || !is_heard_by(&track, caller.as_ref()) {
        return Err(not_found());
    }
    let cache_control = match file {
        _ if !track.published => OF_DRAFTS,
        HlsFile::Master | HlsFile::Playlist { .. } => OF_PLAYLISTS,
        HlsFile::Init { .. } | HlsFile::Segment { .. } => OF_SOUND,
    };
    let said = Said { content_type: file.content_type(), cache_control, disposition: None };
    let key = file.key(MediaId::from(track_id));
    let served = serve(parts, &key, Asked { method: &method, headers: &headers }, said).await?;
    Ok(as_of(served, &freshness))
}

fn is_heard_by(track: &Track, caller: Option<&Principal>) -> bool {
    let is_theirs = |caller: &Principal| {
        caller.user_id == track.artist_id.0 || caller.may(Permission::TakeDownAnyTrack)
    };
    track.published || caller.is_some_and(is_theirs)
}
