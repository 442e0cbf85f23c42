//! Persistent subscriptions: groups of consumers that compete for the events of a stream or of
//! the log, and a server that remembers how far each group has come.
//!
//! It stands on the port alone, so it serves over any engine. A group delivers each message to one
//! of its consumers *at least once*: what is not acknowledged in time, or was with a consumer that
//! went away, is delivered again, and parked when that happens too often. A checkpoint never
//! passes an unfinished message, so neither a restart nor a kill loses any.
//!
//! | module | what is there |
//! | --- | --- |
//! | [`group`] | what a group is called, and where in its source it stands |
//! | [`settings`] | its settings, their defaults and checks |
//! | [`service`] | [`PersistentSubscriptions`]: create, update, delete, list, connect, replay |
//! | [`consumer`] | [`Consumer`]: deliveries, and the handle that acknowledges them |
//! | [`info`] | what is told of a group |
//! | [`message`] | an event with the link that led to it |
//! | [`error`] | what can go wrong |
//! | `machine` | who gets what and when, as a pure state machine |
//! | `runner` | the task of a group: does what its machine asks for |
//! | `source` | the events of a group, read on and on over failures |
//! | `streams` | checkpoints and parked messages, kept in streams |
//! | `config` | all groups, kept in one event |
//! | `mailbox` | the messages on their way to one consumer |
//! | `retry` | trying again until the store does its work |
//!
//! # What is kept, and where
//!
//! These are facts of the protocol of EventStoreDB (server 26, whose names clients and tools know):
//!
//! - `$persistentSubscriptionConfig`, type `$PersistentConfig`: its last event holds all groups.
//! - `$persistentsubscription-<stream>::<group>-checkpoint`, type `$SubscriptionCheckpoint`: the
//!   place of the last event before the first unfinished one, as a JSON text, `"42"` or for the log
//!   `"C:42/P:42"`. Metadata `$maxCount` keeps it from growing.
//! - `$persistentsubscription-<stream>::<group>-parked`: a link event (`$>`, data `42@stream`) for
//!   each parked message, with `added`, `reason` and `subscriptionEventNumber` in its metadata.
//!   Metadata `$tb` moves past those that were replayed.
//!
//! What differs from that server, on purpose: a parked message that is replayed leaves the parked
//! stream when it is finished, not when it is read, so a kill in between loses nothing; a group
//! that begins at the end remembers that end, so what is appended before its first checkpoint is
//! not lost by a restart; and a group that is stopped in peace writes a last checkpoint.
//!
//! # How a message goes
//!
//! ```text
//! read ─▶ ready ─▶ in flight ─▶ acknowledged, skipped ─▶ finished ─▶ checkpoint moves on
//!           ▲          │
//!           ├──────────┤ retried: not acknowledged in time, refused, or the consumer is gone
//!           │          ▼
//!     parked replay ◀─ parked: refused for good, or retried too often
//! ```

mod config;
pub mod consumer;
pub mod error;
pub mod group;
pub mod info;
mod machine;
mod mailbox;
pub mod message;
mod retry;
mod runner;
pub mod service;
pub mod settings;
mod source;
mod streams;

pub use consumer::{Acknowledger, Consumer, Delivered, Deliveries};
pub use error::PersistentError;
pub use group::{EventSource, GroupId, Place};
pub(crate) use group::{group_of_checkpoints, kept_bytes_max};
pub use info::{ConsumerInfo, GroupInfo, Measurement, Status};
pub use message::Message;
pub(crate) use message::{LINK_TYPE, resolve};
pub use service::{Connecting, PersistentSubscriptions};
pub use settings::{NackAction, Settings, StartFrom, Strategy};
