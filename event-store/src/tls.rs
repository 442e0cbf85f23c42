//! TLS for a server: the certificate that it shows, and those of users that it takes.
//!
//! The cryptography is named in each configuration and never made the process's own: the official
//! client does that for itself, in the same process where both are used, and does not bear another.
//!
//! | module | what is there |
//! | --- | --- |
//! | `files` | certificates and keys in files |
//! | `made` | those of a test machine, made and kept in a folder |
//! | `subject` | whom a certificate is about, and until when |

mod files;
mod made;
mod subject;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use thiserror::Error;
use tokio_rustls::TlsAcceptor;

pub use made::MadeCertificates;
pub(crate) use subject::user_of;

/// What may be spoken above: HTTP/2, as gRPC has it, or HTTP/1.1.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// What a server shows and takes. Cheap to clone.
#[derive(Clone)]
pub struct Tls(Arc<ServerConfig>);

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
        let trusted = trusted.map(files::roots).transpose()?;
        Self::new(files::certificates(certificate)?, files::key(key)?, trusted)
    }

    fn new(
        certificates: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        trusted: Option<RootCertStore>,
    ) -> Result<Self, TlsError> {
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
        Ok(Self(Arc::new(config)))
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.0))
    }
}
