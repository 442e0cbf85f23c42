//! From an event to the model that has it, while so many come each second.
//!
//! An event counts from the moment when it was due to be appended to the moment when a reader of
//! PostgreSQL sees the model's checkpoint at or behind it. The baseline is what PostgreSQL itself
//! offers for the purpose: rows inserted and committed, and a notification that a listener gets.

use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aggregates::CommandContext;
use aggregates::encoding::encode;
use anyhow::{Context as _, ensure};
use chrono::Utc;
use event_schemas::social::{MessageEvent, MessagePosted};
use event_schemas::{Actor, ChannelId, EventFamily, MessageId, UserId};
use event_store::{
    ClientStore, EmbeddedOptions, EmbeddedStore, EventStore as _, ExpectedRevision, StreamName,
};
use projections::postgres::channels::MODEL;
use sqlx::postgres::{PgConnectOptions, PgListener};
use sqlx::{ConnectOptions as _, PgPool};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::database::Database;
use crate::load::{Call, Caller, Latencies, on_a_thread, paced};
use crate::machine::scratch;
use crate::platform::{Platform, data_folder};
use crate::scale::{Scale, Span};
use crate::table::Better::Lower;
use crate::table::{Row, TargetOf, tell};
use crate::world::World;

/// Events a second.
const RATE: f64 = 1_000.0;

/// How many appends are under way at most.
const WRITERS: usize = 16;

/// How long the reader of the model rests between two looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(1);

/// How long the last events may take.
const LAST_TIME_MAX: Duration = Duration::from_secs(20);

const BODY_BYTES: usize = 256;

/// What came through, by a number that grows: when it was due, or when it was seen.
type Moments = Vec<(Instant, u64)>;

pub async fn measure(scale: Scale) -> anyhow::Result<Row> {
    let folder = scratch()?;
    let events = data_folder(folder.path()).join("events");
    let store = EmbeddedStore::open(EmbeddedOptions::folder(events)).await?;
    let mut world = World::new(5);
    let people = world.people(20);
    let channel = world.channels(1, &people)[0];
    world.rest(store).await?;

    let database = Database::start(folder.path()).await?;
    let platform = Platform::start(folder.path(), &database).await?;
    let span = scale.span(5.0);
    let mut rounds = Vec::new();
    for round in 0..scale.rounds() {
        let ours =
            through_model(&platform, &database.pool, channel, people[0], (round, span)).await?;
        platform.settle(&database.pool).await?;
        let theirs = through_notify(&database, span).await?;
        let said = |latencies: &Latencies| {
            let (p50, p99) = (latencies.quantile_ms(0.5), latencies.quantile_ms(0.99));
            format!("p50 {p50:.2} ms, p99 {p99:.2} ms")
        };
        tell(round, "events", format!("{}; NOTIFY {}", said(&ours), said(&theirs)));
        rounds.push((ours.quantile_ms(0.99), theirs.quantile_ms(0.99)));
    }
    drop(platform);
    database.stop().await?;
    let what = format!("99 % of {RATE} messages a second, from gRPC to the checkpoint of channels");
    let baseline = "rows inserted, committed and told to a listener by NOTIFY, at the same pace";
    let row = Row::new("projections.event_to_model.p99", what, ("ms", Lower), baseline, &rounds);
    Ok(row.target(TargetOf::Value, 50.0))
}

/// Posts messages through the port over gRPC, and notes where each came to stand.
struct Poster {
    store: ClientStore,
    channel_id: ChannelId,
    author_id: UserId,
    round: usize,
    posted: Arc<Mutex<Moments>>,
}

impl Caller for Poster {
    async fn call(&mut self, call: Call) -> anyhow::Result<()> {
        let name = format!("message {} of round {}", call.number, self.round);
        let message_id = MessageId(Uuid::new_v5(&self.channel_id.0, name.as_bytes()));
        let stream = StreamName::new(format!("{}-{message_id}", MessageEvent::CATEGORY))?;
        let text = format!("What do you think of the bridge at bar {}?", call.number);
        let (channel_id, author_id) = (self.channel_id, self.author_id);
        let posted = MessagePosted { message_id, channel_id, author_id, text };
        let context = CommandContext::first(message_id.0, "", Actor::User(author_id), Utc::now());
        let events = encode(&stream, &[MessageEvent::from(posted)], &context);
        let appended = self.store.append(&stream, ExpectedRevision::NoStream, events).await?;
        let position = appended.position.context("an event was appended")?.get();
        let mut posted = self.posted.lock().unwrap_or_else(PoisonError::into_inner);
        posted.push((call.due, position));
        Ok(())
    }
}

async fn through_model(
    platform: &Platform,
    pool: &PgPool,
    channel_id: ChannelId,
    author_id: UserId,
    (round, span): (usize, Span),
) -> anyhow::Result<Latencies> {
    let stop = CancellationToken::new();
    let looking = tokio::spawn(look(pool.clone(), stop.clone()));
    let posted = Arc::new(Mutex::new(Vec::new()));
    let (url, noted) = (platform.event_store.clone(), Arc::clone(&posted));
    on_a_thread(move || async move {
        let store = ClientStore::new(&url)?;
        // It dials with its first question.
        store.head().await?;
        let poster = |_| {
            let (store, posted) = (store.clone(), Arc::clone(&noted));
            Poster { store, channel_id, author_id, round, posted }
        };
        paced((0..WRITERS).map(poster).collect(), RATE, span).await
    })
    .await?;
    platform.settle(pool).await?;
    stop.cancel();
    let seen = looking.await??;
    let posted = std::mem::take(&mut *posted.lock().unwrap_or_else(PoisonError::into_inner));
    latencies(posted, &seen, span)
}

/// Polls how far the model has come.
async fn look(pool: PgPool, stop: CancellationToken) -> anyhow::Result<Moments> {
    let mut connection = pool.acquire().await?;
    let mut seen: Moments = Vec::new();
    let sql = "SELECT position FROM projection.checkpoints WHERE name = $1 AND version = $2";
    while !stop.is_cancelled() {
        let position: i64 = sqlx::query_scalar(sql)
            .bind(MODEL.name)
            .bind(i32::try_from(MODEL.version)?)
            .fetch_one(&mut *connection)
            .await?;
        let position = u64::try_from(position)?;
        if seen.last().is_none_or(|&(_, last)| position > last) {
            seen.push((Instant::now(), position));
        }
        tokio::time::sleep(LOOK_INTERVAL).await; // poll
    }
    Ok(seen)
}

/// How long each took to be seen, those of the warm-up left out.
fn latencies(mut due: Moments, seen: &Moments, span: Span) -> anyhow::Result<Latencies> {
    due.sort_by_key(|&(moment, _)| moment);
    let counted_from = due.first().context("something was sent")?.0 + span.warm_up;
    let mut latencies = Latencies::new();
    for (due, number) in due.into_iter().filter(|&(moment, _)| moment >= counted_from) {
        let first = seen.partition_point(|&(_, reached)| reached < number);
        let (seen, _) = seen.get(first).context("something was never seen")?;
        latencies.record(seen.saturating_duration_since(due));
    }
    ensure!(latencies.len() > 0, "nothing was measured");
    Ok(latencies)
}

/// The rows that are due are inserted in one statement, so that one sync serves them all, and the
/// listener is told the last one's number.
async fn through_notify(database: &Database, span: Span) -> anyhow::Result<Latencies> {
    const KEEP: &str = "WITH kept AS (
            INSERT INTO notified SELECT number, $3 FROM generate_series($1, $2) number)
        SELECT pg_notify('kept', $2::text)";
    let table = "DROP TABLE IF EXISTS notified;
        CREATE TABLE notified (number bigint PRIMARY KEY, body text NOT NULL)";
    sqlx::raw_sql(table).execute(&database.pool).await?;
    let total = (RATE * (span.warm_up + span.measured).as_secs_f64()) as i64;
    let (ready, is_ready) = mpsc::channel();
    let listening = tokio::spawn(listen(database.pool.clone(), total, ready));
    let options: PgConnectOptions = database.options();
    tokio::task::spawn_blocking(move || is_ready.recv_timeout(LAST_TIME_MAX)).await??;
    let due = on_a_thread(move || async move {
        let mut connection = options.connect().await?;
        let body = "b".repeat(BODY_BYTES);
        let began = Instant::now();
        let mut sent = 0;
        while sent < total {
            let due = ((began.elapsed().as_secs_f64() * RATE) as i64 + 1).min(total);
            if due == sent {
                tokio::time::sleep(LOOK_INTERVAL).await; // poll
                continue;
            }
            let keep = sqlx::query(KEEP).bind(sent + 1).bind(due).bind(&body);
            keep.execute(&mut connection).await?;
            sent = due;
        }
        let moment = |number: i64| began + Duration::from_secs_f64((number - 1) as f64 / RATE);
        Ok((1..=total).map(|number| (moment(number), number as u64)).collect::<Moments>())
    })
    .await?;
    let seen = tokio::time::timeout(LAST_TIME_MAX, listening).await???;
    latencies(due, &seen, span)
}

async fn listen(pool: PgPool, last: i64, ready: mpsc::Sender<()>) -> anyhow::Result<Moments> {
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.listen("kept").await?;
    ready.send(())?;
    let mut seen = Vec::new();
    loop {
        let number: i64 = listener.recv().await?.payload().parse()?;
        seen.push((Instant::now(), u64::try_from(number)?));
        if number >= last {
            return Ok(seen);
        }
    }
}
