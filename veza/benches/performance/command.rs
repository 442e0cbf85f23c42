//! Commands, the whole way over HTTP, against a server that only makes their bodies durable.

use std::net::SocketAddr;

use event_store::{EmbeddedOptions, EmbeddedStore};

use crate::bare_server::BareServer;
use crate::database::Database;
use crate::http::{HttpCaller, Requests};
use crate::load::{Measured, closed_loop, on_a_thread, paced};
use crate::machine::scratch;
use crate::platform::{Platform, data_folder};
use crate::requests::{Keyed, Subjects, commands, tokens};
use crate::scale::{Scale, Span};
use crate::table::Better::{Higher, Lower};
use crate::table::{Row, TargetOf, median, tell};
use crate::world::World;

/// How many connections send commands.
const CONNECTIONS: usize = 32;

/// A prime, so that everybody sends every kind of command.
const PEOPLE: usize = 251;
const TRACKS: usize = 100;
const CHANNELS: usize = 16;

const BASELINE: &str = "a bare axum handler that parses the same JSON and appends it to a file, \
                        one fdatasync for all that wait";

pub async fn measure(scale: Scale) -> anyhow::Result<Vec<Row>> {
    let folder = scratch()?;
    let data = data_folder(folder.path());
    let store = EmbeddedStore::open(EmbeddedOptions::folder(data.join("events"))).await?;
    let mut world = World::new(3);
    let people = world.people(PEOPLE);
    let (tracks, channels) = (world.tracks(TRACKS, &people), world.channels(CHANNELS, &people));
    world.rest(store).await?;
    let subjects = Subjects { people, tracks, channels };

    let database = Database::start(folder.path()).await?;
    let bare = BareServer::start(folder.path()).await?;
    let platform = Platform::start(folder.path(), &database).await?;
    let requests = |keyed| {
        let tokens = tokens(&data, &subjects.people)?;
        Ok::<_, anyhow::Error>(commands(&subjects, tokens, keyed))
    };

    let span = scale.span(3.0);
    let (mut rates, mut keyed) = (Vec::new(), Vec::new());
    for round in 0..scale.rounds() {
        let ours = at_full_rate(platform.http, requests(Keyed::No)?, span).await?.rate;
        let settled = platform.settle(&database.pool).await?;
        let theirs = at_full_rate(bare.address, requests(Keyed::No)?, span).await?.rate;
        let lag = settled.as_secs_f64();
        let said = format!("{ours:.0}/s, bare {theirs:.0}/s; the models had them {lag:.1} s later");
        tell(round, "commands", said);
        let with_key = at_full_rate(platform.http, requests(Keyed::Yes)?, span).await?.rate;
        platform.settle(&database.pool).await?;
        tell(round, "commands with a key", format!("{with_key:.0}/s"));
        rates.push((ours, theirs));
        keyed.push((with_key, ours));
    }
    let half = median(rates.iter().map(|round| round.0).collect()) / 2.0;
    let (mut p50, mut p99) = (Vec::new(), Vec::new());
    for round in 0..scale.rounds() {
        let ours = at_pace(platform.http, requests(Keyed::No)?, half, span).await?.latencies;
        platform.settle(&database.pool).await?;
        let theirs = at_pace(bare.address, requests(Keyed::No)?, half, span).await?.latencies;
        p50.push((ours.quantile_ms(0.5), theirs.quantile_ms(0.5)));
        p99.push((ours.quantile_ms(0.99), theirs.quantile_ms(0.99)));
        let said = format!("p50 {:.2} ms, p99 {:.2} ms", p50[round].0, p99[round].0);
        tell(round, &format!("commands at {half:.0}/s"), said);
    }
    drop((platform, bare));
    database.stop().await?;
    let mut rows = rows(&rates, half, &p50, &p99);
    let what = "the same, each with an Idempotency-Key of its own";
    let unit = ("commands/s", Higher);
    rows.push(Row::new("command.keyed", what, unit, "the same without a key", &keyed));
    Ok(rows)
}

fn rows(rates: &[(f64, f64)], half: f64, p50: &[(f64, f64)], p99: &[(f64, f64)]) -> Vec<Row> {
    let what = format!("messages, plays and profiles (6:3:1), {CONNECTIONS} connections");
    let at = |quantile: &str| format!("{quantile} of those, {half:.0} due each second");
    let at_pace = format!("{BASELINE}, at the same pace");
    vec![
        Row::new("command.rate", what, ("commands/s", Higher), BASELINE, rates)
            .target(TargetOf::Value, 10_000.0),
        Row::new("command.p50", at("the median"), ("ms", Lower), &*at_pace, p50),
        Row::new("command.p99", at("99 %"), ("ms", Lower), &*at_pace, p99)
            .target(TargetOf::Value, 20.0),
    ]
}

async fn at_full_rate(to: SocketAddr, requests: Requests, span: Span) -> anyhow::Result<Measured> {
    on_a_thread(move || async move {
        closed_loop(HttpCaller::connect(to, CONNECTIONS, &requests).await?, span).await
    })
    .await
}

async fn at_pace(
    to: SocketAddr,
    requests: Requests,
    rate: f64,
    span: Span,
) -> anyhow::Result<Measured> {
    on_a_thread(move || async move {
        paced(HttpCaller::connect(to, CONNECTIONS, &requests).await?, rate, span).await
    })
    .await
}
