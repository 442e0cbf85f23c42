//! An uploaded master becomes a stream: started when its track is made.
//!
//! ```text
//! TrackCreated
//!   transcode     probe the master, store its HLS package       undone: remove the package
//!   record        note on the track that it can be streamed, or why it can't
//! ```
//!
//! A track whose master is taken down meanwhile is not waited for, or else refuses the note; in
//! either case its package goes again.

use std::sync::Arc;
use std::time::Duration;

use aggregates::CommandHandler;
use aggregates::audio::{Track, TrackCommand};
use async_trait::async_trait;
use event_schemas::audio::{TrackCreated, TrackEvent};
use event_schemas::{EventFamily, TrackId};
use event_store::RecordedEvent;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::sleep;

use crate::activities::Encoder;
use crate::activities::encoder::{Encoded, EncoderError};
use crate::orchestrator::journal::decode;
use crate::orchestrator::{
    Activity, ActivityError, SagaDefinition, Start, Step, StepCall, execute,
};

/// The kind of this saga.
pub const KIND: &str = "transcode";

/// The version of its definition.
const VERSION: u32 = 1;

const TRANSCODE: &str = "transcode";

/// Longest that a master may take: no matter how long, as it may wait for its turn while others do.
/// The encoder bounds its own work.
const TRANSCODE_TIME_MAX: Duration = Duration::MAX;

/// How often it is looked whether a master was taken down: many may wait for their turn.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// Longest that the files of a package may take to be removed; another time goes on with the rest.
const REMOVE_TIME_MAX: Duration = Duration::from_secs(10 * 60);

/// The making of streams, by this encoder.
pub fn transcode(commands: Arc<CommandHandler>, encoder: Arc<dyn Encoder>) -> SagaDefinition {
    SagaDefinition {
        kind: KIND,
        version: VERSION,
        steps: vec![
            Step::action(TRANSCODE, Transcode(Arc::clone(&encoder), Arc::clone(&commands)))
                .undo(Remove(encoder)),
            Step::action("record", Record(commands)),
        ],
        categories: vec![TrackEvent::CATEGORY],
        start,
        signal: |_| None,
        owner: |input| input["artist_id"].as_str(),
    }
}

fn start(event: &RecordedEvent) -> Option<Start> {
    if event.event_type.as_str() != "TrackCreated" {
        return None;
    }
    match decode::<TrackEvent>(event) {
        Ok((TrackEvent::TrackCreated(created), _)) => Some(Start {
            subject: created.track_id.0,
            input: serde_json::to_value(created).expect("events are plain data"),
        }),
        Ok(_) => None,
        Err(error) => {
            let position = event.position.get();
            tracing::error!(position, ?error, "a track that is not transcoded");
            None
        }
    }
}

/// What came of a master.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Encoded(Encoded),
    BadMaster(String),
}

struct Transcode(Arc<dyn Encoder>, Arc<CommandHandler>);

impl Transcode {
    /// Returns once the track's master is taken down.
    async fn taken_down(&self, track_id: TrackId) {
        loop {
            let looked = self.1.inspect(track_id, |track: &Track| track.master().is_none());
            // What can't be looked at now may be at another time.
            if looked.await.is_ok_and(|is_down| is_down) {
                return;
            }
            sleep(LOOK_INTERVAL).await;
        }
    }
}

#[async_trait]
impl Activity for Transcode {
    async fn run(&self, call: &StepCall<'_>) -> Result<Value, ActivityError> {
        let created = created(call)?;
        let encoded = tokio::select! {
            encoded = self.0.encode(&created) => encoded,
            () = self.taken_down(created.track_id) => {
                removed(&*self.0, created.track_id).await?;
                return Err(ActivityError::Refused("the master was taken down".to_owned()));
            }
        };
        let verdict = match encoded {
            Ok(encoded) => Verdict::Encoded(encoded),
            // For the track this is an answer like any other, and the saga goes on with it.
            Err(EncoderError::BadMaster(reason)) => Verdict::BadMaster(reason),
            Err(EncoderError::Unavailable(reason)) => {
                return Err(ActivityError::Unavailable(reason));
            }
        };
        serde_json::to_value(verdict).map_err(|error| ActivityError::Refused(error.to_string()))
    }

    fn calls_out(&self) -> bool {
        true
    }

    fn time_max(&self) -> Option<Duration> {
        Some(TRANSCODE_TIME_MAX)
    }
}

struct Remove(Arc<dyn Encoder>);

#[async_trait]
impl Activity for Remove {
    async fn run(&self, call: &StepCall<'_>) -> Result<Value, ActivityError> {
        removed(&*self.0, created(call)?.track_id).await?;
        Ok(Value::Null)
    }

    fn calls_out(&self) -> bool {
        true
    }

    fn time_max(&self) -> Option<Duration> {
        Some(REMOVE_TIME_MAX)
    }
}

async fn removed(encoder: &dyn Encoder, track_id: TrackId) -> Result<(), ActivityError> {
    let removed = encoder.remove(track_id).await;
    removed.map_err(|error| ActivityError::Unavailable(error.to_string()))
}

struct Record(Arc<CommandHandler>);

#[async_trait]
impl Activity for Record {
    async fn run(&self, call: &StepCall<'_>) -> Result<Value, ActivityError> {
        let created = created(call)?;
        let verdict = call.state.output(TRANSCODE).cloned().unwrap_or_default();
        let command = match serde_json::from_value(verdict) {
            Ok(Verdict::Encoded(encoded)) => TrackCommand::RecordTranscoded {
                properties: encoded.properties,
                playlist_key: encoded.playlist_key,
            },
            Ok(Verdict::BadMaster(reason)) => TrackCommand::RecordTranscodeFailed { reason },
            Err(error) => return Err(ActivityError::Refused(error.to_string())),
        };
        execute::<Track>(&self.0, call, created.track_id, command).await?;
        Ok(Value::Null)
    }
}

/// The track as it was made.
fn created(call: &StepCall<'_>) -> Result<TrackCreated, ActivityError> {
    serde_json::from_value(call.state.input.clone())
        .map_err(|error| ActivityError::Refused(format!("the track is not readable: {error}")))
}

#[cfg(test)]
pub(crate) mod tests;
