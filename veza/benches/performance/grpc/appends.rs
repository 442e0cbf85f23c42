//! Durable appends: beside the disk alone, beside other stores, and beside the same server without
//! a disk. Disks change their mood within minutes, so all take turns, each behind a probe of it.

use std::path::Path;

use tempfile::TempDir;

use super::writers::{Way, Writers};
use crate::events::EVENT_BYTES;
use crate::load::Measured;
use crate::other_stores::{SierraDb, UmaDb};
use crate::platform::EventStoreServer;
use crate::raw_file::{sync_times, synced_batches};
use crate::scale::{Scale, Span};
use crate::table::Better::{Higher, Lower};
use crate::table::{Row, TargetOf, tell};

/// How many append at once.
const WRITERS: [usize; 3] = [1, 4, MOST_WRITERS];
const MOST_WRITERS: usize = 16;

/// How many appends are in flight through BatchAppend.
const BATCH_WRITERS: usize = 64;

/// How many syncs the disk is asked for to know how long one takes.
const SYNCS: usize = 500;

/// What an event takes in the log beside its data, about, in bytes.
const FRAMING_BYTES: usize = 112;

/// Where files are kept in memory.
const MEMORY: &str = "/dev/shm";

/// Who takes turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Contender {
    Official,
    Port,
    Batch,
    /// The official client of a server whose log is in memory.
    Unlogged,
    UmaDb,
    SierraDb,
}

impl Contender {
    const COUNT: usize = 6;

    fn words(self) -> &'static str {
        match self {
            Self::Official => "official client",
            Self::Port => "port",
            Self::Batch => "BatchAppend",
            Self::Unlogged => "without a disk",
            Self::UmaDb => "UmaDB",
            Self::SierraDb => "SierraDB",
        }
    }
}

/// The servers that are appended to.
pub struct Stores<'a> {
    url: &'a str,
    /// The same program over a log in memory, and that log.
    unlogged: Option<(EventStoreServer, TempDir)>,
    umadb: Option<UmaDb>,
    sierradb: Option<SierraDb>,
    /// The number of the next stream that none of them has.
    next_stream: usize,
}

impl<'a> Stores<'a> {
    /// Starts those that do not run yet below this folder; the streams before this one are taken.
    pub async fn start(
        url: &'a str,
        umadb: Option<UmaDb>,
        folder: &Path,
        next_stream: usize,
    ) -> anyhow::Result<Self> {
        let unlogged = match TempDir::new_in(MEMORY) {
            Ok(folder) => Some((EventStoreServer::start(folder.path()).await?, folder)),
            Err(error) => {
                eprintln!("bench: THE LOG WILL NOT BE SWITCHED OFF: {MEMORY}: {error}");
                None
            }
        };
        let sierradb = SierraDb::start(folder).await?;
        Ok(Self { url, unlogged, umadb, sierradb, next_stream })
    }

    /// None where there is no such server.
    async fn append(
        &mut self,
        contender: Contender,
        count: usize,
        span: Span,
    ) -> anyhow::Result<Option<Measured>> {
        let count = if contender == Contender::Batch { BATCH_WRITERS } else { count };
        let writers = Writers { count, first: self.next_stream, span };
        self.next_stream += count;
        let measured = match contender {
            Contender::Official => writers.append(Way::Official, self.url).await?,
            Contender::Port => writers.append(Way::Port, self.url).await?,
            Contender::Batch => writers.append(Way::Batch, self.url).await?,
            Contender::Unlogged => match &self.unlogged {
                Some((server, _log)) => writers.append(Way::Official, &server.url).await?,
                None => return Ok(None),
            },
            Contender::UmaDb => match &self.umadb {
                Some(umadb) => writers.append_to_umadb(umadb.address()).await?,
                None => return Ok(None),
            },
            Contender::SierraDb => match &self.sierradb {
                Some(sierradb) => writers.append_to_sierradb(sierradb.address()).await?,
                None => return Ok(None),
            },
        };
        Ok(Some(measured))
    }

    /// What a row says of a baseline.
    fn described(&self, contender: Contender) -> String {
        let umadb = self.umadb.as_ref().map_or("UmaDB", |it| it.version.as_str());
        let sierradb = self.sierradb.as_ref().map_or("SierraDB", |it| it.version.as_str());
        match contender {
            Contender::Official => format!("{MOST_WRITERS} writers by the official client"),
            Contender::Unlogged => "the same server and client, the log on tmpfs".to_owned(),
            Contender::UmaDb => {
                format!("{umadb}, as many writers, a tag each, no condition, over its gRPC")
            }
            Contender::SierraDb => format!(
                "{sierradb}, as many writers, a stream and connection each, at its revision, \
                 synced at once"
            ),
            Contender::Port | Contender::Batch => contender.words().to_owned(),
        }
    }
}

/// One append after the other, beside one sync of as many bytes.
pub async fn sequential(
    scale: Scale,
    stores: &mut Stores<'_>,
    folder: &Path,
) -> anyhow::Result<Vec<Row>> {
    let clients = [
        (Contender::Official, "", "by the official client"),
        (Contender::Port, ".port", "by the port's adapter"),
    ];
    let mut rounds = [Vec::new(), Vec::new()];
    for round in 0..scale.turns_of_disk() {
        for ((contender, _, words), rounds) in clients.into_iter().zip(&mut rounds) {
            let mut syncs = sync_times(folder, EVENT_BYTES + FRAMING_BYTES, SYNCS)?;
            syncs.sort_unstable();
            let sync = syncs[SYNCS / 2].as_secs_f64() * 1e6;
            let measured = stores.append(contender, 1, scale.span(1.0)).await?;
            let median = measured.map_or(f64::NAN, |it| it.latencies.quantile_ms(0.5) * 1e3);
            tell(round, words, format!("{median:.0} µs an append; a sync {sync:.0} µs"));
            rounds.push((median, sync));
        }
    }
    let rows = clients.into_iter().zip(&rounds).map(|((_, suffix, words), rounds)| {
        Row::new(
            format!("grpc.append.sequential_median{suffix}"),
            format!("one {EVENT_BYTES}-byte event after the other {words}"),
            ("µs", Lower),
            "one append of the same bytes to a file, and fdatasync",
            rounds,
        )
        .target(TargetOf::Ratio, 3.0)
    });
    Ok(rows.collect())
}

/// Some writers at once.
pub async fn concurrent(
    scale: Scale,
    stores: &mut Stores<'_>,
    folder: &Path,
) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for writers in WRITERS {
        let mut contenders = vec![Contender::Official, Contender::UmaDb, Contender::SierraDb];
        if writers == MOST_WRITERS {
            contenders.extend([Contender::Port, Contender::Batch, Contender::Unlogged]);
        }
        let turns = turns(scale, stores, folder, writers, &contenders).await?;
        let compared = Compared { stores, writers, turns };
        rows.push(compared.to_disk(Contender::Official, ""));
        rows.push(compared.to(Contender::UmaDb, ".umadb", 1.3));
        rows.push(compared.to(Contender::SierraDb, ".sierradb", 2.0));
        if writers == MOST_WRITERS {
            rows.push(compared.to(Contender::Unlogged, ".unlogged", 0.75));
            rows.push(compared.to_disk(Contender::Port, ".port"));
            rows.push(compared.batch());
        }
    }
    Ok(rows)
}

/// Events a second of each contender, and of the disk alone before it; not numbers where there is
/// no such contender.
type Turn = [(f64, f64); Contender::COUNT];

async fn turns(
    scale: Scale,
    stores: &mut Stores<'_>,
    folder: &Path,
    writers: usize,
    contenders: &[Contender],
) -> anyhow::Result<Vec<Turn>> {
    let (span, probe) = (scale.span(1.0), scale.span(0.25));
    let batch = writers * (EVENT_BYTES + FRAMING_BYTES);
    let mut turns = Vec::new();
    for round in 0..scale.turns_of_disk() {
        let mut turn: Turn = [(f64::NAN, f64::NAN); Contender::COUNT];
        let mut said = Vec::new();
        for at in 0..contenders.len() {
            // Each of them comes first once, and behind every other.
            let contender = contenders[(round + at) % contenders.len()];
            let raw = synced_batches(folder, batch, probe.measured)? * writers as f64;
            if let Some(measured) = stores.append(contender, writers, span).await? {
                turn[contender as usize] = (measured.rate, raw);
                let rate = measured.rate;
                said.push(format!("{} {rate:.0} (raw {raw:.0})", contender.words()));
            }
        }
        tell(round, &format!("events/s, writers: {writers}"), said.join(", "));
        turns.push(turn);
    }
    Ok(turns)
}

/// The turns of so many writers.
struct Compared<'a> {
    stores: &'a Stores<'a>,
    writers: usize,
    turns: Vec<Turn>,
}

impl Compared<'_> {
    fn id(&self, suffix: &str) -> String {
        let writers = if self.writers == 1 { "writer" } else { "writers" };
        format!("grpc.append.{}_{writers}{suffix}", self.writers)
    }

    fn rounds(&self, contender: Contender, other: Contender) -> Vec<(f64, f64)> {
        let (contender, other) = (contender as usize, other as usize);
        self.turns.iter().map(|turn| (turn[contender].0, turn[other].0)).collect()
    }

    fn what(&self, contender: Contender) -> String {
        format!(
            "durable appends of {EVENT_BYTES}-byte events, {} at once, a stream each ({})",
            self.writers,
            contender.words()
        )
    }

    fn to_disk(&self, contender: Contender, suffix: &str) -> Row {
        let rounds: Vec<_> = self.turns.iter().map(|turn| turn[contender as usize]).collect();
        let batch = self.writers;
        Row::new(
            self.id(suffix),
            self.what(contender),
            ("events/s", Higher),
            format!("the same bytes appended to one file, fdatasync after {batch} events' bytes"),
            &rounds,
        )
    }

    /// The official client beside another store.
    fn to(&self, other: Contender, suffix: &str, target: f64) -> Row {
        Row::new(
            self.id(suffix),
            self.what(Contender::Official),
            ("events/s", Higher),
            self.stores.described(other),
            &self.rounds(Contender::Official, other),
        )
        .target(TargetOf::Ratio, target)
    }

    fn batch(&self) -> Row {
        Row::new(
            format!("grpc.append.batch_{BATCH_WRITERS}"),
            format!("the same through BatchAppend, {BATCH_WRITERS} in flight"),
            ("events/s", Higher),
            self.stores.described(Contender::Official),
            &self.rounds(Contender::Batch, Contender::Official),
        )
        .target(TargetOf::Ratio, 2.0)
    }
}
