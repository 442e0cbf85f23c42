//! What the orchestrator records of a saga: a stream a saga, its inbox and outbox in one.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::family::event_family;

event_family! {
    /// What happens to one run of a saga; streams `saga-<kind>-<id>`.
    SagaEvent in "saga":
        SagaStarted v 1,
        SagaStepCompleted v 1,
        SagaStepFailed v 1,
        SagaStepRefused v 1,
        SagaTimerSet v 1,
        SagaTimerFired v 1,
        SagaSignalled v 1,
        SagaStepCompensated v 1,
        SagaCompleted v 1,
        SagaCompensated v 1,
        SagaPaused v 1,
        SagaResumed v 1,
}

/// A saga began.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SagaStarted {
    /// Which kind of saga.
    pub kind: String,
    /// The version of its definition, which it keeps to its end.
    pub version: u32,
    /// What it is about, such as an order's id.
    pub subject: String,
    /// What it was started with.
    pub input: Value,
}

/// A step was done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SagaStepCompleted {
    /// Which step.
    pub step: String,
    /// What came of it.
    pub output: Value,
}

/// A step could not be done this time, and will be tried again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SagaStepFailed {
    /// Which step.
    pub step: String,
    /// How often it has failed now; not counted is what only had to wait for somebody else.
    pub attempt: u32,
    /// Why.
    pub reason: String,
    /// Not tried again before this.
    pub retry_at: DateTime<Utc>,
    /// Since when somebody is waited for who can't be reached, where that is why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_since: Option<DateTime<Utc>>,
}

/// A step was refused for good; what was done before is to be undone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SagaStepRefused {
    /// Which step.
    pub step: String,
    /// Why.
    pub reason: String,
}

/// The saga waits, but not for ever.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SagaTimerSet {
    /// Which step waits.
    pub step: String,
    /// Until when.
    pub due_at: DateTime<Utc>,
}

/// The time the saga waited for has come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SagaTimerFired {
    /// Which step waited.
    pub step: String,
}

/// What the saga waited for has come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SagaSignalled {
    /// Which step waited.
    pub step: String,
    /// What came.
    pub signal: Value,
}

/// A step was undone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SagaStepCompensated {
    /// Which step.
    pub step: String,
}

/// Every step was done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SagaCompleted {}

/// Everything that was done has been undone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SagaCompensated {
    /// Why it came to that.
    pub reason: String,
}

/// The saga has given up trying, and waits for an operator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SagaPaused {
    /// Which step it is at.
    pub step: String,
    /// Why.
    pub reason: String,
}

/// An operator let the saga go on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SagaResumed {
    /// Which step it is at.
    pub step: String,
}
