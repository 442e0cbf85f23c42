//! The store with encryption at rest, against itself without.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::ensure;
use event_store::{EmbeddedOptions, EmbeddedStore, EventStore as _, ReadAll, WrappingKeys};

use super::appends::writers;
use super::counted;
use crate::events::{EVENT_BYTES, fill};
use crate::load::{closed_loop, on_a_thread};
use crate::machine::scratch;
use crate::scale::{Scale, Span};
use crate::table::Better::Higher;
use crate::table::{Row, TargetOf, per_second, tell};

const WRITERS: usize = 64;
/// How many events are read.
const EVENTS: usize = 500_000;
const BASELINE: &str = "the same without encryption";

/// What it costs to append and to read.
pub async fn rows(scale: Scale) -> anyhow::Result<Vec<Row>> {
    Ok(vec![appends(scale).await?, reads(scale).await?])
}

async fn appends(scale: Scale) -> anyhow::Result<Row> {
    let span = scale.span(1.0);
    let mut rounds = Vec::new();
    for round in 0..scale.turns_of_disk() {
        let (plain, rate) = (appended(span, false).await?, appended(span, true).await?);
        tell(round, "64 writers, encrypted", format!("{rate:.0} events/s; plain {plain:.0}"));
        rounds.push((rate, plain));
    }
    let what =
        format!("durable appends of {EVENT_BYTES}-byte events by {WRITERS} writers, encrypted");
    let row = Row::new("store.encrypted.append", what, ("events/s", Higher), BASELINE, &rounds);
    Ok(row.target(TargetOf::Ratio, 0.8))
}

/// How many events a second a new store takes.
async fn appended(span: Span, encrypted: bool) -> anyhow::Result<f64> {
    let folder = scratch()?;
    let store = Arc::new(open(folder.path(), encrypted).await?);
    let writers = writers(&store, WRITERS, 1, 0);
    let measured = on_a_thread(move || closed_loop(writers, span)).await?;
    store.close().await?;
    Ok(measured.rate)
}

async fn reads(scale: Scale) -> anyhow::Result<Row> {
    let count = scale.count(EVENTS);
    let folders = [scratch()?, scratch()?];
    let plain = open(folders[0].path(), false).await?;
    let encrypted = open(folders[1].path(), true).await?;
    for store in [&plain, &encrypted] {
        fill(store, count).await?;
    }
    let mut rounds = Vec::new();
    for round in 0..scale.rounds() {
        let (plain, rate) = (read(&plain, count).await?, read(&encrypted, count).await?);
        tell(round, "reading all, encrypted", format!("{rate:.0} events/s; plain {plain:.0}"));
        rounds.push((rate, plain));
    }
    plain.close().await?;
    encrypted.close().await?;
    let what = format!("the whole log read in its order, {count} events, encrypted");
    let row = Row::new("store.encrypted.read", what, ("events/s", Higher), BASELINE, &rounds);
    Ok(row.target(TargetOf::Ratio, 0.6))
}

/// How many events a second are read, which all are in the page cache.
async fn read(store: &EmbeddedStore, count: usize) -> anyhow::Result<f64> {
    let began = Instant::now();
    let read = counted(store.read_all(ReadAll::forward()).await?).await?;
    ensure!(read == count, "{read} of {count} events were read");
    Ok(per_second(read, began.elapsed()))
}

async fn open(folder: &Path, encrypted: bool) -> anyhow::Result<EmbeddedStore> {
    let options = EmbeddedOptions::folder(folder.join("events"));
    if !encrypted {
        return Ok(EmbeddedStore::open(options).await?);
    }
    let keys = WrappingKeys::from_text(&WrappingKeys::new_line("bench")?)?;
    Ok(EmbeddedStore::open(options.encryption(keys)).await?)
}
