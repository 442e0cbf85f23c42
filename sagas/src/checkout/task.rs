//! The steps of a purchase as activities.

use std::sync::Arc;

use async_trait::async_trait;
use event_schemas::commerce::LicenceReserved;
use serde_json::Value;

use crate::activities::payment::Outcome;
use crate::checkout::shop::Shop;
use crate::orchestrator::{Activity, ActivityError, StepCall};

/// One part of a purchase, done or undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Reserve,
    ReleaseReservation,
    PlaceOrder,
    CancelOrder,
    Authorise,
    Void,
    HoldEscrow,
    RefundEscrow,
    Deliver,
    Capture,
    Accept,
    Release,
    Complete,
}

/// A part, and whom it is done with.
pub(super) struct Task {
    pub(super) shop: Arc<Shop>,
    pub(super) part: Part,
}

#[async_trait]
impl Activity for Task {
    async fn run(&self, call: &StepCall<'_>) -> Result<Value, ActivityError> {
        let (shop, deal) = (&self.shop, deal(call)?);
        match self.part {
            Part::Reserve => shop.reserve(call, &deal).await,
            Part::ReleaseReservation => shop.release_reservation(call, &deal).await,
            Part::PlaceOrder => shop.place_order(call, &deal).await,
            Part::CancelOrder => shop.cancel_order(call, &deal).await,
            Part::Authorise => shop.authorise(call, &deal).await,
            Part::Void => shop.void(call, &deal).await,
            Part::HoldEscrow => shop.hold_escrow(call, &deal).await,
            Part::RefundEscrow => shop.refund_escrow(call, &deal).await,
            Part::Deliver => shop.deliver(call, &deal).await,
            Part::Capture => shop.capture(call, &deal).await,
            Part::Accept => shop.accept(call, &deal).await,
            Part::Release => shop.release(call, &deal).await,
            Part::Complete => shop.complete(call, &deal).await,
        }
    }

    async fn find(&self, call: &StepCall<'_>) -> Result<Option<Value>, ActivityError> {
        let (shop, deal) = (&self.shop, deal(call)?);
        let Some(outcome) = shop.find(call).await? else {
            return Ok(None);
        };
        self.note(call, &deal, outcome).await
    }

    fn calls_out(&self) -> bool {
        matches!(self.part, Part::Authorise | Part::Void | Part::Capture | Part::Release)
    }

    async fn give_up(&self, call: &StepCall<'_>) -> Result<Option<Value>, ActivityError> {
        let (shop, deal) = (&self.shop, deal(call)?);
        // Only the gateway answers so: whether a command was carried out has no other witness.
        if !matches!(self.part, Part::Authorise | Part::Capture) {
            return Err(ActivityError::Ambiguous("a command can't be given up".to_owned()));
        }
        match shop.give_up(call, &deal).await? {
            Some(outcome) => self.note(call, &deal, outcome).await,
            None => Ok(None),
        }
    }
}

impl Task {
    /// Notes what the gateway is found to have done.
    async fn note(
        &self,
        call: &StepCall<'_>,
        deal: &LicenceReserved,
        outcome: Outcome,
    ) -> Result<Option<Value>, ActivityError> {
        let shop = &self.shop;
        let noted = match self.part {
            Part::Authorise => shop.note_authorisation(call, deal, outcome).await,
            Part::Capture => shop.note_capture(call, deal, outcome).await,
            Part::Void => shop.note_void(call, deal, outcome).await,
            Part::Release => shop.note_payout(call, deal, outcome).await,
            // They do not ask the gateway, so nothing under their keys is there.
            _ => return Ok(None),
        };
        noted.map(Some)
    }
}

/// What was agreed when the licence was reserved.
fn deal(call: &StepCall<'_>) -> Result<LicenceReserved, ActivityError> {
    serde_json::from_value(call.state.input.clone())
        .map_err(|error| ActivityError::Refused(format!("the order is not readable: {error}")))
}
