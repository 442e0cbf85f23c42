//! The money between buyer and seller: held, and then released to one or refunded to the other.

use event_schemas::commerce::{EscrowEvent, EscrowHeld, EscrowRefunded, EscrowReleased};
use event_schemas::{Money, OrderId, UserId};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::commerce::amount::{self, AmountError};
use crate::decider::{Decider, aggregate};
use crate::text;

/// What can be asked of an escrow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum EscrowCommand {
    /// Promise the buyer's money to the seller.
    Hold {
        /// For which order.
        order_id: OrderId,
        /// Whose money it is.
        buyer_id: UserId,
        /// Whose it will be.
        seller_id: UserId,
        /// How much.
        amount: Money,
    },
    /// Give it to the seller.
    Release,
    /// Give it back to the buyer.
    Refund {
        /// Why.
        reason: String,
    },
}

/// Why an escrow refuses.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EscrowRejection {
    /// Nothing was ever held.
    #[error("nothing is held for the order")]
    NotHeld,
    /// Something else was held for the order.
    #[error("something else is held for the order")]
    HeldOtherwise,
    /// The amount can't be held.
    #[error(transparent)]
    Amount(#[from] AmountError),
    /// It is the seller's already.
    #[error("the money was released to the seller")]
    AlreadyReleased,
    /// It is the buyer's again already.
    #[error("the money was refunded to the buyer")]
    AlreadyRefunded,
}

/// Where the money is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EscrowStatus {
    /// Nothing was ever held.
    #[default]
    Empty,
    /// Between the two.
    Held,
    /// With the seller.
    Released,
    /// With the buyer again.
    Refunded,
}

/// The money between buyer and seller of one order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Escrow {
    /// What was held; `None` before anything is.
    pub held: Option<EscrowHeld>,
    /// Where it is.
    pub status: EscrowStatus,
}

aggregate!(Escrow: EscrowCommand => EscrowEvent, EscrowRejection);

impl Decider for Escrow {
    type Id = OrderId;

    fn decide(&self, command: EscrowCommand) -> Result<Vec<EscrowEvent>, EscrowRejection> {
        match command {
            EscrowCommand::Hold { order_id, buyer_id, seller_id, amount } => {
                let hold = EscrowHeld { order_id, buyer_id, seller_id, amount };
                match &self.held {
                    Some(held) if *held == hold => Ok(vec![]),
                    Some(_) => Err(EscrowRejection::HeldOtherwise),
                    None => {
                        amount::check(amount)?;
                        Ok(vec![hold.into()])
                    }
                }
            }
            EscrowCommand::Release => {
                let order_id = self.order_id()?;
                match self.status {
                    EscrowStatus::Released => Ok(vec![]),
                    EscrowStatus::Refunded => Err(EscrowRejection::AlreadyRefunded),
                    _ => Ok(vec![EscrowReleased { order_id }.into()]),
                }
            }
            EscrowCommand::Refund { reason } => {
                let order_id = self.order_id()?;
                let reason = text::reason(&reason);
                match self.status {
                    EscrowStatus::Refunded => Ok(vec![]),
                    EscrowStatus::Released => Err(EscrowRejection::AlreadyReleased),
                    _ => Ok(vec![EscrowRefunded { order_id, reason }.into()]),
                }
            }
        }
    }

    fn evolve(&mut self, event: EscrowEvent) {
        match event {
            EscrowEvent::EscrowHeld(held) => {
                self.held = Some(held);
                self.status = EscrowStatus::Held;
            }
            EscrowEvent::EscrowReleased(_) => self.status = EscrowStatus::Released,
            EscrowEvent::EscrowRefunded(_) => self.status = EscrowStatus::Refunded,
        }
    }
}

impl Escrow {
    fn order_id(&self) -> Result<OrderId, EscrowRejection> {
        self.held.as_ref().map(|held| held.order_id).ok_or(EscrowRejection::NotHeld)
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

    fn hold(amount_minor: u64) -> EscrowCommand {
        EscrowCommand::Hold {
            order_id: ORDER,
            buyer_id: UserId(Uuid::from_u128(11)),
            seller_id: UserId(Uuid::from_u128(10)),
            amount: Money::new(amount_minor, Currency::EUR),
        }
    }

    fn held() -> EscrowEvent {
        EscrowHeld {
            order_id: ORDER,
            buyer_id: UserId(Uuid::from_u128(11)),
            seller_id: UserId(Uuid::from_u128(10)),
            amount: Money::new(900, Currency::EUR),
        }
        .into()
    }

    fn refund() -> EscrowCommand {
        EscrowCommand::Refund { reason: "taken down".to_owned() }
    }

    fn refunded() -> EscrowEvent {
        EscrowRefunded { order_id: ORDER, reason: "taken down".to_owned() }.into()
    }

    fn released() -> EscrowEvent {
        EscrowReleased { order_id: ORDER }.into()
    }

    fn given(events: Vec<EscrowEvent>) -> AggregateTestExecutor<Escrow> {
        TestFramework::with(()).given(events)
    }

    #[test]
    fn money_is_held_once() {
        given(vec![]).when(hold(900)).then_expect_events(vec![held()]);
        given(vec![held()]).when(hold(900)).then_expect_events(vec![]);
        given(vec![held()]).when(hold(901)).then_expect_error(EscrowRejection::HeldOtherwise);
        given(vec![]).when(hold(0)).then_expect_error(AmountError::Zero.into());
    }

    #[test]
    fn only_what_is_held_goes_on() {
        given(vec![]).when(EscrowCommand::Release).then_expect_error(EscrowRejection::NotHeld);
        given(vec![]).when(refund()).then_expect_error(EscrowRejection::NotHeld);
        given(vec![held()]).when(EscrowCommand::Release).then_expect_events(vec![released()]);
        given(vec![held()]).when(refund()).then_expect_events(vec![refunded()]);
    }

    #[test]
    fn what_has_gone_one_way_does_not_go_the_other() {
        given(vec![held(), released()])
            .when(refund())
            .then_expect_error(EscrowRejection::AlreadyReleased);
        given(vec![held(), refunded()])
            .when(EscrowCommand::Release)
            .then_expect_error(EscrowRejection::AlreadyRefunded);
        given(vec![held(), released()]).when(EscrowCommand::Release).then_expect_events(vec![]);
        given(vec![held(), refunded()]).when(refund()).then_expect_events(vec![]);
    }

    proptest! {
        #[test]
        fn money_goes_one_way_at_most(
            commands in prop::collection::vec(
                prop_oneof![
                    Just(hold(900)), Just(hold(1)), Just(EscrowCommand::Release), Just(refund()),
                ],
                1..30,
            ),
        ) {
            let mut escrow = Escrow::default();
            let (mut holds, mut ends) = (0, 0);
            for command in commands {
                for event in escrow.decide(command).unwrap_or_default() {
                    match event {
                        EscrowEvent::EscrowHeld(_) => holds += 1,
                        EscrowEvent::EscrowReleased(_) | EscrowEvent::EscrowRefunded(_) => {
                            ends += 1;
                        }
                    }
                    prop_assert!(holds <= 1 && ends <= holds);
                    escrow.evolve(event);
                }
            }
        }
    }
}
