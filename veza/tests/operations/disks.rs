//! Disks: the reserve below which commands are refused, and one that is really full.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use event_store::{
    ClientStore, ContentType, EventId, EventStore as _, EventType, ExpectedRevision, NewEvent,
    StreamName,
};
use reqwest::{Body, Method};
use serde_json::{Value, json};

use crate::process::{Process, ended, eventually, folder, free_address, replay, veza, veza_after};
use crate::roles::Shared;

/// A disk of its own at a path; gone when dropped.
struct Disk(PathBuf);

impl Disk {
    /// Makes one of so many bytes; none where this user may not, which must not be where every
    /// test counts.
    fn mount(path: &Path, bytes: u64) -> Option<Self> {
        fs::create_dir_all(path).unwrap();
        let size = format!("size={bytes}");
        let mut mounting = Command::new("mount");
        mounting.args(["-t", "tmpfs", "-o", &size, "none"]).arg(path);
        let mounted = mounting.status().unwrap().success();
        if !mounted {
            assert!(std::env::var_os("CI").is_none(), "a user who may mount is needed");
            eprintln!("skipped: a user who may mount is needed");
        }
        mounted.then(|| Self(path.to_owned()))
    }

    /// Mounts it anew, to be written or only read.
    fn remount(&self, how: &str) {
        let mut mounting = Command::new("mount");
        let mounted = mounting.args(["-o", &format!("remount,{how}")]).arg(&self.0).status();
        assert!(mounted.unwrap().success(), "{how}");
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
    assert_eq!(ready.status(), 503, "commands are not served");
    let problem: Value = ready.json().await.unwrap();
    assert_eq!(problem["type"], "urn:veza:problem:unavailable");
    assert_eq!(problem["detail"], "disk: below its reserve");
    assert_eq!(problem["parts"]["disk"], "below its reserve");
    platform.stop().await;
}

#[tokio::test]
async fn a_process_that_takes_no_commands_is_ready_below_the_reserve() {
    let folder = folder();
    let settings = [("VEZA_DISK_RESERVE", "9999999G"), ("VEZA_ROLES", "event-store")];
    let process = Process::platform(folder.path(), &settings).await;
    let ready = process.get("/readyz").await;
    assert_eq!(ready.status(), 200);
    let ready: Value = ready.json().await.unwrap();
    assert_eq!(ready["parts"]["disk"], "below its reserve", "it is told all the same");
    process.stop().await;
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
    fs::write(&filler, vec![1; 40 << 20]).unwrap();
    eventually("commands are refused", async || command().await == 507).await;
    fs::remove_file(&filler).unwrap();
    eventually("commands are taken again", async || command().await == 201).await;
    platform.stop().await;
}

#[tokio::test]
async fn uploads_stop_at_the_reserve_and_commands_go_on() {
    const MIB: usize = 1 << 20;
    let folder = folder();
    let objects = folder.path().join("objects");
    let Some(_disk) = Disk::mount(&objects, 96 << 20) else {
        return;
    };
    let settings = [("VEZA_DISK_RESERVE", "32M"), ("VEZA_RATE_LIMITS", "off")];
    let platform = Process::platform(folder.path(), &settings).await;
    assert_eq!(platform.sign_up("nina", "artist").await.0, 201);
    let (_, session) = platform.log_in("nina@example.org", "correct horse").await;
    let nina = session["access_token"].as_str().unwrap();
    let upload = async |body: Body| {
        let request = platform.request(Method::POST, "/api/v1/uploads", Some(nina)).body(body);
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap()["type"].clone())
    };
    let full = (507, json!("urn:veza:problem:storage-full"));
    let mut wav = b"RIFF\xff\xff\xff\xffWAVEfmt ".to_vec();
    wav.resize(28 * MIB, 0);
    let announced = || Body::from(wav.clone());
    // Some three times as much as there is room for, at once; then one whose end nobody knows.
    let all = tokio::join!(
        upload(announced()),
        upload(announced()),
        upload(announced()),
        upload(announced()),
    );
    let all = [all.0, all.1, all.2, all.3];
    assert!((1..=2).contains(&all.iter().filter(|answer| answer.0 == 201).count()), "{all:?}");
    assert!(all.iter().all(|answer| answer.0 == 201 || *answer == full), "{all:?}");
    let pieces: Vec<_> = wav.repeat(4).chunks(MIB).map(|piece| Ok(piece.to_vec())).collect();
    let endless = futures::stream::iter(pieces as Vec<Result<_, std::io::Error>>);
    assert_eq!(upload(Body::wrap_stream(endless)).await, full);
    let disk = rustix::fs::statvfs(&objects).unwrap();
    assert!(disk.f_bavail * disk.f_frsize >= 32 << 20, "the reserve is untouched");
    let lobby = json!({ "name": "lobby" });
    assert_eq!(platform.post("/api/v1/channels", Some(nina), lobby).await.0, 201);
    platform.stop().await;
}

#[tokio::test]
async fn uploads_to_a_disk_that_became_read_only_are_refused_until_it_is_not() {
    let folder = folder();
    let Some(disk) = Disk::mount(&folder.path().join("objects"), 64 << 20) else {
        return;
    };
    let platform = Process::platform(folder.path(), &[("VEZA_DISK_RESERVE", "0")]).await;
    let nina = platform.member("nina", "artist").await;
    let upload = async || {
        let request = platform.request(Method::POST, "/api/v1/uploads", Some(&nina));
        let answer = request.body(b"RIFF\xff\xff\xff\xffWAVEfmt ".repeat(40)).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap()["type"].clone())
    };
    disk.remount("ro");
    assert_eq!(upload().await, (503, json!("urn:veza:problem:unavailable")));
    disk.remount("rw");
    assert_eq!(upload().await.0, 201);
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
    let log = folder.path().join("log");
    let mut command = veza(folder.path(), &["serve"]);
    command.envs(settings);
    let platform = Process::logging(folder.path(), command, &log).await;
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
    eventually("it is told", async || disk_of(&platform).await == "full").await;
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
    eventually("it has room", async || disk_of(&platform).await == "ok").await;
    // It is not told at once: what is larger might not have fitted.
    eventually("it is told", async || {
        platform.post("/api/v1/channels", Some(&nina), json!({ "name": name })).await;
        fs::read_to_string(&log).unwrap().contains("appends are taken again")
    })
    .await;
    let said = fs::read_to_string(&log).unwrap();
    let told = |words| said.lines().filter(|line| line.contains(words)).count();
    assert!(told("WARN") >= 1 && told("the disk is full: appends are refused") == 1, "{said}");
    let full = said.lines().find(|line| line.contains("the disk is full"));
    assert!(full.unwrap().contains(&events.display().to_string()), "it says which: {said}");
    assert_eq!(told("appends are taken again"), 1, "{said}");
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

#[tokio::test]
async fn a_store_that_stopped_writing_is_not_ready_though_it_can_be_read() {
    let folder = folder();
    let data = folder.path();
    // A write that is refused otherwise than by a full disk: nobody knows what was written then.
    let refusing = "trap '' XFSZ && ulimit -f 40000";
    let command = veza_after(refusing, data, &["serve", "--role", "event-store"]);
    let process = Process::start(data, "run.json", command).await;
    assert_eq!(process.get("/readyz").await.status(), 200);
    let run: Value = serde_json::from_slice(&fs::read(data.join("run.json")).unwrap()).unwrap();
    let address = run["event_store"].as_str().unwrap();
    let store = ClientStore::new(&format!("esdb://{address}?tls=false")).unwrap();
    let stream = StreamName::new("song-1").unwrap();
    let append = async || {
        let event = NewEvent {
            id: EventId(uuid::Uuid::new_v4()),
            event_type: EventType::new("Heard").unwrap(),
            content_type: ContentType::Binary,
            data: vec![1; 100_000].into(),
            metadata: Vec::new().into(),
        };
        store.append(&stream, ExpectedRevision::Any, vec![event]).await
    };
    let mut kept = 0;
    while append().await.is_ok() {
        kept += 1;
        assert!(kept < 1000, "the limit was never reached");
    }
    assert!(kept > 0);
    let last = store.last_event(&stream).await.unwrap().expect("it can be read");
    assert_eq!(last.revision.get(), kept - 1);
    eventually("it is not ready", async || process.get("/readyz").await.status() == 503).await;
    let problem: Value = process.get("/readyz").await.json().await.unwrap();
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.starts_with("event_store: it stopped writing"), "{problem}");
    process.stop().await;

    let role = [("VEZA_ROLES", "event-store")];
    let process = Process::platform(data, &role).await;
    assert_eq!(process.get("/readyz").await.status(), 200);
    assert_eq!(replay(data, &["verify"]).await[0]["sound"], true);
    process.stop().await;
}

#[tokio::test]
async fn commands_that_a_store_refuses_since_it_stopped_writing_are_not_told_one_by_one() {
    let (folder, messages) = (folder(), folder());
    let log = messages.path().join("log");
    let mut command = veza_after("trap '' XFSZ", folder.path(), &["serve"]);
    command.env("VEZA_LOG", "warn");
    let platform = Process::logging(folder.path(), command, &log).await;
    let nina = platform.member("nina", "artist").await;
    let channel = json!({ "name": "x".repeat(60) });
    let written = async || platform.post("/api/v1/channels", Some(&nina), channel.clone()).await.0;
    // So that the log of events is longer than what is said: then a limit can be between the two.
    for _ in 0..200 {
        assert_eq!(written().await, 201);
    }
    let limit = "--fsize=60000:60000";
    let limited = Command::new("prlimit").args(["--pid", &platform.pid(), limit]).status();
    assert!(limited.unwrap().success());
    for _ in 0..20 {
        assert_eq!(written().await, 503);
    }
    let said = fs::read_to_string(&log).unwrap();
    let errors: Vec<_> = said.lines().filter(|line| line.contains("ERROR")).collect();
    assert!(matches!(errors[..], [one] if one.contains("stops writing")), "{said}");
    platform.stop().await;
}

#[tokio::test]
async fn a_first_start_on_a_full_disk_says_that_it_is_full() {
    let folder = folder();
    let Some(_disk) = Disk::mount(&folder.path().join("disk"), 24 << 20) else {
        return;
    };
    let data = folder.path().join("disk/data");
    let mut command = veza(&data, &["serve"]);
    command.env("VEZA_DISK_RESERVE", "0").env("VEZA_LOG", "error");
    let output = ended(command).await;
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{told}");
    let last = told.lines().last().unwrap();
    assert!(last.starts_with("veza: PostgreSQL could not make its data folder: "), "{told}");
    assert!(last.contains("No space left on device"), "{told}");
}

#[tokio::test]
async fn queries_are_answered_by_a_process_whose_own_disk_is_full() {
    let folder = folder();
    let (data, full) = (folder.path(), folder.path().join("full"));
    let Some(_disk) = Disk::mount(&full, 1 << 20) else {
        return;
    };
    let shared = Shared::new(data).await;
    fs::create_dir(data.join("events")).unwrap();
    let (store, projector) =
        tokio::join!(shared.start(data, "event-store"), shared.start(data, "projector"));
    // As many bytes as there are: what fits of them stays.
    fs::write(full.join("filler"), vec![1; 2 << 20]).unwrap_err();
    let log = data.join("log");
    let mut command = shared.command(&full, "query-api");
    command.env("VEZA_LOG", "warn").stderr(fs::File::create(&log).unwrap());
    let queries = Process::as_told(&full, &free_address(), command).await;
    eventually("it is ready", async || queries.get("/readyz").await.status() == 200).await;
    let query = json!({ "query": "{ tracks(first: 3) { nodes { title } } }" });
    assert_eq!(queries.post("/graphql", None, query).await.0, 200);
    queries.stop().await;
    let told = fs::read_to_string(&log).unwrap();
    let warnings: Vec<_> = told.lines().filter(|line| line.contains("can't write")).collect();
    assert!(matches!(warnings[..], [one] if one.contains("WARN")), "{told}");
    assert!(warnings[0].contains("No space left on device"), "{told}");
    projector.stop().await;
    store.stop().await;
}

#[tokio::test]
async fn a_full_disk_is_named_to_who_opens_a_store_on_it_or_backs_one_up_to_it() {
    let folder = folder();
    let (data, small) = (folder.path(), folder.path().join("small"));
    let Some(_disk) = Disk::mount(&small, 1 << 20) else {
        return;
    };
    let platform = Process::platform(data, &[("VEZA_ROLES", "event-store")]).await;
    let backup = small.join("backup");
    let told =
        |path: &Path| format!("veza-replay: the disk of the folder {} is full\n", path.display());
    let said = async |data: &Path, args: &[&str]| {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_veza-replay"));
        command.arg("--data").arg(data).args(args);
        let output = ended(command).await;
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    fs::create_dir_all(small.join("events")).unwrap();
    // As many bytes as there are: what fits of them stays.
    fs::write(small.join("filler"), vec![1; 2 << 20]).unwrap_err();
    let said_of_backup = said(data, &["backup", "--to", &backup.display().to_string()]).await;
    assert_eq!(said_of_backup, (Some(1), told(&backup)));
    let said_of_store = said(&small, &["verify"]).await;
    assert_eq!(said_of_store, (Some(1), told(&small.join("events"))));
    platform.stop().await;
}
