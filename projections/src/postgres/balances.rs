//! Balances: the money of each person in each currency, on its way and arrived.

use event_schemas::commerce::{EscrowEvent, PaymentEvent};
use event_schemas::{Currency, OrderId, UserId};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row, query};
use uuid::Uuid;

use crate::envelope::{Envelope, Event};
use crate::postgres::columns::{money, unsigned};
use crate::postgres::{bigint, id_of_stream, projection, queries};
use crate::projection::{ApplyError, ModelId};
use crate::query_error::QueryError;

/// This model.
pub const MODEL: ModelId = ModelId { name: "balances", version: 1 };

const TABLES: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS balances (
        user_id uuid NOT NULL,
        currency text NOT NULL,
        authorised bigint NOT NULL DEFAULT 0,
        charged bigint NOT NULL DEFAULT 0,
        held bigint NOT NULL DEFAULT 0,
        available bigint NOT NULL DEFAULT 0,
        PRIMARY KEY (user_id, currency)
    )",
    "CREATE TABLE IF NOT EXISTS pending (
        order_id uuid NOT NULL,
        kind text NOT NULL,
        user_id uuid NOT NULL,
        amount bigint NOT NULL,
        currency text NOT NULL,
        PRIMARY KEY (order_id, kind)
    )",
];

/// Fills the model.
pub struct BalancesProjection;

projection!(BalancesProjection, MODEL, ["escrow", "payment"], TABLES, id_of_stream);

/// Money that is neither here nor there yet.
#[derive(Clone, Copy)]
enum Pending {
    /// The gateway keeps it ready.
    Authorised,
    /// It is promised to the seller.
    Held,
}

impl Pending {
    fn as_str(self) -> &'static str {
        match self {
            Self::Authorised => "authorised",
            Self::Held => "held",
        }
    }
}

impl BalancesProjection {
    async fn one(&self, to: &mut PgConnection, envelope: &Envelope) -> Result<(), ApplyError> {
        match &envelope.event {
            Event::Payment(PaymentEvent::PaymentAuthorised(event)) => {
                let amount = bigint(event.amount.amount_minor)?;
                let (order, user) = (event.order_id, event.buyer_id);
                begin(to, order, Pending::Authorised, user, amount, event.amount.currency).await
            }
            Event::Payment(PaymentEvent::PaymentCaptured(event)) => {
                end(to, event.order_id, Pending::Authorised, true).await
            }
            Event::Payment(PaymentEvent::PaymentVoided(event)) => {
                end(to, event.order_id, Pending::Authorised, false).await
            }
            Event::Escrow(EscrowEvent::EscrowHeld(event)) => {
                let amount = bigint(event.amount.amount_minor)?;
                let (order, user) = (event.order_id, event.seller_id);
                begin(to, order, Pending::Held, user, amount, event.amount.currency).await
            }
            Event::Escrow(EscrowEvent::EscrowReleased(event)) => {
                end(to, event.order_id, Pending::Held, true).await
            }
            Event::Escrow(EscrowEvent::EscrowRefunded(event)) => {
                end(to, event.order_id, Pending::Held, false).await
            }
            _ => Ok(()),
        }
    }
}

async fn begin(
    to: &mut PgConnection,
    order: OrderId,
    kind: Pending,
    user: UserId,
    amount: i64,
    currency: Currency,
) -> Result<(), ApplyError> {
    query(
        "INSERT INTO pending (order_id, kind, user_id, amount, currency)
         VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(order.0)
    .bind(kind.as_str())
    .bind(user.0)
    .bind(amount)
    .bind(currency.as_str())
    .execute(&mut *to)
    .await?;
    let [authorised, held] = match kind {
        Pending::Authorised => [amount, 0],
        Pending::Held => [0, amount],
    };
    add(to, user.0, currency.as_str(), [authorised, 0, held, 0]).await
}

/// Pending money arrives where it was to go, or goes back.
async fn end(
    to: &mut PgConnection,
    order: OrderId,
    kind: Pending,
    arrived: bool,
) -> Result<(), ApplyError> {
    let sql = "DELETE FROM pending WHERE order_id = $1 AND kind = $2
               RETURNING user_id, amount, currency";
    let row =
        query(sql).bind(order.0).bind(kind.as_str()).fetch_optional(&mut *to).await?.ok_or_else(
            || ApplyError::poison(format!("nothing of order {order} is {}", kind.as_str())),
        )?;
    let (user, currency): (Uuid, String) = (row.try_get("user_id")?, row.try_get("currency")?);
    let amount: i64 = row.try_get("amount")?;
    let there = if arrived { amount } else { 0 };
    let change = match kind {
        Pending::Authorised => [-amount, there, 0, 0],
        Pending::Held => [0, 0, -amount, there],
    };
    add(to, user, &currency, change).await
}

/// Adds to authorised, charged, held and available.
async fn add(
    to: &mut PgConnection,
    user: Uuid,
    currency: &str,
    [authorised, charged, held, available]: [i64; 4],
) -> Result<(), ApplyError> {
    query(
        "INSERT INTO balances AS b (user_id, currency, authorised, charged, held, available)
         VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (user_id, currency) DO UPDATE
         SET authorised = b.authorised + $3, charged = b.charged + $4,
             held = b.held + $5, available = b.available + $6",
    )
    .bind(user)
    .bind(currency)
    .bind(authorised)
    .bind(charged)
    .bind(held)
    .bind(available)
    .execute(to)
    .await?;
    Ok(())
}

/// A person's money in one currency, in minor units of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balance {
    /// Whose.
    pub user_id: UserId,
    /// In which currency.
    pub currency: Currency,
    /// As a buyer: what the gateway keeps ready.
    pub authorised_minor: u64,
    /// As a buyer: what the gateway took.
    pub charged_minor: u64,
    /// As a seller: what is promised.
    pub held_minor: u64,
    /// As a seller: what has arrived.
    pub available_minor: u64,
}

queries! {
    /// Queries over money.
    Balances
}

impl Balances {
    /// A person's balances, by currency; empty when they never bought nor sold.
    pub async fn of_user(&self, user: UserId) -> Result<Vec<Balance>, QueryError> {
        let rows = query("SELECT * FROM balances_v1.balances WHERE user_id = $1 ORDER BY currency")
            .bind(user.0)
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(balance).collect()
    }
}

fn balance(row: &PgRow) -> Result<Balance, QueryError> {
    let authorised = money(row, "authorised", "currency")?;
    Ok(Balance {
        user_id: UserId(row.try_get("user_id")?),
        currency: authorised.currency,
        authorised_minor: authorised.amount_minor,
        charged_minor: unsigned(row, "charged")?,
        held_minor: unsigned(row, "held")?,
        available_minor: unsigned(row, "available")?,
    })
}
