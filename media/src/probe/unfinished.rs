//! A WAV whose recorder was not stopped: the sizes in its header were never filled in, and its
//! sound goes on to the end of the file, as players take it.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use symphonia::core::io::MediaSource;

/// Most chunks that are looked at before the sound.
const CHUNKS_MAX: usize = 1_024;

/// Where the first chunk begins.
const CHUNKS_AT: u64 = 12;

/// Where the size of the whole stands.
const WHOLE_SIZE_AT: u64 = 4;

/// The name of a chunk, or its size, in bytes.
const FIELD_BYTES: u64 = 4;

/// Where the sizes of a WAV stand that are 0 and should not be. Its sound is last where nothing is
/// promised behind it.
pub(super) fn empty_sizes(file: &mut File) -> io::Result<Vec<u64>> {
    let file_bytes = file.seek(SeekFrom::End(0))?;
    let whole = field(file, WHOLE_SIZE_AT)?.map_or(0, number);
    let mut empty = if whole == 0 { vec![WHOLE_SIZE_AT] } else { Vec::new() };
    let mut at = CHUNKS_AT;
    for _ in 0..CHUNKS_MAX {
        let size_at = at + FIELD_BYTES;
        let (Some(name), Some(size)) = (field(file, at)?, field(file, size_at)?) else {
            break;
        };
        let (content, size) = (size_at + FIELD_BYTES, number(size));
        if name == *b"data" {
            let is_last = whole == 0 || WHOLE_SIZE_AT + FIELD_BYTES + whole <= content;
            if size == 0 && is_last && content < file_bytes {
                empty = vec![WHOLE_SIZE_AT, size_at];
            }
            break;
        }
        // Chunks begin at even places.
        at = content + size + size % 2;
    }
    file.rewind()?;
    Ok(empty)
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

/// A file whose sizes at these places are read as those of a stream whose length is not known: the
/// largest number that there is.
pub(super) struct Filled {
    file: File,
    at: u64,
    sizes: Vec<u64>,
}

impl Filled {
    /// The file, read from its beginning.
    pub(super) fn new(file: File, sizes: Vec<u64>) -> Self {
        Self { file, at: 0, sizes }
    }
}

impl Read for Filled {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(bytes)?;
        for (byte, at) in bytes[..read].iter_mut().zip(self.at..) {
            if self.sizes.iter().any(|size| (*size..*size + FIELD_BYTES).contains(&at)) {
                *byte = u8::MAX;
            }
        }
        self.at += read as u64;
        Ok(read)
    }
}

impl Seek for Filled {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.at = self.file.seek(to)?;
        Ok(self.at)
    }
}

impl MediaSource for Filled {
    fn is_seekable(&self) -> bool {
        self.file.is_seekable()
    }

    fn byte_len(&self) -> Option<u64> {
        self.file.byte_len()
    }
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
        ] {
            let facts = probe(write(home.path(), "a.wav", &wav)).await;
            let facts = facts.unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(facts.duration_ms, 2_000, "{what}");
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
