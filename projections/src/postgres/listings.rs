//! Listings: offers of licences, and whether they can be bought just now.

use std::collections::HashMap;

use event_schemas::audio::TrackEvent;
use event_schemas::commerce::{DeliveryMode, LicenceKind, ListingEvent};
use event_schemas::{ListingId, Money, TrackId, UserId};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row, query};
use uuid::Uuid;

use crate::envelope::{Envelope, Event};
use crate::page::{Cursor, Page, PageSize, page, pages};
use crate::postgres::columns::{money, stored_enum, unsigned};
use crate::postgres::{bigint, projection, queries};
use crate::projection::{ApplyError, ModelId};
use crate::query_error::QueryError;

/// This model.
pub const MODEL: ModelId = ModelId { name: "listings", version: 4 };

const TABLES: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS listings (
        listing_id uuid PRIMARY KEY,
        track_id uuid NOT NULL,
        seller_id uuid NOT NULL,
        exclusive boolean NOT NULL,
        on_approval boolean NOT NULL,
        price_minor bigint NOT NULL,
        currency text NOT NULL,
        status text NOT NULL,
        is_kept boolean NOT NULL DEFAULT false,
        sold bigint NOT NULL DEFAULT 0,
        position bigint NOT NULL
    )",
    "CREATE INDEX IF NOT EXISTS listings_by_track ON listings (track_id, position DESC)",
    "CREATE INDEX IF NOT EXISTS listings_by_seller ON listings (seller_id, position DESC)",
];

/// A licence is kept for an order: while that is the exclusive one nothing else of the track can be
/// bought.
const KEEP: &str = "UPDATE listings AS offer
    SET is_kept = offer.is_kept OR offer.listing_id = $1,
        status = CASE offer.status WHEN 'open' THEN 'reserved' ELSE offer.status END
    FROM listings AS this
    WHERE this.listing_id = $1 AND this.exclusive AND offer.track_id = this.track_id";

/// It is kept no more.
const FREE: &str = "UPDATE listings AS offer
    SET is_kept = offer.is_kept AND offer.listing_id <> $1,
        status = CASE offer.status WHEN 'reserved' THEN 'open' ELSE offer.status END
    FROM listings AS this
    WHERE this.listing_id = $1 AND this.exclusive AND offer.track_id = this.track_id";

/// It is sold; with the exclusive one the track's other offers end.
const SELL: &str = "WITH this AS (
        UPDATE listings SET sold = sold + 1, is_kept = false, status =
            CASE WHEN exclusive THEN 'sold' ELSE status END
        WHERE listing_id = $1 RETURNING track_id, exclusive)
    UPDATE listings SET status = 'sold' FROM this
    WHERE listings.track_id = this.track_id AND this.exclusive
      AND listing_id <> $1 AND status IN ('open', 'reserved')";

/// Fills the model.
pub struct ListingsProjection;

projection!(ListingsProjection, MODEL, ["listing", "track"], TABLES);

impl ListingsProjection {
    async fn one(&self, to: &mut PgConnection, envelope: &Envelope) -> Result<(), ApplyError> {
        let event = match &envelope.event {
            Event::Listing(event) => event,
            Event::Track(TrackEvent::TrackMasterTakenDown(event)) => {
                query(
                    "UPDATE listings SET status = 'taken_down'
                     WHERE track_id = $1 AND status IN ('open', 'reserved')",
                )
                .bind(event.track_id.0)
                .execute(to)
                .await?;
                return Ok(());
            }
            _ => return Ok(()),
        };
        // Withdrawn stays withdrawn, until an order under way takes the exclusive licence: that is
        // sold then, and stays so.
        let statement = match event {
            ListingEvent::LicenceListed(event) => query(
                "INSERT INTO listings (listing_id, track_id, seller_id, exclusive, on_approval,
                                       price_minor, currency, status, position)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, CASE WHEN EXISTS (
                     SELECT FROM listings WHERE track_id = $2 AND is_kept
                 ) THEN 'reserved' ELSE 'open' END, $8)",
            )
            .bind(event.listing_id.0)
            .bind(event.track_id.0)
            .bind(event.seller_id.0)
            .bind(event.kind == LicenceKind::Exclusive)
            .bind(event.delivery == DeliveryMode::OnApproval)
            .bind(bigint(event.price.amount_minor)?)
            .bind(event.price.currency.to_string())
            .bind(envelope.position_column()),
            ListingEvent::LicenceReserved(event) => query(KEEP).bind(event.listing_id.0),
            ListingEvent::LicenceReservationReleased(event) => query(FREE).bind(event.listing_id.0),
            ListingEvent::LicenceSold(event) => query(SELL).bind(event.listing_id.0),
            ListingEvent::ListingWithdrawn(event) => {
                let of_unsold = "UPDATE listings SET status = 'withdrawn'
                                 WHERE listing_id = $1 AND status <> 'sold'";
                query(of_unsold).bind(event.listing_id.0)
            }
        };
        statement.execute(to).await?;
        Ok(())
    }
}

stored_enum! {
    /// Whether a licence can be bought.
    ListingStatus {
        /// It can.
        Open = "open",
        /// The track's exclusive licence is kept for an order.
        Reserved = "reserved",
        /// The track's exclusive licence is sold.
        Sold = "sold",
        /// The seller took the offer back.
        Withdrawn = "withdrawn",
        /// The track's master was taken down, so nothing could be delivered.
        TakenDown = "taken_down",
    }
}

/// An offer of licences.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// Which listing.
    pub listing_id: ListingId,
    /// Of which track.
    pub track_id: TrackId,
    /// Who sells.
    pub seller_id: UserId,
    /// How many may hold it.
    pub kind: LicenceKind,
    /// When an order is delivered.
    pub delivery: DeliveryMode,
    /// What one costs.
    pub price: Money,
    /// Whether it can be bought.
    pub status: ListingStatus,
    /// How many were sold.
    pub sold: u64,
}

queries! {
    /// Queries over offers of licences.
    Listings
}

impl Listings {
    /// The listing with this id.
    pub async fn by_id(&self, listing: ListingId) -> Result<Option<Listing>, QueryError> {
        Ok(self.by_ids(&[listing]).await?.pop())
    }

    /// The listings with these ids, in no order; the unknown are left out.
    pub async fn by_ids(&self, listings: &[ListingId]) -> Result<Vec<Listing>, QueryError> {
        let ids: Vec<Uuid> = listings.iter().map(|listing| listing.0).collect();
        let rows = query("SELECT * FROM listings_v4.listings WHERE listing_id = ANY ($1)")
            .bind(ids)
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(listing).collect()
    }

    /// The offers of several tracks, each track's newest first; those without any are left out.
    pub async fn of_tracks(
        &self,
        tracks: &[TrackId],
        after: Option<Cursor>,
        size: PageSize,
    ) -> Result<HashMap<Uuid, Page<Listing>>, QueryError> {
        let sql = "SELECT of_one.* FROM unnest($1::uuid[]) AS wanted (id) CROSS JOIN LATERAL (
                       SELECT * FROM listings_v4.listings
                       WHERE track_id = wanted.id AND position < $2
                       ORDER BY position DESC LIMIT $3) AS of_one";
        let tracks = tracks.iter().map(|track| track.0).collect();
        pages(&self.pool, sql, "track_id", tracks, (after, size), listing).await
    }

    /// A seller's offers, newest first.
    pub async fn of_seller(
        &self,
        seller: UserId,
        after: Option<Cursor>,
        size: PageSize,
    ) -> Result<Page<Listing>, QueryError> {
        let sql = "SELECT * FROM listings_v4.listings WHERE seller_id = $1 AND position < $2
                   ORDER BY position DESC LIMIT $3";
        page(&self.pool, sql, seller.0, (after, size), listing).await
    }
}

fn listing(row: &PgRow) -> Result<Listing, QueryError> {
    let exclusive: bool = row.try_get("exclusive")?;
    let on_approval: bool = row.try_get("on_approval")?;
    Ok(Listing {
        listing_id: ListingId(row.try_get("listing_id")?),
        track_id: TrackId(row.try_get("track_id")?),
        seller_id: UserId(row.try_get("seller_id")?),
        kind: if exclusive { LicenceKind::Exclusive } else { LicenceKind::NonExclusive },
        delivery: if on_approval { DeliveryMode::OnApproval } else { DeliveryMode::Instant },
        price: money(row, "price_minor", "currency")?,
        status: ListingStatus::read(row, "status")?,
        sold: unsigned(row, "sold")?,
    })
}
