//! A store in a process of its own, and what must be true of its folder after any end of it.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

use event_store::{
    AppendError, EmbeddedOptions, EmbeddedStore, EventStore, ExpectedRevision, OpenError,
    StoreError,
};
use tempfile::TempDir;

use crate::given::{event, everything, stream};

/// Names the folder to the process.
const FOLDER: &str = "EVENT_STORE_TORTURE_FOLDER";
const SEGMENT_BYTES: u64 = 2000;
const OPENINGS: u64 = 2;
const APPENDS: u64 = 7;
/// How many events an append has.
const EVENTS: u64 = 3;

/// What the process said before it ended.
#[derive(Debug, Default)]
pub struct Life {
    /// Whether it was killed.
    pub killed: bool,
    /// What it said of each opening.
    pub openings: Vec<Opening>,
}

/// One opening of the store, from its beginning to its close.
#[derive(Debug, Default)]
pub struct Opening {
    /// In order, the first number of each append that was acknowledged, or why it was not.
    pub appends: Vec<Result<u64, String>>,
}

async fn open(folder: &Path) -> Result<EmbeddedStore, OpenError> {
    EmbeddedStore::open(EmbeddedOptions::folder(folder).segment_bytes(SEGMENT_BYTES)).await
}

/// Opens, appends and closes, twice over, through several segments, and tells what was
/// acknowledged: by itself, or as the process that the tests beside it kill and let fail.
#[tokio::test]
async fn a_short_life_of_a_store() {
    let here = TempDir::new().unwrap();
    let asked = std::env::var(FOLDER).ok();
    let folder = asked.as_deref().map_or(here.path(), Path::new);
    for _ in 0..OPENINGS {
        println!("\nopening");
        let Ok(store) = open(folder).await else { continue };
        let Ok(held) = everything(&store).await else { continue };
        let mut number = held.len() as u64;
        for _ in 0..APPENDS {
            let events = (number..number + EVENTS).map(event).collect();
            match store.append(&stream("track-1"), ExpectedRevision::Any, events).await {
                Ok(_) => {
                    println!("\nappended {number}");
                    number += EVENTS;
                }
                Err(AppendError::Store(StoreError::StorageFull)) => println!("\nrefused full"),
                Err(error) => println!("\nrefused {error}"),
            }
        }
        assert_eq!(everything(&store).await.unwrap().len() as u64, number, "readers go on");
        store.close().await.unwrap();
    }
    if asked.is_none() {
        let whole = everything(&open(folder).await.unwrap()).await.unwrap();
        assert_eq!(whole.len() as u64, OPENINGS * APPENDS * EVENTS);
    }
}

/// Runs that life in this folder, below a command with its arguments; it must end as it should
/// unless it is killed.
pub fn live(folder: &Path, below: &[impl AsRef<OsStr>]) -> Life {
    let mut command = Command::new(below[0].as_ref());
    let output = command
        .args(&below[1..])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "torture::process::a_short_life_of_a_store", "--nocapture"])
        .env(FOLDER, folder)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let killed = std::os::unix::process::ExitStatusExt::signal(&output.status) == Some(9);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(killed || output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let mut life = Life { killed, openings: Vec::new() };
    for line in said.lines() {
        match (line.split_once(' '), life.openings.last_mut()) {
            (None, _) if line == "opening" => life.openings.push(Opening::default()),
            (Some(("appended", number)), Some(opening)) => {
                // The line that a kill cut short says nothing that we can rely on.
                opening.appends.extend(number.parse().ok().map(Ok));
            }
            (Some(("refused", why)), Some(opening)) => opening.appends.push(Err(why.to_owned())),
            _ => {}
        }
    }
    life
}

impl Life {
    /// The first numbers of all appends that were acknowledged.
    pub fn acknowledged(&self) -> impl Iterator<Item = u64> {
        self.openings.iter().flat_map(|opening| &opening.appends).filter_map(|it| it.clone().ok())
    }

    /// Why appends were refused.
    pub fn refusals(&self) -> impl Iterator<Item = &String> {
        self.openings.iter().flat_map(|opening| &opening.appends).filter_map(|it| it.as_ref().err())
    }
}

/// The folder can be opened, holds all that was acknowledged and no part of an append, verifies,
/// and can be written.
pub async fn is_sound(folder: &Path, life: &Life) {
    let store = open(folder).await.unwrap_or_else(|error| panic!("{error}: {life:?}"));
    let held = everything(&store).await.unwrap();
    let count = held.len() as u64;
    for (number, held) in held.iter().enumerate() {
        assert_eq!(held.id, event(number as u64).id);
        assert_eq!(held.revision.get(), number as u64);
    }
    assert_eq!(count % EVENTS, 0, "half of an append: {life:?}");
    let acknowledged = life.acknowledged().last().map_or(0, |first| first + EVENTS);
    assert!(count >= acknowledged, "{count} of {acknowledged} are left: {life:?}");
    assert_eq!(store.verify(None).await.unwrap().events, count);
    let name = stream("track-1");
    store.append(&name, ExpectedRevision::Any, vec![event(count)]).await.unwrap();
    store.close().await.unwrap();
}
