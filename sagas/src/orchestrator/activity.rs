//! Activities: what a step does to the world outside the saga, and how that can fail.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use event_store::StreamName;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;
use uuid::Uuid;

use crate::orchestrator::definition::StepName;
use crate::orchestrator::state::SagaState;

/// What keeps the keys of steps apart from all other ids derived by name.
const KEY_NAMESPACE: Uuid = Uuid::from_u128(0x6a3c_14f0_5bd2_4e8e_9f1d_7a40_c2e8_91b7);

/// Something a step does. It is done at least once: a second time with the same key must have no
/// further effect, and answer the same.
#[async_trait]
pub trait Activity: Send + Sync + 'static {
    /// Does it.
    async fn run(&self, call: &StepCall<'_>) -> Result<Value, ActivityError>;

    /// Finds out, after an [`ActivityError::Ambiguous`], whether it was done: `None` when it was
    /// not and can be tried again. The answer of an activity that is never ambiguous is not asked.
    async fn find(&self, _call: &StepCall<'_>) -> Result<Option<Value>, ActivityError> {
        Ok(None)
    }

    /// Sees to it, after it has failed too often, that it will never be done under this key: `None`
    /// when it was not done, what came of it when it was. A failure leaves the run to an operator.
    async fn give_up(&self, _call: &StepCall<'_>) -> Result<Option<Value>, ActivityError> {
        Err(ActivityError::Ambiguous("it can't be given up".to_owned()))
    }

    /// Whether it waits for somebody outside of the platform; others then work meanwhile.
    fn calls_out(&self) -> bool {
        false
    }

    /// How long it may take; `None` is what the runtime allows by default.
    fn time_max(&self) -> Option<Duration> {
        None
    }
}

/// The same identity at every attempt of one step of one run, and for its undoing another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IdempotencyKey(pub Uuid);

/// Whether a step is done or undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// It is done.
    Do,
    /// It is taken back.
    Undo,
}

/// One attempt at a step.
#[derive(Clone, Debug)]
pub struct StepCall<'a> {
    /// The run's stream.
    pub stream: &'a StreamName,
    /// Which step.
    pub step: StepName,
    /// Done or undone.
    pub way: Way,
    /// Where the run stands.
    pub state: &'a SagaState,
    /// The time of the attempt.
    pub now: DateTime<Utc>,
    /// What everything that follows from the first request has in common.
    pub correlation_id: Uuid,
    /// The last event of the run, which this follows from.
    pub causation_id: Uuid,
    /// The W3C trace context of the first request, when there was one.
    pub traceparent: Option<&'a str>,
}

impl StepCall<'_> {
    /// The identity of what is asked.
    pub fn key(&self) -> IdempotencyKey {
        Self::key_of(self.stream, self.step, self.way)
    }

    /// Why everything is being undone.
    pub fn reason(&self) -> &str {
        self.state.refusal.as_ref().map_or("", |refusal| &refusal.reason)
    }

    pub(crate) fn key_of(stream: &StreamName, step: StepName, way: Way) -> IdempotencyKey {
        let way = match way {
            Way::Do => "do",
            Way::Undo => "undo",
        };
        let name = format!("{stream}/{step}/{way}");
        IdempotencyKey(Uuid::new_v5(&KEY_NAMESPACE, name.as_bytes()))
    }
}

/// How an activity failed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ActivityError {
    /// No, and asking again would change nothing; nothing was done.
    #[error("{0}")]
    Refused(String),
    /// Not now; nothing was done, or doing it again does no harm.
    #[error("{0}")]
    Transient(String),
    /// Somebody who is needed can't be reached, has no room, or does not answer; nothing was done,
    /// or doing it again does no harm. They are waited for, for long.
    #[error("{0}")]
    Unavailable(String),
    /// It may or may not have been done: it is asked for before anything else happens.
    #[error("{0}")]
    Ambiguous(String),
}
