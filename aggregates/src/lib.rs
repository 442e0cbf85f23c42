//! The write side of the domains: what may happen, and why not.
//!
//! An aggregate folds the events of its stream into a state, and decides purely which events follow
//! from a command; clock, ids and everything else that is not its own come in the command. What
//! several aggregates must agree on is not decided here but by sagas, and nothing here is read by
//! queries.
//!
//! | module | what is there |
//! | --- | --- |
//! | [`decider`] | the trait of all aggregates, over `cqrs_es::Aggregate` |
//! | [`analytics`], [`audio`], [`commerce`], [`social`], [`user`] | a file an aggregate |
//! | [`handler`] | carries commands out: load, decide, append, once for every command id |
//! | [`context`] | who asks, when and why; what a command has beside itself |
//! | [`store`] | `cqrs_es::EventStore` over the port, for the framework's own tools |
//! | [`fold`] | streams to states, now or as of a moment of the past |
//! | [`encoding`] | events to bytes with their metadata, and back |
//! | [`catalogue`] | states by the name of their stream |
//! | [`text`] | what words people may write |
//!
//! Invariants: a decision depends on nothing but state and command; a command id is carried out at
//! most once; an event that can't be read stops the decision rather than being skipped.

pub mod analytics;
pub mod audio;
pub mod catalogue;
pub mod commerce;
pub mod context;
pub mod decider;
pub mod encoding;
pub mod fold;
pub mod handler;
pub mod social;
pub mod store;
pub mod text;
pub mod user;

pub use catalogue::{StateDocument, StateError, state_of};
pub use context::CommandContext;
pub use decider::{AggregateId, Decider, stream_of};
pub use fold::{Folded, LoadError};
pub use handler::{CommandError, CommandHandler, Outcome};
pub use store::PortStore;
