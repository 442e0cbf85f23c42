//! `<data>/run.json`: where a running platform is, for tools and tests.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// The file; it goes when this is dropped.
#[derive(Debug)]
pub struct RunFile(PathBuf);

impl RunFile {
    /// Says that this process is ready, and where.
    pub fn write(
        data: &Path,
        http: SocketAddr,
        event_store: Option<SocketAddr>,
    ) -> io::Result<Self> {
        let document = json!({
            "pid": std::process::id(),
            "http": http.to_string(),
            "event_store": event_store.map(|address| address.to_string()),
        });
        let path = data.join("run.json");
        let unfinished = data.join(".run.json");
        fs::write(&unfinished, format!("{document:#}\n"))?;
        fs::rename(unfinished, &path)?;
        Ok(Self(path))
    }
}

/// Where the event store of the platform that runs on this folder listens.
pub fn event_store(data: &Path) -> io::Result<SocketAddr> {
    let document: Value = serde_json::from_slice(&fs::read(data.join("run.json"))?)?;
    let lives = document["pid"]
        .as_u64()
        .is_some_and(|pid| Path::new("/proc").join(pid.to_string()).exists());
    if !lives {
        return Err(io::Error::other("it is of a platform that is gone"));
    }
    let address = document["event_store"].as_str().and_then(|address| address.parse().ok());
    address.ok_or_else(|| io::Error::other("it has no event store of its own"))
}

impl Drop for RunFile {
    fn drop(&mut self) {
        // Left behind it misleads nobody for long: its process is gone.
        let _ = fs::remove_file(&self.0);
    }
}
