//! Orders: where each stands, with its escrow and its payment, and how it came there.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use event_schemas::commerce::{DeliveryMode, EscrowEvent, OrderEvent, PaymentEvent};
use event_schemas::{ListingId, Money, OrderId, TrackId, UserId};
use event_store::Position;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row, query};
use uuid::Uuid;

use crate::envelope::{Envelope, Event, position_from_column};
use crate::page::{Cursor, Page, PageSize, page};
use crate::postgres::columns::{money, stored_enum};
use crate::postgres::{bigint, id_of_stream, projection, queries};
use crate::projection::{ApplyError, ModelId};
use crate::query_error::QueryError;

/// This model.
pub const MODEL: ModelId = ModelId { name: "orders", version: 2 };

const TABLES: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS orders (
        order_id uuid PRIMARY KEY,
        listing_id uuid NOT NULL,
        track_id uuid NOT NULL,
        buyer_id uuid NOT NULL,
        seller_id uuid NOT NULL,
        price_minor bigint NOT NULL,
        currency text NOT NULL,
        on_approval boolean NOT NULL,
        status text NOT NULL,
        escrow text NOT NULL DEFAULT 'none',
        payment text NOT NULL DEFAULT 'none',
        delivered_object_key text,
        reason text,
        placed_at timestamptz NOT NULL,
        position bigint NOT NULL
    )",
    "CREATE INDEX IF NOT EXISTS orders_by_buyer ON orders (buyer_id, position DESC)",
    "CREATE INDEX IF NOT EXISTS orders_by_seller ON orders (seller_id, position DESC)",
    "CREATE TABLE IF NOT EXISTS history (
        order_id uuid NOT NULL,
        position bigint NOT NULL,
        at timestamptz NOT NULL,
        what text NOT NULL,
        reason text,
        PRIMARY KEY (order_id, position)
    )",
];

/// Orders, each with the position of what happened to it last. One statement reads both, so that
/// they are of one moment.
macro_rules! select_orders {
    ($which:literal) => {
        concat!(
            "SELECT o.*, (SELECT max(h.position) FROM orders_v2.history h
                          WHERE h.order_id = o.order_id) AS changed_at
             FROM orders_v2.orders o ",
            $which
        )
    };
}

/// Fills the model.
pub struct OrdersProjection;

projection!(OrdersProjection, MODEL, ["order", "escrow", "payment"], TABLES, id_of_stream);

/// What an event changes of an order that is there; `None` leaves as it is.
#[derive(Default)]
struct Change<'a> {
    status: Option<OrderStatus>,
    escrow: Option<EscrowStatus>,
    payment: Option<PaymentStatus>,
    object_key: Option<&'a str>,
    reason: Option<&'a str>,
}

impl OrdersProjection {
    async fn one(&self, to: &mut PgConnection, envelope: &Envelope) -> Result<(), ApplyError> {
        let Some((order, change)) = change(&envelope.event) else {
            return Ok(());
        };
        if let Event::Order(OrderEvent::OrderPlaced(event)) = &envelope.event {
            query(
                "INSERT INTO orders (order_id, listing_id, track_id, buyer_id, seller_id,
                     price_minor, currency, on_approval, status, placed_at, position)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'placed', $9, $10)",
            )
            .bind(order.0)
            .bind(event.listing_id.0)
            .bind(event.track_id.0)
            .bind(event.buyer_id.0)
            .bind(event.seller_id.0)
            .bind(bigint(event.price.amount_minor)?)
            .bind(event.price.currency.to_string())
            .bind(event.delivery == DeliveryMode::OnApproval)
            .bind(envelope.recorded_at())
            .bind(envelope.position_column())
            .execute(&mut *to)
            .await?;
        } else {
            query(
                "UPDATE orders SET status = coalesce($2, status), escrow = coalesce($3, escrow),
                     payment = coalesce($4, payment), reason = coalesce($6, reason),
                     delivered_object_key = coalesce($5, delivered_object_key)
                 WHERE order_id = $1",
            )
            .bind(order.0)
            .bind(change.status.map(OrderStatus::as_str))
            .bind(change.escrow.map(EscrowStatus::as_str))
            .bind(change.payment.map(PaymentStatus::as_str))
            .bind(change.object_key)
            .bind(change.reason)
            .execute(&mut *to)
            .await?;
        }
        query(
            "INSERT INTO history (order_id, position, at, what, reason)
             VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(order.0)
        .bind(envelope.position_column())
        .bind(envelope.recorded_at())
        .bind(envelope.recorded.event_type.as_str())
        .bind(change.reason)
        .execute(to)
        .await?;
        Ok(())
    }
}

fn change(event: &Event) -> Option<(OrderId, Change<'_>)> {
    Some(match event {
        Event::Order(event) => of_order(event),
        Event::Escrow(event) => of_escrow(event),
        Event::Payment(event) => of_payment(event),
        _ => return None,
    })
}

fn of_order(event: &OrderEvent) -> (OrderId, Change<'_>) {
    let to = |status| Change { status: Some(status), ..Change::default() };
    match event {
        OrderEvent::OrderPlaced(event) => (event.order_id, to(OrderStatus::Placed)),
        OrderEvent::OrderApproved(event) => (event.order_id, to(OrderStatus::Approved)),
        OrderEvent::OrderDelivered(event) => {
            let change = to(OrderStatus::Delivered);
            (event.order_id, Change { object_key: Some(&event.object_key), ..change })
        }
        OrderEvent::OrderAccepted(event) => (event.order_id, to(OrderStatus::Accepted)),
        OrderEvent::OrderCompleted(event) => (event.order_id, to(OrderStatus::Completed)),
        OrderEvent::OrderCancelled(event) => {
            let change = to(OrderStatus::Cancelled);
            (event.order_id, Change { reason: Some(&event.reason), ..change })
        }
    }
}

fn of_escrow(event: &EscrowEvent) -> (OrderId, Change<'_>) {
    let to = |escrow| Change { escrow: Some(escrow), ..Change::default() };
    match event {
        EscrowEvent::EscrowHeld(event) => (event.order_id, to(EscrowStatus::Held)),
        EscrowEvent::EscrowReleased(event) => (event.order_id, to(EscrowStatus::Released)),
        EscrowEvent::EscrowRefunded(event) => {
            let change = to(EscrowStatus::Refunded);
            (event.order_id, Change { reason: Some(&event.reason), ..change })
        }
    }
}

fn of_payment(event: &PaymentEvent) -> (OrderId, Change<'_>) {
    let to = |payment| Change { payment: Some(payment), ..Change::default() };
    match event {
        PaymentEvent::PaymentAuthorised(event) => (event.order_id, to(PaymentStatus::Authorised)),
        PaymentEvent::PaymentDeclined(event) => {
            let change = to(PaymentStatus::Declined);
            (event.order_id, Change { reason: Some(&event.reason), ..change })
        }
        PaymentEvent::PaymentCaptured(event) => (event.order_id, to(PaymentStatus::Captured)),
        PaymentEvent::PaymentVoided(event) => {
            let change = to(PaymentStatus::Voided);
            (event.order_id, Change { reason: Some(&event.reason), ..change })
        }
    }
}

stored_enum! {
    /// Where an order stands.
    OrderStatus {
        /// Ordered.
        Placed = "placed",
        /// The seller wants it delivered.
        Approved = "approved",
        /// The buyer can fetch it.
        Delivered = "delivered",
        /// The buyer is content.
        Accepted = "accepted",
        /// Everybody has what is theirs.
        Completed = "completed",
        /// It came to nothing.
        Cancelled = "cancelled",
    }
}

stored_enum! {
    /// Where the money between buyer and seller is.
    EscrowStatus {
        /// There is none yet.
        None = "none",
        /// Promised to the seller.
        Held = "held",
        /// The seller's.
        Released = "released",
        /// The buyer's again.
        Refunded = "refunded",
    }
}

stored_enum! {
    /// What the payment gateway has done.
    PaymentStatus {
        /// Nothing yet.
        None = "none",
        /// It keeps the amount ready.
        Authorised = "authorised",
        /// It refused.
        Declined = "declined",
        /// It took the amount.
        Captured = "captured",
        /// It no longer keeps the amount.
        Voided = "voided",
    }
}

/// An order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Which order.
    pub order_id: OrderId,
    /// From which listing.
    pub listing_id: ListingId,
    /// Of which track.
    pub track_id: TrackId,
    /// Who buys.
    pub buyer_id: UserId,
    /// Who sells.
    pub seller_id: UserId,
    /// What it costs.
    pub price: Money,
    /// When it is delivered.
    pub delivery: DeliveryMode,
    /// Where it stands.
    pub status: OrderStatus,
    /// Where its money is.
    pub escrow: EscrowStatus,
    /// What the gateway has done.
    pub payment: PaymentStatus,
    /// What was delivered, among the objects.
    pub delivered_object_key: Option<String>,
    /// Why it came to nothing, when it did.
    pub reason: Option<String>,
    /// When it was placed, as recorded.
    pub placed_at: DateTime<Utc>,
    /// Where in the log the event is that changed it last: all of this is as of then.
    pub changed_at: Position,
}

impl Order {
    /// Which order an event is about, where it is about one.
    pub fn of(event: &Event) -> Option<OrderId> {
        change(event).map(|(order, _)| order)
    }

    /// Changes as the model would for the next event about this order.
    pub fn apply(&mut self, envelope: &Envelope) {
        let Some((order, change)) = change(&envelope.event) else {
            return;
        };
        if order != self.order_id {
            return;
        }
        self.changed_at = envelope.position();
        self.status = change.status.unwrap_or(self.status);
        self.escrow = change.escrow.unwrap_or(self.escrow);
        self.payment = change.payment.unwrap_or(self.payment);
        let text = |new: Option<&str>, old: &mut Option<String>| {
            if let Some(new) = new {
                *old = Some(new.to_owned());
            }
        };
        text(change.object_key, &mut self.delivered_object_key);
        text(change.reason, &mut self.reason);
    }
}

/// Something that happened to an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderHistoryEntry {
    /// Where its event is in the log.
    pub position: Position,
    /// When, as recorded.
    pub at: DateTime<Utc>,
    /// What: the event's type.
    pub what: String,
    /// Why, where that was told.
    pub reason: Option<String>,
}

queries! {
    /// Queries over orders.
    Orders
}

impl Orders {
    /// The order with this id.
    pub async fn by_id(&self, order: OrderId) -> Result<Option<Order>, QueryError> {
        let row = query(select_orders!("WHERE o.order_id = $1"))
            .bind(order.0)
            .fetch_optional(&self.pool)
            .await?;
        row.as_ref().map(read_order).transpose()
    }

    /// What happened to several orders, each in the log's order.
    pub async fn histories(
        &self,
        orders: &[OrderId],
    ) -> Result<HashMap<OrderId, Vec<OrderHistoryEntry>>, QueryError> {
        let ids: Vec<Uuid> = orders.iter().map(|order| order.0).collect();
        let rows =
            query("SELECT * FROM orders_v2.history WHERE order_id = ANY ($1) ORDER BY position")
                .bind(ids)
                .fetch_all(&self.pool)
                .await?;
        let mut histories: HashMap<OrderId, Vec<OrderHistoryEntry>> = HashMap::new();
        for row in &rows {
            let order = OrderId(row.try_get("order_id")?);
            histories.entry(order).or_default().push(read_entry(row)?);
        }
        Ok(histories)
    }

    /// What somebody bought, newest first.
    pub async fn of_buyer(
        &self,
        buyer: UserId,
        after: Option<Cursor>,
        size: PageSize,
    ) -> Result<Page<Order>, QueryError> {
        let sql = select_orders!(
            "WHERE o.buyer_id = $1 AND o.position < $2 ORDER BY o.position DESC LIMIT $3"
        );
        page(&self.pool, sql, buyer.0, (after, size), read_order).await
    }

    /// What somebody sold, newest first.
    pub async fn of_seller(
        &self,
        seller: UserId,
        after: Option<Cursor>,
        size: PageSize,
    ) -> Result<Page<Order>, QueryError> {
        let sql = select_orders!(
            "WHERE o.seller_id = $1 AND o.position < $2 ORDER BY o.position DESC LIMIT $3"
        );
        page(&self.pool, sql, seller.0, (after, size), read_order).await
    }
}

fn read_entry(row: &PgRow) -> Result<OrderHistoryEntry, QueryError> {
    Ok(OrderHistoryEntry {
        position: position_from_column(row.try_get("position")?),
        at: row.try_get("at")?,
        what: row.try_get("what")?,
        reason: row.try_get("reason")?,
    })
}

fn read_order(row: &PgRow) -> Result<Order, QueryError> {
    let on_approval: bool = row.try_get("on_approval")?;
    Ok(Order {
        order_id: OrderId(row.try_get("order_id")?),
        listing_id: ListingId(row.try_get("listing_id")?),
        track_id: TrackId(row.try_get("track_id")?),
        buyer_id: UserId(row.try_get("buyer_id")?),
        seller_id: UserId(row.try_get("seller_id")?),
        price: money(row, "price_minor", "currency")?,
        delivery: if on_approval { DeliveryMode::OnApproval } else { DeliveryMode::Instant },
        status: OrderStatus::read(row, "status")?,
        escrow: EscrowStatus::read(row, "escrow")?,
        payment: PaymentStatus::read(row, "payment")?,
        delivered_object_key: row.try_get("delivered_object_key")?,
        reason: row.try_get("reason")?,
        placed_at: row.try_get("placed_at")?,
        changed_at: position_from_column(row.try_get("changed_at")?),
    })
}
