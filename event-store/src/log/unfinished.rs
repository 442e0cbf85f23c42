//! Files that are being written: they have another name until they are whole.

use std::io;

use super::disk::Disk;

/// What their names end with.
const UNFINISHED: &str = ".tmp";

/// The name that the file of this name has until it is whole.
pub(crate) fn unfinished(name: &str) -> String {
    format!("{name}{UNFINISHED}")
}

/// Whether a file of this name is being written.
pub(crate) fn is_unfinished(name: &str) -> bool {
    name.ends_with(UNFINISHED)
}

/// Removes what a process that died left unfinished: the log has no part of it.
pub(crate) fn remove_unfinished(disk: &dyn Disk) -> io::Result<()> {
    let mut names = disk.list()?;
    names.retain(|name| is_unfinished(name));
    names.iter().try_for_each(|name| disk.remove(name))?;
    if names.is_empty() { Ok(()) } else { disk.sync_folder() }
}
