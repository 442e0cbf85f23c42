//! Payload in blocks that are checked whenever they are read, so that nothing need be read whole.

use std::io;

use crc32c::crc32c_append;

use crate::log::{DiskFile, u32_at};

const BLOCK_BYTES: usize = 4096;
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

/// Writes a piece of the payload at its place, in blocks with checksums.
pub(super) fn write_piece(file: &dyn DiskFile, at: usize, piece: &[u8]) -> io::Result<()> {
    let first = at / PAYLOAD_BYTES;
    file.write_at(&into_blocks(first, piece), (first * BLOCK_BYTES) as u64)
}

/// Cuts payload into blocks with checksums, of which the first has this number.
fn into_blocks(first: usize, payload: &[u8]) -> Vec<u8> {
    let mut blocks = Vec::with_capacity(payload.len() / PAYLOAD_BYTES * BLOCK_BYTES + BLOCK_BYTES);
    for (number, part) in (first..).zip(payload.chunks(PAYLOAD_BYTES)) {
        let start = blocks.len();
        blocks.extend_from_slice(part);
        blocks.resize(start + PAYLOAD_BYTES, 0);
        let crc = block_crc(number, &blocks[start..]);
        blocks.extend_from_slice(&crc.to_le_bytes());
    }
    blocks
}

/// The file's length for a payload of this length, in bytes.
pub(crate) fn blocks_bytes(payload: usize) -> u64 {
    (payload.div_ceil(PAYLOAD_BYTES) * BLOCK_BYTES) as u64
}

/// Reads a part of the payload and checks the blocks that it lies in.
pub(crate) fn read_payload(
    file: &dyn DiskFile,
    offset: usize,
    length: usize,
) -> Result<Vec<u8>, Damaged> {
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
    file.read_at(blocks, (first * BLOCK_BYTES) as u64).map_err(|_| Damaged)?;
    let mut payload = Vec::with_capacity(length);
    let mut skip = offset - first * PAYLOAD_BYTES;
    for (number, block) in (first..).zip(blocks.chunks_exact(BLOCK_BYTES)) {
        let (part, _) = block.split_at(PAYLOAD_BYTES);
        if block_crc(number, part) != u32_at(block, PAYLOAD_BYTES) {
            return Err(Damaged);
        }
        let wanted = (length - payload.len()).min(PAYLOAD_BYTES - skip);
        payload.extend_from_slice(&part[skip..skip + wanted]);
        skip = 0;
    }
    Ok(payload)
}

fn block_crc(number: usize, payload: &[u8]) -> u32 {
    crc32c_append(u32::try_from(number).unwrap_or(u32::MAX), payload)
}
