//! `veza keys`: the keys that sign access tokens, listed and rotated on the server's own machine.
//! The platform's processes may run or not; those that run notice by themselves.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use access::KeySet;
use anyhow::{Context as _, ensure};
use chrono::{DateTime, SecondsFormat, Utc};

use crate::config::{Config, PlaceFlags};
use crate::console::say;

/// The keys that sign access tokens.
#[derive(Debug, Clone, clap::Args)]
pub struct KeysArgs {
    /// Whose keys.
    #[command(flatten)]
    pub place: PlaceFlags,
    #[command(subcommand)]
    command: KeysCommandLine,
}

#[derive(Debug, Clone, clap::Subcommand)]
enum KeysCommandLine {
    /// Print the id of the key that signs, and of those that still verify, with until when
    List,
    /// Sign with a new key from now on; tokens of the old one are believed for a day
    ///
    /// Running processes notice by themselves. To stop believing a stolen key at once, delete its
    /// .retired.json in the folder of the keys afterwards: who has a token of it logs in anew.
    Rotate,
}

/// Does it with the keys of these settings, and prints what there is then.
///
/// # Errors
/// When there are no keys, they are another user's, or a file can't be used.
pub fn run(args: &KeysArgs, config: &Config, now: DateTime<Utc>) -> anyhow::Result<()> {
    let folder = &config.keys;
    let keys = match args.command {
        KeysCommandLine::List => KeySet::load(folder, now)?,
        KeysCommandLine::Rotate => {
            is_mine(folder)?;
            KeySet::rotate(folder, now)?
        }
    };
    for key in keys.list() {
        let does = key.until.map_or_else(
            || "signs".to_owned(),
            |until| format!("verifies until {}", until.to_rfc3339_opts(SecondsFormat::Secs, true)),
        );
        say(format_args!("{}  {does}", key.kid));
    }
    Ok(())
}

/// Keys are readable by who makes them alone: made by another user than the platform's, they would
/// be lost to it.
fn is_mine(folder: &Path) -> anyhow::Result<()> {
    let about = || format!("can't use the folder {} (setting keys)", folder.display());
    let owner = fs::metadata(folder).with_context(about)?.uid();
    let me = rustix::process::geteuid().as_raw();
    let folder = folder.display();
    ensure!(owner == me, "{folder} is user {owner}'s: rotate its keys as that user, not as {me}");
    Ok(())
}
