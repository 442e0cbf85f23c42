//! The purchase of a licence: from its reservation to everybody having what is theirs.
//!
//! ```text
//! LicenceReserved            undone by
//!   reserve                    release the reservation
//!   place-order                cancel the order, with the reason
//!   authorise                  void the payment
//!   hold-escrow                refund the escrow
//!   await-approval             (only for delivery on approval)
//!   deliver
//!   capture                    no way back behind this
//!   await-acceptance           (the buyer's, or the end of the hold period)
//!   accept
//!   release
//!   complete
//! ```
//!
//! The reservation is the commit point of buying: the listing gives an exclusive licence to exactly
//! one order, before any money moves.

use std::sync::Arc;

use aggregates::CommandHandler;
use chrono::TimeDelta;
use event_schemas::commerce::{DeliveryMode, LicenceReserved, ListingEvent, OrderEvent};
use event_schemas::{EventFamily, OrderId};
use event_store::{RecordedEvent, StreamName};
use serde_json::{Value, json};

use crate::activities::PaymentGateway;
use crate::orchestrator::journal::{decode, stream_of};
use crate::orchestrator::{SagaDefinition, Signal, Start, Step, Timeout, Wait};

mod shop;
mod task;

use shop::Shop;
use task::{Part, Task};

/// The kind of this saga.
pub const KIND: &str = "checkout";

/// The version of its definition; a change of its steps is a new version beside this one.
const VERSION: u32 = 1;

const AWAIT_APPROVAL: &str = "await-approval";
const AWAIT_ACCEPTANCE: &str = "await-acceptance";

/// How long a purchase waits for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckoutSettings {
    /// How long the seller has to approve; then the order is cancelled.
    pub approval_period: TimeDelta,
    /// How long the buyer has to object after delivery; then the order counts as accepted.
    pub hold_period: TimeDelta,
}

impl Default for CheckoutSettings {
    fn default() -> Self {
        Self { approval_period: TimeDelta::days(3), hold_period: TimeDelta::days(14) }
    }
}

/// The stream of the purchase that an order is of.
pub fn checkout_stream(order_id: OrderId) -> StreamName {
    stream_of(KIND, order_id.0)
}

/// The purchase, by these commands and this gateway.
pub fn checkout(
    commands: Arc<CommandHandler>,
    gateway: Arc<dyn PaymentGateway>,
    settings: CheckoutSettings,
) -> SagaDefinition {
    let shop = Arc::new(Shop { commands, gateway });
    let task = |part| Task { shop: shop.clone(), part };
    let approval = Wait {
        needed: on_approval,
        deadline: settings.approval_period,
        timeout: Timeout::Refuse("the seller did not approve the order in time"),
    };
    let acceptance =
        Wait { needed: |_| true, deadline: settings.hold_period, timeout: Timeout::GoOn };
    let steps = vec![
        Step::action("reserve", task(Part::Reserve)).undo(task(Part::ReleaseReservation)),
        Step::action("place-order", task(Part::PlaceOrder)).undo(task(Part::CancelOrder)),
        Step::action("authorise", task(Part::Authorise)).undo(task(Part::Void)),
        Step::action("hold-escrow", task(Part::HoldEscrow)).undo(task(Part::RefundEscrow)),
        Step::wait(AWAIT_APPROVAL, approval),
        Step::action("deliver", task(Part::Deliver)),
        Step::action("capture", task(Part::Capture)).pivot(),
        Step::wait(AWAIT_ACCEPTANCE, acceptance),
        Step::action("accept", task(Part::Accept)),
        Step::action("release", task(Part::Release)),
        Step::action("complete", task(Part::Complete)),
    ];
    SagaDefinition {
        kind: KIND,
        version: VERSION,
        steps,
        categories: vec![ListingEvent::CATEGORY, OrderEvent::CATEGORY],
        start,
        signal,
        owner: |input| input["buyer_id"].as_str(),
    }
}

fn on_approval(input: &Value) -> bool {
    // What can't be read here is refused by the steps before.
    let reserved = serde_json::from_value::<LicenceReserved>(input.clone());
    reserved.is_ok_and(|reserved| reserved.delivery == DeliveryMode::OnApproval)
}

fn start(event: &RecordedEvent) -> Option<Start> {
    if event.event_type.as_str() != "LicenceReserved" {
        return None;
    }
    match decode::<ListingEvent>(event) {
        Ok((ListingEvent::LicenceReserved(reserved), _)) => Some(Start {
            subject: reserved.order_id.0,
            input: serde_json::to_value(reserved).expect("events are plain data"),
        }),
        Ok(_) => None,
        Err(error) => {
            let position = event.position.get();
            tracing::error!(position, ?error, "a reservation that starts no purchase");
            None
        }
    }
}

fn signal(event: &RecordedEvent) -> Option<Signal> {
    let step = match event.event_type.as_str() {
        "OrderApproved" => AWAIT_APPROVAL,
        "OrderAccepted" => AWAIT_ACCEPTANCE,
        _ => return None,
    };
    let order_id = match decode::<OrderEvent>(event) {
        Ok((OrderEvent::OrderApproved(approved), _)) => approved.order_id,
        Ok((OrderEvent::OrderAccepted(accepted), _)) => accepted.order_id,
        Ok(_) => return None,
        Err(error) => {
            let position = event.position.get();
            tracing::error!(position, ?error, "an event of an order that is not heard");
            return None;
        }
    };
    Some(Signal { subject: order_id.0, step, payload: json!({ "event_id": event.id }) })
}

#[cfg(test)]
mod tests;
