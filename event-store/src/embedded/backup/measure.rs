//! Going through a segment up to some position, and along the chain.

use crate::error::StoreError;
use crate::log::{AuditHead, ChainEnd, ScannedRecord, Segment, scan_written};
use crate::position::Position;

/// A segment up to the end of one of its frames.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measured {
    /// Where that frame ends in the file.
    pub(super) length: u64,
    /// The chain up to its last event.
    pub(super) end: AuditHead,
    /// When the first event was recorded, and the last, in microseconds since 1970.
    pub(super) recorded: (i64, i64),
}

/// Why a scan ended.
enum Halt {
    Enough,
    Failed(StoreError),
}

impl From<StoreError> for Halt {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

/// Checks the records of a segment up to the frame with the position `bound`, which must be there,
/// and that they continue this chain. Each is visited, with the end of the chain after it.
pub(super) fn measure(
    segment: &Segment,
    chain: ChainEnd,
    bound: u64,
    mut visit: impl FnMut(&ScannedRecord<'_>, AuditHead),
) -> Result<Measured, StoreError> {
    segment.check_chain_before(chain)?;
    let start = AuditHead { position: Position::new(segment.first - 1), chain };
    let mut so_far = Measured { length: segment.frames_start(), end: start, recorded: (0, 0) };
    let mut frame_ends = true;
    let scanned = scan_written(segment, segment.length()?, |record| {
        let last = so_far.end.position.get();
        if last >= bound && frame_ends {
            return Err(Halt::Enough);
        }
        let chain = so_far.end.chain.after(&record.digest());
        segment.check_chain_at(&record, chain)?;
        frame_ends = record.chain.is_some() || segment.chain_before.is_none();
        so_far.end = AuditHead { position: Position::new(record.position), chain };
        so_far.length = u64::from(record.offset) + record.head.length as u64;
        let at = record.recorded_at_micros;
        let first = record.position == segment.first;
        so_far.recorded = (if first { at } else { so_far.recorded.0 }, at);
        visit(&record, so_far.end);
        Ok(())
    });
    match scanned {
        Err(Halt::Failed(error)) => return Err(error),
        Ok(end) if so_far.end.position.get() < bound => {
            let reason =
                format!("a frame does not agree with its checksum before position {bound}");
            return Err(segment.corrupt(end, &reason));
        }
        Ok(_) | Err(Halt::Enough) => {}
    }
    Ok(so_far)
}
