//! A master to HLS: `ffmpeg` writes to a scratch folder, what it wrote is checked, then stored.
//!
//! Repeating it writes the same keys, so a caller that is not sure just asks again.

mod ffmpeg;
mod ladder;
mod package;
mod run;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use crate::hls::{HlsPackage, MediaId};
use crate::limits::{TRANSCODE_BASE_BYTES_MAX, TRANSCODE_BASE_MS_MAX};
use crate::object_key::ObjectKey;
use crate::probe::AudioFacts;
use crate::scratch::Scratch;
use crate::storage::{ObjectStorage, StorageError};

pub use ffmpeg::{Ffmpeg, FfmpegError};
pub use ladder::{LADDER, Rendition};

/// Turns masters into HLS packages. How many at a time is up to who asks.
pub struct Transcoder {
    ffmpeg: Ffmpeg,
    storage: Arc<dyn ObjectStorage>,
    scratch: Scratch,
    limits: TranscodeLimits,
}

/// What transcodes may cost. Time and size grow with the master on top of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TranscodeLimits {
    /// What each may take beside the time the master plays, in milliseconds.
    pub base_ms_max: u64,
    /// What each may write beside what the bit rates come to, in bytes.
    pub base_bytes_max: u64,
}

/// Why a master could not be turned into a package.
#[derive(Debug, thiserror::Error)]
pub enum TranscodeError {
    /// `ffmpeg` is not there, or does not run.
    #[error(transparent)]
    Ffmpeg(#[from] FfmpegError),
    /// `ffmpeg` gave up on this master.
    #[error("ffmpeg could not transcode the master: {reason}")]
    Failed {
        /// The end of what it complained of.
        reason: String,
    },
    /// Some of its sound can't be decoded.
    #[error("the file is damaged: parts of its sound can't be decoded")]
    Damaged,
    /// It plays longer or shorter than its packets come to.
    #[error(
        "the file is damaged, or holds several recordings: it tells of {told_ms} ms of sound, and \
         plays {made_ms} ms"
    )]
    OtherLength {
        /// What its packets come to, in milliseconds.
        told_ms: u64,
        /// What was made of it, in milliseconds.
        made_ms: u64,
    },
    /// `ffmpeg` was stopped from outside.
    #[error("ffmpeg was stopped by a signal")]
    Stopped,
    /// It took too long and was stopped.
    #[error("the transcode took longer than {limit_ms} ms")]
    TimedOut {
        /// The limit that was passed, in milliseconds.
        limit_ms: u64,
    },
    /// It kept a processor busy for much longer than such a master takes, and was stopped.
    #[error("the transcode was at work for more than {limit_ms} ms: the sound can't be encoded")]
    Endless {
        /// The limit that was passed, in milliseconds of a processor.
        limit_ms: u64,
    },
    /// It wrote too much and was stopped.
    #[error("the transcode wrote more than {limit_bytes} bytes")]
    OutputTooLarge {
        /// The limit that was passed, in bytes.
        limit_bytes: u64,
    },
    /// It said that all is well, and what it wrote is not what was asked for.
    #[error("what ffmpeg made of the master is not it: {reason}")]
    BadOutput {
        /// What is wrong with it.
        reason: String,
    },
    /// The disk of the scratch folder is full.
    #[error("the disk is full")]
    Full,
    /// The scratch folder failed.
    #[error("the scratch folder failed")]
    Scratch(#[source] io::Error),
    /// The master could not be read, or the package not be stored.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl TranscodeError {
    /// Whether the same master may well pass at another time: the fault was not in the master.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Failed { .. } | Self::Damaged => false,
            Self::OtherLength { .. } | Self::Endless { .. } => false,
            Self::OutputTooLarge { .. } | Self::BadOutput { .. } => false,
            Self::Storage(StorageError::NotFound { .. }) => false,
            Self::Ffmpeg(_) | Self::Stopped | Self::TimedOut { .. } | Self::Full => true,
            Self::Scratch(_) | Self::Storage(_) => true,
        }
    }

    fn scratch(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            _ => Self::Scratch(error),
        }
    }
}

impl Default for TranscodeLimits {
    fn default() -> Self {
        Self { base_ms_max: TRANSCODE_BASE_MS_MAX, base_bytes_max: TRANSCODE_BASE_BYTES_MAX }
    }
}

impl Transcoder {
    /// A transcoder that reads masters from and stores packages in this storage.
    pub fn new(
        ffmpeg: Ffmpeg,
        storage: Arc<dyn ObjectStorage>,
        scratch: Scratch,
        limits: TranscodeLimits,
    ) -> Self {
        Self { ffmpeg, storage, scratch, limits }
    }

    /// Transcodes a master to every rendition of [`LADDER`] and stores the package.
    ///
    /// `facts` are what [`crate::Prober`] found of this master. When this is dropped, `ffmpeg` is
    /// killed and the scratch folder removed; no master playlist is stored then.
    ///
    /// # Errors
    /// Each reason its own [`TranscodeError`]; a package that was there before keeps playing,
    /// unless the storage itself failed half-way.
    pub async fn to_hls(
        &self,
        media: MediaId,
        master: &ObjectKey,
        facts: &AudioFacts,
    ) -> Result<HlsPackage, TranscodeError> {
        let began = Instant::now();
        let outcome = self.transcode(media, master, facts).await;
        metrics::histogram!("veza_media_transcode_seconds").record(began.elapsed());
        let name = if outcome.is_ok() { "stored" } else { "failed" };
        metrics::counter!("veza_media_transcodes_total", "outcome" => name).increment(1);
        outcome
    }

    async fn transcode(
        &self,
        media: MediaId,
        master: &ObjectKey,
        facts: &AudioFacts,
    ) -> Result<HlsPackage, TranscodeError> {
        let source = self.storage.local_file(master).await?;
        let folder = self.scratch.folder().map_err(TranscodeError::scratch)?;
        self.run(source.path(), folder.as_path(), facts).await?;
        let renditions = package::read(folder.as_path(), facts.duration_ms).await?;
        let package = package::store(self.storage.as_ref(), media, renditions).await?;
        tracing::info!(
            media.id = %media,
            duration_ms = package.duration_ms,
            size_bytes = package.size_bytes,
            "transcoded to HLS"
        );
        Ok(package)
    }

    async fn run(
        &self,
        source: &Path,
        folder: &Path,
        facts: &AudioFacts,
    ) -> Result<(), TranscodeError> {
        for rendition in LADDER {
            let made = tokio::fs::create_dir(folder.join(rendition.name)).await;
            made.map_err(TranscodeError::scratch)?;
        }
        let source = tokio::fs::canonicalize(source).await.map_err(TranscodeError::Scratch)?;
        let command = self.ffmpeg.command(&ladder::arguments(&source, facts), folder);
        let bits: u64 = LADDER.iter().map(|rendition| rendition.bit_rate_bps).sum();
        let time_ms = self.limits.base_ms_max.saturating_add(facts.duration_ms);
        let bounds = run::Bounds {
            time_ms,
            // Many times what the encoder takes, and it can be had before the time is over.
            processor_ms: time_ms / 4,
            // Twice what the bit rates say: they are aims, not bounds.
            output_bytes: self.limits.base_bytes_max + facts.duration_ms * bits / 8 / 1_000 * 2,
        };
        run::run(command, &self.ffmpeg, (&source, folder), bounds).await
    }
}

#[cfg(test)]
mod tests;
