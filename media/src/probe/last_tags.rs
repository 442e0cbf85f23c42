//! The tags that stand at the end of a file, of whatever formats, one behind the other.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};

use crate::id3;

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

/// Where the tags begin that a file ends with, in bytes, and not before this place; where it has
/// none, its end.
pub(super) fn begin(file: &mut File, not_before: u64) -> io::Result<u64> {
    let mut begin = file.seek(SeekFrom::End(0))?;
    for _ in 0..TAGS_MAX {
        match tag_before(file, begin)? {
            0 => break,
            bytes => begin = begin.saturating_sub(bytes),
        }
    }
    Ok(begin.max(not_before))
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
