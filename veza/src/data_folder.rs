//! The data folder, and who may look into it: nobody but its owner, and PostgreSQL's user into its
//! own part.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::{Context as _, bail};
use rustix::fs::{Access, Mode, access};
use rustix::process::umask;

/// PostgreSQL's user passes through on the way to its part, and sees nothing.
const PASSABLE: u32 = 0o711;

/// Who is neither the owner nor of the group, which a mounted volume may be given to, may write;
/// but where the folder is sticky, take away or rename only what is theirs.
const OTHERS_WRITE: u32 = 0o002;
const STICKY: u32 = 0o1000;

/// Makes every file and folder that this process creates from now on its owner's alone, unless it
/// says otherwise: there are mails with tokens among them, and all that everybody ever did.
pub fn keep_private() {
    let asked = umask(Mode::RWXG | Mode::RWXO);
    umask(asked | Mode::RWXG | Mode::RWXO);
}

/// Makes the folder where it is missing, and sees that it can be written, and so can these in it,
/// which are else written only once there is something to write, and may be mounted otherwise.
///
/// # Errors
/// When it can't.
pub fn open(folder: &Path, written: &[&str]) -> anyhow::Result<()> {
    let about = || format!("can't use the data folder {} (setting data)", folder.display());
    make(folder).with_context(about)?;
    check_writable(folder).with_context(about)?;
    if fs::metadata(folder).with_context(about)?.mode() & (OTHERS_WRITE | STICKY) == OTHERS_WRITE {
        let folder = folder.display();
        bail!("everybody may write in {folder} (setting data), and exchange keys: `chmod o-w` it");
    }
    for written in written.iter().map(|name| folder.join(name)) {
        if written.exists() {
            check_writable(&written).with_context(|| format!("can't use {}", written.display()))?;
        }
    }
    Ok(())
}

/// That files can be made in a folder.
///
/// # Errors
/// When they can't.
pub fn check_writable(folder: &Path) -> std::io::Result<()> {
    Ok(access(folder, Access::WRITE_OK | Access::EXEC_OK)?)
}

fn make(folder: &Path) -> std::io::Result<()> {
    let missing: Vec<_> = folder.ancestors().take_while(|above| !above.exists()).collect();
    fs::create_dir_all(folder)?;
    // Of a relative path the last ancestor is empty, which is where this process is.
    let made = missing.into_iter().filter(|above| !above.as_os_str().is_empty());
    made.into_iter()
        .try_for_each(|made| fs::set_permissions(made, Permissions::from_mode(PASSABLE)))
}
