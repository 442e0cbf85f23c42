//! The event store over gRPC, asked by the official client and by the port's own adapter on it,
//! and other stores beside it.

mod appends;
mod reads;
mod subscriptions;
mod writers;

use event_store::{EmbeddedOptions, EmbeddedStore};
use eventstore::{Client, ReadAllOptions, ReadStream};

use crate::machine::scratch;
use crate::other_stores::UmaDb;
use crate::platform::EventStoreServer;
use crate::scale::Scale;
use crate::table::Row;

use appends::Stores;
use reads::Log;

pub async fn measure(scale: Scale) -> anyhow::Result<Vec<Row>> {
    let folder = scratch()?;
    let log = Log::of(scale);
    let events = folder.path().join("events");
    let store = EmbeddedStore::open(EmbeddedOptions::folder(&events)).await?;
    log.fill(&store).await?;
    store.close().await?;
    let server = EventStoreServer::start(folder.path()).await?;
    let umadb = UmaDb::start(folder.path()).await?;
    if let Some(umadb) = &umadb {
        log.fill_umadb(umadb.address()).await?;
    }
    let reads = reads::rows(scale, &server.url, umadb.as_ref(), &events, log).await?;
    let mut stores = Stores::start(&server.url, umadb, folder.path(), log.streams()).await?;
    let mut rows = appends::sequential(scale, &mut stores, folder.path()).await?;
    rows.extend(appends::concurrent(scale, &mut stores, folder.path()).await?);
    drop(stores);
    rows.extend(reads);
    rows.push(subscriptions::behind_a_writer(scale, &server, folder.path()).await?);
    rows.extend(subscriptions::many(scale, &server).await?);
    Ok(rows)
}

/// The official client, which dials with its first question only.
async fn official(url: &str) -> anyhow::Result<Client> {
    let client = Client::new(url.parse()?)?;
    let one = ReadAllOptions::default().max_count(1);
    counted(client.read_all(&one).await?).await?;
    Ok(client)
}

async fn counted(mut events: ReadStream) -> anyhow::Result<usize> {
    let mut count = 0;
    while events.next().await?.is_some() {
        count += 1;
    }
    Ok(count)
}
