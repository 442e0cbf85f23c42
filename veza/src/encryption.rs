//! Whether the embedded event store is encrypted, and with which keys: as the settings say it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use event_store::{EmbeddedOptions, EmbeddedStore, SubjectKeys, SubjectKeysOptions, WrappingKeys};
use tokio::signal::unix::{SignalKind, signal};
use zeroize::Zeroizing;

use crate::config::{ConfigError, Origin};

/// Where the wrapping keys are, and whether they encrypt.
#[derive(Clone, Debug)]
pub struct Encryption {
    /// Where they are; none: the store is not encrypted.
    pub keys: Option<KeySource>,
    /// Whether new events are encrypted, or only what is already is read.
    pub encrypts: bool,
}

/// Where the wrapping keys are.
#[derive(Clone, Debug)]
pub enum KeySource {
    /// In a file, which is named there.
    File(PathBuf, Origin),
    /// In the settings themselves.
    Text(KeyText),
}

/// Keys as text, which is shown to nobody.
#[derive(Clone)]
pub struct KeyText(Zeroizing<String>);

impl fmt::Debug for KeyText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("KeyText(..)")
    }
}

impl KeyText {
    /// Checks that the text holds keys.
    ///
    /// # Errors
    /// What is wrong with it, without any of it.
    pub fn read(text: &str) -> Result<Self, String> {
        WrappingKeys::from_text(text).map_err(|error| error.to_string())?;
        Ok(Self(Zeroizing::new(text.to_owned())))
    }
}

impl KeySource {
    /// Reads the keys.
    ///
    /// # Errors
    /// When the file can't be read, is open to everybody, or holds no keys; naming the setting.
    pub fn read(&self) -> Result<WrappingKeys, ConfigError> {
        match self {
            Self::File(path, origin) => WrappingKeys::from_file(path).map_err(|error| {
                let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
                let why = format!("{error}{}", cause.unwrap_or_default());
                ConfigError::Bad { origin: origin.clone(), why }
            }),
            Self::Text(text) => Ok(WrappingKeys::from_text(&text.0).expect("it was checked")),
        }
    }
}

impl Encryption {
    /// The keys, where there are any.
    ///
    /// # Errors
    /// When they can't be read.
    pub fn keys(&self) -> Result<Option<Arc<WrappingKeys>>, ConfigError> {
        Ok(self.keys.as_ref().map(KeySource::read).transpose()?.map(Arc::new))
    }

    /// How the store in this folder is to be opened.
    ///
    /// # Errors
    /// When the keys can't be read.
    pub fn options(&self, folder: &Path) -> Result<EmbeddedOptions, ConfigError> {
        let options = EmbeddedOptions::folder(folder);
        Ok(match &self.keys {
            None => options,
            Some(keys) if self.encrypts => options.encryption(keys.read()?),
            Some(keys) => options.decryption(keys.read()?),
        })
    }

    /// How the keys of people in this folder are to be opened.
    ///
    /// # Errors
    /// When the keys that wrap them can't be read.
    pub fn subject_keys(&self, folder: &Path) -> Result<SubjectKeysOptions, ConfigError> {
        let options = SubjectKeysOptions::folder(folder);
        Ok(match &self.keys {
            None => options,
            Some(keys) if self.encrypts => options.encryption(keys.read()?),
            Some(keys) => options.decryption(keys.read()?),
        })
    }

    /// Lets SIGUSR1 read the keys anew and wrap everything by the first of them, as long as the
    /// store is there; the keys of people in this folder too. What fails is told in the log, and
    /// changes nothing.
    ///
    /// # Errors
    /// When the system does not let this process hear the signal.
    pub fn rotate_by_signal(
        &self,
        store: &Arc<EmbeddedStore>,
        subjects: PathBuf,
    ) -> std::io::Result<()> {
        let mut signals = signal(SignalKind::user_defined1())?;
        let (keys, store) = (self.keys.clone(), Arc::downgrade(store));
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                let Some(store) = Weak::upgrade(&store) else {
                    return;
                };
                match rotate(keys.as_ref(), &store, &subjects).await {
                    Ok(told) => tracing::info!("{told}"),
                    Err(error) => {
                        let error = format!("{error:#}");
                        tracing::error!(error, "the keys of the event store were not changed");
                    }
                }
            }
        });
        Ok(())
    }
}

/// Wraps the keys of all segments by the first key that is there now, and those of people in this
/// folder, where there are any; says what was done.
///
/// # Errors
/// When there are no keys, they can't be read, or they do not open everything.
pub async fn rotate(
    keys: Option<&KeySource>,
    store: &EmbeddedStore,
    subjects: &Path,
) -> anyhow::Result<String> {
    let source =
        keys.ok_or_else(|| anyhow::anyhow!("the event store has no keys (setting {KEY})"))?;
    let keys = source.read()?;
    if SubjectKeys::are_in(subjects) {
        // To open them so is to wrap them so; other processes need not know.
        SubjectKeys::open(SubjectKeysOptions::folder(subjects).encryption(source.read()?))?;
    }
    let first = keys.first().to_owned();
    let rotated = store.rotate_keys(keys).await?;
    let (all, rewrapped) = (rotated.keys, rotated.rewrapped);
    Ok(format!(
        "all {all} keys of segments are wrapped by {first}, {rewrapped} of them anew; the log \
         needs no other key any more, but each backup made before needs those it was made with"
    ))
}

/// The setting that most have them by.
const KEY: &str = "event_store_key_file";
