//! The pages of an Ogg stream (RFC 3533): whether the last one is there, and when it ends.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _, Seek, SeekFrom};

/// What each page begins with: its mark, and the version of the format.
const CAPTURE: &[u8; 5] = b"OggS\0";

/// The fixed part of a page's header, in bytes.
const HEADER_BYTES: usize = 27;

/// The flag of a stream's first page.
const BEGIN_OF_STREAM: u8 = 2;

/// Most streams whose beginnings are looked at.
const STREAMS_MAX: usize = 64;

/// How much of a stream tells what it is, in bytes.
const BEGINNING_BYTES: usize = 8;

/// The flag of a stream's last page.
const END_OF_STREAM: u8 = 4;

/// What a page says that finishes no packet.
const NO_GRANULE: u64 = u64::MAX;

/// How a stream ends.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct End {
    /// Its last page is there, and says so.
    pub(super) is_there: bool,
    /// How many samples there are up to its last whole page, by that page.
    pub(super) granule: Option<u64>,
}

/// How the stream of this serial number ends. What lies between and behind its pages is passed
/// over.
pub(super) fn end_of(file: &mut File, serial: u32) -> io::Result<End> {
    let bytes = file.seek(SeekFrom::End(0))?;
    file.rewind()?;
    let mut reader = BufReader::new(file);
    let mut end = End::default();
    let mut at = 0;
    while let Some(page) = next_page(&mut reader, &mut at)? {
        if page.serial != serial {
            continue;
        }
        // A page that is cut is none: its flags say what was to come.
        if at > bytes {
            break;
        }
        if page.granule != NO_GRANULE {
            end.granule = Some(page.granule);
        }
        if page.flags & END_OF_STREAM != 0 {
            end.is_there = true;
            break;
        }
    }
    Ok(end)
}

/// What the streams of a file begin with, a few bytes of each whose first page is whole: these
/// pages come before all others.
pub(super) fn beginnings(file: &mut File) -> io::Result<Vec<Vec<u8>>> {
    file.rewind()?;
    let mut reader = BufReader::new(file);
    let mut found = Vec::new();
    while found.len() < STREAMS_MAX {
        let mut header = [0; HEADER_BYTES];
        if !fill(&mut reader, &mut header)?
            || !header.starts_with(CAPTURE)
            || header[5] & BEGIN_OF_STREAM == 0
        {
            break;
        }
        let mut lengths = [0; 255];
        let lengths = &mut lengths[..usize::from(header[26])];
        if !fill(&mut reader, lengths)? {
            break;
        }
        let mut body = vec![0; lengths.iter().map(|length| usize::from(*length)).sum()];
        if !fill(&mut reader, &mut body)? {
            break;
        }
        body.truncate(BEGINNING_BYTES);
        found.push(body);
    }
    Ok(found)
}

struct Page {
    flags: u8,
    granule: u64,
    serial: u32,
}

/// The next page from there on; then `at` is behind it.
fn next_page(reader: &mut BufReader<&mut File>, at: &mut u64) -> io::Result<Option<Page>> {
    let mut header = [0; HEADER_BYTES];
    loop {
        if !fill(reader, &mut header)? {
            return Ok(None);
        }
        if header.starts_with(CAPTURE) {
            break;
        }
        // The next byte that a page can begin with.
        let next = header[1..].iter().position(|byte| *byte == CAPTURE[0]);
        match next {
            Some(next) => {
                let back = i64::try_from(HEADER_BYTES - 1 - next).unwrap_or(0);
                reader.seek_relative(-back)?;
                *at += 1 + next as u64;
            }
            None => {
                *at += HEADER_BYTES as u64;
                *at += pass_until(reader, CAPTURE[0])?;
            }
        }
    }
    let mut lengths = [0; 255];
    let lengths = &mut lengths[..usize::from(header[26])];
    if !fill(reader, lengths)? {
        return Ok(None);
    }
    let body: i64 = lengths.iter().map(|length| i64::from(*length)).sum();
    reader.seek_relative(body)?;
    *at += (HEADER_BYTES + lengths.len()) as u64 + body.unsigned_abs();
    let granule = header[6..14].iter().rev().fold(0, |sum, byte| (sum << 8) | u64::from(*byte));
    let serial = header[14..18].iter().rev().fold(0, |sum, byte| (sum << 8) | u32::from(*byte));
    Ok(Some(Page { flags: header[5], granule, serial }))
}

/// Fills all of it; `false` where the file ends before.
fn fill(reader: &mut BufReader<&mut File>, all: &mut [u8]) -> io::Result<bool> {
    match reader.read_exact(all) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// Passes over what comes before this byte, and tells how much that was.
fn pass_until(reader: &mut BufReader<&mut File>, byte: u8) -> io::Result<u64> {
    let mut passed = 0;
    loop {
        let ahead = reader.fill_buf()?;
        let found = ahead.iter().position(|one| *one == byte);
        let length = found.unwrap_or(ahead.len());
        let is_over = found.is_some() || ahead.is_empty();
        reader.consume(length);
        passed += length as u64;
        if is_over {
            return Ok(passed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn page(serial: u32, flags: u8, granule: u64, body: &[u8]) -> Vec<u8> {
        let mut page = [CAPTURE.as_slice(), &[flags]].concat();
        page.extend(granule.to_le_bytes());
        page.extend(serial.to_le_bytes());
        page.extend([0; 8]);
        page.extend([1, u8::try_from(body.len()).unwrap()]);
        page.extend(body);
        page
    }

    fn end_in(bytes: &[u8], serial: u32) -> End {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        end_of(&mut file, serial).unwrap()
    }

    #[test]
    fn a_stream_ends_where_its_last_page_says_whatever_lies_around() {
        let stream = [
            page(7, 2, 0, b"head"),
            page(8, 2, 0, b"another"),
            b"OOggOggSOgg".to_vec(),
            page(7, 0, 960, b"OggS in its body"),
            page(8, END_OF_STREAM, 5, b""),
            page(7, 0, NO_GRANULE, b"a part"),
            vec![0; 100_000],
            page(7, END_OF_STREAM, 1_000, b"the end"),
            b"TAG and OggS".to_vec(),
        ]
        .concat();
        assert_eq!(end_in(&stream, 7), End { is_there: true, granule: Some(1_000) });
        assert_eq!(end_in(&stream, 8), End { is_there: true, granule: Some(5) });
        assert_eq!(end_in(&stream, 9), End::default());
    }

    #[test]
    fn a_cut_stream_has_no_end() {
        let (begin, end) = (page(7, 2, 960, b"a"), page(7, END_OF_STREAM, 1_920, b"the end"));
        let whole = [begin.as_slice(), &end].concat();
        for length in begin.len()..whole.len() {
            let expected = End { is_there: false, granule: Some(960) };
            assert_eq!(end_in(&whole[..length], 7), expected, "{length} bytes");
        }
        assert!(end_in(&whole, 7).is_there);
    }
}
