//! Which amounts of money are dealt with.

use event_schemas::{Currency, Money};
use thiserror::Error;

/// Largest amount of one deal, in minor units of its currency.
///
/// Eight digits: what payment gateways take in one charge.
pub const AMOUNT_MINOR_MAX: u64 = 99_999_999;

/// The currencies that prices may be in, by their codes.
pub const CURRENCIES: &[&str] = &[
    "AUD", "BRL", "CAD", "CHF", "CZK", "DKK", "EUR", "GBP", "HUF", "INR", "JPY", "MXN", "NOK",
    "NZD", "PLN", "RON", "SEK", "USD",
];

/// Why an amount is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AmountError {
    /// It is nothing.
    #[error("the amount is zero")]
    Zero,
    /// It is too large.
    #[error("the amount is larger than {max_minor} minor units")]
    TooLarge {
        /// The largest that is taken, in minor units.
        max_minor: u64,
    },
    /// Nobody deals in that currency here.
    #[error("the currency {0} is not taken")]
    Currency(Currency),
}

/// Whether the amount can be dealt with.
pub fn check(amount: Money) -> Result<(), AmountError> {
    if amount.amount_minor == 0 {
        return Err(AmountError::Zero);
    }
    if amount.amount_minor > AMOUNT_MINOR_MAX {
        return Err(AmountError::TooLarge { max_minor: AMOUNT_MINOR_MAX });
    }
    if !CURRENCIES.contains(&amount.currency.as_str()) {
        return Err(AmountError::Currency(amount.currency));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_limits() {
        let euros = |amount| Money::new(amount, Currency::EUR);
        assert_eq!(check(euros(1)), Ok(()));
        assert_eq!(check(euros(AMOUNT_MINOR_MAX)), Ok(()));
        assert_eq!(check(euros(0)), Err(AmountError::Zero));
        let too_large = AmountError::TooLarge { max_minor: AMOUNT_MINOR_MAX };
        assert_eq!(check(euros(AMOUNT_MINOR_MAX + 1)), Err(too_large));
        let nowhere: Currency = "XXX".parse().unwrap();
        assert_eq!(check(Money::new(1, nowhere)), Err(AmountError::Currency(nowhere)));
    }
}
