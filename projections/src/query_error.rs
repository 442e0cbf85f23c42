//! What can go wrong with a query over a model.

use thiserror::Error;

/// SQLSTATE of a statement that PostgreSQL gave up, as one that took too long.
const CANCELLED: &str = "57014";

/// Why a query was not answered.
#[derive(Debug, Error)]
pub enum QueryError {
    /// The model has not been built yet; it will be.
    #[error("the model is not built yet")]
    NotBuilt,
    /// What stands in the model is not what its projector writes.
    #[error("the model holds {what} that can't be read")]
    Malformed {
        /// What it is.
        what: &'static str,
    },
    /// PostgreSQL was at it for longer than it may be, and gave it up.
    #[error("the query took too long")]
    TookTooLong,
    /// So much is asked at once that this had no turn in time.
    #[error("too much is asked at once")]
    Overloaded,
    /// PostgreSQL did not do its work.
    #[error("the database did not do its work")]
    Database(#[source] sqlx::Error),
    /// The search engine did not do its work.
    #[error("the search engine did not do its work")]
    Search(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The engine of analytics did not do its work.
    #[error("the engine of analytics did not do its work")]
    Analytics(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<sqlx::Error> for QueryError {
    fn from(error: sqlx::Error) -> Self {
        let code = error.as_database_error().and_then(|said| said.code());
        match code.as_deref() {
            // The model of this version was never swapped in.
            _ if is_undefined(&error) => Self::NotBuilt,
            Some(CANCELLED) => Self::TookTooLong,
            _ => Self::Database(error),
        }
    }
}

/// Whether a table or a schema is not there.
pub fn is_undefined(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| code == "42P01" || code == "3F000")
}
