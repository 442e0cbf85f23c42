//! Looking at every byte of the log, and along the hash chain.

use crate::error::StoreError;
use crate::index::{Catalog, Mending, Remade};
use crate::log::{AuditHead, ChainEnd, Disk, ScannedRecord, Segment, SegmentKeys, scan_whole};
use crate::position::Position;

/// What [`EmbeddedStore::verify`](crate::EmbeddedStore::verify) found to be good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// How many events.
    pub events: u64,
    /// How many of them were reclaimed. Of those only the digests are left, as part of the chain:
    /// nobody who changes a record can pass it off as reclaimed without changing this number.
    pub reclaimed: u64,
    /// In how many bytes of segments.
    pub bytes: u64,
    /// How many indexes were missing, damaged or of an older version, and have been made again from
    /// their segments: now, or since the store was opened or last verified.
    pub indexes_mended: u64,
    /// How many indexes are in memory only, because their files can't be written: each opening
    /// makes them again, which reads their segments.
    pub indexes_unwritten: u64,
    /// The chain up to the last of them.
    pub head: AuditHead,
}

/// Checks every segment and its key, the whole chain, that it went through `known`, and the
/// indexes.
pub(super) fn verify(
    catalog: &Catalog,
    disk: &dyn Disk,
    keys: &SegmentKeys,
    known: Option<AuditHead>,
) -> Result<Verified, StoreError> {
    let mut audit = Audit { known, ..Audit::default() };
    let (mut bytes, mut indexes_mended, mut indexes_unwritten) = (0, 0, 0);
    let (all_sealed, active, length) = catalog.at_once();
    for (number, sealed) in all_sealed.iter().enumerate() {
        let segment = &sealed.segment;
        segment.check(disk, keys)?;
        let mut remade = Remade::new(segment, catalog.names());
        audit.segment(segment, sealed.length(), |record| remade.add(record))?;
        bytes += sealed.length();
        let older = &all_sealed[..number];
        match sealed.mend_index(disk, older, remade)? {
            Mending::Whole => {}
            Mending::Mended => indexes_mended += 1,
            Mending::Unwritten => indexes_unwritten += 1,
        }
    }
    active.check(disk, keys)?;
    audit.segment(&active, length, |_| {})?;
    bytes += length;
    if let Some(known) = audit.known {
        let place = format!("position {}", known.position).into();
        let reason = format!("the log ends at {}, before the head that is known", audit.last);
        return Err(StoreError::Corrupt { place, reason: reason.into() });
    }
    let head = AuditHead { position: Position::new(audit.last), chain: audit.chain };
    let (events, reclaimed) = (audit.events, audit.reclaimed);
    Ok(Verified { events, reclaimed, bytes, indexes_mended, indexes_unwritten, head })
}

/// The end of the chain after these segments, which are the first of the log and carry none.
pub(super) fn chain_after<'a>(
    segments: impl IntoIterator<Item = (&'a Segment, u64)>,
) -> Result<ChainEnd, StoreError> {
    let mut audit = Audit::default();
    for (segment, length) in segments {
        audit.segment(segment, length, |_| {})?;
    }
    Ok(audit.chain)
}

/// The way along the chain, from before the first event.
struct Audit {
    chain: ChainEnd,
    last: u64,
    events: u64,
    reclaimed: u64,
    /// A head that was not come to yet.
    known: Option<AuditHead>,
}

impl Default for Audit {
    fn default() -> Self {
        Self { chain: ChainEnd::START, last: 0, events: 0, reclaimed: 0, known: None }
    }
}

impl Audit {
    /// Goes through a segment, and lets its records be visited on the way.
    fn segment(
        &mut self,
        segment: &Segment,
        length: u64,
        mut visit: impl FnMut(ScannedRecord<'_>),
    ) -> Result<(), StoreError> {
        segment.check_chain_before(self.chain)?;
        if self.is_not_the_known() {
            let reason = "the chain before the first event is not the known one";
            return Err(segment.corrupt(0, reason));
        }
        let mut broken = None;
        let mut frame_first = segment.first;
        scan_whole(segment, length, |record| {
            self.chain = self.chain.after(&record.digest());
            self.reclaimed += u64::from(record.head.reclaimed);
            self.last = record.position;
            self.events += 1;
            if self.is_not_the_known() {
                let position = self.last;
                let reason = format!("the chain up to position {position} is not the known one");
                broken.get_or_insert((record.offset, reason));
            }
            if let Some(recorded) = record.chain {
                if recorded != self.chain {
                    let reason = format!(
                        "the events from position {frame_first} on are not those that were recorded"
                    );
                    broken.get_or_insert((record.offset, reason));
                }
                frame_first = record.position + 1;
            }
            visit(record);
        })?;
        match broken {
            None => Ok(()),
            Some((offset, reason)) => Err(segment.corrupt(u64::from(offset), &reason)),
        }
    }

    /// Whether the known head is come to and is another one; it is asked about once.
    fn is_not_the_known(&mut self) -> bool {
        let come_to = self.known.take_if(|known| known.position.get() == self.last);
        come_to.is_some_and(|known| known.chain != self.chain)
    }
}
