//! A file that is read on and on, with a look ahead.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};

use crate::limits::READ_BYTES;

/// What of a file lies from a place on.
pub(super) struct Window<'a> {
    file: &'a mut File,
    bytes: Vec<u8>,
    /// How many of the bytes were passed.
    passed: usize,
    /// Where in the file the next byte lies.
    at: u64,
    /// Where it ends for who looks.
    end: u64,
}

impl<'a> Window<'a> {
    /// From a place of the file to another, or to its end where that is before it.
    pub(super) fn of(file: &'a mut File, at: u64, end: u64) -> io::Result<Self> {
        file.seek(SeekFrom::Start(at))?;
        Ok(Self { file, bytes: Vec::new(), passed: 0, at, end })
    }

    /// Where in the file the next byte lies.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// What comes next: more than so many bytes, unless that is all there is.
    pub(super) fn ahead(&mut self, bytes: usize) -> io::Result<&[u8]> {
        if self.bytes.len() - self.passed <= bytes {
            self.bytes.drain(..self.passed);
            self.passed = 0;
            let known = self.at + self.bytes.len() as u64;
            let wanted = self.end.saturating_sub(known).min((bytes + READ_BYTES) as u64);
            self.file.take(wanted).read_to_end(&mut self.bytes)?;
        }
        Ok(&self.bytes[self.passed..])
    }

    /// Goes on by so many of the bytes that are ahead.
    pub(super) fn pass(&mut self, bytes: usize) {
        self.passed += bytes;
        self.at += bytes as u64;
    }
}
