//! What the payment gateway has done for an order: a record of facts, each noted once.

use event_schemas::commerce::{
    PaymentAuthorised, PaymentCaptured, PaymentDeclined, PaymentEvent, PaymentVoided,
};
use event_schemas::{Money, OrderId, UserId};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::commerce::amount::{self, AmountError};
use crate::decider::{Decider, aggregate};
use crate::text::{self, TextError};

/// Longest reference of a gateway, in characters.
pub const GATEWAY_REFERENCE_CHARS_MAX: usize = 255;

/// What can be noted of a payment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum PaymentCommand {
    /// The gateway keeps the amount ready.
    RecordAuthorised {
        /// For which order.
        order_id: OrderId,
        /// Who pays.
        buyer_id: UserId,
        /// How much.
        amount: Money,
        /// What the gateway calls it.
        gateway_reference: String,
    },
    /// The gateway refused.
    RecordDeclined {
        /// For which order.
        order_id: OrderId,
        /// Why, in the gateway's words.
        reason: String,
    },
    /// The gateway took the amount.
    RecordCaptured,
    /// The gateway no longer keeps the amount, and took nothing.
    RecordVoided {
        /// Why.
        reason: String,
    },
}

/// Why something is not noted of a payment.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PaymentRejection {
    /// The gateway keeps nothing for the order.
    #[error("the payment is not authorised")]
    NotAuthorised,
    /// The gateway keeps something else for the order.
    #[error("the payment is authorised otherwise")]
    AuthorisedOtherwise,
    /// The gateway refused before.
    #[error("the payment was declined")]
    AlreadyDeclined,
    /// The gateway took the amount before.
    #[error("the payment was captured")]
    AlreadyCaptured,
    /// The gateway let go of the amount before.
    #[error("the payment was voided")]
    AlreadyVoided,
    /// The amount can't be paid.
    #[error(transparent)]
    Amount(#[from] AmountError),
    /// The reference can't be taken.
    #[error(transparent)]
    Text(#[from] TextError),
}

/// How far a payment has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PaymentStatus {
    /// The gateway was not heard of.
    #[default]
    Unknown,
    /// The gateway keeps the amount ready.
    Authorised,
    /// The gateway refused.
    Declined,
    /// The gateway took the amount.
    Captured,
    /// The gateway let go of the amount.
    Voided,
}

/// The payment of one order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Payment {
    /// What the gateway keeps, or kept.
    pub authorised: Option<PaymentAuthorised>,
    /// How far it has come.
    pub status: PaymentStatus,
}

aggregate!(Payment: PaymentCommand => PaymentEvent, PaymentRejection);

impl Decider for Payment {
    type Id = OrderId;

    fn decide(&self, command: PaymentCommand) -> Result<Vec<PaymentEvent>, PaymentRejection> {
        match command {
            PaymentCommand::RecordAuthorised { order_id, buyer_id, amount, gateway_reference } => {
                let gateway_reference = text::line(
                    "gateway reference",
                    &gateway_reference,
                    GATEWAY_REFERENCE_CHARS_MAX,
                )?;
                self.authorised(PaymentAuthorised { order_id, buyer_id, amount, gateway_reference })
            }
            PaymentCommand::RecordDeclined { order_id, reason } => {
                let reason = text::reason(&reason);
                match self.status {
                    PaymentStatus::Unknown => Ok(vec![PaymentDeclined { order_id, reason }.into()]),
                    PaymentStatus::Declined => Ok(vec![]),
                    PaymentStatus::Authorised => Err(PaymentRejection::AuthorisedOtherwise),
                    PaymentStatus::Captured => Err(PaymentRejection::AlreadyCaptured),
                    PaymentStatus::Voided => Err(PaymentRejection::AlreadyVoided),
                }
            }
            PaymentCommand::RecordCaptured => match self.status {
                PaymentStatus::Captured => Ok(vec![]),
                PaymentStatus::Voided => Err(PaymentRejection::AlreadyVoided),
                _ => Ok(vec![PaymentCaptured { order_id: self.kept_for()? }.into()]),
            },
            PaymentCommand::RecordVoided { reason } => match self.status {
                PaymentStatus::Voided => Ok(vec![]),
                PaymentStatus::Captured => Err(PaymentRejection::AlreadyCaptured),
                _ => {
                    let (order_id, reason) = (self.kept_for()?, text::reason(&reason));
                    Ok(vec![PaymentVoided { order_id, reason }.into()])
                }
            },
        }
    }

    fn evolve(&mut self, event: PaymentEvent) {
        self.status = match event {
            PaymentEvent::PaymentAuthorised(authorised) => {
                self.authorised = Some(authorised);
                PaymentStatus::Authorised
            }
            PaymentEvent::PaymentDeclined(_) => PaymentStatus::Declined,
            PaymentEvent::PaymentCaptured(_) => PaymentStatus::Captured,
            PaymentEvent::PaymentVoided(_) => PaymentStatus::Voided,
        };
    }
}

impl Payment {
    fn authorised(
        &self,
        authorised: PaymentAuthorised,
    ) -> Result<Vec<PaymentEvent>, PaymentRejection> {
        if self.status == PaymentStatus::Declined {
            return Err(PaymentRejection::AlreadyDeclined);
        }
        match &self.authorised {
            // A late repetition is the same fact, whatever has come of it since.
            Some(known) if *known == authorised => Ok(vec![]),
            Some(_) => Err(PaymentRejection::AuthorisedOtherwise),
            None => {
                amount::check(authorised.amount)?;
                Ok(vec![authorised.into()])
            }
        }
    }

    fn kept_for(&self) -> Result<OrderId, PaymentRejection> {
        let authorised = self.authorised.as_ref().ok_or(PaymentRejection::NotAuthorised)?;
        Ok(authorised.order_id)
    }
}

#[cfg(test)]
mod tests {
    use cqrs_es::test::{AggregateTestExecutor, TestFramework};
    use event_schemas::Currency;
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    const ORDER: OrderId = OrderId(Uuid::from_u128(100));

    fn authorise(amount_minor: u64) -> PaymentCommand {
        PaymentCommand::RecordAuthorised {
            order_id: ORDER,
            buyer_id: UserId(Uuid::from_u128(11)),
            amount: Money::new(amount_minor, Currency::EUR),
            gateway_reference: "auth-1".to_owned(),
        }
    }

    fn authorised() -> PaymentEvent {
        PaymentAuthorised {
            order_id: ORDER,
            buyer_id: UserId(Uuid::from_u128(11)),
            amount: Money::new(900, Currency::EUR),
            gateway_reference: "auth-1".to_owned(),
        }
        .into()
    }

    fn decline() -> PaymentCommand {
        PaymentCommand::RecordDeclined { order_id: ORDER, reason: "no funds".to_owned() }
    }

    fn declined() -> PaymentEvent {
        PaymentDeclined { order_id: ORDER, reason: "no funds".to_owned() }.into()
    }

    fn captured() -> PaymentEvent {
        PaymentCaptured { order_id: ORDER }.into()
    }

    fn void() -> PaymentCommand {
        PaymentCommand::RecordVoided { reason: "cancelled".to_owned() }
    }

    fn voided() -> PaymentEvent {
        PaymentVoided { order_id: ORDER, reason: "cancelled".to_owned() }.into()
    }

    fn given(events: Vec<PaymentEvent>) -> AggregateTestExecutor<Payment> {
        TestFramework::with(()).given(events)
    }

    #[test]
    fn a_fact_is_noted_once() {
        given(vec![]).when(authorise(900)).then_expect_events(vec![authorised()]);
        given(vec![authorised()]).when(authorise(900)).then_expect_events(vec![]);
        given(vec![authorised(), captured()]).when(authorise(900)).then_expect_events(vec![]);
        given(vec![]).when(decline()).then_expect_events(vec![declined()]);
        given(vec![declined()]).when(decline()).then_expect_events(vec![]);
        given(vec![authorised(), captured()])
            .when(PaymentCommand::RecordCaptured)
            .then_expect_events(vec![]);
        given(vec![authorised(), voided()]).when(void()).then_expect_events(vec![]);
    }

    #[test]
    fn another_amount_is_another_payment() {
        given(vec![authorised()])
            .when(authorise(901))
            .then_expect_error(PaymentRejection::AuthorisedOtherwise);
        let too_large = AmountError::TooLarge { max_minor: amount::AMOUNT_MINOR_MAX };
        given(vec![]).when(authorise(u64::MAX)).then_expect_error(too_large.into());
    }

    #[test]
    fn only_what_is_authorised_is_captured_or_voided() {
        given(vec![])
            .when(PaymentCommand::RecordCaptured)
            .then_expect_error(PaymentRejection::NotAuthorised);
        given(vec![declined()]).when(void()).then_expect_error(PaymentRejection::NotAuthorised);
        given(vec![authorised()])
            .when(PaymentCommand::RecordCaptured)
            .then_expect_events(vec![captured()]);
        given(vec![authorised()]).when(void()).then_expect_events(vec![voided()]);
    }

    #[test]
    fn captured_and_voided_exclude_each_other() {
        given(vec![authorised(), captured()])
            .when(void())
            .then_expect_error(PaymentRejection::AlreadyCaptured);
        given(vec![authorised(), voided()])
            .when(PaymentCommand::RecordCaptured)
            .then_expect_error(PaymentRejection::AlreadyVoided);
        given(vec![declined()])
            .when(authorise(900))
            .then_expect_error(PaymentRejection::AlreadyDeclined);
    }

    proptest! {
        #[test]
        fn a_payment_is_charged_once_or_not_at_all(
            commands in prop::collection::vec(
                prop_oneof![
                    Just(authorise(900)), Just(authorise(5)), Just(decline()), Just(void()),
                    Just(PaymentCommand::RecordCaptured),
                ],
                1..30,
            ),
        ) {
            let mut payment = Payment::default();
            let (mut authorisations, mut captures, mut ends) = (0, 0, 0);
            for command in commands {
                for event in payment.decide(command).unwrap_or_default() {
                    match event {
                        PaymentEvent::PaymentAuthorised(_) => authorisations += 1,
                        PaymentEvent::PaymentCaptured(_) => { captures += 1; ends += 1 }
                        _ => ends += 1,
                    }
                    prop_assert!(authorisations <= 1 && captures <= authorisations && ends <= 1);
                    payment.evolve(event);
                }
            }
        }
    }
}
