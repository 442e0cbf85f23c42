//! A category among many events, beside a stream of as many.

use std::time::Instant;

use anyhow::ensure;
use event_store::{EventStore as _, ExpectedRevision, Index, ReadIndex, ReadStream, StreamName};
use futures::TryStreamExt as _;

use super::{counted, open};
use crate::events::{Events, STREAMS, stream};
use crate::machine::scratch;
use crate::scale::Scale;
use crate::table::Better::Higher;
use crate::table::{Row, per_second, tell};

/// One event of so many is of the category that is read, and one of the stream beside it.
const RARE_EVERY: usize = 1000;

/// How often both are read in a round: they are short.
const RARE_READS: usize = 20;

/// Both read from end to end.
pub async fn row(scale: Scale, count: usize) -> anyhow::Result<Row> {
    const CATEGORY: &str = "rare";
    let folder = scratch()?;
    let store = open(folder.path()).await?;
    let alone = StreamName::new("alone")?;
    let mut events = Events::new(count as u64);
    let rare = count.div_ceil(RARE_EVERY);
    for number in 0..rare {
        let of_category = StreamName::new(format!("{CATEGORY}-{number}"))?;
        for (stream, size) in
            [(&of_category, 1), (&alone, 1), (&stream(number % STREAMS), RARE_EVERY - 2)]
        {
            let batch = (0..size).map(|_| events.next()).collect();
            store.append(stream, ExpectedRevision::Any, batch).await?;
        }
    }
    let mut rounds = Vec::new();
    for round in 0..scale.rounds() {
        let began = Instant::now();
        for _ in 0..RARE_READS {
            let read = store.read_index(ReadIndex::forward(Index::category(CATEGORY))).await?;
            let read = read.try_fold(0, |read, _| async move { Ok(read + 1) }).await?;
            ensure!(read == rare, "{read} of {rare} events were read of the category");
        }
        let of_category = per_second(RARE_READS * rare, began.elapsed());
        let began = Instant::now();
        for _ in 0..RARE_READS {
            let read =
                counted(store.read_stream(ReadStream::forward(alone.clone())).await?).await?;
            ensure!(read == rare, "{read} of {rare} events were read of the stream");
        }
        let of_stream = per_second(RARE_READS * rare, began.elapsed());
        let said = format!("{of_category:.0} events/s; of a stream {of_stream:.0}");
        tell(round, "reading a category", said);
        rounds.push((of_category, of_stream));
    }
    store.close().await?;
    Ok(Row::new(
        "store.read.category",
        format!("a category that has one of {RARE_EVERY} events among {count}, each in its stream"),
        ("events/s", Higher),
        "a stream that has as many events in the same log",
        &rounds,
    ))
}
