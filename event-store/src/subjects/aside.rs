//! Keys that nothing opens any more, as the one that wraps them is lost: moved out of the way, so
//! that others can be made, and kept, should it be found.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::bucket::Bucket;
use super::keys::{SubjectKeys, SubjectKeysError, SubjectKeysOptions, Where};
use super::slot::{self, Slot};
use super::store_key::StoreKey;
use super::subject::Subject;
use super::turn::Turns;
use crate::log::{Disk, Folder, KeyError};

/// What is behind the name of a folder that was moved aside, before a number.
const ASIDE: &str = ".unopened-";

impl SubjectKeys {
    /// Opens the keys; and where the one that wraps the others is lost or damaged, moves their
    /// folder aside first, and opens a new store, in which nobody has a key. Who is forgotten by a
    /// folder that was ever moved aside is forgotten here too, so that a call that was cut off can
    /// be repeated. Where it was moved to now, if it was.
    ///
    /// A process that has the folder open seals nothing more.
    ///
    /// # Errors
    /// When the folder can't be moved or used, or the key that wraps the others can't be opened for
    /// want of another.
    pub fn open_anew(
        options: SubjectKeysOptions,
    ) -> Result<(Self, Option<PathBuf>), SubjectKeysError> {
        let Where::Folder(folder) = options.place.clone() else {
            return Ok((Self::open(options)?, None));
        };
        let (keys, moved_to) = match Self::open(options.clone()) {
            Err(SubjectKeysError::Lost | SubjectKeysError::Damaged { .. }) => {
                let moved_to = move_aside(&folder, &options)?;
                (Self::open(options)?, moved_to)
            }
            opened => (opened?, None),
        };
        for aside in asides(&folder)? {
            keys.forget_again(&told_by(&aside)?).map_err(KeyError::from)?;
        }
        Ok((keys, moved_to))
    }

    /// Who is forgotten by the files of this folder, and of those that were moved aside for it:
    /// what can be told without a key. Who had a damaged slot is left out.
    ///
    /// # Errors
    /// When one can't be read; a folder that is not there tells of nobody.
    pub fn forgotten_in(folder: &Path) -> io::Result<Vec<Subject>> {
        let mut found = if folder.is_dir() { told_by(folder)? } else { Vec::new() };
        for aside in asides(folder)? {
            found.extend(told_by(&aside)?);
        }
        Ok(found)
    }
}

/// Moves the folder aside, unless somebody else has meanwhile.
fn move_aside(
    folder: &Path,
    options: &SubjectKeysOptions,
) -> Result<Option<PathBuf>, SubjectKeysError> {
    let turns = Turns::new(Some(folder.to_owned()));
    let _turn = turns.wait()?;
    let disk = Folder::new(folder);
    match StoreKey::read(&disk, options.keys.as_deref()) {
        Ok(None) if !Bucket::on(&disk)?.is_empty() => {}
        Err(SubjectKeysError::Damaged { .. }) => {}
        other => return other.map(|_| None),
    }
    let mut number = 1_u64;
    let mut to = beside(folder, "1");
    while to.symlink_metadata().is_ok() {
        number += 1;
        to = beside(folder, &number.to_string());
    }
    fs::rename(folder, &to)?;
    File::open(above(folder))?.sync_all()?;
    Ok(Some(to))
}

/// The folders that were moved aside for this one.
fn asides(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let named = beside(folder, "");
    let named = named.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut found = Vec::new();
    let entries = match fs::read_dir(above(folder)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.strip_prefix(&named).is_some_and(|number| number.parse::<u64>().is_ok()) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

fn beside(folder: &Path, number: &str) -> PathBuf {
    let mut name = folder.file_name().map(OsString::from).unwrap_or_default();
    name.push(ASIDE);
    name.push(number);
    folder.with_file_name(name)
}

fn above(folder: &Path) -> &Path {
    folder.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Who is forgotten by the slots of this folder.
fn told_by(folder: &Path) -> io::Result<Vec<Subject>> {
    let disk: &dyn Disk = &Folder::read_only(folder);
    let mut found = Vec::new();
    for bucket in Bucket::on(disk)? {
        let slots = bucket.read(disk)?;
        let forgotten = slots.each().filter(|bytes| matches!(slot::read(bytes), Slot::Forgotten));
        found.extend(forgotten.map(slot::subject));
    }
    Ok(found)
}
