//! The log on disk, as `FORMAT.md` describes it: segments of frames of records.
//!
//! Everything that touches a disk goes through [`Disk`] and [`DiskFile`], so that tests can put a
//! failing one below the whole engine.

mod chain;
mod clean;
mod clock;
mod codec;
mod disk;
mod folder;
mod frame;
mod mark;
mod recovery;
mod rewrite;
mod segment;
mod simulated;

pub use chain::{AuditHead, ChainEnd, NoAuditHead};
pub use clock::{Clock, SystemClock};
pub use disk::{Disk, DiskFile};
pub use folder::Folder;
pub use simulated::{Fault, SimDisk};

pub(crate) use clean::CleanMark;
pub(crate) use codec::{array_at, name_hash, u32_at, u64_at};
pub(crate) use frame::{FrameBuilder, Kinds, RECLAIMED_RECORD_BYTES, kind_hash};
pub(crate) use mark::Mark;
pub(crate) use recovery::{
    Look, ScannedRecord, check_active, check_sealed, look, next_segment, recover_active,
    recover_sealed, scan_whole, scan_written, segment_files, segments_on, try_scan_whole,
};
pub(crate) use rewrite::{
    Rewrite, UNFINISHED, discard_segment, remove_unfinished, replace_segment,
};
pub(crate) use segment::{RecordPlace, SEGMENT_HEADER_BYTES, Segment, index_name, segment_name};
