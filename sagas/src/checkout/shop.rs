//! What the steps of a purchase do: commands to the aggregates, requests to the gateway.
//!
//! Everything here is done at least once. Commands carry ids derived from their step's key, and
//! aggregates take what is already so for done; the gateway is idempotent by the key itself.

use std::sync::Arc;

use aggregates::audio::Track;
use aggregates::commerce::{
    Escrow, EscrowCommand, ExclusiveLicence, Listing, ListingCommand, Order, OrderCommand,
    OrderStatus, Payment, PaymentCommand,
};
use aggregates::{CommandHandler, Decider, LoadError};
use event_schemas::commerce::{LicenceKind, LicenceReserved, ListingEvent};
use event_schemas::{ListingId, OrderId, TrackId};
use event_store::Position;
use serde_json::{Value, json};

use crate::activities::payment::{
    Authorise, GatewayError, Outcome, PayOut, PaymentGateway, Receipt, Settle,
};
use crate::orchestrator::{ActivityError, StepCall, Way, execute};

/// Whom a purchase is done with.
pub(super) struct Shop {
    pub(super) commands: Arc<CommandHandler>,
    pub(super) gateway: Arc<dyn PaymentGateway>,
}

type Done = Result<Value, ActivityError>;

impl Shop {
    // The reservation itself was the beginning; here only its undoing gets its place in the order.
    pub(super) async fn reserve(&self, call: &StepCall<'_>, deal: &LicenceReserved) -> Done {
        let command = ListingCommand::Reserve {
            order_id: deal.order_id,
            buyer_id: deal.buyer_id,
            payment_method: deal.payment_method.clone(),
        };
        self.command::<Listing>(call, deal.listing_id, command).await?;
        Ok(json!({}))
    }

    pub(super) async fn release_reservation(
        &self,
        call: &StepCall<'_>,
        deal: &LicenceReserved,
    ) -> Done {
        let command = ListingCommand::ReleaseReservation {
            order_id: deal.order_id,
            reason: call.reason().to_owned(),
        };
        self.command::<Listing>(call, deal.listing_id, command).await?;
        Ok(json!({}))
    }

    pub(super) async fn place_order(&self, call: &StepCall<'_>, deal: &LicenceReserved) -> Done {
        let command = OrderCommand::Place {
            order_id: deal.order_id,
            listing_id: deal.listing_id,
            track_id: deal.track_id,
            buyer_id: deal.buyer_id,
            seller_id: deal.seller_id,
            price: deal.price,
            payment_method: deal.payment_method.clone(),
            delivery: deal.delivery,
        };
        self.command::<Order>(call, deal.order_id, command).await?;
        if self.came_too_late(deal).await.map_err(unread)? {
            let reason = "the exclusive licence of the track was bought first".to_owned();
            // What is refused is not undone, and the order is there.
            let undoing = StepCall { way: Way::Undo, ..*call };
            let cancel = OrderCommand::Cancel { reason: reason.clone() };
            self.command::<Order>(&undoing, deal.order_id, cancel).await?;
            return Err(ActivityError::Refused(reason));
        }
        Ok(json!({}))
    }

    /// Whether the exclusive licence of the track was reserved before this other one. The door
    /// looked before the reservation; only who looks after it sees all that came before. Whom this
    /// has cancelled stays so.
    async fn came_too_late(&self, deal: &LicenceReserved) -> Result<bool, LoadError> {
        let is_cancelled = |order: &Order| order.status == OrderStatus::Cancelled;
        if self.commands.inspect(deal.order_id, is_cancelled).await? {
            return Ok(true);
        }
        let kind = |listing: &Listing| listing.terms.as_ref().map(|terms| terms.kind);
        if self.commands.inspect(deal.listing_id, kind).await? == Some(LicenceKind::Exclusive) {
            return Ok(false);
        }
        let exclusive = ExclusiveLicence::of(&self.commands, deal.track_id).await?;
        let ExclusiveLicence::Taken { listing, order } = exclusive else { return Ok(false) };
        let first = self.reserved_at(listing, order).await?;
        Ok(first < self.reserved_at(deal.listing_id, deal.order_id).await?)
    }

    /// Where it stands in the log that a licence was reserved for an order.
    async fn reserved_at(
        &self,
        listing: ListingId,
        order: OrderId,
    ) -> Result<Option<Position>, LoadError> {
        let is_it = |event: &ListingEvent| match event {
            ListingEvent::LicenceReserved(reserved) => reserved.order_id == order,
            _ => false,
        };
        self.commands.last_such::<Listing>(listing, is_it).await
    }

    pub(super) async fn cancel_order(&self, call: &StepCall<'_>, deal: &LicenceReserved) -> Done {
        let reason = call.reason().to_owned();
        self.command::<Order>(call, deal.order_id, OrderCommand::Cancel { reason }).await?;
        Ok(json!({}))
    }

    pub(super) async fn authorise(&self, call: &StepCall<'_>, deal: &LicenceReserved) -> Done {
        let request = Authorise {
            key: call.key(),
            order_id: deal.order_id,
            buyer_id: deal.buyer_id,
            amount: deal.price,
            payment_method: deal.payment_method.clone(),
        };
        let outcome = answered(self.gateway.authorise(request).await)?;
        self.note_authorisation(call, deal, outcome).await
    }

    pub(super) async fn note_authorisation(
        &self,
        call: &StepCall<'_>,
        deal: &LicenceReserved,
        outcome: Outcome,
    ) -> Done {
        let order_id = deal.order_id;
        match outcome {
            Outcome::Done(receipt) => {
                let command = PaymentCommand::RecordAuthorised {
                    order_id,
                    buyer_id: deal.buyer_id,
                    amount: receipt.amount,
                    gateway_reference: receipt.reference.clone(),
                };
                self.note(call, deal, command).await?;
                Ok(json!({ "reference": receipt.reference }))
            }
            Outcome::Declined(reason) => {
                let command = PaymentCommand::RecordDeclined { order_id, reason: reason.clone() };
                self.note(call, deal, command).await?;
                Err(ActivityError::Refused(format!("the payment was declined: {reason}")))
            }
        }
    }

    pub(super) async fn void(&self, call: &StepCall<'_>, deal: &LicenceReserved) -> Done {
        let outcome = answered(self.gateway.void(settle(call)?).await)?;
        self.note_void(call, deal, outcome).await
    }

    pub(super) async fn note_void(
        &self,
        call: &StepCall<'_>,
        deal: &LicenceReserved,
        outcome: Outcome,
    ) -> Done {
        carried_out(outcome)?;
        let reason = call.reason().to_owned();
        self.note(call, deal, PaymentCommand::RecordVoided { reason }).await?;
        Ok(json!({}))
    }

    pub(super) async fn hold_escrow(&self, call: &StepCall<'_>, deal: &LicenceReserved) -> Done {
        let command = EscrowCommand::Hold {
            order_id: deal.order_id,
            buyer_id: deal.buyer_id,
            seller_id: deal.seller_id,
            amount: deal.price,
        };
        self.command::<Escrow>(call, deal.order_id, command).await?;
        Ok(json!({}))
    }

    pub(super) async fn refund_escrow(&self, call: &StepCall<'_>, deal: &LicenceReserved) -> Done {
        let reason = call.reason().to_owned();
        self.command::<Escrow>(call, deal.order_id, EscrowCommand::Refund { reason }).await?;
        Ok(json!({}))
    }

    pub(super) async fn deliver(&self, call: &StepCall<'_>, deal: &LicenceReserved) -> Done {
        let delivered = |order: &Order| order.object_key.clone();
        let delivered = self.commands.inspect::<Order, _>(deal.order_id, delivered).await;
        let delivered = delivered.map_err(unread)?;
        // Delivered before the last crash: what came of the master since is no matter.
        if let Some(object_key) = delivered {
            return Ok(json!({ "object_key": object_key }));
        }
        let object_key = self.master(deal.track_id).await?;
        let command = OrderCommand::RecordDelivered { object_key: object_key.clone() };
        self.command::<Order>(call, deal.order_id, command).await?;
        Ok(json!({ "object_key": object_key }))
    }

    pub(super) async fn capture(&self, call: &StepCall<'_>, deal: &LicenceReserved) -> Done {
        let outcome = answered(self.gateway.capture(settle(call)?).await)?;
        self.note_capture(call, deal, outcome).await
    }

    pub(super) async fn note_capture(
        &self,
        call: &StepCall<'_>,
        deal: &LicenceReserved,
        outcome: Outcome,
    ) -> Done {
        carried_out(outcome)?;
        self.note(call, deal, PaymentCommand::RecordCaptured).await?;
        Ok(json!({}))
    }

    pub(super) async fn accept(&self, call: &StepCall<'_>, deal: &LicenceReserved) -> Done {
        // Where the buyer has accepted, this changes nothing.
        self.command::<Order>(call, deal.order_id, OrderCommand::AcceptInSilence).await?;
        Ok(json!({}))
    }

    pub(super) async fn release(&self, call: &StepCall<'_>, deal: &LicenceReserved) -> Done {
        let Settle { key, reference } = settle(call)?;
        let request = PayOut { key, reference, seller_id: deal.seller_id };
        let outcome = answered(self.gateway.pay_out(request).await)?;
        self.note_payout(call, deal, outcome).await
    }

    pub(super) async fn note_payout(
        &self,
        call: &StepCall<'_>,
        deal: &LicenceReserved,
        outcome: Outcome,
    ) -> Done {
        carried_out(outcome)?;
        self.command::<Escrow>(call, deal.order_id, EscrowCommand::Release).await?;
        Ok(json!({}))
    }

    pub(super) async fn complete(&self, call: &StepCall<'_>, deal: &LicenceReserved) -> Done {
        let order_id = deal.order_id;
        self.command::<Listing>(call, deal.listing_id, ListingCommand::MarkSold { order_id })
            .await?;
        self.command::<Order>(call, order_id, OrderCommand::Complete).await?;
        Ok(json!({}))
    }

    /// The object that is handed out; refused when there is none, or it was taken down.
    async fn master(&self, track_id: TrackId) -> Result<String, ActivityError> {
        let look = |track: &Track| match (track.master(), &track.taken_down_because) {
            (Some(master), _) => Ok(master.object_key.clone()),
            (None, Some(why)) => Err(format!("the track's master was taken down: {why}")),
            (None, None) => Err("the track is not there".to_owned()),
        };
        let looked = self.commands.inspect::<Track, _>(track_id, look).await;
        let looked = looked.map_err(unread)?;
        looked.map_err(ActivityError::Refused)
    }

    /// What came of the gateway request of this step.
    pub(super) async fn find(&self, call: &StepCall<'_>) -> Result<Option<Outcome>, ActivityError> {
        let found = self.gateway.find(call.key()).await;
        // Asking changes nothing, so an answer that is lost is asked for again.
        found.map_err(not_answered)
    }

    /// Has the gateway never carry the request of this step out; what came of it, when it did.
    pub(super) async fn give_up(
        &self,
        call: &StepCall<'_>,
        deal: &LicenceReserved,
    ) -> Result<Option<Outcome>, ActivityError> {
        self.gateway.give_up(call.key(), deal.order_id).await.map_err(not_answered)
    }

    /// Notes what the gateway has done. It is a fact by now: a refusal to note it must not look as
    /// though it had not been done, so it is tried again until an operator looks.
    async fn note(
        &self,
        call: &StepCall<'_>,
        deal: &LicenceReserved,
        command: PaymentCommand,
    ) -> Result<(), ActivityError> {
        let noted = self.command::<Payment>(call, deal.order_id, command).await;
        noted.map_err(|error| match error {
            ActivityError::Refused(reason) => ActivityError::Transient(reason),
            other => other,
        })
    }

    async fn command<A: Decider>(
        &self,
        call: &StepCall<'_>,
        id: A::Id,
        command: A::Command,
    ) -> Result<(), ActivityError> {
        execute::<A>(&self.commands, call, id, command).await
    }
}

fn unread(error: LoadError) -> ActivityError {
    ActivityError::Transient(error.to_string())
}

/// The request about what was authorised before.
fn settle(call: &StepCall<'_>) -> Result<Settle, ActivityError> {
    let output = call.state.output("authorise");
    let reference = output.and_then(|output| output["reference"].as_str());
    let reference = reference
        .ok_or_else(|| ActivityError::Refused("nothing was authorised for the order".to_owned()))?;
    Ok(Settle { key: call.key(), reference: reference.to_owned() })
}

/// The gateway's answer as its own record would have it.
fn answered(answer: Result<Receipt, GatewayError>) -> Result<Outcome, ActivityError> {
    match answer {
        Ok(receipt) => Ok(Outcome::Done(receipt)),
        Err(GatewayError::Declined { reason }) => Ok(Outcome::Declined(reason)),
        Err(error @ GatewayError::Unavailable { .. }) => {
            Err(ActivityError::Unavailable(error.to_string()))
        }
        Err(error @ GatewayError::Timeout) => Err(ActivityError::Ambiguous(error.to_string())),
        Err(error @ (GatewayError::KeyReused | GatewayError::NotPossible { .. })) => {
            Err(ActivityError::Refused(error.to_string()))
        }
    }
}

/// Why a question that changes nothing was not answered.
fn not_answered(error: GatewayError) -> ActivityError {
    match error {
        GatewayError::Unavailable { .. } | GatewayError::Timeout => {
            ActivityError::Unavailable(error.to_string())
        }
        _ => ActivityError::Transient(error.to_string()),
    }
}

fn carried_out(outcome: Outcome) -> Result<Receipt, ActivityError> {
    match outcome {
        Outcome::Done(receipt) => Ok(receipt),
        Outcome::Declined(reason) => {
            Err(ActivityError::Refused(format!("the gateway declined: {reason}")))
        }
    }
}
