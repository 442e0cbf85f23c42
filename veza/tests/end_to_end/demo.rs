//! The demo's story, told to a real platform from the same files that `make demo` runs.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;

use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::platform::{Platform, eventually};

// The module is the demo's own; its file is not among the tests.
#[path = "../../examples/demo/story.rs"]
mod story;

use story::Stage;

#[tokio::test]
async fn the_story_is_as_told() {
    let platform = Platform::start().await;
    let veza_replay = Path::new(env!("CARGO_BIN_EXE_veza-replay"));
    let (url, data) = (platform.url(), platform.data());
    let elsewhere = Path::new("/nowhere");
    let told = Stage::new(url, url, elsewhere, veza_replay).err().unwrap().to_string();
    assert_eq!(told, "no platform that takes commands runs on /nowhere (VEZA_DATA)");
    let other = "http://127.0.0.1:1";
    let told = Stage::new(other, url, data, veza_replay).err().unwrap().to_string();
    assert!(told.contains("is not at http://127.0.0.1:1 (VEZA_URL): it is on port"), "{told}");
    let stage = Stage::new(url, url, data, veza_replay).unwrap();
    story::tell(&stage).await.unwrap();
    platform.stop().await;
}

/// The event store as a server of its own, which takes TLS alone and asks who calls.
struct Store {
    data: TempDir,
    listens: String,
    process: Child,
}

impl Store {
    async fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let listens = free.local_addr().unwrap().to_string();
        drop(free);
        let process = Self::spawn(data.path(), &listens).await;
        Self { data, listens, process }
    }

    async fn spawn(data: &Path, listens: &str) -> Child {
        let run_file = data.join("run.json");
        let _ = fs::remove_file(&run_file);
        let mut command = Command::new(env!("CARGO_BIN_EXE_veza"));
        command.args(["event-store", "--dev", "--listen", listens, "--data"]).arg(data);
        let process = command.stdout(Stdio::null()).kill_on_drop(true).spawn().unwrap();
        eventually("the store serves", async || run_file.exists()).await;
        process
    }

    async fn kill_and_restart(&mut self) {
        self.process.kill().await.unwrap();
        self.process = Self::spawn(self.data.path(), &self.listens).await;
    }

    fn connection(&self) -> String {
        let (listens, data) = (&self.listens, self.data.path().display());
        format!("esdb://admin:changeit@{listens}?tls=true&tlsCaFile={data}/tls/ca.crt")
    }
}

/// Given a platform whose events are kept by another server, then the story is as told, also once
/// that server was killed and is back.
#[tokio::test]
async fn the_story_is_as_told_over_a_store_apart_that_is_killed() {
    let mut store = Store::start().await;
    let connection: &'static str = store.connection().leak();
    let platform = Platform::start_with(&[("VEZA_EVENT_STORE", connection)]).await;
    // The tool is told of the store by a variable, as who tells the story sets it.
    let tools = tempfile::tempdir().unwrap();
    let veza_replay = tools.path().join("veza-replay");
    let program = env!("CARGO_BIN_EXE_veza-replay");
    let script = format!("#!/bin/sh\nVEZA_EVENT_STORE='{connection}' exec '{program}' \"$@\"\n");
    fs::write(&veza_replay, script).unwrap();
    fs::set_permissions(&veza_replay, fs::Permissions::from_mode(0o755)).unwrap();
    let (url, data) = (platform.url(), platform.data());
    let stage = Stage::new(url, url, data, &veza_replay).unwrap();
    story::tell(&stage).await.unwrap();
    store.kill_and_restart().await;
    eventually("it is ready again", async || platform.get("/readyz").await.0 == 200).await;
    story::tell(&stage).await.unwrap();
    platform.stop().await;
}
