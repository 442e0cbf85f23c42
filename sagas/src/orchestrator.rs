//! The orchestrator: runs sagas by what their streams record, and so goes on after any crash.
//!
//! The core is pure: [`SagaState`] is a fold of a run's events, [`next`] says what to do. The
//! runtime does it, records what came of it at the expected revision, and asks again. What was
//! recorded is never done again; what was done and not recorded is done again with the same
//! idempotency key.
//!
//! | module | what is there |
//! | --- | --- |
//! | [`definition`] | what a saga is made of |
//! | [`activity`] | what a step does outside, and how it fails |
//! | [`command`] | commands of steps, under the step's identity |
//! | [`state`], [`decide`] | where a run stands, what it does next: pure |
//! | [`retry`], [`clock`] | when a failed step is tried again, and by which clock |
//! | [`journal`] | runs in the event store: loading and recording |
//! | [`checkpoint`] | how far the log was followed, and which runs are not over |
//! | `agenda`, `lane` | which runs are at work, which wait until when, and how many at once |
//! | `foreign` | streams that only look like those of runs |
//! | `outages` | who is away that steps need, told when it begins and ends |
//! | [`instance`] | one run, driven to its end |
//! | [`operator`] | what an operator can do about a run |
//! | [`runtime`] | follows the log, starts runs, hands signals over, drains |

pub mod activity;
mod agenda;
pub mod checkpoint;
pub mod clock;
pub mod command;
pub mod decide;
pub mod definition;
mod foreign;
pub mod instance;
pub mod journal;
mod lane;
pub mod operator;
mod outages;
pub mod retry;
pub mod runtime;
pub mod state;

pub use activity::{Activity, ActivityError, IdempotencyKey, StepCall, Way};
pub use agenda::Held;
pub use clock::{Clock, SystemClock};
pub use command::execute;
pub use decide::{NextAction, can_go_back, next};
pub use definition::{SagaDefinition, Signal, Start, Step, StepKind, StepName, Timeout, Wait};
pub use journal::{Journal, JournalError, Run};
pub use operator::{ResumeError, resume};
pub use retry::RetryPolicy;
pub use runtime::{SagaRuntime, SagaSettings};
pub use state::{End, Failure, Pause, Refusal, SagaState, Timer};

#[cfg(test)]
mod tests;
