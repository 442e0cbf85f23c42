//! Balances: the money of each person in each currency, on its way and arrived, and what changed
//! it.

use chrono::{DateTime, Utc};
use event_schemas::commerce::{EscrowEvent, PaymentEvent};
use event_schemas::{Currency, Money, OrderId, UserId};
use event_store::Position;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row, query};
use uuid::Uuid;

use crate::envelope::{Envelope, Event, position_from_column};
use crate::page::{Cursor, Page, PageSize, page};
use crate::postgres::columns::{money, unsigned};
use crate::postgres::{bigint, id_of_stream, projection, queries};
use crate::projection::{ApplyError, ModelId};
use crate::query_error::QueryError;

/// This model.
pub const MODEL: ModelId = ModelId { name: "balances", version: 2 };

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
    "CREATE TABLE IF NOT EXISTS changes (
        user_id uuid NOT NULL,
        position bigint NOT NULL,
        at timestamptz NOT NULL,
        what text NOT NULL,
        order_id uuid NOT NULL,
        currency text NOT NULL,
        authorised bigint NOT NULL,
        charged bigint NOT NULL,
        held bigint NOT NULL,
        available bigint NOT NULL,
        PRIMARY KEY (user_id, position)
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

/// What an event adds to somebody's balance, and of which order.
struct Change {
    user: Uuid,
    order: OrderId,
    currency: String,
    /// Authorised, charged, held and available.
    adds: [i64; 4],
}

impl BalancesProjection {
    async fn one(&self, to: &mut PgConnection, envelope: &Envelope) -> Result<(), ApplyError> {
        let change = match &envelope.event {
            Event::Payment(PaymentEvent::PaymentAuthorised(event)) => {
                begin(to, event.order_id, Pending::Authorised, event.buyer_id, event.amount).await?
            }
            Event::Payment(PaymentEvent::PaymentCaptured(event)) => {
                end(to, event.order_id, Pending::Authorised, true).await?
            }
            Event::Payment(PaymentEvent::PaymentVoided(event)) => {
                end(to, event.order_id, Pending::Authorised, false).await?
            }
            Event::Escrow(EscrowEvent::EscrowHeld(event)) => {
                begin(to, event.order_id, Pending::Held, event.seller_id, event.amount).await?
            }
            Event::Escrow(EscrowEvent::EscrowReleased(event)) => {
                end(to, event.order_id, Pending::Held, true).await?
            }
            Event::Escrow(EscrowEvent::EscrowRefunded(event)) => {
                end(to, event.order_id, Pending::Held, false).await?
            }
            _ => return Ok(()),
        };
        book(to, envelope, &change).await
    }
}

async fn begin(
    to: &mut PgConnection,
    order: OrderId,
    kind: Pending,
    user: UserId,
    amount: Money,
) -> Result<Change, ApplyError> {
    let (user, currency) = (user.0, amount.currency.to_string());
    let amount = bigint(amount.amount_minor)?;
    query(
        "INSERT INTO pending (order_id, kind, user_id, amount, currency)
         VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(order.0)
    .bind(kind.as_str())
    .bind(user)
    .bind(amount)
    .bind(&currency)
    .execute(&mut *to)
    .await?;
    let adds = match kind {
        Pending::Authorised => [amount, 0, 0, 0],
        Pending::Held => [0, 0, amount, 0],
    };
    Ok(Change { user, order, currency, adds })
}

/// Pending money arrives where it was to go, or goes back.
async fn end(
    to: &mut PgConnection,
    order: OrderId,
    kind: Pending,
    arrived: bool,
) -> Result<Change, ApplyError> {
    let sql = "DELETE FROM pending WHERE order_id = $1 AND kind = $2
               RETURNING user_id, amount, currency";
    let row =
        query(sql).bind(order.0).bind(kind.as_str()).fetch_optional(&mut *to).await?.ok_or_else(
            || ApplyError::poison(format!("nothing of order {order} is {}", kind.as_str())),
        )?;
    let (user, currency) = (row.try_get("user_id")?, row.try_get("currency")?);
    let amount: i64 = row.try_get("amount")?;
    let there = if arrived { amount } else { 0 };
    let adds = match kind {
        Pending::Authorised => [-amount, there, 0, 0],
        Pending::Held => [0, 0, -amount, there],
    };
    Ok(Change { user, order, currency, adds })
}

/// Adds the change to the balance, and keeps it with what the balance is now.
async fn book(
    to: &mut PgConnection,
    envelope: &Envelope,
    change: &Change,
) -> Result<(), ApplyError> {
    let [authorised, charged, held, available] = change.adds;
    query(
        "WITH booked AS (
             INSERT INTO balances AS b (user_id, currency, authorised, charged, held, available)
             VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (user_id, currency) DO UPDATE
             SET authorised = b.authorised + $3, charged = b.charged + $4,
                 held = b.held + $5, available = b.available + $6
             RETURNING *
         )
         INSERT INTO changes
             (user_id, position, at, what, order_id, currency,
              authorised, charged, held, available)
         SELECT user_id, $7, $8, $9, $10, currency, authorised, charged, held, available
         FROM booked",
    )
    .bind(change.user)
    .bind(&change.currency)
    .bind(authorised)
    .bind(charged)
    .bind(held)
    .bind(available)
    .bind(envelope.position_column())
    .bind(envelope.recorded_at())
    .bind(envelope.recorded.event_type.as_str())
    .bind(change.order.0)
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

/// A person's money at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holdings {
    /// Their balances, by currency; empty when they never bought nor sold.
    pub balances: Vec<Balance>,
    /// Where in the log the event is that changed them last; `None` when none did.
    pub changed_at: Option<Position>,
}

/// Something that changed a person's money.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BalanceChange {
    /// Where the event is in the log.
    pub position: Position,
    /// When it was recorded.
    pub at: DateTime<Utc>,
    /// The event's type.
    pub what: String,
    /// Of which order.
    pub order_id: OrderId,
    /// The balance in its currency, with it.
    pub balance: Balance,
}

queries! {
    /// Queries over money.
    Balances
}

impl Balances {
    /// A person's money, and what changed it last, by one statement: they are of one moment.
    pub async fn of_user(&self, user: UserId) -> Result<Holdings, QueryError> {
        let rows = query(
            "SELECT b.*, (SELECT max(c.position) FROM balances_v2.changes c
                          WHERE c.user_id = b.user_id) AS changed_at
             FROM balances_v2.balances b WHERE b.user_id = $1 ORDER BY b.currency",
        )
        .bind(user.0)
        .fetch_all(&self.pool)
        .await?;
        let changed_at = rows.first().map(|row| row.try_get("changed_at")).transpose()?;
        Ok(Holdings {
            balances: rows.iter().map(read_balance).collect::<Result<_, _>>()?,
            changed_at: changed_at.map(position_from_column),
        })
    }

    /// What changed a person's balances, newest first, and nothing that came behind `up_to`.
    pub async fn changes(
        &self,
        user: UserId,
        up_to: Position,
        after: Option<Cursor>,
        size: PageSize,
    ) -> Result<Page<BalanceChange>, QueryError> {
        let sql = "SELECT * FROM balances_v2.changes WHERE user_id = $1 AND position < $2
                   ORDER BY position DESC LIMIT $3";
        let newest = Cursor::with(up_to);
        let after = after.map_or(newest, |after| after.min(newest));
        page(&self.pool, sql, user.0, (Some(after), size), read_change).await
    }
}

fn read_change(row: &PgRow) -> Result<BalanceChange, QueryError> {
    Ok(BalanceChange {
        position: position_from_column(row.try_get("position")?),
        at: row.try_get("at")?,
        what: row.try_get("what")?,
        order_id: OrderId(row.try_get("order_id")?),
        balance: read_balance(row)?,
    })
}

fn read_balance(row: &PgRow) -> Result<Balance, QueryError> {
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
