//! Listings: what musicians sell.

use access::{Permission, Problem, ProblemType, ValidPath};
use aggregates::CommandError;
use aggregates::audio::Track;
use aggregates::commerce::{ExclusiveLicence, Listing, ListingCommand, ListingRejection, amount};
use axum::extract::State;
use event_schemas::commerce::{DeliveryMode, LicenceKind};
use event_schemas::{Currency, ListingId, Money, TrackId};
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::CommandApi;
use crate::answer::{Answer, Done};
use crate::refusal::{WrongFields, not_found, refused, unloaded};
use crate::request::{Command, Nothing};

/// A licence to offer.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewListing {
    /// Of which track; a published one of one's own.
    track_id: Uuid,
    /// `exclusive`: one buyer, once; `non_exclusive`: any number of buyers.
    kind: Kind,
    /// What one costs.
    price: Price,
    /// `instant`: delivered as soon as the money is held; `on_approval`: when the seller says so.
    #[serde(default)]
    delivery: Delivery,
}

#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    Exclusive,
    NonExclusive,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Delivery {
    #[default]
    Instant,
    OnApproval,
}

/// An amount of money.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Price {
    /// In minor units of the currency: cents of a euro, yen of a yen.
    amount_minor: u64,
    /// The ISO 4217 code.
    #[schema(example = "EUR")]
    currency: String,
}

impl Price {
    fn money(&self) -> Result<Money, Problem> {
        let mut wrong = WrongFields::default();
        // Each beside something that is fine, so that both are told.
        let amount = Money::new(self.amount_minor, Currency::EUR);
        wrong.take("price.amount_minor", amount::check(amount));
        let Some(currency) = wrong.take("price.currency", self.currency.parse::<Currency>()) else {
            return Err(wrong.problem());
        };
        wrong.take("price.currency", amount::check(Money::new(1, currency)));
        wrong.none()?;
        Ok(Money::new(self.amount_minor, currency))
    }
}

/// Offer licences of a track.
///
/// A track has one exclusive licence: it is on offer once at a time, and while somebody has it no
/// other licence of the track is offered or newly ordered. An order of another licence that was
/// placed before goes on all the same, such as one that waits for the seller's approval: what was
/// reserved first stays. Two tracks made of one upload are two tracks:
/// each has its own.
#[utoipa::path(
    post, path = "/api/v1/listings", tag = "commerce", operation_id = "createListing",
    request_body = NewListing, security(("bearer" = [])),
    params(
        ("Idempotency-Key" = Option<String>, Header),
    ),
    responses(
        (status = 201, description = "The licence is offered", body = Done),
        (status = 404, description = "There is no such track of one's own to sell"),
        (status = 409, description = "The exclusive licence is offered, or taken"),
    ),
)]
pub(crate) async fn create(
    State(api): State<CommandApi>,
    command: Command<NewListing>,
) -> Result<Answer, Problem> {
    command.principal.require(Permission::SellLicence)?;
    let price = command.body.price.money()?;
    let handler = &api.parts().handler;
    let claimed = handler.claimed::<Listing>(&command.context).await.map_err(refused)?;
    let before = ListingId(claimed.unwrap_or(command.new_id()));
    if let Some(answer) = command.repeated::<Listing>(&api, before).await? {
        return Ok(answer);
    }
    let (seller_id, wanted) = (command.user_id(), &command.body);
    let track_id = TrackId(wanted.track_id);
    let saleable = |track: &Track| {
        let own = track.created.as_ref().is_some_and(|made| made.artist_id == seller_id);
        own && track.published && track.master().is_some()
    };
    if !handler.inspect(track_id, saleable).await.map_err(unloaded)? {
        return Err(not_found("a published track of yours with this id, with its master"));
    }
    let exclusive = ExclusiveLicence::of(handler, track_id).await.map_err(unloaded)?;
    let listing_id = match (wanted.kind, exclusive) {
        (_, ExclusiveLicence::Taken { .. }) => return Err(exclusive_taken()),
        (Kind::NonExclusive, _) => ListingId(command.new_id()),
        (Kind::Exclusive, _) if claimed.is_some() => before,
        (Kind::Exclusive, ExclusiveLicence::NotOffered { next }) => next,
        (Kind::Exclusive, ExclusiveLicence::Offered) => return Err(already_offered()),
    };
    let list = ListingCommand::List {
        listing_id,
        track_id,
        seller_id,
        kind: match wanted.kind {
            Kind::Exclusive => LicenceKind::Exclusive,
            Kind::NonExclusive => LicenceKind::NonExclusive,
        },
        price,
        delivery: match wanted.delivery {
            Delivery::Instant => DeliveryMode::Instant,
            Delivery::OnApproval => DeliveryMode::OnApproval,
        },
    };
    let done = handler.execute::<Listing>(listing_id, list, &command.context).await;
    match done {
        // Another request made this offer a moment before.
        Err(CommandError::Rejected(ListingRejection::AlreadyListed)) => Err(already_offered()),
        done => Ok(Answer::created(listing_id.0, &done.map_err(refused)?)),
    }
}

fn already_offered() -> Problem {
    let detail = "the track's exclusive licence is on offer; withdraw that offer first";
    Problem::new(ProblemType::Conflict).with_detail(detail)
}

/// Somebody has the exclusive licence of the track, so no other is offered or sold.
pub(crate) fn exclusive_taken() -> Problem {
    let detail = "the track's exclusive licence is kept for an order, or sold";
    Problem::new(ProblemType::LicenceTaken).with_detail(detail)
}

/// Take an offer back; orders under way go on. An exclusive licence that is sold is no offer any
/// more.
#[utoipa::path(
    delete, path = "/api/v1/listings/{listing_id}", tag = "commerce",
    operation_id = "withdrawListing", security(("bearer" = [])),
    params(
        ("listing_id" = Uuid, Path, description = "Which listing"),
        ("Idempotency-Key" = Option<String>, Header),
    ),
    responses(
        (status = 200, description = "The offer is withdrawn", body = Done),
        (status = 404, description = "There is no such listing"),
        (status = 409, description = "The exclusive licence is sold"),
    ),
)]
pub(crate) async fn withdraw(
    State(api): State<CommandApi>,
    ValidPath(listing_id): ValidPath<Uuid>,
    command: Command<Nothing>,
) -> Result<Answer, Problem> {
    command.principal.require(Permission::SellLicence)?;
    let withdraw = ListingCommand::Withdraw { by: command.user_id() };
    let handler = &api.parts().handler;
    let done = handler.execute::<Listing>(ListingId(listing_id), withdraw, &command.context).await;
    Ok(Answer::done(listing_id, &done.map_err(refused)?))
}
