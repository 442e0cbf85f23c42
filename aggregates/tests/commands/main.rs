//! Commands through the handler and through the framework, down to what the embedded store holds.

mod exclusive;
mod framework;
mod handler;
mod listening;
mod meddled;
mod random;

use std::sync::Arc;

use aggregates::CommandContext;
use aggregates::commerce::ListingCommand;
use chrono::{DateTime, Utc};
use event_schemas::commerce::{DeliveryMode, LicenceKind};
use event_schemas::{Actor, Currency, ListingId, Money, OrderId, TrackId, UserId};
use event_store::{EmbeddedOptions, EmbeddedStore, EventStore, ReadAll, RecordedEvent};
use futures::TryStreamExt;
use tempfile::TempDir;
use uuid::Uuid;

const LISTING: ListingId = ListingId(Uuid::from_u128(1));

fn list(kind: LicenceKind) -> ListingCommand {
    ListingCommand::List {
        listing_id: LISTING,
        track_id: TrackId(Uuid::from_u128(2)),
        seller_id: UserId(Uuid::from_u128(3)),
        kind,
        price: Money::new(900, Currency::EUR),
        delivery: DeliveryMode::Instant,
    }
}

fn reserve(number: u128) -> ListingCommand {
    ListingCommand::Reserve {
        order_id: OrderId(Uuid::from_u128(100 + number)),
        buyer_id: UserId(Uuid::from_u128(200 + number)),
        payment_method: "card".to_owned(),
    }
}

fn context(command: u128) -> CommandContext {
    let actor = Actor::User(UserId(Uuid::from_u128(3)));
    let now = DateTime::<Utc>::UNIX_EPOCH;
    CommandContext::first(Uuid::from_u128(command), format!("digest of {command}"), actor, now)
}

/// An empty store, and the folder that it needs.
async fn embedded() -> (Arc<dyn EventStore>, TempDir) {
    let folder = TempDir::new().unwrap();
    let options = EmbeddedOptions::folder(folder.path().join("events"));
    (Arc::new(EmbeddedStore::open(options).await.unwrap()), folder)
}

/// Everything that was appended to aggregates.
async fn recorded(store: &dyn EventStore) -> Vec<RecordedEvent> {
    let events = store.read_all(ReadAll::forward()).await.unwrap();
    let events: Vec<_> = events.try_collect().await.unwrap();
    events.into_iter().filter(|event| !event.stream.is_system()).collect()
}
