//! Where the event store of a data folder listens, and what tools on its machine connect with.

use std::net::SocketAddr;
use std::path::Path;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The root that a test machine's certificates have, in the data folder.
const MADE_ROOT: &str = "tls/ca.crt";

/// Where a store listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listening {
    /// The address.
    pub address: SocketAddr,
    /// How it is kept from others; none: everybody who reaches it may do everything.
    pub guarded: Option<Guarded>,
}

/// A store that takes TLS alone, and asks who calls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guarded {
    /// The host and the port that its certificate is for.
    pub at: String,
    /// Whether that certificate was made, with its root, in the data folder.
    pub made: bool,
}

/// Nobody said on whose behalf a guarded store is to be asked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "the event store at {at} asks who calls: set \
     VEZA_EVENT_STORE_CREDENTIALS=<user>:<password>, of an administrator"
)]
pub struct NoCredentials {
    at: String,
}

impl Listening {
    /// A store that everybody may use who reaches this address.
    #[must_use]
    pub fn open(address: SocketAddr) -> Self {
        Self { address, guarded: None }
    }

    /// The connection string for who has these credentials, `<user>:<password>`; it listens for
    /// the store of this data folder.
    ///
    /// # Errors
    /// When it needs some, and there are none.
    pub fn connection(
        &self,
        data: &Path,
        credentials: Option<&str>,
    ) -> Result<String, NoCredentials> {
        let Some(Guarded { at, made }) = &self.guarded else {
            return Ok(format!("esdb://{}?tls=false", self.address));
        };
        let credentials = credentials.ok_or_else(|| NoCredentials { at: at.clone() })?;
        let connection = format!("esdb://{credentials}@{at}?tls=true");
        // Others are of a root that the machine trusts.
        Ok(match made {
            true => format!("{connection}&tlsCaFile={}", data.join(MADE_ROOT).display()),
            false => connection,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guarded_store_is_reached_with_credentials_and_by_its_root() {
        let address = "127.0.0.1:2113".parse().unwrap();
        let connection = |made: Option<bool>, credentials| {
            let guarded = made.map(|made| Guarded { at: "db.test:2114".to_owned(), made });
            Listening { address, guarded }.connection(Path::new("/data"), credentials)
        };
        let plain = Ok("esdb://127.0.0.1:2113?tls=false".to_owned());
        assert_eq!(connection(None, None), plain);
        assert_eq!(connection(None, Some("a:b")), plain);
        let given = "esdb://a:b@db.test:2114?tls=true";
        assert_eq!(connection(Some(false), Some("a:b")), Ok(given.to_owned()));
        let made = format!("{given}&tlsCaFile=/data/tls/ca.crt");
        assert_eq!(connection(Some(true), Some("a:b")), Ok(made));
        let said = connection(Some(true), None).unwrap_err().to_string();
        assert!(said.contains("db.test:2114") && said.contains("VEZA_EVENT_STORE_CREDENTIALS="));
    }
}
