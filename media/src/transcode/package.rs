//! What `ffmpeg` wrote: read back, checked, and stored so that it appears whole or not at all.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use tokio::fs;

use super::{LADDER, Rendition, TranscodeError};
use crate::hls::{
    HlsFile, HlsPackage, MediaId, MediaPlaylist, PlayableRendition, list_keys, master_playlist,
};
use crate::limits::{PLAYLIST_BYTES_MAX, SEGMENT_MS};
use crate::storage::ObjectStorage;

/// How many segments are stored at the same time.
const PUTS_AT_ONCE: usize = 4;

/// How far a package's duration may be off, in milliseconds: padding of the encoder and decoder.
const DURATION_SLACK_MS: u64 = 250;

/// A rendition in the scratch folder.
pub(super) struct WrittenRendition {
    playable: PlayableRendition,
    duration_ms: u64,
    playlist: WrittenFile,
    /// The init segment and the segments.
    sound: Vec<WrittenFile>,
}

struct WrittenFile {
    file: HlsFile,
    path: PathBuf,
    size_bytes: u64,
}

/// Reads back every rendition of the ladder.
pub(super) async fn read(
    folder: &Path,
    duration_ms: u64,
) -> Result<Vec<WrittenRendition>, TranscodeError> {
    let mut renditions = Vec::with_capacity(LADDER.len());
    for rendition in LADDER {
        let written = read_rendition(folder, rendition).await?;
        let off_ms = written.duration_ms.abs_diff(duration_ms);
        if off_ms > DURATION_SLACK_MS {
            return Err(TranscodeError::OtherLength {
                told_ms: duration_ms,
                made_ms: written.duration_ms,
            });
        }
        renditions.push(written);
    }
    Ok(renditions)
}

/// Stores a package: sound first, the master playlist last, then removes what an earlier package
/// of the same media had more.
pub(super) async fn store(
    storage: &dyn ObjectStorage,
    media: MediaId,
    renditions: Vec<WrittenRendition>,
) -> Result<HlsPackage, TranscodeError> {
    let sound = renditions.iter().flat_map(|rendition| &rendition.sound);
    let puts: Vec<_> = sound.map(|written| put(storage, media, written)).collect();
    stream::iter(puts).buffer_unordered(PUTS_AT_ONCE).try_collect::<Vec<()>>().await?;
    for rendition in &renditions {
        put(storage, media, &rendition.playlist).await?;
    }
    let playable: Vec<_> = renditions.iter().map(|rendition| rendition.playable.clone()).collect();
    let master = Bytes::from(master_playlist(&playable));
    let mut size_bytes = master.len() as u64;
    let body = stream::iter([Ok(master)]).boxed();
    storage.put(&HlsFile::Master.key(media), body).await?;

    let mut files = vec![HlsFile::Master];
    for written in renditions.iter().flat_map(|r| std::iter::once(&r.playlist).chain(&r.sound)) {
        size_bytes += written.size_bytes;
        files.push(written.file.clone());
    }
    remove_others(storage, media, &files).await?;
    let duration_ms = renditions.first().map_or(0, |rendition| rendition.duration_ms);
    Ok(HlsPackage { media, duration_ms, size_bytes, renditions: playable, files })
}

async fn put(
    storage: &dyn ObjectStorage,
    media: MediaId,
    written: &WrittenFile,
) -> Result<(), TranscodeError> {
    storage.put_file(&written.file.key(media), &written.path).await?;
    Ok(())
}

async fn remove_others(
    storage: &dyn ObjectStorage,
    media: MediaId,
    files: &[HlsFile],
) -> Result<(), TranscodeError> {
    let kept: BTreeSet<_> = files.iter().map(|file| file.key(media)).collect();
    for key in list_keys(storage, media).await? {
        if !kept.contains(&key) {
            storage.delete(&key).await?;
        }
    }
    Ok(())
}

async fn read_rendition(
    folder: &Path,
    rendition: &Rendition,
) -> Result<WrittenRendition, TranscodeError> {
    let name = rendition.name;
    let playlist = written_file(folder, name, "playlist.m3u8").await?;
    if playlist.size_bytes > PLAYLIST_BYTES_MAX {
        return Err(bad(format!("the playlist of {name} is too large")));
    }
    let text = fs::read_to_string(&playlist.path).await.map_err(TranscodeError::scratch)?;
    let parsed = MediaPlaylist::parse(&text)
        .map_err(|error| bad(format!("the playlist of {name} is not whole: {error}")))?;

    let mut sound = vec![written_file(folder, name, &parsed.init).await?];
    let (mut peak_bps, mut segments_bytes) = (0, 0);
    for segment in &parsed.segments {
        let written = written_file(folder, name, &segment.file).await?;
        segments_bytes += written.size_bytes;
        // A last bit of sound is mostly its box; RFC 8216 does not count what is so short.
        if segment.duration_us >= SEGMENT_MS * 1_000 / 2 {
            peak_bps = peak_bps.max(bit_rate_bps(written.size_bytes, segment.duration_us));
        }
        sound.push(written);
    }
    let duration_us = parsed.duration_us();
    let average_bps = bit_rate_bps(segments_bytes, duration_us);
    let playable = PlayableRendition {
        name: name.to_owned(),
        codecs: rendition.codecs.to_owned(),
        peak_bps: peak_bps.max(average_bps),
        average_bps,
    };
    let duration_ms = (duration_us + 500) / 1_000;
    Ok(WrittenRendition { playable, duration_ms, playlist, sound })
}

async fn written_file(
    folder: &Path,
    rendition: &str,
    name: &str,
) -> Result<WrittenFile, TranscodeError> {
    let path = format!("{rendition}/{name}");
    let file = HlsFile::parse(&path).ok_or_else(|| bad(format!("{path} was not asked for")))?;
    let path = folder.join(path);
    let metadata = fs::metadata(&path).await.map_err(|_| bad(format!("{file} is missing")))?;
    if metadata.len() == 0 {
        return Err(bad(format!("{file} is empty")));
    }
    Ok(WrittenFile { file, path, size_bytes: metadata.len() })
}

fn bit_rate_bps(size_bytes: u64, duration_us: u64) -> u64 {
    (size_bytes * 8 * 1_000_000).div_ceil(duration_us.max(1))
}

fn bad(reason: String) -> TranscodeError {
    TranscodeError::BadOutput { reason }
}
