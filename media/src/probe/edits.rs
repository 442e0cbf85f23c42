//! The edit list of an MPEG-4 file (ISO/IEC 14496-12, 8.6.6): what of a track is played.
//!
//! Encoders put silence before and after the sound, and say here where the sound lies between.

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom};
use std::ops::Range;

use super::boxes::{content, inside, number, path};

/// What of the first track of sound is played, by the one edit that it has.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Edit {
    /// Where it begins, in units of the track.
    pub(super) begin: u64,
    /// How long it plays, in units of the film; 0: to the end.
    pub(super) length: u64,
    /// How many units of the film are a second.
    pub(super) film_units: u32,
}

/// The edit; `None` when there is none, or more than one: such a track is put together of parts.
pub(super) fn read(file: &mut File) -> io::Result<Option<Edit>> {
    let bytes = file.seek(SeekFrom::End(0))?;
    let Some(film) = inside(file, 0..bytes, b"moov")?.into_iter().next() else {
        return Ok(None);
    };
    let Some(header) = inside(file, film.clone(), b"mvhd")?.into_iter().next() else {
        return Ok(None);
    };
    let header = content(file, header)?;
    // Its times are wider since version 1.
    let units_at = if header.first() == Some(&1) { 20 } else { 12 };
    let Some(film_units) = number(&header, units_at, 4).and_then(|units| units.try_into().ok())
    else {
        return Ok(None);
    };
    for track in inside(file, film, b"trak")? {
        if !is_sound(file, track.clone())? {
            continue;
        }
        let Some(list) = path(file, track, &[b"edts", b"elst"])? else {
            return Ok(None);
        };
        let edit = only_edit(&content(file, list)?);
        return Ok(edit.map(|(begin, length)| Edit { begin, length, film_units }));
    }
    Ok(None)
}

/// Whether there is a track of sound, whatever it is coded in.
pub(super) fn has_sound(file: &mut File) -> io::Result<bool> {
    Ok(first_sound(file)?.is_some())
}

/// Where the first track of sound says what it is coded in.
pub(super) fn sound_descriptions(file: &mut File) -> io::Result<Option<Range<u64>>> {
    match first_sound(file)? {
        Some(track) => path(file, track, &[b"mdia", b"minf", b"stbl", b"stsd"]),
        None => Ok(None),
    }
}

fn first_sound(file: &mut File) -> io::Result<Option<Range<u64>>> {
    let bytes = file.seek(SeekFrom::End(0))?;
    for film in inside(file, 0..bytes, b"moov")? {
        for track in inside(file, film, b"trak")? {
            if is_sound(file, track.clone())? {
                return Ok(Some(track));
            }
        }
    }
    Ok(None)
}

fn is_sound(file: &mut File, track: Range<u64>) -> io::Result<bool> {
    let Some(handler) = path(file, track, &[b"mdia", b"hdlr"])? else {
        return Ok(false);
    };
    Ok(content(file, handler)?.get(8..12) == Some(b"soun".as_slice()))
}

/// Begin and length of the one edit of a list that plays something and as it is.
fn only_edit(list: &[u8]) -> Option<(u64, u64)> {
    let width = if *list.first()? == 1 { 8 } else { 4 };
    if number(list, 4, 4)? != 1 {
        return None;
    }
    let (length, begin) = (number(list, 8, width)?, number(list, 8 + width, width)?);
    // An edit of nothing begins at −1.
    (begin < 1 << (8 * width - 1)).then_some((begin, length))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn boxed(name: &[u8; 4], content: &[u8]) -> Vec<u8> {
        let bytes = u32::try_from(8 + content.len()).unwrap();
        [&bytes.to_be_bytes(), name.as_slice(), content].concat()
    }

    fn track(kind: &[u8; 4], edits: &[(u32, i32)]) -> Vec<u8> {
        let handler = boxed(b"hdlr", &[[0; 8].as_slice(), kind, &[0; 12]].concat());
        let mut list = [[0; 4], u32::try_from(edits.len()).unwrap().to_be_bytes()].concat();
        for (length, begin) in edits {
            list.extend([length.to_be_bytes(), begin.to_be_bytes(), [0, 1, 0, 0]].concat());
        }
        let edits = boxed(b"edts", &boxed(b"elst", &list));
        boxed(b"trak", &[edits, boxed(b"mdia", &handler)].concat())
    }

    fn read_from(tracks: &[Vec<u8>]) -> Option<Edit> {
        let header = boxed(b"mvhd", &[[0; 12].as_slice(), &1_000_u32.to_be_bytes()].concat());
        let film = boxed(b"moov", &[header, tracks.concat()].concat());
        let mut file = tempfile::tempfile().unwrap();
        let all = [boxed(b"ftyp", b"M4A "), boxed(b"mdat", &[7; 99]), film].concat();
        file.write_all(&all).unwrap();
        read(&mut file).unwrap()
    }

    #[test]
    fn the_one_edit_of_the_sound_is_found() {
        let picture = track(b"vide", &[(9, 9)]);
        let edit = Edit { begin: 1_024, length: 2_000, film_units: 1_000 };
        assert_eq!(read_from(&[picture, track(b"soun", &[(2_000, 1_024)])]), Some(edit));
    }

    #[test]
    fn what_is_put_together_or_no_film_has_no_edit() {
        assert_eq!(read_from(&[track(b"soun", &[(5, 0), (5, 10)])]), None);
        assert_eq!(read_from(&[track(b"soun", &[(5, -1)])]), None, "nothing is played");
        assert_eq!(read_from(&[]), None);
        let mut cut = tempfile::tempfile().unwrap();
        cut.write_all(b"\0\0\x01\0moov\0\0\0\x08mvhd").unwrap();
        assert_eq!(read(&mut cut).unwrap(), None);
    }
}
