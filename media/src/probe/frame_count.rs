//! How many frames an MP3 says it has: in the first one, which is silent, or nowhere.
//!
//! The tags of Xing and LAME, `Xing` or `Info`, lie behind the frame's side information; that of
//! Fraunhofer, `VBRI`, always 32 bytes behind its header. Streams that were recorded as they came
//! have none.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};

use crate::id3;
use crate::mpeg_frame::{FrameHeader, HEADER_BYTES};

/// How far behind the tags the first frame is looked for, in bytes.
const SEARCH_BYTES: usize = 4_096;

/// Where `VBRI` lies behind the header, in bytes.
const VBRI_AT: usize = 32;

/// Where the frames are counted behind `VBRI`, in bytes.
const VBRI_FRAMES_AT: usize = 14;

/// The bit among the flags of Xing that says that frames are counted.
const XING_HAS_FRAMES: u32 = 1;

/// The frames that the file says follow its first one; `None` when it does not say.
pub(super) fn read(file: &mut File) -> io::Result<Option<u64>> {
    let start = id3::end_of_tags(file)?;
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::with_capacity(SEARCH_BYTES);
    file.take(SEARCH_BYTES as u64).read_to_end(&mut bytes)?;
    let first = (0..bytes.len()).find_map(|at| {
        let header = FrameHeader::read(&bytes[at..])?;
        Some(counted(header, &bytes[at..]))
    });
    // Whoever writes to a pipe leaves the count empty.
    Ok(first.flatten().filter(|frames| *frames > 0).map(u64::from))
}

fn counted(header: FrameHeader, frame: &[u8]) -> Option<u32> {
    let number = |at: usize| {
        let bytes = frame.get(at..at + 4)?;
        Some(u32::from_be_bytes(bytes.try_into().ok()?))
    };
    let side_information = match (header.is_mpeg_1, header.is_mono) {
        (true, false) => 32,
        (true, true) | (false, false) => 17,
        (false, true) => 9,
    };
    let xing = HEADER_BYTES + side_information;
    if matches!(frame.get(xing..xing + 4)?, b"Xing" | b"Info") {
        return number(xing + 4).filter(|flags| flags & XING_HAS_FRAMES != 0).and(number(xing + 8));
    }
    let vbri = HEADER_BYTES + VBRI_AT;
    (frame.get(vbri..vbri + 4)? == b"VBRI").then(|| number(vbri + VBRI_FRAMES_AT))?
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn read_from(bytes: &[u8]) -> Option<u64> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        read(&mut file).unwrap()
    }

    /// A frame of MPEG-1, stereo, with this behind so many bytes.
    fn frame(at: usize, tag: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; 417];
        frame[..4].copy_from_slice(&[0xFF, 0xFB, 0x90, 0x00]);
        frame[at..at + tag.len()].copy_from_slice(tag);
        frame
    }

    #[test]
    fn the_count_is_found_behind_tags_and_in_either_place() {
        let info = frame(36, b"Info\0\0\0\x0F\0\0\x01\x02");
        assert_eq!(read_from(&info), Some(0x102));
        let tagged = [b"ID3\x04\0\0\0\0\x01\x00".as_slice(), &[0xFF; 128], &info].concat();
        assert_eq!(read_from(&tagged), Some(0x102), "behind a tag that is like a header");
        let vbri = frame(36, b"VBRI\0\x01\0\0\0\0\0\0\0\0\0\0\x03\0");
        assert_eq!(read_from(&vbri), Some(0x300));
    }

    #[test]
    fn what_is_not_counted_is_not_guessed() {
        assert_eq!(read_from(&frame(36, b"Xing\0\0\0\x0E\0\0\x01\x02")), None, "by its flags");
        assert_eq!(read_from(&frame(36, b"Xing\0\0\0\x0F\0\0\0\0")), None, "written to a pipe");
        assert_eq!(read_from(&frame(36, b"")), None, "recorded as it came");
        assert_eq!(read_from(b"ID3"), None);
        assert_eq!(read_from(&frame(36, b"Info")[..39]), None, "cut within it");
    }
}
