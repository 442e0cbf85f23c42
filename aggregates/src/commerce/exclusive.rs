//! The exclusive licence of a track: there is one, however often it is offered.
//!
//! The offers of a track's exclusive licence are numbered, and the id of a listing is made of the
//! track and the number. So whoever makes the next offer meets everybody else who does in one
//! stream, where one is first. An offer makes room for the next when it was withdrawn and nobody
//! has the licence by it.

use event_schemas::{ListingId, OrderId, TrackId};
use uuid::Uuid;

use crate::commerce::Listing;
use crate::fold::LoadError;
use crate::handler::CommandHandler;

/// The exclusive licence of a track, by its last offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExclusiveLicence {
    /// It is not on offer; the next offer has this id.
    NotOffered {
        /// The id.
        next: ListingId,
    },
    /// It can be bought.
    Offered,
    /// It is kept for an order, or sold.
    Taken {
        /// By which offer.
        listing: ListingId,
        /// For which order.
        order: OrderId,
    },
}

impl ExclusiveLicence {
    /// How it stands with the licence of a track. The cost grows with the logarithm of the number
    /// of offers there ever were.
    pub async fn of(handler: &CommandHandler, track: TrackId) -> Result<Self, LoadError> {
        let offers = offers(handler, track).await?;
        let next = listing_id(track, offers);
        let Some(last) = offers.checked_sub(1) else {
            return Ok(Self::NotOffered { next });
        };
        let last = listing_id(track, last);
        let look = |listing: &Listing| match listing.holder() {
            Some(order) => Self::Taken { listing: last, order },
            None if listing.withdrawn => Self::NotOffered { next },
            None => Self::Offered,
        };
        handler.inspect(last, look).await
    }
}

/// The listing of a track's offer with this number; the first is 0.
fn listing_id(track: TrackId, number: u64) -> ListingId {
    ListingId(Uuid::new_v5(&track.0, format!("exclusive licence, offer {number}").as_bytes()))
}

/// How many offers there were. They have no gaps, so the first that is missing is searched for in
/// steps that double, and then between the last two of these.
async fn offers(handler: &CommandHandler, track: TrackId) -> Result<u64, LoadError> {
    let (mut there, mut missing) = (0, 1);
    while is_there(handler, track, missing - 1).await? {
        there = missing;
        missing *= 2;
    }
    while there + 1 < missing {
        let between = there + (missing - there) / 2;
        if is_there(handler, track, between - 1).await? {
            there = between;
        } else {
            missing = between;
        }
    }
    Ok(there)
}

async fn is_there(
    handler: &CommandHandler,
    track: TrackId,
    number: u64,
) -> Result<bool, LoadError> {
    handler.inspect(listing_id(track, number), |listing: &Listing| listing.terms.is_some()).await
}
