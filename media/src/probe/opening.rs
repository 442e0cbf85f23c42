//! How a master is opened: the reader of its format, and the track of sound in it, or why there is
//! none.

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom};

use symphonia::core::codecs::{CODEC_TYPE_NULL, CodecParameters};
use symphonia::core::errors::Error as SymphoniaError;
use symphonia::core::formats::{FormatOptions, FormatReader, Track};
use symphonia::core::io::{MediaSourceStream, MediaSourceStreamOptions};
use symphonia::core::meta::MetadataOptions;
use symphonia::core::probe::Hint;

use super::patched::Patched;
use super::{ProbeError, TORN, coding, edits, pages, slips, tail, unreadable, unsupported};
use crate::id3;
use crate::sniff::AudioFormat;

/// What the readers' registry says when none of them knows the file; all else that they do not
/// support is of a file that one of them knows.
const NO_FORMAT: &str = "core (probe): no suitable format reader found";

/// What the streams of Ogg begin with that are taken.
const OGG_TAKEN: [&[u8]; 3] = [b"\x01vorbis", b"OpusHead", b"\x7FFLAC"];

/// What those begin with that are no sound: pictures, words, and what is about other streams.
const OGG_SILENT: [&[u8]; 5] = [b"\x80theora", b"BBCD", b"\x80kate", b"CMML", b"fishead"];

/// Two frames of MP3 are not longer than this, in bytes, and with two there is sound.
const MP3_BEGINNING_BYTES: u64 = 4_096;

/// Opens a file of this format, and finds the first track of sound in it.
pub(super) fn open(
    file: File,
    format: AudioFormat,
) -> Result<(Box<dyn FormatReader>, Track), ProbeError> {
    let mut again = file.try_clone().map_err(ProbeError::Io)?;
    let reader = match read(file, format) {
        // It read on to the end in search of sound that it knows.
        Err(error @ ProbeError::HeaderTruncated) if format == AudioFormat::Ogg => {
            let unknown = unknown_sound(&mut again, format).map_err(ProbeError::Io)?;
            let is_damaged = pages::is_damaged(&mut again).map_err(ProbeError::Io)?;
            let damaged = is_damaged.then(|| ProbeError::Damaged { reason: TORN.to_owned() });
            return Err(unknown.or(damaged).unwrap_or(error));
        }
        // It read on to the end in search of a frame, and may have come by nothing else.
        Err(ProbeError::HeaderTruncated)
            if format == AudioFormat::Mp3
                && behind_tags(&mut again).map_err(ProbeError::Io)? > MP3_BEGINNING_BYTES =>
        {
            return Err(ProbeError::NoAudio);
        }
        reader => reader?,
    };
    if let Some(track) = reader.tracks().iter().find(|track| is_sound(&track.codec_params)) {
        let track = track.clone();
        return Ok((reader, track));
    }
    // The two handles of the file are at one place in it.
    drop(reader);
    let unknown = unknown_sound(&mut again, format).map_err(ProbeError::Io)?;
    Err(unknown.unwrap_or(ProbeError::NoAudio))
}

fn read(mut file: File, format: AudioFormat) -> Result<Box<dyn FormatReader>, ProbeError> {
    let patches = match format {
        AudioFormat::Wav => slips::patches(&mut file),
        AudioFormat::Aiff => coding::aiff_patches(&mut file),
        _ => Ok(Vec::new()),
    };
    let end = match format {
        AudioFormat::M4a => tail::begin(&mut file),
        _ => file.metadata().map(|metadata| metadata.len()),
    };
    let source = Box::new(Patched::new(
        file,
        patches.map_err(ProbeError::Io)?,
        end.map_err(ProbeError::Io)?,
    ));
    let stream = MediaSourceStream::new(source, MediaSourceStreamOptions::default());
    let mut hint = Hint::new();
    hint.mime_type(format.content_type());
    let options = FormatOptions { enable_gapless: false, ..FormatOptions::default() };
    symphonia::default::get_probe()
        .format(&hint, stream, &options, &MetadataOptions::default())
        .map(|probed| probed.format)
        .map_err(|error| match error {
            SymphoniaError::Unsupported(NO_FORMAT) => ProbeError::NoAudio,
            SymphoniaError::Unsupported(_) => unsupported(format),
            other => unreadable(other),
        })
}

/// How much there is behind the tags that a file begins with, in bytes.
fn behind_tags(file: &mut File) -> io::Result<u64> {
    let begin = id3::end_of_tags(file)?;
    Ok(file.seek(SeekFrom::End(0))?.saturating_sub(begin))
}

fn is_sound(parameters: &CodecParameters) -> bool {
    parameters.codec != CODEC_TYPE_NULL
        && (parameters.sample_rate.is_some() || parameters.channels.is_some())
}

/// What is wrong with the sound of a container whose reader passes over what it does not know.
fn unknown_sound(file: &mut File, format: AudioFormat) -> io::Result<Option<ProbeError>> {
    match format {
        AudioFormat::M4a => Ok(edits::has_sound(file)?.then(|| unsupported(format))),
        AudioFormat::Ogg => {
            let streams = pages::beginnings(file)?;
            let all = |of: &[&[u8]]| {
                let is_one = |stream: &Vec<u8>| of.iter().any(|one| stream.starts_with(one));
                (streams.iter().any(is_one), streams.iter().all(is_one))
            };
            Ok(match (all(&OGG_TAKEN), all(&OGG_SILENT)) {
                _ if streams.is_empty() => None,
                ((true, _), _) => None,
                (_, (_, true)) => Some(ProbeError::NoAudio),
                _ => Some(unsupported(format)),
            })
        }
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::probe::AudioFacts;
    use crate::probe::tests::{convert, probe, write};
    use crate::sample_audio::Chord;

    fn told(answer: Result<AudioFacts, ProbeError>) -> String {
        answer.unwrap_err().to_string()
    }

    #[tokio::test]
    async fn sound_of_another_kind_is_told_from_none_and_from_a_cut_file() {
        const OTHER_KIND: &str = "which is not taken in it";
        let home = tempfile::tempdir().unwrap();
        let wav = write(home.path(), "a.wav", &Chord::seconds(2).wav());
        for (name, options) in [
            ("speex.ogg", &["-ar", "16000", "-c:a", "libspeex"][..]),
            ("ac3.m4a", &["-c:a", "ac3", "-f", "mp4"]),
            ("ac3-first.m4a", &["-c:a", "ac3", "-f", "mp4", "-movflags", "+faststart"]),
        ] {
            let bytes = std::fs::read(convert(&wav, name, options)).unwrap();
            let told = told(probe(write(home.path(), name, &bytes)).await);
            assert!(told.contains(OTHER_KIND), "{name}: {told}");
        }
        let vorbis = std::fs::read(convert(&wav, "a.ogg", &["-c:a", "libvorbis"])).unwrap();
        for kept in [3_000, 40, 20] {
            let cut = probe(write(home.path(), "cut.ogg", &vorbis[..kept])).await;
            assert!(told(cut).starts_with("the file is cut short"), "{kept}");
        }
    }

    #[tokio::test]
    async fn what_is_behind_a_tag_and_no_sound_is_not_told_as_cut() {
        let home = tempfile::tempdir().unwrap();
        let empty_tag = b"ID3\x04\0\0\0\0\0\0".as_slice();
        for (behind, cut) in [(0, true), (300, true), (10_000, false)] {
            let junk: Vec<u8> = (0..behind).map(|at| (at * 7 % 251) as u8).collect();
            let file = write(home.path(), "junk", &[empty_tag, &junk].concat());
            let told = told(probe(file).await);
            assert_eq!(told.starts_with("the file is cut short"), cut, "{behind}: {told}");
            assert_eq!(told == "the file holds no audio", !cut, "{behind}: {told}");
        }
    }

    #[tokio::test]
    async fn an_ogg_with_nothing_but_pictures_has_no_audio() {
        let home = tempfile::tempdir().unwrap();
        let film = home.path().join("film.ogg");
        let made = Command::new("ffmpeg")
            .args(["-nostdin", "-loglevel", "error", "-f", "lavfi", "-i", "color=s=16x16:d=1"])
            .args(["-c:v", "libtheora"])
            .arg(&film)
            .status();
        assert!(made.unwrap().success());
        let answer = probe(film).await;
        assert!(matches!(answer, Err(ProbeError::NoAudio)), "{answer:?}");
    }
}
