//! What the handler promises: once for every identity, at the expected revision, readable as of.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use aggregates::commerce::{Listing, ListingCommand, ListingRejection};
use aggregates::fold::{self, LoadError};
use aggregates::handler::ATTEMPTS_MAX;
use aggregates::{CommandContext, CommandError, CommandHandler, StateError, state_of, stream_of};
use bytes::Bytes;
use event_schemas::commerce::LicenceKind;
use event_schemas::{Actor, ListingId, Metadata, OrderId, UserId};
use event_store::{
    AsOf, ContentType, EventId, EventStore, EventType, ExpectedRevision, NewEvent, Position,
    RecordedEvent, Revision, StreamName,
};
use futures::future::join_all;
use tempfile::TempDir;
use uuid::Uuid;

use crate::meddled::Meddled;
use crate::{LISTING, context, embedded, list, recorded, reserve};

async fn listed(kind: LicenceKind) -> (Arc<dyn EventStore>, Arc<CommandHandler>, TempDir) {
    let (store, folder) = embedded().await;
    let handler = Arc::new(CommandHandler::new(store.clone()));
    handler.execute::<Listing>(LISTING, list(kind), &context(1)).await.unwrap();
    (store, handler, folder)
}

#[tokio::test]
async fn an_event_tells_which_command_it_came_of() {
    let (store, _, _folder) = listed(LicenceKind::Exclusive).await;
    let events = recorded(&*store).await;
    assert_eq!(events[0].stream, stream_of::<Listing>(LISTING));
    assert_eq!(events[0].event_type.as_str(), "LicenceListed");
    let metadata: Metadata = serde_json::from_slice(&events[0].metadata).unwrap();
    let context = context(1);
    assert_eq!(metadata.correlation_id, context.command_id);
    assert_eq!(metadata.actor, Actor::User(UserId(Uuid::from_u128(3))));
    assert_eq!(metadata.occurred_at, context.now);
    let record = metadata.command.unwrap();
    assert_eq!((record.id, record.digest, record.events), (context.command_id, context.digest, 1));
}

#[tokio::test]
async fn a_command_is_carried_out_once() {
    let (store, handler, _folder) = listed(LicenceKind::Exclusive).await;
    let first = handler.execute::<Listing>(LISTING, reserve(1), &context(2)).await.unwrap();
    assert!(!first.repeated);
    let release =
        ListingCommand::ReleaseReservation { order_id: order(1), reason: "no".to_owned() };
    handler.execute::<Listing>(LISTING, release, &context(3)).await.unwrap();
    let before = store.head().await.unwrap();

    // Decided today the command would be refused; what came of it then still holds.
    for handler in [handler, Arc::new(CommandHandler::new(store.clone()))] {
        let again = handler.execute::<Listing>(LISTING, reserve(1), &context(2)).await.unwrap();
        assert!(again.repeated);
        assert_eq!((&again.events, again.position), (&first.events, first.position));
        assert_eq!(again.revision, first.revision);
    }
    assert_eq!(store.head().await.unwrap(), before);
}

fn order(number: u128) -> OrderId {
    OrderId(Uuid::from_u128(100 + number))
}

#[tokio::test]
async fn the_same_identity_with_another_request_is_refused() {
    let (store, handler, _folder) = listed(LicenceKind::NonExclusive).await;
    handler.execute::<Listing>(LISTING, reserve(1), &context(2)).await.unwrap();
    let mut other = context(2);
    other.digest = "another".to_owned();
    let refused = handler.execute::<Listing>(LISTING, reserve(2), &other).await;
    assert!(matches!(refused, Err(CommandError::DigestMismatch)), "{refused:?}");
    assert_eq!(recorded(&*store).await.len(), 2);
}

#[tokio::test]
async fn the_same_identity_with_another_request_is_refused_by_a_handler_that_is_behind() {
    let (store, handler, _folder) = listed(LicenceKind::NonExclusive).await;
    let behind = CommandHandler::new(store.clone());
    behind.inspect::<Listing, _>(LISTING, |_| ()).await.unwrap();
    handler.execute::<Listing>(LISTING, reserve(1), &context(2)).await.unwrap();
    let mut other = context(2);
    other.digest = "another".to_owned();
    let refused = behind.execute::<Listing>(LISTING, reserve(2), &other).await;
    assert!(matches!(refused, Err(CommandError::DigestMismatch)), "{refused:?}");
}

fn keyed(command: u128, digest: &str) -> CommandContext {
    CommandContext { keyed: true, digest: digest.to_owned(), ..context(command) }
}

/// A second listing beside the first, on a handler of its own: another process.
async fn two_listings() -> (Arc<dyn EventStore>, [Arc<CommandHandler>; 2], TempDir) {
    let (store, handler, folder) = listed(LicenceKind::Exclusive).await;
    let ListingCommand::List { track_id, seller_id, kind, price, delivery, .. } =
        list(LicenceKind::Exclusive)
    else {
        unreachable!("it lists");
    };
    let another =
        ListingCommand::List { listing_id: OTHER, track_id, seller_id, kind, price, delivery };
    let there = Arc::new(CommandHandler::new(store.clone()));
    there.execute::<Listing>(OTHER, another, &context(9)).await.unwrap();
    (store, [handler, there], folder)
}

const OTHER: ListingId = ListingId(Uuid::from_u128(4));

#[tokio::test]
async fn a_key_is_good_for_one_request_whichever_stream_it_names() {
    let (_store, [here, there], _folder) = two_listings().await;
    let first = here.execute::<Listing>(LISTING, reserve(1), &keyed(2, "this")).await.unwrap();
    for handler in [&here, &there] {
        let refused = handler.execute::<Listing>(OTHER, reserve(1), &keyed(2, "that")).await;
        assert!(matches!(refused, Err(CommandError::DigestMismatch)), "{refused:?}");
        assert!(there.inspect(OTHER, |other: &Listing| other.reserved.is_empty()).await.unwrap());
        let again = handler.execute::<Listing>(LISTING, reserve(1), &keyed(2, "this")).await;
        assert_eq!(again.unwrap().position, first.position);
    }
}

#[tokio::test]
async fn of_two_requests_under_one_key_at_once_one_is_carried_out() {
    let (_store, [here, there], _folder) = two_listings().await;
    for round in 10..30 {
        let (this, that) = (keyed(round, "this"), keyed(round, "that"));
        let (one, other) = tokio::join!(
            here.execute::<Listing>(LISTING, reserve(round), &this),
            there.execute::<Listing>(OTHER, reserve(round), &that),
        );
        assert!(one.is_ok() != other.is_ok(), "{one:?} {other:?}");
        let lost = one.err().or(other.err()).unwrap();
        assert!(matches!(lost, CommandError::DigestMismatch), "{lost:?}");
        for (id, context) in [(LISTING, context(100 + round)), (OTHER, context(200 + round))] {
            let release = ListingCommand::ReleaseReservation {
                order_id: order(round),
                reason: "no".to_owned(),
            };
            let _ = here.execute::<Listing>(id, release, &context).await;
        }
    }
}

#[tokio::test]
async fn a_claim_without_what_was_claimed_for_lets_the_same_request_through() {
    let (store, [here, _], _folder) = two_listings().await;
    // As after a crash between the two appends: the claim is there, and the reservation is not.
    here.execute::<Listing>(LISTING, reserve(1), &keyed(2, "this")).await.unwrap();
    let (fresh, _other) = embedded().await;
    let handler = CommandHandler::new(fresh.clone());
    handler.execute::<Listing>(LISTING, list(LicenceKind::Exclusive), &context(1)).await.unwrap();
    let claim = recorded(&*store).await;
    let claim = claim.into_iter().find(|event| event.stream.category() == "command").unwrap();
    let RecordedEvent { id, event_type, content_type, data, metadata, stream, .. } = claim;
    let claim = NewEvent { id, event_type, content_type, data, metadata };
    fresh.append(&stream, ExpectedRevision::NoStream, vec![claim]).await.unwrap();
    let other = handler.execute::<Listing>(LISTING, reserve(1), &keyed(2, "that")).await;
    assert!(matches!(other, Err(CommandError::DigestMismatch)), "{other:?}");
    let done = handler.execute::<Listing>(LISTING, reserve(1), &keyed(2, "this")).await.unwrap();
    assert_eq!(done.events.len(), 1);
}

#[tokio::test]
async fn a_refusal_uses_up_no_key() {
    let (store, [here, _], _folder) = two_listings().await;
    here.execute::<Listing>(LISTING, reserve(1), &context(2)).await.unwrap();
    let before = store.head().await.unwrap();
    let taken = here.execute::<Listing>(LISTING, reserve(2), &keyed(3, "this")).await;
    assert!(matches!(taken, Err(CommandError::Rejected(ListingRejection::LicenceTaken))));
    assert_eq!(store.head().await.unwrap(), before);
    here.execute::<Listing>(OTHER, reserve(2), &keyed(3, "that")).await.unwrap();
}

#[tokio::test]
async fn a_refusal_after_a_conflict_uses_up_no_key() {
    let (store, _, _folder) = two_listings().await;
    // Somebody else reserves after the first decision, and before what it decided is appended.
    let handler = CommandHandler::new(Arc::new(Meddled::new(store.clone(), 1, 0)));
    let taken = handler.execute::<Listing>(LISTING, reserve(1), &keyed(2, "this")).await;
    let Err(CommandError::Rejected(ListingRejection::LicenceTaken)) = taken else {
        panic!("{taken:?}")
    };
    assert_eq!(handler.claimed::<Listing>(&keyed(2, "that")).await.unwrap(), None);
    let there = CommandHandler::new(store);
    there.execute::<Listing>(OTHER, reserve(1), &keyed(2, "that")).await.unwrap();
    let late = handler.execute::<Listing>(LISTING, reserve(1), &keyed(2, "this")).await;
    assert!(matches!(late, Err(CommandError::DigestMismatch)), "{late:?}");
}

#[tokio::test]
async fn a_command_that_changed_nothing_is_carried_out_once_too() {
    let (_store, [here, there], _folder) = two_listings().await;
    here.execute::<Listing>(LISTING, reserve(1), &context(2)).await.unwrap();
    let same = here.execute::<Listing>(LISTING, reserve(1), &keyed(3, "this")).await.unwrap();
    assert!(same.events.is_empty());
    let sold = ListingCommand::MarkSold { order_id: order(1) };
    here.execute::<Listing>(LISTING, sold, &context(4)).await.unwrap();
    for handler in [here, there] {
        let again = handler.execute::<Listing>(LISTING, reserve(1), &keyed(3, "this")).await;
        let again = again.unwrap();
        assert_eq!((again.position, again.revision), (same.position, same.revision));
        assert!(again.repeated && again.events.is_empty());
        let other = handler.execute::<Listing>(LISTING, reserve(2), &keyed(3, "that")).await;
        assert!(matches!(other, Err(CommandError::DigestMismatch)), "{other:?}");
    }
}

#[tokio::test]
async fn nothing_is_appended_when_it_is_so_already_or_refused() {
    let (store, handler, _folder) = listed(LicenceKind::Exclusive).await;
    handler.execute::<Listing>(LISTING, reserve(1), &context(2)).await.unwrap();
    let same = handler.execute::<Listing>(LISTING, reserve(1), &context(3)).await.unwrap();
    assert!(same.events.is_empty() && !same.repeated);
    assert_eq!((same.position, same.revision), (Position::new(2), Some(Revision::new(1))));
    let taken = handler.execute::<Listing>(LISTING, reserve(2), &context(4)).await;
    assert!(matches!(taken, Err(CommandError::Rejected(ListingRejection::LicenceTaken))));
    assert_eq!(recorded(&*store).await.len(), 2);
}

#[tokio::test]
async fn a_stale_cache_refuses_nothing_and_lets_nothing_through() {
    let (store, here, _folder) = listed(LicenceKind::Exclusive).await;
    let there = CommandHandler::new(store.clone());
    there.execute::<Listing>(LISTING, reserve(1), &context(2)).await.unwrap();
    let taken = here.execute::<Listing>(LISTING, reserve(2), &context(3)).await;
    assert!(matches!(taken, Err(CommandError::Rejected(ListingRejection::LicenceTaken))));
    let release =
        ListingCommand::ReleaseReservation { order_id: order(1), reason: "no".to_owned() };
    here.execute::<Listing>(LISTING, release, &context(4)).await.unwrap();
    // `there` still believes that the licence is taken.
    there.execute::<Listing>(LISTING, reserve(3), &context(5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_buyers_at_once_in_many_processes_one_gets_the_licence() {
    let (store, _, _folder) = listed(LicenceKind::Exclusive).await;
    let handlers: Vec<_> = (0..4).map(|_| Arc::new(CommandHandler::new(store.clone()))).collect();
    let buyers = (0..40_u128).map(|number| {
        let handler = handlers[number as usize % handlers.len()].clone();
        tokio::spawn(async move {
            handler.execute::<Listing>(LISTING, reserve(number), &context(10 + number)).await
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
    assert_eq!(recorded(&*store).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_buyers_at_once_all_get_what_is_not_exclusive() {
    let (store, handler, _folder) = listed(LicenceKind::NonExclusive).await;
    let other = Arc::new(CommandHandler::new(store.clone()));
    let buyers = (0..40_u128).map(|number| {
        let handler = if number % 2 == 0 { handler.clone() } else { other.clone() };
        tokio::spawn(async move {
            handler.execute::<Listing>(LISTING, reserve(number), &context(10 + number)).await
        })
    });
    let mut positions = vec![];
    for outcome in join_all(buyers).await {
        positions.push(outcome.unwrap().unwrap().position);
    }
    positions.sort();
    positions.dedup();
    assert_eq!(positions.len(), 40);
    let reserved = handler.inspect::<Listing, _>(LISTING, |listing| listing.reserved.len()).await;
    assert_eq!(reserved.unwrap(), 40);
}

#[tokio::test]
async fn the_past_can_be_looked_at() {
    let (store, handler, _folder) = listed(LicenceKind::NonExclusive).await;
    let one = handler.execute::<Listing>(LISTING, reserve(1), &context(2)).await.unwrap();
    handler.execute::<Listing>(LISTING, reserve(2), &context(3)).await.unwrap();
    let recorded = recorded(&*store).await;
    let first = recorded.iter().find(|event| event.position == one.position).unwrap();
    for moment in [AsOf::Position(one.position), AsOf::Time(first.recorded_at)] {
        let then = handler.load_as_of::<Listing>(LISTING, moment).await.unwrap();
        assert_eq!((then.revision, then.position), (one.revision, one.position));
        assert_eq!(then.state.reserved.keys().copied().collect::<Vec<_>>(), [order(1)]);
    }
    let before = handler.load_as_of::<Listing>(LISTING, AsOf::Position(Position::START)).await;
    assert_eq!(before.unwrap().state, Listing::default());
}

#[tokio::test]
async fn an_event_of_a_later_release_stops_the_decision() {
    let (store, handler, _folder) = listed(LicenceKind::Exclusive).await;
    let stream = stream_of::<Listing>(LISTING);
    store.append(&stream, ExpectedRevision::Any, vec![foreign("LicenceLent", 1)]).await.unwrap();
    let loaded = fold::load::<Listing>(&*store, &stream, None).await;
    assert!(matches!(loaded, Err(LoadError::Unreadable(_))), "{loaded:?}");
    let refused = handler.execute::<Listing>(LISTING, reserve(1), &context(2)).await;
    let Err(error @ CommandError::Decode(_)) = refused else { panic!("{refused:?}") };
    assert!(error.to_string().contains("unknown type LicenceLent"), "{error}");
    assert_eq!(recorded(&*store).await.len(), 2);
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
    for (rivals, there) in [(3, true), (ATTEMPTS_MAX, false)] {
        let (store, _, _folder) = listed(LicenceKind::NonExclusive).await;
        let meddled = Arc::new(Meddled::new(store, rivals, 0));
        let handler = CommandHandler::new(meddled.clone());
        let outcome = handler.execute::<Listing>(LISTING, reserve(1), &context(2)).await;
        let reserved = handler
            .inspect::<Listing, _>(LISTING, |listing| listing.reserved.contains_key(&order(1)))
            .await;
        assert_eq!(reserved.unwrap(), there);
        match outcome {
            Ok(outcome) => assert_eq!(outcome.revision, Some(Revision::new(4))),
            Err(CommandError::Conflict { attempts }) => assert_eq!(attempts, ATTEMPTS_MAX),
            Err(error) => panic!("{error:?}"),
        }
        assert_eq!(meddled.rivals.load(Ordering::SeqCst), 0);
    }
}

#[tokio::test]
async fn a_lost_acknowledgement_is_asked_for_again() {
    let (store, _, _folder) = listed(LicenceKind::Exclusive).await;
    let handler = CommandHandler::new(Arc::new(Meddled::new(store.clone(), 0, 1)));
    let lost = handler.execute::<Listing>(LISTING, reserve(1), &context(2)).await;
    assert!(matches!(lost, Err(CommandError::Store(_))), "{lost:?}");
    let again = handler.execute::<Listing>(LISTING, reserve(1), &context(2)).await.unwrap();
    let recorded = recorded(&*store).await;
    assert_eq!(recorded.len(), 2);
    assert_eq!((again.events.len(), again.position), (1, recorded[1].position));
}

#[tokio::test]
async fn what_was_deleted_for_good_takes_no_command() {
    let (store, handler, _folder) = listed(LicenceKind::Exclusive).await;
    let stream = stream_of::<Listing>(LISTING);
    store.tombstone_stream(&stream, ExpectedRevision::Any).await.unwrap();
    let refused = handler.execute::<Listing>(LISTING, reserve(1), &context(2)).await;
    assert!(matches!(refused, Err(CommandError::Deleted(_))), "{refused:?}");
}

#[tokio::test]
async fn a_state_is_found_by_the_name_of_its_stream() {
    let (store, handler, _folder) = listed(LicenceKind::NonExclusive).await;
    let one = handler.execute::<Listing>(LISTING, reserve(1), &context(2)).await.unwrap();
    handler.execute::<Listing>(LISTING, reserve(2), &context(3)).await.unwrap();
    let stream = stream_of::<Listing>(LISTING);
    let now = state_of(&*store, &stream, None).await.unwrap();
    assert_eq!((now.aggregate, now.revision), ("listing", Some(Revision::new(2))));
    assert_eq!(now.state["reserved"].as_object().unwrap().len(), 2);
    let then = state_of(&*store, &stream, Some(AsOf::Position(one.position))).await.unwrap();
    assert_eq!(then.state["reserved"].as_object().unwrap().len(), 1);
    let saga = StreamName::new("saga-purchase-1").unwrap();
    let none = state_of(&*store, &saga, None).await;
    assert!(matches!(none, Err(StateError::NoAggregate { .. })), "{none:?}");
}
