//! How long it takes to open a store, and how much memory it then has.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use event_store::{EventStore as _, ReadAll, ReadStream};
use tokio::process::Command;

use super::{counted, open};
use crate::events::{Log, stream};
use crate::machine::own_memory_mb;
use crate::raw_file::{segments, sequential_read};
use crate::scale::Scale;
use crate::table::Better::Lower;
use crate::table::{Row, TargetOf, tell};

/// The argument that makes this program open a store and tell its memory.
pub const MEMORY_ROLE: &str = "memory-of-store";

/// How many events are read at both ends of the log before the memory is told.
const READ_EVENTS: u64 = 1_000_000;

/// In how many streams an event is read before.
const READ_STREAMS: usize = 100_000;

/// What is left by a store that was closed in peace.
const CLEAN_MARK: &str = "CLEAN";

/// After a close in peace, and after a kill.
pub async fn rows(
    scale: Scale,
    folder: &Path,
    count: usize,
    suffix: &str,
) -> anyhow::Result<Vec<Row>> {
    let events = folder.join("events");
    let (files, _) = segments(&events)?;
    let (mut clean, mut crashed) = (Vec::new(), Vec::new());
    for round in 0..scale.rounds() {
        let plain = milliseconds(sequential_read(&files)?);
        clean.push((opening(&events, count).await?, plain));
        // A store that is killed leaves no mark.
        fs::remove_file(events.join(CLEAN_MARK))?;
        crashed.push((opening(&events, count).await?, plain));
        let said =
            format!("{:.0} and {:.0} ms; plain {plain:.0}", clean[round].0, crashed[round].0);
        tell(round, "opening in peace and after a crash", said);
    }
    let row = |id: &str, what: &str, rounds: &[(f64, f64)]| {
        let what = format!("opening a store of {count} events {what}");
        let baseline = "the same files read once from end to end";
        Row::new(format!("store.open.{id}{suffix}"), what, ("ms", Lower), baseline, rounds)
            .target(TargetOf::Value, 2_000.0)
    };
    Ok(vec![
        row("clean", "that was closed", &clean),
        row("crashed", "whose process was killed", &crashed),
    ])
}

async fn opening(events: &Path, count: usize) -> anyhow::Result<f64> {
    let began = Instant::now();
    let store = open(events).await?;
    let took = milliseconds(began.elapsed());
    ensure!(store.head().await?.get() >= count as u64, "everything is there again");
    store.close().await?;
    Ok(took)
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The memory of a process that has the store open.
pub async fn memory(folder: &Path, log: Log) -> anyhow::Result<Row> {
    let told = Command::new(std::env::current_exe()?)
        .arg(MEMORY_ROLE)
        .arg(folder.join("events"))
        .kill_on_drop(true)
        .output()
        .await?;
    let figures: Vec<f64> = serde_json::from_slice(&told.stdout)
        .with_context(|| String::from_utf8_lossy(&told.stderr).into_owned())?;
    let &[before, after] = figures.as_slice() else {
        bail!("the memory was not told: {figures:?}");
    };
    let what = format!(
        "memory of a process with a store of {} events in {} streams open, some read",
        log.events(),
        log.streams
    );
    let baseline = "that process before it opened the store (RssAnon + RssShmem)";
    let row = Row::new("store.memory.full", what, ("MB", Lower), baseline, &[(after, before)]);
    Ok(row.target(TargetOf::Value, 300.0))
}

/// Prints the memory of this process before a store is opened and afterwards, when the beginning
/// and the end of the log were read, and many streams: a process of its own, as this one has other
/// memory too.
pub fn tell_memory(events: &Path) -> anyhow::Result<()> {
    tokio::runtime::Runtime::new()?.block_on(async {
        let before = own_memory_mb()?;
        let store = open(events).await?;
        for read in [ReadAll::forward(), ReadAll::backward()] {
            counted(store.read_all(read.limit(READ_EVENTS)).await?).await?;
        }
        for stream in (0..READ_STREAMS).map(stream) {
            let read = ReadStream::backward(stream).limit(1);
            ensure!(counted(store.read_stream(read).await?).await? == 1, "the stream is there");
        }
        println!("{}", serde_json::to_string(&[before, own_memory_mb()?])?);
        Ok(store.close().await?)
    })
}
