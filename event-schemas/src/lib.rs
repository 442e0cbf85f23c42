//! The contract between the write side, the read side and the sagas: every domain event.
//!
//! An event is a struct with a type name and a schema version; the events of one kind of stream
//! make a family, an enum that aggregates decide and projectors match on. What is known *about* an
//! event (who, why, when) is [`Metadata`], never part of its data. It is not a place for behaviour:
//! rules live in the aggregates.
//!
//! | module | what is there |
//! | --- | --- |
//! | [`audio`], [`user`], [`social`], [`commerce`], [`analytics`] | the events, one file a domain |
//! | [`catalogue`] | every family |
//! | [`command`] | that a command has its identity for good |
//! | [`saga`] | what the orchestrator records of its own steps |
//! | [`family`] | what makes structs a family: names, versions, encoding, decoding |
//! | [`personal`] | which fields are about a person, and what stands in when they are forgotten |
//! | [`upcast`] | how data of an older schema version is brought up to date |
//! | [`metadata`] | correlation, causation, actor and time of an event |
//! | [`ids`], [`money`] | the words that all domains share |
//!
//! Invariants: a published type name or version never changes its meaning; data of every version
//! ever written stays readable; secrets and personal contact data are in no event; what else is
//! about a person is marked, and whoever is marked as its person is named by an id beside it.

pub mod analytics;
pub mod audio;
pub mod catalogue;
pub mod command;
pub mod commerce;
pub mod family;
pub mod ids;
pub mod metadata;
pub mod money;
pub mod personal;
pub mod saga;
pub mod social;
pub mod upcast;
pub mod user;

pub use family::{DecodeError, Encoded, EventFamily, TypeInfo};
pub use ids::{ChannelId, ListingId, MessageId, OrderId, PlayId, TrackId, UserId};
pub use metadata::{Actor, CommandRecord, Metadata};
pub use money::{Currency, Money};
pub use personal::Personal;
