//! `veza-replay` on a folder at rest, as a person and a program read it.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use event_store::{
    ContentType, EmbeddedOptions, EmbeddedStore, EventId, EventStore as _, EventType,
    ExpectedRevision, NewEvent, StreamName,
};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use crate::process::{ended, eventually, folder, free_address, replay, veza};

/// Fills a store with events of one song, and leaves it at rest.
async fn fill(data: &Path, count: usize) {
    let event = |n| event(n, "Heard", "");
    append(data, "song-1", (1..=count as u128).map(event).collect()).await;
}

fn event(n: u128, event_type: &str, data: &'static str) -> NewEvent {
    NewEvent {
        id: EventId(uuid::Uuid::from_u128(n)),
        event_type: EventType::new(event_type).unwrap(),
        content_type: if data.is_empty() { ContentType::Binary } else { ContentType::Json },
        data: data.into(),
        metadata: Vec::new().into(),
    }
}

async fn append(data: &Path, stream: &str, events: Vec<NewEvent>) {
    let store = EmbeddedStore::open(EmbeddedOptions::folder(data.join("events"))).await.unwrap();
    let stream = StreamName::new(stream).unwrap();
    store.append(&stream, ExpectedRevision::Any, events).await.unwrap();
    store.close().await.unwrap();
}

/// `veza-replay ARGS` on the folder, as a person reads it.
async fn told(data: &Path, args: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_veza-replay"));
    command.arg("--data").arg(data).args(args);
    let Output { status, stdout, stderr } = ended(command).await;
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// Given a store that is said to run and that nobody answers for, as where it was killed or starts
/// anew just then, then it is waited for.
#[tokio::test]
async fn a_store_that_goes_away_after_it_was_looked_for_is_waited_for() {
    let folder = folder();
    let data = folder.path();
    fill(data, 1).await;
    let address = free_address();
    let pid = std::process::id();
    let run = serde_json::json!({ "pid": pid, "roles": ["event-store"], "event_store": address });
    std::fs::write(data.join("run.json"), run.to_string()).unwrap();
    let begun = Instant::now();
    let (code, _, said) = told(data, &["events"]).await;
    let why = format!("can't reach the event store at {address}: connection refused");
    assert!(code == Some(3) && said.lines().count() == 1 && said.contains(&why), "{said}");
    assert!(begun.elapsed() > Duration::from_secs(5), "it gave up at once");

    let path = data.to_owned();
    let waiting = tokio::spawn(async move { told(&path, &["events"]).await });
    let mut command = veza(data, &["event-store"]);
    let mut store = command.env("EVENTSTORE_LISTEN", address).spawn().unwrap();
    let (code, out, said) = waiting.await.unwrap();
    assert!(code == Some(0) && out.contains("song-1@0  Heard"), "{out}{said}");
    store.kill().await.unwrap();
}

/// Given a folder that no store was ever begun in, then every command says so, and begins none.
#[tokio::test]
async fn a_folder_without_a_store_is_told_by_all_commands_alike() {
    let folder = folder();
    let data = folder.path();
    let missing = format!("there is no event store in {}", data.display());
    let commands = [&["inspect"][..], &["verify"], &["streams"], &["backup", "--to", "/nowhere"]];
    for args in commands {
        let (code, out, error) = told(data, args).await;
        assert_eq!((code, out.as_str()), (Some(2), ""), "{args:?}");
        assert_eq!(error, format!("veza-replay: {missing}\n"), "{args:?}");
    }
    assert_eq!(std::fs::read_dir(data).unwrap().count(), 0);
}

/// Given a log of which the last bytes are gone and that was not closed, then they are told, and no
/// more than is known of them.
#[tokio::test]
async fn what_is_cut_off_a_log_is_told_without_a_claim() {
    let folder = folder();
    let data = folder.path();
    fill(data, 1).await;
    let events = data.join("events");
    std::fs::remove_file(events.join("CLEAN")).unwrap();
    let segment = events.join("00000000000000000001.log");
    let bytes = std::fs::read(&segment).unwrap();
    let end = bytes.iter().rposition(|&byte| byte != 0).unwrap();
    let cut = || std::fs::write(&segment, &bytes[..end]).unwrap();
    cut();
    let (code, out, _) = told(data, &["inspect"]).await;
    assert!(code == Some(0) && out.contains("that were not written whole"), "{out}");
    let (_, _, told_by_tool) = told(data, &["streams"]).await;
    cut();
    let _ = std::fs::remove_file(events.join("CLEAN"));
    let mut command = veza(data, &["event-store"]);
    command.env("EVENTSTORE_LISTEN", "127.0.0.1:0");
    let log = data.join("log");
    command.env("VEZA_LOG", "warn").stderr(std::fs::File::create(&log).unwrap());
    let mut store = command.spawn().unwrap();
    let said = || std::fs::read_to_string(&log).unwrap();
    eventually("it has cut it", async || said().contains("not written whole")).await;
    store.kill().await.unwrap();
    for said in [told_by_tool, said()] {
        assert!(said.contains("verify --head") && !said.contains("acknowledged"), "{said}");
    }
}

/// Given names and data that would speak to a terminal, then people are shown how they are written.
#[tokio::test]
async fn control_characters_of_strangers_are_shown_and_not_sent_to_the_terminal() {
    let folder = folder();
    let data = folder.path();
    let (stream, event_type) = ("esc-\u{1b}[31m\nforged\u{9b}2J", "Rang\u{7}");
    let odd = event(1, event_type, "{\"text\":\"\u{9b}2J\u{7f}\"}");
    append(data, stream, vec![odd]).await;
    let shown = r"esc-\u001b[31m\u000aforged\u009b2J";
    let no_person = stream.replacen("esc", "none", 1);
    for (args, words) in [
        (&["events"][..], &[shown, r"Rang\u0007", r#"{"text":"\u009b2J\u007f"}"#][..]),
        (&["streams"], &[shown, r"Rang\u0007"]),
        (&["inspect"], &[shown, "category esc:"]),
        (&["state", stream], &["no aggregate has streams of category esc"]),
        (&["events", &no_person], &[r"none-\u001b[31m"]),
        (&["events", "--json"], &[r#""text":"\u009b2J\u007f""#, r"esc-\u001b[31m\n"]),
    ] {
        let (_, out, error) = told(data, args).await;
        let all = out + &error;
        for words in words {
            assert!(all.contains(words), "{args:?}: {all:?}");
        }
        assert!(all.chars().all(|c| c == '\n' || !c.is_control()), "{args:?}: {all:?}");
        assert!(all.lines().all(|line| !line.starts_with("forged")), "{args:?}: {all:?}");
    }
    assert_eq!(told(data, &["inspect"]).await.0, Some(0));
}

#[tokio::test]
async fn a_store_that_a_command_keeps_shut_says_which() {
    let folder = folder();
    let data = folder.path();
    // More than goes into a pipe that nobody reads.
    fill(data, 5_000).await;
    let mut command = Command::new(env!("CARGO_BIN_EXE_veza-replay"));
    command.arg("--data").arg(data).args(["events", "--json"]).stdout(Stdio::piped());
    let mut reading = command.kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(reading.stdout.take().unwrap()).lines();
    lines.next_line().await.unwrap().expect("it has opened the store");
    let mut command = veza(data, &["event-store"]);
    command.env("EVENTSTORE_LISTEN", "127.0.0.1:0");
    let output = ended(command).await;
    let told = String::from_utf8(output.stderr).unwrap();
    let named = format!("is open in another process (veza-replay, {})", reading.id().unwrap());
    assert!(!output.status.success() && told.contains(&named), "{told}");
    reading.kill().await.unwrap();
}

#[tokio::test]
async fn programs_get_all_events_and_people_are_told_that_there_are_more() {
    const EVENTS: usize = 1200;
    let folder = folder();
    fill(folder.path(), EVENTS).await;

    assert_eq!(replay(folder.path(), &["events"]).await.len(), EVENTS);
    assert_eq!(replay(folder.path(), &["events", "song-1"]).await.len(), EVENTS);
    assert_eq!(replay(folder.path(), &["events", "--limit", "7"]).await.len(), 7);
    let mut command = Command::new(env!("CARGO_BIN_EXE_veza-replay"));
    command.arg("--data").arg(folder.path()).arg("events");
    let said = String::from_utf8(ended(command).await.stdout).unwrap();
    assert_eq!(said.lines().count(), 1001);
    assert!(said.lines().last().unwrap().starts_with("(there are more: --from "), "{said}");
}
