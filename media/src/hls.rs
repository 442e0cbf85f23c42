//! What is streamed: the files of an HLS package, their keys, playlists and content types.
//!
//! A package lies under `hls/<media>/`: `master.m3u8`, and for each rendition a folder with
//! `playlist.m3u8`, `init.mp4` and `segment-00000.m4s` onwards.

mod playlist;

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::limits::LIST_PAGE_MAX;
use crate::object_key::{KeyPrefix, ObjectKey};
use crate::storage::{ObjectStorage, StorageError};

pub(crate) use playlist::{MediaPlaylist, master_playlist};

/// The longest name of a rendition, in bytes.
const RENDITION_BYTES_MAX: usize = 32;

/// How many digits the number of a segment has: enough for 12 hours of 4 seconds and more.
const SEGMENT_DIGITS: usize = 5;

/// The thing that streams, as this crate knows it; a track's id, given by the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MediaId(Uuid);

/// A file of a package. It is written and read as its path below the package's folder, which is
/// also how playlists refer to it; nothing else is a file of a package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HlsFile {
    /// The master playlist: which renditions there are.
    Master,
    /// The media playlist of a rendition: its segments in order.
    Playlist {
        /// The rendition's name.
        rendition: String,
    },
    /// What a decoder needs before the first segment of a rendition.
    Init {
        /// The rendition's name.
        rendition: String,
    },
    /// About four seconds of sound.
    Segment {
        /// The rendition's name.
        rendition: String,
        /// Its number, from 0.
        index: u32,
    },
}

/// A package that is stored and can be played.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HlsPackage {
    /// What it is of.
    pub media: MediaId,
    /// How long it plays, in milliseconds: the segments' durations together.
    pub duration_ms: u64,
    /// How large all its files are together, in bytes.
    pub size_bytes: u64,
    /// What a player may choose from.
    pub renditions: Vec<PlayableRendition>,
    /// Every file of it.
    pub files: Vec<HlsFile>,
}

/// A rendition as the master playlist announces it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlayableRendition {
    /// Its name, and folder.
    pub name: String,
    /// The codec as RFC 6381 writes it, such as `mp4a.40.2`.
    pub codecs: String,
    /// The highest bit rate of a segment, in bits a second.
    pub peak_bps: u64,
    /// The bit rate over all, in bits a second.
    pub average_bps: u64,
}

/// Lists the files of a package that are stored; those of a package still being stored too.
///
/// # Errors
/// Only as the storage fails; where no package is, the list is empty.
pub async fn list_hls(
    storage: &dyn ObjectStorage,
    media: MediaId,
) -> Result<Vec<HlsFile>, StorageError> {
    let keys = list_keys(storage, media).await?;
    let folder = media.folder();
    let path = |key: &ObjectKey| key.as_str().strip_prefix(folder.as_str()).map(str::to_owned);
    Ok(keys.iter().filter_map(path).filter_map(|path| HlsFile::parse(&path)).collect())
}

/// Removes a package; the master playlist goes first, so that nobody begins to play it.
///
/// # Errors
/// Only as the storage fails; what is left then is removed by calling this again.
pub async fn remove_hls(storage: &dyn ObjectStorage, media: MediaId) -> Result<(), StorageError> {
    storage.delete(&HlsFile::Master.key(media)).await?;
    for key in list_keys(storage, media).await? {
        storage.delete(&key).await?;
    }
    Ok(())
}

pub(crate) async fn list_keys(
    storage: &dyn ObjectStorage,
    media: MediaId,
) -> Result<Vec<ObjectKey>, StorageError> {
    let mut keys: Vec<ObjectKey> = Vec::new();
    loop {
        let page = storage.list(&media.folder(), keys.last(), LIST_PAGE_MAX).await?;
        if page.is_empty() {
            return Ok(keys);
        }
        keys.extend(page.into_iter().map(|object| object.key));
    }
}

// === impl MediaId ===

impl MediaId {
    /// The id as a UUID.
    pub fn as_uuid(self) -> Uuid {
        self.0
    }

    /// The folder of everything that is streamed of it.
    pub fn folder(self) -> KeyPrefix {
        KeyPrefix::folder(format!("hls/{}", self.0)).expect("a UUID is a part of a key")
    }
}

impl From<Uuid> for MediaId {
    fn from(id: Uuid) -> Self {
        Self(id)
    }
}

impl fmt::Display for MediaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

// === impl HlsFile ===

impl HlsFile {
    /// Reads a path below the package's folder; `None` when no file of a package is called so.
    pub fn parse(path: &str) -> Option<Self> {
        if path == "master.m3u8" {
            return Some(Self::Master);
        }
        let (rendition, name) = path.split_once('/')?;
        if !is_rendition_name(rendition) {
            return None;
        }
        let rendition = rendition.to_owned();
        match name {
            "playlist.m3u8" => Some(Self::Playlist { rendition }),
            "init.mp4" => Some(Self::Init { rendition }),
            _ => {
                let digits = name.strip_prefix("segment-")?.strip_suffix(".m4s")?;
                let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
                if digits.len() != SEGMENT_DIGITS || !plain {
                    return None;
                }
                Some(Self::Segment { rendition, index: digits.parse().ok()? })
            }
        }
    }

    /// Where the file is stored.
    pub fn key(&self, media: MediaId) -> ObjectKey {
        ObjectKey::new(format!("{}{self}", media.folder().as_str()))
            .expect("names of renditions are parts of keys")
    }

    /// The media type to serve the file with.
    pub fn content_type(&self) -> &'static str {
        match self {
            Self::Master | Self::Playlist { .. } => "application/vnd.apple.mpegurl",
            Self::Init { .. } | Self::Segment { .. } => "audio/mp4",
        }
    }
}

impl fmt::Display for HlsFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Master => f.write_str("master.m3u8"),
            Self::Playlist { rendition } => write!(f, "{rendition}/playlist.m3u8"),
            Self::Init { rendition } => write!(f, "{rendition}/init.mp4"),
            Self::Segment { rendition, index } => {
                write!(f, "{rendition}/segment-{index:0SEGMENT_DIGITS$}.m4s")
            }
        }
    }
}

fn is_rendition_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !name.is_empty() && name.len() <= RENDITION_BYTES_MAX && name.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use futures::{StreamExt, stream};

    use super::*;
    use crate::storage::FileStorage;

    #[test]
    fn a_file_is_read_as_it_is_written() {
        for path in [
            "master.m3u8",
            "aac-128/playlist.m3u8",
            "aac-128/init.mp4",
            "aac-128/segment-00000.m4s",
            "aac-128/segment-10799.m4s",
        ] {
            assert_eq!(HlsFile::parse(path).unwrap().to_string(), path);
        }
        for path in [
            "",
            "other.m3u8",
            "../master.m3u8",
            "a/b/playlist.m3u8",
            "/playlist.m3u8",
            "..%2f/init.mp4",
            "aac-128/segment-1.m4s",
            "aac-128/segment-+0001.m4s",
            "aac-128/segment-00001.ts",
            "AAC/init.mp4",
        ] {
            assert_eq!(HlsFile::parse(path), None, "{path}");
        }
    }

    #[test]
    fn playlists_and_sound_are_served_as_what_they_are() {
        let of = |path| HlsFile::parse(path).unwrap().content_type();
        assert_eq!(of("master.m3u8"), "application/vnd.apple.mpegurl");
        assert_eq!(of("a/playlist.m3u8"), "application/vnd.apple.mpegurl");
        assert_eq!(of("a/init.mp4"), "audio/mp4");
        assert_eq!(of("a/segment-00007.m4s"), "audio/mp4");
    }

    #[tokio::test]
    async fn a_package_is_listed_and_removed_alone() {
        let home = tempfile::tempdir().unwrap();
        let storage = FileStorage::open(home.path()).unwrap();
        let (one, other) = (MediaId(Uuid::from_u128(1)), MediaId(Uuid::from_u128(2)));
        let rendition = || "aac-128".to_owned();
        let files = [
            HlsFile::Init { rendition: rendition() },
            HlsFile::Playlist { rendition: rendition() },
            HlsFile::Segment { rendition: rendition(), index: 0 },
            HlsFile::Master,
        ];
        for file in &files {
            for media in [one, other] {
                let body = stream::iter([Ok("x".into())]).boxed();
                storage.put(&file.key(media), body).await.unwrap();
            }
        }
        assert_eq!(list_hls(&storage, one).await.unwrap(), files);
        remove_hls(&storage, one).await.unwrap();
        assert_eq!(list_hls(&storage, one).await.unwrap(), []);
        assert_eq!(list_hls(&storage, other).await.unwrap(), files);
    }
}
