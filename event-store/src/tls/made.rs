//! Certificates of a test machine: a root of its own, and what that says of the node.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use super::files;
use super::subject::{hosts, is_good_for};
use super::{Tls, TlsError};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long the root and the node's certificate are good from when they are made.
const ROOT_DAYS: u32 = 3650;
const NODE_DAYS: u32 = 365;

/// What is good for less than this is made anew.
const LEFT_DAYS_MIN: u32 = 30;

/// Who the root says that it is, and who it says that the node is.
const ROOT_NAME: &str = "Veza's root for a test machine";
const NODE_NAME: &str = "eventstoredb-node";

/// How a machine calls itself.
const LOCAL_HOSTS: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Certificates and their keys in a folder: `ca.crt`, `ca.key`, `node.crt`, `node.key`.
#[derive(Debug)]
pub struct MadeCertificates {
    folder: PathBuf,
}

impl MadeCertificates {
    /// Those in this folder, for a node that is reached as one of these hosts too. What is not
    /// there, is for other hosts, or is not good for much longer, is made.
    pub fn in_folder(folder: &Path, others: &[String]) -> Result<Self, TlsError> {
        let of_folder = |error| TlsError::File { path: folder.to_owned(), error };
        fs::create_dir_all(folder).map_err(of_folder)?;
        let made = Self { folder: folder.to_owned() };
        let left = DAY * LEFT_DAYS_MIN;
        let [root, root_key] = [made.root(), made.root_key()];
        let is_good = |path: &Path, key: &Path| {
            let there = path.exists() && key.exists();
            let certificates = there.then(|| files::certificates(path)).transpose()?;
            let certificate = certificates.and_then(|all| all.into_iter().next());
            Ok::<_, TlsError>(certificate.filter(|it| is_good_for(it, left)))
        };
        let has_root = is_good(&root, &root_key)?.is_some();
        if !has_root {
            let key = KeyPair::generate()?;
            let certificate = root_params().self_signed(&key)?;
            // The key first: a certificate without its key would be made anew, and not the reverse.
            files::write(&root_key, &key.serialize_pem(), true)?;
            files::write(&root, &certificate.pem(), false)?;
        }
        let wanted: BTreeSet<String> = LOCAL_HOSTS
            .into_iter()
            .map(str::to_owned)
            .chain(others.iter().map(|host| host.trim_matches(['[', ']']).to_owned()))
            .collect();
        let [node, node_key] = [made.node(), made.node_key()];
        let good = is_good(&node, &node_key)?.filter(|it| hosts(it).is_superset(&wanted));
        if !has_root || good.is_none() {
            made.make_node(wanted)?;
        }
        Ok(made)
    }

    /// The root, which clients are to trust.
    pub fn root(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }

    /// The root's key, with which further certificates may be made, of users say.
    pub fn root_key(&self) -> PathBuf {
        self.folder.join("ca.key")
    }

    /// The node's certificate.
    pub fn node(&self) -> PathBuf {
        self.folder.join("node.crt")
    }

    /// The key of the node's certificate.
    pub fn node_key(&self) -> PathBuf {
        self.folder.join("node.key")
    }

    /// TLS with these, and with users whose certificates are of the same root or of one of
    /// `trusted` instead.
    pub fn tls(&self, trusted: Option<&Path>) -> Result<Tls, TlsError> {
        Tls::read(&self.node(), &self.node_key(), Some(trusted.unwrap_or(&self.root())))
    }

    fn make_node(&self, hosts: BTreeSet<String>) -> Result<(), TlsError> {
        let root_key = files::read(&self.root_key())?;
        let root_key = str::from_utf8(&root_key).ok().and_then(|text| KeyPair::from_pem(text).ok());
        let root_key =
            root_key.ok_or_else(|| files::content(&self.root_key(), "no key is in it"))?;
        let issuer = Issuer::new(root_params(), root_key);
        let mut params = CertificateParams::new(hosts.into_iter().collect::<Vec<_>>())?;
        params.distinguished_name.push(DnType::CommonName, NODE_NAME);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.key_usages =
            vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.use_authority_key_identifier_extension = true;
        good_for(&mut params, NODE_DAYS);
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &issuer)?;
        // A crash between the two leaves a pair that does not fit: so the old one goes first.
        let _ = fs::remove_file(self.node());
        files::write(&self.node_key(), &key.serialize_pem(), true)?;
        files::write(&self.node(), &certificate.pem(), false)
    }
}

/// What is said of the root; its key is found by these too, so they are the same each time.
fn root_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, ROOT_NAME);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    good_for(&mut params, ROOT_DAYS);
    params
}

/// From a day ago, for the clocks of others, to so many days from now.
fn good_for(params: &mut CertificateParams, days: u32) {
    let now = SystemTime::now();
    params.not_before = (now - DAY).into();
    params.not_after = (now + DAY * days).into();
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::tls::user_of;

    #[test]
    fn certificates_are_made_once_and_again_when_they_do_not_fit() {
        let folder = tempfile::TempDir::new().unwrap();
        let folder = folder.path().join("tls");
        let read = |path: PathBuf| fs::read_to_string(path).unwrap();
        let made = MadeCertificates::in_folder(&folder, &["[fe80::1]".to_owned()]).unwrap();
        let (root, node) = (read(made.root()), read(made.node()));
        for key in [made.root_key(), made.node_key()] {
            assert_eq!(fs::metadata(key).unwrap().permissions().mode() & 0o777, 0o600);
        }
        made.tls(None).unwrap();
        let certificate = &files::certificates(&made.node()).unwrap()[0];
        assert_eq!(user_of(certificate), None, "a node is no user");
        assert!(is_good_for(certificate, DAY * (NODE_DAYS - 1)));
        assert!(!is_good_for(certificate, DAY * (NODE_DAYS + 1)));

        let made = MadeCertificates::in_folder(&folder, &["localhost".to_owned()]).unwrap();
        assert_eq!((read(made.root()), read(made.node())), (root.clone(), node.clone()));
        let made = MadeCertificates::in_folder(&folder, &["db.test".to_owned()]).unwrap();
        assert_eq!(read(made.root()), root);
        assert_ne!(read(made.node()), node, "another host is another certificate");
        assert!(hosts(&files::certificates(&made.node()).unwrap()[0]).contains("db.test"));
        made.tls(None).unwrap();

        fs::remove_file(made.root_key()).unwrap();
        let made = MadeCertificates::in_folder(&folder, &[]).unwrap();
        assert_ne!(read(made.root()), root, "a root without its key is no use");
        made.tls(None).unwrap();
    }

    #[test]
    fn what_is_in_the_way_is_told() {
        let folder = tempfile::TempDir::new().unwrap();
        let made = MadeCertificates::in_folder(folder.path(), &[]).unwrap();
        fs::write(made.node(), "nonsense").unwrap();
        let error = MadeCertificates::in_folder(folder.path(), &[]).unwrap_err();
        assert!(error.to_string().ends_with("node.crt: no certificate is in it"), "{error}");
        let nowhere = folder.path().join("nowhere");
        assert!(matches!(Tls::read(&nowhere, &nowhere, None), Err(TlsError::File { .. })));
    }
}
