//! Which container a file is, by its first bytes, or by those behind its tags: what a sender claims
//! is not believed.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};

use serde::{Deserialize, Serialize};

use crate::id3;
use crate::mpeg_frame::{FrameHeader, first_of_a_row};
use crate::object_key::ObjectKey;
use crate::storage::{ByteRange, ObjectStorage, StorageError};

/// How many of a file's first bytes tell its format, in bytes.
const SNIFF_BYTES: usize = 16;

/// How far an MP3 is looked for where these tell nothing, in bytes: it begins in the middle of a
/// frame when it was cut out of a stream, or behind bytes that are none.
const SEARCH_BYTES: usize = 8_192;

/// How many ID3v2 tags one behind the other are passed over. There is one, or there are two where
/// a program did not see the other's.
const TAGS_MAX: usize = 16;

/// What begins files that are no sound of their own, and at which place it stands. There may be
/// sound in them; it is not dug out.
const NO_SOUND: [(usize, &[u8]); 20] = [
    (0, b"PK\x03\x04"),                       // ZIP
    (0, b"PK\x05\x06"),                       // an empty one
    (0, b"PK\x07\x08"),                       // a part of one
    (257, b"ustar"),                          // tar
    (0, b"\x1F\x8B\x08"),                     // gzip
    (0, b"BZh"),                              // bzip2
    (0, b"\xFD7zXZ\0"),                       // xz
    (0, b"\x28\xB5\x2F\xFD"),                 // Zstandard
    (0, b"7z\xBC\xAF\x27\x1C"),               // 7-Zip
    (0, b"Rar!\x1A\x07"),                     // RAR
    (0, b"%PDF-"),                            // PDF
    (0, b"\0\0\x01\xBA"),                     // an MPEG program stream
    (0, b"\0\0\x01\xB3"),                     // MPEG video
    (0, b"\x1A\x45\xDF\xA3"),                 // Matroska, WebM
    (0, b"\x30\x26\xB2\x75\x8E\x66\xCF\x11"), // ASF, of WMA and WMV
    (0, b"FLV\x01"),                          // Flash video
    (0, b"RIFF"),                             // AVI and others, where it is no WAV
    (0, b"FORM"),                             // ILBM and others, where it is no AIFF
    (4, b"ftyp"),                             // films and pictures, where it is no M4A
    (0, b"\x7FELF"),                          // a program
];

/// What begins sound of other formats, which are not taken. Programs put tags before these too.
const OTHER_SOUND: [&[u8]; 13] = [
    b"RF64",                 // WAV of more than 4 GiB
    b"BW64",                 // the same for broadcasts
    b"riff\x2E\x91\xCF\x11", // Wave64
    b"caff",                 // Core Audio
    b"ADIF",                 // AAC in one piece
    b"MAC ",                 // Monkey's Audio
    b"TTA1",                 // True Audio
    b"MPCK",                 // Musepack
    b"MP+",                  // Musepack before that
    b"wvpk",                 // WavPack
    b"DSD ",                 // DSD
    b".snd",                 // Sun
    b"MThd",                 // MIDI
];

/// How far apart the marks of an MPEG transport stream are, in bytes, and what they are.
const TRANSPORT: (usize, u8) = (188, b'G');

/// How pages of the web begin, in lower case, behind white space.
const WEB_PAGES: [&[u8]; 4] = [b"<!doctype", b"<html", b"<?xml", b"<head"];

/// The brands of ISO files that hold sound; the others are pictures and films.
const M4A_BRANDS: [&[u8; 4]; 8] =
    [b"M4A ", b"M4B ", b"mp41", b"mp42", b"isom", b"iso2", b"iso5", b"iso6"];

/// The containers that masters may come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AudioFormat {
    /// RIFF WAVE.
    Wav,
    /// Native FLAC.
    Flac,
    /// MPEG audio layer III, with or without ID3 tags before it.
    Mp3,
    /// Ogg, with Vorbis, Opus or FLAC in it.
    Ogg,
    /// AIFF and AIFF-C.
    Aiff,
    /// MPEG-4 audio, with AAC, ALAC or others in it.
    M4a,
}

impl AudioFormat {
    /// Tells the format of an object by its content; `None` when it is none that is taken.
    ///
    /// # Errors
    /// As [`ObjectStorage::get`]; [`StorageError::Body`] when the object can't be read on.
    pub async fn of_object(
        storage: &dyn ObjectStorage,
        key: &ObjectKey,
    ) -> Result<Option<Self>, StorageError> {
        let mut sniffer = Sniffer::default();
        while let Some((start, length_bytes)) = sniffer.wanted() {
            let range = ByteRange::Within { start, length_bytes };
            let piece = match storage.get(key, range).await {
                Ok(piece) => piece.bytes(length_bytes).await.map_err(StorageError::Body)?,
                Err(StorageError::RangeNotSatisfiable { .. }) => break,
                Err(error) => return Err(error),
            };
            sniffer.pass(&piece);
        }
        Ok(sniffer.format())
    }

    /// The same of a file, which is at its beginning then.
    pub(crate) fn of_file(file: &mut File) -> io::Result<Option<Self>> {
        let mut sniffer = Sniffer::default();
        while let Some((start, length_bytes)) = sniffer.wanted() {
            let mut piece = Vec::new();
            file.seek(SeekFrom::Start(start))?;
            (&mut *file).take(length_bytes).read_to_end(&mut piece)?;
            if piece.is_empty() {
                break;
            }
            sniffer.pass(&piece);
        }
        file.rewind()?;
        Ok(sniffer.format())
    }

    /// Tells the format of a file from its first bytes, were there no tag.
    fn of_head(head: &[u8]) -> Option<Self> {
        match head {
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E', ..] => Some(Self::Wav),
            [b'F', b'O', b'R', b'M', _, _, _, _, b'A', b'I', b'F', b'F' | b'C', ..] => {
                Some(Self::Aiff)
            }
            [b'f', b'L', b'a', b'C', ..] => Some(Self::Flac),
            [b'O', b'g', b'g', b'S', ..] => Some(Self::Ogg),
            [_, _, _, _, b'f', b't', b'y', b'p', brand @ ..] => {
                M4A_BRANDS.iter().any(|known| brand.starts_with(*known)).then_some(Self::M4a)
            }
            head => FrameHeader::read(head).map(|_| Self::Mp3),
        }
    }

    /// Whether these are the first bytes of what is no sound, by the name that it begins with.
    fn is_no_sound(head: &[u8]) -> bool {
        let begins = |at: usize, with: &[u8]| head.get(at..).is_some_and(|it| it.starts_with(with));
        let is_mark = |packet: usize| head.get(packet * TRANSPORT.0) == Some(&TRANSPORT.1);
        let text = head.trim_ascii_start();
        let is_page = |page: &&[u8]| {
            text.get(..page.len()).is_some_and(|start| start.eq_ignore_ascii_case(page))
        };
        NO_SOUND.iter().any(|(at, with)| begins(*at, with))
            || (0..4).all(is_mark)
            || WEB_PAGES.iter().any(is_page)
    }

    /// Whether these are the first bytes behind a tag of sound in a format that is not taken.
    fn is_other_sound(head: &[u8]) -> bool {
        OTHER_SOUND.iter().any(|with| head.starts_with(with)) || is_adts(head)
    }

    /// The media type of the container.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Wav => "audio/wav",
            Self::Flac => "audio/flac",
            Self::Mp3 => "audio/mpeg",
            Self::Ogg => "audio/ogg",
            Self::Aiff => "audio/aiff",
            Self::M4a => "audio/mp4",
        }
    }

    /// What both the probe and `ffmpeg` are told to read, so that neither guesses: a file that
    /// passes for sound cannot make `ffmpeg` follow a playlist that hides in it.
    pub(crate) fn demuxer(self) -> &'static str {
        match self {
            Self::Wav => "wav",
            Self::Flac => "flac",
            Self::Mp3 => "mp3",
            Self::Ogg => "ogg",
            Self::Aiff => "aiff",
            Self::M4a => "mov",
        }
    }
}

impl fmt::Display for AudioFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Wav => "WAV",
            Self::Flac => "FLAC",
            Self::Mp3 => "MP3",
            Self::Ogg => "Ogg",
            Self::Aiff => "AIFF",
            Self::M4a => "M4A",
        })
    }
}

/// Tells the format of a file that passes by. A tag may be of many megabytes, for it has pictures:
/// no more is kept than what is looked at.
#[derive(Default)]
pub(crate) struct Sniffer {
    /// The first bytes of the file, or of what is behind its tags.
    head: Vec<u8>,
    /// How much passed, in bytes.
    passed: u64,
    /// What is still to come of a tag, in bytes.
    tag_left: u64,
    tags: usize,
}

impl Sniffer {
    /// Looks at what comes next.
    pub(crate) fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.is_done() {
            let of_tag = usize::try_from(self.tag_left).map_or(bytes.len(), |n| n.min(bytes.len()));
            self.tag_left -= of_tag as u64;
            bytes = &bytes[of_tag..];
            let (more, rest) = bytes.split_at(bytes.len().min(self.head_left()));
            self.head.extend_from_slice(more);
            self.passed += (of_tag + more.len()) as u64;
            bytes = rest;
            self.leave_tags();
        }
    }

    /// Leaves out the tags in what is looked at, and what is to come of the last.
    fn leave_tags(&mut self) {
        while self.tags < TAGS_MAX
            && let Some(end) = id3::tag_bytes(&self.head)
        {
            let here = usize::try_from(end).map_or(self.head.len(), |n| n.min(self.head.len()));
            self.head.drain(..here);
            self.tag_left = end - here as u64;
            self.tags += 1;
        }
    }

    /// Passes over what is to come of a tag, and tells from where on how many bytes are wanted;
    /// `None` when all passed that is.
    fn wanted(&mut self) -> Option<(u64, u64)> {
        self.passed += std::mem::take(&mut self.tag_left);
        (!self.is_done()).then(|| (self.passed, self.head_left() as u64))
    }

    fn is_done(&self) -> bool {
        self.head_left() == 0
    }

    /// How many more bytes are looked at.
    fn head_left(&self) -> usize {
        let is_searched = self.tags == 0
            && self.head.len() >= SNIFF_BYTES
            && AudioFormat::of_head(&self.head).is_none();
        (if is_searched { SEARCH_BYTES } else { SNIFF_BYTES }).saturating_sub(self.head.len())
    }

    /// Whether enough passed to tell whether the file is taken.
    pub(crate) fn has_begun(&self) -> bool {
        self.tags > 0 || self.is_done()
    }

    /// The format, by what passed; `None` when it is none that is taken. Behind a tag is an MP3 as
    /// a rule, but some programs put one before any other. That of an M4A moves all that it has
    /// written down of places in itself, and nobody finds its sound any more.
    pub(crate) fn format(&self) -> Option<AudioFormat> {
        match AudioFormat::of_head(&self.head) {
            Some(AudioFormat::M4a) if self.tags > 0 => None,
            Some(format) => Some(format),
            None if AudioFormat::is_no_sound(&self.head) => None,
            None if self.tags > 0 && AudioFormat::is_other_sound(&self.head) => None,
            None if self.tags > 0 => Some(AudioFormat::Mp3),
            None => first_of_a_row(&self.head).map(|_| AudioFormat::Mp3),
        }
    }
}

/// Whether a frame of AAC begins here (ISO/IEC 14496-3, 1.A.2.2). Its mark is that of MPEG audio
/// with a layer that does not exist.
fn is_adts(head: &[u8]) -> bool {
    const HEADER_BYTES: u16 = 7;
    const SAMPLE_RATES: u8 = 13;
    let &[0xFF, kind, rate, high, middle, low, ..] = head else { return false };
    let length = u16::from(high & 3) << 11 | u16::from(middle) << 3 | u16::from(low >> 5);
    kind & 0xF6 == 0xF0 && (rate >> 2) & 0xF < SAMPLE_RATES && length >= HEADER_BYTES
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use bytes::Bytes;
    use futures::stream::{self, StreamExt as _};

    use super::*;
    use crate::storage::FileStorage;

    #[test]
    fn formats_are_told_by_their_first_bytes() {
        for (head, format) in [
            (&b"RIFF\x24\0\0\0WAVEfmt "[..], AudioFormat::Wav),
            (b"FORM\0\0\0\x24AIFFCOMM", AudioFormat::Aiff),
            (b"FORM\0\0\0\x24AIFCFVER", AudioFormat::Aiff),
            (b"fLaC\0\0\0\x22", AudioFormat::Flac),
            (b"OggS\0\x02", AudioFormat::Ogg),
            (b"\xFF\xFB\x90\x64", AudioFormat::Mp3),
            (b"\0\0\0\x1cftypM4A \0\0\0\0", AudioFormat::M4a),
        ] {
            assert_eq!(AudioFormat::of_head(head), Some(format), "{format}");
        }
    }

    /// An ID3v2.4 tag of so many bytes with its header.
    fn tag(bytes: usize) -> Vec<u8> {
        let length = bytes - 10;
        let length = [21, 14, 7, 0].map(|shift| (length >> shift & 0x7F) as u8);
        [b"ID3\x04\0\0".as_slice(), &length, &vec![0xFF; bytes - 10]].concat()
    }

    #[tokio::test]
    async fn what_is_behind_tags_is_found_however_it_is_cut() {
        let home = tempfile::tempdir().unwrap();
        let flac = b"fLaC\0\0\0\x22 and much more of it".as_slice();
        let mp3 = b"\xFF\xFB\x90\x64 and much more of it".as_slice();
        let frame = [&[0xFF, 0xFB, 0x90, 0x64][..], &[0; 413]].concat();
        let cut = frame.repeat(20)[100..].to_vec();
        for (what, bytes, format) in [
            ("no tag", flac.to_vec(), Some(AudioFormat::Flac)),
            ("a tag", [&tag(300), flac].concat(), Some(AudioFormat::Flac)),
            ("a picture", [&tag(3_000_000), flac].concat(), Some(AudioFormat::Flac)),
            ("an empty one", [&tag(10), flac].concat(), Some(AudioFormat::Flac)),
            ("a few", [&tag(10), &tag(12), &tag(500), flac].concat(), Some(AudioFormat::Flac)),
            ("nothing but its mark", [&tag(300), &flac[..4]].concat(), Some(AudioFormat::Flac)),
            ("an MP3", [&tag(300), mp3].concat(), Some(AudioFormat::Mp3)),
            ("a WAV", [&tag(300), &b"RIFF\x24\0\0\0WAVEfmt "[..]].concat(), Some(AudioFormat::Wav)),
            ("an M4A", [&tag(300), &b"\0\0\0\x1cftypM4A \0\0\0\0"[..]].concat(), None),
            ("an RF64", [&tag(300), &b"RF64\xFF\xFF\xFF\xFFWAVEds64"[..]].concat(), None),
            ("AAC", [&tag(10), &b"\xFF\xF1\x50\x80\x2E\x7F\xFC and more"[..]].concat(), None),
            ("AAC of MPEG-2", [&tag(300), &b"\xFF\xF9\x50\x80\x2E\x7F\xFC"[..]].concat(), None),
            ("an archive", [&tag(300), &b"PK\x03\x04 and much more"[..]].concat(), None),
            ("more tags than any", tag(10).repeat(TAGS_MAX + 1), Some(AudioFormat::Mp3)),
            ("nothing", tag(300), Some(AudioFormat::Mp3)),
            ("a tag that is cut", tag(3_000)[..2_000].to_vec(), Some(AudioFormat::Mp3)),
            ("an MP3 that was cut out of a stream", cut.clone(), Some(AudioFormat::Mp3)),
            ("no sound", b"<!doctype html> and more".to_vec(), None),
            ("much of it", b"<!doctype html> and more".repeat(1_000), None),
            ("sound that comes too late", [vec![0; SEARCH_BYTES], cut].concat(), None),
        ] {
            for piece in [1, 3, 10, 16, 17, 4_096, bytes.len()] {
                let mut sniffer = Sniffer::default();
                bytes.chunks(piece).for_each(|chunk| sniffer.pass(chunk));
                assert_eq!(sniffer.format(), format, "{what}, by {piece}");
                assert!(sniffer.head.len() <= SEARCH_BYTES, "{what}, by {piece}");
            }
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&bytes).unwrap();
            assert_eq!(AudioFormat::of_file(&mut file).unwrap(), format, "{what}, in a file");
            let storage = FileStorage::open(home.path()).unwrap();
            let key = ObjectKey::new("masters/one").unwrap();
            let body = stream::iter([Ok(Bytes::from(bytes))]).boxed();
            storage.put(&key, body).await.unwrap();
            let found = AudioFormat::of_object(&storage, &key).await.unwrap();
            assert_eq!(found, format, "{what}, as an object");
        }
    }

    #[test]
    fn sound_is_not_dug_out_of_what_is_none() {
        let frame = [&[0xFF, 0xFB, 0x90, 0x64][..], &[0; 413]].concat();
        let sound = frame.repeat(20);
        let tar = [&[b'a'; 257][..], b"ustar\x0000", &[0; 248]].concat();
        let transport = [&[b'G'][..], &[7; 187]].concat().repeat(5);
        for head in [
            &b"PK\x03\x04\x0a\0\0\0\0\0"[..],
            &tar,
            &transport,
            b"\0\0\x01\xBA\x44\0\x04\0\x04\x01",
            b"\x1A\x45\xDF\xA3\x01\0\0\0",
            b"RIFF\x24\0\0\0AVI LIST",
            b"\0\0\0\x1cftypqt  \0\0\0\0",
            b"\r\n <!DOCTYPE html><title>",
            b"<html lang=en>",
        ] {
            let mut sniffer = Sniffer::default();
            sniffer.pass(&[head, &sound].concat());
            assert_eq!(sniffer.format(), None, "{head:?}");
        }
        let mut sniffer = Sniffer::default();
        sniffer.pass(&[&[b'G'; 300][..], &sound].concat());
        assert_eq!(sniffer.format(), Some(AudioFormat::Mp3), "behind what has no name");
    }

    #[test]
    fn what_is_no_sound_is_unknown() {
        for head in [
            &b""[..],
            b"RIFF\x24\0\0\0AVI LIST",
            b"FORM\0\0\0\x24ILBM",
            b"#EXTM3U\n#EXTINF",
            b"\x89PNG\r\n\x1a\n",
            b"\xFF\xD8\xFF\xE0\0\x10JFIF",
            b"\xFF\xFE<\0h\0t\0m\0l\0",
            b"\0\0\0\x1cftypheic",
            b"<!doctype html>",
            b"\x7fELF",
        ] {
            assert_eq!(AudioFormat::of_head(head), None, "{head:?}");
        }
    }
}
