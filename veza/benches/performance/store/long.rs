//! The long rows: what a log of fifty million events in five million streams costs, and whether it
//! grows slower on the way there.

use std::path::Path;
use std::sync::Arc;

use anyhow::ensure;

use super::appends::writers;
use super::{open, openings, reads};
use crate::events::{Log, RECORD_BYTES, fill_streams};
use crate::load::{closed_loop, on_a_thread};
use crate::machine::{free_bytes, scratch};
use crate::raw_file::synced_batches;
use crate::scale::Scale;
use crate::table::Better::Higher;
use crate::table::{Row, TargetOf, median, tell};

/// How many events each stream has.
const STREAM_EVENTS: usize = 10;

/// The sizes at which it is measured, in events.
const SIZES: [usize; 3] = [1_000_000, 10_000_000, 50_000_000];

/// The disk that each event needs, with room to spare, in bytes.
const EVENT_DISK_BYTES: u64 = 480;

/// Who appends at every size, to streams that the log has not.
const WRITERS: usize = 64;
const NEW_STREAMS_FROM: usize = 1_000_000_000;

/// What was measured at one size.
struct Size {
    events: usize,
    /// Appends as a share of what the disk does at that moment.
    appends: f64,
    /// Events a second, read one by one.
    points: f64,
}

pub async fn measure(scale: Scale) -> anyhow::Result<Vec<Row>> {
    let folder = scratch()?;
    let largest = scale.count(SIZES[SIZES.len() - 1]);
    let (needed, free) = (largest as u64 * EVENT_DISK_BYTES, free_bytes(folder.path())?);
    ensure!(free > needed, "the long rows need {} GiB of free disk", (needed >> 30) + 1);
    let mut sizes = Vec::new();
    let mut log = Log { streams: 0, stream_events: STREAM_EVENTS };
    for events in SIZES.map(|size| scale.count(size)) {
        let grown = Log { streams: events / STREAM_EVENTS, ..log };
        sizes.push(at_size(scale, folder.path(), log, grown).await?);
        log = grown;
    }
    let mut rows = growth(&sizes);
    rows.push(openings::memory(folder.path(), log).await?);
    rows.push(reads::points(scale, folder.path(), log, ".full").await?);
    rows.extend(openings::rows(scale, folder.path(), log.events(), ".full").await?);
    Ok(rows)
}

async fn at_size(scale: Scale, folder: &Path, log: Log, grown: Log) -> anyhow::Result<Size> {
    let span = scale.span(1.0);
    let store = Arc::new(open(&folder.join("events")).await?);
    fill_streams(&store, grown, log.streams).await?;
    let (mut appends, mut points) = (Vec::new(), Vec::new());
    for round in 0..scale.rounds() {
        let first = NEW_STREAMS_FROM + (grown.streams + round) * WRITERS;
        let callers = writers(&store, WRITERS, 1, first);
        let rate = on_a_thread(move || closed_loop(callers, span)).await?.rate;
        let raw = synced_batches(folder, WRITERS * RECORD_BYTES, span.measured)? * WRITERS as f64;
        appends.push(rate / raw);
        points.push(reads::anywhere(&store, grown, span).await?);
        let said = format!("{rate:.0} appends/s, raw {raw:.0}; {:.0} reads/s", points[round]);
        tell(round, &format!("{} events", grown.events()), said);
    }
    store.close().await?;
    Ok(Size { events: grown.events(), appends: median(appends), points: median(points) })
}

/// Each size beside the smallest.
fn growth(sizes: &[Size]) -> Vec<Row> {
    let [smallest, larger @ ..] = sizes else { return Vec::new() };
    let rows = larger.iter().flat_map(|size| {
        let (millions, at) = (size.events / 1_000_000, smallest.events);
        let appends = Row::new(
            format!("store.growth.append.{millions}m"),
            format!("durable appends by {WRITERS} writers to a log of {} events", size.events),
            ("of raw", Higher),
            format!("the same share of the disk's rate at {at} events"),
            &[(size.appends, smallest.appends)],
        );
        let points = Row::new(
            format!("store.growth.point.{millions}m"),
            format!("one event of a stream anywhere among {}", size.events),
            ("events/s", Higher),
            format!("the same at {at} events"),
            &[(size.points, smallest.points)],
        );
        [appends.target(TargetOf::Ratio, 0.8), points.target(TargetOf::Ratio, 0.5)]
    });
    rows.collect()
}
