//! What lies behind an MPEG-4 file and is no part of it: tags of other formats, ends of lines,
//! whatever a disk left there. Players pass over it; a reader that takes it for a box fails.

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom};

use super::boxes::{box_at, content};

/// Most boxes that a file is made of: a film in fragments has two a fragment.
const BOXES_MAX: usize = 65_536;

/// The least that a box takes, in bytes.
const HEAD_BYTES: u64 = 8;

/// The boxes that sound is lost with. Where one is not whole, the file is cut.
const NEEDED: [&[u8; 4]; 3] = [b"moov", b"moof", b"mdat"];

/// What says where fragments lie, and that no more follow.
const LAST_OF_FRAGMENTS: &[u8; 4] = b"mfra";

/// Where the file ends without its tail, in bytes: behind its last whole box, where all that it
/// needs is before that, and at its very end otherwise.
pub(super) fn begin(file: &mut File) -> io::Result<u64> {
    let bytes = file.seek(SeekFrom::End(0))?;
    let (mut at, mut found, mut last) = (0, Vec::new(), [0; 4]);
    for _ in 0..BOXES_MAX {
        let Some((name, range)) = box_at(file, at..bytes)? else {
            break;
        };
        (at, last) = (range.end, name);
        if !found.contains(&name) {
            found.push(name);
        }
    }
    let has = |name| found.contains(name);
    let is_whole = has(b"moov") && has(b"mdat");
    let may_go_on = has(b"moof") && last != *LAST_OF_FRAGMENTS;
    let tail = content(file, at..bytes)?;
    let is_cut = match tail.get(4..HEAD_BYTES as usize) {
        Some(name) => NEEDED.iter().any(|needed| *needed == name),
        // Too little to tell whether another fragment begins.
        None => may_go_on,
    };
    file.rewind()?;
    Ok(if is_whole && !is_cut { at } else { bytes })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const FILE: &[u8] = b"\0\0\0\x0cftypM4A \0\0\0\x09mdat.\0\0\0\x09moov.";
    const FRAGMENT: &[u8] = b"\0\0\0\x09moof.\0\0\0\x09mdat.";

    fn tail_of(bytes: &[u8]) -> u64 {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        bytes.len() as u64 - begin(&mut file).unwrap()
    }

    #[test]
    fn a_tail_is_what_is_no_box() {
        for tail in [&b""[..], b"\n", b"\0\0\0", b"TAG and much more", b"APETAGEX\xd0\x07\0\0"] {
            assert_eq!(tail_of(&[FILE, tail].concat()), tail.len() as u64, "{tail:?}");
        }
        let fragments = [FILE, FRAGMENT, b"TAG and much more"].concat();
        assert_eq!(tail_of(&fragments), 17);
        let ended = [FILE, FRAGMENT, b"\0\0\0\x09mfra.\n"].concat();
        assert_eq!(tail_of(&ended), 1);
        let boxes = [FILE, b"\0\0\0\x09free.", &[0; 100]].concat();
        assert_eq!(tail_of(&boxes), 0, "a box of no size goes on to the end");
    }

    #[test]
    fn what_is_cut_has_no_tail() {
        for length in 0..FILE.len() {
            assert_eq!(tail_of(&FILE[..length]), 0, "{length}");
        }
        for length in 1..FRAGMENT.len() {
            let cut = [FILE, FRAGMENT, &FRAGMENT[..length]].concat();
            assert_eq!(tail_of(&cut), 0, "{length}");
        }
    }
}
