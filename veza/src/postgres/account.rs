//! As whom the server runs: as Veza's own user, unless that is root, whom PostgreSQL refuses.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use super::PostgresError;

const ROOT: u32 = 0;

/// The user that the server runs as.
#[derive(Debug, Clone)]
pub struct Account {
    /// None: as Veza itself.
    other: Option<Other>,
}

#[derive(Debug, Clone)]
struct Other {
    name: String,
    uid: u32,
    gid: u32,
}

impl Account {
    /// The owner of `data` where there is some, else the user `postgres`; Veza's own user unless
    /// that is root.
    pub fn for_data(data: &Path) -> Result<Account, PostgresError> {
        if rustix::process::geteuid().as_raw() != ROOT {
            return Ok(Account { other: None });
        }
        let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let owner = fs::metadata(data).ok().filter(|data| data.uid() != ROOT).map(|data| {
            let found = other(&users, |user| user.uid == data.uid());
            let (uid, gid) = (data.uid(), data.gid());
            found.unwrap_or_else(|| Other { name: uid.to_string(), uid, gid })
        });
        let chosen = owner.or_else(|| other(&users, |user| user.name == "postgres"));
        Ok(Account { other: Some(chosen.ok_or(PostgresError::NoUser)?) })
    }

    /// Makes `folder` where it is missing, with its parents; it is open to this account alone.
    pub fn make_folder(&self, folder: &Path) -> Result<(), PostgresError> {
        let parent = folder.parent().unwrap_or(folder);
        fs::create_dir_all(parent).map_err(|e| PostgresError::at(parent, e))?;
        if !folder.is_dir() {
            let made = fs::DirBuilder::new().mode(0o700).create(folder);
            made.map_err(|e| PostgresError::at(folder, e))?;
        }
        if let Some(user) = &self.other {
            user.must_enter_all_above(folder)?;
            chown(folder, Some(user.uid), Some(user.gid))
                .map_err(|e| PostgresError::at(folder, e))?;
        }
        Ok(())
    }

    /// Makes `command` run as this account.
    pub fn assume(&self, command: &mut Command) {
        if let Some(user) = &self.other {
            command.uid(user.uid).gid(user.gid);
        }
    }
}

impl Other {
    /// PostgreSQL's own words for a closed folder far above are of no help, so look beforehand.
    fn must_enter_all_above(&self, folder: &Path) -> Result<(), PostgresError> {
        for above in folder.ancestors().skip(1) {
            let about = fs::metadata(above).map_err(|e| PostgresError::at(above, e))?;
            let bit = match (about.uid() == self.uid, about.gid() == self.gid) {
                (true, _) => 0o100,
                (false, true) => 0o010,
                (false, false) => 0o001,
            };
            if about.mode() & bit == 0 {
                let (folder, user) = (above.to_owned(), self.name.clone());
                return Err(PostgresError::Closed { folder, user });
            }
        }
        Ok(())
    }
}

/// The first user of `/etc/passwd` that is `wanted`.
fn other(users: &str, wanted: impl Fn(&Other) -> bool) -> Option<Other> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some(Other { name, uid, gid }).filter(|user| wanted(user))
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_user_is_found_by_name_and_by_number() {
        let users = "root:x:0:0:root:/root:/bin/sh\nbroken\npostgres:x:101:104::/:/bin/sh\n";
        let found = other(users, |user| user.name == "postgres").unwrap();
        assert_eq!((found.uid, found.gid), (101, 104));
        assert_eq!(other(users, |user| user.uid == 101).unwrap().name, "postgres");
        assert!(other(users, |user| user.uid == 7).is_none());
    }

    #[test]
    fn a_closed_folder_above_is_named() {
        let above = tempfile::tempdir().unwrap();
        fs::set_permissions(above.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let stranger = Other { name: "stranger".into(), uid: 54_321, gid: 54_321 };
        let said = stranger.must_enter_all_above(&above.path().join("postgres")).unwrap_err();
        let expected = format!("user stranger, who cannot enter {}:", above.path().display());
        assert!(said.to_string().contains(&expected), "{said}");
    }
}
