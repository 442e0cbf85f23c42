//! How much of an MP3 is frames. Frames are found wherever they lie, so most of a file may be
//! something else; what is between tags is to be sound, but for a little of what is not.

use std::fs::File;
use std::io;

use super::{ProbeError, Walk, last_tags};
use crate::id3;

/// One in so many bytes may be in no frame: streams are cut and damaged.
const OTHERS_ONE_IN: u64 = 10;

/// The first frame may be one that counts the others, and is not read as one of them; no frame is
/// longer than this, in bytes.
const COUNTING_FRAME_BYTES: u64 = 1_441;

/// Refuses a file of which too much is in no frame.
pub(super) fn check(file: &mut File, walk: &Walk) -> Result<(), ProbeError> {
    let bytes = between_tags(file).map_err(ProbeError::Io)?;
    // A stream that was cut out of another has a part of a frame at either end.
    let edges = COUNTING_FRAME_BYTES + 2 * walk.longest_bytes;
    if bytes.saturating_sub(walk.bytes) <= bytes / OTHERS_ONE_IN + edges {
        return Ok(());
    }
    Err(ProbeError::MostlyOther { sound_bytes: walk.bytes, bytes })
}

/// How much there is between the tags at the beginning and at the end, in bytes.
fn between_tags(file: &mut File) -> io::Result<u64> {
    let begin = id3::end_of_tags(file)?;
    Ok(last_tags::begin(file, begin)? - begin)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn tags_at_either_end_do_not_count() {
        let before = [b"ID3\x04\0\0\0\0\0\x05".as_slice(), &[1; 5]].concat();
        let id3v1 = [b"TAG".as_slice(), &[b' '; 125]].concat();
        let footer = [b"APETAGEX\xd0\x07\0\0\x46\0\0\0".as_slice(), &[0; 16]].concat();
        let ape = [vec![2; 38], footer].concat();
        let appended = [b"ID3\x04\0\x10\0\0\0\x05".as_slice(), &[3; 5]].concat();
        let appended = [appended.as_slice(), b"3DI\x04\0\x10\0\0\0\x05"].concat();
        let sound = vec![9; 1_000];
        for parts in [
            &[&sound][..],
            &[&before, &sound],
            &[&sound, &id3v1],
            &[&sound, &ape, &id3v1],
            &[&before, &before, &sound, &appended, &ape, &id3v1],
        ] {
            let mut file = tempfile::tempfile().unwrap();
            parts.iter().for_each(|part| file.write_all(part).unwrap());
            assert_eq!(between_tags(&mut file).unwrap(), 1_000, "{} parts", parts.len());
        }
    }

    #[test]
    fn a_tag_that_is_longer_than_all_is_survived() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"APETAGEX\xd0\x07\0\0\xff\xff\xff\xff").unwrap();
        file.write_all(&[0; 16]).unwrap();
        assert_eq!(between_tags(&mut file).unwrap(), 0);
    }
}
