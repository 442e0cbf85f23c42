//! What columns hold, as types: amounts, counts, and names of variants.

use event_schemas::Money;
use sqlx::Row;
use sqlx::postgres::PgRow;

use crate::query_error::QueryError;

/// An amount from a `bigint` and the currency's code beside it.
pub(crate) fn money(row: &PgRow, amount: &str, currency: &str) -> Result<Money, QueryError> {
    let code: String = row.try_get(currency)?;
    let currency = code.parse().map_err(|_| QueryError::Malformed { what: "a currency" })?;
    Ok(Money::new(unsigned(row, amount)?, currency))
}

/// A count from a `bigint`.
pub(crate) fn unsigned(row: &PgRow, column: &str) -> Result<u64, QueryError> {
    let number: i64 = row.try_get(column)?;
    u64::try_from(number).map_err(|_| QueryError::Malformed { what: "a negative number" })
}

/// Makes an enum whose variants have names in a column.
macro_rules! stored_enum {
    ($(#[$doc:meta])* $name:ident {
        $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)+
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
        }

        impl $name {
            /// Its name, as it is kept.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }

            fn read(
                row: &sqlx::postgres::PgRow,
                column: &str,
            ) -> Result<Self, $crate::QueryError> {
                let text: String = sqlx::Row::try_get(row, column)?;
                match text.as_str() {
                    $($text => Ok(Self::$variant),)+
                    _ => Err($crate::QueryError::Malformed { what: "an unknown name" }),
                }
            }
        }
    };
}
pub(crate) use stored_enum;
