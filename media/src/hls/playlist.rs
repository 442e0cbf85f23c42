//! Playlists: the master playlist written, a media playlist of `ffmpeg` read and checked.
//!
//! The master playlist is ours, because only the finished segments tell the true bit rates.

use std::fmt::Write;

use super::PlayableRendition;

/// A media playlist that plays from beginning to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MediaPlaylist {
    /// The file that comes before the segments.
    pub(crate) init: String,
    /// The segments in order.
    pub(crate) segments: Vec<PlaylistSegment>,
}

/// A line of a media playlist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PlaylistSegment {
    /// Its file.
    pub(crate) file: String,
    /// How long it plays, in microseconds.
    pub(crate) duration_us: u64,
}

/// Why a text is no media playlist that can be played to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PlaylistError {
    #[error("it does not begin as a playlist")]
    NotPlaylist,
    #[error("it has no init segment")]
    InitMissing,
    #[error("it has no segments")]
    SegmentsMissing,
    #[error("it has a segment without a duration")]
    DurationMissing,
    #[error("it does not end")]
    EndMissing,
}

impl MediaPlaylist {
    pub(crate) fn parse(text: &str) -> Result<Self, PlaylistError> {
        let mut lines = text.lines();
        if lines.next() != Some("#EXTM3U") {
            return Err(PlaylistError::NotPlaylist);
        }
        let (mut init, mut segments, mut duration_us, mut ended) = (None, Vec::new(), None, false);
        for line in lines {
            if let Some(attributes) = line.strip_prefix("#EXT-X-MAP:") {
                init = uri_attribute(attributes);
            } else if let Some(info) = line.strip_prefix("#EXTINF:") {
                duration_us = info.split(',').next().and_then(parse_seconds);
            } else if line == "#EXT-X-ENDLIST" {
                ended = true;
            } else if !line.is_empty() && !line.starts_with('#') {
                let duration_us = duration_us.take().ok_or(PlaylistError::DurationMissing)?;
                segments.push(PlaylistSegment { file: line.to_owned(), duration_us });
            }
        }
        if segments.is_empty() {
            return Err(PlaylistError::SegmentsMissing);
        }
        if !ended {
            return Err(PlaylistError::EndMissing);
        }
        Ok(Self { init: init.ok_or(PlaylistError::InitMissing)?, segments })
    }

    /// How long all segments play together, in microseconds.
    pub(crate) fn duration_us(&self) -> u64 {
        self.segments.iter().map(|segment| segment.duration_us).sum()
    }
}

/// The master playlist of these renditions, the first being the one a player begins with.
pub(crate) fn master_playlist(renditions: &[PlayableRendition]) -> String {
    let mut text = String::from("#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-INDEPENDENT-SEGMENTS\n");
    for PlayableRendition { name, codecs, peak_bps, average_bps } in renditions {
        writeln!(
            text,
            "#EXT-X-STREAM-INF:BANDWIDTH={peak_bps},AVERAGE-BANDWIDTH={average_bps},\
             CODECS=\"{codecs}\"\n{name}/playlist.m3u8"
        )
        .expect("a string takes what is written to it");
    }
    text
}

fn uri_attribute(attributes: &str) -> Option<String> {
    let (_, rest) = attributes.split_once("URI=\"")?;
    rest.split_once('"').map(|(uri, _)| uri.to_owned())
}

fn parse_seconds(text: &str) -> Option<u64> {
    let seconds: f64 = text.trim().parse().ok()?;
    (0.0..1e6).contains(&seconds).then(|| (seconds * 1e6).round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:4\n\
        #EXT-X-PLAYLIST-TYPE:VOD\n#EXT-X-MAP:URI=\"init.mp4\"\n#EXTINF:4.017052,\n\
        segment-00000.m4s\n#EXTINF:1.5,\nsegment-00001.m4s\n#EXT-X-ENDLIST\n";

    #[test]
    fn a_whole_playlist_is_read() {
        let playlist = MediaPlaylist::parse(WHOLE).unwrap();
        assert_eq!(playlist.init, "init.mp4");
        let files: Vec<_> = playlist.segments.iter().map(|segment| &segment.file).collect();
        assert_eq!(files, ["segment-00000.m4s", "segment-00001.m4s"]);
        assert_eq!(playlist.duration_us(), 5_517_052);
    }

    #[test]
    fn what_cannot_be_played_to_its_end_is_refused() {
        for (text, error) in [
            ("", PlaylistError::NotPlaylist),
            ("#EXTM3U\n#EXT-X-ENDLIST\n", PlaylistError::SegmentsMissing),
            (&WHOLE.replace("#EXT-X-ENDLIST", ""), PlaylistError::EndMissing),
            (&WHOLE.replace("EXT-X-MAP", "EXT-X-GAP"), PlaylistError::InitMissing),
            (&WHOLE.replace("#EXTINF:1.5", "#EXTINF:NaN"), PlaylistError::DurationMissing),
        ] {
            assert_eq!(MediaPlaylist::parse(text), Err(error));
        }
    }

    #[test]
    fn the_master_playlist_names_every_rendition() {
        let rendition = |name: &str, peak_bps| PlayableRendition {
            name: name.to_owned(),
            codecs: "mp4a.40.2".to_owned(),
            peak_bps,
            average_bps: 100,
        };
        let text = master_playlist(&[rendition("low", 200), rendition("high", 400)]);
        let expected = "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-INDEPENDENT-SEGMENTS\n\
            #EXT-X-STREAM-INF:BANDWIDTH=200,AVERAGE-BANDWIDTH=100,CODECS=\"mp4a.40.2\"\n\
            low/playlist.m3u8\n\
            #EXT-X-STREAM-INF:BANDWIDTH=400,AVERAGE-BANDWIDTH=100,CODECS=\"mp4a.40.2\"\n\
            high/playlist.m3u8\n";
        assert_eq!(text, expected);
    }
}
