//! The embedded store against the disk that it stands on.

mod appends;
mod categories;
mod encryption;
mod long;
mod openings;
mod personal;
mod postgres;
mod reads;

use std::path::Path;
use std::time::Instant;

use event_store::{EmbeddedOptions, EmbeddedStore, EventReader};
use futures::TryStreamExt as _;

use crate::events::{Log, fill};
use crate::machine::scratch;
use crate::scale::Scale;
use crate::table::{Row, per_second};

pub use openings::{MEMORY_ROLE, tell_memory};

/// How many events are read, and opened.
const EVENTS: usize = 1_000_000;

pub async fn measure(scale: Scale) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for writers in [1, 64] {
        rows.push(appends::one_by_one(scale, writers).await?);
    }
    rows.push(appends::in_batches(scale).await?);
    rows.extend(appends::latency(scale).await?);
    rows.push(postgres::appends(scale).await?);
    let folder = scratch()?;
    let events = scale.count(EVENTS);
    filled(folder.path(), events).await?;
    rows.extend(reads::rows(scale, folder.path(), events).await?);
    rows.push(reads::points(scale, folder.path(), Log::filled(events), "").await?);
    rows.extend(openings::rows(scale, folder.path(), events, "").await?);
    rows.push(categories::row(scale, events).await?);
    rows.extend(encryption::rows(scale).await?);
    rows.extend(personal::rows(scale).await?);
    if scale.is_full() {
        drop(folder);
        rows.extend(long::measure(scale).await?);
    }
    Ok(rows)
}

async fn open(events: &Path) -> anyhow::Result<EmbeddedStore> {
    Ok(EmbeddedStore::open(EmbeddedOptions::folder(events)).await?)
}

/// A log of so many events, closed in peace.
async fn filled(folder: &Path, count: usize) -> anyhow::Result<()> {
    let began = Instant::now();
    let store = open(&folder.join("events")).await?;
    fill(&store, count).await?;
    store.close().await?;
    let rate = per_second(count, began.elapsed());
    println!("  a log of {count} events was filled, {rate:.0} events/s");
    Ok(())
}

async fn counted(mut events: EventReader) -> anyhow::Result<usize> {
    let mut count = 0;
    while events.try_next().await?.is_some() {
        count += 1;
    }
    Ok(count)
}
