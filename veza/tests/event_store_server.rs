//! `veza event-store` as an official client meets it, and as an operator does.

use std::process::Stdio;
use std::time::Duration;

use eventstore::{AppendToStreamOptions, Client, EventData, ReadStreamOptions};
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

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

#[tokio::test]
async fn a_second_server_and_an_open_door_are_refused_in_one_line() {
    let data = tempfile::tempdir().unwrap();
    let said = refusal(command(&data, "0.0.0.0:0")).await;
    assert!(said.contains("--insecure"), "{said}");

    let (_server, address) = start(&data).await;
    let said = refusal(command(&data, "127.0.0.1:0")).await;
    assert!(said.contains("open in another process"), "{said}");

    let taken = address.trim_start_matches("esdb://").trim_end_matches("?tls=false");
    let other = tempfile::tempdir().unwrap();
    let said = refusal(command(&other, taken)).await;
    assert!(said.contains("can't listen on"), "{said}");
}

#[tokio::test]
async fn a_bad_flag_or_variable_is_named_in_one_line_and_an_empty_one_is_none() {
    let data = tempfile::tempdir().unwrap();
    let cases = [
        ("EVENTSTORE_LISTEN", "banana", "EVENTSTORE_LISTEN: must be an address and a port"),
        ("EVENTSTORE_INSECURE", "banana", "EVENTSTORE_INSECURE: must be on or off"),
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
    for value in ["1", "yes", "true", "True", "on"] {
        let mut command = by_variables(&data);
        command.env("EVENTSTORE_INSECURE", value).env("EVENTSTORE_ADVERTISE_HOST", "");
        let (mut server, address) = started(command).await;
        assert!(address.starts_with("esdb://0.0.0.0:"), "{address}");
        server.kill().await.unwrap();
    }
}
