//! `veza event-store` as an official client meets it, and as an operator does.

#[path = "event_store_server/memory.rs"]
mod memory;
#[path = "event_store_server/secured.rs"]
mod secured;

use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use event_store::{
    ContentType, EmbeddedOptions, EmbeddedStore, EventId, EventStore as _, EventType,
    ExpectedRevision, NewEvent, StreamMetadata, StreamName, WrappingKeys,
};
use eventstore::{AppendToStreamOptions, Client, EventData, ReadStreamOptions};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(30);

fn command(data: &TempDir, listen: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_veza"));
    command.args(["event-store", "--listen", listen, "--data"]).arg(data.path());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// The same by variables, where other machines reach it.
fn by_variables(data: &TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_veza"));
    command.arg("event-store").env("EVENTSTORE_LISTEN", "0.0.0.0:0");
    command.env("EVENTSTORE_DATA", data.path());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// The server and its connection string, once it says that it is ready.
async fn start(data: &TempDir) -> (Child, String) {
    started(command(data, "127.0.0.1:0")).await
}

async fn started(mut command: Command) -> (Child, String) {
    let mut server = command.spawn().unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let ready = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if let Some((_, address)) = line.split_once("connect to ") {
                return address.to_owned();
            }
        }
        panic!("it ended before it was ready")
    };
    let address = tokio::time::timeout(PATIENCE, ready).await.expect("ready in time");
    (server, address)
}

async fn refusal(mut command: Command) -> String {
    let output = tokio::time::timeout(PATIENCE, command.output()).await.expect("ends").unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said.lines().count(), 1, "{said}");
    said
}

#[tokio::test]
async fn what_a_client_appends_is_there_after_a_kill() {
    let data = tempfile::tempdir().unwrap();
    let (mut server, address) = start(&data).await;
    let client = Client::new(address.parse().unwrap()).unwrap();
    let event = EventData::json("Heard", &json!({ "n": 1 })).unwrap();
    let options = AppendToStreamOptions::default();
    client.append_to_stream("song-1", &options, event).await.unwrap();
    server.kill().await.unwrap();

    let (_server, address) = start(&data).await;
    let client = Client::new(address.parse().unwrap()).unwrap();
    let mut read = client.read_stream("song-1", &ReadStreamOptions::default()).await.unwrap();
    let event = read.next().await.unwrap().expect("it was acknowledged");
    assert_eq!(event.get_original_event().event_type, "Heard");
    assert!(read.next().await.unwrap().is_none());
}

/// Given a process that was killed and still holds the folder, when the next one starts, then it
/// waits, and serves once the lock is let go.
#[tokio::test]
async fn a_folder_that_is_just_let_go_is_waited_for() {
    let data = tempfile::tempdir().unwrap();
    std::fs::create_dir(data.path().join("events")).unwrap();
    let held = std::fs::File::create(data.path().join("events/LOCK")).unwrap();
    held.lock().unwrap();
    starts_once_let_go(&data, command(&data, "127.0.0.1:0"), held).await;
}

/// The same of a port.
#[tokio::test]
async fn a_port_that_is_just_let_go_is_waited_for() {
    let data = tempfile::tempdir().unwrap();
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = held.local_addr().unwrap().to_string();
    starts_once_let_go(&data, command(&data, &listen), held).await;
}

/// Starts it while something is held that it needs, and lets go once it waits.
async fn starts_once_let_go<T>(data: &TempDir, mut command: Command, held: T) {
    let log = data.path().join("log");
    command.env("VEZA_LOG", "veza=debug").stderr(std::fs::File::create(&log).unwrap());
    let let_go = async {
        while !std::fs::read_to_string(&log).unwrap().contains("it is waited for") {
            tokio::time::sleep(Duration::from_millis(5)).await; // poll
        }
        drop(held);
    };
    let ((_server, _), ()) = tokio::join!(started(command), let_go);
}

#[tokio::test]
async fn whoever_looks_into_the_folder_finds_the_server_on_it_and_it_has_a_log() {
    let data = tempfile::tempdir().unwrap();
    let log = data.path().join("log");
    let mut command = command(&data, "127.0.0.1:0");
    command.env("VEZA_LOG", "debug").stderr(std::fs::File::create(&log).unwrap());
    let (server, address) = started(command).await;
    let client = Client::new(address.parse().unwrap()).unwrap();
    let event = EventData::json("Heard", &json!({ "n": 1 })).unwrap();
    let options = AppendToStreamOptions::default();
    client.append_to_stream("song-1", &options, event).await.unwrap();

    let mut replay = Command::new(env!("CARGO_BIN_EXE_veza-replay"));
    let found = replay.arg("--data").arg(data.path()).arg("events").output().await.unwrap();
    let (said, told) = (String::from_utf8(found.stdout), String::from_utf8(found.stderr));
    assert!(said.unwrap().contains("song-1@0  Heard"), "{told:?}");

    let pid = server.id().unwrap().to_string();
    Command::new("kill").args(["-TERM", &pid]).status().await.unwrap();
    let ended = tokio::time::timeout(PATIENCE, server.wait_with_output()).await.expect("ends");
    assert!(ended.unwrap().status.success() && !data.path().join("run.json").exists());
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.contains("DEBUG"), "it logs: {log:?}");
}

/// Given a new log, then it begins with the list of projections, as that of EventStoreDB's own
/// server does: clients find events of the system in it before their own.
#[tokio::test]
async fn a_new_log_begins_with_the_list_of_projections() {
    let data = tempfile::tempdir().unwrap();
    let (_server, address) = start(&data).await;
    let client = Client::new(address.parse().unwrap()).unwrap();
    let listed = async {
        loop {
            let options = ReadStreamOptions::default();
            let read = client.read_stream("$projections-$all", &options).await;
            if let Ok(mut read) = read
                && let Ok(Some(first)) = read.next().await
            {
                return first.get_original_event().event_type.clone();
            }
            tokio::time::sleep(Duration::from_millis(20)).await; // poll
        }
    };
    let first = tokio::time::timeout(PATIENCE, listed).await.expect("it is listed");
    assert_eq!(first, "$ProjectionsInitialized");
}

/// Given bytes that change on the disk, then each client that reads them is refused, and the log of
/// the process says so once.
#[tokio::test]
async fn damage_that_clients_meet_is_logged_once() {
    let data = tempfile::tempdir().unwrap();
    let log = data.path().join("log");
    let mut command = command(&data, "127.0.0.1:0");
    command.env("VEZA_LOG", "warn").stderr(std::fs::File::create(&log).unwrap());
    let (_server, address) = started(command).await;
    let client = Client::new(address.parse().unwrap()).unwrap();
    let event = EventData::json("Heard", &json!({ "n": "as it was" })).unwrap();
    let options = AppendToStreamOptions::default();
    client.append_to_stream("song-1", &options, event).await.unwrap();

    let segment = data.path().join("events/00000000000000000001.log");
    let bytes = std::fs::read(&segment).unwrap();
    let at = bytes.windows(9).position(|bytes| bytes == b"as it was").unwrap();
    let file = std::fs::File::options().write(true).open(&segment).unwrap();
    file.write_all_at(b"as it is!", at as u64).unwrap();
    for _ in 0..3 {
        let options = ReadStreamOptions::default();
        let read = async { client.read_stream("song-1", &options).await?.next().await };
        assert!(read.await.is_err());
    }
    let log = std::fs::read_to_string(log).unwrap();
    assert_eq!(log.matches("a segment has rotted on the disk").count(), 1, "{log}");
    assert!(log.contains("00000000000000000001.log offset"), "{log}");
}

#[tokio::test]
async fn a_second_server_and_an_open_door_are_refused_in_one_line() {
    let data = tempfile::tempdir().unwrap();
    let said = refusal(command(&data, "0.0.0.0:0")).await;
    assert!(said.contains("--insecure"), "{said}");

    let (_server, address) = start(&data).await;
    let asked = Instant::now();
    let said = refusal(command(&data, "127.0.0.1:0")).await;
    assert!(said.contains("open in another process"), "{said}");
    assert!(asked.elapsed() < Duration::from_secs(10), "it waits for two seconds");

    let taken = address.trim_start_matches("esdb://").trim_end_matches("?tls=false");
    let other = tempfile::tempdir().unwrap();
    let asked = Instant::now();
    let said = refusal(command(&other, taken)).await;
    assert!(said.contains("can't listen on"), "{said}");
    assert!(asked.elapsed() < Duration::from_secs(10), "it waits for two seconds");
}

/// The name of the key that wraps all of the log, as its key files have it.
fn wrapped_by(data: &TempDir) -> Vec<String> {
    let files = std::fs::read_dir(data.path().join("events")).unwrap().map(Result::unwrap);
    let keys =
        files.map(|file| file.path()).filter(|path| path.extension() == Some("key".as_ref()));
    let name =
        |file: Vec<u8>| file[40..104].iter().copied().take_while(|&byte| byte != 0).collect();
    keys.map(|path| String::from_utf8(name(std::fs::read(path).unwrap())).unwrap()).collect()
}

async fn keys_command(data: &TempDir, arguments: &[&str]) -> std::process::Output {
    let mut keys = Command::new(env!("CARGO_BIN_EXE_veza"));
    keys.arg("event-store-keys").args(arguments).arg("--data").arg(data.path());
    keys.env("VEZA_EVENT_STORE_KEY_FILE", data.path().join("keys")).output().await.unwrap()
}

/// An operator's way: makes a key, serves with it, makes another, changes to it while serving and
/// at rest; and whoever has not the keys is told so in one line.
#[tokio::test]
async fn the_log_is_encrypted_by_a_key_file_which_is_changed_while_it_serves() {
    let data = tempfile::tempdir().unwrap();
    let made = keys_command(&data, &["new", "--name", "first"]).await;
    assert!(made.status.success(), "{made:?}");
    let encrypted = || {
        let mut command = command(&data, "127.0.0.1:0");
        command.env("VEZA_EVENT_STORE_KEY_FILE", data.path().join("keys"));
        command
    };
    let (server, address) = started(encrypted()).await;
    let client = Client::new(address.parse().unwrap()).unwrap();
    let event = EventData::json("Heard", &json!({ "n": 1 })).unwrap();
    let options = AppendToStreamOptions::default();
    client.append_to_stream("song-1", &options, event).await.unwrap();
    assert_eq!(wrapped_by(&data), ["first"]);

    assert!(keys_command(&data, &["new", "--name", "second"]).await.status.success());
    let refused = keys_command(&data, &["rotate"]).await;
    let pid = server.id().unwrap().to_string();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success() && said.contains(&format!("SIGUSR1 to {pid}")), "{said}");
    Command::new("kill").args(["-USR1", &pid]).status().await.unwrap();
    let changed = async {
        while wrapped_by(&data) != ["second"] {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, changed).await.expect("the key is changed");
    Command::new("kill").args(["-TERM", &pid]).status().await.unwrap();
    assert!(server.wait_with_output().await.unwrap().status.success());

    assert!(keys_command(&data, &["new", "--name", "third"]).await.status.success());
    let rotated = keys_command(&data, &["rotate"]).await;
    assert!(rotated.status.success(), "{rotated:?}");
    assert!(wrapped_by(&data).iter().all(|name| name == "third"));
    let said = refusal(command(&data, "127.0.0.1:0")).await;
    assert!(said.contains("is encrypted, and no key was given"), "{said}");
    let replay = |with_keys: bool| {
        let mut replay = Command::new(env!("CARGO_BIN_EXE_veza-replay"));
        replay.arg("--data").arg(data.path()).arg("events");
        if with_keys {
            replay.env("VEZA_EVENT_STORE_KEY_FILE", data.path().join("keys"));
        }
        replay
    };
    let found = replay(true).output().await.unwrap();
    assert!(String::from_utf8(found.stdout).unwrap().contains("song-1@0  Heard"));
    assert_eq!(replay(false).output().await.unwrap().status.code(), Some(3));
}

/// An operator's way with an encrypted log: backed up, looked at and put back with the keys; and
/// whoever has not the keys is told so in one line.
#[tokio::test]
async fn an_encrypted_log_is_backed_up_and_put_back_with_its_keys() {
    let data = tempfile::tempdir().unwrap();
    assert!(keys_command(&data, &["new", "--name", "first"]).await.status.success());
    let mut server = command(&data, "127.0.0.1:0");
    server.env("VEZA_EVENT_STORE_KEY_FILE", data.path().join("keys"));
    let (server, address) = started(server).await;
    let client = Client::new(address.parse().unwrap()).unwrap();
    let event = EventData::json("Heard", &json!({ "n": 1 })).unwrap();
    let options = AppendToStreamOptions::default();
    client.append_to_stream("song-1", &options, event).await.unwrap();
    Command::new("kill").args(["-TERM", &server.id().unwrap().to_string()]).status().await.unwrap();
    assert!(server.wait_with_output().await.unwrap().status.success());

    let replay = async |with_keys: bool, arguments: &[&str]| {
        let mut replay = Command::new(env!("CARGO_BIN_EXE_veza-replay"));
        replay.args(arguments).arg("--data").arg(data.path());
        if with_keys {
            replay.env("VEZA_EVENT_STORE_KEY_FILE", data.path().join("keys"));
        }
        let output = replay.output().await.unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let path = |name: &str| data.path().join(name).to_str().unwrap().to_owned();
    let (backup, restored) = (path("backup"), path("restored/events"));
    let backing_up = ["backup", "--to", &backup];
    let restoring = ["restore", "--from", &backup, "--to", &restored];
    for arguments in [&backing_up[..], &restoring] {
        let (code, _, said) = replay(false, arguments).await;
        assert_eq!((code, said.lines().count()), (Some(3), 1), "{said}");
        assert!(said.contains("is encrypted, and no key was given"), "{said}");
        assert_eq!(replay(true, arguments).await.0, Some(0));
    }
    let restored = path("restored");
    let (code, told, _) = replay(false, &["inspect", &restored]).await;
    assert!(code == Some(3) && told.contains("records not checked"), "{code:?} {told}");
    let (code, told, _) = replay(true, &["inspect", &restored]).await;
    assert!(code == Some(0) && told.contains("  encrypted\n"), "{code:?} {told}");
    let mut events = Command::new(env!("CARGO_BIN_EXE_veza-replay"));
    events.arg("--data").arg(&restored).arg("events");
    events.env("VEZA_EVENT_STORE_KEY_FILE", data.path().join("keys"));
    let found = events.output().await.unwrap();
    assert!(String::from_utf8(found.stdout).unwrap().contains("song-1@0  Heard"));
}

#[tokio::test]
async fn a_bad_flag_or_variable_is_named_in_one_line_and_an_empty_one_is_none() {
    let data = tempfile::tempdir().unwrap();
    let cases = [
        ("EVENTSTORE_LISTEN", "banana", "EVENTSTORE_LISTEN: must be an address and a port"),
        ("EVENTSTORE_SCAVENGE_EVERY", "daily", "EVENTSTORE_SCAVENGE_EVERY: must be off, or"),
        ("EVENTSTORE_SCRUB_EVERY", "weekly", "EVENTSTORE_SCRUB_EVERY: must be off, or"),
        ("KURRENTDB_SCRUB_EVERY", "weekly", "KURRENTDB_SCRUB_EVERY: must be off, or"),
        ("KURRENTDB_INSECURE", "", "say --insecure to mean it"),
        ("EVENTSTORE_INSECURE", "banana", "EVENTSTORE_INSECURE: must be on or off"),
        (
            "EVENTSTORE_START_STANDARD_PROJECTIONS",
            "banana",
            "EVENTSTORE_START_STANDARD_PROJECTIONS: must be on or off",
        ),
        ("EVENTSTORE_INSECURE", "2", "EVENTSTORE_INSECURE: must be on or off"),
        ("EVENTSTORE_INSECURE", "no", "say --insecure to mean it"),
        ("EVENTSTORE_INSECURE", "0", "say --insecure to mean it"),
        ("EVENTSTORE_INSECURE", "", "say --insecure to mean it"),
    ];
    for (name, value, words) in cases {
        let mut command = by_variables(&data);
        command.env(name, value);
        let said = refusal(command).await;
        assert!(said.contains(words), "{name}={value:?}: {said}");
    }
    let said = refusal(command(&data, "banana")).await;
    assert!(said.starts_with("veza: --listen: must be an address and a port"), "{said}");
    let mut without_keys = command(&data, "127.0.0.1:0");
    without_keys.env("VEZA_EVENT_STORE_KEY_FILE", "/nope/keys");
    let said = refusal(without_keys).await;
    let told = "VEZA_EVENT_STORE_KEY_FILE: can't read the keys in /nope/keys: No such file";
    assert!(said.contains(told), "{said}");
    for value in ["1", "yes", "true", "True", "on"] {
        let mut command = by_variables(&data);
        command.env("EVENTSTORE_INSECURE", value).env("EVENTSTORE_ADVERTISE_HOST", "");
        let (mut server, address) = started(command).await;
        assert!(address.starts_with("esdb://0.0.0.0:"), "{address}");
        server.kill().await.unwrap();
    }
}

/// Other servers and tools have variables that begin like these, so they hold nothing up.
#[tokio::test]
async fn a_misspelt_variable_is_told_in_one_line_and_ignored() {
    let data = tempfile::tempdir().unwrap();
    let log = data.path().join("log");
    let mut command = by_variables(&data);
    command.env("EVENTSTORE_INSECURE", "on").env("EVENTSTORE_SCRUB_EVRY", "1d");
    command.env("VEZA_EVENT_STORE_LISTEN", "127.0.0.1:1");
    command.env("VEZA_EVENT_STORE_SCRUB_EVERY", "1y");
    command.env("KURRENTDB_SCRUB_EVRY", "1d").env("KURRENTDB_DATA", "");
    command.stderr(std::fs::File::create(&log).unwrap());
    let (mut server, _) = started(command).await;
    server.kill().await.unwrap();
    let told = std::fs::read_to_string(log).unwrap();
    let misplaced =
        "veza: VEZA_EVENT_STORE_LISTEN is ignored: this command goes by EVENTSTORE_LISTEN";
    assert!(told.contains("veza: EVENTSTORE_SCRUB_EVRY is ignored"), "{told}");
    assert!(told.contains(misplaced), "{told}");
    let unreadable =
        "veza: VEZA_EVENT_STORE_SCRUB_EVERY is ignored: this command goes by EVENTSTORE_";
    assert!(told.contains(unreadable), "{told}");
    assert!(told.contains("veza: KURRENTDB_SCRUB_EVRY is ignored"), "{told}");
    assert_eq!(told.matches("ignored").count(), 4, "{told}");
}

/// Given a variable by the name that EventStoreDB's server has by now, then it holds, and wins over
/// the one of the older name, of which that is told.
#[tokio::test]
async fn each_variable_may_be_named_after_kurrentdb() {
    let data = tempfile::tempdir().unwrap();
    let log = data.path().join("log");
    let mut command = by_variables(&data);
    command.env("KURRENTDB_LISTEN", "127.0.0.1:0");
    command.env_remove("EVENTSTORE_DATA").env("KURRENTDB_DATA", data.path());
    command.stderr(std::fs::File::create(&log).unwrap());
    let (mut server, address) = started(command).await;
    server.kill().await.unwrap();
    assert!(address.starts_with("esdb://127.0.0.1:"), "{address}");
    assert!(data.path().join("events").is_dir());
    let told = std::fs::read_to_string(log).unwrap();
    let older = "veza: EVENTSTORE_LISTEN is ignored: KURRENTDB_LISTEN is set too";
    assert!(told.contains(older) && told.matches("ignored").count() == 1, "{told}");
}

/// Given a machine that is set up for EventStoreDB's own server, then what has a counterpart holds,
/// and of what has none it is told why; and a client may end the process, which has nothing else.
#[tokio::test]
async fn settings_of_the_official_server_hold_or_are_told() {
    let data = tempfile::tempdir().unwrap();
    let log = data.path().join("log");
    let mut command = Command::new(env!("CARGO_BIN_EXE_veza"));
    command.arg("event-store").stdout(Stdio::piped()).kill_on_drop(true);
    command.env("EVENTSTORE_DB", data.path()).env("EVENTSTORE_NODE_IP", "0.0.0.0");
    command.env("KURRENTDB_NODE_PORT", "0").env("EVENTSTORE_INSECURE", "True");
    command.env("EVENTSTORE_MEM_DB", "true").env("EVENTSTORE_NODE_HOST_ADVERTISE_AS", "localhost");
    command.env("EVENTSTORE_NODE_PORT_ADVERTISE_AS", "4321");
    command.stderr(std::fs::File::create(&log).unwrap());
    let (server, address) = started(command).await;
    assert!(address.starts_with("esdb://0.0.0.0:") && data.path().join("events").is_dir());
    let told = std::fs::read_to_string(log).unwrap();
    assert!(told.contains("EVENTSTORE_MEM_DB is ignored: it has no counterpart"), "{told}");
    assert_eq!(told.matches("ignored").count(), 1, "{told}");
    let client = Client::new(address.replace("0.0.0.0", "127.0.0.1").parse().unwrap()).unwrap();
    let operator: eventstore::operations::Client = client.into();
    let told = operator.read_gossip().await.unwrap().remove(0).http_end_point;
    assert_eq!((&*told.host, told.port), ("localhost", 4321));
    operator.shutdown(&Default::default()).await.unwrap();
    let ended = tokio::time::timeout(PATIENCE, server.wait_with_output()).await;
    assert!(ended.expect("it ends").unwrap().status.success());
    for (flag, value, words) in [
        ("--node-port", "x", "veza: --node-port: must be a port"),
        ("--node-port-advertise-as", "x", "veza: --advertise-port: must be a port"),
        ("--connections-max", "0", "veza: --connections-max: must be a number"),
        ("--advertise-port", "0", "veza: --advertise-port: must be a port"),
    ] {
        let mut refused = Command::new(env!("CARGO_BIN_EXE_veza"));
        refused.args(["event-store", flag, value, "--db"]).arg(data.path());
        assert!(refusal(refused).await.starts_with(words));
    }
}

/// Given a data folder that `run.json` can't be written into, as on a full disk, then the store is
/// served all the same, and it is said how tools find it.
#[tokio::test]
async fn a_folder_without_a_run_file_is_served_with_a_warning() {
    let data = tempfile::tempdir().unwrap();
    std::fs::create_dir(data.path().join("run.json")).unwrap();
    let log = data.path().join("log");
    let mut command = command(&data, "127.0.0.1:0");
    command.stderr(std::fs::File::create(&log).unwrap());
    let (mut server, address) = started(command).await;
    let read = replay(&data, &["--store", &address, "events"]).await;
    assert!(read.status.success(), "{read:?}");
    server.kill().await.unwrap();
    let told = std::fs::read_to_string(log).unwrap();
    assert!(told.contains("WARN") && told.contains("can't write"), "{told}");
    assert!(told.contains(&format!("--store {address}")), "{told}");
    let left = std::fs::read_dir(data.path()).unwrap().map(|file| file.unwrap().file_name());
    let left: Vec<_> = left.filter(|name| name.to_string_lossy().starts_with(".run")).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// The exit codes of who has all keys, none, others, or has lost a file: only the last is bad.
#[tokio::test]
async fn keys_that_are_not_given_are_no_damage_and_one_that_is_lost_is() {
    let data = tempfile::tempdir().unwrap();
    assert!(keys_command(&data, &["new", "--name", "first"]).await.status.success());
    let keys = std::fs::read_to_string(data.path().join("keys")).unwrap();
    let options = EmbeddedOptions::folder(data.path().join("events"));
    let options = options.encryption(WrappingKeys::from_text(&keys).unwrap());
    let store = EmbeddedStore::open(options).await.unwrap();
    let event = NewEvent {
        id: EventId(Uuid::new_v4()),
        event_type: EventType::new("Heard").unwrap(),
        content_type: ContentType::Json,
        data: "{}".into(),
        metadata: "".into(),
    };
    let stream = StreamName::new("song-1").unwrap();
    store.append(&stream, ExpectedRevision::Any, vec![event]).await.unwrap();
    store.close().await.unwrap();

    let other = format!("other:{}", "07".repeat(32));
    let code = async |keys: Option<&str>, command: &str| {
        let mut replay = Command::new(env!("CARGO_BIN_EXE_veza-replay"));
        replay.arg("--data").arg(data.path()).args(["--json", command]);
        replay.envs(keys.map(|keys| ("VEZA_EVENT_STORE_KEY", keys)));
        let said = replay.output().await.unwrap();
        let document = said.stdout.split(|&byte| byte == b'\n').rfind(|line| !line.is_empty());
        let document = document.map(|line| serde_json::from_slice::<Value>(line).unwrap());
        (said.status.code(), document.map(|document| document["good"].clone()))
    };
    for (keys, expected, good) in [
        (Some(keys.trim()), 0, Value::Bool(true)),
        (None, 3, Value::Null),
        (Some(other.as_str()), 3, Value::Null),
    ] {
        assert_eq!(code(keys, "verify").await.0, Some(expected));
        assert_eq!(code(keys, "inspect").await, (Some(expected), Some(good)));
    }
    let files = std::fs::read_dir(data.path().join("events")).unwrap().map(Result::unwrap);
    let key_files = files.map(|file| file.path());
    let key_files = key_files.filter(|path| path.extension() == Some("key".as_ref()));
    key_files.for_each(|path| std::fs::remove_file(path).unwrap());
    assert_eq!(code(Some(keys.trim()), "verify").await.0, Some(1));
    assert_eq!(code(Some(keys.trim()), "inspect").await, (Some(1), Some(Value::Bool(false))));
}

/// Given something else than a folder where the log should be, then no store opens on it, and who
/// looks is told so.
#[tokio::test]
async fn a_file_in_the_place_of_the_log_is_named() {
    let data = tempfile::tempdir().unwrap();
    std::fs::write(data.path().join("events"), "a file").unwrap();
    let looked = replay(&data, &["inspect"]).await;
    let said = String::from_utf8(looked.stderr).unwrap();
    assert_eq!((looked.status.code(), said.lines().count()), (Some(1), 1), "{said}");
    assert!(said.contains("events is no folder: no store opens on it"), "{said}");
    assert!(looked.stdout.is_empty());
}

/// The bytes of what nobody can see in the log of `given_a_log_of_much_that_is_hidden`, about.
const HIDDEN_BYTES: u64 = 1_000_000;

/// A log in a few segments, of which nobody can see anything but the last event of one stream.
async fn given_a_log_of_much_that_is_hidden(data: &TempDir) {
    let options = EmbeddedOptions::folder(data.path().join("events")).segment_bytes(128 * 1024);
    let store = EmbeddedStore::open(options).await.unwrap();
    let (stream, any) = (StreamName::new("song-1").unwrap(), ExpectedRevision::Any);
    let event = || NewEvent {
        id: EventId(Uuid::new_v4()),
        event_type: EventType::new("Heard").unwrap(),
        content_type: ContentType::Binary,
        data: vec![7; 1000].into(),
        metadata: "".into(),
    };
    for _ in 0..10 {
        store.append(&stream, any, (0..100).map(|_| event()).collect()).await.unwrap();
    }
    let last = StreamMetadata { max_count: Some(1), ..StreamMetadata::default() };
    store.set_stream_metadata(&stream, any, last).await.unwrap();
    store.close().await.unwrap();
}

/// How long its files are; the one that is written, with room that nothing fills, counts little.
fn bytes_of(data: &TempDir) -> u64 {
    const SEGMENT_BYTES_MAX: u64 = 160 * 1024;
    let folder: &Path = &data.path().join("events");
    let files = std::fs::read_dir(folder).unwrap();
    // A file may be put in the place of another meanwhile.
    let lengths = files.filter_map(|file| Some(file.unwrap().metadata().ok()?.len()));
    lengths.map(|length| length.min(SEGMENT_BYTES_MAX)).sum()
}

async fn replay(data: &TempDir, arguments: &[&str]) -> Output {
    let mut replay = Command::new(env!("CARGO_BIN_EXE_veza-replay"));
    replay.arg("--data").arg(data.path()).args(arguments).output().await.unwrap()
}

#[tokio::test]
async fn what_nobody_can_see_is_given_back_while_it_serves() {
    let data = tempfile::tempdir().unwrap();
    given_a_log_of_much_that_is_hidden(&data).await;
    let before = bytes_of(&data);
    assert!(before > HIDDEN_BYTES, "{before} bytes");

    let mut command = command(&data, "127.0.0.1:0");
    command.env("EVENTSTORE_SCAVENGE_EVERY", "1s");
    let (mut server, address) = started(command).await;
    let begun = std::time::Instant::now();
    while bytes_of(&data) > before / 3 {
        assert!(begun.elapsed() < PATIENCE, "{} of {before} bytes are left", bytes_of(&data));
        tokio::time::sleep(Duration::from_millis(50)).await; // poll
    }
    let refused = replay(&data, &["scavenge"]).await;
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");

    let client = Client::new(address.parse().unwrap()).unwrap();
    let mut read = client.read_stream("song-1", &ReadStreamOptions::default()).await.unwrap();
    assert_eq!(read.next().await.unwrap().unwrap().get_original_event().revision, 999);
    assert!(read.next().await.unwrap().is_none());
    server.kill().await.unwrap();
    let verified = replay(&data, &["--json", "verify"]).await;
    assert!(verified.status.success(), "{verified:?}");
}

#[tokio::test]
async fn a_folder_at_rest_is_scavenged_and_is_sound_afterwards() {
    let data = tempfile::tempdir().unwrap();
    given_a_log_of_much_that_is_hidden(&data).await;
    let done = replay(&data, &["--json", "scavenge", "--least-percent", "0"]).await;
    assert!(done.status.success(), "{done:?}");
    let done: Value = serde_json::from_slice(&done.stdout).unwrap();
    let (reclaimed, given_back) = (&done["events_reclaimed"], &done["bytes_given_back"]);
    assert!(reclaimed.as_u64().unwrap() > 800, "{done}");
    assert!(given_back.as_u64().unwrap() > HIDDEN_BYTES / 2, "{done}");

    let sound = replay(&data, &["--json", "verify"]).await;
    assert!(sound.status.success(), "{sound:?}");
    let sound: Value = serde_json::from_slice(&sound.stdout).unwrap();
    assert_eq!(&sound["reclaimed"], reclaimed, "{sound}");

    let again = replay(&data, &["scavenge"]).await;
    let said = String::from_utf8(again.stdout).unwrap();
    assert!(said.starts_with("scavenged: 0 events reclaimed, 0 bytes given back"), "{said}");
}
