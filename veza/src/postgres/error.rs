//! What keeps the private PostgreSQL from running, each in one line that says what to do.

use std::io;
use std::path::{Path, PathBuf};

/// Why the private PostgreSQL does not run, or did not end.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// Nothing is installed.
    #[error(
        "PostgreSQL is not installed: install the package `postgresql`, or set VEZA_DATABASE_URL"
    )]
    NotInstalled,
    /// Versions are installed, but not the one that wrote the data.
    #[error(
        "the data in {} is of PostgreSQL {major}, and installed is only {installed}: install the \
         package `postgresql-{major}`",
        data.display()
    )]
    OtherVersion {
        /// The server's data folder.
        data: PathBuf,
        /// The major version that wrote it.
        major: u32,
        /// The installed major versions, separated by commas.
        installed: String,
    },
    /// Veza runs as root, which PostgreSQL refuses, and there is nobody else to run it as.
    #[error(
        "PostgreSQL does not run as root, and there is no user `postgres` to run it as: install \
         the package `postgresql`, or run Veza as another user"
    )]
    NoUser,
    /// A folder on the way to the data is closed to the user that PostgreSQL runs as.
    #[error(
        "PostgreSQL runs as user {user}, who cannot enter {}: allow it (chmod o+x), or choose \
         another data folder",
        folder.display()
    )]
    Closed {
        /// The folder that is closed.
        folder: PathBuf,
        /// Its name where it is known, else its number.
        user: String,
    },
    /// A socket in that folder could not be named.
    #[error(
        "the path {} is too long for a socket in it ({bytes_max} bytes at most): choose a \
         shorter data folder",
        folder.display()
    )]
    PathTooLong {
        /// The folder.
        folder: PathBuf,
        /// How long it may be.
        bytes_max: usize,
    },
    /// Another Veza lives in the folder.
    #[error("the data folder {} is in use by another process", folder.display())]
    InUse {
        /// The folder.
        folder: PathBuf,
    },
    /// A command beside the platform finds none.
    #[error(
        "there is no database in {}: name the platform's (setting database_url)",
        folder.display()
    )]
    Missing {
        /// The folder.
        folder: PathBuf,
    },
    /// A command beside the platform finds the one that the platform had before.
    #[error(
        "the platform has left the database in {} for another: name that one (setting \
         database_url)",
        folder.display()
    )]
    Left {
        /// The folder.
        folder: PathBuf,
    },
    /// The file system said no.
    #[error("cannot use {}", path.display())]
    Folder {
        /// What could not be used.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// `initdb` failed.
    #[error("PostgreSQL could not make its data folder: {words}")]
    Init {
        /// What it said.
        words: String,
    },
    /// The server ended before it took a connection.
    #[error("PostgreSQL did not start: {words} (its log: {})", log.display())]
    Start {
        /// The last it said.
        words: String,
        /// Where all that it said stands.
        log: PathBuf,
    },
    /// The server runs, but was not ready in time.
    #[error("PostgreSQL was not ready within {seconds} s (its log: {})", log.display())]
    NotReady {
        /// How long it was given.
        seconds: u64,
        /// Where what it said stands.
        log: PathBuf,
    },
    /// The server outlived an immediate shutdown.
    #[error("PostgreSQL (process {pid}) did not end")]
    NotEnded {
        /// The server.
        pid: u32,
    },
    /// The server runs and refuses what every server should do.
    #[error("PostgreSQL refused to serve")]
    Refused(#[from] sqlx::Error),
}

impl PostgresError {
    pub(super) fn at(path: &Path, source: io::Error) -> PostgresError {
        PostgresError::Folder { path: path.to_owned(), source }
    }
}
