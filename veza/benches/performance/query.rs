//! GraphQL against prepared statements that fetch the same rows from the same PostgreSQL.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use event_store::{EmbeddedOptions, EmbeddedStore};
use serde_json::{Value, json};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, PgConnection};
use uuid::Uuid;

use crate::database::Database;
use crate::http::{HttpCaller, Requests};
use crate::load::{Call, Caller, Measured, closed_loop, on_a_thread, paced};
use crate::machine::scratch;
use crate::platform::{Platform, data_folder};
use crate::requests::{queries, query};
use crate::scale::{Scale, Span};
use crate::table::Better::{Higher, Lower};
use crate::table::{Row, TargetOf, median, tell};
use crate::world::World;

/// How many connections ask the platform; it asks PostgreSQL through fewer.
const CONNECTIONS: usize = 32;

const ARTISTS: usize = 500;
const TRACKS: usize = 5_000;
const PLAYS: usize = 25_000;

/// How many tracks a page has.
const PAGE: usize = 20;

const BY_ID: &str = "query($id: UUID!) { track(id: $id) {
    id title status durationMs artist { id handle displayName } } }";

const LIST: &str = "query($first: Int!, $after: String) { tracks(first: $first, after: $after) {
    nodes { id title plays artist { id handle displayName } }
    pageInfo { hasNextPage endCursor } } }";

const BY_ID_SQL: &str = "SELECT track_id, title, status, duration_ms, user_id, handle, display_name
    FROM tracks_v3.tracks JOIN profiles_v1.profiles ON user_id = artist_id
    WHERE track_id = $1 AND published";

const LIST_SQL: &str = "SELECT track_id, title, user_id, handle, display_name, published_position,
        (SELECT coalesce(sum(plays), 0)::bigint FROM plays_v1.track_days d
         WHERE d.track_id = t.track_id) AS plays
    FROM tracks_v3.tracks t JOIN profiles_v1.profiles ON user_id = artist_id
    WHERE published AND published_position < $1 ORDER BY published_position DESC LIMIT 20";

pub async fn measure(scale: Scale) -> anyhow::Result<Vec<Row>> {
    let folder = scratch()?;
    let data = data_folder(folder.path());
    let store = EmbeddedStore::open(EmbeddedOptions::folder(data.join("events"))).await?;
    let mut world = World::new(4);
    let artists = world.people(scale.count(ARTISTS));
    let tracks = world.tracks(scale.count(TRACKS), &artists);
    world.plays(scale.count(PLAYS), &tracks, &artists);
    world.rest(store).await?;

    let database = Database::start(folder.path()).await?;
    let platform = Platform::start(folder.path(), &database).await?;
    sqlx::query("VACUUM ANALYZE").execute(&database.pool).await?;
    let pages = pages(platform.http, tracks.len()).await?;
    let positions: Vec<i64> =
        sqlx::query_scalar("SELECT published_position FROM tracks_v3.tracks WHERE published")
            .fetch_all(&database.pool)
            .await?;
    let ids: Vec<Uuid> = tracks.iter().map(|(track, _)| track.0).collect();
    let by_id = ids.iter().map(|id| json!({ "id": id })).collect();
    let list = pages.iter().map(|after| json!({ "first": PAGE, "after": after })).collect();

    let mut rows = Both {
        http: platform.http,
        options: database.options(),
        requests: queries(BY_ID, by_id),
        statement: Statement::ById(ids.into()),
    }
    .measure(scale, "query.by_id", "a track by id with its artist", 10_000.0)
    .await?;
    let lists = Both {
        http: platform.http,
        options: database.options(),
        requests: queries(LIST, list),
        statement: Statement::Before(positions.into()),
    };
    let what = "20 tracks with their artists and plays, from anywhere in the list";
    rows.extend(lists.measure(scale, "query.list_20", what, 2_500.0).await?);
    drop(platform);
    database.stop().await?;
    Ok(rows)
}

/// The cursors of all pages; on the way it is seen that every track is there.
async fn pages(http: SocketAddr, tracks: usize) -> anyhow::Result<Vec<Value>> {
    let nothing: Requests = Arc::new(|_| query(LIST, &Value::Null));
    let mut connection = HttpCaller::connect(http, 1, &nothing).await?.remove(0);
    let (mut after, mut pages, mut seen) = (Value::Null, Vec::new(), 0);
    loop {
        let asked = query(LIST, &json!({ "first": PAGE, "after": after }));
        let answer: Value = serde_json::from_slice(&connection.send(asked).await?)?;
        let page = &answer["data"]["tracks"];
        let nodes = page["nodes"].as_array().with_context(|| format!("no page: {answer}"))?;
        let whole =
            nodes.iter().all(|node| node["plays"].is_u64() && node["artist"]["handle"].is_string());
        ensure!(whole, "something is missing of {answer}");
        seen += nodes.len();
        // Only full ones are worth asking for again.
        if nodes.len() == PAGE || pages.is_empty() {
            pages.push(after);
        }
        if page["pageInfo"]["hasNextPage"] != true {
            ensure!(seen == tracks, "{seen} of {tracks} tracks are listed");
            return Ok(pages);
        }
        after = page["pageInfo"]["endCursor"].clone();
    }
}

/// The same question to the platform and to PostgreSQL.
struct Both {
    http: SocketAddr,
    options: PgConnectOptions,
    requests: Requests,
    statement: Statement,
}

impl Both {
    async fn measure(
        &self,
        scale: Scale,
        id: &str,
        what: &str,
        target: f64,
    ) -> anyhow::Result<Vec<Row>> {
        let span = scale.span(2.5);
        let mut rates = Vec::new();
        for round in 0..scale.rounds() {
            let ours = self.ask(None, span).await?.rate;
            let theirs = self.ask_postgres(None, span).await?.rate;
            tell(round, id, format!("{ours:.0}/s; statements {theirs:.0}/s"));
            rates.push((ours, theirs));
        }
        let half = median(rates.iter().map(|round| round.0).collect()) / 2.0;
        let (mut p50, mut p99) = (Vec::new(), Vec::new());
        for round in 0..scale.rounds() {
            let ours = self.ask(Some(half), span).await?.latencies;
            let theirs = self.ask_postgres(Some(half), span).await?.latencies;
            p50.push((ours.quantile_ms(0.5), theirs.quantile_ms(0.5)));
            p99.push((ours.quantile_ms(0.99), theirs.quantile_ms(0.99)));
            let said = format!("p50 {:.2} ms, p99 {:.2} ms", p50[round].0, p99[round].0);
            tell(round, &format!("{id} at {half:.0}/s"), said);
        }
        let baseline = format!("a prepared statement of the same rows, {CONNECTIONS} connections");
        let at = |quantile: &str| format!("{quantile} of those, {half:.0} due each second");
        let at_pace = format!("{baseline}, at the same pace");
        let what = format!("{what}, {CONNECTIONS} connections");
        let id = |what: &str| format!("{id}.{what}");
        Ok(vec![
            Row::new(id("rate"), what, ("queries/s", Higher), baseline, &rates)
                .target(TargetOf::Value, target),
            Row::new(id("p50"), at("the median"), ("ms", Lower), &*at_pace, &p50),
            Row::new(id("p99"), at("99 %"), ("ms", Lower), &*at_pace, &p99)
                .target(TargetOf::Value, 5.0),
        ])
    }

    async fn ask(&self, rate: Option<f64>, span: Span) -> anyhow::Result<Measured> {
        let (http, requests) = (self.http, Arc::clone(&self.requests));
        on_a_thread(move || async move {
            let callers = HttpCaller::connect(http, CONNECTIONS, &requests).await?;
            run(callers, rate, span).await
        })
        .await
    }

    async fn ask_postgres(&self, rate: Option<f64>, span: Span) -> anyhow::Result<Measured> {
        let (options, statement) = (self.options.clone(), self.statement.clone());
        on_a_thread(move || async move {
            let mut callers = Vec::new();
            for _ in 0..CONNECTIONS {
                let connection = options.connect().await?;
                callers.push(PostgresCaller { connection, statement: statement.clone() });
            }
            run(callers, rate, span).await
        })
        .await
    }
}

async fn run<C: Caller>(
    callers: Vec<C>,
    rate: Option<f64>,
    span: Span,
) -> anyhow::Result<Measured> {
    match rate {
        None => closed_loop(callers, span).await,
        Some(rate) => paced(callers, rate, span).await,
    }
}

/// What PostgreSQL is asked, with what by turns.
#[derive(Clone)]
enum Statement {
    ById(Arc<[Uuid]>),
    Before(Arc<[i64]>),
}

struct PostgresCaller {
    connection: PgConnection,
    statement: Statement,
}

impl Caller for PostgresCaller {
    async fn call(&mut self, call: Call) -> anyhow::Result<()> {
        // The same step as the queries take.
        let at = usize::try_from(call.number.wrapping_mul(7_919)).unwrap_or(0);
        let rows = match &self.statement {
            Statement::ById(ids) => sqlx::query(BY_ID_SQL).bind(ids[at % ids.len()]),
            Statement::Before(all) => sqlx::query(LIST_SQL).bind(all[at % all.len()]),
        };
        let rows = rows.fetch_all(&mut self.connection).await?;
        // The list's very end has nothing before it.
        let may_be_empty = matches!(self.statement, Statement::Before(_));
        ensure!(may_be_empty || rows.len() == 1, "{} rows", rows.len());
        Ok(())
    }
}
