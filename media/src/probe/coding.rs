//! What the sound of a file is coded in that is not taken, by the name that its container has for
//! it; and names that mean what its reader knows by another.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};

use super::patched::Patch;
use super::{boxes, edits, pages};
use crate::id3;
use crate::sniff::AudioFormat;

/// Most chunks that are looked at for the one about the sound.
const CHUNKS_MAX: usize = 1_024;

/// Where the first chunk begins behind the tags, and what a chunk's header has, in bytes.
const CHUNKS_AT: u64 = 12;
const HEADER_BYTES: u64 = 8;

/// The kind of a WAV whose kind stands further on, and where.
const WAV_EXTENDED: (u16, u64) = (0xFFFE, 24);

/// Where a WAV and an AIFF say how many bits a sample has, in their chunks about the sound; and how
/// many it may have.
const WAV_BITS_AT: u64 = 14;
const AIFF_BITS_AT: u64 = 6;
const PCM_BITS: [u16; 4] = [8, 16, 24, 32];

/// The kinds of WAV that are not taken.
const WAV_KINDS: [(u16, &str); 14] = [
    (0x0002, "Microsoft ADPCM"),
    (0x0011, "IMA ADPCM"),
    (0x0031, "GSM 6.10"),
    (0x0045, "G.726"),
    (0x0050, "MPEG audio layer I or II"),
    (0x0055, "MP3"),
    (0x00FF, "AAC"),
    (0x0160, "Windows Media Audio"),
    (0x0161, "Windows Media Audio"),
    (0x0162, "Windows Media Audio"),
    (0x2000, "AC-3"),
    (0x2001, "DTS"),
    (0x674F, "Vorbis"),
    (0xF1AC, "FLAC"),
];

/// Where an AIFF-C says how its sound is coded, in its chunk about the sound.
const AIFC_CODING_AT: u64 = 18;

/// Codings of AIFF-C that take as many bytes as others, which its reader knows.
const AIFC_ALIKE: [(&[u8; 4], &[u8; 4]); 5] = [
    (b"raw ", b"NONE"),
    (b"in24", b"NONE"),
    (b"in32", b"NONE"),
    (b"FL32", b"fl32"),
    (b"FL64", b"fl64"),
];

/// Codings that have names of four letters.
const NAMES: [(&[u8; 4], &str); 12] = [
    (b"ima4", "IMA ADPCM"),
    (b"GSM ", "GSM 6.10"),
    (b"MAC3", "MACE"),
    (b"MAC6", "MACE"),
    (b"QDM2", "QDesign Music"),
    (b"ac-3", "AC-3"),
    (b"ec-3", "E-AC-3"),
    (b"ac-4", "AC-4"),
    (b"dtsc", "DTS"),
    (b"samr", "AMR"),
    (b"sawb", "AMR"),
    (b"mhm1", "MPEG-H"),
];

/// What the entry of a track is called of which more would have to be read.
const MPEG_4_AUDIO: &[u8; 4] = b"mp4a";

/// Where a sample description has the name of its first entry, in bytes.
const ENTRY_NAME_AT: usize = 12;

/// What streams of Ogg begin with that are not taken.
const OGG_NAMES: [(&[u8], &str); 3] =
    [(b"Speex   ", "Speex"), (b"CELT    ", "CELT"), (b"fLaC", "FLAC without Ogg's header for it")];

/// What a WAV or an AIFF may have in it.
const OF_CHUNKS: &str = "PCM of 8, 16, 24 or 32 bits, floats, A-law or µ-law";

/// What a container of this format may have in it.
pub(super) fn taken(format: AudioFormat) -> &'static str {
    match format {
        AudioFormat::Wav | AudioFormat::Aiff => OF_CHUNKS,
        AudioFormat::Flac => "FLAC",
        AudioFormat::Mp3 => "MP3",
        AudioFormat::Ogg => "Vorbis, Opus or FLAC",
        AudioFormat::M4a => "AAC, ALAC, Opus, FLAC, MP3 or PCM",
    }
}

/// What the sound is coded in; `None` where it is not known.
pub(super) fn found(file: &mut File, format: AudioFormat) -> io::Result<Option<String>> {
    match format {
        AudioFormat::Wav => wav_kind(file),
        AudioFormat::Aiff => {
            let Some(coding) = aifc_coding_at(file)? else { return Ok(None) };
            Ok(bytes_at(file, coding)?.and_then(name_of))
        }
        AudioFormat::M4a => {
            let Some(list) = edits::sound_descriptions(file)? else { return Ok(None) };
            let list = boxes::content(file, list)?;
            let name = list.get(ENTRY_NAME_AT..).and_then(<[u8]>::first_chunk::<4>);
            Ok(name.filter(|name| *name != MPEG_4_AUDIO).copied().and_then(name_of))
        }
        AudioFormat::Ogg => {
            let streams = pages::beginnings(file)?;
            let name = OGG_NAMES.iter().find(|(begins, _)| {
                let is_it = |stream: &Vec<u8>| stream.starts_with(begins);
                streams.iter().any(is_it)
            });
            Ok(name.map(|(_, name)| (*name).to_owned()))
        }
        AudioFormat::Flac | AudioFormat::Mp3 => Ok(None),
    }
}

/// How many bits a sample of PCM has, where that is none of the numbers that are taken.
pub(super) fn odd_bits(file: &mut File, format: AudioFormat) -> io::Result<Option<u16>> {
    let bits = match format {
        AudioFormat::Wav => match chunk(file, *b"fmt ", u32::from_le_bytes)? {
            Some(chunk) => bytes_at(file, chunk + WAV_BITS_AT)?.map(u16::from_le_bytes),
            None => None,
        },
        AudioFormat::Aiff => match chunk(file, *b"COMM", u32::from_be_bytes)? {
            Some(chunk) => bytes_at(file, chunk + AIFF_BITS_AT)?.map(u16::from_be_bytes),
            None => None,
        },
        _ => None,
    };
    Ok(bits.filter(|bits| !PCM_BITS.contains(bits)))
}

/// What of an AIFF is to be read otherwise, so that its reader knows it.
pub(super) fn aiff_patches(file: &mut File) -> io::Result<Vec<Patch>> {
    let mut patches = Vec::new();
    if let Some(at) = aifc_coding_at(file)? {
        let coding = bytes_at(file, at)?;
        let alike = AIFC_ALIKE.iter().find(|(name, _)| Some(**name) == coding);
        patches.extend(alike.map(|(_, known)| Patch { at, bytes: **known }));
    }
    file.rewind()?;
    Ok(patches)
}

fn wav_kind(file: &mut File) -> io::Result<Option<String>> {
    let Some(chunk) = chunk(file, *b"fmt ", u32::from_le_bytes)? else { return Ok(None) };
    let mut kind = bytes_at(file, chunk)?.map(u16::from_le_bytes);
    if kind == Some(WAV_EXTENDED.0) {
        kind = bytes_at(file, chunk + WAV_EXTENDED.1)?.map(u16::from_le_bytes);
    }
    Ok(kind.map(|kind| match WAV_KINDS.iter().find(|(known, _)| *known == kind) {
        Some((_, name)) => (*name).to_owned(),
        None => format!("of kind {kind:#06x}"),
    }))
}

/// Where an AIFF-C says how its sound is coded; `None` in an AIFF, which does not.
fn aifc_coding_at(file: &mut File) -> io::Result<Option<u64>> {
    let form = id3::end_of_tags(file)? + HEADER_BYTES;
    if bytes_at(file, form)? != Some(*b"AIFC") {
        return Ok(None);
    }
    let chunk = chunk(file, *b"COMM", u32::from_be_bytes)?;
    Ok(chunk.map(|chunk| chunk + AIFC_CODING_AT))
}

/// Where the content of the first chunk of this name begins.
fn chunk(file: &mut File, name: [u8; 4], size: fn([u8; 4]) -> u32) -> io::Result<Option<u64>> {
    let mut at = id3::end_of_tags(file)? + CHUNKS_AT;
    for _ in 0..CHUNKS_MAX {
        let Some(found) = bytes_at::<4>(file, at)? else { break };
        if found == name {
            return Ok(Some(at + HEADER_BYTES));
        }
        let Some(bytes) = bytes_at(file, at + 4)? else { break };
        let bytes = u64::from(size(bytes));
        // Chunks begin at even places.
        at += HEADER_BYTES + bytes + bytes % 2;
    }
    Ok(None)
}

fn name_of(letters: [u8; 4]) -> Option<String> {
    if let Some((_, name)) = NAMES.iter().find(|(known, _)| **known == letters) {
        return Some((*name).to_owned());
    }
    let is_readable = letters.iter().all(|letter| (b' '..=b'~').contains(letter));
    is_readable.then(|| format!("“{}”", String::from_utf8_lossy(&letters).trim_end()))
}

fn bytes_at<const N: usize>(file: &mut File, at: u64) -> io::Result<Option<[u8; N]>> {
    let mut bytes = Vec::with_capacity(N);
    file.seek(SeekFrom::Start(at))?;
    file.take(N as u64).read_to_end(&mut bytes)?;
    Ok(bytes.try_into().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::tests::{convert, probe, write};
    use crate::probe::{AudioCodec, ProbeError};
    use crate::sample_audio::Chord;

    #[tokio::test]
    async fn what_is_not_taken_is_named_and_what_is_taken_instead() {
        let home = tempfile::tempdir().unwrap();
        let wav = write(home.path(), "a.wav", &Chord::seconds(2).wav());
        let m4a = taken(AudioFormat::M4a);
        for (name, options, told, taken) in [
            ("mp3.wav", &["-c:a", "libmp3lame"][..], "the sound of the WAV is MP3", OF_CHUNKS),
            ("a.wav", &["-c:a", "adpcm_ms"], "the sound of the WAV is Microsoft ADPCM", OF_CHUNKS),
            ("64.wav", &["-c:a", "pcm_s64le"], "the sound of the WAV is PCM of 64 bits", OF_CHUNKS),
            ("ac3.wav", &["-c:a", "ac3"], "the sound of the WAV is AC-3", OF_CHUNKS),
            (
                "ima.aiff",
                &["-c:a", "adpcm_ima_qt"],
                "the sound of the AIFF is IMA ADPCM",
                OF_CHUNKS,
            ),
            ("ac3.m4a", &["-c:a", "ac3", "-f", "mp4"], "the sound of the M4A is AC-3", m4a),
            ("a.ogg", &["-ar", "16000", "-c:a", "libspeex"], "the sound of the Ogg is Speex", {
                super::taken(AudioFormat::Ogg)
            }),
        ] {
            let made = home.path().join(format!("from-{name}"));
            let made = made.file_name().unwrap().to_str().unwrap();
            let error = probe(convert(&wav, made, options)).await.unwrap_err();
            let expected = format!("{told}, which is not taken in it: it may be {taken}");
            assert_eq!(error.to_string(), expected, "{name}");
        }
        let mut unknown = Chord::seconds(1).wav();
        unknown[20] = 0x77;
        let told = probe(write(home.path(), "b.wav", &unknown)).await.unwrap_err().to_string();
        assert!(told.starts_with("the sound of the WAV is of kind 0x0077, which"), "{told}");
        let unnamed = ProbeError::UnsupportedCodec { found: None, format: AudioFormat::M4a };
        assert!(unnamed.to_string().starts_with("the sound of the M4A is not taken in it: it may"));
    }

    #[tokio::test]
    async fn what_each_container_may_have_in_it_is_taken() {
        let home = tempfile::tempdir().unwrap();
        let wav = write(home.path(), "a.wav", &Chord::seconds(2).wav());
        let mut cases = Vec::new();
        for kind in ["u8", "s16le", "s24le", "s32le", "f32le", "f64le", "alaw", "mulaw"] {
            cases.push((format!("{kind}.wav"), format!("pcm_{kind}"), AudioCodec::Pcm));
        }
        for kind in ["s8", "u8", "s16be", "s16le", "s24be", "s32be", "f32be", "alaw", "mulaw"] {
            cases.push((format!("{kind}.aiff"), format!("pcm_{kind}"), AudioCodec::Pcm));
        }
        for (coder, codec) in [
            ("libopus", AudioCodec::Opus),
            ("flac", AudioCodec::Flac),
            ("libmp3lame", AudioCodec::Mp3),
            ("alac", AudioCodec::Alac),
        ] {
            cases.push((format!("{coder}.m4a"), coder.to_owned(), codec));
        }
        for (name, coder, codec) in cases {
            let mut options = vec!["-c:a", &coder];
            if name.ends_with("m4a") {
                options.extend(["-f", "mp4", "-strict", "-2"]);
            }
            let facts = probe(convert(&wav, &name, &options)).await;
            let facts = facts.unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!((facts.codec, facts.channels), (codec, 2), "{name}");
            assert!(facts.duration_ms.abs_diff(2_000) <= 1, "{name}: {facts:?}");
        }
        let mut floats = std::fs::read(convert(&wav, "a.aiff", &["-c:a", "pcm_f32be"])).unwrap();
        let coding = floats.windows(4).position(|four| four == b"fl32").unwrap();
        floats[coding..coding + 2].copy_from_slice(b"FL");
        assert_eq!(probe(write(home.path(), "FL.aiff", &floats)).await.unwrap().duration_ms, 2_000);
    }
}
