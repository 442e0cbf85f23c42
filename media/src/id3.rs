//! ID3v2 tags, which stand before the sound of a file (id3.org, ID3v2.4.0, section 3.1).

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};

/// A tag's header, and its footer where it has one, in bytes.
const EDGE_BYTES: u64 = 10;

const HAS_FOOTER: u8 = 0x10;

/// How long the tag is that begins here, in bytes; `None` when none does. Its own length has seven
/// bits a byte, and counts neither its header nor its footer.
pub(crate) fn tag_bytes(head: &[u8]) -> Option<u64> {
    let [b'I', b'D', b'3', 2..=4, _, flags, length @ ..] = head else { return None };
    let length = length.first_chunk::<4>()?;
    let length = length.iter().fold(0, |sum, byte| sum << 7 | u64::from(byte & 0x7F));
    let edges = if flags & HAS_FOOTER == 0 { 1 } else { 2 };
    Some(length + edges * EDGE_BYTES)
}

/// Where the tags end that a file begins with, in bytes; 0 where it has none.
pub(crate) fn end_of_tags(file: &mut File) -> io::Result<u64> {
    end_of_tags_from(file, 0)
}

/// Where the tags end that are at a place of a file, in bytes; that place where none are.
pub(crate) fn end_of_tags_from(file: &mut File, at: u64) -> io::Result<u64> {
    let mut end = at;
    loop {
        file.seek(SeekFrom::Start(end))?;
        let mut head = Vec::with_capacity(EDGE_BYTES as usize);
        file.take(EDGE_BYTES).read_to_end(&mut head)?;
        match tag_bytes(&head) {
            Some(bytes) => end += bytes,
            None => return Ok(end),
        }
    }
}
