//! The user domain: people's accounts.

pub mod account;
pub mod role;

pub use account::{Grantor, User, UserCommand, UserRejection};
pub use role::{Role, UnknownRole};
