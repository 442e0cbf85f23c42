//! Who may do what: on whose behalf something is asked, and what the streams' own lists say.
//!
//! Two kinds of rights are told apart, as EventStoreDB does it. What is done to the node, to
//! groups, projections and users goes by fixed rules ([`Operation`]). What is done with a stream
//! goes by the list in its metadata, else by the defaults in `$settings`, else by what is built in:
//! streams of users are open to everybody who has logged in, those of the system to administrators.
//!
//! Rights are looked up when something is asked. A subscription that is running when its rights go
//! away goes on until it is asked for again, as that server has it.
//!
//! | module | what is there |
//! | --- | --- |
//! | `principal` | [`Principal`]: on whose behalf something is asked |
//! | `operation` | [`Operation`]: what is no matter of a stream, and who may do it |
//! | `acl` | the lists of streams, as a pure function |
//! | `rights` | [`Rights`]: the same over a store, which keeps the lists |

mod acl;
mod operation;
mod principal;
mod rights;

pub use acl::{DefaultAcls, StreamAction, allows, subject};
pub use operation::Operation;
pub use principal::{ADMINS, OPERATORS, Principal};
pub use rights::Rights;

use thiserror::Error;

/// The caller may not do that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("access denied")]
pub struct AccessDenied;
