//! A track: made of an upload, transcoded, published; its master can be taken down.

use std::collections::BTreeSet;

use event_schemas::audio::{
    AudioProperties, Master, TrackCreated, TrackEvent, TrackMasterTakenDown, TrackPublished,
    TrackTranscodeFailed, TrackTranscoded,
};
use event_schemas::{TrackId, UserId};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::decider::{Decider, aggregate};
use crate::text::{self, TextError};

/// Longest title, in characters.
pub const TITLE_CHARS_MAX: usize = 200;

/// Longest tag, in characters.
pub const TAG_CHARS_MAX: usize = 40;

/// Most tags of a track.
pub const TAGS_MAX: usize = 20;

/// What can be asked of a track.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum TrackCommand {
    /// Make a track of an upload.
    Create {
        /// Which track.
        track_id: TrackId,
        /// Whose it is.
        artist_id: UserId,
        /// Its title.
        title: String,
        /// Words it is found by.
        tags: Vec<String>,
        /// The uploaded file.
        master: Master,
    },
    /// Note that it can be streamed.
    RecordTranscoded {
        /// What is in its master.
        properties: AudioProperties,
        /// The HLS master playlist among the objects.
        playlist_key: String,
    },
    /// Note that it can't be made into a stream.
    RecordTranscodeFailed {
        /// Why, for the musician to read.
        reason: String,
    },
    /// Let everybody hear it.
    Publish {
        /// Who wants it.
        by: UserId,
    },
    /// Hand its master out no longer.
    TakeDownMaster {
        /// Who wants it.
        by: UserId,
        /// Whether they are a moderator, as the caller knows for sure.
        moderator: bool,
        /// Why.
        reason: String,
    },
}

/// Why a track refuses.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TrackRejection {
    /// No track was made under this id.
    #[error("the track is not there")]
    NotCreated,
    /// Another track was made under this id.
    #[error("the track is already there")]
    AlreadyCreated,
    /// A text can't be taken.
    #[error(transparent)]
    Text(#[from] TextError),
    /// It has too many tags.
    #[error("the track has more than {TAGS_MAX} tags")]
    TooManyTags,
    /// The master is no file: it has no name, no bytes, or no digest.
    #[error("the master names no uploaded file")]
    NoMaster,
    /// There is nothing to hear in it.
    #[error("the master has no audio")]
    NoAudio,
    /// It was made into another stream before.
    #[error("the track is already transcoded")]
    AlreadyTranscoded,
    /// It can't be streamed yet.
    #[error("the track is not transcoded")]
    NotTranscoded,
    /// It could not be made into a stream.
    #[error("the track can't be streamed: {reason}")]
    TranscodeFailed {
        /// Why.
        reason: String,
    },
    /// The master is no longer to be handed out.
    #[error("the track's master was taken down")]
    MasterTakenDown,
    /// Only its artist may.
    #[error("only the artist may do that")]
    NotArtist,
    /// Only its artist or a moderator may.
    #[error("only the artist or a moderator may do that")]
    NotArtistOrModerator,
}

/// A track.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Track {
    /// What it was made of; `None` before it is.
    pub created: Option<TrackCreated>,
    /// How it is streamed; `None` before it can be.
    pub transcoded: Option<TrackTranscoded>,
    /// Why it could not be made into a stream, the last time.
    pub failed_because: Option<String>,
    /// Whether everybody can hear it.
    pub published: bool,
    /// Why its master is no longer handed out; `None` while it is.
    pub taken_down_because: Option<String>,
}

aggregate!(Track: TrackCommand => TrackEvent, TrackRejection);

impl Decider for Track {
    type Id = TrackId;

    fn decide(&self, command: TrackCommand) -> Result<Vec<TrackEvent>, TrackRejection> {
        match command {
            TrackCommand::Create { track_id, artist_id, title, tags, master } => {
                let title = text::line("title", &title, TITLE_CHARS_MAX)?;
                let tags = folded_tags(&tags)?;
                self.create(TrackCreated { track_id, artist_id, title, tags, master })
            }
            TrackCommand::RecordTranscoded { properties, playlist_key } => {
                let track_id = self.created()?.track_id;
                self.transcoded(TrackTranscoded { track_id, properties, playlist_key })
            }
            TrackCommand::RecordTranscodeFailed { reason } => self.failed(&reason),
            TrackCommand::Publish { by } => self.publish(by),
            TrackCommand::TakeDownMaster { by, moderator, reason } => {
                self.take_down(by, moderator, &reason)
            }
        }
    }

    fn evolve(&mut self, event: TrackEvent) {
        match event {
            TrackEvent::TrackCreated(created) => self.created = Some(created),
            TrackEvent::TrackTranscoded(transcoded) => {
                self.transcoded = Some(transcoded);
                self.failed_because = None;
            }
            TrackEvent::TrackTranscodeFailed(failed) => self.failed_because = Some(failed.reason),
            TrackEvent::TrackPublished(_) => self.published = true,
            TrackEvent::TrackMasterTakenDown(taken) => {
                self.taken_down_because = Some(taken.reason);
            }
        }
    }
}

impl Track {
    /// The master, while it may be handed out.
    pub fn master(&self) -> Option<&Master> {
        let created = self.created.as_ref()?;
        self.taken_down_because.is_none().then_some(&created.master)
    }

    fn created(&self) -> Result<&TrackCreated, TrackRejection> {
        self.created.as_ref().ok_or(TrackRejection::NotCreated)
    }

    /// What is said to others: to them a draft is not there.
    fn not_theirs(&self, rejection: TrackRejection) -> TrackRejection {
        if self.published { rejection } else { TrackRejection::NotCreated }
    }

    fn create(&self, created: TrackCreated) -> Result<Vec<TrackEvent>, TrackRejection> {
        match &self.created {
            Some(known) if *known == created => return Ok(vec![]),
            Some(_) => return Err(TrackRejection::AlreadyCreated),
            None => {}
        }
        let master = &created.master;
        let digest = master.sha256.len() == 64
            && master.sha256.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if master.object_key.is_empty() || master.size_bytes == 0 || !digest {
            return Err(TrackRejection::NoMaster);
        }
        Ok(vec![created.into()])
    }

    fn transcoded(&self, transcoded: TrackTranscoded) -> Result<Vec<TrackEvent>, TrackRejection> {
        match &self.transcoded {
            Some(known) if *known == transcoded => return Ok(vec![]),
            Some(_) => return Err(TrackRejection::AlreadyTranscoded),
            None => {}
        }
        if self.taken_down_because.is_some() {
            return Err(TrackRejection::MasterTakenDown);
        }
        let properties = &transcoded.properties;
        if properties.duration_ms == 0 || properties.channels == 0 {
            return Err(TrackRejection::NoAudio);
        }
        Ok(vec![transcoded.into()])
    }

    fn failed(&self, reason: &str) -> Result<Vec<TrackEvent>, TrackRejection> {
        let track_id = self.created()?.track_id;
        if self.transcoded.is_some() {
            return Err(TrackRejection::AlreadyTranscoded);
        }
        let reason = text::reason(reason);
        if self.failed_because.as_ref() == Some(&reason) {
            return Ok(vec![]);
        }
        Ok(vec![TrackTranscodeFailed { track_id, reason }.into()])
    }

    fn publish(&self, by: UserId) -> Result<Vec<TrackEvent>, TrackRejection> {
        let created = self.created()?;
        if by != created.artist_id {
            return Err(self.not_theirs(TrackRejection::NotArtist));
        }
        if self.taken_down_because.is_some() {
            return Err(TrackRejection::MasterTakenDown);
        }
        if self.transcoded.is_none() {
            return Err(match self.failed_because.clone() {
                Some(reason) => TrackRejection::TranscodeFailed { reason },
                None => TrackRejection::NotTranscoded,
            });
        }
        if self.published {
            return Ok(vec![]);
        }
        Ok(vec![TrackPublished { track_id: created.track_id }.into()])
    }

    fn take_down(
        &self,
        by: UserId,
        moderator: bool,
        reason: &str,
    ) -> Result<Vec<TrackEvent>, TrackRejection> {
        let created = self.created()?;
        if by != created.artist_id && !moderator {
            return Err(self.not_theirs(TrackRejection::NotArtistOrModerator));
        }
        let reason = text::lines("reason", reason, text::REASON_CHARS_MAX)?;
        if self.taken_down_because.is_some() {
            return Ok(vec![]);
        }
        Ok(vec![TrackMasterTakenDown { track_id: created.track_id, by, reason }.into()])
    }
}

/// Tags as they are kept: in lower case, each once, in the order given.
fn folded_tags(tags: &[String]) -> Result<Vec<String>, TrackRejection> {
    if tags.len() > TAGS_MAX {
        return Err(TrackRejection::TooManyTags);
    }
    let mut seen = BTreeSet::new();
    let mut folded = vec![];
    for tag in tags {
        let tag = text::line("tag", &tag.to_lowercase(), TAG_CHARS_MAX)?;
        if seen.insert(tag.clone()) {
            folded.push(tag);
        }
    }
    Ok(folded)
}

#[cfg(test)]
mod tests {
    use cqrs_es::test::{AggregateTestExecutor, TestFramework};
    use uuid::Uuid;

    use super::*;

    const TRACK: TrackId = TrackId(Uuid::from_u128(1));
    const ARTIST: UserId = UserId(Uuid::from_u128(10));
    const OTHER: UserId = UserId(Uuid::from_u128(11));

    fn master() -> Master {
        Master {
            object_key: "masters/1".to_owned(),
            sha256: "0f".repeat(32),
            size_bytes: 44,
            media_type: "audio/wav".to_owned(),
        }
    }

    fn create(title: &str, tags: &[&str], master: Master) -> TrackCommand {
        TrackCommand::Create {
            track_id: TRACK,
            artist_id: ARTIST,
            title: title.to_owned(),
            tags: tags.iter().map(ToString::to_string).collect(),
            master,
        }
    }

    fn created() -> TrackEvent {
        TrackCreated {
            track_id: TRACK,
            artist_id: ARTIST,
            title: "Tides".to_owned(),
            tags: vec!["ambient".to_owned(), "slow".to_owned()],
            master: master(),
        }
        .into()
    }

    fn properties(duration_ms: u64) -> AudioProperties {
        AudioProperties {
            duration_ms,
            codec: "pcm_s16le".to_owned(),
            sample_rate_hz: 44_100,
            channels: 2,
        }
    }

    fn transcode(duration_ms: u64) -> TrackCommand {
        TrackCommand::RecordTranscoded {
            properties: properties(duration_ms),
            playlist_key: "hls/1/master.m3u8".to_owned(),
        }
    }

    fn transcoded() -> TrackEvent {
        TrackTranscoded {
            track_id: TRACK,
            properties: properties(30_000),
            playlist_key: "hls/1/master.m3u8".to_owned(),
        }
        .into()
    }

    fn published() -> TrackEvent {
        TrackPublished { track_id: TRACK }.into()
    }

    fn take_down(by: UserId, moderator: bool) -> TrackCommand {
        TrackCommand::TakeDownMaster { by, moderator, reason: "a sample".to_owned() }
    }

    fn taken_down(by: UserId) -> TrackEvent {
        TrackMasterTakenDown { track_id: TRACK, by, reason: "a sample".to_owned() }.into()
    }

    fn given(events: Vec<TrackEvent>) -> AggregateTestExecutor<Track> {
        TestFramework::with(()).given(events)
    }

    #[test]
    fn a_track_is_made_once_of_a_file() {
        let command = create(" Tides ", &["Ambient", "slow", "ambient"], master());
        given(vec![]).when(command.clone()).then_expect_events(vec![created()]);
        given(vec![created()]).when(command).then_expect_events(vec![]);
        given(vec![created()])
            .when(create("Other", &[], master()))
            .then_expect_error(TrackRejection::AlreadyCreated);
        for bad in [
            Master { size_bytes: 0, ..master() },
            Master { object_key: String::new(), ..master() },
            Master { sha256: "zz".repeat(32), ..master() },
        ] {
            given(vec![])
                .when(create("Tides", &[], bad))
                .then_expect_error(TrackRejection::NoMaster);
        }
    }

    #[test]
    fn titles_and_tags_have_limits() {
        given(vec![])
            .when(create(" ", &[], master()))
            .then_expect_error(TextError::Empty { field: "title" }.into());
        let many: Vec<_> = (0..=TAGS_MAX).map(|number| number.to_string()).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        given(vec![])
            .when(create("Tides", &many, master()))
            .then_expect_error(TrackRejection::TooManyTags);
    }

    #[test]
    fn a_track_that_failed_says_why() {
        let reason = "broken".to_owned();
        let failed =
            TrackEvent::from(TrackTranscodeFailed { track_id: TRACK, reason: reason.clone() });
        given(vec![created(), failed])
            .when(TrackCommand::Publish { by: ARTIST })
            .then_expect_error(TrackRejection::TranscodeFailed { reason });
    }

    #[test]
    fn a_failed_transcode_may_still_succeed_but_not_the_other_way_round() {
        let fail = TrackCommand::RecordTranscodeFailed { reason: "broken".to_owned() };
        let failed =
            TrackEvent::from(TrackTranscodeFailed { track_id: TRACK, reason: "broken".to_owned() });
        given(vec![created()]).when(fail.clone()).then_expect_events(vec![failed.clone()]);
        given(vec![created(), failed.clone()]).when(fail.clone()).then_expect_events(vec![]);
        given(vec![created(), failed])
            .when(transcode(30_000))
            .then_expect_events(vec![transcoded()]);
        given(vec![created(), transcoded()])
            .when(fail)
            .then_expect_error(TrackRejection::AlreadyTranscoded);
        given(vec![created(), transcoded()]).when(transcode(30_000)).then_expect_events(vec![]);
        given(vec![created(), transcoded()])
            .when(transcode(1))
            .then_expect_error(TrackRejection::AlreadyTranscoded);
        given(vec![created()]).when(transcode(0)).then_expect_error(TrackRejection::NoAudio);
        given(vec![]).when(transcode(1)).then_expect_error(TrackRejection::NotCreated);
    }

    #[test]
    fn only_the_artist_publishes_and_only_what_can_be_heard() {
        let publish = TrackCommand::Publish { by: ARTIST };
        given(vec![created()])
            .when(publish.clone())
            .then_expect_error(TrackRejection::NotTranscoded);
        given(vec![created(), transcoded(), published()])
            .when(TrackCommand::Publish { by: OTHER })
            .then_expect_error(TrackRejection::NotArtist);
        given(vec![created(), transcoded()])
            .when(TrackCommand::Publish { by: OTHER })
            .then_expect_error(TrackRejection::NotCreated);
        given(vec![created(), transcoded()])
            .when(publish.clone())
            .then_expect_events(vec![published()]);
        given(vec![created(), transcoded(), published()])
            .when(publish.clone())
            .then_expect_events(vec![]);
        given(vec![created(), transcoded(), taken_down(ARTIST)])
            .when(publish)
            .then_expect_error(TrackRejection::MasterTakenDown);
    }

    #[test]
    fn the_artist_or_a_moderator_takes_the_master_down() {
        let there = || given(vec![created(), transcoded(), published()]);
        there().when(take_down(ARTIST, false)).then_expect_events(vec![taken_down(ARTIST)]);
        there().when(take_down(OTHER, true)).then_expect_events(vec![taken_down(OTHER)]);
        there()
            .when(take_down(OTHER, false))
            .then_expect_error(TrackRejection::NotArtistOrModerator);
        given(vec![created(), transcoded()])
            .when(take_down(OTHER, false))
            .then_expect_error(TrackRejection::NotCreated);
        given(vec![created(), taken_down(OTHER)])
            .when(take_down(ARTIST, false))
            .then_expect_events(vec![]);
        given(vec![created(), taken_down(ARTIST)])
            .when(transcode(30_000))
            .then_expect_error(TrackRejection::MasterTakenDown);
    }

    #[test]
    fn a_master_is_there_until_it_is_taken_down() {
        let mut track = Track::default();
        assert_eq!(track.master(), None);
        track.evolve(created());
        assert_eq!(track.master(), Some(&master()));
        track.evolve(taken_down(ARTIST));
        assert_eq!(track.master(), None);
    }
}
