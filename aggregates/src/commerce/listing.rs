//! A listing: the offer of a track's licences, and who has one kept or bought.
//!
//! That the seller made the track, and that it is published, is checked by the caller against the
//! track. Here two buyers of one exclusive licence meet: one gets it. That a track's exclusive
//! licence has no two listings is seen to in [`crate::commerce::exclusive`].

use std::collections::{BTreeMap, BTreeSet};

use event_schemas::commerce::{
    DeliveryMode, LicenceKind, LicenceListed, LicenceReservationReleased, LicenceReserved,
    LicenceSold, ListingEvent, ListingWithdrawn,
};
use event_schemas::{ListingId, Money, OrderId, TrackId, UserId};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::commerce::amount::{self, AmountError};
use crate::decider::{Decider, aggregate};
use crate::text::{self, TextError};

/// Longest name of a payment method, in characters.
pub const PAYMENT_METHOD_CHARS_MAX: usize = 200;

/// What can be asked of a listing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ListingCommand {
    /// Offer licences of a track.
    List {
        /// Which listing.
        listing_id: ListingId,
        /// Of which track.
        track_id: TrackId,
        /// Who sells.
        seller_id: UserId,
        /// How many may hold one.
        kind: LicenceKind,
        /// What one costs.
        price: Money,
        /// When an order is delivered.
        delivery: DeliveryMode,
    },
    /// Keep a licence for an order. This begins the purchase.
    Reserve {
        /// For which order.
        order_id: OrderId,
        /// Who buys.
        buyer_id: UserId,
        /// How they pay, as the payment gateway names it.
        payment_method: String,
    },
    /// Let the licence be bought again, because the order came to nothing.
    ReleaseReservation {
        /// For which order it was kept.
        order_id: OrderId,
        /// Why.
        reason: String,
    },
    /// Hand the licence over, because the order went through.
    MarkSold {
        /// By which order.
        order_id: OrderId,
    },
    /// Take the offer back.
    Withdraw {
        /// Who wants it.
        by: UserId,
    },
}

/// Why a listing refuses.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ListingRejection {
    /// Nothing was listed under this id.
    #[error("the listing is not there")]
    NotListed,
    /// Something else was listed under this id.
    #[error("the listing is already there")]
    AlreadyListed,
    /// The price can't be asked.
    #[error(transparent)]
    Price(#[from] AmountError),
    /// A text can't be taken.
    #[error(transparent)]
    Text(#[from] TextError),
    /// The seller has taken the offer back.
    #[error("the listing is withdrawn")]
    Withdrawn,
    /// The exclusive licence is kept for another order, or sold.
    #[error("the licence is taken")]
    LicenceTaken,
    /// Sellers can't buy from themselves.
    #[error("the listing is the buyer's own")]
    OwnListing,
    /// The order is another buyer's.
    #[error("the order belongs to another buyer")]
    OrderOfAnother,
    /// The order came to nothing before.
    #[error("the reservation of the order was released")]
    ReservationReleased,
    /// Nothing is kept for the order.
    #[error("nothing is reserved for the order")]
    NotReserved,
    /// The order went through before.
    #[error("the licence is sold to the order")]
    AlreadySold,
    /// Only the seller may.
    #[error("only the seller may do that")]
    NotSeller,
}

/// An offer of licences.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Listing {
    /// What is offered; `None` before anything is.
    pub terms: Option<LicenceListed>,
    /// For which orders a licence is kept, and who buys.
    pub reserved: BTreeMap<OrderId, UserId>,
    /// By which orders a licence was bought, and by whom.
    pub sold: BTreeMap<OrderId, UserId>,
    /// Which orders came to nothing.
    pub released: BTreeSet<OrderId>,
    /// Whether the seller has taken the offer back.
    pub withdrawn: bool,
}

aggregate!(Listing: ListingCommand => ListingEvent, ListingRejection);

impl Decider for Listing {
    type Id = ListingId;

    fn decide(&self, command: ListingCommand) -> Result<Vec<ListingEvent>, ListingRejection> {
        match command {
            ListingCommand::List { listing_id, track_id, seller_id, kind, price, delivery } => {
                self.list(LicenceListed { listing_id, track_id, seller_id, kind, price, delivery })
            }
            ListingCommand::Reserve { order_id, buyer_id, payment_method } => {
                self.reserve(order_id, buyer_id, &payment_method)
            }
            ListingCommand::ReleaseReservation { order_id, reason } => {
                self.release(order_id, &reason)
            }
            ListingCommand::MarkSold { order_id } => self.mark_sold(order_id),
            ListingCommand::Withdraw { by } => self.withdraw(by),
        }
    }

    fn evolve(&mut self, event: ListingEvent) {
        match event {
            ListingEvent::LicenceListed(listed) => self.terms = Some(listed),
            ListingEvent::LicenceReserved(reserved) => {
                self.reserved.insert(reserved.order_id, reserved.buyer_id);
            }
            ListingEvent::LicenceReservationReleased(released) => {
                self.reserved.remove(&released.order_id);
                self.released.insert(released.order_id);
            }
            ListingEvent::LicenceSold(sold) => {
                self.reserved.remove(&sold.order_id);
                self.sold.insert(sold.order_id, sold.buyer_id);
            }
            ListingEvent::ListingWithdrawn(_) => self.withdrawn = true,
        }
    }
}

impl Listing {
    /// By which order somebody has a licence by it, kept or bought; of several by any.
    pub fn holder(&self) -> Option<OrderId> {
        self.reserved.keys().chain(self.sold.keys()).next().copied()
    }

    /// Whether it knows of an order, whatever became of it.
    pub fn knows(&self, order: OrderId) -> bool {
        self.reserved.contains_key(&order)
            || self.sold.contains_key(&order)
            || self.released.contains(&order)
    }

    fn terms(&self) -> Result<&LicenceListed, ListingRejection> {
        self.terms.as_ref().ok_or(ListingRejection::NotListed)
    }

    fn list(&self, listed: LicenceListed) -> Result<Vec<ListingEvent>, ListingRejection> {
        match &self.terms {
            Some(terms) if *terms == listed => return Ok(vec![]),
            Some(_) => return Err(ListingRejection::AlreadyListed),
            None => amount::check(listed.price)?,
        }
        Ok(vec![listed.into()])
    }

    fn reserve(
        &self,
        order_id: OrderId,
        buyer_id: UserId,
        payment_method: &str,
    ) -> Result<Vec<ListingEvent>, ListingRejection> {
        let terms = self.terms()?;
        if let Some(known) = self.reserved.get(&order_id).or(self.sold.get(&order_id)) {
            // The same order again asks for what it has.
            return if *known == buyer_id {
                Ok(vec![])
            } else {
                Err(ListingRejection::OrderOfAnother)
            };
        }
        if self.released.contains(&order_id) {
            return Err(ListingRejection::ReservationReleased);
        }
        let is_exclusive = terms.kind == LicenceKind::Exclusive;
        if is_exclusive && !self.sold.is_empty() {
            return Err(ListingRejection::LicenceTaken);
        }
        if self.withdrawn {
            return Err(ListingRejection::Withdrawn);
        }
        if buyer_id == terms.seller_id {
            return Err(ListingRejection::OwnListing);
        }
        if is_exclusive && self.holder().is_some() {
            return Err(ListingRejection::LicenceTaken);
        }
        let payment_method =
            text::line("payment method", payment_method, PAYMENT_METHOD_CHARS_MAX)?;
        let reserved = LicenceReserved {
            listing_id: terms.listing_id,
            order_id,
            buyer_id,
            payment_method,
            track_id: terms.track_id,
            seller_id: terms.seller_id,
            price: terms.price,
            delivery: terms.delivery,
        };
        Ok(vec![reserved.into()])
    }

    fn release(
        &self,
        order_id: OrderId,
        reason: &str,
    ) -> Result<Vec<ListingEvent>, ListingRejection> {
        let listing_id = self.terms()?.listing_id;
        if self.released.contains(&order_id) {
            return Ok(vec![]);
        }
        if self.sold.contains_key(&order_id) {
            return Err(ListingRejection::AlreadySold);
        }
        if !self.reserved.contains_key(&order_id) {
            return Err(ListingRejection::NotReserved);
        }
        let reason = text::reason(reason);
        Ok(vec![LicenceReservationReleased { listing_id, order_id, reason }.into()])
    }

    fn mark_sold(&self, order_id: OrderId) -> Result<Vec<ListingEvent>, ListingRejection> {
        let listing_id = self.terms()?.listing_id;
        if self.sold.contains_key(&order_id) {
            return Ok(vec![]);
        }
        if self.released.contains(&order_id) {
            return Err(ListingRejection::ReservationReleased);
        }
        let buyer_id = *self.reserved.get(&order_id).ok_or(ListingRejection::NotReserved)?;
        Ok(vec![LicenceSold { listing_id, order_id, buyer_id }.into()])
    }

    fn withdraw(&self, by: UserId) -> Result<Vec<ListingEvent>, ListingRejection> {
        let terms = self.terms()?;
        if by != terms.seller_id {
            return Err(ListingRejection::NotSeller);
        }
        if self.withdrawn {
            return Ok(vec![]);
        }
        // Nothing is on offer any more that could be taken back.
        if terms.kind == LicenceKind::Exclusive && !self.sold.is_empty() {
            return Err(ListingRejection::LicenceTaken);
        }
        Ok(vec![ListingWithdrawn { listing_id: terms.listing_id }.into()])
    }
}

#[cfg(test)]
mod tests {
    use cqrs_es::test::TestFramework;
    use event_schemas::Currency;
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    const LISTING: ListingId = ListingId(Uuid::from_u128(1));
    const TRACK: TrackId = TrackId(Uuid::from_u128(2));
    const SELLER: UserId = UserId(Uuid::from_u128(10));

    fn order(number: u128) -> OrderId {
        OrderId(Uuid::from_u128(100 + number))
    }

    fn buyer(number: u128) -> UserId {
        UserId(Uuid::from_u128(11 + number))
    }

    fn list(kind: LicenceKind, amount_minor: u64) -> ListingCommand {
        ListingCommand::List {
            listing_id: LISTING,
            track_id: TRACK,
            seller_id: SELLER,
            kind,
            price: Money::new(amount_minor, Currency::EUR),
            delivery: DeliveryMode::Instant,
        }
    }

    fn listed(kind: LicenceKind) -> ListingEvent {
        Listing::default().decide(list(kind, 900)).unwrap().remove(0)
    }

    fn reserve(number: u128) -> ListingCommand {
        ListingCommand::Reserve {
            order_id: order(number),
            buyer_id: buyer(number),
            payment_method: "card".to_owned(),
        }
    }

    fn reserved(number: u128) -> ListingEvent {
        LicenceReserved {
            listing_id: LISTING,
            order_id: order(number),
            buyer_id: buyer(number),
            payment_method: "card".to_owned(),
            track_id: TRACK,
            seller_id: SELLER,
            price: Money::new(900, Currency::EUR),
            delivery: DeliveryMode::Instant,
        }
        .into()
    }

    fn release(number: u128) -> ListingCommand {
        ListingCommand::ReleaseReservation { order_id: order(number), reason: "no".to_owned() }
    }

    fn released(number: u128) -> ListingEvent {
        let (order_id, reason) = (order(number), "no".to_owned());
        LicenceReservationReleased { listing_id: LISTING, order_id, reason }.into()
    }

    fn sold(number: u128) -> ListingEvent {
        let (order_id, buyer_id) = (order(number), buyer(number));
        LicenceSold { listing_id: LISTING, order_id, buyer_id }.into()
    }

    fn given(events: Vec<ListingEvent>) -> cqrs_es::test::AggregateTestExecutor<Listing> {
        TestFramework::with(()).given(events)
    }

    use LicenceKind::{Exclusive, NonExclusive};

    #[test]
    fn a_price_is_more_than_nothing_and_less_than_too_much() {
        given(vec![]).when(list(Exclusive, 900)).then_expect_events(vec![listed(Exclusive)]);
        given(vec![]).when(list(Exclusive, 0)).then_expect_error(AmountError::Zero.into());
        let too_large = AmountError::TooLarge { max_minor: amount::AMOUNT_MINOR_MAX };
        given(vec![])
            .when(list(Exclusive, amount::AMOUNT_MINOR_MAX + 1))
            .then_expect_error(too_large.into());
    }

    #[test]
    fn an_id_is_listed_once() {
        given(vec![listed(Exclusive)]).when(list(Exclusive, 900)).then_expect_events(vec![]);
        given(vec![listed(Exclusive)])
            .when(list(NonExclusive, 900))
            .then_expect_error(ListingRejection::AlreadyListed);
    }

    #[test]
    fn an_exclusive_licence_has_one_taker() {
        given(vec![listed(Exclusive)]).when(reserve(1)).then_expect_events(vec![reserved(1)]);
        given(vec![listed(Exclusive), reserved(1)])
            .when(reserve(2))
            .then_expect_error(ListingRejection::LicenceTaken);
        given(vec![listed(Exclusive), reserved(1), sold(1)])
            .when(reserve(2))
            .then_expect_error(ListingRejection::LicenceTaken);
        given(vec![listed(Exclusive), reserved(1), released(1)])
            .when(reserve(2))
            .then_expect_events(vec![reserved(2)]);
    }

    #[test]
    fn other_licences_have_many_takers() {
        given(vec![listed(NonExclusive), reserved(1)])
            .when(reserve(2))
            .then_expect_events(vec![reserved(2)]);
    }

    #[test]
    fn the_same_order_again_changes_nothing() {
        given(vec![listed(Exclusive), reserved(1)]).when(reserve(1)).then_expect_events(vec![]);
        let of_another = ListingCommand::Reserve {
            order_id: order(1),
            buyer_id: buyer(2),
            payment_method: "card".to_owned(),
        };
        given(vec![listed(Exclusive), reserved(1)])
            .when(of_another)
            .then_expect_error(ListingRejection::OrderOfAnother);
        given(vec![listed(Exclusive), reserved(1), released(1)])
            .when(reserve(1))
            .then_expect_error(ListingRejection::ReservationReleased);
    }

    #[test]
    fn nobody_buys_from_themselves_or_from_nowhere() {
        let own = ListingCommand::Reserve {
            order_id: order(1),
            buyer_id: SELLER,
            payment_method: "card".to_owned(),
        };
        given(vec![listed(NonExclusive)]).when(own).then_expect_error(ListingRejection::OwnListing);
        given(vec![]).when(reserve(1)).then_expect_error(ListingRejection::NotListed);
    }

    #[test]
    fn a_reservation_ends_once() {
        let kept = vec![listed(Exclusive), reserved(1)];
        given(kept.clone()).when(release(1)).then_expect_events(vec![released(1)]);
        let sell = ListingCommand::MarkSold { order_id: order(1) };
        given(kept.clone()).when(sell.clone()).then_expect_events(vec![sold(1)]);
        given([kept.clone(), vec![sold(1)]].concat())
            .when(release(1))
            .then_expect_error(ListingRejection::AlreadySold);
        given([kept.clone(), vec![released(1)]].concat())
            .when(sell.clone())
            .then_expect_error(ListingRejection::ReservationReleased);
        given([kept.clone(), vec![sold(1)]].concat()).when(sell).then_expect_events(vec![]);
        given([kept, vec![released(1)]].concat()).when(release(1)).then_expect_events(vec![]);
        given(vec![listed(Exclusive)])
            .when(release(1))
            .then_expect_error(ListingRejection::NotReserved);
    }

    #[test]
    fn an_exclusive_licence_that_is_sold_is_no_offer_that_could_be_taken_back() {
        let withdrawn = ListingEvent::from(ListingWithdrawn { listing_id: LISTING });
        let exclusive = vec![listed(Exclusive), reserved(1)];
        given([exclusive.clone(), vec![sold(1)]].concat())
            .when(ListingCommand::Withdraw { by: SELLER })
            .then_expect_error(ListingRejection::LicenceTaken);
        let withdrawn_first = [exclusive, vec![withdrawn, sold(1)]].concat();
        given(withdrawn_first.clone())
            .when(ListingCommand::Withdraw { by: SELLER })
            .then_expect_events(vec![]);
        given(withdrawn_first).when(reserve(2)).then_expect_error(ListingRejection::LicenceTaken);
    }

    #[test]
    fn only_the_seller_withdraws_and_orders_under_way_go_on() {
        let withdrawn = ListingEvent::from(ListingWithdrawn { listing_id: LISTING });
        given(vec![listed(Exclusive)])
            .when(ListingCommand::Withdraw { by: buyer(1) })
            .then_expect_error(ListingRejection::NotSeller);
        given(vec![listed(Exclusive)])
            .when(ListingCommand::Withdraw { by: SELLER })
            .then_expect_events(vec![withdrawn.clone()]);
        given(vec![listed(NonExclusive), withdrawn.clone()])
            .when(reserve(1))
            .then_expect_error(ListingRejection::Withdrawn);
        given(vec![listed(NonExclusive), reserved(1), withdrawn.clone()])
            .when(ListingCommand::MarkSold { order_id: order(1) })
            .then_expect_events(vec![sold(1)]);
        given(vec![listed(NonExclusive), reserved(1), sold(1)])
            .when(ListingCommand::Withdraw { by: SELLER })
            .then_expect_events(vec![withdrawn.clone()]);
    }

    fn any_command() -> impl Strategy<Value = ListingCommand> {
        (0..5_u8, 1..4_u128).prop_map(|(what, number)| match what {
            0 => list(Exclusive, 900),
            1 | 2 => reserve(number),
            3 => release(number),
            _ => ListingCommand::MarkSold { order_id: order(number) },
        })
    }

    proptest! {
        #[test]
        fn an_exclusive_licence_is_never_held_twice(
            commands in prop::collection::vec(any_command(), 1..60),
        ) {
            let mut listing = Listing::default();
            let mut holders = BTreeSet::new();
            for command in commands {
                for event in listing.decide(command).unwrap_or_default() {
                    match &event {
                        ListingEvent::LicenceReserved(reserved) => {
                            prop_assert!(holders.is_empty(), "reserved while held by {holders:?}");
                            holders.insert(reserved.order_id);
                        }
                        ListingEvent::LicenceReservationReleased(released) => {
                            prop_assert!(holders.remove(&released.order_id));
                        }
                        ListingEvent::LicenceSold(sold) => {
                            prop_assert!(holders.contains(&sold.order_id));
                        }
                        _ => {}
                    }
                    listing.evolve(event);
                }
                let now: BTreeSet<_> =
                    listing.reserved.keys().chain(listing.sold.keys()).copied().collect();
                prop_assert_eq!(&now, &holders);
            }
        }
    }
}
