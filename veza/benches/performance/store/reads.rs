//! Reads from the page cache, beside the same files read plainly.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::ensure;
use event_store::{EmbeddedStore, EventStore as _, ReadAll, ReadStream, Revision};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::{counted, open};
use crate::events::{Log, RECORD_BYTES, stream, streams};
use crate::load::{Call, Caller, closed_loop, on_a_thread};
use crate::raw_file::{segments, sequential_read};
use crate::scale::{Scale, Span};
use crate::table::Better::Higher;
use crate::table::{Row, TargetOf, per_second, tell};

/// How many readers there are at once.
const READERS: usize = 8;

/// One stream after the other, and everything.
pub async fn rows(scale: Scale, folder: &Path, count: usize) -> anyhow::Result<Vec<Row>> {
    let store = open(&folder.join("events")).await?;
    let (files, _) = segments(&folder.join("events"))?;
    let (mut by_stream, mut all) = (Vec::new(), Vec::new());
    for round in 0..scale.rounds() {
        let plain = per_second(count, sequential_read(&files)?);
        let began = Instant::now();
        let mut read = 0;
        for stream in streams(count) {
            read += counted(store.read_stream(ReadStream::forward(stream)).await?).await?;
        }
        ensure!(read == count, "{read} of {count} events were read by stream");
        by_stream.push((per_second(read, began.elapsed()), plain));
        let began = Instant::now();
        let read = counted(store.read_all(ReadAll::forward()).await?).await?;
        ensure!(read == count, "{read} of {count} events were read of all");
        all.push((per_second(read, began.elapsed()), plain));
        let said =
            format!("{:.0} and {:.0} events/s; plain {plain:.0}", by_stream[round].0, all[round].0);
        tell(round, "reading by stream and in all", said);
    }
    store.close().await?;
    let baseline = "the same files read from end to end through a buffer, with CRC-32C";
    let row = |id: &str, what: &str, rounds: &[(f64, f64)]| {
        let what = format!("{what}, {count} events in the page cache");
        Row::new(id, what, ("events/s", Higher), baseline, rounds)
            .target(TargetOf::Value, 1_000_000.0)
    };
    Ok(vec![
        row("store.read.stream", "its streams read one after the other", &by_stream),
        row("store.read.all", "the whole log read in its order", &all),
    ])
}

/// Who reads one event of a log after the other, anywhere.
struct Reader {
    store: Arc<EmbeddedStore>,
    log: Log,
    random: StdRng,
}

impl Caller for Reader {
    async fn call(&mut self, _call: Call) -> anyhow::Result<()> {
        let stream = stream(self.random.random_range(0..self.log.streams));
        let revision = Revision::new(self.random.random_range(0..self.log.stream_events as u64));
        let read = ReadStream::forward(stream).from(revision).limit(1);
        ensure!(counted(self.store.read_stream(read).await?).await? == 1, "the event is there");
        Ok(())
    }
}

/// Events a second, read one by one from anywhere in the log.
pub async fn anywhere(store: &Arc<EmbeddedStore>, log: Log, span: Span) -> anyhow::Result<f64> {
    let reader =
        |seed| Reader { store: Arc::clone(store), log, random: StdRng::seed_from_u64(seed) };
    let readers: Vec<Reader> = (0..READERS as u64).map(reader).collect();
    Ok(on_a_thread(move || closed_loop(readers, span)).await?.rate)
}

/// The same as rows, beside reads of as many bytes at once from anywhere in the files.
pub async fn points(scale: Scale, folder: &Path, log: Log, suffix: &str) -> anyhow::Result<Row> {
    let span = scale.span(1.0);
    let store = Arc::new(open(&folder.join("events")).await?);
    let (files, _) = segments(&folder.join("events"))?;
    let mut rounds = Vec::new();
    for round in 0..scale.rounds() {
        let rate = anywhere(&store, log, span).await?;
        let plain = plain_points(files.clone(), span)?;
        tell(round, "events from anywhere", format!("{rate:.0} a second; plain {plain:.0}"));
        rounds.push((rate, plain));
    }
    store.close().await?;
    let row = Row::new(
        format!("store.read.point{suffix}"),
        format!("one event of a stream anywhere among {}, {READERS} readers", log.events()),
        ("events/s", Higher),
        "as many bytes read from anywhere in the same files, by one reader",
        &rounds,
    );
    Ok(row.target(TargetOf::Value, 50_000.0))
}

fn plain_points(files: Vec<PathBuf>, span: Span) -> anyhow::Result<f64> {
    let files = files.into_iter().map(File::open).collect::<Result<Vec<File>, _>>()?;
    let mut random = StdRng::seed_from_u64(1);
    let mut buffer = [0; RECORD_BYTES];
    let lengths = files
        .iter()
        .map(|file| Ok(file.metadata()?.len()))
        .collect::<anyhow::Result<Vec<u64>>>()?;
    let began = Instant::now();
    let mut count = 0;
    while began.elapsed() < span.measured {
        let file = random.random_range(0..files.len());
        let last = lengths[file].saturating_sub(RECORD_BYTES as u64);
        files[file].read_at(&mut buffer, random.random_range(0..=last))?;
        count += 1;
    }
    Ok(per_second(count, began.elapsed()))
}
