//! The saga orchestrator, the sagas, and the activities by which they reach the outer world.
//!
//! A saga carries a piece of work through several aggregates and outer parties, and takes it back
//! when it can't be ended. It decides nothing that an aggregate decides: it sends commands, and
//! hears no. It is not a workflow engine that replays code: its state is a fold of what it
//! recorded.
//!
//! | module | what is there |
//! | --- | --- |
//! | [`orchestrator`] | the pure core, and the runtime that survives a crash at any moment |
//! | [`activities`] | the ports to the outer world, and their adapters |
//! | [`mod@checkout`] | the purchase of a licence |
//! | [`mod@transcode`] | an uploaded master becomes a stream |
//!
//! Invariants: a step is recorded once; what was done is undone in the reverse order; no step is
//! done after undoing began; every effect outside carries the key of its step.

pub mod activities;
pub mod checkout;
pub mod orchestrator;
pub mod transcode;

#[cfg(test)]
mod harness;

pub use activities::{Encoder, MediaEncoder, PaymentGateway, SandboxGateway};
pub use checkout::{CheckoutSettings, checkout};
pub use orchestrator::{SagaDefinition, SagaRuntime, SagaSettings};
pub use transcode::transcode;
