//! Disks: the reserve below which commands are refused, and one that is really full.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::process::{Process, eventually, folder, replay};

/// A disk of its own at a path; gone when dropped.
struct Disk(PathBuf);

impl Disk {
    /// Makes one of so many bytes; none where this user may not.
    fn mount(path: &Path, bytes: u64) -> Option<Self> {
        fs::create_dir_all(path).unwrap();
        let size = format!("size={bytes}");
        let mut mounting = Command::new("mount");
        mounting.args(["-t", "tmpfs", "-o", &size, "none"]).arg(path);
        let mounted = mounting.status().unwrap().success();
        assert!(mounted || !rustix::process::geteuid().is_root(), "root can mount");
        mounted.then(|| Self(path.to_owned()))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

async fn disk_of(platform: &Process) -> Value {
    let ready: Value = platform.get("/readyz").await.json().await.unwrap();
    ready["parts"]["disk"].clone()
}

#[tokio::test]
async fn below_the_reserve_commands_are_refused_and_the_rest_goes_on() {
    let folder = folder();
    let platform = Process::platform(folder.path(), &[("VEZA_DISK_RESERVE", "9999999G")]).await;
    let (status, refusal) = platform.sign_up("nina", "artist").await;
    assert_eq!((status, &refusal["type"]), (507, &json!("urn:veza:problem:storage-full")));
    assert_eq!(platform.post("/api/v1/uploads", None, Value::Null).await.0, 507);
    assert_eq!(platform.log_in("nina@example.org", "correct horse").await.0, 401);
    let query = json!({ "query": "{ __typename }" });
    assert_eq!(platform.post("/graphql", None, query).await.0, 200);
    let ready = platform.get("/readyz").await;
    assert_eq!(ready.status(), 200, "queries are answered, and commands are, by a refusal");
    assert_eq!(disk_of(&platform).await, "below its reserve");
    platform.stop().await;
}

#[tokio::test]
async fn the_reserve_is_watched_while_it_runs() {
    let folder = folder();
    let events = folder.path().join("events");
    let Some(_disk) = Disk::mount(&events, 64 << 20) else {
        return;
    };
    let settings = [("VEZA_DISK_RESERVE", "32M"), ("VEZA_RATE_LIMITS", "off")];
    let platform = Process::platform(folder.path(), &settings).await;
    let nina = platform.member("nina", "artist").await;
    let lobby = json!({ "name": "lobby" });
    let command = async || platform.post("/api/v1/channels", Some(&nina), lobby.clone()).await.0;
    assert_eq!(command().await, 201);
    let filler = events.join("filler");
    fs::write(&filler, vec![1; 48 << 20]).unwrap();
    eventually("commands are refused", async || command().await == 507).await;
    fs::remove_file(&filler).unwrap();
    eventually("commands are taken again", async || command().await == 201).await;
    platform.stop().await;
}

#[tokio::test]
async fn nothing_that_was_acknowledged_is_lost_on_a_full_disk() {
    let folder = folder();
    let events = folder.path().join("events");
    let Some(_disk) = Disk::mount(&events, 8 << 20) else {
        return;
    };
    let settings = [("VEZA_DISK_RESERVE", "0"), ("VEZA_RATE_LIMITS", "off")];
    let platform = Process::platform(folder.path(), &settings).await;
    let nina = platform.member("nina", "artist").await;
    let mut kept = Vec::new();
    let filler = events.join("filler");
    // As many bytes as there are: what fits of them stays.
    fs::write(&filler, vec![1; 9 << 20]).unwrap_err();
    let name = "x".repeat(60);
    let refusal = loop {
        let (status, answer) =
            platform.post("/api/v1/channels", Some(&nina), json!({ "name": name })).await;
        match status {
            201 => kept.push(answer["id"].as_str().unwrap().to_owned()),
            _ => break (status, answer["type"].clone()),
        }
        assert!(kept.len() < 20_000, "the disk never filled up");
    };
    assert_eq!(refusal, (507, json!("urn:veza:problem:storage-full")));
    assert_eq!(platform.get("/healthz").await.status(), 200);
    fs::remove_file(&filler).unwrap();
    eventually("commands are taken again", async || {
        let made = platform.post("/api/v1/channels", Some(&nina), json!({ "name": name })).await;
        if made.0 == 201 {
            return true;
        }
        assert!(matches!(made.0, 503 | 507), "{made:?}");
        false
    })
    .await;
    platform.stop().await;
    let platform = Process::platform(folder.path(), &settings).await;
    let events = replay(folder.path(), &["events", "--limit", "1000000"]).await;
    let streams: HashSet<_> = events.iter().filter_map(|event| event["stream"].as_str()).collect();
    for id in &kept {
        assert!(streams.contains(&*format!("channel-{id}")), "{id} was acknowledged and is lost");
    }
    assert_eq!(replay(folder.path(), &["verify"]).await[0]["sound"], true);
    platform.stop().await;
}
