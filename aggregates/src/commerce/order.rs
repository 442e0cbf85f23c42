//! An order of a licence, from the click to both sides having what is theirs.
//!
//! Money and licence are moved by the purchase saga; the order tells how far it has come.

use event_schemas::commerce::{
    DeliveryMode, OrderAccepted, OrderApproved, OrderCancelled, OrderCompleted, OrderDelivered,
    OrderEvent, OrderPlaced,
};
use event_schemas::{ListingId, Money, OrderId, TrackId, UserId};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::commerce::amount::{self, AmountError};
use crate::decider::{Decider, aggregate};
use crate::text;

/// What can be asked of an order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum OrderCommand {
    /// Order a licence, on the terms it was reserved on.
    Place {
        /// Which order.
        order_id: OrderId,
        /// From which listing.
        listing_id: ListingId,
        /// Of which track.
        track_id: TrackId,
        /// Who buys.
        buyer_id: UserId,
        /// Who sells.
        seller_id: UserId,
        /// What it costs.
        price: Money,
        /// How the buyer pays, as the payment gateway names it.
        payment_method: String,
        /// When it is delivered.
        delivery: DeliveryMode,
    },
    /// Let it be delivered; only for orders that wait for the seller.
    Approve {
        /// Who approves.
        by: UserId,
    },
    /// Note that the buyer can fetch what they bought.
    RecordDelivered {
        /// The master among the objects.
        object_key: String,
    },
    /// Be content with what was delivered.
    Accept {
        /// Who is content.
        by: UserId,
    },
    /// Take silence for content, when the time to object is over; whoever keeps the time asks it.
    AcceptInSilence,
    /// Close it: licence and money are where they belong.
    Complete,
    /// Give it up; whatever was done for it is undone by the saga.
    Cancel {
        /// Why.
        reason: String,
    },
}

/// Why an order refuses.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum OrderRejection {
    /// Nothing was ordered under this id, as far as whoever asks may know.
    #[error("the order is not there")]
    NotPlaced,
    /// Something else was ordered under this id.
    #[error("the order is already there")]
    AlreadyPlaced,
    /// The price can't be paid.
    #[error(transparent)]
    Price(#[from] AmountError),
    /// Sellers can't buy from themselves.
    #[error("buyer and seller are the same")]
    OwnListing,
    /// Only the seller may.
    #[error("only the seller may do that")]
    NotSeller,
    /// Only the buyer may.
    #[error("only the buyer may do that")]
    NotBuyer,
    /// It is delivered at once, so there is nothing to approve.
    #[error("the order needs no approval")]
    NoApprovalNeeded,
    /// Nothing to fetch was named.
    #[error("the delivered object has no name")]
    NothingDelivered,
    /// From where it stands it can't come to that.
    #[error("the order is {from} and can't become {to}")]
    WrongStatus {
        /// Where it stands.
        from: OrderStatus,
        /// What was asked for.
        to: OrderStatus,
    },
}

/// How far an order has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderStatus {
    /// The buyer has asked for it.
    #[default]
    Placed,
    /// The seller wants it delivered.
    Approved,
    /// The buyer can fetch it.
    Delivered,
    /// The buyer is content.
    Accepted,
    /// Everybody has what is theirs.
    Completed,
    /// It came to nothing.
    Cancelled,
}

impl std::fmt::Display for OrderStatus {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Placed => "placed",
            Self::Approved => "approved",
            Self::Delivered => "delivered",
            Self::Accepted => "accepted",
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
        })
    }
}

/// An order of a licence.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// What was ordered; `None` before anything is.
    pub terms: Option<OrderPlaced>,
    /// How far it has come; meaningless before it is placed.
    pub status: OrderStatus,
    /// What was delivered, among the objects.
    pub object_key: Option<String>,
    /// Why it came to nothing.
    pub cancelled_because: Option<String>,
}

aggregate!(Order: OrderCommand => OrderEvent, OrderRejection);

impl Decider for Order {
    type Id = OrderId;

    fn decide(&self, command: OrderCommand) -> Result<Vec<OrderEvent>, OrderRejection> {
        match command {
            OrderCommand::Place {
                order_id,
                listing_id,
                track_id,
                buyer_id,
                seller_id,
                price,
                payment_method,
                delivery,
            } => self.place(OrderPlaced {
                order_id,
                listing_id,
                track_id,
                buyer_id,
                seller_id,
                price,
                payment_method,
                delivery,
            }),
            OrderCommand::Approve { by } => self.approve(by),
            OrderCommand::RecordDelivered { object_key } => self.delivered(object_key),
            OrderCommand::Accept { by } => {
                if by != self.terms_for(by)?.buyer_id {
                    return Err(OrderRejection::NotBuyer);
                }
                self.accept()
            }
            OrderCommand::AcceptInSilence => self.accept(),
            OrderCommand::Complete => {
                let order_id = self.terms()?.order_id;
                self.advance(OrderStatus::Completed, OrderCompleted { order_id })
            }
            OrderCommand::Cancel { reason } => {
                let order_id = self.terms()?.order_id;
                let reason = text::reason(&reason);
                self.advance(OrderStatus::Cancelled, OrderCancelled { order_id, reason })
            }
        }
    }

    fn evolve(&mut self, event: OrderEvent) {
        match event {
            OrderEvent::OrderPlaced(placed) => self.terms = Some(placed),
            OrderEvent::OrderApproved(_) => self.status = OrderStatus::Approved,
            OrderEvent::OrderDelivered(delivered) => {
                self.status = OrderStatus::Delivered;
                self.object_key = Some(delivered.object_key);
            }
            OrderEvent::OrderAccepted(_) => self.status = OrderStatus::Accepted,
            OrderEvent::OrderCompleted(_) => self.status = OrderStatus::Completed,
            OrderEvent::OrderCancelled(cancelled) => {
                self.status = OrderStatus::Cancelled;
                self.cancelled_because = Some(cancelled.reason);
            }
        }
    }
}

impl Order {
    fn terms(&self) -> Result<&OrderPlaced, OrderRejection> {
        self.terms.as_ref().ok_or(OrderRejection::NotPlaced)
    }

    /// The terms, for a party of the order; to others it is not there.
    fn terms_for(&self, user: UserId) -> Result<&OrderPlaced, OrderRejection> {
        let terms = self.terms()?;
        if user == terms.buyer_id || user == terms.seller_id {
            Ok(terms)
        } else {
            Err(OrderRejection::NotPlaced)
        }
    }

    fn place(&self, placed: OrderPlaced) -> Result<Vec<OrderEvent>, OrderRejection> {
        match &self.terms {
            Some(terms) if *terms == placed => return Ok(vec![]),
            Some(_) => return Err(OrderRejection::AlreadyPlaced),
            None => amount::check(placed.price)?,
        }
        if placed.buyer_id == placed.seller_id {
            return Err(OrderRejection::OwnListing);
        }
        Ok(vec![placed.into()])
    }

    fn approve(&self, by: UserId) -> Result<Vec<OrderEvent>, OrderRejection> {
        let terms = self.terms_for(by)?;
        if by != terms.seller_id {
            return Err(OrderRejection::NotSeller);
        }
        if terms.delivery == DeliveryMode::Instant {
            return Err(OrderRejection::NoApprovalNeeded);
        }
        self.advance(OrderStatus::Approved, OrderApproved { order_id: terms.order_id })
    }

    fn delivered(&self, object_key: String) -> Result<Vec<OrderEvent>, OrderRejection> {
        let order_id = self.terms()?.order_id;
        if object_key.is_empty() {
            return Err(OrderRejection::NothingDelivered);
        }
        self.advance(OrderStatus::Delivered, OrderDelivered { order_id, object_key })
    }

    fn accept(&self) -> Result<Vec<OrderEvent>, OrderRejection> {
        let order_id = self.terms()?.order_id;
        self.advance(OrderStatus::Accepted, OrderAccepted { order_id })
    }

    /// The event, when the order may come to that; nothing, when it already has.
    fn advance(
        &self,
        to: OrderStatus,
        event: impl Into<OrderEvent>,
    ) -> Result<Vec<OrderEvent>, OrderRejection> {
        use OrderStatus::{Accepted, Approved, Cancelled, Completed, Delivered, Placed};
        let from = self.status;
        let instant = self.terms()?.delivery == DeliveryMode::Instant;
        match (from, to) {
            (from, to) if from == to => Ok(vec![]),
            // It came to that on its way to where it stands.
            (Delivered | Accepted | Completed, Approved) | (Completed, Accepted) => Ok(vec![]),
            (Placed, Delivered) if instant => Ok(vec![event.into()]),
            (Placed, Approved)
            | (Approved, Delivered)
            | (Delivered, Accepted)
            | (Accepted, Completed)
            | (Placed | Approved | Delivered | Accepted, Cancelled) => Ok(vec![event.into()]),
            _ => Err(OrderRejection::WrongStatus { from, to }),
        }
    }
}

#[cfg(test)]
mod tests {
    use cqrs_es::test::{AggregateTestExecutor, TestFramework};
    use event_schemas::Currency;
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    const ORDER: OrderId = OrderId(Uuid::from_u128(100));
    const SELLER: UserId = UserId(Uuid::from_u128(10));
    const STRANGER: UserId = UserId(Uuid::from_u128(99));
    const BUYER: UserId = UserId(Uuid::from_u128(11));

    fn place(delivery: DeliveryMode) -> OrderCommand {
        OrderCommand::Place {
            order_id: ORDER,
            listing_id: ListingId(Uuid::from_u128(1)),
            track_id: TrackId(Uuid::from_u128(2)),
            buyer_id: BUYER,
            seller_id: SELLER,
            price: Money::new(900, Currency::EUR),
            payment_method: "card".to_owned(),
            delivery,
        }
    }

    fn placed(delivery: DeliveryMode) -> OrderEvent {
        Order::default().decide(place(delivery)).unwrap().remove(0)
    }

    fn deliver() -> OrderCommand {
        OrderCommand::RecordDelivered { object_key: "masters/1".to_owned() }
    }

    fn delivered() -> OrderEvent {
        OrderDelivered { order_id: ORDER, object_key: "masters/1".to_owned() }.into()
    }

    fn approved() -> OrderEvent {
        OrderApproved { order_id: ORDER }.into()
    }

    fn accepted() -> OrderEvent {
        OrderAccepted { order_id: ORDER }.into()
    }

    fn completed() -> OrderEvent {
        OrderCompleted { order_id: ORDER }.into()
    }

    fn cancel() -> OrderCommand {
        OrderCommand::Cancel { reason: "no".to_owned() }
    }

    fn cancelled() -> OrderEvent {
        OrderCancelled { order_id: ORDER, reason: "no".to_owned() }.into()
    }

    fn given(events: Vec<OrderEvent>) -> AggregateTestExecutor<Order> {
        TestFramework::with(()).given(events)
    }

    fn wrong(from: OrderStatus, to: OrderStatus) -> OrderRejection {
        OrderRejection::WrongStatus { from, to }
    }

    use DeliveryMode::{Instant, OnApproval};

    #[test]
    fn an_order_is_placed_once() {
        given(vec![]).when(place(Instant)).then_expect_events(vec![placed(Instant)]);
        given(vec![placed(Instant)]).when(place(Instant)).then_expect_events(vec![]);
        given(vec![placed(Instant)])
            .when(place(OnApproval))
            .then_expect_error(OrderRejection::AlreadyPlaced);
        given(vec![]).when(deliver()).then_expect_error(OrderRejection::NotPlaced);
    }

    #[test]
    fn what_waits_for_approval_is_not_delivered_before_it() {
        given(vec![placed(OnApproval)])
            .when(deliver())
            .then_expect_error(wrong(OrderStatus::Placed, OrderStatus::Delivered));
        given(vec![placed(OnApproval), approved()])
            .when(deliver())
            .then_expect_events(vec![delivered()]);
        given(vec![placed(Instant)]).when(deliver()).then_expect_events(vec![delivered()]);
    }

    #[test]
    fn only_the_seller_approves() {
        given(vec![placed(OnApproval)])
            .when(OrderCommand::Approve { by: BUYER })
            .then_expect_error(OrderRejection::NotSeller);
        given(vec![placed(OnApproval)])
            .when(OrderCommand::Approve { by: STRANGER })
            .then_expect_error(OrderRejection::NotPlaced);
        given(vec![placed(OnApproval)])
            .when(OrderCommand::Approve { by: SELLER })
            .then_expect_events(vec![approved()]);
        given(vec![placed(Instant)])
            .when(OrderCommand::Approve { by: SELLER })
            .then_expect_error(OrderRejection::NoApprovalNeeded);
    }

    #[test]
    fn only_the_buyer_accepts_and_only_what_was_delivered() {
        let accept = OrderCommand::Accept { by: BUYER };
        given(vec![placed(Instant)])
            .when(accept.clone())
            .then_expect_error(wrong(OrderStatus::Placed, OrderStatus::Accepted));
        given(vec![placed(Instant), delivered()])
            .when(OrderCommand::Accept { by: SELLER })
            .then_expect_error(OrderRejection::NotBuyer);
        given(vec![placed(Instant), delivered()])
            .when(OrderCommand::Accept { by: STRANGER })
            .then_expect_error(OrderRejection::NotPlaced);
        given(vec![placed(Instant), delivered()]).when(accept).then_expect_events(vec![accepted()]);
        given(vec![placed(Instant), delivered()])
            .when(OrderCommand::AcceptInSilence)
            .then_expect_events(vec![accepted()]);
    }

    #[test]
    fn what_is_completed_or_cancelled_stays_so() {
        let whole = vec![placed(Instant), delivered(), accepted()];
        given(whole.clone()).when(OrderCommand::Complete).then_expect_events(vec![completed()]);
        given([whole.clone(), vec![completed()]].concat())
            .when(cancel())
            .then_expect_error(wrong(OrderStatus::Completed, OrderStatus::Cancelled));
        given([whole, vec![cancelled()]].concat())
            .when(OrderCommand::Complete)
            .then_expect_error(wrong(OrderStatus::Cancelled, OrderStatus::Completed));
        given(vec![placed(Instant), cancelled()]).when(cancel()).then_expect_events(vec![]);
        given(vec![placed(Instant), cancelled()])
            .when(deliver())
            .then_expect_error(wrong(OrderStatus::Cancelled, OrderStatus::Delivered));
    }

    #[test]
    fn what_was_approved_and_accepted_can_be_so_again() {
        let approve = OrderCommand::Approve { by: SELLER };
        let accept = OrderCommand::Accept { by: BUYER };
        let mut past =
            vec![placed(OnApproval), OrderApproved { order_id: ORDER }.into(), delivered()];
        given(past.clone()).when(approve.clone()).then_expect_events(vec![]);
        past.extend([accepted(), completed()]);
        given(past.clone()).when(approve).then_expect_events(vec![]);
        given(past).when(accept).then_expect_events(vec![]);
    }

    fn any_command() -> impl Strategy<Value = OrderCommand> {
        prop_oneof![
            Just(place(Instant)),
            Just(place(OnApproval)),
            Just(OrderCommand::Approve { by: SELLER }),
            Just(deliver()),
            Just(OrderCommand::Accept { by: BUYER }),
            Just(OrderCommand::Complete),
            Just(cancel()),
        ]
    }

    proptest! {
        #[test]
        fn an_order_ends_one_way_and_after_delivery_and_acceptance(
            commands in prop::collection::vec(any_command(), 1..40),
        ) {
            let mut order = Order::default();
            let mut past: Vec<OrderEvent> = vec![];
            for command in commands {
                for event in order.decide(command).unwrap_or_default() {
                    let ended = past.iter().any(|event| matches!(
                        event,
                        OrderEvent::OrderCompleted(_) | OrderEvent::OrderCancelled(_)
                    ));
                    prop_assert!(!ended, "{event:?} after {past:?}");
                    prop_assert!(!past.contains(&event), "{event:?} twice");
                    if event == completed() {
                        prop_assert!(past.contains(&delivered()) && past.contains(&accepted()));
                    }
                    order.evolve(event.clone());
                    past.push(event);
                }
            }
        }
    }
}
