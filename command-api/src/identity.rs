//! Identity: the accounts' secrets in PostgreSQL, apart from the log.
//!
//! A person's public life (handle, name, roles) is events; what proves who they are (address,
//! password, one-time tokens) is here, in the schema `identity`.

mod accounts;
mod confirmation;
mod known_people;
mod names;
mod password;
mod reservation;
mod schema;
mod upkeep;

pub use accounts::{Account, AccountError, Accounts, Kept, NewAccount};
pub use confirmation::ConfirmationToken;
pub use known_people::{KnownPeople, NotKnown};
pub use names::{
    EMAIL_BYTES_MAX, Email, HANDLE_CHARS_MAX, HANDLE_CHARS_MIN, Handle, InvalidIdentity,
};
pub use password::{PASSWORD_CHARS_MAX, PASSWORD_CHARS_MIN, Password, PasswordHash};
pub use reservation::{ReserveError, reserve};
