//! The sandbox's books: double entry, every request once, rebuilt from its entries.

use std::collections::{BTreeMap, HashMap};

use event_schemas::{Currency, Money, OrderId, UserId};
use serde::{Deserialize, Serialize};

use crate::activities::payment::{Outcome, Receipt};
use crate::activities::sandbox::mode::Mode;
use crate::orchestrator::IdempotencyKey;

/// An account in the books.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Account {
    /// What a buyer has left; it starts at zero and goes below.
    Buyer(UserId),
    /// What is kept ready for an order, and is still the buyer's.
    AuthorisedHold(OrderId),
    /// What was taken for an order, and the platform holds.
    PlatformHeld(OrderId),
    /// What a seller was paid.
    Seller(UserId),
}

/// What was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "operation")]
pub enum Request {
    /// Keep an amount ready.
    Authorise {
        /// For which order.
        order_id: OrderId,
        /// Who pays.
        buyer_id: UserId,
        /// How much.
        amount: Money,
        /// How.
        payment_method: String,
    },
    /// Take it.
    Capture {
        /// The authorisation's reference.
        reference: String,
    },
    /// Let go of it.
    Void {
        /// The authorisation's reference.
        reference: String,
    },
    /// Pay it out.
    PayOut {
        /// The authorisation's reference.
        reference: String,
        /// To whom.
        seller_id: UserId,
    },
    /// Never do what was or will be asked under this key.
    GiveUp {
        /// For which order.
        order_id: OrderId,
    },
}

/// Why what was given up is declined.
pub(super) const GIVEN_UP: &str = "the request was given up";

/// One line of the books: a request, what came of it, and what it moved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The request's identity.
    pub key: IdempotencyKey,
    /// What was asked.
    pub request: Request,
    /// For which order.
    pub order_id: OrderId,
    /// What came of it.
    pub outcome: Outcome,
    /// What it moved; the amounts add up to zero.
    pub postings: Vec<Posting>,
}

/// An amount that came to an account, or left it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Posting {
    /// Which account.
    pub account: Account,
    /// How much, in minor units; below zero it left.
    pub amount_minor: i64,
    /// Of what.
    pub currency: Currency,
}

/// Where a payment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Authorised,
    Captured,
    Voided,
    PaidOut,
}

/// What is known about a payment.
#[derive(Clone, Debug)]
struct Payment {
    order_id: OrderId,
    buyer_id: UserId,
    amount: Money,
    mode: Mode,
    stage: Stage,
}

/// The books.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    entries: Vec<Entry>,
    by_key: HashMap<IdempotencyKey, usize>,
    payments: HashMap<String, Payment>,
    balances: BTreeMap<(Account, Currency), i128>,
}

impl Ledger {
    /// All entries, from old to new.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entries of an order, from old to new.
    pub fn entries_of(&self, order_id: OrderId) -> Vec<Entry> {
        let of_order = |entry: &&Entry| entry.order_id == order_id;
        self.entries.iter().filter(of_order).cloned().collect()
    }

    /// The entry of a request.
    pub fn find(&self, key: IdempotencyKey) -> Option<&Entry> {
        self.by_key.get(&key).map(|&index| &self.entries[index])
    }

    /// What is on an account, in minor units of the currency.
    pub fn balance(&self, account: Account, currency: Currency) -> i128 {
        let balance = self.balances.get(&(account, currency));
        balance.copied().unwrap_or_default()
    }

    /// The sum over all accounts; zero in every currency, or the books are wrong.
    pub fn totals(&self) -> BTreeMap<Currency, i128> {
        let mut totals = BTreeMap::new();
        for ((_, currency), balance) in &self.balances {
            *totals.entry(*currency).or_default() += balance;
        }
        totals
    }

    /// The mode of the payment that a request is about.
    pub(super) fn mode(&self, request: &Request) -> Result<Mode, String> {
        match request {
            Request::Authorise { payment_method, .. } => payment_method.parse(),
            Request::GiveUp { .. } => Ok(Mode::Well),
            Request::Capture { reference }
            | Request::Void { reference }
            | Request::PayOut { reference, .. } => self.payment(reference).map(|it| it.mode),
        }
    }

    /// The entry that a new request makes; an error when the payment's stage forbids it.
    pub(super) fn draft(&self, key: IdempotencyKey, request: Request) -> Result<Entry, String> {
        let (order_id, amount, reference) = match &request {
            Request::GiveUp { order_id } => {
                let (order_id, outcome) = (*order_id, Outcome::Declined(GIVEN_UP.to_owned()));
                return Ok(Entry { key, request, order_id, outcome, postings: vec![] });
            }
            Request::Authorise { order_id, amount, .. } => {
                (*order_id, *amount, format!("sandbox-{}", key.0))
            }
            Request::Capture { reference }
            | Request::Void { reference }
            | Request::PayOut { reference, .. } => {
                let payment = self.payment(reference)?;
                (payment.order_id, payment.amount, reference.clone())
            }
        };
        let minor = i64::try_from(amount.amount_minor);
        let minor = minor.map_err(|_| format!("{amount} is more than can be booked"))?;
        let declined = match &request {
            Request::Authorise { payment_method, .. } => {
                payment_method.parse::<Mode>()? == Mode::Decline
            }
            Request::Capture { reference } => {
                let payment = self.payment(reference)?;
                payment.stage == Stage::Authorised && payment.mode == Mode::DeclineCapture
            }
            _ => false,
        };
        let (outcome, postings) = if declined {
            (Outcome::Declined("the card was declined".to_owned()), vec![])
        } else {
            let (source, target) = self.accounts(&request)?;
            let posting = |account, amount_minor| Posting {
                account,
                amount_minor,
                currency: amount.currency,
            };
            let postings = vec![posting(source, -minor), posting(target, minor)];
            (Outcome::Done(Receipt { reference, amount }), postings)
        };
        Ok(Entry { key, request, order_id, outcome, postings })
    }

    /// Takes an entry into the books.
    pub(super) fn enter(&mut self, entry: Entry) {
        for posting in &entry.postings {
            let place = (posting.account, posting.currency);
            *self.balances.entry(place).or_default() += i128::from(posting.amount_minor);
        }
        if let Outcome::Done(receipt) = &entry.outcome {
            self.advance(&entry.request, receipt);
        }
        self.by_key.insert(entry.key, self.entries.len());
        self.entries.push(entry);
    }

    fn advance(&mut self, request: &Request, receipt: &Receipt) {
        let stage = match request {
            Request::Authorise { order_id, buyer_id, amount, payment_method } => {
                let payment = Payment {
                    order_id: *order_id,
                    buyer_id: *buyer_id,
                    amount: *amount,
                    // A mode that a later release no longer knows behaves well.
                    mode: payment_method.parse().unwrap_or(Mode::Well),
                    stage: Stage::Authorised,
                };
                self.payments.insert(receipt.reference.clone(), payment);
                return;
            }
            Request::Capture { .. } => Stage::Captured,
            Request::Void { .. } => Stage::Voided,
            Request::PayOut { .. } => Stage::PaidOut,
            Request::GiveUp { .. } => return,
        };
        if let Some(payment) = self.payments.get_mut(&receipt.reference) {
            payment.stage = stage;
        }
    }

    /// From which account to which a request moves the amount.
    fn accounts(&self, request: &Request) -> Result<(Account, Account), String> {
        let (reference, needed) = match request {
            Request::Authorise { order_id, buyer_id, .. } => {
                return Ok((Account::Buyer(*buyer_id), Account::AuthorisedHold(*order_id)));
            }
            Request::Capture { reference } | Request::Void { reference } => {
                (reference, Stage::Authorised)
            }
            Request::PayOut { reference, .. } => (reference, Stage::Captured),
            Request::GiveUp { .. } => return Err("what is given up moves nothing".to_owned()),
        };
        let payment = self.payment(reference)?;
        if payment.stage != needed {
            let stage = payment.stage;
            return Err(format!("payment {reference} is {stage:?}, not {needed:?}"));
        }
        let hold = Account::AuthorisedHold(payment.order_id);
        let held = Account::PlatformHeld(payment.order_id);
        Ok(match request {
            Request::Capture { .. } => (hold, held),
            Request::PayOut { seller_id, .. } => (held, Account::Seller(*seller_id)),
            _ => (hold, Account::Buyer(payment.buyer_id)),
        })
    }

    fn payment(&self, reference: &str) -> Result<&Payment, String> {
        let payment = self.payments.get(reference);
        payment.ok_or_else(|| format!("there is no payment {reference}"))
    }
}

#[cfg(test)]
mod tests {
    use event_schemas::Money;
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    /// A request about one of three orders; the number picks which.
    fn request(operation: u8, order: u128, amount_minor: u64) -> Request {
        let reference = format!("sandbox-{}", Uuid::from_u128(order));
        let buyer_id = UserId(Uuid::from_u128(100 + order));
        match operation {
            0 => Request::Authorise {
                order_id: OrderId(Uuid::from_u128(order)),
                buyer_id,
                amount: Money::new(amount_minor, Currency::EUR),
                payment_method: "sandbox:ok".to_owned(),
            },
            1 => Request::Capture { reference },
            2 => Request::Void { reference },
            4 => Request::GiveUp { order_id: OrderId(Uuid::from_u128(order)) },
            _ => Request::PayOut { reference, seller_id: UserId(Uuid::from_u128(200)) },
        }
    }

    proptest! {
        #[test]
        fn whatever_is_asked_the_books_balance(
            asked in proptest::collection::vec((0_u8..5, 0_u128..3, 1_u64..10_000), 0..60)
        ) {
            let mut ledger = Ledger::default();
            for (index, (operation, order, amount)) in asked.into_iter().enumerate() {
                let key = match operation {
                    // An authorisation may have been given up before it came.
                    0 | 4 => order,
                    _ => 1000 + index as u128,
                };
                let key = IdempotencyKey(Uuid::from_u128(key));
                if ledger.find(key).is_some() {
                    continue;
                }
                if let Ok(entry) = ledger.draft(key, request(operation, order, amount)) {
                    let sum: i64 = entry.postings.iter().map(|it| it.amount_minor).sum();
                    prop_assert_eq!(sum, 0);
                    ledger.enter(entry);
                }
            }
            prop_assert!(ledger.totals().values().all(|total| *total == 0));
            for ((account, _), balance) in &ledger.balances {
                if !matches!(account, Account::Buyer(_)) {
                    prop_assert!(*balance >= 0, "{account:?} is at {balance}");
                }
            }
            // A second reading of the same entries gives the same books.
            let mut again = Ledger::default();
            for entry in ledger.entries().iter().cloned() {
                again.enter(entry);
            }
            prop_assert_eq!(again.balances, ledger.balances);
        }
    }

    #[test]
    fn an_authorisation_is_captured_or_voided_never_both() {
        let mut ledger = Ledger::default();
        let key = |number| IdempotencyKey(Uuid::from_u128(number));
        let entry = ledger.draft(key(1), request(0, 1, 500)).unwrap();
        ledger.enter(entry);
        let entry = ledger.draft(key(2), request(2, 1, 0)).unwrap();
        ledger.enter(entry);
        assert!(ledger.draft(key(3), request(1, 1, 0)).is_err());
        let buyer = Account::Buyer(UserId(Uuid::from_u128(101)));
        assert_eq!(ledger.balance(buyer, Currency::EUR), 0);
    }
}
