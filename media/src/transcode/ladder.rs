//! The renditions that every master is turned into, and how `ffmpeg` is asked for them.

use std::ffi::OsString;
use std::path::Path;

use crate::limits::SEGMENT_MS;
use crate::probe::{AudioCodec, AudioFacts};
use crate::sniff::AudioFormat;

/// How a master is coded for streaming.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rendition {
    /// Its name, and folder: lower-case letters, digits and hyphens.
    pub name: &'static str,
    /// The bit rate aimed at, in bits a second.
    pub bit_rate_bps: u64,
    /// The encoder, as `ffmpeg` calls it.
    pub encoder: &'static str,
    /// The codec as RFC 6381 writes it.
    pub codecs: &'static str,
    /// The most channels it has; a master with more is mixed down.
    pub channels_max: u16,
}

/// All renditions, the one a player begins with first.
pub const LADDER: &[Rendition] = &[Rendition {
    name: "aac-128",
    bit_rate_bps: 128_000,
    encoder: "aac",
    codecs: "mp4a.40.2",
    channels_max: 2,
}];

/// How many samples of a channel are in a packet of AAC.
const AAC_PACKET_SAMPLES: u64 = 1_024;

/// How many packets of AAC may fail to decode: the first and the last, where the sound was cut out
/// of other sound. Players pass over them.
const AAC_BAD_PACKETS_MAX: u64 = 2;

/// What `ffmpeg` is told. It runs inside the output folder, where each rendition has a folder.
pub(super) fn arguments(source: &Path, facts: &AudioFacts) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = Vec::new();
    let mut add = |more: &[&str]| arguments.extend(more.iter().map(OsString::from));
    add(&["-nostdin", "-hide_banner", "-loglevel", "error", "-y"]);
    if let Some(share) = bad_share_max(facts) {
        add(&["-max_error_rate", &format!("{share:.9}")]);
    }
    // Samples of fewer bits than they have room for are read by the room, as they were probed.
    if let Some(kind) = &facts.pcm {
        add(&["-c:a", kind]);
    }
    // The format is told, not guessed, and nothing but files is opened: a master cannot make
    // `ffmpeg` fetch anything.
    add(&["-protocol_whitelist", "file", "-f", facts.format.demuxer(), "-i"]);
    let mut input = OsString::from("file:");
    input.push(source);
    arguments.push(input);
    for rendition in LADDER {
        arguments.extend(output(rendition, facts).into_iter().map(OsString::from));
    }
    arguments
}

/// What part of the packets may fail to decode; `None` where the probe has found all that can be
/// found, as where the container has checksums.
///
/// An M4A has none, and says how long it is whatever has become of its sound. What fails is left
/// out of the stream, as silence.
fn bad_share_max(facts: &AudioFacts) -> Option<f64> {
    match (facts.format, facts.codec) {
        (AudioFormat::M4a, AudioCodec::Aac) => {
            let samples = facts.duration_ms * u64::from(facts.sample_rate_hz) / 1_000;
            let packets = (samples / AAC_PACKET_SAMPLES).max(1);
            // Half a packet more, as the packets are counted by how long they play.
            Some(((AAC_BAD_PACKETS_MAX as f64 + 0.5) / packets as f64).min(1.0))
        }
        (AudioFormat::M4a, _) => Some(0.0),
        _ => None,
    }
}

fn output(rendition: &Rendition, facts: &AudioFacts) -> Vec<String> {
    let name = rendition.name;
    let fixed = |text: &str| text.to_owned();
    let mut output: Vec<String> = Vec::new();
    output.extend(["-map", "0:a:0", "-map_metadata", "-1", "-map_chapters", "-1"].map(fixed));
    output.extend(["-c:a", rendition.encoder, "-b:a"].map(fixed));
    output.push(rendition.bit_rate_bps.to_string());
    // Two channels are left and right, whatever loudspeakers a WAV names for them; `ffmpeg` knows
    // no way to mix down most pairs.
    if (facts.format, facts.channels) == (AudioFormat::Wav, 2) {
        output.extend(["-af", "channelmap=map=0|1:channel_layout=stereo"].map(fixed));
    } else if facts.channels > rendition.channels_max {
        // Weighted so that the sum of all channels at their loudest does not clip.
        output.extend(["-af", "aresample=rematrix_maxval=1.0"].map(fixed));
    }
    output.extend([fixed("-ac"), facts.channels.clamp(1, rendition.channels_max).to_string()]);
    output.extend([fixed("-ar"), streaming_rate_hz(facts.sample_rate_hz).to_string()]);
    // The same master gives the same bytes: no dates, no versions.
    output.extend(["-fflags", "+bitexact", "-flags:a", "+bitexact"].map(fixed));
    output.extend(["-f", "hls", "-hls_playlist_type", "vod"].map(fixed));
    output.extend([fixed("-hls_time"), format!("{:.3}", SEGMENT_MS as f64 / 1_000.0)]);
    output.extend(["-hls_segment_type", "fmp4", "-hls_flags", "independent_segments"].map(fixed));
    output.extend(["-hls_fmp4_init_filename", "init.mp4", "-hls_segment_filename"].map(fixed));
    output.push(format!("{name}/segment-%05d.m4s"));
    output.push(format!("{name}/playlist.m3u8"));
    output
}

/// Every player takes these two; a master of either family keeps its own.
fn streaming_rate_hz(master_hz: u32) -> u32 {
    if master_hz.is_multiple_of(11_025) { 44_100 } else { 48_000 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hls::HlsFile;

    #[test]
    fn every_rendition_has_a_name_that_is_a_folder_of_a_package() {
        for rendition in LADDER {
            let path = format!("{}/init.mp4", rendition.name);
            assert!(HlsFile::parse(&path).is_some(), "{path}");
        }
    }

    #[test]
    fn masters_keep_the_family_of_their_rate() {
        let rates = [8_000, 11_025, 22_050, 44_100, 48_000, 88_200, 96_000, 192_000];
        let streamed = rates.map(streaming_rate_hz);
        assert_eq!(streamed, [48_000, 44_100, 44_100, 44_100, 48_000, 44_100, 48_000, 48_000]);
    }
}
