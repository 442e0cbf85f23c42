//! The second version's Streams service, by messages that are made by hand.

#[path = "several/bounds.rs"]
mod bounds;
#[path = "several/errors.rs"]
mod errors;
#[path = "several/records.rs"]
mod records;
#[path = "several/sent.rs"]
mod sent;
#[path = "several/sessions.rs"]
mod sessions;
