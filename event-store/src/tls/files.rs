//! Certificates and keys in files, as PEM.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use super::TlsError;

/// The largest file of certificates or of a key that is read, in bytes.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Most files of a folder of trusted certificates.
const FILES_MAX: usize = 1000;

/// How the names of files with certificates end.
const ENDINGS: [&str; 3] = ["crt", "pem", "cer"];

/// Who may read what is written.
const SECRET: u32 = 0o600;
const PUBLIC: u32 = 0o644;

/// The certificates in a file, in their order; at least one.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(path)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => {
            Err(content(path, "no certificate is in it"))
        }
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(content(path, error)),
    }
}

/// The first private key in a file.
pub(super) fn key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(&read(path)?).map_err(|error| content(path, error))
}

/// The certificates to trust, of a file or of all files in a folder that are called as such.
pub(super) fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for path in &listed(path)? {
        for certificate in certificates(path)? {
            roots.add(certificate).map_err(|error| content(path, error))?;
        }
    }
    if roots.is_empty() {
        return Err(content(path, "no certificate is in it"));
    }
    Ok(roots)
}

/// The files of certificates that a path stands for: itself, or those that are in it.
pub(super) fn listed(path: &Path) -> Result<Vec<PathBuf>, TlsError> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let of_path = |error| TlsError::File { path: path.to_owned(), error };
    let entries = fs::read_dir(path).map_err(of_path)?.take(FILES_MAX);
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    let paths: Vec<PathBuf> = paths.collect::<io::Result<_>>().map_err(of_path)?;
    Ok(paths.into_iter().filter(|path| is_certificate(path)).collect())
}

fn is_certificate(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ENDINGS.iter().any(|it| ending == *it))
}

/// What is in a file, which is forgotten with care, as it may be a key.
pub(super) fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    let of_path = |error| TlsError::File { path: path.to_owned(), error };
    let mut bytes = Zeroizing::new(Vec::new());
    let file = File::open(path).map_err(of_path)?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(of_path)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(content(path, format!("it is larger than {FILE_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}

/// Puts a file in its place, whole or not at all; what is secret its owner alone reads.
pub(super) fn write(path: &Path, text: &str, secret: bool) -> Result<(), TlsError> {
    let of_path = |error| TlsError::File { path: path.to_owned(), error };
    let beside = path.with_extension("new");
    // One that a crash left may have other rights.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(of_path(error)),
        _ => {}
    }
    let mode = if secret { SECRET } else { PUBLIC };
    let opened = File::options().write(true).create_new(true).mode(mode).open(&beside);
    let mut file = opened.map_err(of_path)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(of_path)?;
    fs::rename(&beside, path).map_err(of_path)
}

pub(super) fn content(path: &Path, reason: impl ToString) -> TlsError {
    TlsError::Content { path: path.to_owned(), reason: reason.to_string() }
}
