//! Events of the commerce domain.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::family::event_family;
use crate::ids::{ListingId, OrderId, TrackId, UserId};
use crate::money::Money;

event_family! {
    /// What happens to an offer of licences; streams `listing-<id>`.
    ListingEvent in "listing":
        LicenceListed v 1,
        LicenceReserved v 1,
        LicenceReservationReleased v 1,
        LicenceSold v 1,
        ListingWithdrawn v 1,
}

event_family! {
    /// What happens to an order; streams `order-<id>`.
    OrderEvent in "order":
        OrderPlaced v 1,
        OrderApproved v 1,
        OrderDelivered v 1,
        OrderAccepted v 1,
        OrderCompleted v 1,
        OrderCancelled v 1,
}

event_family! {
    /// What happens to the money held between buyer and seller; streams `escrow-<order id>`.
    EscrowEvent in "escrow":
        EscrowHeld v 1,
        EscrowReleased v 1,
        EscrowRefunded v 1,
}

event_family! {
    /// What the payment gateway has done for an order; streams `payment-<order id>`.
    PaymentEvent in "payment":
        PaymentAuthorised v 1,
        PaymentDeclined v 1,
        PaymentCaptured v 1,
        PaymentVoided v 1,
}

/// How many may hold a licence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LicenceKind {
    /// One buyer, once.
    Exclusive,
    /// Any number of buyers.
    NonExclusive,
}

/// When an order is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryMode {
    /// As soon as the money is held.
    Instant,
    /// When the seller has approved the order.
    OnApproval,
}

/// A musician offers licences of a track.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LicenceListed {
    /// Which listing.
    pub listing_id: ListingId,
    /// Of which track.
    pub track_id: TrackId,
    /// Who sells.
    pub seller_id: UserId,
    /// How many may hold it.
    pub kind: LicenceKind,
    /// What one costs.
    pub price: Money,
    /// When an order is delivered.
    pub delivery: DeliveryMode,
}

/// A buyer has a licence kept for their order. This begins the purchase.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LicenceReserved {
    /// Which listing.
    pub listing_id: ListingId,
    /// For which order.
    pub order_id: OrderId,
    /// Who buys.
    pub buyer_id: UserId,
    /// How they pay, as the payment gateway names it.
    pub payment_method: String,
    /// Of which track, as listed.
    pub track_id: TrackId,
    /// Who sells, as listed.
    pub seller_id: UserId,
    /// What it costs, as listed.
    pub price: Money,
    /// When it is delivered, as listed.
    pub delivery: DeliveryMode,
}

/// The order came to nothing; the licence can be bought again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LicenceReservationReleased {
    /// Which listing.
    pub listing_id: ListingId,
    /// For which order it was kept.
    pub order_id: OrderId,
    /// Why.
    pub reason: String,
}

/// The order went through; an exclusive licence is gone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LicenceSold {
    /// Which listing.
    pub listing_id: ListingId,
    /// By which order.
    pub order_id: OrderId,
    /// To whom.
    pub buyer_id: UserId,
}

/// The seller takes the offer back; orders under way go on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ListingWithdrawn {
    /// Which listing.
    pub listing_id: ListingId,
}

/// A buyer ordered a licence, on the terms of that moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderPlaced {
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
    /// How the buyer pays, as the payment gateway names it.
    pub payment_method: String,
    /// When it is delivered.
    pub delivery: DeliveryMode,
}

/// The seller wants the order delivered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderApproved {
    /// Which order.
    pub order_id: OrderId,
}

/// The buyer can fetch what they bought.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderDelivered {
    /// Which order.
    pub order_id: OrderId,
    /// The master among the objects.
    pub object_key: String,
}

/// The buyer is content, or did not say otherwise in time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderAccepted {
    /// Which order.
    pub order_id: OrderId,
}

/// Everybody has what is theirs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderCompleted {
    /// Which order.
    pub order_id: OrderId,
}

/// The order came to nothing, and nobody was charged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderCancelled {
    /// Which order.
    pub order_id: OrderId,
    /// Why.
    pub reason: String,
}

/// The buyer's money is promised to the seller, and neither has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EscrowHeld {
    /// For which order.
    pub order_id: OrderId,
    /// Whose money it is.
    pub buyer_id: UserId,
    /// Whose it will be.
    pub seller_id: UserId,
    /// How much.
    pub amount: Money,
}

/// The money is the seller's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EscrowReleased {
    /// For which order.
    pub order_id: OrderId,
}

/// The money is the buyer's again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EscrowRefunded {
    /// For which order.
    pub order_id: OrderId,
    /// Why.
    pub reason: String,
}

/// The gateway keeps the amount ready on the buyer's account.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PaymentAuthorised {
    /// For which order.
    pub order_id: OrderId,
    /// Who pays.
    pub buyer_id: UserId,
    /// How much.
    pub amount: Money,
    /// What the gateway calls it.
    pub gateway_reference: String,
}

/// The gateway refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PaymentDeclined {
    /// For which order.
    pub order_id: OrderId,
    /// Why, in the gateway's words.
    pub reason: String,
}

/// The gateway took the amount from the buyer's account.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PaymentCaptured {
    /// For which order.
    pub order_id: OrderId,
}

/// The gateway no longer keeps the amount; nothing was taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PaymentVoided {
    /// For which order.
    pub order_id: OrderId,
    /// Why.
    pub reason: String,
}
