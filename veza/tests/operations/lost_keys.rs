//! Keys of people that are older than the log: nothing starts on them; and what no key opens any
//! more holds up nobody else, is told, and can be given up.

use std::fs;
use std::path::Path;

use event_store::{
    ClientStore, EventId, EventStore as _, ExpectedRevision, NewEvent, ReadAll, RecordedEvent,
    StreamName,
};
use futures::TryStreamExt as _;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use uuid::Uuid;

use crate::process::{Process, ended, eventually, folder, replay, veza};

/// The files of a folder, by name.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    let name = |entry: &fs::DirEntry| entry.file_name().into_string().unwrap();
    let mut files: Vec<_> =
        entries.map(|entry| (name(&entry), fs::read(entry.path()).unwrap())).collect();
    files.sort_unstable();
    files
}

/// Files of keys, without what says nothing of them.
fn keys_in(folder: &Path) -> Vec<(String, Vec<u8>)> {
    files(folder).into_iter().filter(|(name, _)| name != "generation").collect()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for (name, bytes) in files(from) {
        fs::write(to.join(name), bytes).unwrap();
    }
}

fn replaying(data: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_veza-replay"));
    command.arg("--data").arg(data).args(args);
    command
}

/// The token of an administrator.
async fn administrator(platform: &Process, data: &Path) -> String {
    let args = ["user", "create", "--role", "administrator", "--email", "root@example.org"];
    let mut command = veza(data, &args);
    let mut child = command.stdin(std::process::Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"correct horse\n").await.unwrap();
    assert!(child.wait_with_output().await.unwrap().status.success());
    let (status, session) = platform.log_in("root@example.org", "correct horse").await;
    assert_eq!(status, 201, "{session}");
    session["access_token"].as_str().unwrap().to_owned()
}

/// The store of the running platform, as it is kept.
fn door(data: &Path) -> ClientStore {
    let run: Value = serde_json::from_slice(&fs::read(data.join("run.json")).unwrap()).unwrap();
    let address = run["event_store"].as_str().unwrap();
    ClientStore::new(&format!("esdb://{address}?tls=false")).unwrap()
}

/// Puts somebody into the log who signed up with a key that is nowhere.
async fn stranger(data: &Path) -> Uuid {
    let (store, id) = (door(data), Uuid::new_v4());
    let events = store.read_all(ReadAll::forward()).await.unwrap();
    let events: Vec<RecordedEvent> = events.try_collect().await.unwrap();
    let one = events.into_iter().find(|event| event.event_type.as_str() == "UserRegistered");
    let one = one.unwrap();
    let mut fields: Value = serde_json::from_slice(&one.data).unwrap();
    fields["user_id"] = json!(id);
    let event = NewEvent {
        id: EventId(Uuid::new_v4()),
        event_type: one.event_type,
        content_type: one.content_type,
        data: fields.to_string().into(),
        metadata: one.metadata,
    };
    let stream = StreamName::new(format!("user-{id}")).unwrap();
    store.append(&stream, ExpectedRevision::NoStream, vec![event]).await.unwrap();
    id
}

/// How many events the models have parked.
async fn parked(platform: &Process) -> f64 {
    let shown = platform.get("/metrics").await.text().await.unwrap();
    let values = shown.lines().filter(|line| line.starts_with("veza_parked_events{"));
    values.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

async fn parts(platform: &Process) -> Value {
    let answer = platform.get("/readyz").await;
    assert_eq!(answer.status(), 200);
    answer.json::<Value>().await.unwrap()["parts"].clone()
}

async fn is_known(platform: &Process, handle: &str) -> bool {
    let query = json!({ "query": format!("{{ user(handle: \"{handle}\") {{ handle }} }}") });
    let (_, answer) = platform.post("/graphql", None, query).await;
    answer["data"]["user"]["handle"] == handle
}

#[tokio::test]
async fn nothing_starts_on_keys_that_are_older_than_the_log() {
    let folder = folder();
    let data = folder.path();
    let (keys, old, right) =
        (data.join("keys/subjects"), data.join("keys/old"), data.join("keys/right"));
    let platform = Process::platform(data, &[]).await;
    assert_eq!(platform.sign_up("otis", "listener").await.0, 201);
    copy(&keys, &old);
    assert_eq!(platform.sign_up("nina", "artist").await.0, 201);
    platform.stop().await;

    fs::rename(&keys, &right).unwrap();
    copy(&old, &keys);
    let output = ended(veza(data, &["serve"])).await;
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && told.contains("are older than the log"), "{told}");
    assert!(told.contains("veza-replay give-up") && told.lines().count() == 1, "{told}");
    assert!(keys_in(&keys) == keys_in(&old), "no other key is made");
    let listed = replay(data, &["give-up"]).await;
    assert!(listed.len() == 1 && listed[0]["key_is_lost"] == true, "{listed:?}");

    fs::remove_dir_all(&keys).unwrap();
    fs::rename(&right, &keys).unwrap();
    let platform = Process::platform(data, &[]).await;
    assert_eq!(platform.log_in("nina@example.org", "correct horse").await.0, 201);
    assert!(is_known(&platform, "nina").await);
    platform.stop().await;
}

#[tokio::test]
async fn what_no_key_opens_holds_up_nobody_else_and_can_be_given_up() {
    let folder = folder();
    let data = folder.path();
    let platform = Process::platform(data, &[]).await;
    let root = administrator(&platform, data).await;
    assert!(parts(&platform).await["degraded"].is_null());
    let stranger = stranger(data).await;
    eventually("it is parked", async || parked(&platform).await >= 1.0).await;
    assert_eq!(platform.sign_up("etta", "listener").await.0, 201);
    eventually("the models go on", async || is_known(&platform, "etta").await).await;
    eventually("it is told of whom", async || {
        let parts = parts(&platform).await;
        let degraded = parts["degraded"].as_str().unwrap_or_default();
        degraded.contains("2 personal fields can't be read")
            && degraded.contains(&format!("user-{stranger}"))
    })
    .await;
    let parts_then = parts(&platform).await;
    let states = parts_then["projections"].as_object().unwrap();
    assert!(states.values().all(|state| state == "running"), "{states:?}");
    let roles = format!("/api/v1/users/{stranger}/roles");
    let grant = json!({ "role": "artist", "reason": "trusted" });
    let (status, problem) = platform.post(&roles, Some(&root), grant.clone()).await;
    assert_eq!((status, &problem["type"]), (500, &json!("urn:veza:problem:unreadable")));
    platform.stop().await;

    // Who signed up last can be read, so it starts again, and tells of the other before anybody
    // reads of them.
    let platform = Process::platform(data, &[]).await;
    let told = parts(&platform).await["degraded"].to_string();
    assert!(told.contains(&format!("user-{stranger}")), "{told}");
    platform.stop().await;
    let rebuilt = ended(replaying(data, &["rebuild", "profiles"])).await;
    let told = String::from_utf8(rebuilt.stderr).unwrap();
    assert!(told.contains("is sealed, and no key that is here opens it"), "{told}");
    let listed = replay(data, &["give-up"]).await;
    assert_eq!(listed.len(), 1, "{listed:?}");
    assert_eq!((&listed[0]["person"], &listed[0]["fields"]), (&json!(stranger), &json!(2)));
    let given_up = ended(replaying(data, &["give-up", "--all"])).await;
    let told = String::from_utf8(given_up.stdout).unwrap();
    assert!(given_up.status.success() && told.contains("2 fields of 1 people"), "{told}");
    assert_eq!(replay(data, &["give-up"]).await.len(), 0);
    let rebuilt = ended(replaying(data, &["rebuild", "--all"])).await;
    assert!(rebuilt.status.success(), "{}", String::from_utf8_lossy(&rebuilt.stderr));

    let platform = Process::platform(data, &[]).await;
    assert!(parts(&platform).await["degraded"].is_null());
    assert!(parked(&platform).await < 1.0 && is_known(&platform, "etta").await);
    let (status, session) = platform.log_in("root@example.org", "correct horse").await;
    assert_eq!(status, 201, "{session}");
    let root = session["access_token"].as_str().unwrap();
    assert_eq!(platform.post(&roles, Some(root), grant).await.0, 200, "they are as forgotten");
    platform.stop().await;
}

/// What the platform answers to somebody who changes their name.
async fn renamed(platform: &Process, handle: &str) -> u16 {
    let (status, session) =
        platform.log_in(&format!("{handle}@example.org"), "correct horse").await;
    assert_eq!(status, 201, "{session}");
    let token = session["access_token"].as_str();
    let request = platform.request(Method::PUT, "/api/v1/users/me/profile", token);
    let change = json!({ "display_name": "Another" });
    request.json(&change).send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn an_older_copy_that_is_put_under_a_running_platform_is_told_and_gets_no_key() {
    let folder = folder();
    let data = folder.path();
    let (keys, old, newer) =
        (data.join("keys/subjects"), data.join("keys/old"), data.join("keys/newer"));
    let platform = Process::platform(data, &[]).await;
    assert_eq!(platform.sign_up("otis", "listener").await.0, 201);
    copy(&keys, &old);
    assert_eq!(platform.sign_up("nina", "artist").await.0, 201);
    platform.stop().await;

    // The start reads the key of who signed up last.
    let platform = Process::platform(data, &[]).await;
    fs::rename(&keys, &newer).unwrap();
    copy(&old, &keys);
    for handle in ["nina", "otis"] {
        assert_eq!(renamed(&platform, handle).await, 503, "{handle}");
    }
    let (status, problem) = platform.sign_up("etta", "listener").await;
    assert_eq!(status, 503, "{problem}");
    eventually("it is not ready", async || platform.get("/readyz").await.status() == 503).await;
    let told = platform.get("/readyz").await.text().await.unwrap();
    assert!(told.contains("not the one that was opened"), "{told}");
    assert!(keys_in(&keys) == keys_in(&old), "no key is made");
    platform.stop().await;
    let output = ended(veza(data, &["serve"])).await;
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && told.contains("are older than the log"), "{told}");

    fs::remove_dir_all(&keys).unwrap();
    fs::rename(&newer, &keys).unwrap();
    let platform = Process::platform(data, &[]).await;
    assert_eq!(renamed(&platform, "nina").await, 200);
    assert_eq!(platform.sign_up("lena", "listener").await.0, 201);
    platform.stop().await;
    assert_eq!(replay(data, &["give-up"]).await.len(), 0);
}

/// What a command of `veza-replay` ends with, and all that it says.
async fn said(data: &Path, args: &[&str]) -> (Option<i32>, String) {
    let output = ended(replaying(data, args)).await;
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

/// Given the key that wraps those of people is gone, or damaged, then that is told, who they are is
/// listed, and they can be given up; the platform starts then, and what was given up is kept aside.
#[tokio::test]
async fn without_the_key_that_wraps_the_others_all_can_be_given_up() {
    let folder = folder();
    let data = folder.path();
    let (keys, store_key) = (data.join("keys/subjects"), data.join("keys/subjects/store.key"));
    let (mut people, mut found) = (Vec::new(), Vec::new());
    for (number, (handle, how)) in (1..).zip([("otis", "is missing"), ("nina", "is damaged")]) {
        let platform = Process::platform(data, &[]).await;
        let (status, user) = platform.sign_up(handle, "listener").await;
        assert_eq!(status, 201, "{user}");
        people.push(user["id"].as_str().unwrap().to_owned());
        platform.stop().await;
        found = fs::read(&store_key).unwrap();
        if how == "is missing" {
            fs::remove_file(&store_key).unwrap();
        } else {
            fs::write(&store_key, &found[1..]).unwrap();
        }
        let output = ended(veza(data, &["serve"])).await;
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && told.contains("give-up --all"), "{how}: {told}");
        assert_eq!(told.lines().count(), 1, "{told}");

        let person = people.last().unwrap();
        let (code, told) = said(data, &["give-up"]).await;
        assert!(code == Some(1) && told.contains(&format!("{person}  key lost")), "{how}: {told}");
        let listed = replay(data, &["give-up"]).await;
        assert_eq!(listed.len(), 1, "who is forgotten is not listed: {listed:?}");
        let before = files(&keys);
        let (code, told) = said(data, &["give-up", person]).await;
        assert!(code == Some(1) && told.contains(&format!("store.key {how}")), "{told}");
        assert!(files(&keys) == before, "{how}: the others are left as they are");

        let (code, told) = said(data, &["give-up", "--all"]).await;
        let aside = data.join(format!("keys/subjects.unopened-{number}"));
        assert!(told.contains(&format!("moved to {}", aside.display())), "{how}: {told}");
        assert!(code == Some(0) && told.contains("of 1 people are given up"), "{how}: {told}");
        assert!(files(&aside) == before, "{how}: nothing of it is lost");
        let (code, told) = said(data, &["give-up"]).await;
        assert!(code == Some(0) && told.contains("every personal field can be read"), "{told}");
    }
    let platform = Process::platform(data, &[]).await;
    assert!(parts(&platform).await["degraded"].is_null());
    assert_eq!(platform.sign_up("etta", "listener").await.0, 201);
    platform.stop().await;

    // The key that was found opens what was moved, for who needs no other.
    let (moved, now) = (data.join("keys/subjects.unopened-2"), data.join("keys/now"));
    fs::rename(&keys, &now).unwrap();
    fs::rename(&moved, &keys).unwrap();
    fs::write(&store_key, found).unwrap();
    let state = replay(data, &["state", &format!("user-{}", people[1])]).await;
    assert_eq!(state[0]["state"]["handle"], "nina", "{state:?}");
}
