//! Listings, orders and money: for their parties.

use async_graphql::{Context, Description, Enum, Object, SimpleObject};
use chrono::{DateTime, Utc};
use event_schemas::commerce as events;
use event_schemas::{ListingId, OrderId};
use projections::postgres::{self, listings, orders};
use uuid::Uuid;

use crate::failure::{Failure, Nullable};
use crate::reader::Reader;
use crate::rows::{HistoryOf, SagaOf};
use crate::schema::audio::Track;
use crate::schema::long::Long;
use crate::schema::operations::SagaInstance;
use crate::schema::user::User;

/// What can be asked about commerce.
#[derive(Default)]
pub struct CommerceQuery;

#[Object]
impl CommerceQuery {
    /// An offer of licences.
    async fn listing(&self, context: &Context<'_>, id: Uuid) -> Nullable<Listing> {
        async {
            let listings = &Reader::of(context).fresh(listings::MODEL).await?.listings;
            Ok(listings.by_id(ListingId(id)).await?.map(Listing))
        }
        .await
        .transpose()
    }

    /// An order, for its buyer, its seller, and who helps with orders.
    async fn order(&self, context: &Context<'_>, id: Uuid) -> Nullable<Order> {
        async {
            let reader = Reader::of(context);
            let orders = &reader.fresh(orders::MODEL).await?.orders;
            let order = orders.by_id(OrderId(id)).await?;
            Ok(order.filter(|order| reader.sees_order(order)).map(Order))
        }
        .await
        .transpose()
    }
}

/// How many may hold a licence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "events::LicenceKind")]
pub enum LicenceKind {
    /// One.
    Exclusive,
    /// Any number.
    NonExclusive,
}

/// When an order is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "events::DeliveryMode")]
pub enum DeliveryMode {
    /// At once.
    Instant,
    /// When the seller approves.
    OnApproval,
}

/// Whether a licence can be bought.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "listings::ListingStatus")]
pub enum ListingStatus {
    /// It can.
    Open,
    /// The track's exclusive licence is kept for an order.
    Reserved,
    /// The track's exclusive licence is sold.
    Sold,
    /// The seller took the offer back.
    Withdrawn,
    /// The track's master was taken down, so nothing could be delivered.
    TakenDown,
}

/// Where an order stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "orders::OrderStatus")]
pub enum OrderStatus {
    /// Ordered.
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

/// Where the money between buyer and seller is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "orders::EscrowStatus")]
pub enum EscrowStatus {
    /// There is none yet.
    None,
    /// Promised to the seller.
    Held,
    /// The seller's.
    Released,
    /// The buyer's again.
    Refunded,
}

/// What the payment gateway has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "orders::PaymentStatus")]
pub enum PaymentStatus {
    /// Nothing yet.
    None,
    /// It keeps the amount ready.
    Authorised,
    /// It refused.
    Declined,
    /// It took the amount.
    Captured,
    /// It no longer keeps the amount.
    Voided,
}

/// An amount of a currency.
#[derive(SimpleObject)]
pub struct Money {
    /// How much, in minor units such as cents.
    amount_minor: Long,
    /// The currency, as ISO 4217 writes it.
    currency: String,
}

impl From<event_schemas::Money> for Money {
    fn from(money: event_schemas::Money) -> Self {
        let amount_minor = Long(money.amount_minor);
        Self { amount_minor, currency: money.currency.to_string() }
    }
}

/// An offer of licences.
#[derive(Description)]
pub struct Listing(pub postgres::Listing);

#[Object(use_type_description)]
impl Listing {
    /// Which listing.
    async fn id(&self) -> Uuid {
        self.0.listing_id.0
    }

    /// Of which track.
    async fn track(&self, context: &Context<'_>) -> Nullable<Track> {
        let track = Reader::of(context).track(self.0.track_id).await.transpose()?;
        Some(track.map(Track))
    }

    /// Who sells.
    async fn seller(&self, context: &Context<'_>) -> Result<User, Failure> {
        Ok(User(Reader::of(context).person(self.0.seller_id).await?))
    }

    /// How many may hold one.
    async fn kind(&self) -> LicenceKind {
        self.0.kind.into()
    }

    /// When an order is delivered.
    async fn delivery(&self) -> DeliveryMode {
        self.0.delivery.into()
    }

    /// What one costs.
    async fn price(&self) -> Money {
        self.0.price.into()
    }

    /// Whether it can be bought.
    async fn status(&self) -> ListingStatus {
        self.0.status.into()
    }

    /// How many were sold.
    async fn sold(&self) -> i32 {
        i32::try_from(self.0.sold).unwrap_or(i32::MAX)
    }
}

/// An order, as its parties see it.
#[derive(Description)]
pub struct Order(pub postgres::Order);

#[Object(use_type_description)]
impl Order {
    /// Which order.
    async fn id(&self) -> Uuid {
        self.0.order_id.0
    }

    /// From which listing.
    async fn listing(&self, context: &Context<'_>) -> Nullable<Listing> {
        Reader::of(context).listing(self.0.listing_id).await.transpose()
    }

    /// Of which track.
    async fn track(&self, context: &Context<'_>) -> Nullable<Track> {
        let track = Reader::of(context).track(self.0.track_id).await.transpose()?;
        Some(track.map(Track))
    }

    /// Who buys.
    async fn buyer(&self, context: &Context<'_>) -> Result<User, Failure> {
        Ok(User(Reader::of(context).person(self.0.buyer_id).await?))
    }

    /// Who sells.
    async fn seller(&self, context: &Context<'_>) -> Result<User, Failure> {
        Ok(User(Reader::of(context).person(self.0.seller_id).await?))
    }

    /// What it costs.
    async fn price(&self) -> Money {
        self.0.price.into()
    }

    /// When it is delivered.
    async fn delivery(&self) -> DeliveryMode {
        self.0.delivery.into()
    }

    /// Where it stands.
    async fn status(&self) -> OrderStatus {
        self.0.status.into()
    }

    /// Where its money is.
    async fn escrow(&self) -> EscrowStatus {
        self.0.escrow.into()
    }

    /// What the payment gateway has done.
    async fn payment(&self) -> PaymentStatus {
        self.0.payment.into()
    }

    /// Why it came to nothing, when it did.
    async fn reason(&self) -> Option<&str> {
        self.0.reason.as_deref()
    }

    /// When it was placed, as recorded: orders are listed by it.
    async fn placed_at(&self) -> DateTime<Utc> {
        self.0.placed_at
    }

    /// Where the buyer fetches the master, as a path, once it is delivered and paid: for the buyer
    /// alone.
    async fn master_url(&self, context: &Context<'_>) -> Option<String> {
        let is_theirs = Reader::of(context).is_viewer(self.0.buyer_id);
        let is_there = bought_object_key(&self.0).is_some();
        (is_there && is_theirs).then(|| format!("/media/orders/{}/master", self.0.order_id))
    }

    /// What happened to it, its escrow and its payment, in order.
    async fn history(&self, context: &Context<'_>) -> Result<Vec<OrderHistoryEntry>, Failure> {
        let as_of = HistoryOf(self.0.order_id, self.0.changed_at);
        let history = Reader::of(context).rows.load_one(as_of).await?;
        Ok(history.unwrap_or_default().into_iter().map(OrderHistoryEntry::from).collect())
    }

    /// The saga that sees it through.
    async fn saga(&self, context: &Context<'_>) -> Nullable<SagaInstance> {
        let subject = SagaOf(self.0.order_id.to_string());
        let saga = Reader::of(context).rows.load_one(subject).await.transpose()?;
        Some(saga.map(SagaInstance))
    }
}

/// What was bought, among the objects. It is delivered before the amount is taken, so that nobody
/// pays for what can't be delivered; it is handed out only after, and not when the order came to
/// nothing.
pub fn bought_object_key(order: &postgres::Order) -> Option<&str> {
    let is_paid = order.payment == orders::PaymentStatus::Captured;
    let is_bought = is_paid && order.status != orders::OrderStatus::Cancelled;
    order.delivered_object_key.as_deref().filter(|_| is_bought)
}

/// Something that happened to an order.
#[derive(SimpleObject)]
pub struct OrderHistoryEntry {
    /// Its place among all that happens.
    position: String,
    /// When, as recorded.
    at: DateTime<Utc>,
    /// What: the event's type.
    what: String,
    /// Why, where that was told.
    reason: Option<String>,
}

impl From<postgres::OrderHistoryEntry> for OrderHistoryEntry {
    fn from(entry: postgres::OrderHistoryEntry) -> Self {
        let postgres::OrderHistoryEntry { position, at, what, reason } = entry;
        Self { position: position.to_string(), at, what, reason }
    }
}

/// One's money in one currency, in minor units of it.
#[derive(SimpleObject)]
pub struct Balance {
    /// The currency, as ISO 4217 writes it.
    currency: String,
    /// As a buyer: what the gateway keeps ready.
    authorised_minor: Long,
    /// As a buyer: what the gateway took.
    charged_minor: Long,
    /// As a seller: what is promised.
    held_minor: Long,
    /// As a seller: what has arrived.
    available_minor: Long,
}

impl From<postgres::Balance> for Balance {
    fn from(balance: postgres::Balance) -> Self {
        Self {
            currency: balance.currency.to_string(),
            authorised_minor: Long(balance.authorised_minor),
            charged_minor: Long(balance.charged_minor),
            held_minor: Long(balance.held_minor),
            available_minor: Long(balance.available_minor),
        }
    }
}

/// Something that changed one's money.
#[derive(SimpleObject)]
pub struct BalanceChange {
    /// Its place among all that happens.
    position: String,
    /// When, as recorded.
    at: DateTime<Utc>,
    /// What: the event's type.
    what: String,
    /// Of which order.
    order_id: Uuid,
    /// One's money in that currency, with it.
    balance: Balance,
}

impl From<postgres::BalanceChange> for BalanceChange {
    fn from(change: postgres::BalanceChange) -> Self {
        let postgres::BalanceChange { position, at, what, order_id, balance } = change;
        let (position, order_id) = (position.to_string(), order_id.0);
        Self { position, at, what, order_id, balance: balance.into() }
    }
}
