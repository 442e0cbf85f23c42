//! Masters received from a stream of bytes: bounded, known by their content, all or nothing.
//!
//! The bytes go straight to the storage, which keeps nothing of a put whose stream fails; so a
//! refusal is made by failing the stream, and the reason is kept beside it.

use std::collections::VecDeque;
use std::error::Error;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, BoxStream, Stream, StreamExt};
use tokio::time::{Instant, timeout_at};

use crate::limits::{
    UPLOAD_BYTES_MAX, UPLOAD_PACE_BYTES_MIN, UPLOAD_STALL_MS_MAX, UPLOAD_STEP_BYTES,
};
use crate::object_key::ObjectKey;
use crate::room::{Claim, Room};
use crate::sniff::{AudioFormat, Sniffer};
use crate::storage::{ObjectStorage, Sha256Digest, StorageError};

/// Receives masters into a storage.
#[derive(Clone)]
pub struct Uploads {
    storage: Arc<dyn ObjectStorage>,
    limits: UploadLimits,
    room: Room,
}

/// What an upload may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UploadLimits {
    /// The largest master taken, in bytes.
    pub size_bytes_max: u64,
    /// The longest time that `pace_bytes_min` may take, in milliseconds.
    pub stall_ms_max: u64,
    /// What all uploads together leave free in the storage, in bytes.
    pub reserve_bytes: u64,
    /// How much has to come in that time, again and again until the end, in bytes.
    pub pace_bytes_min: u64,
}

/// A master that is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// Where.
    pub key: ObjectKey,
    /// Which container it is, by its content.
    pub format: AudioFormat,
    /// How large it is, in bytes.
    pub size_bytes: u64,
    /// The digest of its content.
    pub sha256: Sha256Digest,
}

/// Why a master was not taken. Nothing of it is kept.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// Not one byte came.
    #[error("the upload is empty")]
    Empty,
    /// More came, or was announced, than is taken.
    #[error("the upload is larger than {limit_bytes} bytes")]
    TooLarge {
        /// The limit that was passed, in bytes.
        limit_bytes: u64,
    },
    /// The first bytes are of no format that is taken.
    #[error("the upload is not a WAV, FLAC, MP3, Ogg, AIFF or M4A file")]
    UnknownFormat,
    /// Other than announced.
    #[error("the upload ended after {received_bytes} of {declared_bytes} bytes")]
    Incomplete {
        /// How many bytes were announced.
        declared_bytes: u64,
        /// How many came.
        received_bytes: u64,
    },
    /// The sender fell silent, or trickles.
    #[error("the upload sent less than {pace_bytes_min} bytes in {stall_ms_max} ms")]
    Stalled {
        /// How much was expected, in bytes.
        pace_bytes_min: u64,
        /// The time that it had for it, in milliseconds.
        stall_ms_max: u64,
    },
    /// The sender went away, or its stream broke.
    #[error("the upload broke off")]
    Broken(#[source] Box<dyn Error + Send + Sync>),
    /// It could not be stored.
    #[error("the upload could not be stored")]
    Storage(#[from] StorageError),
}

impl Default for UploadLimits {
    fn default() -> Self {
        Self {
            size_bytes_max: UPLOAD_BYTES_MAX,
            stall_ms_max: UPLOAD_STALL_MS_MAX,
            reserve_bytes: 0,
            pace_bytes_min: UPLOAD_PACE_BYTES_MIN,
        }
    }
}

impl Uploads {
    /// Uploads into this storage, with the limits of [`crate::limits`].
    pub fn new(storage: Arc<dyn ObjectStorage>) -> Self {
        let limits = UploadLimits::default();
        let room = Room::of(Arc::clone(&storage), limits.reserve_bytes);
        Self { storage, limits, room }
    }

    /// The same with other limits.
    pub fn with_limits(self, limits: UploadLimits) -> Self {
        let room = Room::of(Arc::clone(&self.storage), limits.reserve_bytes);
        Self { limits, room, ..self }
    }

    /// Receives one master and stores it under the key, in place of what was there.
    ///
    /// `declared_bytes` is what the sender announced (`Content-Length`): too much is refused
    /// before anything is read, as is what there is no room for beside the uploads under way, and
    /// anything else than announced is refused at the end.
    ///
    /// # Errors
    /// Each refusal is its own [`UploadError`]; nothing is kept then.
    pub async fn receive<S, E>(
        &self,
        key: &ObjectKey,
        declared_bytes: Option<u64>,
        body: S,
    ) -> Result<Upload, UploadError>
    where
        S: Stream<Item = Result<Bytes, E>> + Send + 'static,
        E: Into<Box<dyn Error + Send + Sync>> + 'static,
    {
        let limit_bytes = self.limits.size_bytes_max;
        if declared_bytes.is_some_and(|bytes| bytes > limit_bytes) {
            return Err(UploadError::TooLarge { limit_bytes });
        }
        let claim = self.room.claim(declared_bytes.unwrap_or(0)).await?;
        let body = body.map(|chunk| chunk.map_err(Into::into)).boxed();
        let mut intake = Intake {
            body,
            limits: self.limits,
            declared_bytes,
            received_bytes: 0,
            claim,
            unchecked_bytes: 0,
            milestone: Milestone::after(0, self.limits),
            begun: VecDeque::new(),
            sniffer: Sniffer::default(),
            told: Told::default(),
        };
        intake.begin().await?;

        let told = intake.told.clone();
        let stored = self.storage.put(key, intake.into_checked()).await;
        let format = told.take().transpose()?;
        let stored = stored?;
        // A storage has all of a stream only when that has ended.
        let format = format.ok_or(UploadError::UnknownFormat)?;
        metrics::counter!("veza_media_upload_bytes_total").increment(stored.size_bytes);
        Ok(Upload { key: stored.key, format, size_bytes: stored.size_bytes, sha256: stored.sha256 })
    }
}

/// What is told past a storage that only knows whether the stream ended or failed: which format it
/// was in the end, or why it was failed on purpose.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Option<Result<AudioFormat, UploadError>>>>);

impl Told {
    fn set(&self, outcome: Result<AudioFormat, UploadError>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
    }

    fn take(&self) -> Option<Result<AudioFormat, UploadError>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The sender's stream, counted and bounded.
struct Intake {
    body: BoxStream<'static, Result<Bytes, Box<dyn Error + Send + Sync>>>,
    limits: UploadLimits,
    declared_bytes: Option<u64>,
    received_bytes: u64,
    claim: Claim,
    /// What came since it was last asked whether there is room.
    unchecked_bytes: u64,
    milestone: Milestone,
    /// What was read to tell that it is sound, and is still to be stored.
    begun: VecDeque<Bytes>,
    sniffer: Sniffer,
    told: Told,
}

/// How much must have come by when. What came while this machine was busy storing is in time: it
/// is looked for before the clock is.
#[derive(Clone, Copy)]
struct Milestone {
    bytes: u64,
    by: Instant,
}

impl Milestone {
    fn after(received_bytes: u64, limits: UploadLimits) -> Self {
        let by = Instant::now() + Duration::from_millis(limits.stall_ms_max);
        Self { bytes: received_bytes.saturating_add(limits.pace_bytes_min), by }
    }
}

impl Intake {
    /// Reads the first bytes, by which nearly all is refused that is no sound.
    async fn begin(&mut self) -> Result<(), UploadError> {
        while !self.sniffer.has_begun() {
            let Some(chunk) = self.receive().await? else {
                break;
            };
            self.begun.push_back(chunk);
        }
        if self.received_bytes == 0 {
            return Err(UploadError::Empty);
        }
        self.sniffer.format().map(|_| ()).ok_or(UploadError::UnknownFormat)
    }

    async fn next(&mut self) -> Result<Option<Bytes>, UploadError> {
        match self.begun.pop_front() {
            Some(chunk) => Ok(Some(chunk)),
            None => self.receive().await,
        }
    }

    async fn receive(&mut self) -> Result<Option<Bytes>, UploadError> {
        let UploadLimits { stall_ms_max, pace_bytes_min, .. } = self.limits;
        let chunk = timeout_at(self.milestone.by, self.body.next())
            .await
            .map_err(|_| UploadError::Stalled { pace_bytes_min, stall_ms_max })?;
        let Some(chunk) = chunk else {
            return self.check_complete().map(|()| None);
        };
        let chunk = chunk.map_err(UploadError::Broken)?;
        self.received_bytes += chunk.len() as u64;
        if self.received_bytes > self.limits.size_bytes_max {
            return Err(UploadError::TooLarge { limit_bytes: self.limits.size_bytes_max });
        }
        self.sniffer.pass(&chunk);
        self.find_room(chunk.len() as u64).await?;
        if self.received_bytes >= self.milestone.bytes {
            self.milestone = Milestone::after(self.received_bytes, self.limits);
        }
        Ok(Some(chunk))
    }

    /// Lets so much more in. Others write to the same disk, so it is asked again and again; what
    /// was not announced is claimed a step at a time.
    async fn find_room(&mut self, bytes: u64) -> Result<(), StorageError> {
        self.unchecked_bytes += bytes;
        let missing = bytes.saturating_sub(self.claim.bytes());
        if missing > 0 || self.unchecked_bytes >= UPLOAD_STEP_BYTES {
            let more = if missing > 0 { missing.max(UPLOAD_STEP_BYTES) } else { 0 };
            self.claim.extend(more).await?;
            self.unchecked_bytes = 0;
        }
        self.claim.spend(bytes);
        Ok(())
    }

    fn check_complete(&self) -> Result<(), UploadError> {
        let received_bytes = self.received_bytes;
        match self.declared_bytes {
            Some(declared_bytes) if received_bytes > 0 && declared_bytes != received_bytes => {
                Err(UploadError::Incomplete { declared_bytes, received_bytes })
            }
            _ => Ok(()),
        }
    }

    /// Tells why it is refused, and gives what fails the stream: so nothing of it is stored.
    fn refused(&self, error: UploadError) -> io::Error {
        self.told.set(Err(error));
        io::Error::other("the upload was refused")
    }

    fn into_checked(self) -> crate::storage::ByteStream {
        let checked = stream::try_unfold(self, |mut intake| async move {
            match intake.next().await {
                Ok(Some(chunk)) => Ok(Some((chunk, intake))),
                Ok(None) => match intake.sniffer.format() {
                    Some(format) => {
                        intake.told.set(Ok(format));
                        Ok(None)
                    }
                    None => Err(intake.refused(UploadError::UnknownFormat)),
                },
                Err(error) => Err(intake.refused(error)),
            }
        });
        checked.boxed()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::path::Path;

    use super::*;
    use crate::sample_audio::Chord;
    use crate::storage::{ByteRange, FileStorage};

    fn uploads(home: &Path, limits: UploadLimits) -> (Uploads, Arc<FileStorage>) {
        let storage = Arc::new(FileStorage::open(home).unwrap());
        (Uploads::new(storage.clone()).with_limits(limits), storage)
    }

    fn key() -> ObjectKey {
        ObjectKey::new("masters/one").unwrap()
    }

    fn pieces(bytes: &[u8], piece: usize) -> impl Stream<Item = Result<Bytes, Infallible>> + use<> {
        let pieces: Vec<_> = bytes.chunks(piece).map(Bytes::copy_from_slice).map(Ok).collect();
        stream::iter(pieces)
    }

    async fn assert_nothing_kept(home: &Path, storage: &FileStorage) {
        assert!(matches!(storage.head(&key()).await, Err(StorageError::NotFound { .. })));
        assert_eq!(std::fs::read_dir(home.join(".scratch")).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_master_is_stored_whole_however_it_is_cut() {
        let home = tempfile::tempdir().unwrap();
        let (uploads, storage) = uploads(home.path(), UploadLimits::default());
        let wav = Chord::seconds(1).wav();
        for piece in [1, 5, 16, 4_096, wav.len()] {
            let declared = Some(wav.len() as u64);
            // A byte at a time only for the beginning, which is where it matters.
            let body = pieces(&wav[..64], piece).chain(pieces(&wav[64..], piece.max(1_000)));
            let upload = uploads.receive(&key(), declared, body).await.unwrap();
            assert_eq!(upload.format, AudioFormat::Wav);
            assert_eq!(upload.size_bytes, wav.len() as u64);
            let reader = storage.get(&upload.key, ByteRange::Whole).await.unwrap();
            assert!(reader.bytes(u64::MAX).await.unwrap() == wav);
        }
    }

    #[tokio::test]
    async fn what_is_behind_a_tag_is_told_once_it_has_come() {
        let home = tempfile::tempdir().unwrap();
        let (uploads, storage) = uploads(home.path(), UploadLimits::default());
        // With a picture of two megabytes.
        let tag = [b"ID3\x04\0\0\x01\0\0\0".as_slice(), &[0xFF; 1 << 21]].concat();
        for (behind, format) in [
            (b"fLaC\0\0\0\x22 and so on".as_slice(), AudioFormat::Flac),
            (b"\xFF\xFB\x90\x64 and so on", AudioFormat::Mp3),
        ] {
            let whole = [&tag, behind].concat();
            for piece in [7, 4_096, whole.len()] {
                let upload = uploads.receive(&key(), None, pieces(&whole, piece)).await.unwrap();
                assert_eq!(upload.format, format, "by {piece}");
                let reader = storage.get(&upload.key, ByteRange::Whole).await.unwrap();
                assert!(reader.bytes(u64::MAX).await.unwrap() == whole);
            }
        }
    }

    #[tokio::test]
    async fn what_may_not_come_in_leaves_nothing() {
        let home = tempfile::tempdir().unwrap();
        let limits = UploadLimits { size_bytes_max: 10_000, ..UploadLimits::default() };
        let (uploads, storage) = uploads(home.path(), limits);
        let wav = Chord::seconds(1).wav();

        let empty = uploads.receive(&key(), None, pieces(b"", 1)).await;
        assert!(matches!(empty, Err(UploadError::Empty)));
        let page = b"<!doctype html><title>no sound</title>";
        let unknown = uploads.receive(&key(), None, pieces(page, 3)).await;
        assert!(matches!(unknown, Err(UploadError::UnknownFormat)));
        let announced = uploads.receive(&key(), Some(10_001), pieces(&wav, 100)).await;
        assert!(matches!(announced, Err(UploadError::TooLarge { limit_bytes: 10_000 })));
        let grown = uploads.receive(&key(), None, pieces(&wav, 100)).await;
        assert!(matches!(grown, Err(UploadError::TooLarge { limit_bytes: 10_000 })));
        let cut = uploads.receive(&key(), Some(5_000), pieces(&wav[..4_999], 100)).await;
        let tag = [b"ID3\x04\0\0\0\0\x01\0".as_slice(), &[0; 128]].concat();
        let tagged = [&tag, b"RF64\xFF\xFF\xFF\xFFWAVEds64 and so on".as_slice()].concat();
        for piece in [9, 100, tagged.len()] {
            let unknown = uploads.receive(&key(), None, pieces(&tagged, piece)).await;
            assert!(matches!(unknown, Err(UploadError::UnknownFormat)), "by {piece}");
        }
        let told = "the upload ended after 4999 of 5000 bytes";
        assert_eq!(cut.unwrap_err().to_string(), told);
        let broken = pieces(&wav[..5_000], 100)
            .map(|chunk| chunk.map_err(|never| match never {}))
            .chain(stream::iter([Err(io::Error::other("gone"))]));
        let broken = uploads.receive(&key(), None, broken).await;
        assert!(matches!(broken, Err(UploadError::Broken(_))));
        assert_nothing_kept(home.path(), &storage).await;
    }

    #[tokio::test]
    async fn uploads_leave_the_reserve_and_each_other_their_room() {
        const STEP: u64 = UPLOAD_STEP_BYTES;
        let home = tempfile::tempdir().unwrap();
        let storage = FileStorage::open(home.path()).unwrap();
        let free = storage.free_bytes().await.unwrap();
        // What others write to the disk meanwhile stays far below this.
        let spare = free / 4;
        let size_bytes_max = u64::MAX;
        let reserve_bytes = free - spare;
        let limits = UploadLimits { size_bytes_max, reserve_bytes, ..UploadLimits::default() };
        let (uploads, storage) = uploads(home.path(), limits);
        let wav = Chord::seconds(1).wav();
        let begun = || pieces(&wav[..5_000], 100).chain(stream::pending());

        let much = uploads.receive(&key(), Some(2 * spare), begun()).await;
        assert!(matches!(much, Err(UploadError::Storage(StorageError::Full))));
        let half = spare / 4 * 3;
        let (first, second) = (key(), ObjectKey::new("masters/two").unwrap());
        let mut under_way = Box::pin(uploads.receive(&first, Some(half), begun()));
        assert!(futures::poll!(under_way.as_mut()).is_pending());
        while uploads.room.promised_bytes() < half - 5_000 {
            assert!(futures::poll!(under_way.as_mut()).is_pending());
            tokio::task::yield_now().await;
        }
        let beside = uploads.receive(&second, Some(half), begun()).await;
        assert!(matches!(beside, Err(UploadError::Storage(StorageError::Full))));
        let small = uploads.receive(&second, None, pieces(&wav, 1_000)).await;
        assert_eq!(small.unwrap().size_bytes, wav.len() as u64);
        assert!(wav.len() as u64 <= STEP);
        drop(under_way);
        assert_eq!(uploads.room.promised_bytes(), 0, "a claim ends with its upload");
        assert_nothing_kept(home.path(), &storage).await;
    }

    #[tokio::test]
    async fn a_sender_that_falls_silent_is_given_up() {
        let home = tempfile::tempdir().unwrap();
        let limits = UploadLimits { stall_ms_max: 20, ..UploadLimits::default() };
        let (uploads, storage) = uploads(home.path(), limits);
        let wav = Chord::seconds(1).wav();
        let silent = pieces(&wav[..5_000], 100).chain(stream::pending());
        let stalled = uploads.receive(&key(), None, silent).await;
        assert!(matches!(stalled, Err(UploadError::Stalled { stall_ms_max: 20, .. })));
        assert_nothing_kept(home.path(), &storage).await;
    }

    /// A chunk of these bytes each second, for ever; the clock of the test runs ahead.
    fn each_second(bytes: Bytes) -> impl Stream<Item = Result<Bytes, Infallible>> {
        stream::unfold(Instant::now(), move |last| {
            let (next, bytes) = (last + Duration::from_secs(1), bytes.clone());
            async move {
                tokio::time::sleep_until(next).await; // poll
                Some((Ok(bytes), next))
            }
        })
    }

    #[tokio::test(start_paused = true)]
    async fn a_sender_that_trickles_is_given_up_and_a_slow_one_is_not() {
        let home = tempfile::tempdir().unwrap();
        let (uploads, storage) = uploads(home.path(), UploadLimits::default());
        let wav = Chord::seconds(1).wav();
        let (begun, head) = (Instant::now(), pieces(&wav[..100], 100));
        let trickle = head.chain(each_second(Bytes::from_static(&[0; 1_000])));
        let stalled = uploads.receive(&key(), None, trickle).await;
        assert!(matches!(stalled, Err(UploadError::Stalled { .. })), "{stalled:?}");
        assert_eq!(begun.elapsed().as_secs(), UPLOAD_STALL_MS_MAX / 1_000);
        assert_nothing_kept(home.path(), &storage).await;

        let head = pieces(&wav[..100], 100);
        let slow = head.chain(each_second(Bytes::from_static(&[0; 3_000])).take(200));
        let stored = uploads.receive(&key(), Some(600_100), slow).await.unwrap();
        assert_eq!(stored.size_bytes, 600_100);
        assert!(begun.elapsed().as_secs() >= 200);
    }
}
