//! The log on disk, as `FORMAT.md` describes it: segments of frames of records.
//!
//! Everything that touches a disk goes through [`Disk`] and [`DiskFile`], so that tests can put a
//! failing one below the whole engine.

mod at_once;
mod chain;
mod chain_checks;
mod clean;
mod clock;
mod codec;
mod data_key;
mod disk;
mod entropy;
mod findings;
mod folder;
mod frame;
mod header;
mod key_file;
mod mark;
mod new_segment;
mod newest;
mod recovery;
mod rewrite;
mod scrub_file;
mod search;
mod segment;
mod segment_keys;
mod simulated;
mod unfinished;

pub use chain::{AuditHead, ChainEnd, NoAuditHead};
pub use clock::{Clock, SystemClock};
pub use disk::{Disk, DiskFile, FileId, FileStamp};
pub use entropy::{Entropy, SimEntropy, SystemEntropy};
pub use findings::Rot;
pub use folder::Folder;
pub(crate) use folder::{FOLDER_MODE, make_folder};
pub use key_file::KeyError;
pub use segment_keys::RotatedKeys;
pub use simulated::{Fault, SimDisk};

pub(crate) use at_once::{at_once, may_wait, read_at, would_wait};
pub(crate) use clean::CleanMark;
pub(crate) use codec::{array_at, name_hash, u32_at, u64_at};
pub(crate) use entropy::new_id;
pub(crate) use findings::Findings;
pub(crate) use frame::{FrameBuilder, Kinds, RECORD_HEADER_BYTES, kind_hash};
pub(crate) use key_file::KeyOf;
pub(crate) use mark::Mark;
pub(crate) use new_segment::NewSegment;
pub(crate) use newest::NewestMark;
pub(crate) use recovery::{
    Look, ScannedRecord, check_active, check_sealed, is_written, look, look_locked, recover_active,
    recover_sealed, scan_whole, scan_written, segment_files, segments_on, try_scan_whole,
};
pub(crate) use rewrite::{Rewrite, discard_segment, replace_segment};
pub(crate) use scrub_file::ScrubFile;
pub(crate) use segment::{RecordPlace, Segment, index_name, is_unborn, segment_name};
pub(crate) use segment_keys::SegmentKeys;
pub(crate) use unfinished::{is_unfinished, remove_unfinished, unfinished};
