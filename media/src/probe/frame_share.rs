//! How much of an MP3 is frames. Frames are found wherever they lie, so most of a file may be
//! something else; what is between tags is to be sound, but for a little of what is not.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};

use super::{ProbeError, Walk};
use crate::id3;

/// One in so many bytes may be in no frame: streams are cut and damaged.
const OTHERS_ONE_IN: u64 = 10;

/// The first frame may be one that counts the others, and is not read as one of them; no frame is
/// longer than this, in bytes.
const COUNTING_FRAME_BYTES: u64 = 1_441;

/// A tag of ID3v1 at the end, in bytes, and what it begins with.
const ID3V1: (u64, &[u8]) = (128, b"TAG");

/// The last part of a tag of APE, in bytes, and what it begins with.
const APE_FOOTER: (u64, &[u8]) = (32, b"APETAGEX");

/// Where that says how long the tag is without its header, in bytes.
const APE_LENGTH_AT: usize = 12;

/// The part of an ID3v2 tag that stands at the end, in bytes, and what it begins with.
const ID3V2_FOOTER: (u64, &[u8]) = (10, b"3DI");

/// Most tags that are looked for at the end.
const TAGS_MAX: usize = 8;

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
    let mut end = file.seek(SeekFrom::End(0))?;
    for _ in 0..TAGS_MAX {
        match tag_before(file, end)? {
            0 => break,
            bytes => end = end.saturating_sub(bytes),
        }
    }
    Ok(end.saturating_sub(begin))
}

/// How long the tag is that ends there, in bytes; 0 where none does.
fn tag_before(file: &mut File, end: u64) -> io::Result<u64> {
    if last_part(file, end, ID3V1)?.is_some() {
        return Ok(ID3V1.0);
    }
    if let Some(footer) = last_part(file, end, APE_FOOTER)? {
        let length = footer.get(APE_LENGTH_AT..).and_then(<[u8]>::first_chunk::<4>);
        return Ok(length.map_or(0, |length| u64::from(u32::from_le_bytes(*length))));
    }
    if let Some(mut footer) = last_part(file, end, ID3V2_FOOTER)? {
        footer[..3].copy_from_slice(b"ID3");
        return Ok(id3::tag_bytes(&footer).unwrap_or(0));
    }
    Ok(0)
}

/// The part of so many bytes that ends there, if it begins in this way.
fn last_part(
    file: &mut File,
    end: u64,
    (bytes, begins_with): (u64, &[u8]),
) -> io::Result<Option<Vec<u8>>> {
    let Some(begin) = end.checked_sub(bytes) else {
        return Ok(None);
    };
    let mut part = Vec::new();
    file.seek(SeekFrom::Start(begin))?;
    file.take(bytes).read_to_end(&mut part)?;
    Ok(part.starts_with(begins_with).then_some(part))
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
