//! The command endpoints over HTTP: what people can ask the platform to do.
//!
//! A handler validates what came in, checks who asks, and hands a command to an aggregate; the
//! answer says at which position the outcome is in the log. It is not for reading: the query side
//! answers questions.
//!
//! | module | what is there |
//! | --- | --- |
//! | [`api`] | the parts that endpoints work with, and the router |
//! | [`routes`] | one file a resource |
//! | [`request`], [`answer`] | a command as it comes in, and what is said to it |
//! | [`refusal`] | rejections of aggregates as problems |
//! | [`identity`] | who people are: addresses, passwords, one-time tokens |
//! | [`mail`] | the port by which people are written to |
//!
//! Invariants: a route that is not in the OpenAPI document does not exist; without a token only
//! what is marked public is answered; a command's answer is sent after its events are durable.

pub mod answer;
pub mod api;
pub mod identity;
mod in_progress;
pub mod mail;
pub mod openapi;
pub mod refusal;
pub mod request;
pub mod routes;
pub mod uploaded;

pub use api::{CommandApi, CommandApiParts};
pub use mail::{MailError, Mailer};
