//! Every bound of this crate, each with its unit in its name.

/// The longest key of an object, in bytes; S3 allows 1,024.
pub const KEY_BYTES_MAX: usize = 512;

/// The longest part of a key between slashes, in bytes; file systems allow 255.
pub const KEY_PART_BYTES_MAX: usize = 128;

/// The largest master taken, in bytes, unless set otherwise: 512 MiB.
pub const UPLOAD_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// How long an upload may take to send [`UPLOAD_PACE_BYTES_MIN`], in milliseconds.
pub const UPLOAD_STALL_MS_MAX: u64 = 30_000;

/// After how much of an upload it is asked again whether there is room, in bytes.
pub const UPLOAD_STEP_BYTES: u64 = 8 * 1024 * 1024;

/// How much an upload has to send in each [`UPLOAD_STALL_MS_MAX`], in bytes, until its end.
pub const UPLOAD_PACE_BYTES_MIN: u64 = 64 * 1024;

/// How many bytes are gathered before they are hashed and written, in bytes.
pub const WRITE_BYTES: usize = 1024 * 1024;

/// How many bytes are read from a file at a time, in bytes.
pub const READ_BYTES: usize = 128 * 1024;

/// Temporary files of this age, in seconds, belong to nobody any more, whoever is at work.
pub const SCRATCH_AGE_SECONDS_MAX: u64 = 24 * 60 * 60;

/// The longest recording taken, in milliseconds: 12 hours.
pub const DURATION_MS_MAX: u64 = 12 * 60 * 60 * 1000;

/// Shortest master, in milliseconds: of less no stream can be made that plays.
pub const DURATION_MS_MIN: u64 = 100;

/// The most work that a probe may be, in seconds of a processor.
pub const PROBE_CPU_SECONDS_MAX: u64 = 60;

/// The longest a probe may take on a busy machine, in milliseconds.
pub const PROBE_MS_MAX: u64 = 300_000;

/// The most address space that a probe may have, its program included, in bytes.
pub const PROBE_MEMORY_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// The longest answer of a probe, in bytes.
pub const PROBE_ANSWER_BYTES_MAX: u64 = 16 * 1024;

/// How long a segment of a stream aims to be, in milliseconds.
pub const SEGMENT_MS: u64 = 4_000;

/// What every transcode may take however short the master is, in milliseconds.
pub const TRANSCODE_BASE_MS_MAX: u64 = 120_000;

/// What every transcode may write on top of what its bit rates come to, in bytes.
pub const TRANSCODE_BASE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// How much of what `ffmpeg` complains of is kept, in bytes from its end.
pub const STDERR_TAIL_BYTES: usize = 4 * 1024;

/// How long `ffmpeg -version` may take, in milliseconds.
pub const FFMPEG_VERSION_MS_MAX: u64 = 15_000;

/// The niceness `ffmpeg` runs at: commands and queries go first.
pub const FFMPEG_NICENESS: i32 = 15;

/// The most memory of its own that `ffmpeg` may have, in bytes: ten times what it takes.
pub const FFMPEG_MEMORY_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// The largest playlist that is read back, in bytes.
pub const PLAYLIST_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// The most objects one page of a listing holds.
pub const LIST_PAGE_MAX: usize = 1_000;
