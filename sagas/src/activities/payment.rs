//! The port of a payment gateway: what every one of them does for a purchase.

use async_trait::async_trait;
use event_schemas::{Money, OrderId, UserId};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::orchestrator::IdempotencyKey;

/// A payment gateway.
///
/// Every operation is idempotent by its key: repeated, it answers as the first time and moves
/// nothing. What it has answered it has kept durably.
#[async_trait]
pub trait PaymentGateway: Send + Sync + 'static {
    /// Keeps an amount ready on the buyer's account.
    async fn authorise(&self, request: Authorise) -> Result<Receipt, GatewayError>;

    /// Takes what was authorised; the platform holds it then.
    async fn capture(&self, request: Settle) -> Result<Receipt, GatewayError>;

    /// Lets go of what was authorised and not captured.
    async fn void(&self, request: Settle) -> Result<Receipt, GatewayError>;

    /// Pays what was captured out to the seller.
    async fn pay_out(&self, request: PayOut) -> Result<Receipt, GatewayError>;

    /// What came of the operation with this key; `None` when it never reached the gateway.
    async fn find(&self, key: IdempotencyKey) -> Result<Option<Outcome>, GatewayError>;

    /// From now on declines what comes with this key, also what is still on its way; what came of
    /// it, when it was carried out or declined before. It can be repeated.
    async fn give_up(
        &self,
        key: IdempotencyKey,
        order_id: OrderId,
    ) -> Result<Option<Outcome>, GatewayError>;
}

/// Keep an amount ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorise {
    /// The identity of this request.
    pub key: IdempotencyKey,
    /// For which order.
    pub order_id: OrderId,
    /// Who pays.
    pub buyer_id: UserId,
    /// How much.
    pub amount: Money,
    /// How, as the gateway names it.
    pub payment_method: String,
}

/// Capture or void what was authorised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settle {
    /// The identity of this request.
    pub key: IdempotencyKey,
    /// The authorisation's reference.
    pub reference: String,
}

/// Pay out what was captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PayOut {
    /// The identity of this request.
    pub key: IdempotencyKey,
    /// The authorisation's reference.
    pub reference: String,
    /// To whom.
    pub seller_id: UserId,
}

/// An operation was carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// What the gateway calls the payment; the same from its authorisation to its payout.
    pub reference: String,
    /// How much.
    pub amount: Money,
}

/// What came of an operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was carried out.
    Done(Receipt),
    /// It was declined, for this reason.
    Declined(String),
}

/// Why an operation was not carried out, or is not known to have been.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum GatewayError {
    /// The gateway said no, and will say no again.
    #[error("declined: {reason}")]
    Declined {
        /// Why, in its words.
        reason: String,
    },
    /// It can't be reached, or can't work; nothing was done.
    #[error("the payment gateway is not available: {reason}")]
    Unavailable {
        /// What was seen.
        reason: String,
    },
    /// It did not answer: the operation may or may not have been carried out.
    #[error("the payment gateway did not answer in time")]
    Timeout,
    /// The key was used for another request.
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// The payment is not in a state that allows it.
    #[error("not possible: {reason}")]
    NotPossible {
        /// What stands against it.
        reason: String,
    },
}

#[cfg(test)]
pub(crate) mod conformance;
