//! `<data>/run.json`: where a running platform, or its event store alone, is, for tools and tests.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::config::Role;

/// The file; it goes when this is dropped.
#[derive(Debug)]
pub struct RunFile(PathBuf);

impl RunFile {
    /// Says where the doors of this process are, once they are open; whether it is ready is for
    /// `/readyz` to say.
    ///
    /// Of several processes on one data folder `run.json` is the one's that keeps the events in
    /// it; the others', and only then, is `run-<role>.json`.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn write(
        data: &Path,
        roles: &[Role],
        http: Option<SocketAddr>,
        event_store: Option<SocketAddr>,
    ) -> anyhow::Result<Self> {
        let keeps_events = roles.contains(&Role::EventStore);
        let roles: Vec<_> = roles.iter().map(|role| role.name()).collect();
        let document = json!({
            "pid": std::process::id(),
            "roles": roles,
            "http": http.map(|address| address.to_string()),
            "event_store": event_store.map(|address| address.to_string()),
        });
        let mut path = data.join("run.json");
        let is_shared = data.join("events").is_dir() || is_of_another(&path);
        if !keeps_events && is_shared {
            path = data.join(format!("run-{}.json", roles.join("+")));
        }
        let unfinished = data.join(format!(".run-{}.json", std::process::id()));
        fs::write(&unfinished, format!("{document:#}\n"))
            .and_then(|()| fs::rename(&unfinished, &path))
            .inspect_err(|_| drop(fs::remove_file(&unfinished)))
            .with_context(|| format!("can't write {}", path.display()))?;
        Ok(Self(path))
    }
}

/// Where the event store of the platform that runs on this folder listens.
pub fn event_store(data: &Path) -> io::Result<SocketAddr> {
    let document = read(&data.join("run.json"))?;
    if !pid_of(&document).is_some_and(lives) {
        return Err(io::Error::other("it is of a platform that is gone"));
    }
    let address = document["event_store"].as_str().and_then(|address| address.parse().ok());
    address.ok_or_else(|| io::Error::other("it has no event store of its own"))
}

fn read(path: &Path) -> io::Result<Value> {
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

fn pid_of(document: &Value) -> Option<u64> {
    document["pid"].as_u64()
}

fn pid_in(path: &Path) -> Option<u64> {
    pid_of(&read(path).ok()?)
}

fn lives(pid: u64) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

/// Whether the file is of another process, which lives.
fn is_of_another(path: &Path) -> bool {
    pid_in(path).filter(|pid| *pid != u64::from(std::process::id())).is_some_and(lives)
}

impl Drop for RunFile {
    fn drop(&mut self) {
        if pid_in(&self.0) == Some(u64::from(std::process::id())) {
            // Left behind it misleads nobody for long: its process is gone.
            let _ = fs::remove_file(&self.0);
        }
    }
}
