//! `veza event-store-keys`: makes the keys that the event store is encrypted with, and changes them
//! on a folder at rest.

use std::ffi::OsStr;
use std::path::Path;
use std::{fs, io};

use access::{KeyFolder, Put};
use anyhow::{Context as _, bail};
use chrono::Utc;
use event_store::{EmbeddedStore, OpenError, WrappingKeys};
use zeroize::Zeroizing;

use crate::config::{Config, PlaceFlags};
use crate::console::say;
use crate::encryption::{KeySource, rotate};
use crate::personal;

/// The keys of the event store, made and changed.
#[derive(Debug, Clone, clap::Args)]
pub struct EventStoreKeysArgs {
    /// Where the platform is.
    #[command(flatten)]
    pub place: PlaceFlags,
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Debug, Clone, clap::Subcommand)]
enum KeysCommand {
    /// Make a random key and put it first into the key file, or print it where none is set
    New {
        /// Its name; without it, made of the time
        #[arg(long)]
        name: Option<String>,
    },
    /// Wrap the whole log by the first key, so that it needs no other: of a folder at rest; a
    /// running platform does it when it gets SIGUSR1
    ///
    /// Backups stay as they are: keep an old key for as long as there is a backup made with it.
    Rotate,
}

/// Does it, and says what was done.
///
/// # Errors
/// When the keys can't be read or written, the store runs, or its keys can't be changed.
pub async fn run(args: EventStoreKeysArgs, config: Config) -> anyhow::Result<()> {
    match args.command {
        KeysCommand::New { name } => make(name, config.encryption.keys.as_ref()),
        KeysCommand::Rotate => rotate_at_rest(&config).await,
    }
}

fn make(name: Option<String>, keys: Option<&KeySource>) -> anyhow::Result<()> {
    let name = name.unwrap_or_else(|| Utc::now().format("key-%Y%m%d-%H%M%S").to_string());
    let line = WrappingKeys::new_line(&name)?;
    match keys {
        Some(KeySource::File(path, _)) => {
            put_first(&line, path)
                .with_context(|| format!("can't put a key into {}", path.display()))?;
            say(format_args!("{name} is the first key in {}", path.display()));
        }
        Some(KeySource::Text(_)) | None => say(&*line),
    }
    Ok(())
}

/// Puts a line before those of the file, whole or not at all, for nobody but its owner.
fn put_first(line: &str, path: &Path) -> anyhow::Result<()> {
    let before = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Zeroizing::default(),
        before => Zeroizing::new(before?),
    };
    let after = Zeroizing::new(format!("{line}\n{}", *before));
    WrappingKeys::from_text(&after)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let name = path.file_name().and_then(OsStr::to_str).context("it is no name of a file")?;
    KeyFolder::at(folder).write(name, after.as_bytes(), Put::Replace)?;
    Ok(())
}

async fn rotate_at_rest(config: &Config) -> anyhow::Result<()> {
    let folder = config.data.join("events");
    if !folder.is_dir() {
        bail!("there is no event store in {}", config.data.display());
    }
    let store = match EmbeddedStore::open(config.encryption.options(&folder)?).await {
        Err(error @ OpenError::Locked { pid, .. }) => {
            let pid = pid.map_or_else(|| "its process".to_owned(), |pid| pid.to_string());
            bail!("{error}: send SIGUSR1 to {pid}, which then does it");
        }
        store => store?,
    };
    let rotated = rotate(config.encryption.keys.as_ref(), &store, &personal::folder(config)).await;
    store.close().await?;
    say(rotated?);
    Ok(())
}
