//! Payload in blocks that are checked whenever they are read, so that nothing need be read whole.

use crc32c::crc32c_append;

use crate::log::{DiskFile, u32_at};

const BLOCK_BYTES: usize = 4096;
pub(super) const PAYLOAD_BYTES: usize = BLOCK_BYTES - 4;

/// Why bytes of an index could not be had: it is damaged, or can't be read.
#[derive(Debug)]
pub(crate) struct Damaged;

/// Cuts a payload into blocks with checksums.
pub(crate) fn into_blocks(payload: &[u8]) -> Vec<u8> {
    let mut blocks = Vec::with_capacity(payload.len() / PAYLOAD_BYTES * BLOCK_BYTES + BLOCK_BYTES);
    for (number, part) in payload.chunks(PAYLOAD_BYTES).enumerate() {
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
    let mut blocks = vec![0; (end - first) * BLOCK_BYTES];
    file.read_at(&mut blocks, (first * BLOCK_BYTES) as u64).map_err(|_| Damaged)?;
    let mut payload = Vec::with_capacity((end - first) * PAYLOAD_BYTES);
    for (number, block) in (first..).zip(blocks.chunks_exact(BLOCK_BYTES)) {
        let (part, _) = block.split_at(PAYLOAD_BYTES);
        if block_crc(number, part) != u32_at(block, PAYLOAD_BYTES) {
            return Err(Damaged);
        }
        payload.extend_from_slice(part);
    }
    payload.drain(..offset - first * PAYLOAD_BYTES);
    payload.truncate(length);
    Ok(payload)
}

fn block_crc(number: usize, payload: &[u8]) -> u32 {
    crc32c_append(u32::try_from(number).unwrap_or(u32::MAX), payload)
}
