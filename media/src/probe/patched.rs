//! A file that is read otherwise than it is, where its reader would stumble over what costs no
//! sound.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use symphonia::core::io::MediaSource;

/// A field of a file that is read otherwise than it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patch {
    pub(super) at: u64,
    pub(super) bytes: [u8; 4],
}

/// A file with patches, up to where it ends for its reader.
pub(super) struct Patched {
    file: File,
    at: u64,
    patches: Vec<Patch>,
    end: u64,
}

impl Patched {
    /// The file, read from its beginning to this end, which is not behind its own.
    pub(super) fn new(file: File, patches: Vec<Patch>, end: u64) -> Self {
        Self { file, at: 0, patches, end }
    }
}

impl Read for Patched {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let wanted = bytes.len().min(left);
        let read = self.file.read(&mut bytes[..wanted])?;
        for patch in &self.patches {
            for (byte, at) in patch.bytes.into_iter().zip(patch.at..) {
                let place = at.checked_sub(self.at).and_then(|place| usize::try_from(place).ok());
                if let Some(patched) = place.and_then(|place| bytes[..read].get_mut(place)) {
                    *patched = byte;
                }
            }
        }
        self.at += read as u64;
        Ok(read)
    }
}

impl Seek for Patched {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let to = match to {
            SeekFrom::End(back) => {
                let from_start = self.end.checked_add_signed(back);
                SeekFrom::Start(from_start.ok_or(io::ErrorKind::InvalidInput)?)
            }
            to => to,
        };
        self.at = self.file.seek(to)?;
        Ok(self.at)
    }
}

impl MediaSource for Patched {
    fn is_seekable(&self) -> bool {
        self.file.is_seekable()
    }

    fn byte_len(&self) -> Option<u64> {
        Some(self.end)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn what_is_behind_its_end_is_not_there() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"sound and a tail").unwrap();
        file.rewind().unwrap();
        let mut patched = Patched::new(file, vec![Patch { at: 3, bytes: *b"ND!!" }], 5);
        let mut text = String::new();
        patched.read_to_string(&mut text).unwrap();
        assert_eq!(text, "souND");
        assert_eq!(patched.byte_len(), Some(5));
        assert_eq!(patched.seek(SeekFrom::End(-2)).unwrap(), 3);
        assert_eq!(patched.read(&mut [0; 9]).unwrap(), 2);
        assert!(patched.seek(SeekFrom::End(-6)).is_err());
    }
}
