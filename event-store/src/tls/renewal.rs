//! Certificates that are renewed while the server goes on: whoever renews them only replaces files.

use std::convert::Infallible;
use std::future::pending;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use super::{Sources, Tls, TlsError, files};

/// How a file is: another one in its place is another stamp.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    path: PathBuf,
    /// Device, inode, length, and when it was changed, in seconds and nanoseconds; none where it
    /// can't be looked at.
    found: Option<(u64, u64, u64, i64, i64)>,
}

impl Sources {
    /// How all files are now.
    pub(super) fn stamps(&self) -> Vec<Stamp> {
        let trusted = self.trusted.iter().flat_map(|path| files::listed(path).unwrap_or_default());
        let paths = [self.certificate.clone(), self.key.clone()].into_iter().chain(trusted);
        let stamp = |path: PathBuf| {
            let found = path.metadata().ok();
            let found =
                found.map(|it| (it.dev(), it.ino(), it.size(), it.ctime(), it.ctime_nsec()));
            Stamp { path, found }
        };
        let mut stamps: Vec<Stamp> = paths.map(stamp).collect();
        stamps.sort_by(|one, other| one.path.cmp(&other.path));
        stamps
    }
}

/// Looks at the files every so often, without end.
pub(crate) async fn keep_renewed(tls: Option<Tls>, every: Duration) -> Infallible {
    let Some(tls) = tls else { return pending().await };
    let mut watch = Watch::new(tls);
    loop {
        tokio::time::sleep(every).await;
        let looked = tokio::task::spawn_blocking(move || (watch.look(), watch));
        // It fails only if it panicked, or the runtime ends.
        let Ok((renewed, still)) = looked.await else { return pending().await };
        watch = still;
        match renewed {
            None => {}
            Some(Ok(())) => tracing::info!("the certificates were renewed"),
            Some(Err(error)) => {
                tracing::error!(%error, "new certificates can't be used; those before still are");
            }
        }
    }
}

/// What is looked at.
struct Watch {
    tls: Tls,
    /// How the files were when they were tried last.
    tried: Vec<Stamp>,
    /// How they were when they were looked at last.
    seen: Vec<Stamp>,
}

impl Watch {
    fn new(tls: Tls) -> Self {
        let tried = tls.0.stamps.clone();
        Self { tls, seen: tried.clone(), tried }
    }

    /// Tries what is new; none where nothing is. A certificate and its key are replaced one after
    /// the other, so they are let alone until they have been the same twice.
    fn look(&mut self) -> Option<Result<(), TlsError>> {
        let stamps = self.tls.0.sources.stamps();
        let is_at_rest = stamps == self.seen;
        self.seen = stamps;
        if !is_at_rest || self.seen == self.tried {
            return None;
        }
        self.tried.clone_from(&self.seen);
        Some(self.tls.renew())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::sync::Arc;

    use rustls::ServerConfig;

    use super::*;
    use crate::tls::MadeCertificates;

    fn config(tls: &Tls) -> Arc<ServerConfig> {
        Arc::clone(&tls.0.config.read().unwrap())
    }

    fn replace(path: &Path, by: &Path) {
        let beside = path.with_extension("beside");
        fs::copy(by, &beside).unwrap();
        fs::rename(&beside, path).unwrap();
    }

    #[test]
    fn what_is_new_is_tried_once_and_taken_if_it_can_be_used() {
        let folder = tempfile::TempDir::new().unwrap();
        let [made, other] = ["made", "other"]
            .map(|it| MadeCertificates::in_folder(&folder.path().join(it), &[]).unwrap());
        let tls = made.tls(Some(&folder.path().join("made"))).unwrap();
        let (first, mut watch) = (config(&tls), Watch::new(tls.clone()));
        assert!(watch.look().is_none() && watch.look().is_none(), "nothing is new");

        // Its key is not there yet.
        replace(&made.node(), &other.node());
        assert!(watch.look().is_none(), "more may come");
        assert!(matches!(watch.look(), Some(Err(TlsError::Unusable(_)))));
        assert!(watch.look().is_none(), "that is said once");
        assert!(Arc::ptr_eq(&config(&tls), &first), "the one before is kept");

        replace(&made.node_key(), &other.node_key());
        assert!(watch.look().is_none());
        assert!(matches!(watch.look(), Some(Ok(()))));
        assert!(watch.look().is_none());
        let second = config(&tls);
        assert!(!Arc::ptr_eq(&second, &first));

        // So it is with what is trusted: a file in a folder that is broken, and then gone.
        let broken = made.root().with_file_name("broken.crt");
        fs::write(&broken, "nonsense").unwrap();
        assert!(watch.look().is_none());
        assert!(matches!(watch.look(), Some(Err(TlsError::Content { .. }))));
        assert!(Arc::ptr_eq(&config(&tls), &second));
        fs::remove_file(&broken).unwrap();
        assert!(watch.look().is_none());
        assert!(matches!(watch.look(), Some(Ok(()))));
    }

    #[test]
    fn what_was_replaced_before_the_first_look_is_new() {
        let folder = tempfile::TempDir::new().unwrap();
        let made = MadeCertificates::in_folder(folder.path(), &[]).unwrap();
        let tls = made.tls(None).unwrap();
        fs::remove_file(made.node()).unwrap();
        MadeCertificates::in_folder(folder.path(), &[]).unwrap();
        let mut watch = Watch::new(tls);
        assert!(watch.look().is_none());
        assert!(matches!(watch.look(), Some(Ok(()))));
    }
}
