//! Objects and sound: where files are kept, how masters come in, what they are, how they stream.
//!
//! It is the one place that touches the bytes of a recording. It is not the domain: it knows
//! neither tracks nor people, decides nothing, and appends no events; callers give it ids and keys.
//!
//! - `object_key`, the names of objects, safe to become paths and URLs
//! - `storage`, the [`ObjectStorage`] port; `storage/files` keeps objects in the data folder
//! - `scratch`, temporary files that clean up after themselves
//! - `sniff`, which container a file is, by its content, for which `id3` and `mpeg_frame` know tags
//!   and frames
//! - `upload`, a master received from a stream of bytes, bounded
//! - `room`, what uploads were promised of what is free
//! - `probe`, duration, codec, rate and channels of a master
//! - `prober`, the process that a probe is done in, and what bounds it
//! - `hls`, the layout of what is streamed, its playlists and content types
//! - `transcode`, a master to HLS through `ffmpeg`
//! - `ending`, whether a process ended by its own fault
//! - `limits`, every bound in one place
//!
//! Invariants: a key never leads out of the storage; a put is whole and durable or not there at
//! all; the master playlist is stored last, so whoever sees it can play everything it names.

mod ending;
mod hls;
mod id3;
pub mod limits;
mod mpeg_frame;
mod object_key;
mod probe;
mod prober;
mod room;
mod scratch;
mod sniff;
mod storage;
mod transcode;
mod upload;

#[cfg(test)]
mod sample_audio;

pub use hls::{HlsFile, HlsPackage, MediaId, PlayableRendition, list_hls, remove_hls};
pub use object_key::{KeyPrefix, ObjectKey, ObjectKeyError};
pub use probe::{AudioCodec, AudioFacts, ProbeError};
pub use prober::{Prober, answer_probe};
pub use scratch::{Scratch, ScratchPath};
pub use sniff::AudioFormat;
pub use storage::{
    ByteRange, ByteStream, FileStorage, ListedObject, LocalFile, ObjectHead, ObjectReader,
    ObjectStorage, Sha256Digest, StorageError, StoredObject,
};
pub use transcode::{
    Ffmpeg, FfmpegError, LADDER, Rendition, TranscodeError, TranscodeLimits, Transcoder,
};
pub use upload::{Upload, UploadError, UploadLimits, Uploads};
