//! The manifest of a backup: what is in it, written last.

use std::io;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::error::BackupError;
use super::target::BACKUP_UNFINISHED;
use crate::limits::MANIFEST_BYTES_MAX;
use crate::log::{AuditHead, ChainEnd, Disk, KeyOf, segment_name};
use crate::position::Position;

/// The name of its file.
pub(super) const MANIFEST: &str = "BACKUP";

const FORMAT: u32 = 1;
/// Before the digest of all that stands above, in the last line.
const DIGEST: &str = "blake3 ";

/// What a backup is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of this format.
    pub format: u32,
    /// When it was made.
    pub made_at: DateTime<Utc>,
    /// The hash chain up to the last event in it.
    pub head: AuditHead,
    /// The segments, from old to new.
    pub segments: Vec<SegmentEntry>,
}

/// A segment in a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentEntry {
    /// Its file.
    #[serde(flatten)]
    pub file: FileEntry,
    /// The position of its first event.
    pub first: u64,
    /// The hash chain up to its last event in the backup.
    pub end: AuditHead,
    /// Where its checksums begin: another file with the same events has another.
    pub salt: u32,
    /// When its first event was recorded, in microseconds since 1970.
    pub recorded_from: i64,
    /// When its last event in the backup was recorded.
    pub recorded_until: i64,
    /// The file with its key, where it is encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<FileEntry>,
}

/// A file in a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Its name.
    pub name: String,
    /// Its length, in bytes.
    pub bytes: u64,
    /// The BLAKE3 hash of it, in hexadecimal digits.
    pub blake3: String,
}

impl Manifest {
    pub(super) fn new(
        made_at: DateTime<Utc>,
        head: AuditHead,
        segments: Vec<SegmentEntry>,
    ) -> Self {
        Self { format: FORMAT, made_at, head, segments }
    }

    /// Reads the manifest of a backup.
    ///
    /// # Errors
    /// When there is none, or it is not as it was written.
    pub fn read(disk: &dyn Disk) -> Result<Self, BackupError> {
        let none = |unfinished| {
            let path = disk.folder().map(|path| path.display().to_string());
            let folder = path.unwrap_or_else(|| "the folder".to_owned());
            BackupError::NoBackup { folder, unfinished }
        };
        let names = match disk.list() {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                return Err(none(false));
            }
            names => names?,
        };
        if !names.iter().any(|name| name == MANIFEST) {
            let unfinished = names.iter().any(|name| name == BACKUP_UNFINISHED);
            return Err(none(unfinished));
        }
        let file = disk.open(MANIFEST, false)?;
        let length = file.length()?;
        if length > MANIFEST_BYTES_MAX {
            return Err(damaged(format!("it has {length} bytes, more than are read")));
        }
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        file.read_at(&mut bytes, 0)?;
        Self::of_bytes(&bytes).map_err(damaged)
    }

    fn of_bytes(bytes: &[u8]) -> Result<Self, String> {
        let text = str::from_utf8(bytes).map_err(|_| "it is no text")?;
        let (body, digest) = text
            .rfind(DIGEST)
            .map(|at| text.split_at(at))
            .ok_or("its last line, which has the digest, is missing")?;
        if digest != digest_line(body) {
            return Err("it does not agree with its digest".to_owned());
        }
        let manifest: Self = serde_json::from_str(body).map_err(|error| error.to_string())?;
        if manifest.format != FORMAT {
            let format = manifest.format;
            return Err(format!("it is of format {format}, this build reads {FORMAT}"));
        }
        manifest.check()?;
        Ok(manifest)
    }

    /// That the segments are the log from its first event to the head, under their own names.
    fn check(&self) -> Result<(), String> {
        let mut next = 1;
        for segment in &self.segments {
            let key_name = KeyOf { first: segment.first, salt: segment.salt }.file_name();
            if segment.first != next
                || segment.end.position.get() < segment.first
                || segment.file.name != segment_name(segment.first)
                || segment.key.as_ref().is_some_and(|key| key.name != key_name)
            {
                return Err(format!("its segment {} is not the next one", segment.file.name));
            }
            next = segment.end.position.get().saturating_add(1);
        }
        let start = AuditHead { position: Position::START, chain: ChainEnd::START };
        if self.segments.last().map_or(start, |last| last.end) != self.head {
            return Err("its head is not the end of its segments".to_owned());
        }
        Ok(())
    }

    /// Ends a backup: from here on it is one.
    pub(super) fn write(&self, disk: &dyn Disk) -> Result<(), BackupError> {
        let mut text = serde_json::to_string_pretty(self).map_err(io::Error::other)?;
        text.push('\n');
        text.push_str(&digest_line(&text));
        let file = disk.open(BACKUP_UNFINISHED, true)?;
        file.write_at(text.as_bytes(), 0)?;
        file.truncate(text.len() as u64)?;
        file.sync()?;
        // The files must not be missing when the manifest is there.
        disk.sync_folder()?;
        disk.rename(BACKUP_UNFINISHED, MANIFEST)?;
        Ok(disk.sync_folder()?)
    }
}

fn digest_line(body: &str) -> String {
    format!("{DIGEST}{}\n", blake3::hash(body.as_bytes()).to_hex())
}

fn damaged(reason: impl Into<String>) -> BackupError {
    BackupError::Damaged { file: MANIFEST.to_owned(), reason: reason.into() }
}
