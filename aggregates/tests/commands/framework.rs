//! The framework's own path: load, handle, commit over the port.

use aggregates::commerce::{Listing, ListingRejection};
use aggregates::store::PortContext;
use aggregates::{CommandHandler, PortStore};
use cqrs_es::{AggregateError, CqrsFramework, EventStore as _};
use event_schemas::commerce::LicenceKind;

use crate::{LISTING, context, embedded, list, reserve};

#[tokio::test]
async fn the_framework_and_the_handler_share_their_streams() {
    let (log, _folder) = embedded().await;
    let store = PortStore::new(log.clone());
    let framework = CqrsFramework::<Listing, _>::new(store.clone(), vec![], ());
    let id = LISTING.to_string();
    let command = list(LicenceKind::Exclusive);
    framework.execute_with_metadata(&id, command, context(1).to_framework()).await.unwrap();

    let handler = CommandHandler::new(log);
    handler.execute::<Listing>(LISTING, reserve(1), &context(2)).await.unwrap();

    let refused = framework.execute_with_metadata(&id, reserve(2), context(3).to_framework()).await;
    let Err(AggregateError::UserError(ListingRejection::LicenceTaken)) = refused else {
        panic!("the framework did not see the reservation: {refused:?}");
    };
    let events = cqrs_es::EventStore::<Listing>::load_events(&store, &id).await.unwrap();
    let sequences: Vec<_> = events.iter().map(|event| event.sequence).collect();
    assert_eq!(sequences, [1, 2]);
    assert_eq!(events[1].metadata["$correlationId"], format!("\"{}\"", context(2).command_id));
}

#[tokio::test]
async fn what_was_changed_meanwhile_is_a_conflict() {
    let (log, _folder) = embedded().await;
    let store = PortStore::new(log);
    let id = LISTING.to_string();
    let one: PortContext<Listing> = store.load_aggregate(&id).await.unwrap();
    let other: PortContext<Listing> = store.load_aggregate(&id).await.unwrap();
    let events = cqrs_es::test::TestFramework::<Listing>::with(())
        .given_no_previous_events()
        .when_async(list(LicenceKind::Exclusive))
        .await
        .inspect_result()
        .unwrap();
    store.commit(events.clone(), one, context(1).to_framework()).await.unwrap();
    let late = store.commit(events, other, context(2).to_framework()).await;
    assert!(matches!(late, Err(AggregateError::<ListingRejection>::AggregateConflict)));
}

#[tokio::test]
async fn a_commit_needs_to_know_its_command() {
    let (log, _folder) = embedded().await;
    let store = PortStore::new(log);
    let framework = CqrsFramework::<Listing, _>::new(store, vec![], ());
    let bare = framework.execute(&LISTING.to_string(), list(LicenceKind::Exclusive)).await;
    assert!(matches!(bare, Err(AggregateError::DeserializationError(_))), "{bare:?}");
}
