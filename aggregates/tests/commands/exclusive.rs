//! A track has one exclusive licence, whoever offers it and however often.

use std::collections::BTreeSet;
use std::sync::Arc;

use aggregates::CommandHandler;
use aggregates::commerce::{ExclusiveLicence, Listing, ListingCommand};
use event_schemas::commerce::LicenceKind;
use event_schemas::{ListingId, Money, OrderId, TrackId, UserId};
use futures::future::join_all;
use uuid::Uuid;

use crate::{context, embedded, list, reserve};

const TRACK: TrackId = TrackId(Uuid::from_u128(2));
const SELLER: UserId = UserId(Uuid::from_u128(3));

async fn next(handler: &CommandHandler) -> ListingId {
    match ExclusiveLicence::of(handler, TRACK).await.unwrap() {
        ExclusiveLicence::NotOffered { next } => next,
        other => panic!("the licence is {other:?}"),
    }
}

async fn offer(handler: &CommandHandler, id: ListingId, command: u64) -> bool {
    let ListingCommand::List { track_id, seller_id, kind, price, delivery, .. } =
        list(LicenceKind::Exclusive)
    else {
        unreachable!("an offer")
    };
    // The price tells the offers apart: the same offer twice would be one.
    let price = Money::new(price.amount_minor + command, price.currency);
    let offer = ListingCommand::List { listing_id: id, track_id, seller_id, kind, price, delivery };
    handler.execute::<Listing>(id, offer, &context(command.into())).await.is_ok()
}

async fn tell(handler: &CommandHandler, id: ListingId, what: ListingCommand, command: u128) {
    handler.execute::<Listing>(id, what, &context(command)).await.unwrap();
}

#[tokio::test]
async fn an_offer_makes_room_for_the_next_when_it_is_withdrawn() {
    let (store, _folder) = embedded().await;
    let handler = CommandHandler::new(store);
    let mut offers = BTreeSet::new();
    // Enough that the search for the last one turns every way it has.
    for number in 0..20 {
        let id = next(&handler).await;
        assert!(offers.insert(id), "offer {number} has the id of another");
        assert!(offer(&handler, id, 1000 + number).await);
        let licence = ExclusiveLicence::of(&handler, TRACK).await.unwrap();
        assert_eq!(licence, ExclusiveLicence::Offered, "offer {number}");
        tell(&handler, id, ListingCommand::Withdraw { by: SELLER }, u128::from(2000 + number))
            .await;
    }
}

#[tokio::test]
async fn while_somebody_has_the_licence_there_is_no_room() {
    let (store, _folder) = embedded().await;
    let handler = CommandHandler::new(store);
    let id = next(&handler).await;
    assert!(offer(&handler, id, 1).await);
    tell(&handler, id, reserve(1), 2).await;
    tell(&handler, id, ListingCommand::Withdraw { by: SELLER }, 3).await;
    let order_id = OrderId(Uuid::from_u128(101));
    let taken = ExclusiveLicence::Taken { listing: id, order: order_id };
    assert_eq!(ExclusiveLicence::of(&handler, TRACK).await.unwrap(), taken);
    let release = ListingCommand::ReleaseReservation { order_id, reason: "no".to_owned() };
    tell(&handler, id, release, 4).await;
    let second = next(&handler).await;
    assert_ne!(second, id);
    assert!(offer(&handler, second, 5).await);
    tell(&handler, second, reserve(2), 6).await;
    let order_id = OrderId(Uuid::from_u128(102));
    tell(&handler, second, ListingCommand::MarkSold { order_id }, 7).await;
    let taken = ExclusiveLicence::Taken { listing: second, order: order_id };
    assert_eq!(ExclusiveLicence::of(&handler, TRACK).await.unwrap(), taken);
}

#[tokio::test]
async fn of_many_offers_at_once_one_is_made() {
    let (store, _folder) = embedded().await;
    // Handlers of their own: processes that know nothing of each other.
    let rush = (0..10).map(|number| {
        let handler = CommandHandler::new(Arc::clone(&store));
        async move {
            match ExclusiveLicence::of(&handler, TRACK).await.unwrap() {
                ExclusiveLicence::NotOffered { next } => offer(&handler, next, 1 + number).await,
                _ => false,
            }
        }
    });
    let made = join_all(rush).await;
    assert_eq!(made.into_iter().filter(|made| *made).count(), 1);
}
