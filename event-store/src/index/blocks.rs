//! Payload in blocks that are checked whenever they are read, so that nothing need be read whole.
//!
//! A checksum covers more than the block: the salt of the segment, the key of the hashes and the
//! number of the block go into it. So a block of another index, of one that stood here before, or
//! from elsewhere in this one is damage.

use std::io;
use std::sync::Arc;

use crc32c::crc32c_append;

use super::names::NameKey;
use crate::log::{DiskFile, read_at, u32_at};

pub(super) const BLOCK_BYTES: usize = 4096;
pub(super) const PAYLOAD_BYTES: usize = BLOCK_BYTES - 4;

/// Why bytes of an index could not be had: it is damaged, or can't be read.
#[derive(Debug)]
pub(crate) struct Damaged;

/// How many blocks are read without memory being asked for.
const FEW_BLOCKS: usize = 2;

/// How much payload is handed on in one go, in bytes: whole blocks.
const PIECE_BYTES: usize = 64 * PAYLOAD_BYTES;

/// What takes pieces of payload, each with its place.
type HandOn<'a, E> = dyn FnMut(usize, &[u8]) -> Result<(), E> + 'a;

/// Payload on its way, a piece at a time: it is never in memory as a whole.
pub(super) struct Pieces<'a, E> {
    piece: Vec<u8>,
    /// Where the piece begins in the payload.
    at: usize,
    hand_on: &'a mut HandOn<'a, E>,
}

impl<'a, E> Pieces<'a, E> {
    /// Hands each piece on with its place in the payload.
    pub(super) fn new(hand_on: &'a mut HandOn<'a, E>) -> Self {
        Self { piece: Vec::with_capacity(PIECE_BYTES), at: 0, hand_on }
    }

    /// Adds bytes behind those before.
    pub(super) fn put(&mut self, mut bytes: &[u8]) -> Result<(), E> {
        while self.piece.len() + bytes.len() >= PIECE_BYTES {
            let (now, later) = bytes.split_at(PIECE_BYTES - self.piece.len());
            self.piece.extend_from_slice(now);
            self.hand_on()?;
            bytes = later;
        }
        self.piece.extend_from_slice(bytes);
        Ok(())
    }

    /// Hands on what is left; returns the length of the whole payload.
    pub(super) fn end(mut self) -> Result<usize, E> {
        if !self.piece.is_empty() {
            self.hand_on()?;
        }
        Ok(self.at)
    }

    fn hand_on(&mut self) -> Result<(), E> {
        (self.hand_on)(self.at, &self.piece)?;
        self.at += self.piece.len();
        self.piece.clear();
        Ok(())
    }
}

/// The blocks of a file.
#[derive(Clone)]
pub(super) struct Blocks {
    file: Arc<dyn DiskFile>,
    /// Where all their checksums begin.
    seed: u32,
}

impl Blocks {
    /// Those of the index of the segment with this salt, whose hashes are made with this key.
    pub(super) fn new(file: Arc<dyn DiskFile>, salt: u32, names: NameKey) -> Self {
        Self { file, seed: crc32c_append(salt, names.as_bytes()) }
    }

    /// The length of the file, in bytes.
    pub(super) fn file_bytes(&self) -> io::Result<u64> {
        self.file.length()
    }

    /// Writes a piece of the payload at its place, which is the beginning of a block.
    pub(super) fn write(&self, at: usize, piece: &[u8]) -> io::Result<()> {
        let first = at / PAYLOAD_BYTES;
        let mut blocks =
            Vec::with_capacity(piece.len() / PAYLOAD_BYTES * BLOCK_BYTES + BLOCK_BYTES);
        for (number, part) in (first..).zip(piece.chunks(PAYLOAD_BYTES)) {
            let start = blocks.len();
            blocks.extend_from_slice(part);
            blocks.resize(start + PAYLOAD_BYTES, 0);
            let crc = self.crc(number, &blocks[start..]);
            blocks.extend_from_slice(&crc.to_le_bytes());
        }
        self.file.write_at(&blocks, (first * BLOCK_BYTES) as u64)
    }

    /// Reads a part of the payload and checks the blocks that it lies in.
    pub(super) fn read(&self, offset: usize, length: usize) -> Result<Vec<u8>, Damaged> {
        let first = offset / PAYLOAD_BYTES;
        let end = (offset + length).div_ceil(PAYLOAD_BYTES).max(first + 1);
        // Most of what is asked for is little.
        let (mut few, mut many) = ([0; FEW_BLOCKS * BLOCK_BYTES], Vec::new());
        let blocks = match end - first {
            count @ ..=FEW_BLOCKS => &mut few[..count * BLOCK_BYTES],
            count => {
                many.resize(count * BLOCK_BYTES, 0);
                &mut many[..]
            }
        };
        read_at(&*self.file, blocks, (first * BLOCK_BYTES) as u64).map_err(|_| Damaged)?;
        let mut payload = Vec::with_capacity(length);
        let mut skip = offset - first * PAYLOAD_BYTES;
        for (number, block) in (first..).zip(blocks.chunks_exact(BLOCK_BYTES)) {
            let (part, _) = block.split_at(PAYLOAD_BYTES);
            if self.crc(number, part) != u32_at(block, PAYLOAD_BYTES) {
                return Err(Damaged);
            }
            let wanted = (length - payload.len()).min(PAYLOAD_BYTES - skip);
            payload.extend_from_slice(&part[skip..skip + wanted]);
            skip = 0;
        }
        Ok(payload)
    }

    fn crc(&self, number: usize, payload: &[u8]) -> u32 {
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        crc32c_append(crc32c_append(self.seed, &number.to_le_bytes()), payload)
    }
}

/// The file's length for a payload of this length, in bytes.
pub(crate) fn blocks_bytes(payload: usize) -> u64 {
    (payload.div_ceil(PAYLOAD_BYTES) * BLOCK_BYTES) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::names::tests::KEY;
    use crate::log::{Disk as _, SimDisk, SystemEntropy};

    /// Given blocks, then each is read as what it is: in the index of no other segment, with no
    /// other key, in no other place.
    #[test]
    fn a_block_is_of_one_segment_one_key_and_one_place() {
        let disk = SimDisk::new();
        let file = disk.open("index", true).unwrap();
        let blocks = |salt, names| Blocks::new(Arc::clone(&file), salt, names);
        let payload = vec![7; 2 * PAYLOAD_BYTES];
        blocks(3, KEY).write(0, &payload).unwrap();
        assert_eq!(blocks(3, KEY).read(0, payload.len()).unwrap(), payload);
        for at in [0, PAYLOAD_BYTES] {
            assert!(blocks(4, KEY).read(at, 1).is_err());
            assert!(blocks(3, NameKey::new(&SystemEntropy)).read(at, 1).is_err());
        }
        let bytes = disk.contents("index").unwrap();
        disk.put_into("index", &[&bytes[BLOCK_BYTES..], &bytes[..BLOCK_BYTES]].concat());
        assert!(
            blocks(3, KEY).read(0, 1).is_err() && blocks(3, KEY).read(PAYLOAD_BYTES, 1).is_err()
        );
    }
}
