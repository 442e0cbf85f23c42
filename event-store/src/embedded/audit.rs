//! Looking at every byte of the log, and along the hash chain.

use crate::error::StoreError;
use crate::index::{Catalog, MemoryIndex};
use crate::log::{AuditHead, ChainEnd, Disk, Segment, scan_whole};
use crate::position::Position;

/// What [`EmbeddedStore::verify`](crate::EmbeddedStore::verify) found to be good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// How many events.
    pub events: u64,
    /// In how many bytes of segments.
    pub bytes: u64,
    /// How many indexes were damaged, and have been made again from their segments.
    pub indexes_mended: u64,
    /// The chain up to the last of them.
    pub head: AuditHead,
}

/// Checks every segment, the whole chain, that it went through `known`, and the indexes.
pub(super) fn verify(
    catalog: &Catalog,
    disk: &dyn Disk,
    known: Option<AuditHead>,
) -> Result<Verified, StoreError> {
    let mut audit = Audit { known, ..Audit::new(ChainEnd::START) };
    let (mut bytes, mut indexes_mended) = (0, 0);
    // Before the segments: what is sealed meanwhile is then looked at without its index.
    let sealed = catalog.sealed();
    for (number, (segment, length)) in catalog.segments().into_iter().enumerate() {
        segment.check_header()?;
        let index = audit.segment(&segment, length)?;
        bytes += length;
        if let Some(sealed) = sealed.get(number) {
            indexes_mended += u64::from(sealed.mend_index(disk, index)?);
        }
    }
    if let Some(known) = audit.known {
        let place = format!("position {}", known.position).into();
        let reason = format!("the log ends at {}, before the head that is known", audit.last);
        return Err(StoreError::Corrupt { place, reason: reason.into() });
    }
    let head = AuditHead { position: Position::new(audit.last), chain: audit.chain };
    Ok(Verified { events: audit.events, bytes, indexes_mended, head })
}

/// The end of the chain after these segments, which are the first of the log and carry none.
pub(super) fn chain_after<'a>(
    segments: impl IntoIterator<Item = (&'a Segment, u64)>,
) -> Result<ChainEnd, StoreError> {
    let mut audit = Audit::new(ChainEnd::START);
    for (segment, length) in segments {
        audit.segment(segment, length)?;
    }
    Ok(audit.chain)
}

struct Audit {
    chain: ChainEnd,
    last: u64,
    events: u64,
    /// A head that was not come to yet.
    known: Option<AuditHead>,
}

impl Audit {
    fn new(chain: ChainEnd) -> Self {
        Self { chain, last: 0, events: 0, known: None }
    }

    /// Goes through a segment; returns its index.
    fn segment(&mut self, segment: &Segment, length: u64) -> Result<MemoryIndex, StoreError> {
        if segment.chain_before.is_some_and(|before| before != self.chain) {
            let reason = "the chain before this segment is not that of the segments before it";
            return Err(segment.corrupt(0, reason));
        }
        self.reach(segment)?;
        let mut broken = None;
        let mut index = MemoryIndex::new(segment.first);
        let mut frame_first = segment.first;
        scan_whole(segment, length, |record| {
            self.chain = self.chain.after(record.bytes);
            self.last = record.position;
            self.events += 1;
            index.add_scanned(record);
            if let Some(known) = self.known
                && known.position.get() == self.last
            {
                self.known = None;
                if known.chain != self.chain {
                    broken.get_or_insert((record.offset, known.position.get(), true));
                }
            }
            if let Some(recorded) = record.chain {
                if recorded != self.chain {
                    broken.get_or_insert((record.offset, frame_first, false));
                }
                frame_first = record.position + 1;
            }
        })?;
        match broken {
            None => Ok(index),
            Some((offset, position, true)) => {
                let reason = format!("the chain up to position {position} is not the known one");
                Err(segment.corrupt(u64::from(offset), &reason))
            }
            Some((offset, position, false)) => {
                let reason = format!(
                    "the events from position {position} on are not those that were recorded"
                );
                Err(segment.corrupt(u64::from(offset), &reason))
            }
        }
    }

    /// A head before the first event is come to before anything is read.
    fn reach(&mut self, segment: &Segment) -> Result<(), StoreError> {
        match self.known {
            Some(known) if known.position == Position::START => {
                self.known = None;
                if known.chain == ChainEnd::START {
                    return Ok(());
                }
                Err(segment.corrupt(0, "the chain before the first event is not the known one"))
            }
            _ => Ok(()),
        }
    }
}
