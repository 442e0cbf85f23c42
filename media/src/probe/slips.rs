//! Slips of what writes WAVs that cost no sound. Where a recorder was not stopped, the sizes in the
//! header were never filled in, and the sound goes on to the end of the file, as players take it.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};

use super::length::STREAMED_DATA_BYTES;
use super::patched::Patch;
use crate::id3;

/// Most chunks that are looked at before the sound.
const CHUNKS_MAX: usize = 1_024;

/// Where the first chunk begins behind the tags.
const CHUNKS_AT: u64 = 12;

/// Where the size of the whole stands behind them.
const WHOLE_SIZE_AT: u64 = 4;

/// The name of a chunk, or its size, in bytes.
const FIELD_BYTES: u64 = 4;

/// What of a WAV is to be read otherwise.
///
/// Sizes that are 0 and should not be are those of a stream whose length is not known. Its sound is
/// last where nothing is promised behind it. Lists, which have tags, are passed over: nobody asks
/// for them here, and a slip in one, such as a text of an odd length without the byte that fills it
/// up, would cost the sound.
pub(super) fn patches(file: &mut File) -> io::Result<Vec<Patch>> {
    let unknown = |at| Patch { at, bytes: [u8::MAX; 4] };
    let file_bytes = file.seek(SeekFrom::End(0))?;
    let begin = id3::end_of_tags(file)?;
    let whole_size_at = begin + WHOLE_SIZE_AT;
    let whole = field(file, whole_size_at)?.map_or(0, number);
    let mut patches = if whole == 0 { vec![unknown(whole_size_at)] } else { Vec::new() };
    let mut at = begin + CHUNKS_AT;
    for _ in 0..CHUNKS_MAX {
        let size_at = at + FIELD_BYTES;
        let (Some(name), Some(size)) = (field(file, at)?, field(file, size_at)?) else {
            break;
        };
        let (content, size) = (size_at + FIELD_BYTES, number(size));
        match &name {
            b"data" => {
                let end = whole_size_at + FIELD_BYTES + whole;
                let is_last = whole == 0 || end <= content;
                if size == 0 && is_last && content < file_bytes {
                    patches.extend([whole_size_at, size_at].map(unknown));
                } else if size >= STREAMED_DATA_BYTES && (1..STREAMED_DATA_BYTES).contains(&whole) {
                    // Somebody counted the whole, and left that of the sound.
                    let rest = end.checked_sub(content).filter(|rest| *rest > 0);
                    patches.push(match rest.and_then(|rest| u32::try_from(rest).ok()) {
                        Some(rest) => Patch { at: size_at, bytes: rest.to_le_bytes() },
                        None => unknown(whole_size_at),
                    });
                } else if content + size > end {
                    patches.push(unknown(whole_size_at));
                }
                break;
            }
            b"LIST" => patches.push(Patch { at, bytes: *b"JUNK" }),
            _ => {}
        }
        // Chunks begin at even places, counted from where the file itself begins.
        at = content + size + size % 2;
    }
    file.rewind()?;
    Ok(patches)
}

fn field(file: &mut File, at: u64) -> io::Result<Option<[u8; 4]>> {
    let mut bytes = Vec::with_capacity(4);
    file.seek(SeekFrom::Start(at))?;
    file.take(FIELD_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes.try_into().ok())
}

fn number(field: [u8; 4]) -> u64 {
    u64::from(u32::from_le_bytes(field))
}

#[cfg(test)]
mod tests {
    use crate::probe::ProbeError;
    use crate::probe::tests::{probe, write};
    use crate::sample_audio::Chord;

    /// Two seconds with these sizes, and so much before the sound.
    fn recorded(whole: u32, data: u32, before: &[u8]) -> Vec<u8> {
        let mut wav = Chord::seconds(2).wav();
        wav[4..8].copy_from_slice(&whole.to_le_bytes());
        wav[40..44].copy_from_slice(&data.to_le_bytes());
        wav.splice(36..36, before.iter().copied());
        wav
    }

    #[tokio::test]
    async fn a_recorder_that_was_not_stopped_leaves_what_is_there() {
        let home = tempfile::tempdir().unwrap();
        let sound = 2 * 44_100 * 4;
        for (what, wav) in [
            ("no sizes", recorded(0, 0, b"")),
            ("no sizes, and a note before", recorded(0, 0, b"note\x03\0\0\0abc\0")),
            ("those of nothing", recorded(36, 0, b"")),
            ("that of the sound alone", recorded(0, sound, b"")),
            ("that of the whole alone", recorded(sound + 36, u32::MAX, b"")),
            ("one of the whole that is too small", recorded(sound, sound, b"")),
            ("one of the whole that is that of nothing", recorded(36, sound, b"")),
            ("one of nothing and one too large", recorded(36, u32::MAX, b"")),
            ("both as large as can be", recorded(u32::MAX, u32::MAX, b"")),
        ] {
            let facts = probe(write(home.path(), "a.wav", &wav)).await;
            let facts = facts.unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(facts.duration_ms, 2_000, "{what}");
        }
    }

    #[tokio::test]
    async fn a_size_of_the_whole_tells_that_it_is_cut() {
        let home = tempfile::tempdir().unwrap();
        let wav = recorded(2 * 44_100 * 4 + 36, u32::MAX, b"");
        let answer = probe(write(home.path(), "a.wav", &wav[..wav.len() / 2])).await;
        assert!(matches!(answer, Err(ProbeError::Truncated { .. })), "{answer:?}");
    }

    #[tokio::test]
    async fn tags_that_are_written_wrong_are_passed_over() {
        let home = tempfile::tempdir().unwrap();
        // A text of five bytes that nothing fills up inside of its list.
        let odd = b"LIST\x11\0\0\0INFOINAM\x05\0\0\0Song\0\0".as_slice();
        let longer_than_its_list = b"LIST\x0e\0\0\0INFOINAM\xff\0\0\0ab".as_slice();
        for tags in [odd, longer_than_its_list] {
            let mut wav = Chord::seconds(2).wav();
            wav.splice(36..36, tags.iter().copied());
            let whole = u32::try_from(wav.len() - 8).unwrap();
            wav[4..8].copy_from_slice(&whole.to_le_bytes());
            let facts = probe(write(home.path(), "a.wav", &wav)).await.unwrap();
            assert_eq!(facts.duration_ms, 2_000);
        }
    }

    #[tokio::test]
    async fn what_has_no_sound_is_not_filled() {
        let home = tempfile::tempdir().unwrap();
        let words = b"LIST\x04\0\0\0INFO".as_slice();
        let empty = [&recorded(48, 0, b"")[..44], words].concat();
        for wav in [recorded(0, 0, b"")[..44].to_vec(), empty] {
            let answer = probe(write(home.path(), "a.wav", &wav)).await;
            assert!(matches!(answer, Err(ProbeError::ZeroLength)), "{answer:?}");
        }
    }
}
