//! A purchase in the models of listings, orders and balances, when it goes well and when not.

use chrono::{TimeDelta, Utc};
use event_schemas::commerce::*;
use event_schemas::*;
use event_store::Position;
use projections::Cursor;
use projections::postgres::OrderHistoryEntry;
use projections::postgres::balances::Balance;
use projections::postgres::listings::ListingStatus;
use projections::postgres::orders::{EscrowStatus, OrderStatus, PaymentStatus};
use uuid::Uuid;

use crate::models::{Stage, size, user};

const PRICE: Money = Money::new(4_900, Currency::EUR);

/// A purchase as events put it down.
struct Purchase<'a> {
    stage: &'a Stage,
    listing_id: ListingId,
    track_id: TrackId,
    order_id: OrderId,
    buyer_id: UserId,
    seller_id: UserId,
}

impl<'a> Purchase<'a> {
    fn listed(stage: &'a Stage) -> Self {
        let (listing_id, order_id) = (ListingId(Uuid::new_v4()), OrderId(Uuid::new_v4()));
        let (buyer_id, seller_id, track_id) = (user(), user(), TrackId(Uuid::new_v4()));
        let listed = LicenceListed {
            listing_id,
            track_id,
            seller_id,
            kind: LicenceKind::Exclusive,
            price: PRICE,
            delivery: DeliveryMode::Instant,
        };
        stage.store.put::<ListingEvent>(listing_id, listed);
        Self { stage, listing_id, track_id, order_id, buyer_id, seller_id }
    }

    /// Another licence of the same track, which is not exclusive.
    fn listed_beside(&self) -> ListingId {
        let listing_id = ListingId(Uuid::new_v4());
        let listed = LicenceListed {
            listing_id,
            track_id: self.track_id,
            seller_id: self.seller_id,
            kind: LicenceKind::NonExclusive,
            price: PRICE,
            delivery: DeliveryMode::Instant,
        };
        self.stage.store.put::<ListingEvent>(listing_id, listed);
        listing_id
    }

    fn place(&self) {
        let track_id = self.track_id;
        let (listing_id, order_id) = (self.listing_id, self.order_id);
        let (buyer_id, seller_id, price) = (self.buyer_id, self.seller_id, PRICE);
        let (payment_method, delivery) = ("card".to_owned(), DeliveryMode::Instant);
        let reserved = LicenceReserved {
            listing_id,
            order_id,
            buyer_id,
            payment_method: payment_method.clone(),
            track_id,
            seller_id,
            price,
            delivery,
        };
        self.stage.store.put::<ListingEvent>(listing_id, reserved);
        let placed = OrderPlaced {
            order_id,
            listing_id,
            track_id,
            buyer_id,
            seller_id,
            price,
            payment_method,
            delivery,
        };
        // Asked for long before: what is shown is when it was recorded.
        let asked = Utc::now() - TimeDelta::hours(1);
        self.stage.store.put_at::<OrderEvent>(self.order_id, placed, asked);
    }

    fn order(&self, event: impl Into<OrderEvent>) -> Position {
        self.stage.store.put::<OrderEvent>(self.order_id, event)
    }

    fn authorise_and_hold(&self) {
        let (order_id, buyer_id, amount) = (self.order_id, self.buyer_id, PRICE);
        let gateway_reference = "g-1".to_owned();
        let paid = PaymentAuthorised { order_id, buyer_id, amount, gateway_reference };
        self.stage.store.put::<PaymentEvent>(order_id, paid);
        let seller_id = self.seller_id;
        let held = EscrowHeld { order_id, buyer_id, seller_id, amount };
        self.stage.store.put::<EscrowEvent>(order_id, held);
    }

    async fn stands(&self) -> (OrderStatus, EscrowStatus, PaymentStatus) {
        self.stage.caught_up().await;
        let order = self.stage.models.orders.by_id(self.order_id).await;
        let order = order.expect("it is read").expect("it is there");
        (order.status, order.escrow, order.payment)
    }

    /// Authorised and charged of the buyer, held and available of the seller.
    async fn money(&self) -> [u64; 4] {
        self.stage.caught_up().await;
        let mut sums = [0; 4];
        for user in [self.buyer_id, self.seller_id] {
            let balances = self.stage.models.balances.of_user(user).await.expect("they are read");
            for balance in &balances.balances {
                sums.iter_mut().zip(amounts(balance)).for_each(|(sum, add)| *sum += add);
            }
        }
        sums
    }

    /// What changed somebody's money, and what it was with that; in the log's order.
    async fn statement(&self, user: UserId) -> Vec<(String, [u64; 4])> {
        let balances = &self.stage.models.balances;
        let (mut statement, mut after) = (Vec::new(), None);
        let now = balances.of_user(user).await.expect("they are read");
        let last = now.changed_at.expect("something changed them");
        loop {
            let page = balances.changes(user, last, after, size(1)).await.expect("they are read");
            after = page.next();
            for change in page.into_rows() {
                assert_eq!(change.order_id, self.order_id);
                assert_eq!(
                    (change.balance.user_id, change.balance.currency),
                    (user, Currency::EUR)
                );
                statement.push((change.what, amounts(&change.balance)));
            }
            if after.is_none() {
                statement.reverse();
                return statement;
            }
        }
    }

    async fn history(&self) -> Vec<OrderHistoryEntry> {
        let histories = self.stage.models.orders.histories(&[self.order_id]).await;
        histories.expect("they are read").remove(&self.order_id).expect("there is a history")
    }

    async fn status_of(&self, listing: ListingId) -> ListingStatus {
        self.stage.caught_up().await;
        let listing = self.stage.models.listings.by_id(listing).await;
        listing.expect("it is read").expect("it is there").status
    }

    async fn listing(&self) -> ListingStatus {
        self.status_of(self.listing_id).await
    }
}

fn amounts(balance: &Balance) -> [u64; 4] {
    let Balance { authorised_minor, charged_minor, held_minor, available_minor, .. } = *balance;
    [authorised_minor, charged_minor, held_minor, available_minor]
}

/// A statement of a test.
fn told<const N: usize>(changes: [(&str, [u64; 4]); N]) -> Vec<(String, [u64; 4])> {
    changes.map(|(what, balance)| (what.to_owned(), balance)).to_vec()
}

#[tokio::test]
async fn a_purchase_reads_right_at_every_step() {
    let stage = Stage::new().await;
    let began = Utc::now() - TimeDelta::minutes(1);
    let purchase = Purchase::listed(&stage);
    let (order_id, listing_id, buyer_id) =
        (purchase.order_id, purchase.listing_id, purchase.buyer_id);
    assert_eq!(purchase.listing().await, ListingStatus::Open);
    let beside = purchase.listed_beside();
    purchase.place();
    assert_eq!(purchase.listing().await, ListingStatus::Reserved);
    let others = [beside, purchase.listed_beside()];
    for other in others {
        assert_eq!(purchase.status_of(other).await, ListingStatus::Reserved, "nor can another");
    }
    let placed = (OrderStatus::Placed, EscrowStatus::None, PaymentStatus::None);
    assert_eq!(purchase.stands().await, placed);
    purchase.authorise_and_hold();
    let held = (OrderStatus::Placed, EscrowStatus::Held, PaymentStatus::Authorised);
    assert_eq!(purchase.stands().await, held);
    assert_eq!(purchase.money().await, [4_900, 0, 4_900, 0]);
    let object_key = "masters/one".to_owned();
    let delivered = purchase.order(OrderDelivered { order_id, object_key });
    stage.store.put::<PaymentEvent>(order_id, PaymentCaptured { order_id });
    assert_eq!(purchase.money().await, [0, 4_900, 4_900, 0]);
    stage.store.put::<EscrowEvent>(order_id, EscrowReleased { order_id });
    stage.store.put::<ListingEvent>(listing_id, LicenceSold { listing_id, order_id, buyer_id });
    purchase.order(OrderCompleted { order_id });
    let done = (OrderStatus::Completed, EscrowStatus::Released, PaymentStatus::Captured);
    assert_eq!(purchase.stands().await, done);
    assert_eq!(purchase.money().await, [0, 4_900, 0, 4_900]);
    let paid =
        told([("PaymentAuthorised", [4_900, 0, 0, 0]), ("PaymentCaptured", [0, 4_900, 0, 0])]);
    assert_eq!(purchase.statement(buyer_id).await, paid);
    let earned = told([("EscrowHeld", [0, 0, 4_900, 0]), ("EscrowReleased", [0, 0, 0, 4_900])]);
    assert_eq!(purchase.statement(purchase.seller_id).await, earned);
    assert_eq!(purchase.listing().await, ListingStatus::Sold);
    // As former releases had it.
    stage.store.put::<ListingEvent>(listing_id, ListingWithdrawn { listing_id });
    assert_eq!(purchase.listing().await, ListingStatus::Sold, "what is sold stays so");
    let other = stage.models.listings.by_id(beside).await.expect("it is read");
    let other = other.expect("it is there");
    assert_eq!((other.status, other.sold), (ListingStatus::Sold, 0), "the track is sold out");
    let history = purchase.history().await;
    assert_eq!(history.len(), 7);
    assert!(history.is_sorted_by_key(|entry| entry.at) && history[0].at >= began, "{history:?}");
    assert_eq!((history[3].position, history[3].what.as_str()), (delivered, "OrderDelivered"));
    let orders = &stage.models.orders;
    let bought = orders.of_buyer(buyer_id, None, size(10)).await.expect("they are read");
    let sold = orders.of_seller(purchase.seller_id, None, size(10)).await.expect("they are read");
    assert_eq!(bought, sold);
    assert_eq!(bought.rows[0].1.placed_at, history[0].at);
    assert_eq!(bought.rows[0].1.changed_at, history[6].position);
    assert_eq!(bought.into_rows()[0].delivered_object_key.as_deref(), Some("masters/one"));
    stage.end().await;
}

#[tokio::test]
async fn an_order_that_comes_to_nothing_leaves_no_money_behind() {
    let stage = Stage::new().await;
    let purchase = Purchase::listed(&stage);
    let (order_id, listing_id) = (purchase.order_id, purchase.listing_id);
    let beside = purchase.listed_beside();
    purchase.place();
    purchase.authorise_and_hold();
    assert_eq!(purchase.status_of(beside).await, ListingStatus::Reserved);
    let reason = || "the master was taken down".to_owned();
    stage.store.put::<EscrowEvent>(order_id, EscrowRefunded { order_id, reason: reason() });
    stage.store.put::<PaymentEvent>(order_id, PaymentVoided { order_id, reason: reason() });
    let released = LicenceReservationReleased { listing_id, order_id, reason: reason() };
    stage.store.put::<ListingEvent>(listing_id, released);
    purchase.order(OrderCancelled { order_id, reason: reason() });
    assert_eq!(purchase.status_of(beside).await, ListingStatus::Open, "it can be bought again");
    let nothing = (OrderStatus::Cancelled, EscrowStatus::Refunded, PaymentStatus::Voided);
    assert_eq!(purchase.stands().await, nothing);
    assert_eq!(purchase.money().await, [0; 4]);
    let voided = told([("PaymentAuthorised", [4_900, 0, 0, 0]), ("PaymentVoided", [0; 4])]);
    assert_eq!(purchase.statement(purchase.buyer_id).await, voided);
    let refunded = told([("EscrowHeld", [0, 0, 4_900, 0]), ("EscrowRefunded", [0; 4])]);
    assert_eq!(purchase.statement(purchase.seller_id).await, refunded);
    assert_eq!(purchase.listing().await, ListingStatus::Open);
    let history = purchase.history().await;
    let last = history.last().expect("there is a history");
    assert_eq!((last.what.as_str(), last.reason.clone()), ("OrderCancelled", Some(reason())));
    stage.end().await;
}

#[tokio::test]
async fn a_statement_is_not_ahead_of_the_balances_that_it_is_read_for() {
    let stage = Stage::new().await;
    let purchase = Purchase::listed(&stage);
    let (order_id, seller_id) = (purchase.order_id, purchase.seller_id);
    purchase.place();
    let balances = &stage.models.balances;
    stage.caught_up().await;
    let none = balances.of_user(seller_id).await.expect("they are read");
    assert_eq!((none.balances.len(), none.changed_at), (0, None));
    purchase.authorise_and_hold();
    stage.caught_up().await;
    let before = balances.of_user(seller_id).await.expect("they are read");
    let last = before.changed_at.expect("they have changed");
    stage.store.put::<EscrowEvent>(order_id, EscrowReleased { order_id });
    stage.caught_up().await;
    for after in [None, Some(Cursor::behind(Position::new(last.get() + 100)))] {
        let page = balances.changes(seller_id, last, after, size(10)).await.expect("it is read");
        let told: Vec<_> = page.into_rows().into_iter().map(|change| change.balance).collect();
        assert_eq!(told, before.balances);
    }
    let older = Some(Cursor::behind(last));
    let page = balances.changes(seller_id, last, older, size(10)).await.expect("it is read");
    assert!(page.rows.is_empty(), "{page:?}");
    stage.end().await;
}
