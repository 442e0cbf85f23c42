//! Orders: what listeners buy.

use access::{Permission, Problem, ProblemType, ValidPath};
use aggregates::CommandError;
use aggregates::audio::{Track, TrackRejection};
use aggregates::commerce::{
    ExclusiveLicence, Listing, ListingCommand, Order, OrderCommand, OrderStatus, Payment,
    PaymentStatus,
};
use axum::extract::State;
use event_schemas::commerce::{LicenceKind, LicenceReserved, ListingEvent};
use event_schemas::{ListingId, OrderId, UserId};
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::CommandApi;
use crate::answer::{Answer, Done};
use crate::refusal::{refused, unloaded};
use crate::request::{Command, Nothing};
use crate::routes::listings::exclusive_taken;

/// A licence to buy.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewOrder {
    /// From which listing.
    listing_id: Uuid,
    /// How it is paid, as the payment gateway names it. The sandbox takes `sandbox:ok`,
    /// `sandbox:decline`, `sandbox:decline-capture`, `sandbox:slow:<ms>` (to 10000),
    /// `sandbox:duplicate` (each request comes twice) and `sandbox:charged-then-timeout` (its first
    /// answer is lost).
    #[schema(example = "sandbox:ok")]
    payment_method: String,
}

/// Buy a licence.
///
/// The answer means that the licence is reserved for this order; payment, delivery and the rest
/// follow by themselves and show in the order. Of two buyers of an exclusive licence one is
/// answered, the other gets the problem `licence-taken` and is not charged; so does who would buy
/// another licence of the track after that; at the very moment of it their order may be accepted
/// still, and is cancelled. An order of a licence that is not exclusive and was placed before goes
/// on, and is delivered, though the exclusive licence is sold meanwhile. Of a track whose master
/// was taken down nothing is sold.
///
/// Of a licence that is not exclusive one may buy several: each order is a purchase of its own, and
/// paid. Send an `Idempotency-Key` with it, so that what was sent twice is bought once.
#[utoipa::path(
    post, path = "/api/v1/orders", tag = "commerce", operation_id = "placeOrder",
    request_body = NewOrder, security(("bearer" = [])),
    params(
        ("Idempotency-Key" = Option<String>, Header),
    ),
    responses(
        (status = 201, description = "The licence is reserved for the order", body = Done),
        (status = 404, description = "There is no such listing"),
        (status = 409, description = "The licence is taken, or not for sale to this buyer"),
    ),
)]
pub(crate) async fn place(
    State(api): State<CommandApi>,
    command: Command<NewOrder>,
) -> Result<Answer, Problem> {
    command.principal.require(Permission::BuyLicence)?;
    let order_id = OrderId(command.new_id());
    let listing_id = ListingId(command.body.listing_id);
    refuse_unsaleable(&api, listing_id, order_id).await?;
    let reserve = ListingCommand::Reserve {
        order_id,
        buyer_id: command.user_id(),
        payment_method: command.body.payment_method.clone(),
    };
    let handler = &api.parts().handler;
    let reserved = handler.execute::<Listing>(listing_id, reserve, &command.context).await;
    let reserved = reserved.map_err(refused)?;
    let Some(ListingEvent::LicenceReserved(terms)) = reserved.events.first() else {
        return Ok(Answer::created(order_id.0, &reserved));
    };
    // The saga would place it too; placed here, it is there when the answer is.
    let placed = handler.execute::<Order>(order_id, placing(terms), &command.context).await;
    let mut placed = placed.map_err(refused)?;
    // Where the saga was first, the order may have gone on; the answer is of its beginning always.
    if placed.events.is_empty()
        && let Some(began) = handler.began_at::<Order>(order_id).await.map_err(unloaded)?
    {
        placed.position = began;
    }
    Ok(Answer::created(order_id.0, &placed))
}

/// Refuses to sell what could not be delivered, and any other licence of a track after its
/// exclusive one. Of two orders at the same moment, one of each kind, both may be taken here: the
/// purchase looks again, and cancels the other one unless it came before. A master that is taken
/// down later undoes the order when it would be delivered.
async fn refuse_unsaleable(
    api: &CommandApi,
    listing_id: ListingId,
    order_id: OrderId,
) -> Result<(), Problem> {
    let handler = &api.parts().handler;
    // An order that is repeated has what it asks for.
    let wanted = |listing: &Listing| {
        let terms = listing.terms.as_ref().filter(|_| !listing.knows(order_id))?;
        Some((terms.track_id, terms.kind))
    };
    let wanted = handler.inspect(listing_id, wanted).await.map_err(unloaded)?;
    let Some((track, kind)) = wanted else {
        return Ok(());
    };
    let is_there = |track: &Track| track.master().is_some();
    if !handler.inspect(track, is_there).await.map_err(unloaded)? {
        return Err(refused(CommandError::Rejected(TrackRejection::MasterTakenDown)));
    }
    if kind == LicenceKind::Exclusive {
        return Ok(());
    }
    match ExclusiveLicence::of(handler, track).await.map_err(unloaded)? {
        ExclusiveLicence::Taken { .. } => Err(exclusive_taken()),
        _ => Ok(()),
    }
}

/// The order that a reservation begins.
fn placing(terms: &LicenceReserved) -> OrderCommand {
    OrderCommand::Place {
        order_id: terms.order_id,
        listing_id: terms.listing_id,
        track_id: terms.track_id,
        buyer_id: terms.buyer_id,
        seller_id: terms.seller_id,
        price: terms.price,
        payment_method: terms.payment_method.clone(),
        delivery: terms.delivery,
    }
}

/// Let an order be delivered that waits for the seller.
#[utoipa::path(
    post, path = "/api/v1/orders/{order_id}/approval", tag = "commerce",
    operation_id = "approveOrder", security(("bearer" = [])),
    params(
        ("order_id" = Uuid, Path, description = "Which order"),
        ("Idempotency-Key" = Option<String>, Header),
    ),
    responses(
        (status = 200, description = "The order is approved", body = Done),
        (status = 404, description = "There is no such order of one's own"),
        (status = 409, description = "The order is not where it can be approved"),
    ),
)]
pub(crate) async fn approve(
    State(api): State<CommandApi>,
    ValidPath(order_id): ValidPath<Uuid>,
    command: Command<Nothing>,
) -> Result<Answer, Problem> {
    command.principal.require(Permission::SellLicence)?;
    let approve = OrderCommand::Approve { by: command.user_id() };
    decide(&api, order_id, approve, &command).await
}

/// Say that what was delivered is as it should be; the seller is paid.
#[utoipa::path(
    post, path = "/api/v1/orders/{order_id}/acceptance", tag = "commerce",
    operation_id = "acceptOrder", security(("bearer" = [])),
    params(
        ("order_id" = Uuid, Path, description = "Which order"),
        ("Idempotency-Key" = Option<String>, Header),
    ),
    responses(
        (status = 200, description = "The order is accepted", body = Done),
        (status = 404, description = "There is no such order of one's own"),
        (status = 409, description = "The order is not where it can be accepted"),
    ),
)]
pub(crate) async fn accept(
    State(api): State<CommandApi>,
    ValidPath(order_id): ValidPath<Uuid>,
    command: Command<Nothing>,
) -> Result<Answer, Problem> {
    command.principal.require(Permission::BuyLicence)?;
    let by = command.user_id();
    refuse_unpaid(&api, OrderId(order_id), by).await?;
    decide(&api, order_id, OrderCommand::Accept { by }, &command).await
}

/// Refuses to accept what was delivered and can't be fetched yet: the payment is taken after that.
async fn refuse_unpaid(api: &CommandApi, order_id: OrderId, by: UserId) -> Result<(), Problem> {
    let handler = &api.parts().handler;
    let awaits = |order: &Order| {
        let is_buyer = order.terms.as_ref().is_some_and(|terms| terms.buyer_id == by);
        is_buyer && order.status == OrderStatus::Delivered
    };
    if !handler.inspect(order_id, awaits).await.map_err(unloaded)? {
        return Ok(());
    }
    let is_paid = |payment: &Payment| payment.status == PaymentStatus::Captured;
    if handler.inspect(order_id, is_paid).await.map_err(unloaded)? {
        return Ok(());
    }
    let reason = "the payment is not taken yet, and nothing handed out before";
    Err(Problem::new(ProblemType::Conflict).with_detail(reason))
}

async fn decide(
    api: &CommandApi,
    order_id: Uuid,
    decision: OrderCommand,
    command: &Command<Nothing>,
) -> Result<Answer, Problem> {
    let handler = &api.parts().handler;
    let done = handler.execute::<Order>(OrderId(order_id), decision, &command.context).await;
    Ok(Answer::done(order_id, &done.map_err(refused)?))
}
