//! What may be wrong with the settings.

use std::io;
use std::path::PathBuf;

use super::{Origin, Setting};

/// Why Veza does not start with these settings: one line that names the one at fault.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A value that its setting cannot have.
    #[error("{origin}: {why}")]
    Bad {
        /// Where it was set, by the name it has there.
        origin: Origin,
        /// What it should be; the value itself is repeated only where it is no secret.
        why: String,
    },
    /// A setting that the chosen roles cannot do without.
    #[error("{}: must be set where the roles are split among processes", setting.variable())]
    Missing {
        /// The setting.
        setting: &'static Setting,
    },
    /// A key that is none of ours.
    #[error("{}: there is no setting `{key}` (`veza config` lists all)", file.display())]
    Unknown {
        /// The file it stands in.
        file: PathBuf,
        /// The key.
        key: String,
    },
    /// A file that is not TOML.
    #[error("{} line {line}: {why}", file.display())]
    NotToml {
        /// The file.
        file: PathBuf,
        /// Where, from 1.
        line: usize,
        /// What TOML's reader says.
        why: String,
    },
    /// A file that cannot be read.
    #[error("cannot read the settings in {}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}
