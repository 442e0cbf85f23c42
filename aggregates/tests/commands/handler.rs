//! What the handler promises: once for every identity, at the expected revision, readable as of.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use aggregates::commerce::{Listing, ListingCommand, ListingRejection};
use aggregates::fold::{self, LoadError};
use aggregates::handler::ATTEMPTS_MAX;
use aggregates::{CommandError, CommandHandler, stream_of};
use async_trait::async_trait;
use bytes::Bytes;
use event_schemas::commerce::{LicenceKind, ListingEvent};
use event_schemas::{Actor, Metadata, OrderId, UserId};
use event_store::{
    AppendError, Appended, AsOf, ContentType, EventId, EventReader, EventStore, EventType,
    ExpectedRevision, Filter, NewEvent, Position, ReadAll, ReadError, ReadStream, RecordedEvent,
    Revision, StoreError, StreamMetadata, StreamName, SubscribeError, SubscribeFrom, Subscription,
};
use futures::TryStreamExt;
use futures::future::join_all;
use uuid::Uuid;

use crate::memory::{MemoryStore, recorded_at};
use crate::{LISTING, context, list, reserve};

async fn listed(kind: LicenceKind) -> (Arc<MemoryStore>, Arc<CommandHandler>) {
    let store = Arc::new(MemoryStore::default());
    let handler = Arc::new(CommandHandler::new(store.clone()));
    handler
        .execute::<Listing>(LISTING, list(kind), &context(1))
        .await
        .unwrap();
    (store, handler)
}

async fn recorded(store: &dyn EventStore) -> Vec<RecordedEvent> {
    store
        .read_all(ReadAll::forward())
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap()
}

#[tokio::test]
async fn an_event_tells_which_command_it_came_of() {
    let (store, _) = listed(LicenceKind::Exclusive).await;
    let events = recorded(&*store).await;
    assert_eq!(events[0].stream, stream_of::<Listing>(LISTING));
    assert_eq!(events[0].event_type.as_str(), "LicenceListed");
    let metadata: Metadata = serde_json::from_slice(&events[0].metadata).unwrap();
    let context = context(1);
    assert_eq!(metadata.correlation_id, context.command_id);
    assert_eq!(metadata.actor, Actor::User(UserId(Uuid::from_u128(3))));
    assert_eq!(metadata.occurred_at, context.now);
    let record = metadata.command.unwrap();
    assert_eq!(
        (record.id, record.digest, record.events),
        (context.command_id, context.digest, 1)
    );
}

#[tokio::test]
async fn a_command_is_carried_out_once() {
    let (store, handler) = listed(LicenceKind::Exclusive).await;
    let first = handler
        .execute::<Listing>(LISTING, reserve(1), &context(2))
        .await
        .unwrap();
    assert!(!first.repeated);
    let release = ListingCommand::ReleaseReservation {
        order_id: order(1),
        reason: "no".to_owned(),
    };
    handler
        .execute::<Listing>(LISTING, release, &context(3))
        .await
        .unwrap();
    let before = store.head().await.unwrap();

    // Decided today the command would be refused; what came of it then still holds.
    for handler in [handler, Arc::new(CommandHandler::new(store.clone()))] {
        let again = handler
            .execute::<Listing>(LISTING, reserve(1), &context(2))
            .await
            .unwrap();
        assert!(again.repeated);
        assert_eq!(
            (&again.events, again.position),
            (&first.events, first.position)
        );
        assert_eq!(again.revision, first.revision);
    }
    assert_eq!(store.head().await.unwrap(), before);
}

fn order(number: u128) -> OrderId {
    OrderId(Uuid::from_u128(100 + number))
}

#[tokio::test]
async fn the_same_identity_with_another_request_is_refused() {
    let (store, handler) = listed(LicenceKind::NonExclusive).await;
    handler
        .execute::<Listing>(LISTING, reserve(1), &context(2))
        .await
        .unwrap();
    let mut other = context(2);
    other.digest = "another".to_owned();
    let refused = handler
        .execute::<Listing>(LISTING, reserve(2), &other)
        .await;
    assert!(
        matches!(refused, Err(CommandError::DigestMismatch)),
        "{refused:?}"
    );
    assert_eq!(store.head().await.unwrap(), Position::new(2));
}

#[tokio::test]
async fn the_same_identity_with_another_request_is_refused_by_a_handler_that_is_behind() {
    let (store, handler) = listed(LicenceKind::NonExclusive).await;
    let behind = CommandHandler::new(store.clone());
    behind.inspect::<Listing, _>(LISTING, |_| ()).await.unwrap();
    handler
        .execute::<Listing>(LISTING, reserve(1), &context(2))
        .await
        .unwrap();
    let mut other = context(2);
    other.digest = "another".to_owned();
    let refused = behind.execute::<Listing>(LISTING, reserve(2), &other).await;
    assert!(
        matches!(refused, Err(CommandError::DigestMismatch)),
        "{refused:?}"
    );
}

#[tokio::test]
async fn nothing_is_appended_when_it_is_so_already_or_refused() {
    let (store, handler) = listed(LicenceKind::Exclusive).await;
    handler
        .execute::<Listing>(LISTING, reserve(1), &context(2))
        .await
        .unwrap();
    let same = handler
        .execute::<Listing>(LISTING, reserve(1), &context(3))
        .await
        .unwrap();
    assert!(same.events.is_empty() && !same.repeated);
    assert_eq!(
        (same.position, same.revision),
        (Position::new(2), Some(Revision::new(1)))
    );
    let taken = handler
        .execute::<Listing>(LISTING, reserve(2), &context(4))
        .await;
    assert!(matches!(
        taken,
        Err(CommandError::Rejected(ListingRejection::LicenceTaken))
    ));
    assert_eq!(store.head().await.unwrap(), Position::new(2));
}

#[tokio::test]
async fn a_stale_cache_refuses_nothing_and_lets_nothing_through() {
    let (store, here) = listed(LicenceKind::Exclusive).await;
    let there = CommandHandler::new(store.clone());
    there
        .execute::<Listing>(LISTING, reserve(1), &context(2))
        .await
        .unwrap();
    let taken = here
        .execute::<Listing>(LISTING, reserve(2), &context(3))
        .await;
    assert!(matches!(
        taken,
        Err(CommandError::Rejected(ListingRejection::LicenceTaken))
    ));
    let release = ListingCommand::ReleaseReservation {
        order_id: order(1),
        reason: "no".to_owned(),
    };
    here.execute::<Listing>(LISTING, release, &context(4))
        .await
        .unwrap();
    // `there` still believes that the licence is taken.
    there
        .execute::<Listing>(LISTING, reserve(3), &context(5))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_buyers_at_once_in_many_processes_one_gets_the_licence() {
    let (store, _) = listed(LicenceKind::Exclusive).await;
    let handlers: Vec<_> = (0..4)
        .map(|_| Arc::new(CommandHandler::new(store.clone())))
        .collect();
    let buyers = (0..40_u128).map(|number| {
        let handler = handlers[number as usize % handlers.len()].clone();
        tokio::spawn(async move {
            handler
                .execute::<Listing>(LISTING, reserve(number), &context(10 + number))
                .await
        })
    });
    let mut winners = 0;
    for outcome in join_all(buyers).await {
        match outcome.unwrap() {
            Ok(outcome) => winners += outcome.events.len(),
            Err(CommandError::Rejected(ListingRejection::LicenceTaken)) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
    assert_eq!(winners, 1);
    assert_eq!(store.head().await.unwrap(), Position::new(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_buyers_at_once_all_get_what_is_not_exclusive() {
    let (store, handler) = listed(LicenceKind::NonExclusive).await;
    let other = Arc::new(CommandHandler::new(store.clone()));
    let buyers = (0..40_u128).map(|number| {
        let handler = if number % 2 == 0 {
            handler.clone()
        } else {
            other.clone()
        };
        tokio::spawn(async move {
            handler
                .execute::<Listing>(LISTING, reserve(number), &context(10 + number))
                .await
        })
    });
    let mut positions = vec![];
    for outcome in join_all(buyers).await {
        positions.push(outcome.unwrap().unwrap().position);
    }
    positions.sort();
    positions.dedup();
    assert_eq!(positions.len(), 40);
    let reserved = handler
        .inspect::<Listing, _>(LISTING, |listing| listing.reserved.len())
        .await;
    assert_eq!(reserved.unwrap(), 40);
}

#[tokio::test]
async fn the_past_can_be_looked_at() {
    let (_, handler) = listed(LicenceKind::NonExclusive).await;
    let one = handler
        .execute::<Listing>(LISTING, reserve(1), &context(2))
        .await
        .unwrap();
    handler
        .execute::<Listing>(LISTING, reserve(2), &context(3))
        .await
        .unwrap();
    for moment in [
        AsOf::Position(one.position),
        AsOf::Time(recorded_at(one.position)),
    ] {
        let then = handler
            .load_as_of::<Listing>(LISTING, moment)
            .await
            .unwrap();
        assert_eq!((then.revision, then.position), (one.revision, one.position));
        assert_eq!(
            then.state.reserved.keys().copied().collect::<Vec<_>>(),
            [order(1)]
        );
    }
    let before = handler
        .load_as_of::<Listing>(LISTING, AsOf::Position(Position::START))
        .await;
    assert_eq!(before.unwrap().state, Listing::default());
}

#[tokio::test]
async fn an_event_of_a_later_release_stops_the_decision() {
    let (store, handler) = listed(LicenceKind::Exclusive).await;
    let stream = stream_of::<Listing>(LISTING);
    store
        .append(
            &stream,
            ExpectedRevision::Any,
            vec![foreign("LicenceLent", 1)],
        )
        .await
        .unwrap();
    let loaded = fold::load::<Listing>(&*store, &stream, None).await;
    assert!(
        matches!(loaded, Err(LoadError::Unreadable(_))),
        "{loaded:?}"
    );
    let refused = handler
        .execute::<Listing>(LISTING, reserve(1), &context(2))
        .await;
    let Err(error @ CommandError::Decode(_)) = refused else {
        panic!("{refused:?}")
    };
    assert!(
        error.to_string().contains("unknown type LicenceLent"),
        "{error}"
    );
    assert_eq!(store.head().await.unwrap(), Position::new(2));
}

fn foreign(event_type: &str, id: u128) -> NewEvent {
    NewEvent {
        id: EventId(Uuid::from_u128(id)),
        event_type: EventType::new(event_type).unwrap(),
        content_type: ContentType::Json,
        data: Bytes::from_static(b"{}"),
        metadata: Bytes::new(),
    }
}

#[tokio::test]
async fn a_conflict_is_decided_again_and_a_bounded_number_of_times() {
    for (conflicts, there) in [(3, true), (ATTEMPTS_MAX, false)] {
        let store = Arc::new(Rival::new(conflicts));
        let handler = CommandHandler::new(store.clone());
        let command = list(LicenceKind::NonExclusive);
        let rival = CommandHandler::new(store.memory.clone());
        rival
            .execute::<Listing>(LISTING, command, &context(1))
            .await
            .unwrap();
        let outcome = handler
            .execute::<Listing>(LISTING, reserve(1), &context(2))
            .await;
        let reserved: Vec<_> = handler
            .inspect::<Listing, _>(LISTING, |listing| listing.reserved.contains_key(&order(1)))
            .await
            .into_iter()
            .collect();
        assert_eq!(reserved, [there]);
        match outcome {
            Ok(outcome) => assert_eq!(outcome.revision, Some(Revision::new(4))),
            Err(CommandError::Conflict { attempts }) => assert_eq!(attempts, ATTEMPTS_MAX),
            Err(error) => panic!("{error:?}"),
        }
        assert_eq!(store.left.load(Ordering::SeqCst), 0);
    }
}

/// A store on which somebody else is faster, a number of times.
struct Rival {
    memory: Arc<MemoryStore>,
    left: AtomicU32,
    buyer: AtomicU64,
}

impl Rival {
    fn new(conflicts: u32) -> Self {
        let memory = Arc::new(MemoryStore::default());
        Self {
            memory,
            left: AtomicU32::new(conflicts),
            buyer: AtomicU64::new(1000),
        }
    }
}

#[async_trait]
impl EventStore for Rival {
    async fn append(
        &self,
        stream: &StreamName,
        expected: ExpectedRevision,
        events: Vec<NewEvent>,
    ) -> Result<Appended, AppendError> {
        let faster = self
            .left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                left.checked_sub(1)
            });
        if faster.is_ok() {
            let buyer = u128::from(self.buyer.fetch_add(1, Ordering::SeqCst));
            let rival = CommandHandler::new(self.memory.clone());
            let reserved = rival
                .execute::<Listing>(LISTING, reserve(buyer), &context(buyer))
                .await
                .unwrap();
            assert!(matches!(
                reserved.events[..],
                [ListingEvent::LicenceReserved(_)]
            ));
        }
        self.memory.append(stream, expected, events).await
    }

    async fn read_stream(&self, read: ReadStream) -> Result<EventReader, ReadError> {
        self.memory.read_stream(read).await
    }

    async fn read_all(&self, read: ReadAll) -> Result<EventReader, ReadError> {
        self.memory.read_all(read).await
    }

    async fn subscribe_stream(
        &self,
        stream: &StreamName,
        from: SubscribeFrom<Revision>,
    ) -> Result<Subscription, SubscribeError> {
        self.memory.subscribe_stream(stream, from).await
    }

    async fn subscribe_all(
        &self,
        from: SubscribeFrom<Position>,
        filter: Option<Filter>,
    ) -> Result<Subscription, SubscribeError> {
        self.memory.subscribe_all(from, filter).await
    }

    async fn last_event(&self, stream: &StreamName) -> Result<Option<RecordedEvent>, ReadError> {
        self.memory.last_event(stream).await
    }

    async fn head(&self) -> Result<Position, StoreError> {
        self.memory.head().await
    }

    async fn stream_metadata(
        &self,
        stream: &StreamName,
    ) -> Result<(StreamMetadata, Option<Revision>), ReadError> {
        self.memory.stream_metadata(stream).await
    }

    async fn set_stream_metadata(
        &self,
        stream: &StreamName,
        expected: ExpectedRevision,
        metadata: StreamMetadata,
    ) -> Result<Appended, AppendError> {
        self.memory
            .set_stream_metadata(stream, expected, metadata)
            .await
    }

    async fn delete_stream(
        &self,
        stream: &StreamName,
        expected: ExpectedRevision,
    ) -> Result<Appended, AppendError> {
        self.memory.delete_stream(stream, expected).await
    }

    async fn tombstone_stream(
        &self,
        stream: &StreamName,
        expected: ExpectedRevision,
    ) -> Result<Appended, AppendError> {
        self.memory.tombstone_stream(stream, expected).await
    }
}
