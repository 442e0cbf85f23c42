//! TLS for a server: the certificate that it shows, and those of users that it takes.
//!
//! The cryptography is named in each configuration and never made the process's own: the official
//! client does that for itself, in the same process where both are used, and does not bear another.
//!
//! | module | what is there |
//! | --- | --- |
//! | `files` | certificates and keys in files |
//! | `made` | those of a test machine, made and kept in a folder |
//! | `renewal` | files that are replaced while the server goes on |
//! | `subject` | whom a certificate is about, and until when |

mod files;
mod made;
mod renewal;
mod subject;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use thiserror::Error;
use tokio_rustls::TlsAcceptor;

pub use made::MadeCertificates;
use renewal::Stamp;
pub(crate) use renewal::keep_renewed;
pub(crate) use subject::user_of;

/// What may be spoken above: HTTP/2, as gRPC has it, or HTTP/1.1.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// What a server shows and takes. Cheap to clone; what is renewed is so for all clones.
#[derive(Clone)]
pub struct Tls(Arc<Kept>);

struct Kept {
    sources: Sources,
    /// How the files were before they were read the first time.
    stamps: Vec<Stamp>,
    config: RwLock<Arc<ServerConfig>>,
}

/// Where everything is read from.
struct Sources {
    certificate: PathBuf,
    key: PathBuf,
    trusted: Option<PathBuf>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Tls(..)")
    }
}

/// Why there is no TLS to be had.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file or folder can't be read or written.
    #[error("{}: {error}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// What is in a file is not what should be there.
    #[error("{}: {reason}", path.display())]
    Content {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Certificate and key can't be used, or not with each other.
    #[error("the certificate can't be used: {0}")]
    Unusable(#[from] rustls::Error),
    /// The certificates to trust can't be.
    #[error("the trusted certificates can't be used: {0}")]
    Untrustworthy(#[from] VerifierBuilderError),
    /// A certificate can't be made.
    #[error("no certificate can be made: {0}")]
    NotMade(#[from] rcgen::Error),
}

impl Tls {
    /// The certificate, with those between it and its root, and the key in these files. Users may
    /// show certificates that lead to one of `trusted`, a file or a folder of them.
    pub fn read(certificate: &Path, key: &Path, trusted: Option<&Path>) -> Result<Self, TlsError> {
        let sources = Sources {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            trusted: trusted.map(Path::to_owned),
        };
        let stamps = sources.stamps();
        let config = RwLock::new(sources.config()?);
        Ok(Self(Arc::new(Kept { sources, stamps, config })))
    }

    /// Reads the files anew: connections from now on are agreed on by what is there. Where that
    /// can't be used, it stays as it was.
    fn renew(&self) -> Result<(), TlsError> {
        let config = self.0.sources.config()?;
        *self.0.config.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        let config = self.0.config.read().unwrap_or_else(PoisonError::into_inner);
        TlsAcceptor::from(Arc::clone(&config))
    }
}

impl Sources {
    fn config(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let trusted = self.trusted.as_deref().map(files::roots).transpose()?;
        let certificates = files::certificates(&self.certificate)?;
        let key = files::key(&self.key)?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?;
        let config = match trusted {
            Some(roots) => {
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                config.with_client_cert_verifier(verifier.allow_unauthenticated().build()?)
            }
            None => config.with_no_client_auth(),
        };
        let mut config = config.with_single_cert(certificates, key)?;
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
        Ok(Arc::new(config))
    }
}
