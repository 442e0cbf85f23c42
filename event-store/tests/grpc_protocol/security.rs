//! A server that asks callers who they are: by TLS, with users, groups and the lists of streams.

#[path = "security/accounts.rs"]
mod accounts;
#[path = "security/encrypted.rs"]
mod encrypted;
#[path = "security/managed.rs"]
mod managed;
#[path = "security/plain.rs"]
mod plain;
#[path = "security/renewed.rs"]
mod renewed;
#[path = "security/rights.rs"]
mod rights;
#[path = "security/secured.rs"]
pub mod secured;
