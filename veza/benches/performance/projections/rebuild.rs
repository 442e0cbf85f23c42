//! Models made anew from the log, against `COPY` of the rows that come out.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use bytes::Bytes;
use event_store::{EmbeddedOptions, EmbeddedStore, EventStore};
use futures::TryStreamExt as _;
use futures::future::try_join_all;
use projections::postgres::{channels, orders, plays, projections as all_projections, tracks};
use projections::search::{self, PostgresSearch, SearchFeed};
use projections::{ModelId, OnPoison, Projection, Rebuild, Target};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::database::Database;
use crate::machine::scratch;
use crate::scale::Scale;
use crate::table::Better::Higher;
use crate::table::{Row, TargetOf, per_second, tell};
use crate::world::World;

const PEOPLE: usize = 1_000;
const CHANNELS: usize = 50;
/// Three events each.
const TRACKS: usize = 13_000;
const PLAYS: usize = 40_000;
const MESSAGES: usize = 40_000;
/// Nine events each, eight of them in the model of orders.
const ORDERS: usize = 5_000;

/// The models that have a row of their own, and what is in them.
const MODELS: [(ModelId, &str); 4] = [
    (tracks::MODEL, "tracks"),
    (plays::MODEL, "plays"),
    (channels::MODEL, "messages"),
    (orders::MODEL, "orders"),
];

pub async fn measure(scale: Scale) -> anyhow::Result<Vec<Row>> {
    let folder = scratch()?;
    let store = lived(scale, &folder.path().join("events")).await?;
    let database = Database::start(folder.path()).await?;
    let stage = Stage { pool: database.pool.clone(), store: Arc::new(store) };
    let ids: Vec<ModelId> = stage.projections().iter().map(|model| model.id()).collect();
    // Unmeasured: it makes the tables whose rows are then copied, and warms what is to be warm.
    let log_events = stage.store.head().await?.get();
    stage.rebuild(&ids).await?;
    let copies = try_join_all(ids.iter().map(|id| Copy::of(&stage.pool, *id))).await?;

    let mut rounds = vec![Vec::new(); MODELS.len() + 1];
    for round in 0..scale.long_rounds() {
        for ((id, name), rounds) in MODELS.into_iter().zip(&mut rounds) {
            let (events, took) = stage.rebuild(&[id]).await?;
            let copied = copy(&stage.pool, copies.iter().filter(|copy| copy.id == id)).await?;
            let rates = (per_second(events, took), per_second(events, copied));
            tell(round, name, format!("{:.0} events/s; COPY {:.0}", rates.0, rates.1));
            rounds.push(rates);
        }
        let (_, took) = stage.rebuild(&ids).await?;
        let copied = copy(&stage.pool, copies.iter()).await?;
        let events = usize::try_from(log_events)?;
        let rates = (per_second(events, took), per_second(events, copied));
        tell(round, "all", format!("{:.0} events/s; COPY {:.0}", rates.0, rates.1));
        rounds[MODELS.len()].push(rates);
    }
    drop(stage);
    database.stop().await?;
    let baseline = "COPY of the rows that come out into tables like theirs, indexes and all";
    let row = |id: &str, what: String, rounds: &[(f64, f64)], target| {
        let id = format!("projections.rebuild.{id}");
        Row::new(id, what, ("events/s", Higher), baseline, rounds).target(TargetOf::Value, target)
    };
    let named = MODELS.into_iter().zip(&rounds).map(|((id, name), rounds)| {
        row(name, format!("the model {} made of its own events", id.name), rounds, 50_000.0)
    });
    let what = format!("all {} models at once made of a log of {log_events} events", ids.len());
    let all = row("all", what, &rounds[MODELS.len()], 20_000.0);
    Ok(named.chain([all]).collect())
}

/// A log of everything.
async fn lived(scale: Scale, events: &Path) -> anyhow::Result<EmbeddedStore> {
    let store = EmbeddedStore::open(EmbeddedOptions::folder(events)).await?;
    let mut world = World::new(6);
    let people = world.people(scale.count(PEOPLE));
    let tracks = world.tracks(scale.count(TRACKS), &people);
    let channels = world.channels(CHANNELS, &people[..people.len().min(20)]);
    world.plays(scale.count(PLAYS), &tracks, &people);
    world.messages(scale.count(MESSAGES), &channels, &people);
    world.append_to(&store).await?;
    world.orders(scale.count(ORDERS), &tracks, &people, &store).await?;
    Ok(store)
}

/// Where models are made.
struct Stage {
    pool: PgPool,
    store: Arc<EmbeddedStore>,
}

impl Stage {
    /// Every projection that the platform runs.
    fn projections(&self) -> Vec<Arc<dyn Projection>> {
        let mut all = all_projections();
        let index = Arc::new(PostgresSearch::new(self.pool.clone()));
        all.push(Arc::new(SearchFeed::new(search::postgres::MODEL, index)));
        all
    }

    /// Makes these models anew, all at once: how many events they took, and how long.
    async fn rebuild(&self, ids: &[ModelId]) -> anyhow::Result<(usize, Duration)> {
        let began = Instant::now();
        let chosen = self.projections().into_iter().filter(|model| ids.contains(&model.id()));
        let rebuilds = chosen.map(|projection| {
            let rebuild = Rebuild {
                pool: self.pool.clone(),
                store: Arc::clone(&self.store) as Arc<dyn EventStore>,
                projection,
                on_poison: OnPoison::Stop,
                cancel: CancellationToken::new(),
            };
            tokio::spawn(rebuild.run(Box::new(|_| {})))
        });
        let mut events = 0;
        for done in try_join_all(rebuilds).await? {
            events += usize::try_from(done?.events)?;
        }
        Ok((events, began.elapsed()))
    }
}

/// A model's rows, as PostgreSQL itself would copy them, and empty tables for them.
struct Copy {
    id: ModelId,
    tables: Vec<(String, Vec<Bytes>)>,
}

impl Copy {
    async fn of(pool: &PgPool, id: ModelId) -> anyhow::Result<Self> {
        let mut connection = pool.acquire().await?;
        let (from, to) = (id.schema(Target::Live), format!("copied_{id}"));
        sqlx::raw_sql(&format!("CREATE SCHEMA {to}")).execute(&mut *connection).await?;
        let sql = "SELECT tablename::text FROM pg_tables WHERE schemaname = $1 ORDER BY 1";
        let names: Vec<String> =
            sqlx::query_scalar(sql).bind(&from).fetch_all(&mut *connection).await?;
        ensure!(!names.is_empty(), "{id} has no tables");
        let mut tables = Vec::new();
        for name in names {
            let like = format!("CREATE TABLE {to}.{name} (LIKE {from}.{name} INCLUDING ALL)");
            sqlx::raw_sql(&like).execute(&mut *connection).await?;
            let statement = format!("COPY {from}.{name} TO STDOUT (FORMAT binary)");
            let rows = connection.copy_out_raw(&statement).await?.try_collect().await?;
            tables.push((format!("{to}.{name}"), rows));
        }
        Ok(Self { id, tables })
    }

    /// Copies the rows in, all in one transaction, as a rebuilt model goes live at once.
    async fn run(&self, pool: &PgPool) -> anyhow::Result<()> {
        let mut transaction = pool.begin().await?;
        for (table, rows) in &self.tables {
            let statement = format!("COPY {table} FROM STDIN (FORMAT binary)");
            let mut into = transaction.copy_in_raw(&statement).await?;
            for part in rows {
                into.send(&part[..]).await?;
            }
            into.finish().await?;
        }
        Ok(transaction.commit().await?)
    }
}

/// Empties the tables, and tells how long it takes to fill them all at once.
async fn copy<'a>(
    pool: &PgPool,
    copies: impl Iterator<Item = &'a Copy> + Clone,
) -> anyhow::Result<Duration> {
    for (table, _) in copies.clone().flat_map(|copy| &copy.tables) {
        sqlx::raw_sql(&format!("TRUNCATE {table}")).execute(pool).await?;
    }
    let began = Instant::now();
    try_join_all(copies.map(|copy| copy.run(pool))).await?;
    Ok(began.elapsed())
}
