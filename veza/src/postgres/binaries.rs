//! Finds the programs of the PostgreSQL version that fits the data.

use std::fs;
use std::path::{Path, PathBuf};

use super::PostgresError;

/// Where Debian and Ubuntu put each major version.
const DEBIAN: &str = "/usr/lib/postgresql";

/// The folder with `initdb` and `postgres` of the version that wrote `data`, or of the newest
/// installed where there is no data yet.
pub fn fitting(data: &Path) -> Result<PathBuf, PostgresError> {
    fitting_among(Path::new(DEBIAN), data)
}

fn fitting_among(root: &Path, data: &Path) -> Result<PathBuf, PostgresError> {
    let mut installed: Vec<u32> = fs::read_dir(root)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|major| bin(root, *major).join("postgres").is_file())
        .filter(|major| bin(root, *major).join("initdb").is_file())
        .collect();
    installed.sort_unstable();
    let newest = *installed.last().ok_or(PostgresError::NotInstalled)?;
    let major = major_of(data)?.unwrap_or(newest);
    if installed.contains(&major) {
        return Ok(bin(root, major));
    }
    let installed: Vec<String> = installed.iter().map(u32::to_string).collect();
    let installed = installed.join(", ");
    Err(PostgresError::OtherVersion { data: data.to_owned(), major, installed })
}

fn bin(root: &Path, major: u32) -> PathBuf {
    root.join(major.to_string()).join("bin")
}

fn major_of(data: &Path) -> Result<Option<u32>, PostgresError> {
    let path = data.join("PG_VERSION");
    match fs::read_to_string(&path) {
        Ok(text) => Ok(text.trim().parse().ok()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(PostgresError::at(&path, e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn install(root: &Path, major: u32) {
        fs::create_dir_all(bin(root, major)).unwrap();
        for program in ["postgres", "initdb"] {
            fs::write(bin(root, major).join(program), "").unwrap();
        }
    }

    #[test]
    fn the_data_chooses_the_version_and_the_newest_serves_where_there_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let (root, data) = (folder.path().join("versions"), folder.path().join("data"));
        let nothing = fitting_among(&root, &data).unwrap_err();
        assert!(matches!(nothing, PostgresError::NotInstalled));

        install(&root, 9);
        install(&root, 17);
        assert_eq!(fitting_among(&root, &data).unwrap(), bin(&root, 17));

        fs::create_dir_all(&data).unwrap();
        fs::write(data.join("PG_VERSION"), "9\n").unwrap();
        assert_eq!(fitting_among(&root, &data).unwrap(), bin(&root, 9));

        fs::write(data.join("PG_VERSION"), "16\n").unwrap();
        let other = fitting_among(&root, &data).unwrap_err().to_string();
        assert!(other.contains("is of PostgreSQL 16, and installed is only 9, 17"), "{other}");
    }
}
