//! The pages of an Ogg stream (RFC 3533): whether all are there up to the last one, and when that
//! ends.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _, Seek, SeekFrom};
use std::ops::Range;

use symphonia::core::checksum::Crc32;
use symphonia::core::io::Monitor as _;

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

/// Where a page's checksum stands in its header.
const CHECKSUM: Range<usize> = 22..26;

/// How much of a file is read at once, in bytes: more than the longest page has.
const READ_BYTES: usize = 128 * 1024;

/// What a page says that finishes no packet.
const NO_GRANULE: u64 = u64::MAX;

/// How a stream ends, and whether all of it is there up to then.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct End {
    /// Its last page is there, and says so.
    pub(super) is_there: bool,
    /// How many samples there are up to its last whole page, by that page.
    pub(super) granule: Option<u64>,
    /// Pages before that are missing, or not as they were written.
    pub(super) is_damaged: bool,
}

/// How the stream of this serial number ends. What lies between and behind its pages is passed
/// over, as readers do it; and so are pages whose checksum is not theirs, for which the stream is
/// damaged.
pub(super) fn end_of(file: &mut File, serial: u32) -> io::Result<End> {
    let mut pages = Pages::of(file)?;
    let mut end = End::default();
    let mut before: Option<Page> = None;
    while let Some(page) = pages.next()? {
        if page.serial != serial {
            continue;
        }
        end.is_damaged |= !page.is_sound || before.is_some_and(|before| page.is_torn_off(&before));
        if !page.is_sound {
            continue;
        }
        if page.granule != NO_GRANULE {
            end.granule = Some(page.granule);
        }
        if page.flags & END_OF_STREAM != 0 {
            end.is_there = true;
            break;
        }
        before = Some(page);
    }
    Ok(end)
}

/// Whether pages are missing of the stream that the file begins with, or not as they were written.
pub(super) fn is_damaged(file: &mut File) -> io::Result<bool> {
    let Some(first) = Pages::of(file)?.next()? else {
        return Ok(false);
    };
    Ok(end_of(file, first.serial)?.is_damaged)
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

#[derive(Clone, Copy)]
struct Page {
    flags: u8,
    granule: u64,
    serial: u32,
    number: u32,
    /// Its checksum is that of its bytes.
    is_sound: bool,
    /// Where it lies in the file.
    at: u64,
    end: u64,
}

impl Page {
    /// Whether there must have been others between this one and the one before it. Who records a
    /// stream that runs has its headers, and then goes on in its midst.
    fn is_torn_off(&self, before: &Self) -> bool {
        let is_joined = before.granule == 0 && before.end == self.at;
        self.number != before.number.wrapping_add(1) && !is_joined
    }
}

/// All that a file has of pages, sound or not.
struct Pages<'a> {
    reader: BufReader<&'a mut File>,
    at: u64,
    body: Vec<u8>,
}

impl<'a> Pages<'a> {
    fn of(file: &'a mut File) -> io::Result<Self> {
        file.rewind()?;
        let reader = BufReader::with_capacity(READ_BYTES, file);
        Ok(Self { reader, at: 0, body: Vec::new() })
    }

    /// The next page. One that is cut is none, for its flags say what was to come; and behind one
    /// that is not sound, the next may begin within it.
    fn next(&mut self) -> io::Result<Option<Page>> {
        let mut header = [0; HEADER_BYTES];
        loop {
            if !self.find(&mut header)? {
                return Ok(None);
            }
            let at = self.at;
            let page = self.read(header)?;
            if page.is_some_and(|page| page.is_sound) {
                return Ok(page);
            }
            self.at = at + 1;
            self.reader.seek(SeekFrom::Start(self.at))?;
            if page.is_some() {
                return Ok(page);
            }
        }
    }

    /// Goes to where the next page begins, and reads the fixed part of its header.
    fn find(&mut self, header: &mut [u8; HEADER_BYTES]) -> io::Result<bool> {
        loop {
            if !fill(&mut self.reader, header)? {
                return Ok(false);
            }
            if header.starts_with(CAPTURE) {
                return Ok(true);
            }
            // The next byte that a page can begin with.
            let next = header[1..].iter().position(|byte| *byte == CAPTURE[0]);
            match next {
                Some(next) => {
                    let back = i64::try_from(HEADER_BYTES - 1 - next).unwrap_or(0);
                    self.reader.seek_relative(-back)?;
                    self.at += 1 + next as u64;
                }
                None => {
                    self.at += HEADER_BYTES as u64;
                    self.at += pass_until(&mut self.reader, CAPTURE[0])?;
                }
            }
        }
    }

    /// Reads the rest of a page; `None` where the file ends before. Then `at` is behind it.
    fn read(&mut self, mut header: [u8; HEADER_BYTES]) -> io::Result<Option<Page>> {
        let mut lengths = [0; 255];
        let lengths = &mut lengths[..usize::from(header[26])];
        if !fill(&mut self.reader, lengths)? {
            return Ok(None);
        }
        self.body.resize(lengths.iter().map(|length| usize::from(*length)).sum(), 0);
        if !fill(&mut self.reader, &mut self.body)? {
            return Ok(None);
        }
        let number_in = |range: Range<usize>| {
            header[range].iter().rev().fold(0_u64, |sum, byte| (sum << 8) | u64::from(*byte))
        };
        let short = |range| u32::try_from(number_in(range)).unwrap_or(0);
        let (granule, serial, number) = (number_in(6..14), short(14..18), short(18..22));
        let told = short(CHECKSUM);
        header[CHECKSUM].fill(0);
        let is_sound = told == checksum(&[&header, lengths, &self.body]);
        let at = self.at;
        self.at += (HEADER_BYTES + lengths.len() + self.body.len()) as u64;
        Ok(Some(Page { flags: header[5], granule, serial, number, is_sound, at, end: self.at }))
    }
}

/// The checksum of a page whose own field for it is empty.
fn checksum(parts: &[&[u8]]) -> u32 {
    let mut checksum = Crc32::new(0);
    parts.iter().for_each(|part| checksum.process_buf_bytes(part));
    checksum.crc()
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

    fn page(serial: u32, number: u32, flags: u8, granule: u64, body: &[u8]) -> Vec<u8> {
        let mut page = [CAPTURE.as_slice(), &[flags]].concat();
        page.extend(granule.to_le_bytes());
        page.extend([serial, number, 0].map(u32::to_le_bytes).concat());
        page.extend([1, u8::try_from(body.len()).unwrap()]);
        page.extend(body);
        let sum = checksum(&[&page]);
        page[CHECKSUM].copy_from_slice(&sum.to_le_bytes());
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
            page(7, 0, 2, 0, b"head"),
            page(8, 0, 2, 0, b"another"),
            b"OOggOSggOgg".to_vec(),
            page(7, 1, 0, 960, b"OggS\0 in its body"),
            page(8, 1, END_OF_STREAM, 5, b""),
            page(7, 2, 0, NO_GRANULE, b"a part"),
            vec![0; 100_000],
            page(7, 3, END_OF_STREAM, 1_000, b"the end"),
            b"TAG and OggS".to_vec(),
        ]
        .concat();
        let whole = End { is_there: true, granule: Some(1_000), is_damaged: false };
        assert_eq!(end_in(&stream, 7), whole);
        assert_eq!(end_in(&stream, 8), End { granule: Some(5), ..whole });
        assert_eq!(end_in(&stream, 9), End::default());
    }

    #[test]
    fn a_cut_stream_has_no_end() {
        let (begin, end) = (page(7, 0, 2, 960, b"a"), page(7, 1, END_OF_STREAM, 1_920, b"the end"));
        let whole = [begin.as_slice(), &end].concat();
        for length in begin.len()..whole.len() {
            let expected = End { granule: Some(960), ..End::default() };
            assert_eq!(end_in(&whole[..length], 7), expected, "{length} bytes");
        }
        assert!(end_in(&whole, 7).is_there);
    }

    #[test]
    fn a_stream_that_is_recorded_while_it_runs_is_not_damaged() {
        let head = [page(7, 0, 2, 0, b"head"), page(7, 1, 0, 0, b"words")].concat();
        let rest = [page(7, 90, 0, 96_000, b"a"), page(7, 91, 4, 96_960, b"b")].concat();
        let joined = End { is_there: true, granule: Some(96_960), is_damaged: false };
        assert_eq!(end_in(&[head.as_slice(), &rest].concat(), 7), joined);
        assert!(end_in(&[head.as_slice(), b"what was a page", &rest].concat(), 7).is_damaged);
        let torn = [head, page(7, 2, 0, 960, b"one"), rest].concat();
        assert!(end_in(&torn, 7).is_damaged);
    }

    #[test]
    fn no_byte_of_a_page_changes_unseen() {
        let first = page(7, 0, 2, 0, b"head");
        let middle = page(7, 1, 0, 960, b"sound");
        let last = page(7, 2, 0, 1_920, b"more");
        let end = page(7, 3, END_OF_STREAM, 2_880, b"the end");
        let whole = [first.as_slice(), &middle, &last, &end].concat();
        assert!(!end_in(&whole, 7).is_damaged);
        for at in first.len()..whole.len() - end.len() {
            for bit in 0..8 {
                let mut changed = whole.clone();
                changed[at] ^= 1 << bit;
                assert!(end_in(&changed, 7).is_damaged, "bit {bit} of byte {at}");
            }
        }
    }
}
