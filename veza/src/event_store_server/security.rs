//! Who may use the event store's port, and how it is kept from others on the way.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::bail;
use event_store::tls::MadeCertificates;
use event_store::users::DefaultPasswords;
use event_store::{EventStore, Tls, Users};

use crate::console::complain;
use crate::listening::Guarded;

/// The folder of made certificates, in the data folder.
const MADE: &str = "tls";

/// How connections are kept from others, and whether callers say who they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Security {
    /// Not at all: everybody who reaches the port may do everything. From other machines nobody
    /// does, unless that is meant.
    Open {
        /// Whether other machines may reach it.
        is_meant: bool,
    },
    /// By TLS with a certificate that is given, and users.
    Given {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of its key.
        key: PathBuf,
        /// Where the roots of users' certificates are; none: users have passwords only.
        trusted: Option<PathBuf>,
    },
    /// By TLS with a certificate that is made, and users.
    Made {
        /// Where the roots of users' certificates are; none: those of the made root are taken.
        trusted: Option<PathBuf>,
    },
}

/// What [`Security`] is made of.
#[derive(Debug, Clone, Default)]
pub(super) struct Asked {
    pub insecure: bool,
    pub dev: bool,
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
    pub trusted: Option<PathBuf>,
}

/// What stands before the host of a connection string: what everybody knows is no secret.
pub(super) async fn credentials(users: Option<&Users>) -> anyhow::Result<&'static str> {
    let Some(users) = users else { return Ok("") };
    match users.admin_has_the_default_password().await? {
        true => Ok("admin:changeit@"),
        false => Ok("<user>:<password>@"),
    }
}

impl Asked {
    /// What is meant, or the flag that makes no sense, and why.
    pub(super) fn security(self) -> Result<Security, (&'static str, &'static str)> {
        let Self { insecure, dev, certificate, key, trusted } = self;
        match (insecure, dev, certificate, key) {
            (true, true, ..) | (true, _, Some(_), _) | (true, _, _, Some(_)) => Err((
                "--insecure",
                "there is no certificate then, and nobody is asked who they are",
            )),
            (_, true, Some(_), _) | (_, true, _, Some(_)) => {
                Err(("--dev", "it makes a certificate, so none is given"))
            }
            (_, _, Some(_), None) | (_, _, None, Some(_)) => {
                Err(("--certificate-file", "it goes with --certificate-private-key-file"))
            }
            (false, false, Some(certificate), Some(key)) => {
                Ok(Security::Given { certificate, key, trusted })
            }
            (false, true, None, None) => Ok(Security::Made { trusted }),
            (_, false, None, None) if trusted.is_some() => {
                Err(("--trusted-root-certificates-path", "it is for a server with a certificate"))
            }
            (is_meant, false, None, None) => Ok(Security::Open { is_meant }),
        }
    }
}

impl Security {
    /// Whether other machines may reach the port by mistake.
    pub(super) fn check(&self, listen: SocketAddr) -> anyhow::Result<()> {
        if *self == (Self::Open { is_meant: false }) && !listen.ip().is_loopback() {
            bail!("{listen} can be reached from other machines: say --insecure to mean it");
        }
        Ok(())
    }

    /// Reads or makes the certificates, those in a data folder and for a server that is reached
    /// there; and tells what a connection string says of it.
    pub(super) fn tls(
        &self,
        data: &Path,
        listen: SocketAddr,
        advertised: Option<&str>,
    ) -> anyhow::Result<(Option<Tls>, String)> {
        match self {
            Self::Open { .. } => Ok((None, "tls=false".to_owned())),
            Self::Given { certificate, key, trusted } => {
                let tls = Tls::read(certificate, key, trusted.as_deref())?;
                Ok((Some(tls), "tls=true".to_owned()))
            }
            Self::Made { trusted } => {
                let ip = listen.ip();
                let listened = (!ip.is_unspecified()).then(|| ip.to_string());
                let hosts: BTreeSet<String> =
                    listened.into_iter().chain(advertised.map(str::to_owned)).collect();
                let hosts: Vec<String> = hosts.into_iter().collect();
                let folder = std::path::absolute(data)?.join(MADE);
                let made = MadeCertificates::in_folder(&folder, &hosts)?;
                let tls = made.tls(trusted.as_deref())?;
                Ok((Some(tls), format!("tls=true&tlsCaFile={}", made.root().display())))
            }
        }
    }

    /// How tools on this machine reach a server that listens there, and is reached so by others.
    pub(super) fn guarded(&self, address: SocketAddr, reached: &str) -> Option<Guarded> {
        match self {
            Self::Open { .. } => None,
            Self::Given { .. } => Some(Guarded { at: reached.to_owned(), made: false }),
            // A made certificate is for this machine too.
            Self::Made { .. } => {
                let is_named = !address.ip().is_unspecified();
                let local = || format!("localhost:{}", address.port());
                let at = if is_named { address.to_string() } else { local() };
                Some(Guarded { at, made: true })
            }
        }
    }

    /// The users who may call, of whom `admin` and `ops` are made where they are not there.
    pub(super) async fn users(
        &self,
        store: Arc<dyn EventStore>,
        passwords: DefaultPasswords,
        listen: SocketAddr,
    ) -> anyhow::Result<Option<Users>> {
        if let Self::Open { .. } = self {
            return Ok(None);
        }
        let users = Users::new(store);
        users.make_defaults(passwords).await?;
        if !listen.ip().is_loopback() && users.admin_has_the_default_password().await? {
            complain(
                "other machines may reach the event store, and `admin` has the password that \
                 everybody knows: change it",
            );
        }
        Ok(Some(users))
    }
}
